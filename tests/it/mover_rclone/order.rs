//! What an old destination sees of a push while it is under way, in the order of the writes.

use std::time::{Duration, Instant};

use crate::command::{pause, write};
use crate::support::peer;
use crate::support::s3::{ACCESS_KEY, S3Server};
use crate::support::vault::noise;

use super::pod::{Pod, Script};
use super::{fill, server};

const FACL: &str = "/bucket/app/permissions.facl";

/// What was written and deleted among the objects of the mirror after the first `from` requests: method and path, in order. What rclone's server is asked
/// to delete many at once of is not seen here.
fn written(s3: &S3Server, from: usize) -> Vec<String> {
    let asked = s3.asked().split_off(from);
    let is_write = |line: &String| {
        let (method, path) = line.split_once(' ').unwrap();
        !matches!(method, "GET" | "HEAD") && path.starts_with("/bucket/app/")
    };
    asked.into_iter().filter(is_write).collect()
}

/// An old destination pulls the objects that are there, and then `permissions.facl`: one that is newer than the objects would give files modes that
/// are not theirs, and while there is none it fails.
#[test]
fn permissions_are_written_after_all_objects_and_in_place() {
    let s3 = server();
    let pod = Pod::on(&s3.server, "bucket/app");
    fill(&pod);
    for round in 0..3 {
        let before = s3.server.asked().len();
        match round {
            0 => {}
            // In parts, and with something to delete.
            1 => {
                write(&pod.data().join("big"), &noise(9 << 20, 1));
                std::fs::remove_file(pod.data().join("dir/b")).unwrap();
            }
            _ => pod.write("a", "changed"),
        }
        pod.done();
        let writes = written(&s3.server, before);
        let first = writes.iter().position(|line| line.ends_with(FACL)).unwrap();
        assert!(first > 0 && writes.iter().skip(first).all(|line| line.ends_with(FACL)), "{writes:#?}");
        assert!(!writes.contains(&format!("DELETE {FACL}")), "replaced in one step, and never removed: {writes:#?}");
        let is_gone = writes.contains(&"DELETE /bucket/app/dir/b".to_owned());
        assert!(is_gone || round != 1 || !peer::knows_conditions(), "{writes:#?}");
    }
    let facl = Script::on(&s3.server, "bucket/app").get("permissions.facl").unwrap();
    assert!(facl.starts_with("# volvault-generation: 3\n# file: data\n"), "{facl}");
    assert!(facl.contains("# file: data/big\n") && !facl.contains("data/dir/b"), "{facl}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a process that hangs is to fail the test")]
fn a_push_that_fails_leaves_the_permissions_of_the_last_one() {
    let s3 = server();
    let mut pod = Pod::on(&s3.server, "bucket/app");
    fill(&pod);
    pod.done();
    let facl = || Script::on(&s3.server, "bucket/app").get("permissions.facl").unwrap();
    let first = facl();

    // Refused before anything was written.
    std::fs::remove_file(pod.data().join("a")).unwrap();
    pod.set("RCLONE_MAX_DELETE", "0");
    assert_eq!(pod.run().code, 7);
    assert_eq!(facl(), first);
    pod.unset("RCLONE_MAX_DELETE");

    // The key expires halfway.
    for n in 0..40u64 {
        write(&pod.data().join(format!("{n:02}")), &noise(100_000, n));
    }
    pod.set("RCLONE_BWLIMIT", "400k");
    let before = s3.server.asked().len();
    let log = pod.at("log");
    let mut child = pod.start(&log);
    let said = || std::fs::read_to_string(&log).unwrap();
    let start = Instant::now();
    while !written(&s3.server, before).iter().any(|line| line.starts_with("PUT /bucket/app/")) {
        assert!(start.elapsed() < Duration::from_mins(1), "{}", said());
        pause(Duration::from_millis(20));
    }
    s3.server.expire(ACCESS_KEY);
    assert_eq!(child.wait().unwrap().code(), Some(6), "{}", said());
    let writes = written(&s3.server, before);
    assert!(!writes.iter().any(|line| line.ends_with(FACL)), "{writes:#?}");

    s3.server.grant(ACCESS_KEY, crate::support::s3::SECRET_KEY, None);
    assert_eq!(facl(), first);
    pod.unset("RCLONE_BWLIMIT");
    pod.done();
    assert!(facl().contains("# file: data/39\n"));
}
