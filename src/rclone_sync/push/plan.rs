//! The first pass: what a push would do, and whether it may. Writes nothing.

use std::collections::{BTreeSet, HashSet};

use crate::catalog::{Content, Node, Pathed as _, StoredObject, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Action, Event};
use crate::path::TreePath;
use crate::volume::{EntryKind, Found};

use super::super::key::key_of;
use super::super::layout::LINK_END;
use super::super::proof::Proof;
use super::big::READ;
use super::delta::part_size;
use super::last::Last;
use super::moved::Moved;
use super::options::PushOptions;
use super::packs::{PackRule, packs_of};
use super::read::{BIG_FROM, FileRead};
use super::send::pin_of;
use super::shared::Shared;
use super::standing::Standing;
use super::survey::{Difference, OldEntries, Seen, What, survey};
use super::unreadable;

/// See [`racy_from`].
const RACY_SECONDS: i64 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) seen: Seen,
    /// Entries that differ, or may.
    pub(super) differences: u64,
    /// Requests that write objects, and files and their bytes among those.
    pub(super) objects: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Bytes of files that go into packs.
    packed: u64,
    /// Big files that are read, where there are several destinations.
    pub(super) big: BTreeSet<TreePath>,
    /// Objects to be deleted.
    pub(super) deletes: u64,
    /// Files among the removed: what they hold need not be sent if it stands elsewhere now.
    pub(super) moved: Moved,
    /// Keys in the store that nobody knows of.
    pub(super) orphans: Vec<String>,
    /// Directories that hold what the filter leaves out.
    pub(super) needed: HashSet<TreePath>,
    /// In a directory a file cannot stand where a directory was, nor the other way round: these make room first.
    pub(super) in_the_way: HashSet<String>,
}

/// Surveys the source and judges the whole.
pub(super) fn plan(
    shared: &Shared<'_>,
    last: Option<&Last>,
    mut standing: Option<&mut Standing>,
    is_directory: bool,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut needed = HashSet::new();
    let mut solid: Option<TreePath> = None;
    let pass = (standing.as_deref_mut(), &mut needed);
    let (most, none) = (shared.options.pack_small, HashSet::new());
    let several = shared.destinations.len() > 1;
    let rules = (racy_from(last), PackRule { most, sparse: &none });
    plan.seen = survey(shared, entries(last)?, pass, rules, &mut |mut difference| {
        if shared.options.dry_run && is_the_same(shared, &mut difference) {
            return Ok(true);
        }
        if is_directory {
            plan.make_room(&difference, &mut solid);
        }
        if let What::Read { found, .. } = &difference.what
            && several
            && found.stat.size >= BIG_FROM
        {
            plan.big.insert(found.path.clone());
        }
        plan.note(&difference, most);
        if shared.options.dry_run {
            tell(shared, &difference);
        }
        Ok(true)
    })?;
    plan.needed = needed;
    if let Some(standing) = standing {
        plan.orphans = standing.orphans(shared.options);
        standing.forget();
    }
    Ok(plan)
}

/// The entries of the last generation, if there is one.
pub(super) fn entries(last: Option<&Last>) -> Result<OldEntries> {
    last.map_or_else(|| Ok(Box::new(std::iter::empty()) as OldEntries), Last::entries)
}

/// From which time on the last generation is not trusted to have seen the last change of a file: a little before that push began. Clocks of
/// file systems go in steps of 4 ms to 2 s.
pub(super) fn racy_from(last: Option<&Last>) -> Option<Timestamp> {
    let begin = last?.root.time;
    Some(Timestamp { seconds: begin.timestamp() - RACY_SECONDS, nanos: begin.timestamp_subsec_nanos() })
}

impl Plan {
    fn note(&mut self, difference: &Difference, pack_most: Option<u64>) {
        self.differences += 1;
        self.deletes += u64::from(difference.gone.is_some());
        match (&difference.what, &difference.old) {
            (What::Remove, Some(old)) => self.moved.removed(old),
            (What::Read { found, kept, .. }, _) => {
                let is_file = found.stat.kind == EntryKind::File;
                if is_file && pack_most.is_some_and(|most| found.stat.size <= most) {
                    self.packed += found.stat.size;
                }
                if kept.is_some() {
                    return;
                }
                self.objects += requests_of(found);
                if is_file {
                    self.files += 1;
                    self.bytes += found.stat.size;
                }
            }
            _ => {}
        }
    }

    fn make_room(&mut self, difference: &Difference, solid: &mut Option<TreePath>) {
        // Where the object of a link may lie, that is not sent again because of it.
        if let What::Describe { found, .. } = &difference.what
            && found.stat.kind == EntryKind::Directory
            && found.path.as_bytes().ends_with(LINK_END.as_bytes())
        {
            self.in_the_way.insert(key_of(&found.path));
        }
        let Some(old) = &difference.old else { return };
        let was_directory = matches!(old.node, Node::Directory);
        match &difference.what {
            What::Read { found, .. } if was_directory && found.stat.kind == EntryKind::File => {
                *solid = Some(old.path().clone());
            }
            What::Describe { found, .. } if found.stat.kind == EntryKind::Directory && !was_directory => {
                self.in_the_way.extend(difference.gone.clone());
            }
            What::Remove if solid.as_ref().is_some_and(|solid| old.path().starts_with(solid)) => {
                self.in_the_way.extend(difference.gone.clone());
            }
            What::Remove | What::Read { .. } | What::Describe { .. } => {}
        }
    }

