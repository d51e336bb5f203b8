//! The room `volume` on real file systems: what the walk finds, what is read, what is written, and what is never touched.
//! Made to run as root; the tests of what an ordinary user sees drop their privileges in a thread of their own.

mod hostile;
mod read;
mod walk;
mod write;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use volvault::catalog::{Metadata, Timestamp, Xattr};
use volvault::events::Stop;
use volvault::path::TreePath;
use volvault::volume::{EntryKind, Found, Rules, Source, WalkItem, WalkOptions};

use crate::support::nobody::{NOBODY, as_nobody};

fn tree_path(text: impl Into<Vec<u8>>) -> TreePath {
    TreePath::parse(text).expect("valid path")
}

fn put(path: impl AsRef<Path>, content: &[u8]) {
    File::create(path).and_then(|mut file| file.write_all(content)).expect("write file");
}

/// The whole of `dir` as a snapshot.
fn whole(dir: &Path) -> Vec<Source> {
    vec![Source { at: TreePath::root(), path: dir.to_path_buf(), explicit: true }]
}

fn walk_with(sources: Vec<Source>, rules: Rules, threads: usize) -> Vec<WalkItem> {
    let options = WalkOptions { rules: Arc::new(rules), threads, attributes: false };
    volvault::volume::walk(sources, &options, &Stop::new(), |batches| batches.flatten().collect())
}

/// Everything in `dir`; there must be no problem.
fn find_all(dir: &Path) -> Vec<Found> {
    let found = |item| match item {
        WalkItem::Found(found) => found,
        other => panic!("{other:?}"),
    };
    walk_with(whole(dir), Rules::default(), 2).into_iter().map(found).collect()
}

fn find(dir: &Path, path: &str) -> Found {
    find_all(dir).into_iter().find(|found| found.path == tree_path(path)).expect("entry is found")
}

/// One line per item, for comparing with what is expected.
fn lines(items: &[WalkItem]) -> Vec<String> {
    let line = |item: &WalkItem| match item {
        WalkItem::Found(found) if found.stat.kind == EntryKind::Directory => format!("{}: dir", found.path),
        WalkItem::Found(found) => format!("{}: {}", found.path, found.stat.kind.name()),
        WalkItem::Problem { path, error } => format!("{path}: problem {:?}", error.kind()),
        WalkItem::Socket { path } => format!("{path}: skipped"),
    };
    items.iter().map(line).collect()
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.as_bytes().to_vec(), value: value.to_vec() }
}

/// Metadata as a snapshot has it.
fn metadata(mode: u16, owner: u32, xattrs: &[Xattr]) -> Metadata {
    let time = Timestamp { seconds: 1_234_567_890, nanos: 123_456_789 };
    Metadata {
        mode,
        uid: owner,
        gid: owner,
        user: None,
        group: None,
        mtime: time,
        ctime: time,
        inode: 1,
        xattrs: Arc::from(xattrs.to_vec()),
    }
}

/// An access control list in the kernel's form: `u::rw-`, `u:4711:r--`, `g::r--`, `m::r--`, `o::r--`.
fn acl() -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 4711), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)]
    {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Gives `path` to the ordinary user.
fn give_to_nobody(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
}
