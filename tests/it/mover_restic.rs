//! The contract of VolSync's restic mover, driven as its operator drives it: by the name of the script, arguments and environment.
//! Each part of VolSync's end-to-end tests for restic has a test of the same purpose here.

mod debugging;
mod identities;
mod mishaps;
pub(crate) mod pod;
mod remembering;
mod restores;
mod sharing;

use std::collections::BTreeSet;

use crate::support::image::InPod;
use crate::support::nobody::NOBODY;
use crate::support::peer;
use crate::support::s3::CA_FILE;
use crate::support::vault::on_disk;
use crate::support::web::Proxy;
use pod::{KEY, Pod, filtered};

/// What the operator keeps of a first run (`internal/controller/mover/restic/logfilter_test.go`).
const FIRST: [&str; 8] = [
    "^=== Initialize Dir ===$",
    "^created volvault repository [0-9a-f]{10} at ",
    "^repository [0-9a-f]{8} opened ",
    "^no parent snapshot found, will read all files$",
    r"^Added to the repository: \S+ \S+ \(\S+ \S+ stored\)$",
    r"^processed 2 files, \S+ \S+ in 0:\d\d, \d+ requests$",
    "^snapshot [0-9a-f]{8} of volsync saved$",
    r"^Restic completed in \d+s$",
];

const NOTHING: [&str; 0] = [];

fn filled() -> Pod {
    let pod = Pod::new();
    pod.write("a", "first");
    pod.write("dir/b", "second");
    pod
}

#[test]
fn the_operators_filter_keeps_what_it_keeps_of_its_own_mover() {
    let pod = filled();
    pod.done(&["backup"]).assert_kept(&FIRST);
    pod.write("a", "changed");
    let later = pod.done(&["backup"]);
    later.assert_kept(&[
        FIRST[2],
        "^using parent snapshot [0-9a-f]{8}$",
        FIRST[4],
        FIRST[5],
        FIRST[6],
        "^successfully removed 1 snapshots, 1 kept$",
        FIRST[7],
    ]);
    assert!(later.log.trim_end().lines().last().unwrap().starts_with("Restic completed in "), "{}", later.log);
    let unlocked = pod.done(&["unlock", "backup"]);
    assert!(unlocked.kept.starts_with("successfully removed 0 locks"), "{}", unlocked.kept);
    let log = "Starting container\nsnapshot 12345678 saved\nERROR: x\n[0:10] 5 files";
    assert_eq!(filtered(log), "snapshot 12345678 saved\nERROR: x");
}

/// The lists of arguments that the operator makes, in its order.
#[test]
fn every_list_of_actions_is_done_in_its_order() {
    for actions in [
        &["backup"][..],
        &["unlock", "backup"],
        &["backup", "prune"],
        &["unlock", "backup", "prune"],
        &["restore"],
        &["unlock"],
        &[],
    ] {
        let pod = filled();
        if actions == ["restore"] {
            pod.done(&["backup"]);
        }
        let ran = pod.done(actions);
        let heads = [
            ("unlock", "=== Starting unlock ==="),
            ("backup", "=== Starting backup ==="),
            ("prune", "=== Starting prune ==="),
            ("restore", "=== Starting restore ==="),
        ];
        let places: Vec<usize> = actions
            .iter()
            .map(|action| heads.iter().find(|head| head.0 == *action).unwrap().1)
            .map(|head| ran.log.find(head).unwrap_or_else(|| panic!("{actions:?}: {}", ran.log)))
            .collect();
        assert!(places.is_sorted(), "{actions:?}: {}", ran.log);
        assert!(ran.log.matches("opened").count() <= 1, "opened once: {}", ran.log);
    }
}

#[test]
fn the_exit_codes_are_the_scripts() {
    for (missing, code) in [
        ("PRIVILEGED_MOVER", 1),
        ("RESTIC_CACHE_DIR", 1),
        ("RESTIC_PASSWORD", 1),
        ("RESTIC_REPOSITORY", 1),
        ("DATA_DIR", 1),
    ] {
        for empty in [false, true] {
            let mut pod = filled();
            if empty {
                pod.set(missing, "");
            } else {
                pod.unset(missing);
            }
            let ran = pod.run(&["backup"]);
            assert_eq!(ran.code, code, "{missing}");
            assert!(ran.kept.ends_with(&format!("ERROR: {missing} must be defined\n")), "{}", ran.kept);
        }
    }
    let pod = filled();
    let ran = pod.run(&["backup", "dance"]);
    assert_eq!(ran.code, 2);
    ran.assert_says("^ERROR: unknown operation: dance$");
    assert_eq!(pod.store().keys(), NOTHING, "nothing was done before all was understood");
    let ran = pod.run(&["prune"]);
    assert_eq!(ran.code, 10, "{}", ran.log);
    ran.assert_says("^Fatal: .*Is there a repository at the following location");
}

