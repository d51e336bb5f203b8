//! `volvault mirror` as a process: what it prints, what it exits with, and that a tree comes over.

use std::path::Path;

use crate::command::{Home, fill, write};
use crate::support::s3::{ACCESS_KEY, S3ServerThread, SECRET_KEY};
use crate::support::vault::{assert_same, noise, on_disk};

/// A home with 25 files in `data`.
fn home() -> Home {
    let home = Home::new();
    fill(&home.at("data"), 25, 2000);
    std::os::unix::fs::symlink("00/00001", home.at("data/link")).unwrap();
    std::fs::create_dir(home.at("data/empty")).unwrap();
    for place in ["mirror", "mirror.volvault", "one", "one.volvault", "three", "three.volvault"] {
        std::fs::create_dir(home.at(place)).unwrap();
    }
    home
}

/// A run that must end with this code; what it printed to both streams.
pub(crate) fn says(home: &Home, arguments: &[&str], code: i32) -> String {
    let output = home.run(&[&["mirror"], arguments].concat());
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

/// A server, which the home is set up for, and the place of a mirror there.
pub(crate) fn site(home: &mut Home) -> (S3ServerThread, String) {
    let server = S3ServerThread::start();
    for (name, value) in server.server.variables() {
        home.set(name, value);
    }
    server.server.make_bucket("site");
    let place = format!("s3:{}/site/p", server.server.endpoint);
    (server, place)
}

fn same(home: &Home, left: &str, right: &str) {
    assert_same(&on_disk(&home.at(left)), &on_disk(&home.at(right)));
}

fn json(home: &Home, arguments: &[&str], code: i32) -> Vec<serde_json::Value> {
    let text = says(home, &[arguments, &["--json"]].concat(), code);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The last message of this type.
fn message<'a>(lines: &'a [serde_json::Value], kind: &str) -> &'a serde_json::Value {
    let found = lines.iter().rev().find(|line| line["message_type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}: {lines:?}"))
}

