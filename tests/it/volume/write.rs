//! What a target makes of the entries of a snapshot.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use volvault::ErrorKind;
use volvault::catalog::Timestamp;
use volvault::path::TreePath;
use volvault::volume::{Apply, EntryKind, Made, MetadataOutcome, OwnerNames, Ownership, Replace, Target};

use super::{NOBODY, acl, as_nobody, find, give_to_nobody, metadata, put, tree_path, xattr};

/// The capability `cap_net_bind_service=ep` in the kernel's form.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn target(dir: &tempfile::TempDir) -> Target {
    Target::open(dir.path(), false).expect("target")
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let len = lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

#[test]
fn a_new_file_gets_content_owner_mode_attributes_and_times() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let target = target(&dir);
    let attributes =
        [xattr("security.capability", &CAPABILITY), xattr("system.posix_acl_access", &acl()), xattr("user.k", b"v")];
    let mut wanted = metadata(0o6644, 4711, &attributes);
    wanted.mtime = Timestamp { seconds: -1, nanos: 999_999_999 };
    target.create_dir(&tree_path("d")).expect("create directory");
    let file = target.create_file(&tree_path("d/f"), Replace::OtherKinds).expect("create");
    assert!(file.is_new());
    file.write_all_at(b"content", 0).expect("write");
    let outcome = file.set_metadata(&wanted, &Apply::default()).expect("metadata");
    assert!(outcome.is_complete(), "{outcome:?}");
    file.sync().expect("sync");
    let found = find(dir.path(), "d/f");
    let (read, _) = found.metadata(&OwnerNames::default());
    assert_eq!((read.mode, read.uid, read.gid), (0o6644, 4711, 4711));
    assert_eq!(read.mtime, wanted.mtime);
    assert_eq!(*read.xattrs, attributes);
    assert_eq!(std::fs::read(dir.path().join("d/f")).expect("read"), b"content");
}

#[test]
fn an_existing_file_ends_with_the_attributes_of_the_snapshot_and_no_others() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("f");
    put(&path, b"content");
    for (name, value) in [("user.old", &b"1"[..]), ("user.kept", b"1"), ("user.changed", b"1"), ("trusted.old", b"1")] {
        lsetxattr(&path, name, value, XattrFlags::empty()).expect("set attribute");
    }
    lsetxattr(&path, "system.posix_acl_access", &acl(), XattrFlags::empty()).expect("set list");
    let wanted = metadata(0o640, 0, &[xattr("user.changed", b"2"), xattr("user.kept", b"1")]);
    let filter = |name: &[u8]| name != b"trusted.old";
    let options = Apply { xattr_filter: Some(&filter), ..Apply::default() };
    let file = target(&dir).open_file(&tree_path("f")).expect("open");
    assert!(!file.is_new());
    assert!(file.set_metadata(&wanted, &options).expect("metadata").is_complete());
    let (read, _) = find(dir.path(), "f").metadata(&OwnerNames::default());
    assert_eq!(*read.xattrs, [xattr("trusted.old", b"1"), xattr("user.changed", b"2"), xattr("user.kept", b"1")]);
    assert_eq!(read.mode, 0o640);
}

#[test]
fn a_list_that_the_directory_hands_down_does_not_stay_on_restored_files() {
    let dir = tempfile::tempdir().expect("temporary directory");
    lsetxattr(dir.path(), "system.posix_acl_default", &acl(), XattrFlags::empty()).expect("set list");
    let target = target(&dir);
    let file = target.create_file(&tree_path("f"), Replace::OtherKinds).expect("create");
    assert!(get(&dir.path().join("f"), "system.posix_acl_access").is_some(), "the kernel handed it down");
    file.set_metadata(&metadata(0o600, 0, &[]), &Apply::default()).expect("metadata");
    assert!(get(&dir.path().join("f"), "system.posix_acl_access").is_none());
}

