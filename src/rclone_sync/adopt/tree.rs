//! From entries of files to a tree: the directories that lead to them are put before them, and what `permissions.facl` says is added.

use std::iter::Peekable;

use super::LeftOut;
use super::runs::Sorted;
use crate::catalog::{Entry, Metadata, Node};
use crate::error::{Error, Result};
use crate::path::TreePath;

/// See the module. Entries come and go in catalogue order.
pub(super) struct Tree<'d> {
    /// What a directory has of which nothing is known.
    directory: Box<dyn Fn(&TreePath) -> Metadata + 'd>,
    permissions: Option<Peekable<<Sorted as IntoIterator>::IntoIter>>,
    /// The directory that the last entry lies in, or that it is.
    inside: TreePath,
    /// The last file: nothing can lie below it.
    file: Option<TreePath>,
}

impl<'d> Tree<'d> {
    pub(super) fn new(directory: Box<dyn Fn(&TreePath) -> Metadata + 'd>, permissions: Option<Sorted>) -> Self {
        let permissions = permissions.map(|sorted| sorted.into_iter().peekable());
        Self { directory, permissions, inside: TreePath::root(), file: None }
    }

    /// The top, if `permissions.facl` has something to say of it: else it stays as it is on the other side.
    pub(super) fn top(&mut self) -> Result<Option<Entry>> {
        let Some(permissions) = &mut self.permissions else { return Ok(None) };
        if !matches!(permissions.peek(), Some(Ok(record)) if record.path.is_root()) {
            return Ok(None);
        }
        let meta = (self.directory)(&TreePath::root());
        let mut top = Entry { path: TreePath::root(), meta, node: Node::Directory, link: None };
        self.describe(&mut top)?;
        Ok(Some(top))
    }

    /// Puts an entry, and the directories above it that were not put yet. What cannot be in a tree is given back.
    pub(super) fn put(
        &mut self,
        mut entry: Entry,
        put: &mut dyn FnMut(&Entry) -> Result<()>,
    ) -> Result<Result<(), LeftOut>> {
        if let Some(file) = self.file.as_ref().filter(|file| entry.path.starts_with(file)) {
            let why = Error::invalid(format!("it lies below the object {file}, which is a file"));
            return Ok(Err((entry.path, why)));
        }
        let parent = entry.path.parent().unwrap_or_default();
        for directory in missing(&parent, &self.inside) {
            let meta = (self.directory)(&directory);
            let mut made = Entry { path: directory, meta, node: Node::Directory, link: None };
            self.describe(&mut made)?;
            put(&made)?;
        }
        self.describe(&mut entry)?;
        put(&entry)?;
        if matches!(entry.node, Node::Directory) {
            self.inside = entry.path;
        } else {
            self.inside = parent;
            self.file = Some(entry.path);
        }
        Ok(Ok(()))
    }

    /// Owner, mode and ACLs from `permissions.facl`. It has no symlinks.
    fn describe(&mut self, entry: &mut Entry) -> Result<()> {
        let Some(permissions) = &mut self.permissions else { return Ok(()) };
        let is_before = |record: &Result<Entry>| record.as_ref().map_or(true, |record| record.path < entry.path);
        while let Some(record) = permissions.next_if(is_before) {
            record?;
        }
        let is_this = |record: &Result<Entry>| record.as_ref().is_ok_and(|record| record.path == entry.path);
        if let Some(record) = permissions.next_if(is_this) {
            let said = record?.meta;
            if !matches!(entry.node, Node::Symlink { .. }) {
                entry.meta = Metadata { mtime: entry.meta.mtime, ctime: entry.meta.ctime, ..said };
            }
        }
        Ok(())
    }
}

/// `path` and the directories above it that `inside` does not lie in, from the top.
fn missing(path: &TreePath, inside: &TreePath) -> Vec<TreePath> {
    let above = std::iter::successors(Some(path.clone()), TreePath::parent);
    let mut found: Vec<TreePath> = above.take_while(|directory| !inside.starts_with(directory)).collect();
    found.reverse();
    found
}
