use std::sync::Arc;

use chrono::TimeDelta;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::schedule::document::Documents;
use crate::schedule::status::{MoverResult, Status};

/// An engine and its clock; jobs end when the test says so.
struct Bench {
    clock: Arc<ManualClock>,
    engine: Engine,
    options: EngineOptions,
    documents: String,
}

const BACKUP: &str = "{repository: r}";

fn source(name: &str, trigger: &str, restic: &str) -> String {
    format!(
        "---\napiVersion: volsync.backube/v1alpha1\nkind: ReplicationSource\nmetadata: {{name: {name}}}\n\
         spec: {{sourcePVC: v, trigger: {trigger}, restic: {restic}}}\n"
    )
}

fn resources(text: &str) -> Vec<Resource> {
    let mut documents = Documents::default();
    documents.read("test", text).unwrap();
    documents.resources
}

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

impl Bench {
    fn new(documents: &str, start: &str, zone: &str) -> Self {
        let options = EngineOptions { zone: zone.parse().unwrap(), ..EngineOptions::default() };
        Self::with(documents, start, options)
    }

    fn with(documents: &str, start: &str, options: EngineOptions) -> Self {
        let clock = Arc::new(ManualClock::new(DateTime::parse_from_rfc3339(start).unwrap()));
        let engine = Engine::new(resources(documents), Kept::default(), options.clone(), clock.now().to_utc());
        Self { clock, engine, options, documents: documents.to_owned() }
    }

