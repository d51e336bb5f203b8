//! Content and metadata of entries that the walk found.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat, removexattr};
use volvault::catalog::Extent;
use volvault::events::Stop;
use volvault::volume::{OwnerNames, WalkItem, WalkOptions, walk};

use super::{acl, find, put, whole, xattr};

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).expect("set attribute");
}

#[test]
fn a_small_file_is_read_whole_behind_what_the_buffer_holds() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for (name, content) in [("empty", Vec::new()), ("short", b"abc".to_vec()), ("long", vec![7; 70_000])] {
        put(dir.path().join(name), &content);
        set(&dir.path().join(name), "user.k", b"v");
        let mut buffer = b"before".to_vec();
        let small = find(dir.path(), name).read_small(100_000, &mut buffer).expect("read");
        assert_eq!((small.len, small.changed), (content.len(), false), "{name}");
        assert_eq!(buffer, [b"before", content.as_slice()].concat());
        assert_eq!(*small.xattrs, [xattr("user.k", b"v")]);
        assert!(small.xattr_problem.is_none());
    }
}

#[test]
fn a_file_that_changed_since_the_walk_is_read_as_it_is_now() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("f");
    put(&path, b"old");
    let found = find(dir.path(), "f");
    put(&path, b"new and longer");
    let mut buffer = Vec::new();
    let small = found.read_small(100, &mut buffer).expect("read");
    assert_eq!((small.len, small.changed, small.stat.size), (14, false, 14));
    assert_eq!(buffer, b"new and longer");

    put(&path, &[1; 200]);
    let small = found.read_small(100, &mut buffer).expect("read");
    assert_eq!((small.len, small.stat.size, buffer.len()), (0, 200, 14), "too large now: nothing is appended");

    put(&path, b"");
    let small = found.read_small(100, &mut buffer).expect("read");
    assert_eq!((small.len, small.changed, buffer.len()), (0, false, 14));

    std::fs::remove_file(&path).expect("remove");
    let error = found.read_small(100, &mut buffer).expect_err("vanished");
    assert_eq!(error.kind(), volvault::ErrorKind::NotFound);
}

#[test]
fn a_file_that_changes_all_the_time_is_read_and_said_to_change() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("log");
    put(&path, &vec![1; 1 << 20]);
    let found = find(dir.path(), "log");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let writer = OpenOptions::new().write(true).open(&path).expect("open");
            let mut byte = 0u8;
            while !over.load(Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                writer.write_all_at(&[byte; 4096], u64::from(byte) * 4096).expect("write");
            }
        });
        let changed = (0..5000).any(|_| {
            let mut buffer = Vec::new();
            let small = found.read_small(2 << 20, &mut buffer).expect("read");
            assert_eq!(small.len, buffer.len());
            small.changed
        });
        over.store(true, Ordering::Relaxed);
        assert!(changed);
    });
}

#[test]
fn a_big_file_is_read_in_pieces_and_a_change_shows() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("big");
    let content: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    put(&path, &content);
    let found = find(dir.path(), "big");
    let mut file = found.open().expect("open");
    let (mut got, mut piece) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut piece).expect("read");
        if count == 0 {
            break;
        }
        got.extend_from_slice(&piece[..count]);
    }
    assert!(got == content);
    assert!(file.stat().same_content(&file.stat_now().expect("stat")));
    let mut writer = OpenOptions::new().append(true).open(&path).expect("open");
    writer.write_all(b"more").expect("write");
    assert!(!file.stat().same_content(&file.stat_now().expect("stat")));
}

#[test]
fn what_took_the_place_of_a_file_is_not_read() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("tree/d")).expect("mkdir");
    std::fs::create_dir(at("outside")).expect("mkdir");
    put(at("tree/d/f"), b"mine");
    put(at("outside/f"), b"secret");
    let found = find(&at("tree"), "d/f");
    let refused = |what: &str| {
        let mut buffer = Vec::new();
        assert!(found.read_small(100, &mut buffer).is_err(), "{what}");
        assert!(buffer.is_empty(), "{what}");
        assert!(found.open().is_err(), "{what}");
    };
    std::fs::remove_file(at("tree/d/f")).expect("remove");
    symlink(at("outside/f"), at("tree/d/f")).expect("symlink");
    refused("a link");
    std::fs::remove_file(at("tree/d/f")).expect("remove");
    mknodat(CWD, at("tree/d/f"), FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
    refused("a pipe without a writer, which would block");
    std::fs::remove_dir_all(at("tree/d")).expect("remove");
    symlink(at("outside"), at("tree/d")).expect("symlink");
    refused("a directory on the way that became a link");
    assert!(found.xattrs().1.is_some());
}

