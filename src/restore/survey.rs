//! Decides about one file, by what stands in the target, and queues the content that it lacks.

use std::sync::Arc;

use crate::catalog::{BlobRef, Content, Entry, Node, StoredObject};
use crate::error::{Error, Result};
use crate::events::Action;
use crate::volume::{EntryKind, Stat, Target};

use super::big_file::BigFile;
use super::compare::is_same;
use super::context::Restore;
use super::layout::Cursor;
use super::options::Overwrite;
use super::special;
use super::window::Windows;
use super::write::{Use, Whole, create_file};

/// An entry and where it goes to.
pub(super) struct Candidate {
    pub(super) entry: Entry,
    /// Nothing can stand in its place: its directory is new.
    pub(super) fresh: bool,
}

/// Restores one entry, or queues what it needs. Failures of the entry are reported and are no errors.
pub(super) fn survey<'r>(restore: &'r Restore<'r>, windows: &Windows<'r>, candidate: Candidate) -> Result<()> {
    let Candidate { entry, fresh } = candidate;
    let existing = match if fresh { Ok(None) } else { restore.stat(&entry.path) } {
        Ok(existing) => existing,
        Err(error) => return restore.fail(&entry, error),
    };
    if existing.as_ref().is_some_and(|existing| restore.leaves_alone(existing, &entry)) {
        restore.skipped(&entry.path, content_len(&entry));
        return Ok(());
    }
    if !matches!(entry.node, Node::File(_)) {
        return special::make(restore, &entry, existing.as_ref());
    }
    match (existing, restore.existing_target()) {
        (Some(stat), Some(target)) if stat.kind == EntryKind::File => {
            Existing { restore, windows, target, stat }.survey(entry)
        }
        (Some(_), _) => write_anew(restore, windows, entry, Action::Updated),
        (None, _) => write_anew(restore, windows, entry, Action::Restored),
    }
}

/// Length of the content of an entry, holes left out.
pub(super) fn content_len(entry: &Entry) -> u64 {
    match &entry.node {
        Node::File(_) if is_linked_to_content(entry) => 0,
        Node::File(node) => node.content_len().unwrap_or(0),
        Node::Directory | Node::Symlink { .. } | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => 0,
    }
}

/// Whether the content of this file is that of an earlier name of it.
pub(super) fn is_linked_to_content(entry: &Entry) -> bool {
    let Node::File(node) = &entry.node else { return false };
    entry.link.is_some() && matches!(node.content, Content::Empty) && node.content_len() != Some(0)
}

/// A regular file that stands in the place of one of the snapshot.
pub(super) struct Existing<'w, 'r> {
    pub(super) restore: &'r Restore<'r>,
    pub(super) windows: &'w Windows<'r>,
    pub(super) target: &'r Target,
    pub(super) stat: Stat,
}

impl Existing<'_, '_> {
    fn survey(self, entry: Entry) -> Result<()> {
        let Node::File(node) = &entry.node else { return Err(Error::bug("content of something that is no file")) };
        let (restore, stat) = (self.restore, &self.stat);
        let same_size = stat.size == node.size;
        if restore.options.overwrite == Overwrite::IfChanged && same_size && stat.mtime == entry.meta.mtime {
            let settled = self.target.has_metadata(&entry.path, stat, &entry.meta, &restore.apply());
            return self.settle(entry, settled);
        }
        if matches!(node.content, Content::Chunks(_) | Content::Lists { .. }) {
            return self.update(entry);
        }
        // One that cannot be read is written anew.
        let local = if same_size { self.target.read_file(&entry.path).ok() } else { None };
        let same = local.as_ref().map_or(Ok(false), |local| is_same(restore, local, node));
        match (same, local) {
            (Ok(true), Some(local)) => {
                let settled = local.has_metadata(&entry.meta, &restore.apply());
                self.settle(entry, Ok(settled))
            }
            (Ok(_), _) => write_anew(restore, self.windows, entry, Action::Updated),
            (Err(error), _) => restore.fail(&entry, error),
        }
    }

    /// The content is as it should be; `settled` says whether the metadata is.
    pub(super) fn settle(self, entry: Entry, settled: Result<bool>) -> Result<()> {
        let restore = self.restore;
        let metadata = match settled {
            Ok(true) => Ok(()),
            Ok(false) if restore.options.dry_run => Ok(()),
            // The other names of the file are not ours to change.
            Ok(false) if self.stat.nlink > 1 && entry.link.is_none() => {
                return write_anew(restore, self.windows, entry, Action::Updated);
            }
            Ok(false) => {
                let set = self.target.set_metadata(&entry.path, EntryKind::File, &entry.meta, &restore.apply());
                restore.note_metadata(set)
            }
            Err(error) => Err(error),
        };
        match metadata {
            Ok(()) => {
                let len = content_len(&entry);
                restore.kept(len);
                restore.done(&entry.path, Action::Unchanged, len);
                Ok(())
            }
            Err(error) => restore.fail(&entry, error),
        }
    }
}

/// Makes a file, or queues its content.
pub(super) fn write_anew<'r>(
    restore: &'r Restore<'r>,
    windows: &Windows<'r>,
    entry: Entry,
    action: Action,
) -> Result<()> {
    let Node::File(node) = &entry.node else { return Err(Error::bug("content of something that is no file")) };
    if restore.options.dry_run {
        restore.wrote(content_len(&entry));
        restore.done(&entry.path, action, content_len(&entry));
        return Ok(());
    }
    match &node.content {
        Content::Empty => match create_file(restore, &entry, node, &[]) {
            Ok(()) => {
                restore.done(&entry.path, action, 0);
                Ok(())
            }
            Err(error) => restore.fail(&entry, error),
        },
        Content::Object(_) => Err(StoredObject::misplaced()),
        Content::Bundle { blob, offset, .. } => {
            let (blob, offset) = (*blob, *offset);
            windows.push(blob, Use::Whole(Box::new(Whole { entry, offset, action })))
        }
        Content::Chunks(chunks) if let [only] = chunks.as_slice() => {
            let blob = *only;
            windows.push(blob, Use::Whole(Box::new(Whole { entry, offset: 0, action })))
        }
        Content::Chunks(_) | Content::Lists { .. } => {
            let file = BigFile::new(restore, Arc::new(entry), action);
            queue_all(restore, windows, &file)
        }
    }
}

fn queue_all<'r>(restore: &'r Restore<'r>, windows: &Windows<'r>, file: &Arc<BigFile<'r>>) -> Result<()> {
    let node = file.node()?;
    let mut at = Cursor::default();
    for blob in restore.session.reader().chunks(node)? {
        restore.check()?;
        match blob {
            Ok(blob) => {
                queue(windows, file, blob, at)?;
                at.skip(node, u64::from(blob.raw_len));
            }
            Err(error) => return lose_rest(file, error),
        }
    }
    file.all_queued()
}

pub(super) fn queue<'r>(windows: &Windows<'r>, file: &Arc<BigFile<'r>>, blob: BlobRef, at: Cursor) -> Result<()> {
    file.expect();
    windows.push(blob, Use::Piece { file: Arc::clone(file), at, len: blob.raw_len })
}

/// The list of chunks cannot be read to its end. An error of the store itself ends the run.
pub(super) fn lose_rest(file: &BigFile<'_>, error: Error) -> Result<()> {
    use crate::error::ErrorKind::{Corrupt, NotFound};
    if matches!(error.kind(), Corrupt | NotFound) { file.lose(error) } else { Err(error) }
}
