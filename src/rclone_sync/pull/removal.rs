//! Removes what a plan says: files as they come, each directory after all that was in it, and only if nothing is left in it.

use crate::error::Result;
use crate::events::Action;
use crate::path::TreePath;
use crate::volume::{EntryKind, Stat};

use super::super::segment::Change;
use super::apply::Apply;
use super::install::kept_name;
use super::stage::{Plan, SET};

impl Apply<'_, '_> {
    pub(super) fn remove_all(&self, plan: &Plan) -> Result<()> {
        let mut open: Vec<TreePath> = Vec::new();
        for change in self.stage.read(SET, &plan.set)? {
            self.pull.check()?;
            let Change::Remove(path) = change? else { continue };
            while let Some(left) = open.pop_if(|directory| !path.starts_with(directory)) {
                self.remove_directory(&left)?;
            }
            match self.target.stat(&path)? {
                Some(stat) if stat.kind == EntryKind::Directory => open.push(path),
                Some(stat) => self.remove_file(&path, &stat)?,
                // It is gone already, or what it lay in has become something else.
                None => {}
            }
        }
        while let Some(left) = open.pop() {
            self.remove_directory(&left)?;
        }
        Ok(())
    }

    fn remove_file(&self, path: &TreePath, stat: &Stat) -> Result<()> {
        let removed = match &self.backup {
            Some(backup) => self
                .make_parents(path)
                .and_then(|()| kept_name(backup, path))
                .and_then(|name| self.target.move_to(path, backup, &name)),
            None => self.target.remove(path),
        };
        if let Err(error) = removed {
            return self.pull.problem(path, error);
        }
        self.pull.tally(|tally| {
            tally.deleted_files += 1;
            tally.deleted_bytes += if stat.kind == EntryKind::File { stat.size } else { 0 };
        });
        self.pull.item(Action::Deleted, path, stat.size);
        Ok(())
    }

    fn remove_directory(&self, path: &TreePath) -> Result<()> {
        self.pull.check()?;
        match self.target.remove_dir(path) {
            Ok(true) => {
                self.pull.tally(|tally| tally.deleted_dirs += 1);
                self.pull.item(Action::Deleted, path, 0);
                Ok(())
            }
            // Something that is not ours to remove is in it.
            Ok(false) => Ok(()),
            Err(error) => self.pull.problem(path, error),
        }
    }
}
