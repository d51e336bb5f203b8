//! What goes wrong in a cluster: pods that are told to stop, pods that are killed, files that cannot be read.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{pause, write};
use crate::support::nobody::NOBODY;
use crate::support::vault::noise;

use super::pod::Pod;
use super::{same, server};
use crate::mover_restic;

fn slow(pod: &mut Pod) {
    for n in 0..40u64 {
        write(&pod.data().join(format!("{n:02}")), &noise(100_000, n));
    }
    pod.set("RCLONE_BWLIMIT", "400k");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a process takes to end is what is measured")]
fn a_pod_that_is_told_to_stop_ends_in_time_and_the_next_one_goes_on() {
    let s3 = server();
    let mut source = Pod::on(&s3.server, "bucket/app");
    slow(&mut source);
    let stop = |pod: &Pod| {
        let log = pod.at("log");
        let mut child = pod.start(&log);
        let said = || std::fs::read_to_string(&log).unwrap();
        let start = Instant::now();
        // From this line on it listens for signals.
        while !said().contains(" bucket:bucket/app") {
            assert!(start.elapsed() < Duration::from_mins(1), "{}", said());
            pause(Duration::from_millis(20));
        }
        pause(Duration::from_secs(2));
        assert!(child.try_wait().unwrap().is_none(), "it is slowed down: {}", said());
        let asked = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let code = child.wait().unwrap().code();
        assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
        assert_eq!(code, Some(130), "{}", said());
        assert!(said().contains("ERROR: stopped by a signal"), "{}", said());
    };
    stop(&source);
    let mut destination = source.destination();
    let ran = destination.run();
    assert_eq!((ran.code, destination.read("00")), (3, None), "half a push is none: {}", ran.log);
    source.unset("RCLONE_BWLIMIT");
    source.done();
    stop(&destination);
    assert_eq!(destination.read("00"), None, "half a pull is none");
    destination.unset("RCLONE_BWLIMIT");
    destination.done();
    same(&source, &destination);
}

/// Nothing can be put in order then; but what it waited for is known, because nobody finds it out afterwards.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long a process takes to end is what is measured")]
fn a_pod_whose_store_hangs_says_so_when_it_is_told_to_stop() {
    // Connections are taken by the system, and nobody ever answers.
    let hung = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hung.local_addr().unwrap());
    let s3 = server();
    let mut mirror = Pod::on(&s3.server, "bucket/app");
    mirror.write("a", "a");
    mirror.set("RCLONE_CONFIG_BUCKET_ENDPOINT", &endpoint);
    let mut backup = mover_restic::pod::Pod::on(&s3.server, "bucket", "app");
    backup.write("a", "a");
    backup.set("RESTIC_REPOSITORY", &format!("s3:{endpoint}/bucket/app"));
    let logs = [(mirror.at("log"), "push"), (backup.at("log"), "backup")];
    let mut pods = [mirror.start(&logs[0].0), backup.start(&["backup"], &logs[1].0)];
    pause(Duration::from_secs(3));
    for pod in &pods {
        kill_process(Pid::from_child(pod), Signal::TERM).unwrap();
    }
    let asked = Instant::now();
    for (pod, (log, what)) in pods.iter_mut().zip(&logs) {
        let code = pod.wait().unwrap().code();
        let said = std::fs::read_to_string(log).unwrap();
        assert_eq!(code, Some(130), "{said}");
        let line = format!("ERROR: asked to stop 15 s ago, and the {what} still waits for ");
        let line = said.lines().find(|found| found.starts_with(&line)).unwrap_or_else(|| panic!("{said}"));
        assert!(line.ends_with(&format!(" or s3:{endpoint}/bucket/app")), "{said}");
    }
    assert!(asked.elapsed() < Duration::from_secs(28), "it took {:?}", asked.elapsed());
}

/// What was sent of a file in parts costs money, and no listing shows it.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long a process takes to end is what is measured")]
fn a_pod_that_is_told_to_stop_leaves_no_upload_unfinished() {
    let s3 = server();
    let mut pod = Pod::on(&s3.server, "bucket/app");
    write(&pod.data().join("big"), &noise(40 << 20, 3));
    pod.set("RCLONE_VOLVAULT_READ_RATE", "2M");
    let log = pod.at("log");
    let mut child = pod.start(&log);
    let said = || std::fs::read_to_string(&log).unwrap();
    let start = Instant::now();
    while s3.server.unfinished() == 0 {
        assert!(start.elapsed() < Duration::from_mins(1), "{}", said());
        pause(Duration::from_millis(20));
    }
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", said());
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    assert_eq!(s3.server.unfinished(), 0, "{}", said());
}