#[test]
fn a_wrong_password_is_said_in_the_scripts_words() {
    let mut pod = filled();
    pod.done(&["backup"]);
    for wrong in ["key32:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "a password"] {
        pod.set("RESTIC_PASSWORD", wrong);
        for action in ["backup", "restore"] {
            let ran = pod.run(&[action]);
            assert_eq!(ran.code, 3, "{}", ran.log);
            ran.assert_says("^Fatal: wrong password or no key found");
            ran.assert_says("^ERROR: failure connecting to repository, incorrect password$");
            assert!(!ran.log.contains(wrong) && !ran.log.contains("restic completed"), "{}", ran.log);
        }
    }
}

/// `test_restic_manual_normal`: an ordinary user, a password that people type, a volume that comes back.
#[test]
fn a_volume_that_was_saved_with_a_password_comes_back() {
    let mut pod = filled();
    pod.set("RESTIC_PASSWORD", "a password that people type");
    std::os::unix::fs::symlink("a", pod.data().join("link")).unwrap();
    pod.hand_over();
    let before = on_disk(&pod.data());
    pod.done(&["backup"]);
    assert_eq!(on_disk(&pod.data()), before, "nothing is written into the volume");
    pod.empty();
    let ran = pod.done(&["restore"]);
    ran.assert_kept(&[
        FIRST[2],
        "^restoring snapshot [0-9a-f]{8} of volsync .* to /",
        r"^processed 4 files and directories in 0:\d\d: 4 restored",
        FIRST[7],
    ]);
    let mut after = on_disk(&pod.data());
    // The root of the volume is the volume's own affair.
    after.insert(Vec::new(), before[&Vec::new()].clone());
    let mut before = before;
    before.entry(Vec::new()).and_modify(|root| root.mtime = (0, 0));
    after.entry(Vec::new()).and_modify(|root| root.mtime = (0, 0));
    assert_eq!(after, before);
}

#[test]
fn an_empty_volume_is_passed_over_and_said_or_refused_when_strict() {
    let mut pod = Pod::new();
    for lost_and_found in [false, true] {
        if lost_and_found {
            std::fs::create_dir(pod.data().join("lost+found")).unwrap();
        }
        let ran = pod.done(&["backup", "prune"]);
        ran.assert_kept(&["^== Directory is empty skipping backup ===$"]);
    }
    assert_eq!(pod.store().keys(), NOTHING, "no repository was made for nothing");
    pod.set("RCLONE_VOLVAULT_STRICT", "true");
    let ran = pod.run(&["backup"]);
    assert_eq!(ran.code, 1);
    ran.assert_says("^ERROR: the directory is empty, and RCLONE_VOLVAULT_STRICT is set$");
}

#[test]
fn lost_and_found_is_not_saved_at_any_depth_and_neither_is_what_is_excluded() {
    let mut pod = filled();
    pod.write("lost+found/x", "");
    pod.write("dir/lost+found/y", "");
    pod.write("dir/z.tmp", "");
    pod.set("RCLONE_VOLVAULT_EXCLUDE", "*.tmp\n");
    pod.done(&["backup"]);
    let names = pod.look(&["ls", "latest"]);
    assert!(names.contains("/dir/b") && !names.contains("lost+found") && !names.contains("z.tmp"), "{names}");
}

#[test]
fn retention_is_volsyncs() {
    let mut pod = filled();
    pod.set("FORGET_OPTIONS", " --keep-hourly 1 --keep-within 2d --keep-last 2");
    for _ in 0..3 {
        pod.done(&["backup"]);
    }
    assert_eq!(pod.snapshots().len(), 3, "all are within two days");
    pod.set("FORGET_OPTIONS", " --keep-last 2");
    pod.done(&["backup"]).assert_says("^successfully removed 2 snapshots, 2 kept$");
    assert_eq!(pod.snapshots().len(), 2);
    pod.set("FORGET_OPTIONS", "");
    pod.done(&["backup"]);
    assert_eq!(pod.snapshots().len(), 3, "without options nothing is forgotten, as in the script");
    let hosts: BTreeSet<_> = pod.snapshots().iter().map(|snapshot| snapshot["hostname"].to_string()).collect();
    assert_eq!(hosts, BTreeSet::from(["\"volsync\"".to_owned()]));
}

