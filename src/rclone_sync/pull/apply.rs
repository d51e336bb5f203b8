//! Brings the target to the generation of a plan, from the stage alone. Whatever of it is done already is found to be so: a run
//! that was killed anywhere in here is completed by doing all of it again.
//!
//! Order: directories and everything in them, each file in one step; then, if nothing failed, what is removed; then the metadata of
//! directories, which all of that changes, the deepest first; then the disk. The root is last, after the stage in it is gone.

use std::collections::{HashMap, HashSet};

use crate::catalog::{Entry, Joined, LinkGroup, Node, merge_join};
use crate::error::{Error, Result};
use crate::events::Action;
use crate::path::TreePath;
use crate::volume::{EntryKind, Stat, Target};

use super::super::segment::Change;
use super::context::Pull;
use super::stage::{FETCH, HEADS, Plan, SET, Stage};
use super::verdict::is_left;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Files that somebody changed since the survey: they are not as the generation has them.
    pub(super) drifted: u64,
    /// The root, whose metadata is to be set when the stage is gone.
    pub(super) root: Option<Entry>,
}

/// A plan being carried out.
pub(super) struct Apply<'p, 'a> {
    pub(super) pull: &'p Pull<'a>,
    pub(super) target: &'p Target,
    pub(super) stage: Stage<'p>,
    pub(super) backup: Option<Target>,
    /// The first names of groups that get names; none where it failed. The path, and about 50 bytes for each.
    heads: HashMap<LinkGroup, Head>,
    /// Paths at which a directory makes room: they have to wait. About 100 bytes for each.
    later: HashSet<TreePath>,
    is_late: bool,
    removes: bool,
    number: u64,
    pub(super) drifted: u64,
}

/// The first name of an inode that gets names.
#[derive(Debug, Clone)]
enum Head {
    At(TreePath),
    Failed,
    /// It has to wait, and its names with it.
    Later,
}

/// Carries out `plan`.
pub(super) fn apply(pull: &Pull<'_>, stage: Stage<'_>, plan: &Plan) -> Result<Applied> {
    let backup = plan.backup.as_deref().map(|path| Target::open(path, true)).transpose()?;
    let (target, heads) = (pull.target()?, HashMap::new());
    let mut apply = Apply {
        pull,
        target,
        stage,
        backup,
        heads,
        later: HashSet::new(),
        is_late: false,
        removes: plan.removes,
        number: 0,
        drifted: 0,
    };
    apply.find_heads(plan)?;
    apply.put_all(plan)?;
    if !apply.later.is_empty() {
        // What takes the place of a directory with content: a removal, which comes after everything else.
        apply.is_late = true;
        apply.put_all(plan)?;
    }
    if apply.may_remove() {
        apply.remove_all(plan)?;
    }
    let root = apply.leave_directories(plan)?;
    target.sync()?;
    Ok(Applied { drifted: apply.drifted, root })
}

impl Apply<'_, '_> {
    fn find_heads(&mut self, plan: &Plan) -> Result<()> {
        for change in self.stage.read(HEADS, &plan.heads)? {
            if let Change::Put(entry) = change?
                && let Some(group) = entry.link
            {
                self.heads.insert(group, Head::At(entry.path));
            }
        }
        Ok(())
    }

    fn put_all(&mut self, plan: &Plan) -> Result<()> {
        let (set, fetch) = (self.stage.read(SET, &plan.set)?, self.stage.read(FETCH, &plan.fetch)?);
        for joined in merge_join(set, fetch) {
            self.pull.check()?;
            let (change, staged) = match joined? {
                Joined::Left(change) => (change, false),
                Joined::Right(change) => (change, true),
                Joined::Both(..) => return Err(Error::bug("the plan has a path twice")),
            };
            let Change::Put(entry) = change else { continue };
            let stat = self.target.stat(&entry.path)?;
            if self.is_due(&entry, stat.as_ref())
                && let Err(error) = self.put(&entry, (stat, staged))
            {
                self.pull.problem(&entry.path, error)?;
            }
        }
        Ok(())
    }

