//! Removes what the snapshot does not hold. Links are removed, never followed; what the selection does not cover stays.

use std::collections::VecDeque;

use crate::error::Result;
use crate::events::Action;
use crate::path::TreePath;
use crate::volume::EntryKind;

use super::context::Restore;

/// Made by the file system itself, in the root of a volume.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// What stands in one directory of the target and not in the snapshot. Holds the names of the directory: about 70 bytes
/// each, for the directories that are open at a time.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Not compared yet, in order.
    rest: VecDeque<(Vec<u8>, EntryKind)>,
    extra: Vec<(Vec<u8>, EntryKind)>,
}

impl Extras {
    /// All names in the directory at `path`; none when no directory stands there.
    pub(super) fn list(restore: &Restore<'_>, path: &TreePath) -> Result<Self> {
        let is_dir = restore.stat(path)?.is_some_and(|stat| stat.kind == EntryKind::Directory);
        let target = restore.existing_target().filter(|_| is_dir);
        let Some(target) = target else { return Ok(Self::default()) };
        match target.list(path) {
            Ok(names) => Ok(Self { rest: names.into(), extra: Vec::new() }),
            Err(error) => restore.problem(path, error).map(|()| Self::default()),
        }
    }

    /// The snapshot has `name`. Names come in order.
    pub(super) fn keep(&mut self, name: &[u8]) {
        while let Some(next) = self.rest.pop_front_if(|(next, _)| next.as_slice() <= name) {
            if next.0 != name {
                self.extra.push(next);
            }
        }
    }

    /// Removes what was not kept.
    pub(super) fn delete(mut self, restore: &Restore<'_>, dir: &TreePath) -> Result<()> {
        self.extra.extend(self.rest);
        for (name, kind) in self.extra {
            if dir.is_root() && name == LOST_AND_FOUND {
                continue;
            }
            remove(restore, dir.join(&name)?, kind)?;
        }
        Ok(())
    }
}

/// A step of taking a tree apart.
enum Todo {
    Look(TreePath, EntryKind),
    /// The directory was gone through.
    Leave(TreePath),
}

/// Removes what is selected of `path` and below, entry by entry, so that each is said. A directory goes when nothing stays
/// in it.
fn remove(restore: &Restore<'_>, path: TreePath, kind: EntryKind) -> Result<()> {
    let mut todo = vec![Todo::Look(path, kind)];
    // For each directory that is open, whether something stays in it.
    let mut stays: Vec<bool> = Vec::new();
    while let Some(next) = todo.pop() {
        restore.check()?;
        let removed = match next {
            Todo::Look(path, EntryKind::Directory) if restore.options.selection.may_descend(&path) => {
                stays.push(!restore.options.selection.selects(&path));
                let below = list(restore, &path)?;
                todo.push(Todo::Leave(path.clone()));
                for (name, kind) in below {
                    todo.push(Todo::Look(path.join(&name)?, kind));
                }
                continue;
            }
            Todo::Leave(path) => !stays.pop().unwrap_or(true) && remove_one(restore, &path)?,
            Todo::Look(path, _) => restore.options.selection.selects(&path) && remove_one(restore, &path)?,
        };
        if let Some(above) = stays.last_mut() {
            *above |= !removed;
        }
    }
    Ok(())
}

fn list(restore: &Restore<'_>, path: &TreePath) -> Result<Vec<(Vec<u8>, EntryKind)>> {
    let Some(target) = restore.existing_target() else { return Ok(Vec::new()) };
    match target.list(path) {
        Ok(names) => Ok(names),
        Err(error) => restore.problem(path, error).map(|()| Vec::new()),
    }
}

/// Whether it is gone, or would be.
fn remove_one(restore: &Restore<'_>, path: &TreePath) -> Result<bool> {
    let removed = if restore.options.dry_run { Ok(()) } else { restore.target()?.remove(path) };
    match removed {
        Ok(()) => {
            restore.done(path, Action::Deleted, 0);
            Ok(true)
        }
        Err(error) => restore.problem(path, error).map(|()| false),
    }
}
