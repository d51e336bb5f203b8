//! What goes wrong in a cluster: pods that are told to stop, files that cannot be read.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::pause;
use crate::support::nobody::NOBODY;
use crate::support::vault::noise;

use super::pod::Pod;

/// The operator deletes a running job when its prune becomes due, nodes are drained: SIGTERM comes, and thirty seconds later SIGKILL.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long a process takes to end is what is measured")]
fn a_pod_that_is_told_to_stop_leaves_a_partial_snapshot_and_nothing_to_unlock() {
    let mut pod = Pod::new();
    for n in 0..40u64 {
        crate::command::write(&pod.data().join(format!("{n:02}")), &noise(100_000, n));
    }
    pod.set("RCLONE_VOLVAULT_READ_RATE", "400k");
    let log = pod.at("log");
    let mut child = pod.start(&["backup", "prune"], &log);
    let said = |log: &std::path::Path| std::fs::read_to_string(log).unwrap();
    let start = Instant::now();
    while !said(&log).contains("=== Starting backup ===") {
        assert!(start.elapsed() < Duration::from_mins(1), "{}", said(&log));
        pause(Duration::from_millis(20));
    }
    pause(Duration::from_secs(4));
    assert!(child.try_wait().unwrap().is_none(), "reading is slowed down: {}", said(&log));
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let code = child.wait().unwrap().code();
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    assert_eq!(code, Some(130), "{}", said(&log));
    assert!(
        said(&log).contains("partial snapshot ") && said(&log).contains("ERROR: stopped by a signal"),
        "{}",
        said(&log)
    );
    assert!(!said(&log).contains("=== Starting forget ===") && !said(&log).contains("=== Starting prune ==="));

    pod.unset("RCLONE_VOLVAULT_READ_RATE");
    let data = pod.data();
    let saved = crate::support::vault::on_disk(&data);
    pod.empty();
    let ran = pod.done(&["restore"]);
    ran.assert_says("^No eligible snapshots found$");
    for n in 0..40u64 {
        crate::command::write(&data.join(format!("{n:02}")), &noise(100_000, n));
    }
    let ran = pod.done(&["backup"]);
    ran.assert_says("^successfully removed 1 snapshots, 1 kept$");
    pod.empty();
    pod.done(&["restore"]);
    let content = |seen: std::collections::BTreeMap<Vec<u8>, crate::support::vault::Seen>| {
        seen.into_iter().map(|(name, seen)| (name, seen.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(content(crate::support::vault::on_disk(&data)), content(saved));
}

/// A node is lost, a pod is killed for its memory: there is no last word.
#[test]
fn after_a_pod_was_killed_the_next_one_needs_nothing() {
    let mut pod = Pod::new();
    for n in 0..40u64 {
        crate::command::write(&pod.data().join(format!("{n:02}")), &noise(100_000, n));
    }
    pod.set("RCLONE_VOLVAULT_READ_RATE", "400k");
    let log = pod.at("log");
    for _ in 0..2 {
        let mut child = pod.start(&["backup"], &log);
        pause(Duration::from_secs(3));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    pod.unset("RCLONE_VOLVAULT_READ_RATE");
    pod.done(&["backup", "prune"]);
    pod.look(&["check", "--read-data"]);
    assert_eq!(pod.snapshots().len(), 1);
}

#[test]
fn files_that_cannot_be_read_are_named_and_fail_the_job_after_the_rest_was_saved() {
    let mut pod = Pod::new();
    pod.write("open", "everybody's");
    pod.done(&["backup"]);
    std::process::Command::new("chmod").args(["-R", "a+rwX"]).arg(pod.at("")).status().unwrap();
    pod.write("closed", "root's alone");
    std::fs::set_permissions(pod.data().join("closed"), std::fs::Permissions::from_mode(0o600)).unwrap();
    pod.run_as(NOBODY);
    let ran = pod.run(&["backup", "prune"]);
    assert_eq!(ran.code, 3, "{}", ran.log);
    ran.assert_says("^error: archival .*closed");
    ran.assert_says("^ERROR: 1 file could not be read and saved; nothing was forgotten$");
    assert!(ran.kept.contains("moverSecurityContext"), "the way out is kept: {}", ran.kept);
    assert_eq!(pod.snapshots().len(), 2);
    assert_eq!(pod.run(&["backup", "prune"]).code, 3, "the operator tries again");
    assert_eq!(pod.snapshots().len(), 2, "which makes no snapshot each time");
    assert!(!ran.log.contains("=== Starting prune ==="), "a failed action is the last one");
}

#[test]
fn a_long_reason_does_not_push_out_what_failed() {
    let mut pod = Pod::new();
    pod.write("a", "a");
    pod.set("RESTIC_REPOSITORY", &format!("/dev/null/{}", "long/".repeat(400)));
    let ran = pod.run(&["backup"]);
    assert_eq!(ran.code, 3, "{}", ran.log);
    assert!(ran.kept.contains("Fatal: ") && ran.kept.contains("ERROR: failure checking"), "{}", ran.kept);
}

#[test]
fn a_mistyped_switch_is_refused() {
    let mut pod = Pod::new();
    pod.write("a", "a");
    pod.set("RCLONE_VOLVAULT_EXCLUDES", "*.tmp");
    let ran = pod.run(&["backup"]);
    assert_eq!(ran.code, 1, "{}", ran.log);
    ran.assert_says("RCLONE_VOLVAULT_EXCLUDES is not known");
}
