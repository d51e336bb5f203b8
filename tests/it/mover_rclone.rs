//! The contract of VolSync's rclone mover, driven as its operator drives it: by the name of the script and the environment.
//! Each of VolSync's end-to-end tests for rclone has a test of the same purpose here; `tests/peers/mover.py` has real rclone on the other side.

mod mishaps;
mod mixed;
mod order;
pub(crate) mod pod;

use crate::support::image::InPod;
use crate::support::nobody::NOBODY;
use crate::support::peer;
use crate::support::s3::{CA_FILE, S3ServerThread};
use crate::support::vault::{assert_same, on_disk};
use crate::support::web::Proxy;
use pod::{Pod, Script};

/// What the operator keeps of a first push of two files (`internal/controller/mover/rclone/logfilter_test.go`).
const FIRST: [&str; 5] = [
    r"^Transferred:\s+\S+ \S+ / \S+ \S+, 100%, ",
    r"^Checks:\s+\d+ / \d+, ",
    r"^Transferred:\s+2 / 2, 100%$",
    r"^Elapsed time:\s+\S+s, generation 1, \d+ requests$",
    r"^Rclone completed in \d+s$",
];

const NOTHING: [&str; 0] = [];

fn fill(pod: &Pod) {
    pod.write("a", "first");
    pod.write("dir/b", "second");
}

fn filled() -> Pod {
    let pod = Pod::new();
    fill(&pod);
    pod
}

fn server() -> S3ServerThread {
    peer::server_in_memory("bucket")
}

/// The trees below both volumes; the top is the volume's own affair.
fn same(left: &Pod, right: &Pod) {
    let tree = |pod: &Pod| {
        let mut seen = on_disk(&pod.data());
        seen.remove(&Vec::new());
        seen
    };
    assert_same(&tree(left), &tree(right));
}

#[test]
fn the_operators_filter_keeps_what_it_keeps_of_its_own_mover() {
    let pod = filled();
    pod.done().assert_kept(&FIRST);
    pod.write("a", "changed");
    let later = pod.done();
    later.assert_kept(&[
        FIRST[0],
        FIRST[1],
        r"^Transferred:\s+1 / 1, 100%$",
        r"^Elapsed time:\s+\S+s, generation 1 -> 2, \d+ requests$",
        FIRST[4],
    ]);
    assert!(later.log.trim_end().lines().last().unwrap().starts_with("Rclone completed in "), "{}", later.log);
    assert!(later.log.starts_with("VolSync rclone container version: "), "{}", later.log);
    std::fs::remove_file(pod.data().join("a")).unwrap();
    let gone = pod.done();
    gone.assert_says(r"^Deleted:\s+1 \(files\), 0 \(dirs\)");
    pod.done().assert_says(r"^Elapsed time:\s+\S+s, unchanged, generation 3, \d+ requests$");
    let ran = pod.destination().done();
    ran.assert_says(r"^Elapsed time:\s+\S+s, generation 3, \d+ requests$");
}

/// The variables that the script demands, in its order, and what it says of others.
#[test]
fn the_exit_codes_are_the_scripts() {
    for missing in ["RCLONE_DEST_PATH", "DIRECTION", "PRIVILEGED_MOVER", "MOUNT_PATH", "RCLONE_CONFIG_SECTION"] {
        let mut pod = filled();
        pod.unset(missing);
        let ran = pod.run();
        assert_eq!(ran.code, 1, "{missing}");
        assert!(ran.kept.ends_with(&format!("ERROR: {missing} must be defined\n")), "{}", ran.kept);
    }
    for (name, value, code, says) in [
        ("DIRECTION", "sideways", 1, "ERROR: unknown value for DIRECTION: sideways"),
        ("RCLONE_CONFIG_SECTION", "nowhere", 1, "didn't find section \"nowhere\""),
        ("RCLONE_CONFIG", "/nowhere/rclone.conf", 1, "/nowhere/rclone.conf"),
        ("RCLONE_TRANSFERS", "many", 1, "RCLONE_TRANSFERS"),
        ("RCLONE_VOLVAULT_STRIKT", "1", 1, "RCLONE_VOLVAULT_STRIKT is not known"),
        ("RCLONE_VOLVAULT_SHARED", "true", 1, "RCLONE_VOLVAULT_SHARED is not known"),
        ("RCLONE_FILTER", "x", 1, "malformed rule"),
        ("RCLONE_BACKUP_DIR", "volume:old", 1, "RCLONE_BACKUP_DIR is not followed"),
        ("RCLONE_IMMUTABLE", "true", 1, "RCLONE_IMMUTABLE is not followed"),
    ] {
        let mut pod = filled();
        pod.set(name, value);
        let ran = pod.run();
        assert_eq!(ran.code, code, "{name}: {}", ran.log);
        assert!(ran.kept.contains(says), "{name}: {}", ran.kept);
        assert_eq!(pod.mirror().keys(), NOTHING, "nothing was done before all was understood");
    }
    let ran = filled().destination().run();
    assert_eq!(ran.code, 3, "nothing is there, as rclone says it: {}", ran.log);
    ran.assert_says("^Fatal: there is nothing to pull at ");
    ran.assert_says("^hint: let the source push first");
    assert!(ran.kept.contains("ERROR: the pull failed"), "{}", ran.kept);
}

