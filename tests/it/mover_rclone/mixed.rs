//! Old movers on the other side, during a change of images and after it was taken back.

use std::os::unix::fs::PermissionsExt;

use crate::command::write;
use crate::support::vault::on_disk;

use super::pod::{Pod, Script, facl};
use super::{fill, same, server};

const TOP: (&str, &str) = ("data", "rwx,r-x,r-x");

fn mode(pod: &Pod, name: &str) -> u32 {
    std::fs::metadata(pod.data().join(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_an_old_source_has_pushed_is_pulled_and_only_what_differs_is_fetched() {
    let s3 = server();
    let script = Script::on(&s3.server, "bucket/app");
    script.put("a", b"first");
    script.put("dir/b", b"second");
    script.put("zero", b"");
    script.put_facl(&[TOP, ("data/a", "rw-,---,---"), ("data/dir", "rwx,r-x,---"), ("data/dir/b", "rw-,r--,r--")]);
    let mut pod = Pod::on(&s3.server, "bucket/app");
    pod.set("DIRECTION", "destination");
    pod.write("extra", "goes");
    pod.write("lost+found/x", "stays");
    std::os::unix::fs::symlink("a", pod.data().join("link")).unwrap();
    let ran = pod.done();
    ran.assert_says("^rclone has pushed there last: what is listed is pulled, no generation$");
    ran.assert_says(r"^Elapsed time: .*, no generation, \d+ requests$");
    assert_eq!(
        (pod.read("a").as_deref(), pod.read("dir/b").as_deref(), pod.read("zero").as_deref()),
        (Some("first"), Some("second"), Some(""))
    );
    assert_eq!((mode(&pod, "a"), mode(&pod, "dir"), mode(&pod, "dir/b")), (0o600, 0o750, 0o644));
    assert!(pod.read("extra").is_none() && pod.read("lost+found/x").is_some(), "as rclone leaves them");
    assert!(pod.data().join("link").is_symlink(), "the other side pushes no links");
    assert!(pod.read("permissions.facl").is_none());
    let time = on_disk(&pod.data())[b"a".as_slice()].mtime;
    assert_eq!(time, (1_700_000_000, 123_456_789));
    assert_eq!(script.keys(), ["a", "dir/b", "permissions.facl", "zero"], "nothing was written there");
    let beside = Script::on(&s3.server, "bucket/").keys();
    assert!(beside.iter().all(|key| key.starts_with("app/")), "nor beside it: {beside:?}");

    let before = s3.server.requests();
    let ran = pod.done();
    ran.assert_says("unchanged, no generation");
    let requests = s3.server.requests() - before;
    assert!(requests <= 12, "{requests} requests: {}", ran.log);
    script.put("a", b"third");
    script.delete("dir/b");
    script.put_facl(&[TOP, ("data/a", "rw-,r--,---")]);
    let ran = pod.done();
    ran.assert_says("^Transferred: +1 / 1, 100%$");
    assert_eq!(
        (pod.read("a").as_deref(), mode(&pod, "a"), pod.data().join("dir").exists()),
        (Some("third"), 0o640, false)
    );
}

#[test]
fn without_permissions_a_plain_prefix_keeps_those_that_are_there() {
    let s3 = server();
    let script = Script::on(&s3.server, "bucket/app");
    script.put("a", b"first");
    script.put("link.rclonelink", b"a");
    let mut pod = Pod::on(&s3.server, "bucket/app");
    pod.set("DIRECTION", "destination");
    write(&pod.data().join("a"), b"older");
    std::fs::set_permissions(pod.data().join("a"), PermissionsExt::from_mode(0o640)).unwrap();
    let ran = pod.done();
    ran.assert_says("^there is no manifest: what is listed is pulled$");
    ran.assert_says("there is no permissions.facl");
    assert_eq!((pod.read("a").as_deref(), mode(&pod, "a")), (Some("first"), 0o640));
    assert_eq!(std::fs::read_link(pod.data().join("link")).unwrap().to_str(), Some("a"));
    pod.done().assert_says("unchanged, no generation");
}

/// As rclone leaves them, although what is excluded goes: what lies deeper than it looks, and links where the other side pushes none.
#[test]
fn a_plain_pull_that_deletes_what_is_excluded_leaves_what_it_does_not_look_at() {
    let s3 = server();
    let script = Script::on(&s3.server, "bucket/app");
    script.put("a", b"first");
    script.put("dir/b", b"second");
    let mut pod = Pod::on(&s3.server, "bucket/app");
    for (name, value) in [
        ("DIRECTION", "destination"),
        ("RCLONE_MAX_DEPTH", "1"),
        ("RCLONE_DELETE_EXCLUDED", "true"),
        ("RCLONE_EXCLUDE", "*.tmp"),
    ] {
        pod.set(name, value);
    }
    for name in ["dir/b", "dir/deep/c", "x.tmp", "extra"] {
        pod.write(name, "here");
    }
    for link in ["link", "dir/link"] {
        std::os::unix::fs::symlink("a", pod.data().join(link)).unwrap();
    }
    for _ in 0..2 {
        pod.done();
        assert_eq!(pod.read("a").as_deref(), Some("first"));
        assert_eq!((pod.read("x.tmp"), pod.read("extra")), (None, None));
        for name in ["dir/b", "dir/deep/c"] {
            assert_eq!(pod.read(name).as_deref(), Some("here"), "{name}");
        }
        for link in ["link", "dir/link"] {
            assert!(pod.data().join(link).is_symlink(), "{link}");
        }
    }
}

/// The image of the source is changed, then of the destination, then the source's is changed back, and again.
#[test]
fn images_may_be_changed_on_either_side_at_any_time() {
    let s3 = server();
    let script = Script::on(&s3.server, "bucket/app");
    script.put("a", b"first");
    script.put("old", b"left by rclone");
    script.put_facl(&[TOP, ("data/a", "rw-,r--,r--")]);
    let source = Pod::on(&s3.server, "bucket/app");
    fill(&source);
    source.done().assert_says("generation 1");
    assert_eq!(script.keys(), ["a", "dir/b", "permissions.facl"]);
    let destination = source.destination();
    destination.done().assert_says("generation 1");
    same(&source, &destination);

    // rclone is back: what it pushes is what counts, although a manifest says something else.
    script.put("a", b"by rclone");
    script.put("new", b"by rclone");
    script.put_facl(&[TOP, ("data/a", "rw-,r--,r--"), ("data/new", "rw-,---,---")]);
    let ran = destination.done();
    ran.assert_says("^rclone has pushed there last: what is listed is pulled, no generation$");
    assert_eq!(
        (destination.read("a").as_deref(), destination.read("new").as_deref()),
        (Some("by rclone"), Some("by rclone"))
    );
    assert_eq!(mode(&destination, "new"), 0o600);

    // Ours is back, on a volume that has not changed since its own last push.
    let ran = source.done();
    ran.assert_says("^another program has pushed there");
    assert_eq!(script.keys(), ["a", "dir/b", "permissions.facl"]);
    assert_eq!(script.get("a").as_deref(), Some("first"));
    assert!(script.get("permissions.facl").unwrap().contains("# file: data/dir/b"));
    let ran = destination.done();
    ran.assert_says("generation");
    assert!(!ran.log.contains("what is listed is pulled"), "{}", ran.log);
    same(&source, &destination);
    source.done().assert_says("unchanged, generation");
}

/// The same in a directory, which a cluster mounts by `moverVolumes`, and which keeps no metadata of objects.
#[test]
fn in_a_directory_too_it_is_known_who_pushed_last() {
    let source = Pod::with_volume();
    fill(&source);
    source.done().assert_says("generation 1");
    let destination = source.destination();
    destination.done().assert_says("generation 1");
    same(&source, &destination);

    let mirror = source.at("mnt/mirror");
    write(&mirror.join("new"), b"by rclone");
    std::fs::remove_file(mirror.join("permissions.facl")).unwrap();
    let records = [TOP, ("data/a", "rw-,r--,r--"), ("data/dir", "rwx,r-x,r-x"), ("data/dir/b", "rw-,r--,r--")];
    let records = [&records[..], &[("data/new", "rw-,---,---")]].concat();
    write(&mirror.join("permissions.facl"), facl(&records).as_bytes());
    destination.done().assert_says("^rclone has pushed there last: what is listed is pulled, no generation$");
    assert_eq!((destination.read("new").as_deref(), mode(&destination, "new")), (Some("by rclone"), 0o600));

    source.done().assert_says("^another program has pushed there");
    assert!(!mirror.join("new").exists());
    let ran = destination.done();
    assert!(!ran.log.contains("what is listed is pulled"), "{}", ran.log);
    assert_eq!(destination.read("new"), None);
    same(&source, &destination);
    source.done().assert_says("unchanged, generation");
}
