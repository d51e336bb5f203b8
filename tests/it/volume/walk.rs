//! What the walk yields, and in which order.

use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use volvault::events::Stop;
use volvault::path::TreePath;
use volvault::volume::rules::{RuleOptions, TagFile};
use volvault::volume::{
    Apply, EntryKind, Replace, Rules, Source, Target, WalkItem, WalkOptions, sources_from_args, walk,
};

use super::{as_nobody, find_all, give_to_nobody, lines, metadata, put, tree_path, walk_with, whole};

/// Every path below `dir`, sorted, by other means.
fn expected(dir: &Path) -> Vec<TreePath> {
    let (mut paths, mut open) = (vec![TreePath::root()], vec![(dir.to_path_buf(), TreePath::root())]);
    while let Some((dir, at)) = open.pop() {
        for entry in std::fs::read_dir(dir).expect("read directory") {
            let entry = entry.expect("entry");
            let path = at.join(entry.file_name().as_bytes()).expect("valid name");
            if entry.file_type().expect("type").is_dir() {
                open.push((entry.path(), path.clone()));
            }
            paths.push(path);
        }
    }
    paths.sort();
    paths
}

/// A tree with names that sort in surprising ways, from a fixed sequence.
fn grow(dir: &Path, depth: usize, seed: &mut u64) {
    let names: [&[u8]; 12] =
        [b"a", b"a.b", b"a b", b"ab", b"a-", b"a0", b"\xff\xfe", b"new\nline", b"zz", b"a\x01", "ä".as_bytes(), b"B"];
    for name in names {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let path = dir.join(OsStr::from_bytes(name));
        match (*seed >> 33) % 4 {
            0 | 1 if depth > 0 => {
                std::fs::create_dir(&path).expect("mkdir");
                grow(&path, depth - 1, seed);
            }
            2 => put(&path, b"x"),
            _ => {}
        }
    }
}

#[test]
fn entries_come_in_catalogue_order_with_any_number_of_threads() {
    let dir = tempfile::tempdir().expect("temporary directory");
    grow(dir.path(), 4, &mut 42);
    // More names than are stat'ed in one piece, directories among them.
    std::fs::create_dir(dir.path().join("big")).expect("mkdir");
    for number in 0..5000 {
        let path = dir.path().join(format!("big/{number}"));
        if number % 500 == 3 {
            std::fs::create_dir(&path).expect("mkdir");
            put(path.join("inside"), b"");
        } else {
            put(&path, b"");
        }
    }
    let expected = expected(dir.path());
    assert!(expected.len() > 5500, "{}", expected.len());
    for threads in [0, 1, 2, 7] {
        let got: Vec<_> =
            walk_with(whole(dir.path()), Rules::default(), threads).iter().map(|item| item.path().clone()).collect();
        assert!(got == expected, "{threads} threads");
    }
}

#[test]
fn every_kind_is_found_sockets_are_said_and_pipes_are_not_opened() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    put(at("file"), b"content");
    symlink("nowhere", at("link")).expect("symlink");
    let socket = UnixListener::bind(at("socket")).expect("socket");
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
    mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3)).expect("mknod");
    mknodat(CWD, at("disk"), FileType::BlockDevice, Mode::RUSR, rustix::fs::makedev(7, 99)).expect("mknod");
    let items = walk_with(whole(dir.path()), Rules::default(), 1);
    assert_eq!(
        lines(&items),
        [
            "/: dir",
            "/disk: block device",
            "/file: regular file",
            "/link: symbolic link",
            "/null: character device",
            "/pipe: named pipe",
            "/socket: skipped"
        ]
    );
    let device = items.iter().find_map(|item| match item {
        WalkItem::Found(found) if found.path == tree_path("disk") => Some(found.stat.rdev),
        _ => None,
    });
    assert_eq!(device, Some((7, 99)));
    assert!(std::fs::symlink_metadata(at("socket")).expect("stat").file_type().is_socket());
    drop(socket);
}

