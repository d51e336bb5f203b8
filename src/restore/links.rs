//! Hard links: which name of an inode has its content, and the names that come after it.

use std::collections::HashMap;

use crate::catalog::{Entry, LinkGroup};
use crate::error::{Error, Result};
use crate::events::Action;
use crate::path::TreePath;
use crate::volume::EntryKind;

use super::context::Restore;
use super::steps::Step;
use super::survey::is_linked_to_content;

/// The first restored name of each hard-linked inode. Costs the bytes of the path and about 50 more for each.
#[derive(Debug, Default)]
pub(super) struct Groups {
    heads: HashMap<LinkGroup, Head>,
    /// Names that will be linked to a head.
    followers: u64,
    /// Heads whose content stands at an entry that is not selected.
    orphans: u64,
}

#[derive(Debug)]
struct Head {
    path: Box<[u8]>,
    kind: EntryKind,
    is_orphan: bool,
}

/// What is to be done with an entry that may be one of several names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Restored by itself.
    Own,
    /// Linked later.
    Follower,
    /// The first selected name, its content is that of an entry that is not selected.
    Orphan,
}

impl Groups {
    /// Notes an entry, which comes in catalogue order.
    ///
    /// # Errors
    /// `Corrupt` when its group is of another kind: a file that is to be linked to a symbolic link, for instance.
    pub(super) fn note(&mut self, entry: &Entry) -> Result<Role> {
        let Some(group) = entry.link else { return Ok(Role::Own) };
        let kind = EntryKind::of(&entry.node);
        let has_content = kind == EntryKind::File && !is_linked_to_content(entry);
        if let Some(head) = self.heads.get(&group) {
            if head.kind != kind {
                let (kind, other) = (kind.name(), head.kind.name());
                return Err(Error::corrupt(format!("the snapshot has this {kind} as another name of a {other}")));
            }
            if has_content && entry_len(entry) > 0 {
                return Ok(Role::Own);
            }
            self.followers += 1;
            return Ok(Role::Follower);
        }
        let is_orphan = kind == EntryKind::File && !has_content;
        self.orphans += u64::from(is_orphan);
        self.heads.insert(group, Head { path: entry.path.as_bytes().into(), kind, is_orphan });
        Ok(if is_orphan { Role::Orphan } else { Role::Own })
    }

    /// Whether there are heads whose content is still to be found.
    pub(super) fn has_orphans(&self) -> bool {
        self.orphans > 0
    }

    /// Gives `entry`, which may stand anywhere in the snapshot, the path of the orphan whose content it has.
    pub(super) fn adopt(&mut self, mut entry: Entry) -> Option<Entry> {
        let head = self.heads.get_mut(&entry.link?)?;
        if !head.is_orphan || is_linked_to_content(&entry) || EntryKind::of(&entry.node) != head.kind {
            return None;
        }
        head.is_orphan = false;
        self.orphans -= 1;
        entry.path = TreePath::parse(head.path.as_ref()).ok()?;
        Some(entry)
    }

    /// Heads whose content is not in the snapshot.
    pub(super) fn orphans(&self) -> impl Iterator<Item = (LinkGroup, TreePath)> + '_ {
        let orphans = self.heads.iter().filter(|(_, head)| head.is_orphan);
        orphans.filter_map(|(group, head)| Some((*group, TreePath::parse(head.path.as_ref()).ok()?)))
    }

    /// The name that `entry` is to be linked to. Decides as [`Groups::note`] did.
    pub(super) fn head_of(&self, entry: &Entry) -> Option<TreePath> {
        let head = self.heads.get(&entry.link?)?;
        let is_own = head.path.as_ref() == entry.path.as_bytes() || head.kind != EntryKind::of(&entry.node);
        let has_content = head.kind == EntryKind::File && !is_linked_to_content(entry) && entry_len(entry) > 0;
        if is_own || has_content { None } else { TreePath::parse(head.path.as_ref()).ok() }
    }
}

fn entry_len(entry: &Entry) -> u64 {
    super::survey::content_len(entry)
}

/// Gives every hard-linked inode its other names.
pub(super) fn restore_links(restore: &Restore<'_>, groups: &Groups) -> Result<()> {
    if groups.followers == 0 {
        return Ok(());
    }
    // Directories that failed are passed over with all that is in them.
    let mut failed: Vec<bool> = Vec::new();
    for step in restore.steps() {
        restore.check()?;
        match step? {
            Step::Enter(dir) => {
                let above = failed.last().copied().unwrap_or_default();
                failed.push(above || restore.is_failed_dir(&dir.path));
            }
            Step::Leave(_) => {
                failed.pop();
            }
            Step::Leaf(entry) => {
                if let Some(head) = groups.head_of(&entry)
                    && failed.last() != Some(&true)
                {
                    link(restore, &entry, &head)?;
                }
            }
            Step::Other(_) | Step::Refused(..) => {}
        }
    }
    Ok(())
}

fn link(restore: &Restore<'_>, entry: &Entry, head: &TreePath) -> Result<()> {
    match try_link(restore, entry, head) {
        Ok(Action::Skipped) => {
            restore.skipped(&entry.path, 0);
            Ok(())
        }
        Ok(action) => {
            restore.done(&entry.path, action, 0);
            Ok(())
        }
        Err(error) => restore.problem(&entry.path, error),
    }
}

fn try_link(restore: &Restore<'_>, entry: &Entry, head: &TreePath) -> Result<Action> {
    if entry.link.is_some_and(|group| restore.has_failed(&group)) {
        return Err(Error::corrupt(format!("{head}, which this is another name of, was not restored")));
    }
    let existing = restore.stat(&entry.path)?;
    if existing.as_ref().is_some_and(|existing| restore.leaves_alone(existing, entry)) {
        return Ok(Action::Skipped);
    }
    if let (Some(here), Some(there)) = (&existing, restore.stat(head)?)
        && (here.device, here.inode) == (there.device, there.inode)
    {
        return Ok(Action::Unchanged);
    }
    if !restore.options.dry_run {
        restore.target()?.hard_link(head, &entry.path)?;
    }
    Ok(if existing.is_some() { Action::Updated } else { Action::Restored })
}
