//! Options of `volvault mirror` that say what is looked at: each changes what it says, and no more.

use std::time::Duration;

use crate::command::{Home, write};
use crate::mirror_command::says;

fn at(home: &Home, name: &str, seconds: u64) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    std::fs::File::options().write(true).open(home.at(name)).unwrap().set_modified(time).unwrap();
}

fn read(home: &Home, name: &str) -> String {
    String::from_utf8(std::fs::read(home.at(name)).unwrap()).unwrap()
}

#[test]
fn a_push_leaves_alone_what_exists_or_is_newer_in_the_mirror_if_it_is_told_to() {
    let home = Home::new();
    for name in ["data/older", "data/newer"] {
        write(&home.at(name), b"first");
        at(&home, name, 1_700_000_000);
    }
    says(&home, &["push", "data", "m"], 0);
    for (name, seconds) in [("data/older", 1_600_000_000), ("data/newer", 1_800_000_000), ("data/new", 1_600_000_000)] {
        write(&home.at(name), b"second");
        at(&home, name, seconds);
    }
    says(&home, &["push", "data", "m", "--ignore-existing"], 0);
    assert_eq!(["m/older", "m/newer", "m/new"].map(|name| read(&home, name)), ["first", "first", "second"]);
    says(&home, &["push", "data", "m", "--update", "--checkers", "1"], 0);
    assert_eq!(["m/older", "m/newer"].map(|name| read(&home, name)), ["first", "second"]);
    says(&home, &["push", "data", "m"], 0);
    assert_eq!(read(&home, "m/older"), "second");
}

#[test]
fn a_target_that_is_trusted_is_not_looked_at_until_there_is_a_new_generation() {
    let home = Home::new();
    write(&home.at("data/file"), b"first");
    says(&home, &["push", "data", "m"], 0);
    says(&home, &["pull", "m", "back"], 0);
    write(&home.at("back/file"), b"changed here");
    says(&home, &["pull", "m", "back", "--trust-target"], 0);
    assert_eq!(read(&home, "back/file"), "changed here");
    says(&home, &["pull", "m", "back"], 0);
    assert_eq!(read(&home, "back/file"), "first");
    write(&home.at("back/file"), b"changed here");
    write(&home.at("data/other"), b"other");
    says(&home, &["push", "data", "m"], 0);
    says(&home, &["pull", "m", "back", "--trust-target"], 0);
    assert_eq!(["back/file", "back/other"].map(|name| read(&home, name)), ["first", "other"]);
}

#[test]
fn any_two_generations_are_compared() {
    let home = Home::new();
    for name in ["one", "two", "three"] {
        write(&home.at(&format!("data/{name}")), name.as_bytes());
        says(&home, &["push", "data", "m"], 0);
    }
    assert!(says(&home, &["diff", "m"], 0).contains("1 added"));
    assert!(says(&home, &["diff", "m", "--from", "1"], 0).contains("2 added"));
    assert!(says(&home, &["diff", "m", "--from", "1", "--to", "2"], 0).contains("1 added"));
    assert!(says(&home, &["diff", "m", "--from", "3", "--generation", "1"], 0).contains("2 removed"));
}

#[test]
fn statistics_are_printed_while_it_goes_on_if_they_are_asked_for() {
    let home = Home::new();
    write(&home.at("data/file"), &vec![7; 60_000]);
    write(&home.at("data/other"), &vec![8; 60_000]);
    let slow = ["push", "data", "m", "--bwlimit", "40k", "--transfers", "1"];
    let blocks = |text: &str| text.matches("Elapsed time:").count();
    let said = says(&home, &[&slow[..], &["--stats", "100ms"]].concat(), 0);
    assert!(blocks(&said) > 1, "{said}");
    write(&home.at("data/other"), &vec![9; 60_000]);
    let said = says(&home, &[&slow[..], &["--stats", "0"]].concat(), 0);
    assert_eq!(blocks(&said), 1, "{said}");
}