    /// The process is killed, and a new one begins with what was kept.
    fn restart(&mut self) {
        let bytes = self.engine.kept().to_string().into_bytes();
        let kept = Kept::read(&bytes).unwrap();
        self.engine = Engine::new(resources(&self.documents), kept, self.options.clone(), self.now());
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now().to_utc()
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn starts(&mut self) -> Vec<Vec<String>> {
        let now = self.now();
        self.engine.turn(now).into_iter().map(|start| start.actions).collect()
    }

    fn ends(&mut self, index: usize, code: u8) {
        let now = self.now();
        self.engine.ended(index, Ended { code, logs: format!("code {code}"), ..Ended::default() }, now);
    }

    /// Looks every `step` for `time`; every job takes `took`. When jobs began.
    fn run(&mut self, time: Duration, step: Duration, took: Duration) -> Vec<DateTime<Utc>> {
        let end = self.now() + time;
        let mut began = Vec::new();
        while self.now() < end {
            let now = self.now();
            let starts = self.engine.turn(now);
            if starts.is_empty() {
                self.pass(step);
                continue;
            }
            began.push(now);
            self.pass(took);
            for start in starts {
                self.ends(start.index, 0);
            }
        }
        began
    }

    fn view(&self, index: usize) -> ResourceView {
        self.engine.views().swap_remove(index)
    }

    fn status(&self) -> Status {
        self.view(0).status
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

#[test]
fn a_new_resource_runs_at_once_and_then_by_its_schedule_for_months() {
    let document = source("a", "{schedule: '17 2 * * *'}", BACKUP);
    let mut bench = Bench::new(&document, "2024-01-01T12:00:00Z", "UTC");
    let began = bench.run(120 * DAY, MINUTE, 90 * SECOND);
    assert_eq!(began.len(), 121);
    assert_eq!(began[0], utc("2024-01-01T12:00:00Z"));
    for (day, time) in (0..).zip(&began[1..]) {
        let due = utc("2024-01-02T02:17:00Z") + TimeDelta::days(day);
        assert!((due..due + TimeDelta::seconds(61)).contains(time), "{time}");
    }
    let view = bench.view(0);
    assert_eq!((view.missed_intervals, view.out_of_sync, view.runs.succeeded), (0, false, 121));
    assert_eq!(view.history.len(), 100);
    assert_eq!(view.next, Some(utc("2024-05-01T02:17:00Z")));
    assert_eq!(view.status.last_sync_duration, Some(90 * SECOND));
    assert_eq!(view.status.conditions[0].reason, "WaitingForSchedule");
}

#[test]
fn clock_changes_leave_a_run_out_and_make_one_twice() {
    let document = source("a", "{schedule: '30 2 * * *'}", BACKUP);
    for (start, expected) in [
        ("2024-03-29T12:00:00Z", &["2024-03-30T01:30:00Z", "2024-04-01T00:30:00Z"]),
        ("2024-10-26T12:00:00Z", &["2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z"]),
    ] {
        let mut bench = Bench::new(&document, start, "Europe/Berlin");
        let began = bench.run(3 * DAY, SECOND, MINUTE);
        let times: Vec<DateTime<Utc>> = began[1..3].iter().map(|time| *time - TimeDelta::seconds(1)).collect();
        assert_eq!(times, expected.map(utc), "{start}");
    }
}

#[test]
fn a_run_that_is_longer_than_its_interval_misses_and_is_never_two() {
    let document = source("a", "{schedule: '*/10 * * * *'}", BACKUP);
    let mut bench = Bench::new(&document, "2024-01-01T00:00:30Z", "UTC");
    assert_eq!(bench.starts().len(), 1);
    assert!(bench.view(0).out_of_sync, "it has never run");
    bench.pass(25 * MINUTE);
    assert!(bench.starts().is_empty(), "one job at a time");
    bench.ends(0, 0);
    assert_eq!(bench.view(0).missed_intervals, 0, "there is no interval before the first success");
    // Due at 0:30, to be over at 0:40, over at 0:46.
    bench.pass(5 * MINUTE);
    assert_eq!(bench.starts().len(), 1);
    bench.pass(8 * MINUTE);
    assert!(bench.starts().is_empty() && !bench.view(0).out_of_sync);
    bench.pass(8 * MINUTE);
    assert!(bench.starts().is_empty() && bench.view(0).out_of_sync);
    bench.ends(0, 0);
    let view = bench.view(0);
    assert_eq!((view.missed_intervals, view.out_of_sync), (1, false));
    assert_eq!(view.next, Some(utc("2024-01-01T00:50:00Z")), "what was missed is not made up for");
}

#[test]
fn a_failed_try_is_repeated_with_growing_pauses_and_stays_the_same_run() {
    let document = source("a", "{schedule: '@daily'}", BACKUP);
    let mut bench = Bench::new(&document, "2024-01-01T12:00:00Z", "UTC");
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert_eq!(bench.starts().len(), 1);
        bench.ends(0, 3);
        let failed = bench.now();
        assert_eq!(bench.status().last_sync_start_time, Some(utc("2024-01-01T12:00:00Z")));
        assert_eq!(bench.status().latest_mover_status.unwrap().result, MoverResult::Failed);
        let next = bench.view(0).next.unwrap();
        bench.pass((next - failed - TimeDelta::seconds(1)).to_std().unwrap());
        assert!(bench.starts().is_empty());
        bench.pass(SECOND);
        pauses.push((next - failed).num_seconds());
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 360, 360]);
    assert_eq!(bench.starts().len(), 1);
    bench.ends(0, 0);
    let view = bench.view(0);
    assert_eq!((view.runs.succeeded, view.runs.failed), (1, 8));
    assert_eq!(view.status.last_sync_start_time, None);
    assert_eq!(view.status.last_sync_duration, Some(1350 * SECOND), "from the first try on");
    assert_eq!(view.next, Some(utc("2024-01-02T00:00:00Z")));
}

#[test]
fn a_manual_trigger_runs_once_for_each_tag_and_comes_before_the_schedule() {
    let first = source("a", "{schedule: '* * * * *', manual: first}", BACKUP);
    let mut bench = Bench::new(&first, "2024-01-01T12:00:00Z", "UTC");
    assert_eq!(bench.run(DAY, MINUTE, SECOND).len(), 1);
    assert_eq!(bench.status().last_manual_sync.as_deref(), Some("first"));
    assert_eq!((bench.status().next_sync_time, bench.view(0).trigger.as_str()), (None, "manual first"));
    bench.documents = first.replace("first", "second");
    bench.restart();
    assert_eq!(bench.run(DAY, MINUTE, SECOND).len(), 1);
    assert_eq!(bench.status().last_manual_sync.as_deref(), Some("second"));
    let id = bench.view(0).id;
    bench.engine.ask(&id, "by hand".to_owned());
    assert_eq!((bench.view(0).running_for, bench.starts().len()), (None, 1));
    assert_eq!(bench.view(0).running_for.as_deref(), Some("by hand"));
    bench.restart();
    assert_eq!(bench.run(DAY, MINUTE, SECOND).len(), 1);
    bench.restart();
    assert_eq!(bench.run(DAY, MINUTE, SECOND).len(), 0, "what was asked for is remembered");
    assert_eq!(bench.status().last_manual_sync.as_deref(), Some("by hand"));
}

#[test]
fn a_run_that_found_an_empty_volume_does_not_hide_how_old_the_newest_snapshot_is() {
    use crate::mover::Numbers;
    let mut bench = Bench::new(&source("a", "{schedule: '0 * * * *'}", BACKUP), "2024-01-01T12:30:00Z", "UTC");
    let newest = utc("2024-01-01T12:30:00Z");
    let saved = Numbers {
        files: 3,
        snapshots: Some(1),
        newest: Some(newest),
        verified: Some(newest),
        prune_refused: Some(true),
        ..Numbers::default()
    };
    for numbers in [saved, Numbers::default(), Numbers::default()] {
        assert_eq!(bench.starts().len(), 1);
        let now = bench.now();
        bench.engine.ended(0, Ended { numbers, ..Ended::default() }, now);
        assert_eq!(bench.view(0).latest, Some(Numbers { files: numbers.files, ..saved }));
        bench.pass(Duration::from_hours(1));
    }
    bench.starts();
    let now = bench.now();
    let none_left = Numbers { snapshots: Some(0), prune_refused: Some(false), ..Numbers::default() };
    bench.engine.ended(0, Ended { numbers: none_left, ..Ended::default() }, now);
    assert_eq!(bench.view(0).latest, Some(none_left));
}

#[test]
fn what_is_asked_for_by_hand_does_not_change_a_schedule() {
    let mut bench = Bench::new(&source("a", "{schedule: '0 * * * *'}", BACKUP), "2024-01-01T12:30:00Z", "UTC");
    assert_eq!(bench.run(MINUTE, SECOND, SECOND).len(), 1);
    let id = bench.view(0).id;
    bench.engine.ask(&id, "now".to_owned());
    let began = bench.run(Duration::from_hours(2), SECOND, SECOND);
    assert_eq!(began.len(), 3);
    assert_eq!((began[0], began[1]), (utc("2024-01-01T12:31:00Z"), utc("2024-01-01T13:00:01Z")));
}

#[test]
fn without_a_trigger_it_runs_again_after_a_rest_and_paused_it_does_not_run() {
    let mut bench = Bench::new(&source("a", "null", BACKUP), "2024-01-01T12:00:00Z", "UTC");
    assert_eq!(bench.run(MINUTE, SECOND, 5 * SECOND).len(), 4);
    assert_eq!(bench.view(0).trigger, "always");
    let paused = source("a", "null, paused: true", BACKUP);
    let mut bench = Bench::new(&paused, "2024-01-01T12:00:00Z", "UTC");
    assert!(bench.run(DAY, MINUTE, SECOND).is_empty());
    assert_eq!((bench.view(0).paused, bench.view(0).out_of_sync, bench.view(0).next), (true, true, None));
}

#[test]
fn a_killed_process_goes_on_from_what_it_kept() {
    let document = source("a", "{schedule: '0 3 * * *'}", "{repository: r, pruneIntervalDays: 2, unlock: x}");
    let mut bench = Bench::new(&document, "2024-01-01T12:00:00Z", "UTC");
    assert_eq!(bench.starts(), [["unlock", "backup"]]);
    bench.pass(MINUTE);
    // Killed while the job was at work: the run begins again, and it is the same one.
    bench.restart();
    assert_eq!(bench.starts(), [["unlock", "backup"]]);
    bench.pass(MINUTE);
    bench.ends(0, 0);
    assert_eq!(bench.status().last_sync_duration, Some(2 * MINUTE));
    bench.restart();
    assert!(bench.starts().is_empty(), "nothing is due");
    assert_eq!(bench.view(0).next, Some(utc("2024-01-02T03:00:00Z")));
    assert_eq!(bench.view(0).history.len(), 1);
    bench.pass(DAY);
    assert_eq!(bench.starts(), [["backup"]]);
    bench.ends(0, 0);
    bench.pass(DAY);
    assert_eq!(bench.starts(), [["backup", "prune"]], "two days after it was first seen");
    bench.ends(0, 0);
    let pruned = bench.now();
    bench.restart();
    assert_eq!(bench.status().restic.unwrap().last_pruned, Some(pruned));
    bench.pass(DAY);
    assert_eq!(bench.starts(), [["backup"]]);
    // Asked to stop: that is no failure, and the next process goes on.
    bench.engine.stop();
    bench.ends(0, 130);
    assert_eq!((bench.view(0).runs.failed, bench.engine.running()), (0, 0));
    assert!(bench.starts().is_empty());
    bench.restart();
    assert_eq!(bench.starts(), [["backup"]]);
}

#[test]
fn a_machine_that_slept_for_weeks_runs_once() {
    let document = source("a", "{schedule: '0 * * * *'}", BACKUP);
    let mut bench = Bench::new(&document, "2024-01-01T12:30:00Z", "UTC");
    bench.run(MINUTE, SECOND, SECOND);
    bench.pass(30 * DAY);
    assert_eq!(bench.run(10 * MINUTE, SECOND, SECOND).len(), 1);
    assert_eq!(bench.view(0).missed_intervals, 1);
}

#[test]
fn a_changed_volume_runs_when_it_has_settled_and_one_that_never_does_runs_too() {
    let document =
        source("a", "null", BACKUP).replace("{name: a}", "{name: a, annotations: {volvault.dev/on-change: 30s}}");
    let mut bench = Bench::new(&document, "2024-01-01T12:00:00Z", "UTC");
    assert_eq!(bench.run(DAY, MINUTE, SECOND).len(), 1, "at first, and then only when something changes");
    let change = |bench: &mut Bench| {
        let now = bench.now();
        bench.engine.changed(0, now);
    };
    change(&mut bench);
    bench.pass(20 * SECOND);
    change(&mut bench);
    bench.pass(29 * SECOND);
    assert!(bench.starts().is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.starts().len(), 1);
    // While it runs: that is for the next run.
    change(&mut bench);
    bench.ends(0, 0);
    assert!(bench.starts().is_empty());
    bench.pass(30 * SECOND);
    assert_eq!(bench.starts().len(), 1);
    bench.ends(0, 0);
    let mut waited = 0;
    while bench.starts().is_empty() {
        change(&mut bench);
        bench.pass(SECOND);
        waited += 1;
    }
    assert_eq!(waited, 300);
}

#[test]
fn as_many_jobs_run_as_may_and_whoever_waits_longest_is_next() {
    let documents: String = ["a", "b", "c"].map(|name| source(name, "null", BACKUP)).concat();
    let options = EngineOptions { jobs: 1, ..EngineOptions::default() };
    let mut bench = Bench::with(&documents, "2024-01-01T12:00:00Z", options);
    let mut order = Vec::new();
    for _ in 0..7 {
        let now = bench.now();
        let starts = bench.engine.turn(now);
        assert_eq!(starts.len(), 1);
        order.push(starts[0].index);
        assert_eq!(bench.engine.views().iter().filter(|view| view.waiting).count(), 2);
        bench.pass(20 * SECOND);
        let _ = bench.engine.turn(bench.now());
        bench.ends(starts[0].index, 0);
        bench.pass(11 * SECOND);
        let _ = bench.engine.views();
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn jitter_is_the_same_every_time_within_its_bound_and_not_the_same_for_all() {
    let documents: String = (0..20).map(|n| source(&format!("s{n}"), "{schedule: '@hourly'}", BACKUP)).collect();
    let options = EngineOptions { jitter: 10 * MINUTE, jobs: 100, zone: Zone::UTC, ..EngineOptions::default() };
    let mut bench = Bench::with(&documents, "2024-01-01T12:30:00Z", options);
    bench.run(SECOND, SECOND, SECOND);
    let next =
        |bench: &Bench| -> Vec<DateTime<Utc>> { bench.engine.views().iter().filter_map(|view| view.next).collect() };
    let times = next(&bench);
    let slot = utc("2024-01-01T13:00:00Z");
    assert!(times.iter().all(|time| (slot..=slot + TimeDelta::minutes(10)).contains(time)), "{times:?}");
    let distinct: std::collections::BTreeSet<_> = times.iter().collect();
    assert!(distinct.len() > 15, "{times:?}");
    bench.restart();
    // The file holds whole seconds, the slots are the same.
    assert_eq!(next(&bench), times);
    assert!(bench.run(Duration::from_hours(1), SECOND, SECOND).len() > 10);
    assert!(bench.engine.views().iter().all(|view| view.runs.succeeded == 1 && view.missed_intervals == 0));
    // A schedule that comes more often than the jitter is long keeps half of its time.
    let dense = source("d", "{schedule: '* * * * *'}", BACKUP);
    let options = EngineOptions { jitter: DAY, zone: Zone::UTC, ..EngineOptions::default() };
    let mut bench = Bench::with(&dense, "2024-01-01T12:30:10Z", options);
    assert_eq!(bench.run(Duration::from_hours(1), SECOND, SECOND).len(), 61);
}

#[test]
fn a_file_that_is_no_status_is_refused() {
    for text in ["", "{", "[]", "{}", r#"{"items":[{"kind":"Pod","metadata":{"name":"a","namespace":"b"}}]}"#] {
        assert!(Kept::read(text.as_bytes()).is_err(), "{text}");
    }
    let old = r#"{"items":[{"kind":"ReplicationSource","metadata":{"name":"a","namespace":"b"},"status":{"x":1}}]}"#;
    assert!(Kept::read(old.as_bytes()).is_ok(), "fields of other versions are passed over");
}

#[test]
fn what_changed_while_no_process_watched_is_saved_and_a_clock_that_is_set_back_stops_nothing() {
    let document =
        source("a", "null", BACKUP).replace("{name: a}", "{name: a, annotations: {volvault.dev/on-change: 30s}}");
    let mut bench = Bench::new(&document, "2024-01-01T12:00:00Z", "UTC");
    bench.run(MINUTE, SECOND, SECOND);
    bench.restart();
    // As the loop does when it begins to watch.
    let now = bench.now();
    bench.engine.changed(0, now);
    assert!(bench.starts().is_empty());
    bench.pass(30 * SECOND);
    assert_eq!(bench.starts().len(), 1);
    bench.ends(0, 3);
    let back = Bench::new(&document, "2024-01-01T02:00:00Z", "UTC");
    let kept = Kept::read(bench.engine.kept().to_string().as_bytes()).unwrap();
    let mut engine = Engine::new(resources(&document), kept, back.options.clone(), back.now());
    assert_eq!(engine.turn(back.now()).len(), 1, "a failed try does not wait for hours");
}
