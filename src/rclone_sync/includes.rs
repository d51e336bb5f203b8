//! Which part of a tree a run is about.

use std::fmt::Debug;

use crate::catalog::{Entry, Node, Timestamp};
use crate::path::TreePath;
use crate::volume::EntryKind;

/// Which part of a tree a run is about. What is not included is left as it is on the other side.
pub trait Includes: Send + Sync + Debug {
    /// Whether a thing of this kind, size and time is part of it. The answer takes all directories above into account; a directory is part of it if
    /// it is entered.
    fn includes(&self, path: &TreePath, kind: EntryKind, size: u64, mtime: Timestamp) -> bool;

    /// Whether anything below a directory can be part of it.
    fn may_descend(&self, path: &TreePath) -> bool;

    /// Whether a thing is removed with those that are no part of it, where such are: a limit says how far one looks, and not what is to go.
    fn reaches(&self, path: &TreePath, kind: EntryKind) -> bool;

    /// What tells this part from others and is the same in every run; none if the part is another one in each, because it depends on the time.
    /// What a run remembers holds only for the same part.
    fn words(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    /// As [`Includes::includes`], for an entry of a manifest.
    fn includes_entry(&self, entry: &Entry) -> bool {
        let size = match &entry.node {
            Node::File(file) => file.size,
            Node::Symlink { target } => target.len() as u64,
            Node::Directory | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => 0,
        };
        self.includes(&entry.path, EntryKind::of(&entry.node), size, entry.meta.mtime)
    }
}

/// The whole tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everything;

impl Includes for Everything {
    fn includes(&self, _path: &TreePath, _kind: EntryKind, _size: u64, _mtime: Timestamp) -> bool {
        true
    }

    fn may_descend(&self, _path: &TreePath) -> bool {
        true
    }

    fn reaches(&self, _path: &TreePath, _kind: EntryKind) -> bool {
        true
    }
}
