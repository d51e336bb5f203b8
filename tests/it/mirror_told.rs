//! What `volvault mirror` says when something is odd: last lines of JSON, exit codes, and what is left behind.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use volvault::ErrorKind;
use volvault::events::{Progress, Stop, Watch};
use volvault::rclone_sync::push::push;

use crate::command::{Home, fill, write};
use crate::mirror_command::{flip_a_bit, says};
use crate::mirror_push::{Field, Two, root_of};
use crate::support::memory_s3::Habits;
use crate::support::nobody::{NOBODY, as_nobody};
use crate::support::s3::{S3Server, S3ServerThread};
use crate::support::vault::{Ear, assert_same, noise, on_disk};

fn home() -> Home {
    let home = Home::new();
    fill(&home.at("data"), 5, 200);
    says(&home, &["push", "data", "m"], 0);
    home
}

/// The lines of standard output of a run that must end with this code.
fn lines(home: &Home, arguments: &[&str], code: i32) -> Vec<Value> {
    let output = home.run(&[&["mirror"], arguments, &["--json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}{errors}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn a_run_that_fails_ends_with_a_summary_that_says_why() {
    let home = home();
    fill(&home.at("other"), 9, 30);
    std::fs::create_dir(home.at("empty")).unwrap();
    for (arguments, code, words) in [
        (&["pull", "nowhere", "back"][..], 3, "there is no mirror at "),
        (&["pull", "m", "other", "--max-delete", "1"], 7, "--max-delete"),
        (&["pull", "m", "back", "--wait", "x"], 2, "--wait"),
        (&["push", "missing", "m"], 3, "missing"),
        (&["diff", "nowhere", "back"], 3, "there is no mirror at "),
        (&["verify", "nowhere"], 3, "there is no mirror at "),
        (&["adopt", "empty"], 3, "empty"),
    ] {
        let lines = lines(&home, arguments, code);
        let summary = lines.last().unwrap_or_else(|| panic!("{arguments:?} printed nothing"));
        assert_eq!(summary["message_type"], "summary", "{arguments:?}: {summary}");
        assert_eq!((summary["exit_code"].as_i64(), summary["status"].as_str()), (Some(code.into()), Some("failed")));
        assert!(summary["message"].as_str().is_some_and(|text| text.contains(words)), "{arguments:?}: {summary}");
        let summaries = lines.iter().filter(|line| line["message_type"] == "summary").count();
        assert_eq!(summaries, 1, "{arguments:?}: {lines:?}");
    }
    // A destination that fails is told by its own line, and the summary is that of all.
    let told = lines(&home, &["push", "empty", "m"], 7);
    let types: Vec<_> = told.iter().filter_map(|line| line["message_type"].as_str()).collect();
    assert_eq!(types, ["destination", "summary"]);
}

#[test]
fn paths_in_json_begin_at_the_root_of_the_mirror() {
    let home = home();
    write(&home.at("data/docs/new"), b"new");
    let pushed = lines(&home, &["push", "data", "m", "-v"], 0);
    let compared = lines(&home, &["diff", "m"], 0);
    let listed = lines(&home, &["ls", "m", "docs"], 0);
    for (told, member) in [(pushed, "item"), (compared, "path"), (listed, "path")] {
        let found = told.iter().filter(|line| line[member] == "/docs/new").count();
        assert_eq!(found, 1, "{told:?}");
    }
}

/// It may be full; nobody knows.
#[test]
fn a_source_that_cannot_be_listed_is_refused_and_not_taken_for_denied_access_to_the_store() {
    let field = Field::new();
    field.fill(3);
    let mirror = field.destination(&Two::new());
    field.push(&mirror);
    for path in [field.dir.path().to_owned(), field.source(), field.dir.path().join("state")] {
        let _ = std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY));
    }
    let set_mode = |mode| {
        std::fs::set_permissions(field.source(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(0o000);
    let refused = as_nobody(|| {
        let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
        let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
        push(&field.source(), std::slice::from_ref(&mirror), &field.options(), &watch)
    });
    set_mode(0o755);
    let error = match refused {
        Ok(mut report) => report.destinations.remove(0).result.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!((error.kind(), error.hint().is_some()), (ErrorKind::Refused, true), "{error:?}");
    assert_eq!(root_of(&mirror.places).unwrap().0.totals.files, 3);
}

#[test]
fn a_pull_that_comes_to_nothing_leaves_no_directory_that_it_made() {
    let home = home();
    says(&home, &["pull", "nowhere", "new/back", "--backup-dir", "replaced"], 3);
    assert!(!home.at("new").exists() && !home.at("replaced").exists());
    std::fs::create_dir(home.at("mine")).unwrap();
    says(&home, &["pull", "nowhere", "mine"], 3);
    assert!(home.at("mine").is_dir(), "it was there before");
    says(&home, &["pull", "m", "mine", "--generation", "5"], 3);
    says(&home, &["pull", "m", "new/back", "--backup-dir", "replaced"], 0);
    assert!(home.at("new/back/00/00001").exists());
}

#[test]
fn objects_of_an_earlier_generation_that_are_gone_are_not_waited_for() {
    let home = home();
    write(&home.at("data/00/00001"), b"replaced");
    says(&home, &["push", "data", "m"], 0);
    let said = says(&home, &["pull", "m", "back", "--generation", "1"], 6);
    assert!(said.contains("generation 1 is not all there any more") && said.contains("versioning"), "{said}");
}

#[test]
fn a_mirror_that_goes_back_is_followed_and_told() {
    let home = home();
    let first = std::fs::read(home.at("m.volvault/root")).unwrap();
    write(&home.at("data/new"), b"new");
    says(&home, &["push", "data", "m"], 0);
    for target in ["text", "json"] {
        says(&home, &["pull", "m", target], 0);
    }
    write(&home.at("m.volvault/root"), &first);
    let said = says(&home, &["pull", "m", "text"], 0);
    assert!(said.contains("generation 2 -> 1: the mirror went back"), "{said}");
    assert!(!home.at("text/new").exists());
    let told = lines(&home, &["pull", "m", "json"], 0);
    let summary = told.last().unwrap();
    assert_eq!((summary["went_back"].as_bool(), summary["generation"].as_u64()), (Some(true), Some(1)), "{summary}");
    let told = lines(&home, &["pull", "m", "json"], 0);
    assert!(told.last().unwrap()["went_back"].is_null(), "{told:?}");
    let asked = says(&home, &["pull", "m", "text", "--generation", "1"], 0);
    assert!(!asked.contains("went back"), "{asked}");
}

/// Damages small files and a big one in a mirror by `rot`, so that neither size nor tag tells, and mends it.
fn rots_and_is_mended(home: &Home, place: &str, rot: &dyn Fn(&str)) {
    write(&home.at("data/big"), &noise(9 << 20, 3));
    std::fs::hard_link(home.at("data/00/00002"), home.at("data/name")).unwrap();
    says(home, &["push", "data", place], 0);
    for damaged in ["00/00001", "big", "name"] {
        rot(damaged);
    }
    says(home, &["push", "data", place, "--relist"], 0);
    let said = says(home, &["pull", place, "back"], 6);
    assert!(said.contains("push --relist --checksum"), "{said}");
    let said = says(home, &["verify", place, "--read"], 1);
    assert!(said.contains("0 missing, 0 replaced by others, 3 damaged"), "{said}");
    let mended = says(home, &["push", "data", place, "--relist", "--checksum"], 0);
    assert_eq!(mended.matches("sent again").count(), 3, "{mended}");
    assert!(mended.contains("/00/00001: ") && mended.contains("/big: ") && mended.contains("/name: "), "{mended}");
    says(home, &["verify", place, "--read"], 0);
    says(home, &["pull", place, "back"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
    let again = says(home, &["push", "data", place, "--relist", "--checksum"], 0);
    assert!(again.contains("unchanged") && !again.contains("sent again"), "{again}");
}

#[test]
fn damage_that_no_tag_shows_is_mended_by_a_push_that_lists_and_compares() {
    let home = home();
    rots_and_is_mended(&home, "m", &|name| flip_a_bit(&home.at("m").join(name)));
    let server = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "site"));
    let mut home = self::home();
    for (name, value) in server.server.variables() {
        home.set(name, value);
    }
    let place = format!("s3:{}/site/p", server.server.endpoint);
    rots_and_is_mended(&home, &place, &|name| server.server.rot(&format!("p/{name}")));
}