#[test]
fn a_tree_goes_into_a_directory_and_comes_out_of_it_as_it_was() {
    let home = home();
    let said = says(&home, &["push", "data", "mirror"], 0);
    for line in [
        "Transferred:   \t   48.828 KiB / 48.828 KiB, 100%, ",
        "Transferred:           25 / 25, 100%",
        "Elapsed time:  ",
        "mirror: generation 1, ",
        ", exit status 0",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(std::fs::read(home.at("mirror/00/00007")).unwrap(), std::fs::read(home.at("data/00/00007")).unwrap());
    assert_eq!(std::fs::read(home.at("mirror/link.rclonelink")).unwrap(), b"00/00001");
    let said = says(&home, &["pull", "mirror", "back"], 0);
    assert!(said.contains("Transferred:           25 / 25, 100%") && said.contains("mirror: generation 1, "), "{said}");
    same(&home, "data", "back");
}

#[test]
fn what_is_unchanged_costs_a_request_and_may_be_told_by_the_exit_code() {
    let mut home = home();
    let (server, place) = site(&mut home);
    says(&home, &["push", "data", &place], 0);
    let count = |arguments: &[&str], code| {
        let before = server.server.requests();
        let said = says(&home, arguments, code);
        (server.server.requests() - before, said)
    };
    let (requests, said) = count(&["push", "data", &place], 0);
    assert_eq!(requests, 1, "{said}");
    assert!(said.contains("There was nothing to transfer\n"), "{said}");
    assert!(said.contains(&format!("{place}: unchanged, generation 1, 1 request, exit status 0")), "{said}");
    says(&home, &["push", "data", &place, "--error-on-no-transfer"], 9);
    says(&home, &["pull", &place, "back"], 0);
    same(&home, "data", "back");
    let (requests, said) = count(&["pull", &place, "back", "--error-on-no-transfer"], 9);
    assert_eq!(requests, 1, "{said}");
    assert!(said.contains("unchanged, generation 1, 1 request, exit status 9"), "{said}");
    write(&home.at("data/new"), b"new");
    std::fs::remove_file(home.at("data/00/00003")).unwrap();
    let said = says(&home, &["push", "data", &place, "-v"], 0);
    assert!(said.contains("new: Copied (new)\n") && said.contains("00/00003: Deleted\n"), "{said}");
    assert!(said.contains("generation 1 -> 2, "), "{said}");
    let lines = json(&home, &["pull", &place, "back"], 0);
    let summary = message(&lines, "summary");
    assert_eq!((summary["status"].as_str(), summary["before"].as_u64()), (Some("applied"), Some(1)), "{summary}");
    assert_eq!(
        (summary["generation"].as_u64(), summary["stats"]["transfers"].as_u64()),
        (Some(2), Some(1)),
        "{summary}"
    );
    assert_eq!((summary["stats"]["deletes"].as_u64(), summary["not_set"].as_u64()), (Some(1), Some(0)), "{summary}");
    same(&home, "data", "back");
}

#[test]
fn a_dry_run_says_what_it_would_take_and_writes_nothing() {
    let home = home();
    let said = says(&home, &["push", "data", "mirror", "-n"], 0);
    assert!(said.contains("generation 1 would take about "), "{said}");
    assert!(std::fs::read_dir(home.at("mirror.volvault")).unwrap().next().is_none());
    says(&home, &["push", "data", "mirror"], 0);
    let said = says(&home, &["pull", "mirror", "back", "--dry-run"], 0);
    assert!(said.contains("generation 1, nothing was written"), "{said}");
    let planned = &json(&home, &["pull", "mirror", "back", "--dry-run"], 0);
    let files = std::fs::read_dir(home.at("mirror/00")).unwrap().count();
    assert_eq!(message(planned, "summary")["planned"]["requests"].as_u64(), u64::try_from(files).ok());
    assert!(said.contains(&format!("about {files} requests and at most ")), "{said}");
    assert!(!home.at("back").exists() || std::fs::read_dir(home.at("back")).unwrap().next().is_none());
    write(&home.at("data/more"), b"more");
    let planned = json(&home, &["push", "data", "mirror", "--dry-run"], 0);
    let destination = message(&planned, "destination");
    assert_eq!((destination["status"].as_str(), destination["generation"].as_u64()), (Some("planned"), Some(2)));
    assert_eq!(destination["planned"]["bytes"], 4, "{destination}");
}

/// A key of S3 has at most 1,024 bytes.
#[test]
fn a_destination_that_does_not_get_a_file_has_an_exit_status_of_its_own() {
    let mut home = home();
    let (_server, place) = site(&mut home);
    let long = vec!["directory".repeat(27); 5].join("/");
    write(&home.at(&format!("data/{long}/file")), b"far down");
    let said = says(&home, &["push", "data", &place, "mirror"], 1);
    assert!(said.contains(&format!("{place}: generation 1, ")) && said.contains("mirror: generation 1, "), "{said}");
    let lines = json(&home, &["push", "data", &place, "mirror"], 1);
    let each: Vec<_> = lines.iter().filter(|line| line["message_type"] == "destination").collect();
    let codes = |key: &str| each.iter().map(|line| line[key].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(codes("exit_code"), [1, 0], "{said}");
    for (line, code) in said.lines().filter(|line| line.contains("exit status")).zip([1, 0]) {
        assert!(line.ends_with(&format!("exit status {code}")), "{said}");
    }
}

#[test]
fn a_destination_that_fails_stops_no_other_and_a_quorum_is_enough() {
    let home = home();
    write(&home.at("file"), b"not a directory");
    let push = ["push", "data", "one", "file/two", "three"];
    let said = says(&home, &push, 1);
    assert!(said.contains("one: generation 1, ") && said.contains("three: generation 1, "), "{said}");
    assert!(said.contains("file/two: failed, exit status 1: "), "{said}");
    assert!(said.contains("2 of 3 destinations have the generation, 3 are needed"), "{said}");
    let lines = json(&home, &[&push[..], &["--quorum", "2"]].concat(), 0);
    let summary = message(&lines, "summary");
    assert_eq!((summary["succeeded"].as_u64(), summary["quorum"].as_u64()), (Some(2), Some(2)), "{summary}");
    let codes: Vec<_> = lines.iter().filter(|line| line["message_type"] == "destination").collect();
    assert_eq!(codes.iter().map(|line| line["exit_code"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(
        codes.iter().map(|line| line["status"].as_str().unwrap()).collect::<Vec<_>>(),
        ["unchanged", "failed", "unchanged"]
    );
    says(&home, &[&push[..], &["--quorum", "3"]].concat(), 1);
    for wrong in ["0", "4"] {
        says(&home, &[&push[..], &["--quorum", wrong]].concat(), 2);
    }
    for place in ["one", "three"] {
        says(&home, &["pull", place, "back"], 0);
        same(&home, "data", "back");
    }
}

#[test]
fn refusals_name_the_way_out_and_have_rclones_exit_codes() {
    let home = home();
    says(&home, &["push", "data", "mirror"], 0);
    std::fs::create_dir(home.at("nothing")).unwrap();
    for (arguments, code, words) in [
        (&["push", "missing", "mirror"][..], 3, "missing"),
        (&["push", "nothing", "mirror"], 7, "--allow-empty"),
        (&["push", "data"], 2, "<DEST>"),
        (&["push", "data", "mirror", "--frobnicate"], 2, "--frobnicate"),
        (&["push", "data", "mirror", "--filter", "x"], 2, "malformed rule"),
        (&["pull", "mirror", "back", "--wait", "x"], 2, "--wait"),
        (&["push", "data", "sftp:host:/x"], 2, "sftp"),
        (&["push", "data", "unknown:bucket/path"], 2, "unknown"),
        (&["pull", "nowhere", "back"], 3, "nowhere"),
        (&["status", "nowhere"], 3, "there is no mirror at "),
        (&["pull", "mirror", "back", "--rclone-config", "missing.conf"], 3, "missing.conf"),
        (&["pull", "mirror", "back", "--generation", "7"], 3, "7"),
    ] {
        let said = says(&home, arguments, code);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    for n in 0..5 {
        std::fs::remove_file(home.at(&format!("data/00/0000{n}"))).unwrap();
    }
    let said = says(&home, &["push", "data", "mirror", "--max-delete", "4"], 7);
    assert!(said.contains("--max-delete"), "{said}");
    assert!(home.at("mirror/00/00000").exists(), "refused before anything is deleted");
    says(&home, &["push", "data", "mirror", "--max-delete", "5"], 0);
    assert!(!home.at("mirror/00/00000").exists());
    fill(&home.at("other"), 10, 5);
    says(&home, &["pull", "mirror", "other", "--max-delete", "4"], 7);
    assert_eq!(std::fs::read(home.at("other/00/00000")).unwrap(), noise(5, 0));
    says(&home, &["push", "nothing", "mirror", "--allow-empty"], 0);
    assert!(!home.at("mirror/00").exists());
    let said = says(&home, &["pull", "mirror", "other"], 7);
    assert!(said.contains("--allow-empty"), "{said}");
    assert!(home.at("other/00/00000").exists());
}

#[test]
fn remotes_of_rclone_conf_and_its_variables_are_understood() {
    let server = S3ServerThread::start();
    server.server.make_bucket("site");
    let endpoint = &server.server.endpoint;
    let conf = format!(
        "# written by rclone\n[edge]\ntype = s3\nprovider = Other\naccess_key_id = {ACCESS_KEY}\nsecret_access_key = {SECRET_KEY}\n\
         endpoint = {endpoint}\nregion = us-east-1\n\n[short]\ntype = alias\nremote = edge:site/deep\n\n[old]\ntype = sftp\nhost = h\n"
    );
    let mut home = home();
    write(&home.at("rclone.conf"), conf.as_bytes());
    says(&home, &["push", "data", "edge:site/deep/tree", "--rclone-config", "rclone.conf"], 0);
    assert!(server.server.file("site", "deep/tree/00/00001").exists());
    let named = says(&home, &["push", "data", "old:x", "--rclone-config", "rclone.conf"], 6);
    assert!(named.contains("sftp"), "{named}");
    home.set("RCLONE_CONFIG", "rclone.conf".to_owned());
    home.set("RCLONE_EXCLUDE", "*5,/00/00006".to_owned());
    says(&home, &["pull", "short:tree", "back"], 0);
    for (name, there) in [("00000", true), ("00005", false), ("00006", false), ("00015", false), ("00016", true)] {
        assert_eq!(home.at(&format!("back/00/{name}")).exists(), there, "{name}");
    }
    home.set("RCLONE_CONFIG_EDGE_SECRET_ACCESS_KEY", "opensesame".to_owned());
    let refused = says(&home, &["pull", "short:tree", "back"], 6);
    assert!(refused.contains("credentials") && !refused.contains("opensesame"), "{refused}");
}

#[test]
fn a_mirror_is_looked_at_and_its_damage_is_found() {
    let home = home();
    says(&home, &["push", "data", "mirror"], 0);
    write(&home.at("data/added"), b"1");
    write(&home.at("data/00/00001"), b"changed");
    std::fs::remove_file(home.at("data/00/00002")).unwrap();
    says(&home, &["push", "data", "mirror"], 0);
    let listed = says(&home, &["ls", "mirror", "00"], 0);
    assert!(listed.contains("/00/00001\n") && !listed.contains("00002") && !listed.contains("added"), "{listed}");
    assert!(says(&home, &["ls", "mirror", "--generation", "1"], 0).contains("/00/00002\n"));
    assert!(says(&home, &["ls", "mirror", "-l"], 0).contains("link -> 00/00001"));
    let generations = says(&home, &["generations", "mirror"], 0);
    assert!(generations.starts_with("Generation  Published") && generations.contains("2 generations"), "{generations}");
    let status = message(&json(&home, &["status", "mirror"], 0), "status").clone();
    assert_eq!((status["generation"].as_u64(), status["files"].as_u64()), (Some(2), Some(25)), "{status}");
    assert_eq!((status["weaker_fencing"].as_bool(), status["pushing"].is_null()), (Some(false), true), "{status}");
    let said = says(&home, &["status", "mirror", "nowhere"], 3);
    assert!(said.contains("generation  2, published ") && said.contains("nowhere: there is no mirror at "), "{said}");
    let differs = says(&home, &["diff", "mirror"], 0);
    for line in ["+ added\n", "* 00/00001\n", "- 00/00002\n", "1 added, 1 removed, 1 changed"] {
        assert!(differs.contains(line), "{line}: {differs}");
    }
    says(&home, &["pull", "mirror", "back"], 0);
    says(&home, &["diff", "mirror", "back"], 0);
    std::fs::remove_file(home.at("back/added")).unwrap();
    assert!(says(&home, &["diff", "mirror", "back"], 1).contains("+ added\n"));
    assert!(says(&home, &["verify", "mirror", "--read"], 0).contains("no errors were found"));
    flip_a_bit(&home.at("mirror/00/00009"));
    says(&home, &["verify", "mirror"], 0);
    let said = says(&home, &["verify", "mirror", "--read"], 1);
    assert!(said.contains("/00/00009") && said.contains("0 missing, 0 replaced by others, 1 damaged"), "{said}");
    std::fs::remove_file(home.at("mirror/00/00010")).unwrap();
    write(&home.at("mirror/00/00011"), b"another tool was here");
    write(&home.at("mirror/stray"), b"another tool was here");
    let said = says(&home, &["verify", "mirror"], 1);
    assert!(
        said.contains("1 missing, 1 replaced by others") && said.contains("/stray: not of this generation"),
        "{said}"
    );
}

/// Damages a file so that neither its size nor its time tells.
pub(crate) fn flip_a_bit(path: &Path) {
    let time = std::fs::metadata(path).unwrap().modified().unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_at(&file, &mut byte, 100).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &[byte[0] ^ 1], 100).unwrap();
    file.set_modified(time).unwrap();
}
