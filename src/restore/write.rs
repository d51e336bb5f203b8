//! Writes content to where it belongs.

use std::sync::Arc;

use crate::catalog::{Entry, FileNode, Node};
use crate::error::{Error, Result};
use crate::events::Action;
use crate::volume::{Replace, TargetFile};

use super::big_file::BigFile;
use super::context::Restore;
use super::layout::{Cursor, ends_in_hole};

/// What one blob is wanted for.
pub(super) enum Use<'r> {
    /// All content of a file.
    Whole(Box<Whole>),
    /// One of several pieces of a file.
    Piece {
        file: Arc<BigFile<'r>>,
        /// Where in the content the blob starts.
        at: Cursor,
        len: u32,
    },
}

/// A file whose content is one blob, or a part of one: it is made, written, given its metadata and closed by whoever holds
/// the blob.
pub(super) struct Whole {
    pub(super) entry: Entry,
    /// Where in the blob the content starts.
    pub(super) offset: u32,
    /// What is to be said of it in the end.
    pub(super) action: Action,
}

impl<'r> Use<'r> {
    /// Writes what `plain` holds for this file. A failure of the file is reported and is no error.
    pub(super) fn write(self, restore: &'r Restore<'r>, plain: &[u8]) -> Result<()> {
        match self {
            Self::Whole(whole) => whole.write(restore, plain),
            Self::Piece { file, at, len } => {
                if usize::try_from(len) == Ok(plain.len()) {
                    file.write(at, plain)
                } else {
                    file.lose(Error::corrupt(format!("a chunk has {} bytes, and {len} by the catalogue", plain.len())))
                }
            }
        }
    }

    /// The blob cannot be had.
    pub(super) fn lose(self, restore: &'r Restore<'r>, error: Error) -> Result<()> {
        match self {
            Self::Whole(whole) => restore.fail(&whole.entry, error),
            Self::Piece { file, .. } => file.lose(error),
        }
    }
}

impl Whole {
    fn write(&self, restore: &Restore<'_>, plain: &[u8]) -> Result<()> {
        let Node::File(node) = &self.entry.node else { return Err(Error::bug("content of something that is no file")) };
        let len = node.content_len().and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let content = start.checked_add(len).and_then(|end| plain.get(start..end));
        let Some(content) = content else {
            return restore.fail(&self.entry, Error::corrupt("the content reaches beyond its bundle"));
        };
        match create_file(restore, &self.entry, node, content) {
            Ok(()) => {
                let size = u64::try_from(len).unwrap_or(u64::MAX);
                restore.wrote(size);
                restore.done(&self.entry.path, self.action, size);
                Ok(())
            }
            Err(error) => restore.fail(&self.entry, error),
        }
    }
}

/// Makes a file with this content, in place of whatever stands there. One that cannot be finished is removed.
pub(super) fn create_file(restore: &Restore<'_>, entry: &Entry, node: &FileNode, content: &[u8]) -> Result<()> {
    let target = restore.target()?;
    let file = target.create_file(&entry.path, Replace::Anything)?;
    let written = write_content(restore, &file, node, content);
    if let Err(error) = written {
        // What is there is not what the snapshot has; if it cannot be removed either, it has no recorded time at least.
        let _ = target.remove(&entry.path);
        return Err(error);
    }
    restore.note_metadata(file.set_metadata(&entry.meta, &restore.apply()))
}

fn write_content(restore: &Restore<'_>, file: &TargetFile, node: &FileNode, content: &[u8]) -> Result<()> {
    let sparse = restore.options.sparse;
    Cursor::default().spread(node, content, |data, offset| write_at(file, data, offset, sparse))?;
    if sparse || ends_in_hole(node) { file.set_len(node.size) } else { Ok(()) }
}

pub(super) fn write_at(file: &TargetFile, data: &[u8], offset: u64, sparse: bool) -> Result<()> {
    if sparse { file.write_sparse_at(data, offset) } else { file.write_all_at(data, offset) }
}
