//! Local files that go away or are replaced. One of them may hold what is to be fetched: then it has only been renamed in the source.

use std::collections::HashMap;

use crate::catalog::{Entry, Node, Timestamp};
use crate::path::TreePath;
use crate::volume::{EntryKind, Found};

/// Files that are kept in mind, about 150 bytes each. Those beyond are fetched when they were renamed.
const FILES_MAX: usize = 65_536;
/// Files of one size and time that are tried.
const ALIKE_MAX: usize = 4;

/// By size and time: a rename leaves both.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    files: HashMap<(u64, Timestamp), Vec<TreePath>>,
    count: usize,
}

impl Leaving {
    pub(super) fn add(&mut self, found: &Found) {
        if found.stat.kind != EntryKind::File || found.stat.size == 0 || self.count >= FILES_MAX {
            return;
        }
        let alike = self.files.entry((found.stat.size, found.stat.mtime)).or_default();
        if alike.len() < ALIKE_MAX {
            alike.push(found.path.clone());
            self.count += 1;
        }
    }

    /// Those that may have the content of `entry`.
    pub(super) fn like(&self, entry: &Entry) -> &[TreePath] {
        match &entry.node {
            Node::File(file) => self.files.get(&(file.size, entry.meta.mtime)).map_or(&[], Vec::as_slice),
            _ => &[],
        }
    }
}
