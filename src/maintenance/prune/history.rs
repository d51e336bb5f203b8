//! Whether what is gone was removed on purpose. What was not says that the listing is not to be trusted, or that somebody else deletes here.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectHash, SessionId};
use crate::maintenance::vanished::vanished;
use crate::repo::{Forgotten, SeenByPrunes, Session};

use super::options::PruneOptions;
use super::survey::{Before, Survey};

/// What is known of earlier times.
pub(super) struct History<'h> {
    pub(super) session: &'h Session<'h>,
    pub(super) before: &'h Before,
    pub(super) forgotten: &'h Forgotten,
    pub(super) seen: SeenByPrunes,
}

impl History<'_> {
    /// # Errors
    /// `Refused` when a snapshot is gone that the last prune saw and that nobody forgot.
    pub(super) fn shows_all_that_was_seen(&self, options: &PruneOptions) -> Result<()> {
        self.shows(self.seen.snapshots.iter().copied(), "that the last prune saw", options)
    }

    /// The same of snapshots that were made since: each names the one of its source that was there when it was made. What came before those that the
    /// last prune saw was judged by that one.
    pub(super) fn shows_all_that_came_before(
        &self,
        chain: &[(SessionId, SessionId)],
        options: &PruneOptions,
    ) -> Result<()> {
        let new = chain.iter().filter(|(id, _)| !self.seen.snapshots.contains(id));
        self.shows(new.map(|(_, prev)| *prev), "that later ones name", options)
    }

    fn shows(&self, ids: impl Iterator<Item = SessionId>, known: &str, options: &PruneOptions) -> Result<()> {
        let vanished = vanished(self.session, &self.before.snapshots, &self.forgotten.ids, ids);
        let Some(first) = vanished.first().filter(|_| !options.force) else { return Ok(()) };
        Err(Error::new(
            ErrorKind::Refused,
            format!(
                "{} snapshots are missing {known} and that nobody forgot, {} among them; nothing was removed",
                vanished.len(),
                first.short()
            ),
        )
        .with_hint("if they were removed by hand, run it with --force; else the store does not list all there is: do not prune it"))
    }

    /// Whether forgotten snapshots may have needed what is to be removed: nothing that was stored after them, unless a prune has copied it.
    ///
    /// # Errors
    /// `Refused` when more than half of the packs would go without such a reason. What an earlier prune condemned was judged by that one.
    pub(super) fn explains(&self, survey: &Survey, condemned: &HashSet<ObjectHash>) -> Result<()> {
        let repacked: HashSet<ObjectHash> = survey
            .repack
            .iter()
            .filter_map(|number| survey.usage.packs().get(*number as usize))
            .map(|info| info.pack.name)
            .collect();
        let is_forgotten_since = self.forgotten.ids.len() as u64 > self.seen.forgotten;
        let last_prune = self.session.listing().last_prune;
        let may_be_of = |stored: DateTime<Utc>| {
            self.forgotten.stored.is_none_or(|newest| Some(stored) <= last_prune.max(Some(newest)))
        };
        let is_explained = |name: &ObjectHash| {
            let stored = self.before.pack(name).map(|pack| pack.modified);
            is_forgotten_since && stored.is_none_or(may_be_of)
        };
        let packs = survey.usage.packs().len() + survey.orphans.len();
        let removed = survey.victims.keys().filter(|name| !repacked.contains(*name) && !condemned.contains(*name));
        let removed = removed.filter(|name| !is_explained(name)).count();
        if removed * 2 <= packs {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Refused, format!("{removed} of {packs} packs would be removed, and no snapshot that was forgotten since the last prune can have needed them"))
            .with_hint("if that is right (a backup was killed, or its snapshots were removed by hand), run it with --force; else check the store"))
    }
}
