//! The first walk: directories are made, files are surveyed, content is fetched and written.

use crossbeam_channel::bounded;

use crate::catalog::Entry;
use crate::error::{Error, Result};
use crate::path::TreePath;
use crate::volume::EntryKind;

use super::context::Restore;
use super::fetch::{FETCHED_AT_ONCE, fetch_window};
use super::links::{Groups, Role};
use super::parallel::{Batches, in_batches};
use super::steps::{Dir, Step};
use super::survey::{Candidate, content_len, survey};
use super::window::Windows;

/// Restores everything but hard links and the metadata of directories. Returns the hard-linked inodes it came by.
pub(super) fn restore_content<'r>(restore: &'r Restore<'r>) -> Result<Groups> {
    let (sender, receiver) = bounded(1);
    let windows = Windows::new(sender, restore.session.repo().limits().restore_window.bytes());
    let mut groups = Groups::default();
    std::thread::scope(|scope| {
        for _ in 0..FETCHED_AT_ONCE {
            let receiver = receiver.clone();
            scope.spawn(move || {
                for window in receiver {
                    if let Err(error) = restore.check().and_then(|()| fetch_window(restore, window)) {
                        restore.halt(error);
                    }
                }
            });
        }
        drop(receiver);
        in_batches(
            restore,
            |batches| Planner { restore, windows: &windows, batches, groups: &mut groups, dirs: Vec::new() }.run(),
            |candidate| survey(restore, &windows, candidate),
        );
        if let Err(error) = windows.finish() {
            restore.halt(error);
        }
    });
    restore.outcome()?;
    Ok(groups)
}

struct Planner<'p, 'r> {
    restore: &'r Restore<'r>,
    windows: &'p Windows<'r>,
    batches: &'p Batches<Candidate>,
    groups: &'p mut Groups,
    /// The directories that are entered, from the target down.
    dirs: Vec<OpenDir>,
}

struct OpenDir {
    path: TreePath,
    state: DirState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DirState {
    /// Made when something in it is selected.
    NotMade,
    /// It is new, so that nothing stands in it.
    Fresh,
    /// It may hold anything.
    Existing,
    Failed,
}

impl Planner<'_, '_> {
    fn run(mut self) -> Result<()> {
        for step in self.restore.steps() {
            self.restore.check()?;
            match step? {
                Step::Enter(dir) => self.enter(dir)?,
                Step::Leave(_) => drop(self.dirs.pop()),
                Step::Leaf(entry) => self.leaf(entry)?,
                Step::Other(_) => {}
                Step::Refused(path, error) => {
                    self.restore.planned(0);
                    self.restore.problem(&path, error)?;
                }
            }
        }
        self.find_orphans()?;
        self.restore.watch.progress.scan_finished.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn enter(&mut self, dir: Dir) -> Result<()> {
        let state = if dir.path.is_root() { self.root_state() } else { DirState::NotMade };
        if dir.path.is_root() && dir.selected && dir.meta.is_some() && !self.restore.options.dry_run {
            // Its mode is set in the end: until then it may be opened up as any other.
            self.restore.target()?.create_dir(&dir.path)?;
        }
        self.dirs.push(OpenDir { path: dir.path, state });
        if dir.selected { self.make_dirs().map(drop) } else { Ok(()) }
    }

    fn root_state(&self) -> DirState {
        if self.restore.existing_target().is_none() { DirState::Fresh } else { DirState::Existing }
    }

    /// Makes the directory entered last, with those above it.
    fn make_dirs(&mut self) -> Result<DirState> {
        let mut above = DirState::Existing;
        for dir in &mut self.dirs {
            if dir.state == DirState::NotMade {
                dir.state = match above {
                    DirState::Failed => DirState::Failed,
                    DirState::NotMade | DirState::Fresh | DirState::Existing => {
                        make_dir(self.restore, &dir.path, above == DirState::Fresh)?
                    }
                };
            }
            above = dir.state;
        }
        Ok(above)
    }

    fn leaf(&mut self, entry: Entry) -> Result<()> {
        let state = self.make_dirs()?;
        if state == DirState::Failed {
            return Ok(());
        }
        self.restore.planned(content_len(&entry));
        match self.groups.note(&entry) {
            Ok(Role::Own) => self.queue(entry, state == DirState::Fresh),
            Ok(Role::Follower | Role::Orphan) => Ok(()),
            Err(error) => self.restore.problem(&entry.path, error),
        }
    }

    /// New files go straight to the windows, in catalogue order; the others are looked at first, by several threads.
    fn queue(&self, entry: Entry, fresh: bool) -> Result<()> {
        let candidate = Candidate { entry, fresh };
        let len = content_len(&candidate.entry);
        if fresh && len > 0 { survey(self.restore, self.windows, candidate) } else { self.batches.push(candidate, len) }
    }

    /// Looks through the whole snapshot for the content of names whose first name is not selected.
    fn find_orphans(&mut self) -> Result<()> {
        if !self.groups.has_orphans() {
            return Ok(());
        }
        for entry in self.restore.session.reader().tree(&self.restore.snapshot.root, None) {
            self.restore.check()?;
            if let Some(entry) = self.groups.adopt(entry?) {
                self.restore.planned_content(content_len(&entry));
                self.queue(entry, false)?;
            }
            if !self.groups.has_orphans() {
                return Ok(());
            }
        }
        for (group, path) in self.groups.orphans() {
            self.restore.fail_group(
                group,
                &path,
                Error::corrupt("the snapshot does not have the content of this hard link"),
            )?;
        }
        Ok(())
    }
}

/// Makes sure that a directory stands at `path`.
fn make_dir(restore: &Restore<'_>, path: &TreePath, fresh: bool) -> Result<DirState> {
    restore.planned(0);
    let made = (|| {
        let is_there = !fresh && restore.stat(path)?.is_some_and(|stat| stat.kind == EntryKind::Directory);
        if !restore.options.dry_run {
            restore.target()?.create_dir(path)?;
        }
        Ok(if is_there { DirState::Existing } else { DirState::Fresh })
    })();
    match made {
        Ok(state) => Ok(state),
        Err(error) => restore.fail_dir(path, error).map(|()| DirState::Failed),
    }
}