/// What an operator makes of `retain: {hourly: 0}`: the script saves, then `restic forget` fails for want of a policy.
#[test]
fn a_policy_that_keeps_nothing_fails_after_the_volume_was_saved() {
    let mut pod = filled();
    for (n, options) in
        [" --keep-hourly 0", " --keep-within 0d", " --keep-last 0 --keep-daily 0"].into_iter().enumerate()
    {
        pod.set("FORGET_OPTIONS", options);
        pod.write("a", &format!("round {n}"));
        let ran = pod.run(&["backup", "prune"]);
        assert_eq!(ran.code, 1, "{options}: {}", ran.log);
        ran.assert_says("^snapshot [0-9a-f]{8} of volsync saved$");
        assert!(ran.kept.contains("hint: keep at least one snapshot: set spec.restic.retain"), "{}", ran.kept);
        let last = ran.kept.trim_end().lines().last().unwrap();
        assert!(last.starts_with("ERROR: FORGET_OPTIONS keeps nothing"), "{}", ran.kept);
        assert!(!ran.log.contains("=== Starting prune ==="), "{}", ran.log);
        assert_eq!(pod.snapshots().len(), n + 1, "none was forgotten");
    }
    // A failed job is started again and again.
    let ran = pod.run(&["backup"]);
    assert_eq!((ran.code, pod.snapshots().len()), (1, 3), "{}", ran.log);
}

#[test]
fn a_prune_in_the_same_process_removes_what_no_snapshot_needs() {
    let pod = Pod::new();
    for round in 0..2u64 {
        crate::command::fill(&pod.data(), 20, 200_000);
        pod.write("round", &round.to_string());
        pod.done(&["backup"]);
        pod.empty();
    }
    pod.write("a", "little is left");
    let ran = pod.done(&["unlock", "backup", "prune"]);
    ran.assert_says(r"^successfully pruned: deleted [1-9]\d* packs, ");
    pod.look(&["check", "--read-data"]);
}

#[test]
fn the_command_does_the_same_without_variables_that_mean_nothing() {
    let mut pod = filled();
    pod.unset("PRIVILEGED_MOVER");
    pod.unset("RESTIC_CACHE_DIR");
    let mut with_option = pod.program("/usr/bin/volvault", &["mover", "-r", "/elsewhere", "restic", "backup"]);
    assert_eq!(with_option.status().unwrap().code(), Some(1), "an option would mean nothing");
    let log = pod.look(&["mover", "restic", "backup", "prune"]);
    assert!(
        log.contains("snapshot ") && log.trim_end().lines().last().unwrap().starts_with("Restic completed"),
        "{log}"
    );
}

#[test]
fn what_bash_is_asked_to_start_is_started() {
    let pod = filled();
    let script = pod.script();
    for (line, code, says) in [
        (format!("{script} backup"), 0, "Restic completed"),
        ("/nowhere/active.sh".to_owned(), 127, "ERROR: start /nowhere/active.sh"),
        ("rm -rf / ; true".to_owned(), 2, "ERROR: this is not a shell"),
    ] {
        let output = pod.program("/bin/bash", &["-c", &line]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(code) && said.contains(says), "{line}: {said}");
    }
}

/// `test_restic_with_customca_*`.
#[test]
fn a_custom_authority_is_trusted_beside_the_systems() {
    let s3 = peer::server_behind_tls("bucket");
    let mut pod = Pod::on(&s3.server, "bucket", "app");
    pod.write("a", "first");
    let ran = pod.run(&["backup"]);
    assert_eq!(ran.code, 3, "{}", ran.log);
    ran.assert_says("^ERROR: failure checking existence of repository$");
    pod.set("CUSTOM_CA", CA_FILE);
    pod.done(&["backup"]).assert_says("^Using custom CA.$");
    pod.empty();
    pod.done(&["restore"]);
    assert_eq!(pod.read("a").as_deref(), Some("first"));
}