fn holes_are_found_in(dir: &Path) {
    let dir = tempfile::tempdir_in(dir).expect("temporary directory");
    let file = File::create(dir.path().join("sparse")).expect("create");
    file.write_all_at(&[1; 4096], 65_536).expect("write");
    file.write_all_at(&[2; 4096], 1 << 20).expect("write");
    file.set_len(4 << 20).expect("set length");
    let hole = File::create(dir.path().join("hole")).expect("create");
    hole.set_len(1 << 20).expect("set length");
    put(dir.path().join("dense"), &vec![3; 100_000]);
    let extents = |name: &str| find(dir.path(), name).open().expect("open").extents().expect("extents");
    let expected = [Extent { offset: 65_536, len: 4096 }, Extent { offset: 1 << 20, len: 4096 }];
    assert_eq!(extents("sparse").as_deref(), Some(&expected[..]));
    assert_eq!(extents("hole").as_deref(), Some(&[][..]));
    assert_eq!(extents("dense"), None);
    let mut first = [9; 10];
    let mut open = find(dir.path(), "sparse").open().expect("open");
    open.extents().expect("extents");
    assert_eq!(open.read(&mut first).expect("read"), 10);
    assert_eq!(first, [0; 10], "looking for holes does not move the reader");
}

#[test]
fn holes_are_found_on_disk_and_in_memory() {
    holes_are_found_in(&std::env::temp_dir());
    holes_are_found_in(Path::new("/dev/shm"));
}

#[test]
fn extended_attributes_of_every_kind_are_read() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    put(at("file"), b"");
    std::fs::create_dir(at("sub")).expect("mkdir");
    symlink("file", at("link")).expect("symlink");
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = vec![b'v'; 3000];
    set(&at("file"), "user.z", b"last");
    set(&at("file"), "user.long", &long);
    set(&at("file"), "security.capability", &capability);
    set(&at("file"), "system.posix_acl_access", &acl());
    set(&at("sub"), "system.posix_acl_default", &acl());
    set(&at("link"), "trusted.on-link", b"1");
    set(&at("pipe"), "trusted.on-pipe", b"");
    let of = |name: &str| {
        let (metadata, problem) = find(dir.path(), name).metadata(&OwnerNames::load());
        assert!(problem.is_none(), "{problem:?}");
        metadata
    };
    let expected = [
        xattr("security.capability", &capability),
        xattr("system.posix_acl_access", &acl()),
        xattr("user.long", &long),
        xattr("user.z", b"last"),
    ];
    assert_eq!(*of("file").xattrs, expected);
    assert_eq!(*find(dir.path(), "file").open().expect("open").xattrs().0, expected);
    assert_eq!(*of("sub").xattrs, [xattr("system.posix_acl_default", &acl())]);
    assert_eq!(*of("link").xattrs, [xattr("trusted.on-link", b"1")]);
    assert_eq!(*of("pipe").xattrs, [xattr("trusted.on-pipe", b"")]);
    assert_eq!(of("file").user.as_deref(), Some(&b"root"[..]));
    assert_eq!(find(dir.path(), "link").link_target().expect("read link"), b"file");
    // A walk that looks for them on its way sees the same, and one that was not told to knows nothing.
    for name in ["sub/none", "sub/acl"] {
        put(at(name), b"");
    }
    set(&at("sub/none"), "user.was", b"");
    removexattr(at("sub/none"), "user.was").expect("remove attribute");
    removexattr(at("sub/none"), "system.posix_acl_access").expect("remove what the directory gave");
    symlink("file", at("bare link")).expect("symlink");
    put(at("bare"), b"");
    let bare = |attributes| {
        let options = WalkOptions { rules: Arc::default(), threads: 2, attributes };
        walk(whole(dir.path()), &options, &Stop::new(), |batches| {
            let bare = |item| match item {
                WalkItem::Found(found) if found.bare => Some(found.path.to_string()),
                _ => None,
            };
            batches.flatten().filter_map(bare).collect::<Vec<_>>()
        })
    };
    assert_eq!(bare(true), ["/bare", "/bare link", "/sub/none"]);
    assert_eq!(bare(false), [""; 0]);
}
