//! A target in which somebody else has planted links, or swaps directories for links while we write. Whatever happens
//! inside, nothing outside changes.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use volvault::path::TreePath;
use volvault::volume::{Apply, EntryKind, Replace, Target};

use super::{metadata, put, tree_path, xattr};

/// A directory with a canary, beside a target.
struct Scene {
    dir: tempfile::TempDir,
    before: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir_all(dir.path().join("outside/sub")).expect("mkdir");
        std::fs::create_dir(dir.path().join("target")).expect("mkdir");
        put(dir.path().join("outside/f"), b"canary");
        put(dir.path().join("outside/sub/f"), b"canary");
        let before = state(&dir.path().join("outside"));
        Self { dir, before }
    }

    fn target(&self) -> Target {
        Target::open(&self.at(""), false).expect("target").remove_trees(true)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("target").join(name)
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn assert_untouched(&self) {
        assert_eq!(state(&self.outside()), self.before);
    }
}

/// Everything that could have been changed below `dir`.
fn state(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(path) = open.pop() {
        let stat = std::fs::symlink_metadata(&path).expect("stat");
        if stat.is_dir() {
            let entries = std::fs::read_dir(&path).expect("read directory");
            open.extend(entries.map(|entry| entry.expect("entry").path()));
        }
        let (times, owner) = ((stat.mtime(), stat.mtime_nsec(), stat.ctime_nsec()), (stat.uid(), stat.mode()));
        lines.push(format!("{} {times:?} {owner:?} {} {}", path.display(), stat.size(), stat.nlink()));
    }
    lines.sort();
    lines
}

#[test]
fn planted_links_are_replaced_and_their_targets_never_touched() {
    let scene = Scene::new();
    let target = scene.target();
    let wanted = metadata(0o777, 4711, &[xattr("user.k", b"v")]);
    for name in ["d", "f", "gone", "p", "l"] {
        symlink(scene.outside().join(if name == "f" { "f" } else { "" }), scene.at(name)).expect("symlink");
    }
    assert!(target.create_file(&tree_path("d/new"), Replace::Anything).is_err(), "not through a link");
    assert!(target.create_file(&tree_path("d/sub/new"), Replace::Anything).is_err(), "nor further down");
    assert!(target.list(&tree_path("d/sub")).is_err());
    assert!(target.remove(&tree_path("d/sub/f")).is_err());
    assert!(target.open_file(&tree_path("d/f")).is_err());
    assert!(target.open_file(&tree_path("f")).is_err());
    assert!(target.list(&tree_path("d")).is_err());
    assert!(target.remove(&tree_path("d/f")).is_err());
    assert!(target.rename(&tree_path("d/f"), &tree_path("stolen")).is_err());
    assert!(target.hard_link(&tree_path("d/f"), &tree_path("stolen")).is_err());
    assert!(target.set_metadata(&tree_path("d/f"), EntryKind::File, &wanted, &Apply::default()).is_err());
    for (name, kind) in [("d", EntryKind::Directory), ("f", EntryKind::File)] {
        assert!(target.set_metadata(&tree_path(name), kind, &wanted, &Apply::default()).is_err());
    }
    assert_eq!(target.stat(&tree_path("d/f")).expect("stat"), None);
    scene.assert_untouched();

    target.create_dir(&tree_path("d")).expect("in place of the link");
    target.create_file(&tree_path("d/f"), Replace::OtherKinds).expect("create").write_all_at(b"x", 0).expect("write");
    target.create_file(&tree_path("f"), Replace::OtherKinds).expect("create").write_all_at(b"x", 0).expect("write");
    target.fifo(&tree_path("p")).expect("mkfifo");
    target.symlink(&tree_path("l"), b"elsewhere").expect("symlink");
    target.remove(&tree_path("gone")).expect("removes the link");
    for (name, kind) in [("d", EntryKind::Directory), ("f", EntryKind::File), ("l", EntryKind::Symlink)] {
        target.set_metadata(&tree_path(name), kind, &wanted, &Apply::default()).expect("metadata");
    }
    scene.assert_untouched();
    assert!(scene.at("d").symlink_metadata().expect("stat").is_dir());
}

#[test]
fn a_directory_that_becomes_a_link_after_it_was_used_is_not_followed() {
    let scene = Scene::new();
    let target = scene.target();
    target.create_dir(&tree_path("d")).expect("create directory");
    target.create_file(&tree_path("d/one"), Replace::OtherKinds).expect("create");
    std::fs::remove_dir_all(scene.at("d")).expect("remove");
    symlink(scene.outside(), scene.at("d")).expect("symlink");
    assert!(target.create_file(&tree_path("d/two"), Replace::Anything).is_err());
    target.create_dir(&tree_path("d")).expect("in place of the link");
    target.create_file(&tree_path("d/two"), Replace::Anything).expect("create");
    scene.assert_untouched();
}

#[test]
fn removing_a_tree_removes_links_and_not_what_they_point_to() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.at("d/sub")).expect("mkdir");
    symlink(scene.outside(), scene.at("d/sub/link")).expect("symlink");
    symlink("../../../outside/f", scene.at("d/file")).expect("symlink");
    std::fs::hard_link(scene.at("d/file"), scene.at("d/again")).expect("link");
    let target = scene.target();
    target.remove(&tree_path("d")).expect("remove");
    assert_eq!(target.list(&TreePath::root()).expect("list"), []);
    scene.assert_untouched();
}

#[test]
fn a_directory_swapped_for_a_link_again_and_again_leads_nobody_outside() {
    let scene = Scene::new();
    let mut target = scene.target();
    target.create_dir(&tree_path("d")).expect("create directory");
    symlink(scene.outside(), scene.at("trap")).expect("symlink");
    let over = AtomicBool::new(false);
    let wanted = metadata(0o777, 4711, &[xattr("user.k", b"v")]);
    let options = Apply::default();
    let (mut done, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, scene.at("d"), CWD, scene.at("trap"), RenameFlags::EXCHANGE);
            }
        });
        let mut count = |ok: bool| if ok { done += 1 } else { refused += 1 };
        for round in 0..3000 {
            let file = tree_path("d/f");
            count(target.create_file(&file, Replace::Anything).is_ok_and(|file| {
                file.write_all_at(b"overwritten", 0).and_then(|()| file.set_metadata(&wanted, &options)).is_ok()
            }));
            count(target.open_file(&file).is_ok_and(|file| file.write_all_at(b"!", 0).is_ok()));
            count(target.set_metadata(&file, EntryKind::File, &wanted, &options).is_ok());
            count(target.set_metadata(&tree_path("d"), EntryKind::Directory, &wanted, &options).is_ok());
            count(target.symlink(&tree_path("d/sub"), b"x").is_ok());
            count(target.remove(&tree_path("d/sub")).is_ok());
            count(target.remove(&file).is_ok());
            count(target.list(&tree_path("d")).is_ok());
            if round % 4 == 0 {
                // Handles are kept, so that only a new target looks at every path anew.
                target = scene.target();
            }
            if round % 16 == 0 {
                count(target.create_dir(&tree_path("d")).is_ok());
                // That replaced a link. The trap is set up again.
                let _ = std::fs::remove_dir_all(scene.at("trap"));
                let _ = symlink(scene.outside(), scene.at("trap"));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    scene.assert_untouched();
    assert!(done > 100 && refused > 100, "the race took place: {done} done, {refused} refused");
}