    /// About so many requests and bytes would be sent for the files.
    pub(super) fn cost(&self) -> (u64, u64) {
        let requests = self.objects + packs_of(self.packed) + self.deletes.div_ceil(1000);
        (requests, self.bytes + self.packed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.differences == 0 && self.orphans.is_empty()
    }

    /// Refuses what looks like an accident, before anything is written; and once more with what the second pass has `seen`, before it is published:
    /// the source may have vanished since.
    pub(super) fn judge(&self, shared: &Shared<'_>, seen: &Seen) -> Result<()> {
        let options: &PushOptions = shared.options;
        let source = shared.source.display();
        if seen.unreadable {
            return Err(unreadable(shared.source));
        }
        let orphans = self.orphans.len() as u64;
        if seen.present == 0 && seen.before + orphans > 0 && !options.allow_empty {
            let text = format!("{source} is empty and the mirror is not: nothing was removed");
            return Err(refused(text, "if it is to be emptied, say --allow-empty"));
        }
        judge_deletes(seen.tally.deleted_files + orphans, options)
    }
}

/// Requests that send this: a big file goes in parts, with one request before them, one after, and one for its list of blocks.
fn requests_of(found: &Found) -> u64 {
    let size = found.stat.size;
    if found.stat.kind == EntryKind::File && size >= BIG_FROM { size.div_ceil(part_size(size)) + 3 } else { 1 }
}

/// What a dry run finds out by reading: whether a file that may have changed is the same. One that has other content becomes one to be sent, a big
/// one as a whole: how much of it is saved is known when the blocks are compared.
fn is_the_same(shared: &Shared<'_>, difference: &mut Difference) -> bool {
    let What::Read { found, link, kept } = &mut difference.what else { return false };
    let (Some(node), Some(old)) = (&kept, &difference.old) else { return false };
    if found.stat.size >= BIG_FROM {
        let is_same = matches!(&node.content, Content::Object(object) if has_bytes_of(shared, found, object));
        if !is_same {
            *kept = None;
        }
        return false;
    }
    if shared.options.pack_small.is_some() {
        return false;
    }
    let (FileRead::Small(small), Content::Object(object)) = (shared.read(found), &node.content) else { return false };
    let is_same = match object.hash {
        Some(hash) => hash == small.hash,
        None => pin_of(object).md5() == Some(small.md5),
    };
    if !is_same {
        *kept = None;
        return false;
    }
    let (new, old, link) = (&small.meta, old.as_ref(), link.map(|link| link.group));
    (new.mode, new.uid, new.gid, new.mtime) == (old.meta.mode, old.meta.uid, old.meta.gid, old.meta.mtime)
        && new.xattrs == old.meta.xattrs
        && link == old.link
}

/// Whether a big file has the bytes of `object`, as far as can be known without the store. One that cannot be read has not: the push will tell.
fn has_bytes_of(shared: &Shared<'_>, found: &Found, object: &StoredObject) -> bool {
    let (mut proof, mut buffer) = (Proof::of(object), vec![0; READ]);
    let mut read = || -> Result<()> {
        let mut file = found.open()?;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 || shared.watch.stop.requested() {
                return Ok(());
            }
            shared.rate.read(count as u64);
            proof.update(buffer.get(..count).unwrap_or_default());
        }
    };
    read().is_ok() && proof.finish() == Some(true)
}

/// Names what would be sent or deleted. What is read only to be compared may turn out to be the same, and is not named.
fn tell(shared: &Shared<'_>, difference: &Difference) {
    let observer = shared.watch.observer;
    let (action, path, size) = match (&difference.what, &difference.old) {
        (What::Read { found, kept: None, .. }, old) => {
            let action = if old.is_some() { Action::Modified } else { Action::New };
            let size = if found.stat.kind == EntryKind::File { found.stat.size } else { 0 };
            (action, &found.path, size)
        }
        (What::Remove, Some(old)) if difference.gone.is_some() => {
            let size = if let Node::File(file) = &old.node { file.size } else { 0 };
            (Action::Deleted, &old.path, size)
        }
        (What::Read { .. } | What::Describe { .. } | What::Remove, _) => return,
    };
    if observer.wants_items() {
        observer.on(&Event::Item { action, path, size });
    }
}

fn judge_deletes(deletes: u64, options: &PushOptions) -> Result<()> {
    match options.max_delete {
        Some(most) if deletes > most => {
            let text = format!("{deletes} files would be removed from the mirror, and --max-delete allows {most}");
            Err(refused(text, "nothing was changed; raise --max-delete if that is meant"))
        }
        _ => Ok(()),
    }
}

fn refused(text: String, hint: &str) -> Error {
    Error::new(ErrorKind::Refused, text).with_hint(hint)
}