    /// Whether an entry is to be put in this pass over the plan.
    fn is_due(&mut self, entry: &Entry, stands: Option<&Stat>) -> bool {
        if self.is_late {
            return self.later.contains(&entry.path);
        }
        if matches!(entry.node, Node::Directory) {
            return true;
        }
        let waits = matches!(entry.link.and_then(|group| self.heads.get(&group)), Some(Head::Later));
        if waits || stands.is_some_and(|stat| stat.kind == EntryKind::Directory) {
            self.later.insert(entry.path.clone());
            if let Some(group) = entry.link {
                self.heads.entry(group).or_insert(Head::Later);
            }
            return false;
        }
        true
    }

    fn put(&mut self, entry: &Entry, (stat, staged): (Option<Stat>, bool)) -> Result<()> {
        if matches!(entry.node, Node::Directory) {
            return self.make_directory(&entry.path, stat.as_ref());
        }
        // It may have come or been changed since the survey, which may be another run's, of hours ago.
        if stat.as_ref().is_some_and(|stat| is_left(self.pull, entry, stat)) {
            self.leave(entry);
            return Ok(());
        }
        let Some(group) = entry.link else { return self.install(entry, (stat, staged)) };
        match self.heads.get(&group).cloned() {
            Some(Head::At(head)) if head != entry.path => self.link(&head, entry, stat.as_ref()),
            Some(Head::Failed) => Err(Error::corrupt("the file that this is another name of could not be made")),
            Some(Head::At(_) | Head::Later) | None => {
                let done = self.install(entry, (stat, staged));
                let head = if done.is_ok() { Head::At(entry.path.clone()) } else { Head::Failed };
                self.heads.insert(group, head);
                done
            }
        }
    }

    /// What stands at the place of `entry` stays, as the survey would have it. Further names of the group are names of that.
    fn leave(&mut self, entry: &Entry) {
        if let Some(group) = entry.link
            && !matches!(self.heads.get(&group), Some(Head::At(_) | Head::Failed))
        {
            self.heads.insert(group, Head::At(entry.path.clone()));
        }
        self.pull.item(Action::Skipped, &entry.path, 0);
    }

    /// Whether anything may be removed: everything else has succeeded.
    pub(super) fn may_remove(&self) -> bool {
        self.removes && self.pull.counts.problems() == 0 && self.drifted == 0
    }

    fn make_directory(&mut self, path: &TreePath, stands: Option<&Stat>) -> Result<()> {
        if let Some(stat) = stands.filter(|stat| stat.kind != EntryKind::Directory) {
            self.keep_old(path, stat)?;
        }
        self.target.create_dir(path)
    }

    /// A name in the stage that nothing has yet; one that an earlier run left is replaced.
    pub(super) fn new_thing(&mut self) -> Result<TreePath> {
        self.number += 1;
        Stage::new_thing(self.number)
    }

    /// Gives the directories of the plan their metadata, each after all that is in it. Returns the root, which has to wait.
    fn leave_directories(&mut self, plan: &Plan) -> Result<Option<Entry>> {
        let (mut open, mut root) = (Vec::<Entry>::new(), None);
        for change in self.stage.read(SET, &plan.set)? {
            let Change::Put(entry) = change? else { continue };
            while let Some(left) = open.pop_if(|directory| !entry.path.starts_with(&directory.path)) {
                self.describe_directory(&left)?;
            }
            if entry.path.is_root() {
                root = Some(*entry);
            } else if matches!(entry.node, Node::Directory) {
                open.push(*entry);
            }
        }
        while let Some(left) = open.pop() {
            self.describe_directory(&left)?;
        }
        Ok(root)
    }

    fn describe_directory(&self, entry: &Entry) -> Result<()> {
        self.pull.check()?;
        match describe(self.pull, entry) {
            Ok(()) => Ok(()),
            Err(error) => self.pull.problem(&entry.path, error),
        }
    }
}

/// Gives a directory its metadata, unless it has it.
pub(super) fn describe(pull: &Pull<'_>, entry: &Entry) -> Result<()> {
    match pull.target()?.stat(&entry.path)? {
        Some(stat) if stat.kind == EntryKind::Directory => pull.set_metadata(&entry.path, &entry.meta, &stat).map(drop),
        // Whoever took it away meanwhile: the next pull makes it again.
        Some(_) | None => Ok(()),
    }
}