#[test]
fn links_pipes_and_devices_are_made_and_have_their_own_metadata() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    let target = target(&dir);
    put(at("victim"), b"");
    let before = std::fs::metadata(at("victim")).expect("stat");
    target.symlink(&tree_path("link"), b"victim").expect("symlink");
    target.symlink(&tree_path("link"), b"victim").expect("again, in place of the first");
    assert_eq!(target.fifo(&tree_path("pipe")).expect("mkfifo"), Made::Yes);
    let device = target.device(&tree_path("null"), EntryKind::CharDevice, 1, 3).expect("mknod");
    assert_eq!(device, Made::Yes);
    for (name, kind) in [("link", EntryKind::Symlink), ("pipe", EntryKind::Fifo), ("null", EntryKind::CharDevice)] {
        let wanted = metadata(0o604, 4711, &[xattr("trusted.t", b"v")]);
        let outcome = target.set_metadata(&tree_path(name), kind, &wanted, &Apply::default()).expect("metadata");
        assert!(outcome.is_complete(), "{name}: {outcome:?}");
        let stat = target.stat(&tree_path(name)).expect("stat").expect("is there");
        assert_eq!((stat.kind, stat.uid, stat.gid, stat.mtime), (kind, 4711, 4711, wanted.mtime), "{name}");
        assert!(kind == EntryKind::Symlink || stat.mode == 0o604, "{name}");
        assert_eq!(get(&at(name), "trusted.t").as_deref(), Some(&b"v"[..]), "{name}");
    }
    assert_eq!(target.stat(&tree_path("null")).expect("stat").map(|stat| stat.rdev), Some((1, 3)));
    let after = std::fs::metadata(at("victim")).expect("stat");
    assert_eq!((before.uid(), before.mtime(), before.mode()), (after.uid(), after.mtime(), after.mode()));
    let wrong = target.set_metadata(&tree_path("link"), EntryKind::File, &metadata(0o777, 1, &[]), &Apply::default());
    assert!(wrong.is_err(), "another kind than expected is left alone");
}

#[test]
fn hard_links_share_one_inode_and_show_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let target = target(&dir);
    target.create_file(&tree_path("a"), Replace::OtherKinds).expect("create");
    put(dir.path().join("b"), b"in the way");
    for _ in 0..2 {
        target.hard_link(&tree_path("a"), &tree_path("b")).expect("link");
    }
    let stat = |name| target.stat(&tree_path(name)).expect("stat").expect("is there");
    assert_eq!(stat("a").inode, stat("b").inode);
    assert_eq!(target.open_file(&tree_path("b")).expect("open").stat().expect("stat").nlink, 2);
    target.symlink(&tree_path("link"), b"/etc/passwd").expect("symlink");
    target.hard_link(&tree_path("link"), &tree_path("c")).expect("link to the link itself");
    assert_eq!(stat("c").kind, EntryKind::Symlink);
}

#[test]
fn zeros_become_holes_in_new_files_and_in_old_ones() {
    for base in [std::env::temp_dir().as_path(), Path::new("/dev/shm")] {
        let dir = tempfile::tempdir_in(base).expect("temporary directory");
        let target = target(&dir);
        let mut content = vec![0; 1 << 20];
        content[5] = 1;
        content[700_000] = 1;
        put(dir.path().join("old"), &vec![7; 1 << 20]);
        let files = [
            target.create_file(&tree_path("new"), Replace::OtherKinds).expect("create"),
            target.open_file(&tree_path("old")).expect("open"),
        ];
        for (file, name) in files.iter().zip(["new", "old"]) {
            file.write_sparse_at(&content[..300_001], 0).expect("write");
            file.write_sparse_at(&content[300_001..], 300_001).expect("write");
            file.set_len(2 << 20).expect("set length");
            file.sync().expect("sync");
            let got = std::fs::read(dir.path().join(name)).expect("read");
            assert!(got.len() == 2 << 20 && got[..1 << 20] == content && got[1 << 20..].iter().all(|byte| *byte == 0));
            let blocks = file.stat().expect("stat").blocks;
            assert!(blocks <= 200, "{name} in {}: {blocks} blocks", base.display());
        }
        let old = &files[1];
        old.write_all_at(&[9; 100], 50_000).expect("write");
        old.make_hole(50_000, 99).expect("hole");
        let mut tail = [1; 101];
        old.read_at(&mut tail, 50_000).expect("read");
        assert_eq!((&tail[..99], tail[99], tail[100]), (&[0; 99][..], 9, 0));
    }
}

