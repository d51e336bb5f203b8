//! Several volumes in one repository.

use super::pod::Pod;

/// In a cluster every volume is mounted at /data, so that only the name tells them apart.
#[test]
fn each_source_of_a_shared_repository_finds_and_forgets_its_own() {
    let mut pod = Pod::new();
    let sources: [(&str, &[(&str, &str)]); 3] = [
        ("first", &[("HOSTNAME", "volsync-src-first-x7k2p"), ("RCLONE_VOLVAULT_SHARED", "true")]),
        ("second", &[("HOSTNAME", "volsync-src-second-x7k2p"), ("RCLONE_VOLVAULT_SHARED", "true")]),
        ("team/third", &[("RCLONE_VOLVAULT_SOURCE_ID", "team/third")]),
    ];
    for round in ["old", "new"] {
        for (name, variables) in &sources {
            for (variable, value) in *variables {
                pod.set(variable, value);
            }
            pod.empty();
            pod.write("who", &format!("{name} {round}"));
            pod.write("same", "what all have in common is stored once");
            let ran = pod.done(&["unlock", "backup", "prune"]);
            ran.assert_says(&format!("^snapshot [0-9a-f]{{8}} of {name} saved$"));
        }
        pod.unset("RCLONE_VOLVAULT_SOURCE_ID");
    }
    let hosts: Vec<String> = pod.snapshots().iter().map(|snapshot| snapshot["hostname"].to_string()).collect();
    assert_eq!(hosts, ["\"first\"", "\"second\"", "\"team/third\""], "one of each is kept");
    for (name, variables) in &sources {
        for (variable, value) in *variables {
            pod.set(variable, &value.replace("-src-", "-dst-").replace("x7k2p", "q9d4z"));
        }
        pod.empty();
        pod.done(&["restore"]);
        assert_eq!(pod.read("who"), Some(format!("{name} new")));
    }
}

/// `test_restic_manual_normal_longname`: a name that VolSync has replaced by its hash is one for source and destination. One that Kubernetes has cut off may
/// be that of two sources: nobody forgets the snapshots of the other one.
#[test]
fn a_long_name_is_the_same_for_source_and_destination_or_is_refused() {
    let mut pod = Pod::new();
    pod.write("a", "saved");
    let long = "data-keycloak-prod-postgresql-ha-postgresql-re";
    // Without sharing no name matters.
    pod.set("HOSTNAME", &format!("volsync-src-{long}x7k2p"));
    pod.done(&["backup"]);
    pod.set("RCLONE_VOLVAULT_SHARED", "1");
    for pods_of in ["volsync-src-", "volsync-dst-"] {
        pod.set("HOSTNAME", &format!("{pods_of}{long}x7k2p"));
        let ran = pod.run(&[if pods_of.contains("src") { "backup" } else { "restore" }]);
        assert_eq!(ran.code, 1, "{}", ran.log);
        assert!(ran.kept.contains("the end may be missing"), "{}", ran.kept);
        assert!(ran.kept.contains("hint: set RCLONE_VOLVAULT_SOURCE_ID"), "{}", ran.kept);
    }
    assert_eq!(pod.snapshots().len(), 1);
    pod.set("HOSTNAME", "volsync-src-3610a686-x7k2p");
    pod.done(&["backup"]).assert_says("^snapshot [0-9a-f]{8} of 3610a686 saved$");
    pod.empty();
    pod.set("HOSTNAME", "volsync-dst-3610a686-q9d4z");
    pod.done(&["restore"]);
    assert_eq!(pod.read("a").as_deref(), Some("saved"));
}

/// A node that is lost still runs its pod while the operator starts another.
#[test]
fn two_pods_at_once_hinder_neither() {
    let mut pod = Pod::new();
    pod.set("FORGET_OPTIONS", "--keep-last 5");
    crate::command::fill(&pod.data(), 200, 5000);
    let mut pods = ["one.log", "two.log", "three.log"].map(|log| (pod.start(&["backup", "prune"], &pod.at(log)), log));
    for (child, log) in &mut pods {
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{}", std::fs::read_to_string(pod.at(log)).unwrap());
    }
    pod.done(&["backup"]);
    pod.look(&["check", "--read-data"]);
    assert_eq!(pod.snapshots().len(), 4);
}

/// The volume is saved, and no further attempt of the operator's would bring back what somebody has removed.
#[test]
fn snapshots_that_somebody_removed_stop_the_prune_and_not_the_job() {
    let mut pod = Pod::new();
    pod.set("FORGET_OPTIONS", "");
    pod.write("a", "first");
    pod.done(&["backup", "prune"]);
    let store = pod.store();
    let is_snapshot = |key: &&String| key.starts_with("state/snapshots/");
    store.keys().iter().filter(is_snapshot).for_each(|key| store.delete(key));
    let packs = || store.keys().into_iter().filter(|key| key.starts_with("packs/")).collect::<Vec<_>>();
    let before = packs();
    pod.empty();
    pod.write("a", "second");
    let ran = pod.done(&["backup", "prune"]);
    ran.assert_says("^ERROR: nothing was pruned: 1 snapshots are missing that the last prune saw");
    assert!(before.iter().all(|pack| packs().contains(pack)), "nothing is removed that may be needed");
    pod.set("RCLONE_VOLVAULT_STRICT", "true");
    let ran = pod.run(&["prune"]);
    assert_eq!(ran.code, 1, "{}", ran.log);
    ran.assert_says("^hint: if they were removed by hand, run it with --force");
}

/// A prune that wants a person to look fails nobody's backup, unless that is wanted.
#[test]
fn a_refused_prune_is_said_and_no_failure() {
    let mut pod = Pod::new();
    pod.set("FORGET_OPTIONS", "");
    let store = pod.store();
    for state in ["one", "two", "three", "four"] {
        if state == "four" {
            // As whoever tidies a bucket removes them: no record says that it was meant.
            let is_snapshot = |key: &&String| key.starts_with("state/snapshots/");
            store.keys().iter().filter(is_snapshot).for_each(|key| store.delete(key));
        }
        pod.empty();
        pod.write("a", &state.repeat(1000));
        pod.done(&["backup"]);
    }
    let ran = pod.done(&["backup", "prune"]);
    ran.assert_says("^ERROR: nothing was pruned: .* packs would be removed");
    pod.set("RCLONE_VOLVAULT_STRICT", "true");
    assert_eq!(pod.run(&["prune"]).code, 1);
}
