//! Whether what is gone was removed on purpose. What was not says that the listing is not to be trusted, or that somebody else deletes here.

use chrono::{DateTime, Utc};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectHash, SessionId};
use crate::maintenance::vanished::vanished;
use crate::repo::{Forgotten, Other, SeenByPrunes, Session, SessionKind};

use super::options::PruneOptions;
use super::survey::Before;

/// Heartbeats that a run at work may miss and still be seen as one: the store may be slow to take one.
const SILENT_BEATS: u32 = 2;

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

    /// Whether forgotten snapshots may have needed what is to be removed: nothing that was stored after them, unless a prune has copied it; and nothing of
    /// which nobody knows when it was stored.
    ///
    /// # Errors
    /// `Refused` when more than half `of` the packs would go without such a reason.
    pub(super) fn explains(&self, going: &[ObjectHash], of: usize) -> Result<()> {
        let is_forgotten_since = self.forgotten.ids.len() as u64 > self.seen.forgotten;
        let last_prune = self.session.listing().last_prune;
        let may_be_of = |stored: DateTime<Utc>| {
            self.forgotten.stored.is_none_or(|newest| Some(stored) <= last_prune.max(Some(newest)))
        };
        let is_explained = |name: &&ObjectHash| is_forgotten_since && self.stored(name).is_some_and(may_be_of);
        let removed = going.len() - going.iter().filter(is_explained).count();
        if removed * 2 <= of {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Refused, format!("{removed} of {of} packs would be removed, and no snapshot that was forgotten since the last prune can have needed them"))
            .with_hint("if that is right (a backup was killed, its snapshots were removed by hand, or the repository was copied without its times), run it with --force; if a large backup has just begun, run it again later; else check the store"))
    }

    /// When a pack was stored, by the store's clock. `None` when the listing did not show it.
    pub(super) fn stored(&self, name: &ObjectHash) -> Option<DateTime<Utc>> {
        self.before.pack(name).map(|pack| pack.modified)
    }

    /// When the first began of those that write and are certainly at work, by the store's clock: what they have stored is not older.
    pub(super) fn written_since(&self, others: &[Other], options: &PruneOptions) -> Option<DateTime<Utc>> {
        let listing = self.session.listing();
        let silent_max = self.session.repo().limits().heartbeat * SILENT_BEATS;
        let is_given_up = |other: &Other| super::is_over(other, options) || listing.suspect.contains(&other.id);
        // A run whose snapshot is not listed, though it has ended, has left its records, too, and is just what is guarded against. It soon falls silent.
        let sessions = others.iter().filter_map(|other| {
            let session = listing.sessions.get(&other.id)?;
            let beats = session.keys.len() > 1 && other.silent.to_std().is_ok_and(|silent| silent <= silent_max);
            (beats && other.kind == Some(SessionKind::Write) && !is_given_up(other)).then_some(session)
        });
        sessions.filter_map(|session| session.began).min()
    }
}