#[test]
fn only_what_may_be_replaced_is_replaced() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("full/sub")).expect("mkdir");
    std::fs::create_dir(at("empty")).expect("mkdir");
    put(at("full/sub/file"), b"");
    put(at("file"), b"old");
    let target = target(&dir);
    let create = |target: &Target, name: &str, replace| target.create_file(&tree_path(name), replace);
    let error = create(&target, "file", Replace::OtherKinds).expect_err("a file is there");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let inode = std::fs::metadata(at("file")).expect("stat").ino();
    std::fs::hard_link(at("file"), at("other")).expect("link");
    create(&target, "file", Replace::Anything).expect("replaced");
    assert_ne!(std::fs::metadata(at("file")).expect("stat").ino(), inode);
    assert_eq!(std::fs::read(at("other")).expect("read"), b"old", "the other name keeps the old content");
    create(&target, "empty", Replace::OtherKinds).expect("an empty directory makes room");
    create(&target, "full", Replace::Anything).expect_err("a full one does not");
    target.symlink(&tree_path("full"), b"x").expect_err("for nothing");
    let target = target.remove_trees(true);
    create(&target, "full", Replace::OtherKinds).expect("unless that is permitted");
    target.create_dir(&tree_path("full")).expect("and a directory takes the place of a file");
    target.create_dir(&tree_path("full")).expect("twice is no error");
    create(&target, "full/sub", Replace::OtherKinds).expect("handles of what was there before are forgotten");
    assert_eq!(
        target.list(&TreePath::root()).expect("list"),
        [
            ("empty", EntryKind::File),
            ("file", EntryKind::File),
            ("full", EntryKind::Directory),
            ("other", EntryKind::File)
        ]
        .map(|(name, kind)| (name.as_bytes().to_vec(), kind))
    );
    target.rename(&tree_path("other"), &tree_path("file")).expect("rename");
    assert_eq!(std::fs::read(at("file")).expect("read"), b"old");
    target.remove(&tree_path("no/such")).expect_err("no such directory");
    target.remove(&tree_path("nothing")).expect("nothing to remove");
    target.sync().expect("sync");
}

#[test]
fn an_ordinary_user_restores_below_read_only_directories_and_hears_what_was_not_possible() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("d")).expect("mkdir");
    put(at("d/old"), b"old");
    for (name, mode) in [("d/old", 0o444), ("d", 0o555), ("", 0o755)] {
        give_to_nobody(&at(name));
        std::fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("chmod");
    }
    as_nobody(|| {
        let target = target(&dir);
        target.create_dir(&tree_path("d")).expect("opened up");
        let old = target.open_file(&tree_path("d/old")).expect("made writable");
        old.write_all_at(b"new", 0).expect("write");
        let wanted = metadata(0o444, NOBODY, &[xattr("user.k", b"v")]);
        assert!(old.set_metadata(&wanted, &Apply::default()).expect("metadata").is_complete());

        let foreign = target.create_file(&tree_path("d/foreign"), Replace::OtherKinds).expect("create");
        let wanted = metadata(0o4755, 0, &[xattr("trusted.t", b"v")]);
        let outcome = foreign.set_metadata(&wanted, &Apply::default()).expect("metadata");
        let expected = MetadataOutcome { ownership: 1, special_bits: 1, xattrs: 1, ..MetadataOutcome::default() };
        assert_eq!(outcome, expected);
        let device = target.device(&tree_path("d/null"), EntryKind::BlockDevice, 7, 0).expect("asked");
        assert_eq!(device, Made::NotPermitted);
        target.fifo(&tree_path("d/pipe")).expect("mkfifo");
        target.symlink(&tree_path("d/link"), b"x").expect("symlink");
        let own = metadata(0o555, NOBODY, &[]);
        for (name, kind) in [("d/pipe", EntryKind::Fifo), ("d/link", EntryKind::Symlink), ("d", EntryKind::Directory)] {
            let outcome = target.set_metadata(&tree_path(name), kind, &own, &Apply::default()).expect("metadata");
            assert!(outcome.is_complete(), "{name}: {outcome:?}");
        }
        let closed = metadata(0o000, NOBODY, &[]);
        for _ in 0..2 {
            let outcome = target
                .set_metadata(&tree_path("d"), EntryKind::Directory, &closed, &Apply::default())
                .expect("metadata");
            assert!(outcome.is_complete(), "also on a directory that cannot be read: {outcome:?}");
        }
    });
    assert_eq!(std::fs::read(at("d/old")).expect("read"), b"new");
    let mode = |name: &str| std::fs::symlink_metadata(at(name)).expect("stat").mode() & 0o7777;
    assert_eq!((mode("d"), mode("d/old"), mode("d/foreign"), mode("d/pipe")), (0, 0o444, 0o755, 0o555));
    as_nobody(|| {
        let target = target(&dir);
        target.remove(&tree_path("d")).expect("even what is closed to its owner can be removed");
    });
    assert!(!at("d").exists());
}

