//! How one entry of a plan takes its place: made ready in the stage with all its metadata, then moved there in one step.

use crate::catalog::{Entry, Node};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Action;
use crate::path::TreePath;
use crate::volume::{EntryKind, Made, Replace, Stat, Target, is_elsewhere};

use super::apply::Apply;
use super::context::Pull;
use super::spans::whole_file;
use super::stage::{STAGE, Stage};
use super::verdict::{holds, object_of};

impl Apply<'_, '_> {
    /// Makes sure that `entry`, which is no directory and the first name of its inode, stands at its path. Only with `staged` its
    /// content comes from the stage: what else may lie there is of no plan. `stat` is what stands at its path.
    pub(super) fn install(&mut self, entry: &Entry, (stat, staged): (Option<Stat>, bool)) -> Result<()> {
        if let Some(object) = object_of(entry) {
            let place = Stage::content(entry, object)?;
            if let Some(staged) = self.target.stat(&place)?.filter(|_| staged) {
                self.pull.settle_metadata(&place, &entry.meta, &staged)?;
                return self.take_place(&place, entry, stat.as_ref());
            }
            // It was moved already, or only its description differs.
            let Some(stat) = stat.filter(|stat| stat.kind == EntryKind::File && stat.size == size(entry)) else {
                self.drift(entry);
                return Ok(());
            };
            if stat.mtime != entry.meta.mtime && !holds(self.pull, &entry.path, object)? {
                self.drift(entry);
                return Ok(());
            }
            return self.pull.set_metadata(&entry.path, &entry.meta, &stat).map(drop);
        }
        if let Some(stat) = &stat
            && self.stands(entry, stat)?
        {
            return self.pull.set_metadata(&entry.path, &entry.meta, stat).map(drop);
        }
        let new = self.new_thing()?;
        if self.make(&new, entry)? == Made::NotPermitted {
            self.pull.counts.not_set().nodes += 1;
            return Ok(());
        }
        let made = self.target.stat(&new)?.ok_or_else(|| gone(&new))?;
        self.pull.set_metadata(&new, &entry.meta, &made)?;
        self.take_place(&new, entry, stat.as_ref())
    }

    /// Makes sure that `entry` is another name of what stands at `head`.
    pub(super) fn link(&mut self, head: &TreePath, entry: &Entry, stat: Option<&Stat>) -> Result<()> {
        let first = self.target.stat(head)?.ok_or_else(|| gone(head))?;
        if first.kind != EntryKind::of(&entry.node) {
            return Err(gone(head));
        }
        if stat.is_some_and(|stat| (stat.device, stat.inode) == (first.device, first.inode)) {
            return Ok(());
        }
        let mut new = self.new_thing()?;
        match self.target.hard_link(head, &new) {
            Err(error) if is_elsewhere(&error) => {
                new = beside(entry)?;
                self.target.hard_link(head, &new)?;
            }
            outcome => outcome?,
        }
        self.take_place(&new, entry, stat)
    }

    /// An entry without content that is there, but for its metadata. What has other names that the mirror does not know of is made
    /// anew.
    fn stands(&self, entry: &Entry, stat: &Stat) -> Result<bool> {
        if stat.nlink > 1 && entry.link.is_none() {
            return Ok(false);
        }
        match &entry.node {
            Node::File(file) => {
                let is_empty = file.size == 0 || stat.mtime == entry.meta.mtime;
                Ok(stat.kind == EntryKind::File && stat.size == file.size && is_empty)
            }
            node => self.target.has_special(&entry.path, node, stat),
        }
    }

    fn make(&self, new: &TreePath, entry: &Entry) -> Result<Made> {
        match &entry.node {
            Node::File(file) => {
                self.target.create_file(new, Replace::Anything)?.set_len(file.size)?;
                Ok(Made::Yes)
            }
            node => self.target.make_special(new, node),
        }
    }

    /// The step: from here on the new entry is there, before it the old one was.
    fn take_place(&mut self, new: &TreePath, entry: &Entry, old: Option<&Stat>) -> Result<()> {
        self.pull.check()?;
        if let Some(old) = old {
            self.keep_old(&entry.path, old)?;
        }
        match self.target.rename_file(new, &entry.path) {
            Err(error) if is_elsewhere(&error) => self.bring_over(new, entry)?,
            outcome => outcome?,
        }
        self.pull.check()?;
        let action = if old.is_some() { Action::Modified } else { Action::New };
        if object_of(entry).is_none() {
            self.pull.item(action, &entry.path, 0);
        }
        Ok(())
    }

    /// The step for an entry on a file system that is mounted below the target: made anew beside its place, from what is in the stage, on the
    /// disk before it takes the place. Its name there is always the same, so that the run that finishes this one takes it, too; to a pull
    /// it is a file that the mirror does not have.
    fn bring_over(&self, new: &TreePath, entry: &Entry) -> Result<()> {
        let beside = beside(entry)?;
        if let Node::File(file) = &entry.node {
            let staged = self.target.read_file(new)?;
            let copy = self.target.create_file(&beside, Replace::Anything)?;
            for piece in whole_file(file) {
                copy.copy_from(&staged, piece.offset, piece.offset, piece.len)?;
            }
            copy.set_len(file.size)?;
            copy.sync()?;
        } else {
            self.make(&beside, entry)?;
        }
        let made = self.target.stat(&beside)?.ok_or_else(|| gone(&beside))?;
        self.pull.set_metadata(&beside, &entry.meta, &made)?;
        self.target.rename_file(&beside, &entry.path)?;
        self.target.sync_dir(&entry.path.parent().unwrap_or_default())
    }

