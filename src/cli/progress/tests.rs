//! What is shown of a run.

use super::*;
use crate::cli::output::testing::console;
use crate::cli::settings::OutputSettings;
use crate::clock::SystemClock;
use crate::error::Error;
use crate::path::TreePath;

fn settings(json: bool, quiet: bool, updates_per_second: Option<f64>) -> OutputSettings {
    OutputSettings { json, quiet, updates_per_second, ..OutputSettings::default() }
}

#[test]
fn what_is_shown_depends_on_the_terminal_and_on_what_was_asked_for() {
    let every = |seconds: f64| Duration::from_secs_f64(seconds);
    for (made, terminal, expected) in [
        (settings(false, false, None), true, Style::Bar(OFTEN)),
        (settings(false, false, None), false, Style::Lines(SELDOM)),
        (settings(true, false, None), false, Style::Json(OFTEN)),
        (settings(false, true, None), true, Style::Nothing),
        (settings(true, true, None), false, Style::Nothing),
        (settings(true, true, Some(2.0)), false, Style::Json(every(0.5))),
        (settings(false, false, Some(0.1)), false, Style::Lines(every(10.0))),
        (settings(false, true, Some(1000.0)), true, Style::Bar(every(1.0 / 60.0))),
    ] {
        let (console, ..) = console(made);
        assert_eq!(style(&console, Kind::Backup, terminal), expected, "{made:?} {terminal}");
    }
}

#[test]
fn a_line_names_rate_and_time_left() {
    let mut pace = Pace::default();
    pace.note(Duration::ZERO, 0);
    pace.note(Duration::from_secs(10), 10 << 20);
    let mut counts = Counts {
        files_total: 20,
        bytes_total: 40 << 20,
        files_done: 5,
        bytes_done: 10 << 20,
        errors: 1,
        totals_are_final: true,
        current: None,
    };
    let line = |kind, counts: &Counts| sentence(kind, counts, Duration::from_secs(10), &pace);
    assert_eq!(
        line(Kind::Backup, &counts),
        "[0:10] 25.00%  5 files 10.000 MiB, total 20 files 40.000 MiB, 1 errors, 1.000 MiB/s ETA 0:30"
    );
    counts.totals_are_final = false;
    assert_eq!(
        line(Kind::Restore, &counts),
        "[0:10] 5 files/dirs 10.000 MiB, total 20 files/dirs 40.000 MiB, 1 errors, 1.000 MiB/s"
    );
}

#[test]
fn status_lines_are_printed_while_a_run_goes_on_and_the_result_comes_back() {
    let (console, out, _) = console(settings(true, false, Some(60.0)));
    let stop = Stop::new();
    let clock = SystemClock::new();
    let result = watched(&console, clock.as_ref(), (Kind::Backup, &stop), |watch| {
        Progress::add(&watch.progress.bytes_total, 10);
        Progress::add(&watch.progress.bytes_done, 5);
        let patience = clock.elapsed() + Duration::from_secs(5);
        while out.text().is_empty() && clock.elapsed() < patience {
            std::thread::yield_now();
        }
        7
    });
    assert_eq!(result, 7);
    assert!(out.text().starts_with(r#"{"message_type":"status","percent_done":"#), "{}", out.text());
}

#[test]
fn a_panic_in_a_run_is_not_waited_for() {
    let (console, ..) = console(settings(false, false, Some(1e-5)));
    let stop = Stop::new();
    let clock = SystemClock::new();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        watched(&console, clock.as_ref(), (Kind::Backup, &stop), |_| panic!("the run fails"));
    }));
    assert!(caught.is_err());
}

#[test]
fn problems_are_told_of_in_both_tongues_and_names_are_escaped() {
    let error = Error::corrupt("read failed");
    let problem = Event::Problem { during: "archival", item: "/a\x1b[31m", error: &error };
    let (plain, _, err) = console(settings(false, true, None));
    Listener { console: &plain, kind: Kind::Backup }.on(&problem);
    assert_eq!(err.text(), "error: /a\\u{1b}[31m: read failed\n");
    let (json, _, err) = console(settings(true, false, None));
    Listener { console: &json, kind: Kind::Backup }.on(&problem);
    Listener { console: &json, kind: Kind::Check }.on(&problem);
    assert_eq!(
        err.text(),
        concat!(
            r#"{"message_type":"error","error":{"message":"read failed"},"during":"archival","item":"/a\u001b[31m"}"#,
            "\n",
            r#"{"message_type":"error","message":"/a\u001b[31m: read failed"}"#,
            "\n"
        )
    );
}

#[test]
fn items_are_named_from_the_second_v_on() {
    let path = TreePath::parse("a/b").unwrap();
    let item = Event::Item { action: Action::Unchanged, path: &path, size: 1024 };
    let mut made = settings(false, false, None);
    for (verbosity, expected) in [(1, ""), (2, "unchanged /a/b (1.000 KiB)\n")] {
        made.verbosity = verbosity;
        let (console, out, _) = console(made);
        let listener = Listener { console: &console, kind: Kind::Backup };
        assert_eq!(listener.wants_items(), verbosity == 2);
        listener.on(&item);
        assert_eq!(out.text(), expected);
    }
}
