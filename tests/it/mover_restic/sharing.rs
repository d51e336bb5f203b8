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

/// `test_restic_manual_normal_longname`: the pod's name is cut off, and source and destination are still one.
#[test]
fn a_long_name_is_the_same_for_source_and_destination() {
    let mut pod = Pod::new();
    pod.set("RCLONE_VOLVAULT_SHARED", "1");
    let name = "long-".repeat(10);
    pod.set("HOSTNAME", &format!("volsync-src-{}x7k2p", &name[..46]));
    pod.write("a", "saved");
    pod.done(&["backup"]);
    pod.empty();
    pod.set("HOSTNAME", &format!("volsync-dst-{}q9d4z", &name[..46]));
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

/// A prune that wants a person to look fails nobody's backup, unless that is wanted.
#[test]
fn a_refused_prune_is_said_and_no_failure() {
    let mut pod = Pod::new();
    pod.set("FORGET_OPTIONS", "");
    let snapshots = pod.at("repository/state/snapshots");
    for state in ["one", "two", "three", "four"] {
        if state == "four" {
            // As whoever tidies a bucket removes them: no record says that it was meant.
            std::fs::remove_dir_all(&snapshots).unwrap();
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