/// `test_simple_rclone`, `test_rclone_normal`, `test_rclone_priv` and `test_rclone_priv_with_symlinks`, on each kind of store.
#[test]
fn a_volume_comes_over_with_all_that_it_has() {
    let (s3, other) = (server(), server());
    for mut pod in [Pod::new(), Pod::on(&s3.server, "bucket/some/prefix"), Pod::on(&other.server, "bucket")] {
        for privileged in ["0", "1"] {
            pod.set("PRIVILEGED_MOVER", privileged);
            fill(&pod);
            pod.write("permissions.facl", "a file of the user, which no mover of VolSync carries");
            pod.write("big", &"x".repeat(9 << 20));
            std::fs::create_dir_all(pod.data().join("empty")).unwrap();
            for (link, target) in [("mysql.sock", "/var/run/mysqld/mysqld.sock"), ("link-relative", "a")] {
                let _ = std::os::unix::fs::symlink(target, pod.data().join(link));
            }
            pod.done();
            std::fs::remove_file(pod.data().join("permissions.facl")).unwrap();
            let destination = pod.destination();
            destination.write("extra", "not in the source");
            destination.write("lost+found/kept", "");
            let ran = destination.done();
            assert!(ran.kept.contains("Deleted:"), "{}", ran.kept);
            std::fs::remove_dir_all(destination.data().join("lost+found")).unwrap();
            same(&pod, &destination);
            // The top of the volume gets its time back.
            destination.done();
            destination.done().assert_says("unchanged, generation");
        }
    }
}

/// `test_multi_sync_snapshot_rclone`.
#[test]
fn a_second_sync_brings_what_changed() {
    let s3 = server();
    let source = Pod::on(&s3.server, "bucket/app");
    source.write("datafile", "data");
    source.done();
    let destination = source.destination();
    destination.done();
    assert_eq!(destination.read("datafile").as_deref(), Some("data"));
    source.write("datafile", "moredata");
    source.done();
    destination.done().assert_says("^Transferred: +1 / 1, 100%$");
    assert_eq!(destination.read("datafile").as_deref(), Some("moredata"));
    same(&source, &destination);
}

/// `test_rclone_with_customca_*`, and rclone's own variable for the same.
#[test]
fn a_custom_authority_is_trusted_beside_the_systems() {
    let s3 = peer::server_behind_tls("bucket");
    for name in ["CUSTOM_CA", "RCLONE_CA_CERT"] {
        let mut pod = Pod::on(&s3.server, &format!("bucket/{}", name.to_lowercase()));
        fill(&pod);
        let ran = pod.run();
        assert_ne!(ran.code, 0, "{}", ran.log);
        pod.set(name, CA_FILE);
        let ran = pod.done();
        assert_eq!(ran.log.contains("Using custom CA."), name == "CUSTOM_CA");
        let destination = pod.destination();
        destination.done();
        same(&pod, &destination);
    }
}

/// The operator hands its own proxy on.
#[test]
fn a_proxy_is_used_and_passed_by_for_hosts_that_are_excepted() {
    let s3 = server();
    let address = s3.server.endpoint.trim_start_matches("http://").to_owned();
    let proxy = Proxy::start([("s3.volvault.test:80", &*address), ("s3.volvault.test", &*address)]);
    let mut pod = Pod::on(&s3.server, "bucket/app");
    fill(&pod);
    for name in ["HTTP_PROXY", "http_proxy"] {
        pod.set(name, &proxy.endpoint);
    }
    pod.set("NO_PROXY", "127.0.0.1");
    pod.done();
    assert_eq!(proxy.passed(), Vec::<String>::new());
    // A setting of the remote, as the Secret may hold it.
    pod.set("RCLONE_CONFIG_BUCKET_ENDPOINT", "http://s3.volvault.test");
    pod.done();
    assert!(!proxy.passed().is_empty());
}

