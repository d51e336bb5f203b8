//! The last walk: each directory is left after everything in it, and gets its metadata then, because whatever is done in a
//! directory changes its times, and its mode may forbid to do anything in it.

use crate::catalog::Metadata;
use crate::error::Result;
use crate::events::{Action, Event};
use crate::path::TreePath;
use crate::volume::EntryKind;

use super::context::Restore;
use super::delete::Extras;
use super::steps::{Dir, Step};

/// Removes what is not in the snapshot, if asked to, and sets the metadata of directories.
pub(super) fn finish_directories(restore: &Restore<'_>) -> Result<()> {
    let deletes = may_delete(restore);
    let mut open: Vec<Open> = Vec::new();
    for step in restore.steps() {
        restore.check()?;
        match step? {
            Step::Enter(dir) => {
                see(&mut open, &dir.path);
                let failed = open.last().is_some_and(|above| above.failed) || restore.is_failed_dir(&dir.path);
                let extras =
                    if deletes && dir.whole && !failed { Extras::list(restore, &dir.path)? } else { Extras::default() };
                open.push(Open { failed, extras });
            }
            Step::Leave(dir) => {
                if let Some(state) = open.pop().filter(|state| dir.used && !state.failed) {
                    leave(restore, dir, state.extras)?;
                }
            }
            Step::Leaf(entry) => see(&mut open, &entry.path),
            Step::Other(path) => see(&mut open, &path),
            // It was a problem: nothing is deleted.
            Step::Refused(..) => {}
        }
    }
    Ok(())
}

/// A directory that is not left yet.
struct Open {
    failed: bool,
    extras: Extras,
}

fn may_delete(restore: &Restore<'_>) -> bool {
    if !restore.options.delete {
        return false;
    }
    let problems = restore.tally.problems();
    if problems > 0 {
        let text = format!("nothing was deleted: {problems} entries could not be restored");
        restore.watch.observer.on(&Event::Note { text: &text });
    }
    problems == 0
}

/// The snapshot has `path` in the directory that is open.
fn see(open: &mut [Open], path: &TreePath) {
    if let (Some(dir), Some(name)) = (open.last_mut(), path.name()) {
        dir.extras.keep(name);
    }
}

fn leave(restore: &Restore<'_>, dir: Dir, extras: Extras) -> Result<()> {
    extras.delete(restore, &dir.path)?;
    let path = dir.path;
    let done = match &dir.meta {
        Some(meta) if !restore.options.dry_run => set_metadata(restore, &path, meta),
        Some(_) | None => Ok(()),
    };
    match done {
        Ok(()) if path.is_root() => Ok(()),
        Ok(()) => {
            restore.done(&path, Action::Restored, 0);
            Ok(())
        }
        Err(error) => restore.problem(&path, error),
    }
}

fn set_metadata(restore: &Restore<'_>, path: &TreePath, meta: &Metadata) -> Result<()> {
    let (target, apply) = (restore.target()?, restore.apply());
    if let Some(stat) = target.stat(path)?
        && target.has_metadata(path, &stat, meta, &apply)?
    {
        return Ok(());
    }
    restore.note_metadata(target.set_metadata(path, EntryKind::Directory, meta, &apply))
}