    /// What stands at `path` is about to be replaced. A file gets another name where replaced files go; a directory, which nothing
    /// replaces in one step, is moved there, or into the stage.
    pub(super) fn keep_old(&mut self, path: &TreePath, old: &Stat) -> Result<()> {
        if old.kind == EntryKind::Directory && !self.may_remove() {
            let text = format!("{path} is a directory that would be removed, and other entries failed");
            return Err(Error::new(ErrorKind::Refused, text).with_hint("see the other problems first"));
        }
        match &self.backup {
            Some(backup) => {
                self.make_parents(path)?;
                if old.kind == EntryKind::Directory {
                    self.target.create_dir(path)?;
                    self.target.move_to(path, backup, &free_name(backup, path)?)
                } else {
                    self.target.link_to(path, backup, &kept_name(backup, path)?)
                }
            }
            None if old.kind == EntryKind::Directory => self.set_aside(path),
            None => Ok(()),
        }
    }

    /// Moves a directory into the stage. It is opened up first: to be moved it must be writable.
    fn set_aside(&self, path: &TreePath) -> Result<()> {
        self.target.create_dir(path)?;
        match self.target.rename(path, &self.stage.old_thing()?) {
            // Somebody else's, and empty: it can be removed, if not moved.
            Err(error) if error.kind() == ErrorKind::Denied && self.target.remove_dir(path)? => Ok(()),
            outcome => outcome,
        }
    }

    /// Makes the directories of `path` where replaced and removed files go. A file that an earlier pull kept under the name of one gets another name.
    pub(super) fn make_parents(&self, path: &TreePath) -> Result<()> {
        let Some(backup) = &self.backup else { return Ok(()) };
        let mut above = Vec::new();
        let mut next = path.parent();
        while let Some(directory) = next.filter(|directory| !directory.is_root()) {
            next = directory.parent();
            above.push(directory);
        }
        for directory in above.iter().rev() {
            if backup.stat(directory)?.is_some_and(|stat| stat.kind != EntryKind::Directory) {
                backup.rename(directory, &free_name(backup, directory)?)?;
            }
            backup.create_dir(directory)?;
        }
        Ok(())
    }

    fn drift(&mut self, entry: &Entry) {
        self.drifted += 1;
        self.pull.note(&format!("{} was changed here meanwhile: it is compared again", entry.path));
    }
}

/// A plan that is not carried out may have moved directories into the stage, which goes when this pull is over. They are what this one was told to keep a
/// copy of, if it was; that they go is said otherwise.
pub(super) fn keep_set_aside(pull: &Pull<'_>, stage: Stage<'_>) -> Result<()> {
    let aside = stage.set_aside()?;
    if aside.is_empty() || pull.options.dry_run {
        return Ok(());
    }
    let text = format!("{} directories that it had moved out of the way of others", aside.len());
    let Some(path) = &pull.options.backup_dir else {
        pull.note(&format!("{text} are in {STAGE}/old of the target until this pull is over, and go with it"));
        return Ok(());
    };
    let (backup, name) = (Target::open(path, true)?, TreePath::parse("replaced")?);
    for directory in aside {
        pull.target()?.move_to(&directory, &backup, &free_name(&backup, &name)?)?;
    }
    pull.note(&format!("{text} are in {}, as {name}", path.display()));
    Ok(())
}

/// Where what stands at `path` goes that is no directory: in place of a file of that name that an earlier run kept, as with rclone, but not of a
/// directory.
pub(super) fn kept_name(backup: &Target, path: &TreePath) -> Result<TreePath> {
    match backup.stat(path)? {
        Some(stat) if stat.kind == EntryKind::Directory => free_name(backup, path),
        _ => Ok(path.clone()),
    }
}

/// A name where replaced files go that nothing has: what an earlier run kept there stays.
fn free_name(backup: &Target, path: &TreePath) -> Result<TreePath> {
    let (parent, name) = (path.parent().unwrap_or_default(), path.name().unwrap_or_default());
    let mut free = path.clone();
    let mut number = 0;
    while backup.stat(&free)?.is_some() {
        number += 1;
        free = parent.join(&[name, format!(".~{number}~").as_bytes()].concat())?;
    }
    Ok(free)
}

/// Where an entry is made that nothing can be moved to from the stage.
fn beside(entry: &Entry) -> Result<TreePath> {
    let name = blake3::hash(entry.path.name().unwrap_or_default()).to_hex();
    let name = format!("{STAGE}-{}", name.get(..16).unwrap_or_default());
    entry.path.parent().unwrap_or_default().join(name.as_bytes())
}

fn size(entry: &Entry) -> u64 {
    match &entry.node {
        Node::File(file) => file.size,
        _ => 0,
    }
}

fn gone(path: &TreePath) -> Error {
    Error::new(ErrorKind::Local, format!("{path} was changed here meanwhile"))
}