#[test]
fn a_volume_is_only_read_and_what_does_not_change_costs_few_requests() {
    let s3 = server();
    let mut pod = Pod::on(&s3.server, "bucket/app");
    crate::command::fill(&pod.data(), 500, 100);
    pod.hand_over();
    let before = on_disk(&pod.data());
    pod.done();
    assert_eq!(on_disk(&pod.data()), before, "nothing is written into the volume");
    let count = |pod: &Pod| {
        let before = s3.server.requests();
        let ran = pod.done();
        let requests = s3.server.requests() - before;
        ran.assert_says(&format!("^Elapsed time: .*, {requests} requests$"));
        requests
    };
    let destination = pod.destination();
    count(&destination);
    let (push, pull) = (count(&pod), count(&destination));
    assert!(push <= 6 && pull <= 4, "{push} and {pull} requests");
    // Without conditions a push looks at its claim and at the root once more before it writes.
    let more = if peer::knows_conditions() { 0 } else { 2 };
    pod.write("00/00007", "changed");
    let (push, pull) = (count(&pod), count(&destination));
    assert!(push <= 26 + more && pull <= 6, "{push} and {pull} requests");
    let state = pod.at("state").display().to_string();
    pod.set("RCLONE_VOLVAULT_STATE", &state);
    count(&pod);
    assert_eq!(count(&pod), 2, "with a place to remember things in: the root, and who was there last");
}

#[test]
fn an_empty_volume_is_passed_over_and_said_or_refused_when_strict() {
    let s3 = server();
    let mut pod = Pod::on(&s3.server, "bucket/app");
    let ran = pod.done();
    ran.assert_says("^== Directory is empty skipping sync ===$");
    assert!(ran.kept.contains("the directory is empty, the mirror stays as it is"), "{}", ran.kept);
    assert_eq!(pod.mirror().keys(), NOTHING, "an empty volume makes no mirror");
    let mut destination = pod.destination();
    let ran = destination.run();
    assert_eq!(ran.code, 3, "{}", ran.log);
    ran.assert_says("^Fatal: there is nothing to pull at s3:.*/bucket/app$");
    pod.set("RCLONE_VOLVAULT_ALLOW_EMPTY", "true");
    pod.done().assert_says("^Elapsed time: .*, generation 1, ");
    pod.unset("RCLONE_VOLVAULT_ALLOW_EMPTY");
    fill(&pod);
    pod.done();
    destination.done();
    pod.empty();
    std::fs::create_dir(pod.data().join("lost+found")).unwrap();
    let ran = pod.done();
    ran.assert_says("^== Directory is empty skipping sync ===$");
    assert!(ran.kept.contains("the directory is empty, the mirror stays as it is"), "{}", ran.kept);
    destination.done();
    assert_eq!(destination.read("a").as_deref(), Some("first"));
    pod.set("RCLONE_VOLVAULT_STRICT", "true");
    let ran = pod.run();
    assert_eq!(ran.code, 1);
    ran.assert_says("^ERROR: the directory is empty, and RCLONE_VOLVAULT_STRICT is set$");
    pod.unset("RCLONE_VOLVAULT_STRICT");
    pod.set("RCLONE_VOLVAULT_ALLOW_EMPTY", "true");
    pod.done().assert_says("generation 2 -> 3");
    destination.done().assert_says("^== Mirror is empty skipping sync");
    assert_eq!(destination.read("a").as_deref(), Some("first"));
    destination.set("RCLONE_VOLVAULT_STRICT", "true");
    let ran = destination.run();
    assert_eq!(ran.code, 7);
    ran.assert_says("^hint: RCLONE_VOLVAULT_ALLOW_EMPTY lets an empty mirror empty the volume$");
    destination.unset("RCLONE_VOLVAULT_STRICT");
    destination.set("RCLONE_VOLVAULT_ALLOW_EMPTY", "true");
    destination.done();
    assert_eq!(destination.read("a"), None);
}

/// CSI drivers that clone by copying give every file a new inode and a new ctime.
#[test]
fn a_copied_volume_is_not_pushed_again() {
    let pod = filled();
    pod.done();
    let copied = pod.at("copied");
    let status = std::process::Command::new("cp").arg("-a").arg(pod.data()).arg(&copied).status().unwrap();
    assert!(status.success());
    std::fs::remove_dir_all(pod.data()).unwrap();
    std::process::Command::new("mv").arg(&copied).arg(pod.data()).status().unwrap();
    pod.done().assert_says(r"^Elapsed time:\s+\S+s, unchanged, generation 1, ");
}