/// A node that is lost still runs its pod while the operator starts another. They have a place for temporary files in common here, which hinders neither.
#[test]
fn two_pods_at_once_leave_one_state() {
    let s3 = server();
    let pod = Pod::on(&s3.server, "bucket/app");
    crate::command::fill(&pod.data(), 100, 5000);
    let mut pods = ["one", "two"].map(|name| {
        let log = pod.at(&format!("{name}.log"));
        (pod.start(&log), log)
    });
    let codes = pods.each_mut().map(|(child, log)| {
        let code = child.wait().unwrap().code();
        let said = std::fs::read_to_string(log).unwrap();
        assert!(matches!(code, Some(0 | 5)), "{code:?}: {said}");
        code
    });
    assert!(codes.contains(&Some(0)), "{codes:?}");
    pod.done().assert_says("unchanged, generation");
    let destination = pod.destination();
    destination.done();
    same(&pod, &destination);
}

/// A disk that is not mounted looks like that: the mirror is not made in its place, and an empty volume does not hide it from anybody who asks.
#[test]
fn a_mirror_that_is_gone_is_not_made_anew_by_a_pod_that_remembers_it() {
    let mut pod = Pod::with_volume();
    pod.write("a", "a");
    let state = pod.at("state").display().to_string();
    pod.set("RCLONE_VOLVAULT_STATE", &state);
    pod.done();
    std::fs::remove_dir_all(pod.at("mnt")).unwrap();
    std::fs::create_dir(pod.at("mnt")).unwrap();
    pod.write("a", "changed");
    let ran = pod.run();
    assert_eq!(ran.code, 7, "{}", ran.log);
    ran.assert_says("^Fatal: .*is not there any more");
    ran.assert_says(
        "^hint: if its disk is not mounted, mount it; .* remove the directory .* empty the one that RCLONE_VOLVAULT_STATE names$",
    );
    std::fs::remove_dir_all(pod.at("state")).unwrap();
    pod.done();
}

/// A node is lost, a pod is killed for its memory: there is no last word, and a claim stays until it is dead.
#[test]
fn after_a_pod_was_killed_the_next_one_needs_nothing() {
    let s3 = server();
    let mut pod = Pod::on(&s3.server, "bucket/app");
    slow(&mut pod);
    let mut child = pod.start(&pod.at("log"));
    pause(Duration::from_secs(2));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(pod.at("tmp")).unwrap();
    std::fs::create_dir(pod.at("tmp")).unwrap();
    pod.unset("RCLONE_BWLIMIT");
    pod.done();
    let destination = pod.destination();
    destination.done();
    same(&pod, &destination);
}

#[test]
fn files_that_cannot_be_read_are_named_and_fail_the_job_after_the_rest_was_pushed() {
    let mut pod = Pod::new();
    pod.write("open", "everybody's");
    pod.write("closed", "root's alone");
    for path in [pod.at(""), pod.at("tmp"), pod.at("mnt"), pod.at("rclone.conf")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    std::fs::set_permissions(pod.data().join("closed"), std::fs::Permissions::from_mode(0o600)).unwrap();
    pod.run_as(NOBODY);
    let ran = pod.run();
    assert_eq!(ran.code, 1, "{}", ran.log);
    ran.assert_says("^error: .*closed");
    ran.assert_says("^ERROR: 1 files? could not be read");
    assert!(ran.kept.contains("moverSecurityContext"), "the way out is kept: {}", ran.kept);
    assert_eq!(pod.mirror().get("open").as_deref(), Some("everybody's"));
}

/// Nothing is sent, so that no limit on sending would be felt.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long reading takes is what is measured")]
fn the_read_rate_slows_down_reading() {
    let mut pod = Pod::new();
    write(&pod.data().join("small"), &noise(1_000_000, 1));
    write(&pod.data().join("big"), &noise(9 << 20, 2));
    pod.done();
    pod.set("RCLONE_CHECKSUM", "1");
    pod.set("RCLONE_VOLVAULT_READ_RATE", "5M");
    let start = Instant::now();
    pod.done().assert_says("unchanged, generation 1");
    assert!(start.elapsed() >= Duration::from_millis(1800), "{:?}", start.elapsed());
}

#[test]
fn wrong_keys_and_long_reasons_are_said_in_what_is_kept() {
    let s3 = server();
    let mut pod = Pod::on(&s3.server, "bucket/app");
    pod.write("a", "a");
    pod.set("RCLONE_CONFIG_BUCKET_SECRET_ACCESS_KEY", "wrong");
    for direction in ["source", "destination"] {
        pod.set("DIRECTION", direction);
        let ran = pod.run();
        assert_eq!(ran.code, 6, "{}", ran.log);
        assert!(ran.kept.contains("Fatal: ") && !ran.kept.contains("wrong\""), "{}", ran.kept);
    }
    let mut pod = Pod::with_volume();
    pod.write("a", "a");
    pod.set("RCLONE_DEST_PATH", &format!("/dev/null/{}", "long/".repeat(400)));
    let ran = pod.run();
    assert_ne!(ran.code, 0, "{}", ran.log);
    assert!(ran.kept.contains("Fatal: ") && ran.kept.contains("ERROR: the push failed"), "{}", ran.kept);
}
