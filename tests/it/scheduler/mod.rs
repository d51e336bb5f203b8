//! `volvault run` and `validate` as a user starts them, on an S3 server: seconds here, and minutes with `VOLVAULT_RUN_SECONDS`.

#![expect(
    clippy::disallowed_methods,
    reason = "files are written as any program writes them, and a process is waited for by the clock on the wall"
)]

mod desk;
mod mirrors;

use std::time::Duration;

use crate::pins::put_in_place;
use crate::support::s3::S3ServerThread;
use desk::Desk;
use serde_json::Value;

/// How long the resources go on beside each other after each of them has run.
fn long() -> Duration {
    let seconds = std::env::var("VOLVAULT_RUN_SECONDS").map_or(1, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

#[test]
fn always_cron_manual_and_on_change_run_beside_each_other_and_go_on_after_a_kill() {
    let s3 = S3ServerThread::start();
    let desk = Desk::new(&s3);
    for name in ["always", "cron", "manual", "watched"] {
        desk.write(name, "file", name);
        desk.secret(name);
    }
    desk.source("always", "trigger: null", "");
    desk.source("cron", "trigger: {schedule: '@every 2s'}", "");
    desk.source("manual", "trigger: {manual: first}", "");
    desk.source("watched", "trigger: null", "annotations: {volvault.dev/on-change: 300ms}");
    desk.make_volume("restored");
    desk.destination("restored", "always", "trigger: {schedule: '@every 2s'}");

    let mut running = desk.run(&["--rest", "500ms", "--jobs", "3"]);
    running.until("all have run", |status| {
        ["always", "cron", "manual", "watched", "restored"].iter().all(|name| status.runs(name) >= 1)
    });
    running.until("those by the clock run again, and what was saved is restored", |status| {
        status.runs("always") >= 3
            && status.runs("cron") >= 3
            && desk.read("restored", "file").as_deref() == Some("always")
    });
    let before = running.status().runs("watched");
    desk.write("watched", "new/deep/file", "changed");
    running.until("a change is saved", |status| status.runs("watched") > before);
    std::thread::sleep(long());
    let status = running.status();
    assert_eq!(status.runs("manual"), 1, "once for a tag");
    assert_eq!(status.of("manual")["status"]["lastManualSync"], "first");
    assert_eq!(status.of("manual")["status"]["conditions"][0]["reason"], "WaitingForManual");
    assert_eq!(status.of("cron")["status"]["latestMoverStatus"]["result"], "Successful");
    assert!(status.of("cron")["status"]["nextSyncTime"].is_string());
    assert_eq!(status.failed(), 0, "{}", running.log());

    running.kill();
    // A change that no process sees.
    desk.write("watched", "unseen", "while it was away");
    let mut running = desk.run(&["--rest", "500ms"]);
    let again = running.status().runs("always");
    let watched = status.runs("watched");
    running.until("it goes on, and saves what changed meanwhile", |status| {
        status.runs("always") > again + 1 && status.runs("watched") > watched
    });
    assert_eq!(running.status().runs("manual"), 1, "its tag is done: {}", running.log());
    let other = desk.command("run", &[]).output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another process runs with"));
    assert_eq!(running.terminate(), Some(0), "{}", running.log());
    assert!(running.log().ends_with("stopped\n"), "{}", running.log());
}

/// Jobs may end before the loop has seen why: with several at once, some do.
#[test]
fn jobs_that_a_signal_ends_have_not_failed_and_are_gone_on_with() {
    let s3 = S3ServerThread::start();
    let desk = Desk::new(&s3);
    let names = ["one", "two", "three", "four"];
    for name in names {
        desk.write(name, "file", &"x".repeat(2_000_000));
        desk.slow_secret(name, "10k");
        desk.source(name, "trigger: {manual: first}", "");
    }
    let mut running = desk.run(&["--jobs", "4"]);
    running.until("all are at work", |status| {
        names.iter().all(|name| status.of(name)["status"]["lastSyncStartTime"].is_string())
    });
    assert_eq!(running.terminate(), Some(0), "{}", running.log());
    for name in names {
        let of = running.status().of(name).clone();
        assert_eq!(of["volvault"]["history"][0]["outcome"], "stopped", "{of:#}");
        assert_eq!(of["volvault"]["nextTry"], Value::Null, "{of:#}");
    }
    for name in names {
        desk.secret(name);
    }
    let mut running = desk.run(&["--jobs", "4"]);
    running.until("they are done", |status| names.iter().all(|name| status.runs(name) == 1));
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_failing_resource_says_why_and_is_tried_again() {
    let s3 = S3ServerThread::start();
    let desk = Desk::new(&s3);
    desk.write("app", "file", "1");
    desk.secret_with("app", "RESTIC_PASSWORD: one", "app");
    desk.source("app", "trigger: {manual: first}", "");
    let mut running = desk.run(&[]);
    running.until("the first run", |status| status.runs("app") == 1);
    assert_eq!(running.terminate(), Some(0));
    desk.secret_with("app", "RESTIC_PASSWORD: other", "app");
    desk.source("app", "trigger: {manual: second}", "");
    let mut running = desk.run(&[]);
    running.until("a failure", |status| status.failed() == 1);
    let status = running.status();
    let of = status.of("app");
    assert_eq!(of["status"]["latestMoverStatus"]["result"], "Failed");
    let logs = of["status"]["latestMoverStatus"]["logs"].as_str().unwrap();
    assert!(logs.contains("incorrect password") && logs.len() <= 1024, "{logs}");
    assert_eq!(of["status"]["lastManualSync"], "first");
    assert!(of["status"]["lastSyncStartTime"].is_string() && of["volvault"]["nextTry"].is_string());
    assert_eq!(running.terminate(), Some(0));
}

/// What was seen of a repository stands in the status file, and is taken out of it when an older state is meant.
#[test]
fn a_repository_that_was_put_back_fails_its_resource_until_somebody_accepts_that() {
    let s3 = S3ServerThread::start();
    let desk = Desk::new(&s3);
    desk.write("app", "file", "1");
    desk.write("other", "file", "1");
    desk.secret("app");
    desk.secret("other");
    let store = s3.server.file("desk", "app");
    let older = store.with_file_name("older");
    let run = |tag: &str, until: &dyn Fn(&desk::StatusFile) -> bool| {
        desk.source("app", &format!("trigger: {{manual: {tag}}}"), "");
        desk.source("other", &format!("trigger: {{manual: {tag}}}"), "");
        let mut running = desk.run(&[]);
        running.until(tag, until);
        assert_eq!(running.terminate(), Some(0));
        running.status()
    };
    run("first", &|status| status.runs("app") == 1 && status.runs("other") == 1);
    put_in_place(&store, &older);
    desk.write("app", "file", "2");
    let status = run("second", &|status| status.runs("app") == 2 && status.runs("other") == 2);
    let remembered = &status.of("app")["volvault"]["remembered"];
    assert!(remembered["repository"] != status.of("other")["volvault"]["remembered"]["repository"]);
    assert_eq!(remembered["sources"].as_array().unwrap().len(), 1, "{remembered:#}");
    put_in_place(&older, &store);
    let status = run("third", &|status| status.failed() >= 1 && status.runs("other") == 3);
    let of = status.of("app");
    assert_eq!(of["status"]["latestMoverStatus"]["result"], "Failed");
    let logs = of["status"]["latestMoverStatus"]["logs"].as_str().unwrap();
    assert!(logs.contains("shows an older state") && logs.contains("take `remembered` of this resource out"), "{logs}");
    assert_eq!(of["volvault"]["history"].as_array().unwrap().last().unwrap()["code"], 13);
    assert_eq!(&of["volvault"]["remembered"], remembered, "what was refused is not remembered");
    desk.accept("app");
    let status = run("fourth", &|status| status.runs("app") == 3);
    assert_ne!(&status.of("app")["volvault"]["remembered"], remembered);
}

/// What a check has read is known to whoever asks, and where none has, nobody is asked.
#[test]
fn when_data_was_last_verified_is_known_and_costs_nothing_before() {
    let s3 = S3ServerThread::start();
    let desk = Desk::new(&s3);
    desk.write("app", "file", "1");
    desk.secret("app");
    let run = |tag: &str, runs: usize| {
        desk.source("app", &format!("trigger: {{manual: {tag}}}"), "");
        let mut running = desk.run(&[]);
        running.until("a run", |status| status.runs("app") == runs);
        assert_eq!(running.terminate(), Some(0));
        let of = running.status().of("app")["volvault"].clone();
        let gets = of["history"].as_array().unwrap().last().unwrap()["numbers"]["requests"]["get"].as_u64().unwrap();
        (gets, of["latest"]["verified"].clone())
    };
    assert_eq!(run("first", 1).1, Value::Null);
    let (before, never) = run("second", 2);
    assert_eq!(never, Value::Null);
    desk.look("app", &["check", "--read-data-budget", "30d"]);
    let (after, verified) = run("third", 3);
    assert!(verified.is_string(), "{verified}");
    assert_eq!(after, before + 1, "a look at the note, and only where there is one");
}

#[test]
fn validate_reaches_what_the_documents_name_and_changes_nothing() {
    let s3 = S3ServerThread::start();
    let desk = Desk::new(&s3);
    desk.write("app", "file", "1");
    desk.secret("app");
    desk.source("app", "trigger: {schedule: '17 2 * * *'}", "");
    let (code, out) = desk.validate(&[]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("source default/app: ok: ") && out.contains("the first run makes it"), "{out}");
    let mut running = desk.run(&[]);
    running.until("the first run", |status| status.runs("app") == 1);
    running.terminate();
    let (code, out) = desk.validate(&["--json"]);
    assert_eq!(code, Some(0), "{out}");
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["valid"], &lines[0]["name"]), (&true.into(), &"app".into()));
    assert!(lines[0]["message"].as_str().unwrap().contains("repository "), "{out}");
    assert_eq!((&lines[1]["message_type"], &lines[1]["invalid"]), (&"summary".into(), &0.into()));

    desk.secret_with("app", "RESTIC_PASSWORD: wrong", "app");
    let (code, out) = desk.validate(&[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("source default/app: WRONG: "), "{out}");
    let (code, out) = desk.validate(&["--offline"]);
    assert_eq!(code, Some(0), "{out}");
    desk.source("app", "trigger: {schedul: '17 2 * * *'}", "");
    let (code, out) = desk.validate(&[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("spec.trigger.schedul is not known"), "{out}");
}
