//! What a destination restores, and what it leaves alone.

use std::collections::BTreeSet;

use crate::support::nobody::NOBODY;
use crate::support::peer;

use super::pod::Pod;

/// Three states of a volume, and the times of their snapshots, the oldest first.
fn history() -> (Pod, Vec<String>) {
    let mut pod = Pod::new();
    pod.set("FORGET_OPTIONS", "");
    for state in ["one", "two", "three"] {
        pod.write("state", state);
        pod.done(&["backup"]);
    }
    let times: BTreeSet<String> =
        pod.snapshots().iter().map(|snapshot| snapshot["time"].as_str().unwrap().to_owned()).collect();
    let times: Vec<String> = times.into_iter().collect();
    assert_eq!(times.len(), 3);
    (pod, times)
}

/// `test_restic_with_previous`.
#[test]
fn the_nth_before_the_newest_is_restored() {
    let (mut pod, _) = history();
    for (previous, state) in
        [("0", Some("three")), ("1", Some("two")), ("2", Some("one")), ("3", None), ("", Some("three"))]
    {
        pod.set("SELECT_PREVIOUS", previous);
        pod.empty();
        let ran = pod.done(&["restore"]);
        assert_eq!(pod.read("state").as_deref(), state, "{previous}");
        if state.is_none() {
            ran.assert_kept(&[
                "^repository",
                "^No eligible snapshots found$",
                "^=== No data will be restored ===$",
                "^Restic completed in",
            ]);
        }
    }
}