#[test]
fn an_ordinary_user_removes_from_read_only_directories_of_its_own() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("d/below")).expect("mkdir");
    put(at("d/file"), b"content");
    for (name, mode) in [("d/file", 0o444), ("d/below", 0o555), ("d", 0o555), ("", 0o555)] {
        give_to_nobody(&at(name));
        std::fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("chmod");
    }
    as_nobody(|| {
        let target = target(&dir);
        for name in ["d/file", "d/below", "d"] {
            target.remove(&tree_path(name)).expect(name);
        }
        target.create_dir(&tree_path("")).expect("the target itself is opened up, too");
        target.create_file(&tree_path("new"), Replace::OtherKinds).expect("create");
    });
    assert!(!at("d").exists());
}

#[test]
fn an_access_list_that_takes_write_permission_from_the_owner_does_not_cost_other_attributes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    give_to_nobody(dir.path());
    let mut list = acl();
    // The owner's rights.
    list[6] = 4;
    as_nobody(|| {
        let file = target(&dir).create_file(&tree_path("file"), Replace::OtherKinds).expect("create");
        let access = xattr("system.posix_acl_access", &list);
        let wanted = metadata(0o444, NOBODY, &[access, xattr("user.k", b"v")]);
        assert!(file.set_metadata(&wanted, &Apply::default()).expect("metadata").is_complete());
    });
    assert_eq!(get(&dir.path().join("file"), "user.k"), Some(b"v".to_vec()));
    assert_eq!(get(&dir.path().join("file"), "system.posix_acl_access"), Some(list));
}

#[test]
fn owners_go_by_name_or_stay_when_asked_to() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let target = target(&dir);
    let names = OwnerNames::load();
    let mut wanted = metadata(0o4755, 4711, &[]);
    wanted.user = Some(b"nobody".as_slice().into());
    wanted.group = Some(b"no such group here".as_slice().into());
    let apply = |name: &str, ownership| {
        let file = target.create_file(&tree_path(name), Replace::OtherKinds).expect("create");
        let options = Apply { ownership, ..Apply::default() };
        let outcome = file.set_metadata(&wanted, &options).expect("metadata");
        let stat = file.stat().expect("stat");
        (stat.uid, stat.gid, stat.mode, outcome.special_bits)
    };
    let nobody = names.uid(b"nobody").expect("every system has one");
    assert_eq!(apply("by-name", Ownership::Names(&names)), (nobody, 4711, 0o4755, 0));
    assert_eq!(apply("by-id", Ownership::Ids), (4711, 4711, 0o4755, 0));
    assert_eq!(apply("left", Ownership::Leave), (0, 0, 0o755, 1));
}

#[test]
fn directories_and_the_root_get_their_metadata_last() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let target = Target::open(&dir.path().join("new/root"), true).expect("created");
    target.create_dir(&tree_path("d")).expect("create directory");
    target.create_file(&tree_path("d/f"), Replace::OtherKinds).expect("create");
    symlink("d", dir.path().join("new/root/link")).expect("symlink");
    let wanted = metadata(0o2711, 4711, &[xattr("system.posix_acl_default", &acl()), xattr("user.d", b"1")]);
    for path in [tree_path("d"), TreePath::root()] {
        let outcome = target.set_metadata(&path, EntryKind::Directory, &wanted, &Apply::default()).expect("metadata");
        assert!(outcome.is_complete(), "{outcome:?}");
    }
    for path in ["new/root/d", "new/root"] {
        let stat = std::fs::metadata(dir.path().join(path)).expect("stat");
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.mtime_nsec()), (0o2711, 4711, 123_456_789));
        assert!(get(&dir.path().join(path), "system.posix_acl_default").is_some());
    }
    let link = target.set_metadata(&tree_path("link"), EntryKind::Directory, &wanted, &Apply::default());
    assert!(link.is_err(), "a link to a directory is not a directory");
    let missing = Target::open(&dir.path().join("missing"), false).expect_err("not to be created");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}
