//! Symbolic links, pipes and devices.

use crate::catalog::{Entry, Node};
use crate::error::Result;
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
    let kind = EntryKind::of(&entry.node);
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
    if create(restore, entry)? == Made::NotPermitted {
        restore.tally.node_not_made();
        return Ok(Action::Skipped);
    }
    restore.note_metadata(restore.target()?.set_metadata(&entry.path, kind, &entry.meta, &restore.apply()))?;
    Ok(action)
}

/// Whether the entry stands there, but for its metadata.
fn stands(target: &Target, entry: &Entry, stat: &Stat) -> Result<bool> {
    // What has other names is made anew: they are not ours to change.
    if stat.nlink > 1 && entry.link.is_none() {
        return Ok(false);
    }
    target.has_special(&entry.path, &entry.node, stat)
}

fn create(restore: &Restore<'_>, entry: &Entry) -> Result<Made> {
    let is_device = matches!(entry.node, Node::CharDevice { .. } | Node::BlockDevice { .. });
    if is_device && restore.options.privileged == Some(false) {
        return Ok(Made::NotPermitted);
    }
    restore.target()?.make_special(&entry.path, &entry.node)
}