/// `test_restic_with_restoreasof`. The snapshots were made within one second, which the script takes for one.
#[test]
fn the_newest_not_after_a_moment_is_restored() {
    let (mut pod, times) = history();
    let far = |time: &str| chrono::DateTime::parse_from_rfc3339(time).unwrap();
    let second = far(&times[1]);
    let in_tokyo = second.with_timezone(&chrono::FixedOffset::east_opt(9 * 3600).unwrap()).to_rfc3339();
    let before = (far(&times[0]) - chrono::TimeDelta::seconds(2)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let after = (far(&times[2]) + chrono::TimeDelta::days(1)).to_rfc3339();
    let whole = far(&times[2]).to_utc().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    for (as_of, previous, state) in [
        (times[1].as_str(), "0", Some("two")),
        (&in_tokyo, "0", Some("two")),
        (&in_tokyo, "1", Some("one")),
        (&in_tokyo, "2", None),
        (&before, "0", None),
        (&after, "0", Some("three")),
        (&after, "2", Some("one")),
        // To its end, as it is shown in lists: a resource holds whole seconds.
        (&whole, "0", Some("three")),
    ] {
        pod.set("RESTORE_AS_OF", as_of);
        pod.set("SELECT_PREVIOUS", previous);
        // The zone of the pod means nothing.
        pod.set("TZ", "America/New_York");
        pod.empty();
        pod.done(&["restore"]);
        assert_eq!(pod.read("state").as_deref(), state, "{as_of} {previous}");
    }
    pod.set("RESTORE_AS_OF", "not a time");
    assert_eq!(pod.run(&["restore"]).code, 1);
}

/// Snapshots that a person made in the same repository, of another host or path, are not the volume's.
#[test]
fn snapshots_of_others_are_not_restored() {
    let mut pod = Pod::new();
    pod.write("state", "the volume's");
    pod.done(&["backup"]);
    pod.write("state", "of a laptop");
    let data = pod.data().display().to_string();
    pod.look(&["backup", "--host", "laptop", &data]);
    pod.look(&["backup", "--host", "volsync", &format!("{data}/state")]);
    pod.empty();
    pod.done(&["restore"]);
    assert_eq!(pod.read("state").as_deref(), Some("the volume's"));
    pod.set("RCLONE_VOLVAULT_SOURCE_ID", "nobody");
    pod.done(&["restore"]).assert_says("holds 3 snapshots, and none of host nobody");
}

/// `test_restic_with_restoreoptions`.
#[test]
fn what_the_snapshot_does_not_hold_is_deleted_only_when_asked() {
    let mut pod = Pod::new();
    pod.write("a", "saved");
    pod.done(&["backup"]);
    pod.write("dir/extra", "not saved");
    pod.write("lost+found/found", "by fsck");
    pod.done(&["restore"]);
    assert!(pod.read("dir/extra").is_some());
    pod.set("RESTORE_OPTIONS", "--delete");
    let ran = pod.done(&["restore"]);
    ran.assert_kept(&[
        "^repository",
        "^RESTORE_OPTIONS: --delete$",
        "^restoring",
        "^processed .* 2 deleted",
        "^Restic",
    ]);
    assert_eq!((pod.read("dir/extra"), pod.read("a").as_deref()), (None, Some("saved")));
    assert!(pod.read("lost+found/found").is_some(), "lost+found stays");
    pod.set("RESTORE_OPTIONS", "--include x");
    assert_eq!(pod.run(&["restore"]).code, 1);
}

/// `test_restic_manual_normal_restore_emptyrepo`: neither bucket nor repository, then a repository without snapshots.
#[test]
fn a_restore_from_nothing_makes_a_repository_and_restores_nothing() {
    let s3 = peer::server("bucket");
    for (bucket, prefix) in [("new-bucket", "app"), ("new-bucket", "other/path")] {
        let mut pod = Pod::on(&s3.server, bucket, prefix);
        pod.write("here", "already");
        pod.set("RESTORE_OPTIONS", "--delete");
        let none = ["^No eligible snapshots found$", "^=== No data will be restored ===$", "^Restic completed in"];
        let made = ["^=== Initialize Dir ===$", "^created volvault repository", "^repository"];
        pod.done(&["restore"]).assert_kept(&[&made[..], &none].concat());
        pod.done(&["restore"]).assert_kept(&[&made[2..], &none].concat());
        assert!(pod.read("here").is_some(), "a restore of nothing deletes nothing");
        pod.set("RCLONE_VOLVAULT_STRICT", "1");
        let ran = pod.run(&["restore"]);
        assert_eq!(ran.code, 1, "{}", ran.log);
        ran.assert_says("^ERROR: there is no snapshot to restore, and RCLONE_VOLVAULT_STRICT is set$");
    }
    let mut mistyped = Pod::on(&s3.server, "new-bucket", "mistyped");
    mistyped.set("RCLONE_VOLVAULT_STRICT", "true");
    let ran = mistyped.run(&["restore"]);
    assert_eq!(ran.code, 3, "{}", ran.log);
    assert!(!ran.log.contains("created"), "{}", ran.log);
}

/// An unprivileged mover and files of others: what can be made is made, the rest is said once, and the job succeeds.
#[test]
fn what_an_unprivileged_mover_cannot_set_is_counted_and_no_failure() {
    let mut pod = Pod::new();
    for name in ["a", "b", "dir/c"] {
        pod.write(name, name);
        std::os::unix::fs::chown(pod.data().join(name), Some(4321), Some(4321)).unwrap();
    }
    std::fs::set_permissions(pod.data().join("a"), std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    pod.done(&["backup"]);
    pod.empty();
    let everybody = |path: &str| {
        std::process::Command::new("chmod").args(["-R", "a+rwX"]).arg(pod.at(path)).status().unwrap();
    };
    everybody("");
    std::os::unix::fs::chown(pod.data(), Some(NOBODY), Some(NOBODY)).unwrap();
    pod.run_as(NOBODY);
    let ran = pod.done(&["restore"]);
    ran.assert_says(r"^processed 4 files .*, \d+ attributes not restored \(unprivileged\)");
    assert_eq!(ran.log.matches("(unprivileged)").count(), 1, "{}", ran.log);
    assert_eq!((pod.read("a").as_deref(), pod.read("dir/c").as_deref()), (Some("a"), Some("dir/c")));
}

/// `test_restic_manual_priv`: a privileged mover restores owners and modes.
#[test]
fn a_privileged_mover_restores_owners() {
    use std::os::unix::fs::MetadataExt;
    let mut pod = Pod::new();
    pod.write("a", "a");
    std::os::unix::fs::chown(pod.data().join("a"), Some(4321), Some(5678)).unwrap();
    std::fs::set_permissions(pod.data().join("a"), std::os::unix::fs::PermissionsExt::from_mode(0o4750)).unwrap();
    pod.set("PRIVILEGED_MOVER", "1");
    pod.done(&["backup"]);
    pod.empty();
    let ran = pod.done(&["restore"]);
    let meta = std::fs::metadata(pod.data().join("a")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (4321, 5678, 0o4750));
    assert!(!ran.log.contains("not restored"), "{}", ran.log);
}