/// The operator hands its own proxy on.
#[test]
fn a_proxy_is_used_and_passed_by_for_hosts_that_are_excepted() {
    let s3 = peer::server("bucket");
    let address = s3.server.endpoint.trim_start_matches("http://").to_owned();
    let proxy = Proxy::start([("s3.volvault.test:80", &*address), ("s3.volvault.test", &*address)]);
    let mut pod = Pod::on(&s3.server, "bucket", "app");
    pod.write("a", "first");
    pod.set("HTTP_PROXY", &proxy.endpoint);
    pod.set("http_proxy", &proxy.endpoint);
    pod.set("NO_PROXY", "127.0.0.1");
    pod.done(&["backup"]);
    assert_eq!(proxy.passed(), Vec::<String>::new());
    pod.set("RESTIC_REPOSITORY", "s3:http://s3.volvault.test/bucket/app");
    pod.done(&["backup"]).assert_says("^using parent snapshot");
    assert!(!proxy.passed().is_empty());
}

#[test]
fn wrong_keys_of_the_bucket_are_no_missing_repository() {
    let s3 = peer::server("bucket");
    let mut pod = Pod::on(&s3.server, "bucket", "app");
    pod.write("a", "first");
    pod.set("AWS_SECRET_ACCESS_KEY", "wrong");
    for action in ["backup", "restore"] {
        let ran = pod.run(&[action]);
        assert_eq!(ran.code, 3, "{}", ran.log);
        assert!(!ran.log.contains("Initialize Dir"), "{}", ran.log);
    }
}

/// What a pod costs that finds nothing changed: `docs/adr/0007-requests.md` has nine of these, forgetting the one before takes three.
#[test]
fn an_unchanged_volume_costs_at_most_twelve_requests_with_forget() {
    let s3 = peer::server("bucket");
    let pod = Pod::on(&s3.server, "bucket", "app");
    crate::command::fill(&pod.data(), 2000, 100);
    pod.done(&["backup"]);
    for _ in 0..2 {
        let before = s3.server.requests();
        let ran = pod.done(&["backup"]);
        let requests = s3.server.requests() - before;
        ran.assert_says("^successfully removed 1 snapshots, 1 kept$");
        assert!(requests <= 12, "{requests} requests: {}", ran.log);
    }
}

/// A policy that keeps thirty has thirty to decide about, and reads none of them.
#[test]
fn thirty_snapshots_that_are_kept_cost_nothing() {
    let s3 = peer::server("bucket");
    let mut pod = Pod::on(&s3.server, "bucket", "app");
    crate::command::fill(&pod.data(), 100, 100);
    pod.set("FORGET_OPTIONS", "--keep-last 30");
    for _ in 0..30 {
        pod.done(&["backup"]);
    }
    assert_eq!(pod.snapshots().len(), 30);
    for _ in 0..2 {
        let before = s3.server.requests();
        let ran = pod.done(&["backup"]);
        let requests = s3.server.requests() - before;
        ran.assert_says("^successfully removed 1 snapshots, 30 kept$");
        assert!(requests <= 12, "{requests} requests: {}", ran.log);
    }
    // Another program changed one: it is read, and the next snapshot knows it.
    let id = pod.snapshots()[10]["id"].as_str().unwrap().to_owned();
    pod.look(&["tag", "--set", "kept", &id]);
    pod.done(&["backup"]).assert_says("^successfully removed 1 snapshots, 30 kept$");
}

/// CSI drivers that clone by copying give every file a new inode.
#[test]
fn a_copied_volume_is_not_read_again_if_inodes_are_to_be_ignored() {
    let mut pod = filled();
    pod.done(&["backup"]);
    let copied = pod.at("copied");
    let status = std::process::Command::new("cp").arg("-a").arg(pod.data()).arg(&copied).status().unwrap();
    assert!(status.success());
    std::fs::remove_dir_all(pod.data()).unwrap();
    std::process::Command::new("mv").arg(&copied).arg(pod.data()).status().unwrap();
    pod.set("RCLONE_VOLVAULT_IGNORE_INODE", "true");
    pod.done(&["backup"]).assert_says("^Files: 0 new, 0 changed, 2 unmodified$");
}

#[test]
fn an_ordinary_user_without_a_home_saves_what_it_may_read() {
    let mut pod = filled();
    // Of no use to a repository on a server.
    std::fs::create_dir(pod.at("repository")).unwrap();
    std::os::unix::fs::chown(pod.at("repository"), Some(NOBODY), Some(NOBODY)).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(pod.at(""), open).unwrap();
    pod.run_as(NOBODY);
    pod.done(&["backup"]).assert_kept(&FIRST);
    assert!(KEY.starts_with("key32:"));
}
