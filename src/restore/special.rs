//! Symbolic links, pipes and devices.

use crate::catalog::{Entry, Node};
use crate::error::{Error, Result};
use crate::events::Action;
use crate::volume::{EntryKind, Made, Stat, Target};

use super::context::Restore;

/// Makes an entry that has no content; leaves one that is as it should be.
pub(super) fn make(restore: &Restore<'_>, entry: &Entry, existing: Option<&Stat>) -> Result<()> {
    match try_make(restore, entry, existing) {
        Ok(action) => {
            restore.done(&entry.path, action, 0);
            Ok(())
        }
        Err(error) => restore.fail(entry, error),
    }
}

fn try_make(restore: &Restore<'_>, entry: &Entry, existing: Option<&Stat>) -> Result<Action> {
    let kind = kind_of(&entry.node);
    if let (Some(target), Some(stat)) = (restore.existing_target(), existing)
        && stands(target, entry, stat)?
    {
        if !restore.options.dry_run && !target.has_metadata(&entry.path, stat, &entry.meta, &restore.apply())? {
            restore.note_metadata(target.set_metadata(&entry.path, kind, &entry.meta, &restore.apply()))?;
        }
        return Ok(Action::Unchanged);
    }
    let action = if existing.is_some() { Action::Updated } else { Action::Restored };
    if restore.options.dry_run {
        return Ok(action);
    }
    if create(restore, entry, kind)? == Made::NotPermitted {
        restore.tally.node_not_made();
        return Ok(Action::Skipped);
    }
    restore.note_metadata(restore.target()?.set_metadata(&entry.path, kind, &entry.meta, &restore.apply()))?;
    Ok(action)
}

/// Whether the entry stands there, but for its metadata.
fn stands(target: &Target, entry: &Entry, stat: &Stat) -> Result<bool> {
    // What has other names is made anew: they are not ours to change.
    if stat.kind != kind_of(&entry.node) || (stat.nlink > 1 && entry.link.is_none()) {
        return Ok(false);
    }
    Ok(match &entry.node {
        Node::Symlink { target: to } => target.link_target(&entry.path)?.as_ref() == Some(to),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => stat.rdev == (*major, *minor),
        Node::Fifo => true,
        Node::Directory | Node::File(_) => false,
    })
}

fn create(restore: &Restore<'_>, entry: &Entry, kind: EntryKind) -> Result<Made> {
    let target = restore.target()?;
    match &entry.node {
        Node::Symlink { target: to } => target.symlink(&entry.path, to).map(|()| Made::Yes),
        Node::Fifo => target.fifo(&entry.path),
        Node::CharDevice { .. } | Node::BlockDevice { .. } if restore.options.privileged == Some(false) => {
            Ok(Made::NotPermitted)
        }
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            target.device(&entry.path, kind, *major, *minor)
        }
        Node::Directory | Node::File(_) => Err(Error::bug("files and directories are made elsewhere")),
    }
}

/// The kind of an entry, as file systems call it.
pub(super) fn kind_of(node: &Node) -> EntryKind {
    match node {
        Node::Directory => EntryKind::Directory,
        Node::File(_) => EntryKind::File,
        Node::Symlink { .. } => EntryKind::Symlink,
        Node::Fifo => EntryKind::Fifo,
        Node::CharDevice { .. } => EntryKind::CharDevice,
        Node::BlockDevice { .. } => EntryKind::BlockDevice,
    }
}
