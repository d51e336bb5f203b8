//! A pod with a volume that stays remembers what it saw of its repository.

use std::path::PathBuf;

use super::pod::Pod;
use crate::pins::put_in_place;

/// A pod with a cache volume, whose repository stands as it was before the last backup.
fn rolled_back() -> Pod {
    let mut pod = Pod::with_volume();
    let cache = pod.at("cache");
    std::fs::create_dir(&cache).unwrap();
    pod.set("RESTIC_CACHE_DIR", &cache.display().to_string());
    pod.write("a", "first");
    pod.done(&["backup"]);
    put_in_place(&pod.at("repository"), &pod.at("older"));
    pod.write("a", "second");
    pod.done(&["backup", "prune"]);
    put_in_place(&pod.at("older"), &pod.at("repository"));
    pod
}

fn remembered(pod: &Pod) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(pod.at("cache/volvault/pins")).unwrap().map(|entry| entry.unwrap().path());
    folder.filter(|path| path.extension().is_some_and(|name| name == "json")).collect()
}

#[test]
fn a_pod_with_a_cache_volume_refuses_an_older_state_and_says_the_way_out() {
    let pod = rolled_back();
    for (actions, failed) in [
        (&["backup"][..], "^ERROR: the backup failed$"),
        (&["restore"], "^ERROR: the restore failed$"),
        (&["prune"], "^ERROR: the prune failed$"),
        (&["unlock", "backup", "prune"], "^ERROR: the backup failed$"),
    ] {
        let ran = pod.run(actions);
        assert_eq!(ran.code, 13, "{actions:?}: {}", ran.log);
        ran.assert_says(failed);
        ran.assert_says("^Fatal: repository [0-9a-f]{8} shows an older state than was seen before: ");
        ran.assert_says("^hint: find out why first; if the store was put back on purpose, delete .*/volvault/pins/");
        assert!(ran.kept.contains("Fatal: ") && ran.kept.contains("hint: "), "{}", ran.kept);
    }
    assert_eq!(pod.read("a").as_deref(), Some("second"), "nothing was restored");
    let files = remembered(&pod);
    assert_eq!(files.len(), 1);
    std::fs::remove_file(&files[0]).unwrap();
    pod.done(&["backup"]);
    assert_eq!(remembered(&pod), files);
}

#[test]
fn what_a_pod_forgets_and_another_one_forgets_is_missed_by_neither() {
    let mut pod = rolled_back();
    std::fs::remove_dir_all(pod.at("cache/volvault")).unwrap();
    for round in 0..3 {
        pod.write("a", &format!("round {round}"));
        // Keeps one, so that each forgets what it saw before.
        pod.done(&["backup", "prune"]);
    }
    let cache = pod.at("cache").display().to_string();
    pod.set("RESTIC_CACHE_DIR", "/cache");
    pod.write("a", "elsewhere");
    pod.done(&["backup", "prune"]);
    pod.set("RESTIC_CACHE_DIR", &cache);
    pod.empty();
    pod.done(&["restore"]);
    assert_eq!(pod.read("a").as_deref(), Some("elsewhere"));
}

#[test]
fn a_pod_without_a_volume_that_stays_remembers_nothing_and_makes_none() {
    let mut pod = rolled_back();
    let nowhere = pod.at("nowhere");
    pod.set("RESTIC_CACHE_DIR", &nowhere.display().to_string());
    pod.done(&["backup", "restore"]);
    assert!(!nowhere.exists());
    // What is there and cannot be written to is no failure.
    crate::command::write(&pod.at("full/volvault"), b"no directory");
    pod.set("RESTIC_CACHE_DIR", &pod.at("full").display().to_string());
    pod.done(&["backup"]);
}
