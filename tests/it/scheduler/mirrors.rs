//! Mirrors: the same documents with `spec.rclone`.

use super::desk::Desk;
use crate::support::s3::{S3ServerThread, SECRET_KEY};

const MIRROR: (&str, &str) = ("remote", "desk/mirrors/app");

#[test]
fn a_source_and_a_destination_keep_two_volumes_alike() {
    let s3 = S3ServerThread::start();
    let desk = Desk::new(&s3);
    desk.write("app", "dir/file", "first");
    desk.write("app", "gone", "soon");
    desk.make_volume("copy");
    desk.remote("remote", SECRET_KEY);
    desk.mirror(("source", "app"), MIRROR, "trigger: {schedule: '@every 1s'}");
    desk.mirror(("destination", "copy"), MIRROR, "trigger: {schedule: '@every 1s'}");
    let mut running = desk.run(&[]);
    running.until("the destination has it", |_| desk.read("copy", "dir/file").as_deref() == Some("first"));
    desk.write("app", "dir/file", "second");
    desk.remove("app", "gone");
    running.until("the destination has what changed", |_| {
        desk.read("copy", "dir/file").as_deref() == Some("second") && desk.read("copy", "gone").is_none()
    });
    running.until("both have run again", |status| {
        status.runs("copy") >= 2 && status.runs("app") >= 2 && status.last("app", "moved") == 0
    });
    let status = running.status();
    for (name, direction) in [("app", "source"), ("copy", "destination")] {
        let of = status.of(name);
        assert_eq!(of["status"]["latestMoverStatus"]["result"], "Successful", "{direction}: {}", running.log());
        let logs = of["status"]["latestMoverStatus"]["logs"].as_str().unwrap();
        assert!(logs.contains("Elapsed time:") && logs.contains("generation "), "{direction}: {logs}");
        assert!(of["status"]["nextSyncTime"].is_string() && of["status"]["lastSyncTime"].is_string());
        assert!(of["volvault"]["latest"]["files"].as_u64().unwrap() >= 1, "{of}");
    }
    assert_eq!(status.of("app")["kind"], "ReplicationSource");
    assert_eq!(status.of("copy")["kind"], "ReplicationDestination");
    assert_eq!(running.terminate(), Some(0), "{}", running.log());
}

#[test]
fn validate_reaches_mirrors_and_changes_nothing() {
    let s3 = S3ServerThread::start();
    let desk = Desk::new(&s3);
    desk.write("app", "file", "1");
    desk.make_volume("copy");
    desk.remote("remote", SECRET_KEY);
    desk.mirror(("source", "app"), MIRROR, "trigger: {manual: first}");
    desk.mirror(("destination", "copy"), MIRROR, "trigger: {manual: first}");
    let (code, out) = desk.validate(&[]);
    assert_eq!(code, Some(0), "{out}");
    for said in ["source default/app: ok: volume ", "destination default/copy: ok: ", "mirror bucket:desk/mirrors/app"]
    {
        assert!(out.contains(said), "{said}: {out}");
    }
    assert!(!s3.server.file("desk", "mirrors").exists(), "nothing was written");
    assert_eq!(desk.read("copy", "file"), None);

    desk.remote("remote", "wrong");
    let (code, out) = desk.validate(&[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("source default/app: WRONG: ") && out.contains("the mirror at s3:"), "{out}");
    assert_eq!(desk.validate(&["--offline"]).0, Some(0));

    desk.remote("remote", SECRET_KEY);
    desk.mirror(("source", "app"), ("nowhere", MIRROR.1), "trigger: {manual: first}");
    let (code, out) = desk.validate(&[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("Secret default/nowhere is missing"), "{out}");
}