#[test]
fn sources_share_the_directories_above_them_which_have_their_real_metadata() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let base = dir.path().canonicalize().expect("real path");
    DirBuilder::new().recursive(true).create(base.join("home/u/a/x")).expect("mkdir");
    DirBuilder::new().recursive(true).create(base.join("home/v")).expect("mkdir");
    put(base.join("home/u/b"), b"");
    put(base.join("home/u/c"), b"");
    symlink("u", base.join("home/w")).expect("symlink");
    std::fs::set_permissions(base.join("home/u"), Permissions::from_mode(0o711)).expect("chmod");
    let args: Vec<PathBuf> =
        ["home/u/a", "home/u/b", "home/u/a/x", "home/w", "home/v/missing", "home/u/c"].map(PathBuf::from).into();
    let items = walk_with(sources_from_args(&args, &base).expect("sources"), Rules::default(), 1);
    assert_eq!(
        lines(&items),
        [
            "/home: dir",
            "/home/u: dir",
            "/home/u/a: dir",
            "/home/u/a/x: dir",
            "/home/u/b: regular file",
            "/home/u/c: regular file",
            "/home/v/missing: problem NotFound",
            "/home/w: symbolic link"
        ]
    );
    let WalkItem::Found(user) = &items[1] else { panic!("a directory") };
    let real = std::fs::metadata(base.join("home/u")).expect("stat");
    assert_eq!((user.stat.mode, user.stat.inode), (0o711, real.ino()));
    assert_eq!(user.xattrs().1.map(|error| error.chain()), None);
}

#[test]
fn a_source_may_stand_elsewhere_than_on_disk() {
    let dir = tempfile::tempdir().expect("temporary directory");
    put(dir.path().join("file"), b"content");
    let sources = vec![Source { at: tree_path("data/other"), path: dir.path().join("file"), explicit: true }];
    let items = walk_with(sources, Rules::default(), 0);
    assert_eq!(lines(&items), ["/data: dir", "/data/other: regular file"]);
    let WalkItem::Found(found) = &items[1] else { panic!("a file") };
    let mut content = Vec::new();
    assert_eq!(found.read_small(100, &mut content).expect("read").len, 7);
    assert_eq!(content, b"content");
}

fn rules(base: &Path, options: RuleOptions) -> Vec<String> {
    let rules = Rules::new(options).expect("valid rules");
    lines(&walk_with(whole(base), rules, 1)).into_iter().skip(1).collect()
}

#[test]
fn rules_leave_out_what_they_say() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    for name in ["cache", "fake", "tagged/deep", "node_modules/x"] {
        std::fs::create_dir_all(at(name)).expect("mkdir");
    }
    put(at("cache/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55\nmore");
    put(at("cache/data"), b"");
    put(at("fake/CACHEDIR.TAG"), b"Signature: no");
    put(at("fake/data"), b"12345");
    put(at("tagged/.skip"), b"");
    put(at("tagged/deep/file"), b"");
    let options = RuleOptions {
        excludes: vec![b"node_modules".to_vec()],
        exclude_caches: true,
        exclude_if_present: vec![TagFile::new(b".skip", None).expect("name")],
        exclude_larger_than: Some(43),
        ..RuleOptions::default()
    };
    assert_eq!(
        rules(dir.path(), options),
        [
            "/cache: dir",
            "/fake: dir",
            "/fake/CACHEDIR.TAG: regular file",
            "/fake/data: regular file",
            "/tagged: dir",
            "/tagged/.skip: regular file"
        ]
    );
    let options = RuleOptions { excludes: vec![b"*".to_vec()], ..RuleOptions::default() };
    assert_eq!(rules(dir.path(), options), [""; 0], "what the user named stays, what is in it goes");
}

#[test]
fn another_file_system_is_entered_only_if_wanted() {
    let shm = Path::new("/dev/shm");
    let different = std::fs::metadata(shm).expect("stat").dev() != std::fs::metadata("/dev").expect("stat").dev();
    assert!(different, "this test needs /dev/shm to be a mount point");
    let inside = tempfile::NamedTempFile::new_in(shm).expect("temporary file");
    for one_file_system in [false, true] {
        let rules = Rules::new(RuleOptions { one_file_system, ..RuleOptions::default() }).expect("rules");
        let items = walk_with(whole(Path::new("/dev")), rules, 0);
        let has = |path: &Path| items.iter().any(|item| Path::new("/dev").join(item.path().as_os_str()) == path);
        assert!(has(shm));
        assert_eq!(has(inside.path()), !one_file_system);
    }
}

