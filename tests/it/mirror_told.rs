//! What `volvault mirror` says when something is odd: last lines of JSON, exit codes, and what is left behind.

use serde_json::Value;

use crate::command::{Home, fill, write};
use crate::mirror_command::says;

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
