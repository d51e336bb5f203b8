//! How what is seen of the target is used and kept: a target that looks as it did when it was as the mirror has it is so still.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::catalog::{Entry, Joined, merge_join};
use crate::error::{Error, Result};
use crate::path::TreePath;
use crate::volume::WalkItem;

use super::super::segment::Change;
use super::context::{Pull, mark};
use super::seen::{Seen, SeenWriter, Stamp, Terms, lay_over};
use super::source::Memory;
use super::stage::{FETCH, Plan, SET, Stage};
use super::survey::look;

/// Whether all of the target looks as it was `seen`: one look at each inode, and nothing else. Given up when it is `over`.
pub(super) fn is_as_seen(pull: &Pull<'_>, mut seen: Seen, over: &AtomicBool) -> Result<bool> {
    let same = look(pull, |batches| {
        for batch in batches {
            if over.load(Ordering::Relaxed) {
                return false;
            }
            for item in batch {
                let found = match item {
                    WalkItem::Found(found) => found,
                    WalkItem::Socket { .. } => continue,
                    WalkItem::Problem { .. } => return false,
                };
                let is_same = seen.next().is_some_and(|(path, mark)| {
                    path == found.path.as_bytes() && mark.stamp == Some(Stamp::of(&found.stat))
                });
                if !is_same {
                    return false;
                }
            }
        }
        seen.next().is_none()
    })?;
    pull.check()?;
    Ok(same)
}

/// Says of a target that is as it was seen what was said then.
pub(super) fn say_again(pull: &Pull<'_>, terms: &Terms) {
    pull.tally(|tally| {
        tally.checks = terms.checks;
        tally.listed = terms.listed;
    });
    *pull.counts.not_set() = terms.not_set;
}

/// Looks at what a plan has made and changed, the root aside, and into it: what is as it should be is put down.
pub(super) fn note_touched(pull: &Pull<'_>, stage: Stage<'_>, plan: &Plan, touched: &mut SeenWriter) -> Result<()> {
    pull.pass_a_tick();
    let (now, target) = (pull.now(), pull.target()?);
    for joined in merge_join(stage.read(SET, &plan.set)?, stage.read(FETCH, &plan.fetch)?) {
        pull.check()?;
        let (Joined::Left(Change::Put(entry)) | Joined::Right(Change::Put(entry))) = joined? else { continue };
        if entry.path.is_root() {
            continue;
        }
        if let Some(stat) = target.stat(&entry.path)?
            && pull.is_as_made(&entry, &stat)?
        {
            touched.put(entry.path.as_bytes(), mark(&stat, pull.is_bare(&entry, &stat), now))?;
        }
    }
    Ok(())
}

/// What a run has seen, in parts.
pub(super) struct Sights {
    /// What stayed as it was.
    pub(super) notes: SeenWriter,
    /// What was made or changed.
    pub(super) touched: Option<SeenWriter>,
    /// Entries that are none of the mirror.
    pub(super) extras: u64,
    pub(super) terms: Terms,
}

impl Sights {
    /// Puts the parts together, and the root, which every pull that changes something changes last.
    pub(super) fn join(self, pull: &Pull<'_>, root: Option<&Entry>, memory: &mut Memory) -> Result<()> {
        let open = |writer: SeenWriter| {
            let path = writer.finish(&Terms::default())?;
            Seen::open(&path).ok_or_else(|| Error::bug("what was seen cannot be read"))
        };
        let (notes, touched) = (open(self.notes)?, self.touched.map(open).transpose()?);
        let (Some(mut into), Some(stat)) = (memory.notes("seen")?, pull.target()?.stat(&TreePath::root())?) else {
            return Ok(());
        };
        if root.is_none_or(|root| pull.is_as_made(root, &stat).is_ok_and(|same| same)) {
            let bare = root.is_some_and(|root| pull.is_bare(root, &stat));
            into.put(b"", mark(&stat, bare, pull.now()))?;
        }
        let listed = 1 + lay_over(notes, touched, &mut into)?;
        let path = into.finish(&Terms { listed, checks: listed.saturating_sub(self.extras), ..self.terms })?;
        memory.keep_sight(&path)
    }
}