#[test]
fn a_directory_that_cannot_be_listed_is_saved_and_reported() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
    std::fs::create_dir(dir.path().join("closed")).expect("mkdir");
    put(dir.path().join("closed/secret"), b"");
    put(dir.path().join("open"), b"");
    std::fs::set_permissions(dir.path().join("closed"), Permissions::from_mode(0o700)).expect("chmod");
    let items = as_nobody(|| walk_with(whole(dir.path()), Rules::default(), 1));
    assert_eq!(lines(&items), ["/: dir", "/closed: dir", "/closed: problem Denied", "/open: regular file"]);
}

#[test]
fn root_without_capabilities_reads_what_others_let_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::create_dir(dir.path().join("d")).expect("mkdir");
    put(dir.path().join("d/f"), b"content");
    for (name, mode) in [("d/f", 0o644), ("d", 0o755), ("", 0o755)] {
        give_to_nobody(&dir.path().join(name));
        std::fs::set_permissions(dir.path().join(name), Permissions::from_mode(mode)).expect("chmod");
    }
    let content = std::thread::scope(|scope| {
        let powerless = scope.spawn(|| {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
            set_capabilities(None, sets).expect("drop capabilities");
            let found = find_all(dir.path());
            let mut content = Vec::new();
            found.last().expect("the file").read_small(100, &mut content).expect("read");
            content
        });
        powerless.join().expect("no panic")
    });
    assert_eq!(content, b"content");
}

#[test]
fn what_vanishes_during_the_walk_is_not_a_problem() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for number in 0..1500 {
        put(dir.path().join(format!("a{number:04}")), b"");
    }
    std::fs::create_dir_all(dir.path().join("b/c")).expect("mkdir");
    put(dir.path().join("b/c/d"), b"");
    let options = WalkOptions { rules: Arc::default(), threads: 0, attributes: false };
    let items: Vec<_> = walk(whole(dir.path()), &options, &Stop::new(), |batches| {
        let first = batches.next().expect("a batch");
        assert!(first.len() < 1000, "the walk has not come to the end yet");
        std::fs::remove_dir_all(dir.path().join("b")).expect("remove");
        first.into_iter().chain(batches.flatten()).collect()
    });
    assert_eq!(lines(&items).last().map(String::as_str), Some("/b: dir"));
}

#[test]
fn a_stop_ends_the_walk_early() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for number in 0..3000 {
        put(dir.path().join(format!("{number}")), b"");
    }
    let (stop, options) = (Stop::new(), WalkOptions { rules: Arc::default(), threads: 2, attributes: false });
    let count: usize = walk(whole(dir.path()), &options, &stop, |batches| {
        let first = batches.next().map_or(0, |batch| batch.len());
        stop.request();
        first + batches.map(|batch| batch.len()).sum::<usize>()
    });
    assert!(count > 0 && count < 3000, "{count}");
}

#[test]
fn trees_deeper_than_path_max_are_written_walked_read_and_removed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let target = Target::open(dir.path(), false).expect("target").remove_trees(true);
    let mut path = TreePath::root();
    for level in 0..1000 {
        path = path.join(format!("level-{level:03}-abcdefgh").as_bytes()).expect("short enough");
        target.create_dir(&path).expect("create directory");
    }
    let file = path.join(b"file").expect("short enough");
    assert!(file.as_bytes().len() > 3 * 4096);
    let written = target.create_file(&file, Replace::OtherKinds).expect("create");
    written.write_all_at(b"at the bottom", 0).expect("write");
    target.set_metadata(&path, EntryKind::Directory, &metadata(0o750, 0, &[]), &Apply::default()).expect("metadata");
    let found = find_all(dir.path());
    assert_eq!(found.len(), 1002);
    let last = found.last().expect("the file");
    let mut content = Vec::new();
    last.read_small(100, &mut content).expect("read");
    assert_eq!((&last.path, content.as_slice()), (&file, &b"at the bottom"[..]));
    assert_eq!(target.stat(&path).expect("stat").map(|stat| stat.mode), Some(0o750));
    target.remove(&tree_path("level-000-abcdefgh")).expect("remove");
    assert_eq!(target.list(&TreePath::root()).expect("list"), []);
}
