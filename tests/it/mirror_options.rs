//! Options of `volvault mirror` as a process: each does what its help says, or is refused by name.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use volvault::clock::SystemClock;

use crate::command::{Home, fill, pause, write};
use crate::mirror_command::{says, site};
use crate::support::trees::paths;
use crate::support::vault::{assert_same, noise, on_disk};

fn home() -> Home {
    let home = Home::new();
    fill(&home.at("data"), 25, 2000);
    home
}

#[test]
fn permissions_for_old_pullers_are_written_even_if_nothing_else_is_new() {
    let home = home();
    says(&home, &["push", "data", "m"], 0);
    assert!(!home.at("m/permissions.facl").exists());
    let said = says(&home, &["push", "data", "m", "--facl"], 0);
    assert!(said.contains("generation 1 -> 2"), "{said}");
    let text = std::fs::read_to_string(home.at("m/permissions.facl")).unwrap();
    assert!(text.contains("# file: data/00/00001\n") && text.contains("user::rw-"), "{text}");
    assert!(says(&home, &["push", "data", "m", "--facl"], 0).contains("unchanged, generation 2"));
    says(&home, &["pull", "m", "back"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
}

#[test]
fn a_relisting_push_mends_what_another_tool_did() {
    let home = home();
    says(&home, &["push", "data", "m"], 0);
    write(&home.at("m/00/00003"), b"of another tool");
    std::fs::remove_file(home.at("m/00/00004")).unwrap();
    write(&home.at("m/stray"), b"of nobody");
    assert!(says(&home, &["push", "data", "m"], 0).contains("unchanged"), "nothing in the source is new");
    says(&home, &["verify", "m"], 1);
    let said = says(&home, &["push", "data", "m", "--relist", "-v"], 0);
    assert!(said.contains("00/00003: Copied") && said.contains("00/00004: Copied"), "{said}");
    assert!(!home.at("m/stray").exists());
    says(&home, &["verify", "m", "--read"], 0);
    says(&home, &["pull", "m", "back"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
}

#[test]
fn a_dry_run_names_the_files_that_would_go_and_tells_when_none_would() {
    let home = home();
    let said = says(&home, &["push", "data", "m", "-n", "-v"], 0);
    assert!(said.contains("00/00007: Skipped copy as --dry-run is set (size 1.953Ki)"), "{said}");
    says(&home, &["push", "data", "m"], 0);
    let said = says(&home, &["push", "data", "m", "-n", "-v"], 0);
    assert!(said.contains("unchanged, generation 1") && !said.contains("Skipped"), "{said}");
    std::fs::remove_file(home.at("data/00/00002")).unwrap();
    write(&home.at("data/00/00003"), b"changed");
    let said = says(&home, &["push", "data", "m", "-n", "-v"], 0);
    assert!(said.contains("00/00002: Skipped delete as --dry-run is set"), "{said}");
    assert!(said.contains("00/00003: Skipped copy as --dry-run is set (size 7)"), "{said}");
    assert_eq!(said.matches("Skipped").count(), 2, "{said}");
    assert!(home.at("m/00/00002").exists());
}

#[test]
fn a_timetable_of_bandwidths_holds() {
    let mut home = Home::new();
    let (_server, place) = site(&mut home);
    write(&home.at("data/file"), &noise(600_000, 1));
    // The same all day, whenever the test runs.
    let clock = SystemClock::new();
    let start = clock.elapsed();
    says(&home, &["push", "data", &place, "--bwlimit", "00:00,200k 12:00,200k"], 0);
    let took = clock.elapsed().saturating_sub(start);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    says(&home, &["pull", &place, "back", "--bwlimit", "Mon-00:00,off Sun-23:59,off"], 0);
    // A directory is no exception.
    says(&home, &["push", "data", "disk"], 0);
    let start = clock.elapsed();
    says(&home, &["pull", "disk", "other", "--bwlimit", "off:400k"], 0);
    let took = clock.elapsed().saturating_sub(start);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    for wrong in ["25:00,1M", "fast"] {
        assert!(says(&home, &["push", "data", &place, "--bwlimit", wrong], 2).contains("bwlimit"), "{wrong}");
    }
}

#[test]
fn earlier_generations_backups_and_what_is_not_allowed() {
    let home = home();
    says(&home, &["push", "data", "m"], 0);
    says(&home, &["pull", "m", "back"], 0);
    write(&home.at("data/new"), b"new");
    std::fs::remove_file(home.at("data/00/00001")).unwrap();
    let before = std::fs::read(home.at("back/00/00001")).unwrap();
    says(&home, &["push", "data", "m", "--keep-generations", "3"], 0);
    let said = says(&home, &["push", "data", "m", "--keep-generations", "0"], 2);
    assert!(said.contains("--keep-generations"), "{said}");
    says(&home, &["pull", "m", "back", "--backup-dir", "replaced"], 0);
    assert_eq!(std::fs::read(home.at("replaced/00/00001")).unwrap(), before);
    // What the first generation had and the second removed is gone; a generation that was never there is named.
    says(&home, &["pull", "m", "first", "--generation", "1", "--wait", "0"], 6);
    assert!(says(&home, &["pull", "m", "second", "--generation", "9"], 3).contains('9'));
    says(&home, &["pull", "m", "second", "--generation", "2", "--strict"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("second")));
}

/// As rclone does it: a depth limits how far one looks, also for what is deleted.
#[test]
fn what_lies_deeper_than_one_looks_is_not_deleted_with_what_is_excluded() {
    let home = home();
    write(&home.at("data/top"), b"top");
    write(&home.at("data/top.tmp"), b"excluded later");
    says(&home, &["push", "data", "m"], 0);
    says(&home, &["pull", "m", "back"], 0);
    let whole = on_disk(&home.at("back"));
    let shallow = ["--max-depth", "1", "--delete-excluded", "--exclude", "*.tmp"];
    says(&home, &[&["pull", "m", "back"], &shallow[..]].concat(), 0);
    let without = |names: &[&[u8]]| {
        let mut left = whole.clone();
        left.retain(|path, _| !names.contains(&path.as_slice()));
        left
    };
    assert_same(&without(&[b"top.tmp"]), &on_disk(&home.at("back")));
    says(&home, &[&["push", "data", "m"], &shallow[..]].concat(), 0);
    says(&home, &["pull", "m", "new"], 0);
    assert_same(&without(&[b"top.tmp"]), &on_disk(&home.at("new")));
    says(&home, &["push", "data", "m", "--max-depth", "0", "--dry-run"], 0);
}

#[test]
fn places_that_lie_in_each_other_are_refused_whatever_leads_there() {
    let home = home();
    says(&home, &["push", "data", "m"], 0);
    let before = (on_disk(&home.at("data")), on_disk(&home.at("m")));
    for (link, to) in [("data-link", "data"), ("m-link", "m"), ("back-link", "back")] {
        std::os::unix::fs::symlink(home.at(to), home.at(link)).unwrap();
    }
    std::fs::create_dir(home.at("back")).unwrap();
    for (arguments, code) in [
        (&["push", "data", "data-link/new/sub"][..], 2),
        (&["push", "data", "m.volvault"], 2),
        (&["push", "data", "m.volvault/sub"], 2),
        (&["push", "data", "other", "other"], 2),
        (&["push", "data", "other", "other/sub"], 2),
        (&["push", "data", "m", "m-link/sub"], 2),
        (&["pull", "m", "m-link/new"], 7),
        (&["pull", "m", "m.volvault/new"], 7),
        (&["pull", "m", "back", "--backup-dir", "back-link/old"], 2),
        (&["pull", "m", "back", "--backup-dir", "m/old"], 2),
    ] {
        says(&home, arguments, code);
    }
    assert_same(&before.0, &on_disk(&home.at("data")));
    assert_same(&before.1, &on_disk(&home.at("m")));
    assert!(!home.at("other").exists() && std::fs::read_dir(home.at("back")).unwrap().next().is_none());
    says(&home, &["verify", "m", "--read"], 0);
}

#[test]
fn a_push_that_can_remember_nothing_says_so_and_goes_on() {
    let home = home();
    write(&home.at("file"), b"not a directory");
    for generation in ["generation 1", "unchanged, generation 1"] {
        let said = says(&home, &["push", "data", "m", "--state-dir", "file/state"], 0);
        assert!(said.contains(generation) && said.contains("nothing is remembered"), "{said}");
    }
    says(&home, &["verify", "m", "--read"], 0);
}

#[test]
fn a_mirror_that_was_wiped_begins_anew_and_a_missing_directory_only_when_told() {
    let mut home = home();
    let (server, place) = site(&mut home);
    says(&home, &["push", "data", &place], 0);
    server.server.empty_bucket("site");
    write(&home.at("data/new"), b"new");
    assert!(says(&home, &["push", "data", &place], 0).contains("generation 1"));
    says(&home, &["pull", &place, "back"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
    for gone in [&["m"][..], &["m.volvault"], &["m", "m.volvault"]] {
        says(&home, &["push", "data", "m"], 0);
        for name in gone {
            std::fs::remove_dir_all(home.at(name)).unwrap();
        }
        write(&home.at("data/new"), format!("{gone:?}").as_bytes());
        assert!(says(&home, &["push", "data", "m"], 7).contains("--relist"), "{gone:?}");
        says(&home, &["push", "data", "m", "--relist"], 0);
        says(&home, &["verify", "m", "--read"], 0);
        says(&home, &["pull", "m", "back"], 0);
        assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
    }
}

/// A disk that is not mounted looks like that, whatever is remembered of the mirror: its pin, what a push leaves of that which was cut off, or which
/// had to fetch, or nothing.
#[test]
fn a_mirror_whose_disk_may_not_be_mounted_is_neither_made_nor_added_to() {
    let home = home();
    let push = |more: &[&str], code| {
        says(&home, &[&["push", "data", "m", "--state-dir", "state"], more].concat(), code);
    };
    for (gone, is_made_again) in
        [(&["m"][..], false), (&["m.volvault"], false), (&["m", "m.volvault"], false), (&["m"], true)]
    {
        for remembered in ["all", "no pin", "fetched", "nothing"] {
            let what = format!("{gone:?} gone, made again: {is_made_again}, {remembered} remembered");
            push(&["--relist"], 0);
            match remembered {
                "all" => {}
                "nothing" => std::fs::remove_dir_all(home.at("state")).unwrap(),
                pin => set_version(&home.at("state"), Some(pin).filter(|pin| *pin != "no pin")),
            }
            for name in gone {
                std::fs::remove_dir_all(home.at(name)).unwrap();
            }
            if is_made_again {
                std::fs::create_dir(home.at("m")).unwrap();
            }
            write(&home.at("data/new"), what.as_bytes());
            let there = || ["m", "m.volvault"].map(|name| home.at(name).exists().then(|| on_disk(&home.at(name))));
            let before = there();
            let may_be_new = remembered == "nothing" && gone.contains(&"m.volvault");
            push(&[], if may_be_new { 0 } else { 7 });
            assert!(may_be_new || there() == before, "{what}");
            push(&["--relist"], 0);
            says(&home, &["verify", "m", "--read"], 0);
        }
    }
}

fn set_version(state: &Path, version: Option<&str>) {
    for path in paths(state).iter().filter(|path| path.ends_with("state.json")) {
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        json["kept"]["etag"] = serde_json::Value::Null;
        json["kept"]["version"] = version.into();
        write(path, json.to_string().as_bytes());
    }
}

/// One name that a store does not take is told of; everything else is published.
#[test]
fn a_name_that_the_store_does_not_take_stops_nothing_else() {
    let home = home();
    let link = "l".repeat(250);
    std::os::unix::fs::symlink("somewhere", home.at(&format!("data/{link}"))).unwrap();
    // A directory where the object of the link would lie.
    std::os::unix::fs::symlink("elsewhere", home.at("data/x")).unwrap();
    write(&home.at("data/x.rclonelink/file"), b"file");
    let said = says(&home, &["push", "data", "m"], 1);
    assert!(said.contains(&link) && said.contains("generation 1"), "{said}");
    says(&home, &["verify", "m", "--read"], 0);
    says(&home, &["pull", "m", "back"], 0);
    let mut expected = on_disk(&home.at("data"));
    expected.remove(link.as_bytes());
    assert_eq!(std::fs::read_link(home.at("back/x")).unwrap().to_str(), Some("elsewhere"));
    std::fs::remove_file(home.at(&format!("data/{link}"))).unwrap();
    // The object of a link is there already.
    std::os::unix::fs::symlink("anywhere", home.at("data/later")).unwrap();
    says(&home, &["push", "data", "m"], 0);
    assert!(home.at("m/later.rclonelink").is_file());
    write(&home.at("data/later.rclonelink/file"), b"file");
    says(&home, &["push", "data", "m"], 0);
    assert!(says(&home, &["push", "data", "m", "--relist"], 0).contains("unchanged"));
    says(&home, &["verify", "m", "--read"], 0);
    says(&home, &["pull", "m", "back"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
}

#[test]
fn small_files_go_into_packs_on_request() {
    let home = home();
    for wrong in ["0", "2M", "x"] {
        assert!(says(&home, &["push", "data", "m", &format!("--pack-small={wrong}")], 2).contains("pack"), "{wrong}");
    }
    says(&home, &["push", "data", "m", "--pack-small"], 0);
    assert_eq!(std::fs::read_dir(home.at("m.volvault/packs")).unwrap().count(), 1);
    assert!(says(&home, &["push", "data", "m", "--pack-small=4K"], 0).contains("unchanged"));
    says(&home, &["verify", "m", "--read"], 0);
    says(&home, &["pull", "m", "back"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
}

#[test]
fn what_rclone_has_and_volvault_has_not_is_refused_by_name() {
    let mut home = home();
    for option in ["--exclude-if-present", "--hash-filter"] {
        assert!(says(&home, &["push", "data", "m", option, "x"], 2).contains(option));
    }
    home.set("RCLONE_EXCLUDE_IF_PRESENT", ".ignore".to_owned());
    assert!(says(&home, &["push", "data", "m"], 2).contains("RCLONE_EXCLUDE_IF_PRESENT"));
}

/// A directory is adopted by name, size and pin; the listing says what it would take.
#[test]
fn a_prefix_is_adopted_without_being_read() {
    let home = home();
    let said = says(&home, &["adopt", "data", "-n"], 0);
    assert!(
        said.contains("25 objects, 48.828 KiB, would be adopted with about ") && said.contains("and 0 B of"),
        "{said}"
    );
    assert!(!home.at("data.volvault/root").exists());
    says(&home, &["adopt", "data"], 0);
    let said = says(&home, &["verify", "data"], 0);
    assert!(said.contains("25 files are not known by hash"), "{said}");
    says(&home, &["pull", "data", "back"], 0);
    for file in 0..25 {
        let name = format!("00/{file:05}");
        assert_eq!(
            std::fs::read(home.at("back").join(&name)).unwrap(),
            std::fs::read(home.at("data").join(&name)).unwrap()
        );
    }
}

#[test]
fn a_signal_ends_a_push_in_good_order_and_the_next_one_completes() {
    let mut home = Home::new();
    let (server, place) = site(&mut home);
    for file in 0..200 {
        write(&home.at(&format!("data/{file}")), &noise(20_000, file));
    }
    for signal in [Signal::TERM, Signal::INT] {
        // So slow that it is at work when the signal comes.
        let mut child = home.start(&["mirror", "push", "data", &place, "--bwlimit", "400k"]);
        let before = server.server.requests();
        while server.server.requests() < before + 12 {
            assert!(child.try_wait().unwrap().is_none(), "it ended too early");
            pause(Duration::from_millis(20));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
    says(&home, &["push", "data", &place], 0);
    says(&home, &["pull", &place, "back"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
}