#[test]
fn what_is_excluded_stays_on_both_sides() {
    let mut pod = filled();
    pod.write("lost+found/x", "");
    pod.write("dir/lost+found/y", "");
    pod.write("dir/z.tmp", "");
    pod.write("cache/c", "");
    pod.set("RCLONE_VOLVAULT_EXCLUDE", "*.tmp\n# caches\n/cache/**\n");
    pod.done();
    let mut destination = pod.destination();
    destination.unset("RCLONE_VOLVAULT_EXCLUDE");
    destination.write("lost+found/kept", "");
    destination.write("dir/lost+found/kept", "");
    destination.done();
    let names: Vec<String> =
        on_disk(&destination.data()).keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    for (name, is_there) in [
        ("dir/b", true),
        ("dir/z.tmp", false),
        ("cache/c", false),
        ("lost+found/x", false),
        ("lost+found/kept", true),
        ("dir/lost+found/y", false),
        ("dir/lost+found/kept", true),
    ] {
        assert_eq!(names.iter().any(|found| found == name), is_there, "{name}: {names:?}");
    }
}

#[test]
fn rclones_variables_mean_what_they_mean_to_rclone() {
    let mut pod = filled();
    let a = pod.data().join("a");
    let date = || std::fs::File::options().write(true).open(&a).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    date();
    pod.write("c.log", "x");
    pod.set("RCLONE_FILTER", "- *.log");
    pod.set("RCLONE_TRANSFERS", "2");
    pod.set("RCLONE_NO_TRAVERSE", "true");
    pod.set("RCLONE_DRY_RUN", "true");
    let ran = pod.done();
    ran.assert_says("nothing was written");
    ran.assert_says("^note: variable RCLONE_NO_TRAVERSE is not followed$");
    assert_eq!(pod.mirror().keys(), NOTHING);
    pod.unset("RCLONE_DRY_RUN");
    pod.done();
    let mut destination = pod.destination();
    destination.unset("RCLONE_FILTER");
    destination.write("one", "");
    destination.write("two", "");
    destination.set("RCLONE_MAX_DELETE", "1");
    assert_eq!(destination.run().code, 7, "more than it may delete");
    assert!(destination.read("one").is_some() && destination.read("a").is_none());
    destination.set("RCLONE_MAX_DELETE", "2");
    destination.done();
    assert_eq!(
        (destination.read("a").is_some(), destination.read("one"), destination.read("c.log")),
        (true, None, None)
    );
    // The same size and time: only a look at the content finds it.
    pod.write("a", "FIRST");
    date();
    pod.done().assert_says("unchanged");
    pod.set("RCLONE_CHECKSUM", "1");
    pod.done().assert_says("generation 1 -> 2");
}

#[test]
fn the_command_does_the_same_without_variables_that_mean_nothing() {
    let mut pod = filled();
    pod.unset("PRIVILEGED_MOVER");
    let output = pod.program("/usr/bin/volvault", &["mover", "rclone"]).output().unwrap();
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && log.trim_end().ends_with('s') && log.contains("generation 1"), "{log}");
}

/// `["/bin/bash", "-c", "/mover-rclone/active.sh"]`.
#[test]
fn it_is_started_through_bash() {
    let pod = filled();
    let output = pod.program("/bin/bash", &["-c", &pod.script()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("Rclone completed in "), "{said}");
}

#[test]
fn an_ordinary_user_without_a_home_does_what_it_may() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let mut pod = filled();
    chown(pod.data().join("a"), Some(4321), Some(4321)).unwrap();
    for path in [pod.at(""), pod.at("tmp"), pod.at("mnt"), pod.at("rclone.conf")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    pod.run_as(NOBODY);
    pod.done().assert_kept(&FIRST);
    let mut destination = pod.destination();
    for path in [destination.at(""), destination.at("tmp"), destination.data(), destination.at("rclone.conf")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    destination.run_as(NOBODY);
    let ran = destination.done();
    assert!(ran.kept.contains("attributes not restored (unprivileged)"), "{}", ran.kept);
    assert_eq!(
        (destination.read("a").as_deref(), destination.read("dir/b").as_deref()),
        (Some("first"), Some("second"))
    );
    destination.done().assert_says(r"^Transferred:\s+0 B / 0 B, ");
}

/// What an old destination reads: plain objects, and `permissions.facl`, which says all of them.
#[test]
fn the_prefix_is_one_that_rclone_and_setfacl_read() {
    let s3 = server();
    let pod = Pod::on(&s3.server, "bucket/app");
    fill(&pod);
    pod.done();
    let script = Script::on(&s3.server, "bucket/app");
    assert_eq!(script.keys(), ["a", "dir/b", "permissions.facl"]);
    assert_eq!(script.get("dir/b").as_deref(), Some("second"));
    let facl = script.get("permissions.facl").unwrap();
    for line in ["# file: data", "# file: data/a", "# file: data/dir", "# file: data/dir/b", "user::rw-"] {
        assert!(facl.lines().any(|found| found == line), "{line}: {facl}");
    }
}
