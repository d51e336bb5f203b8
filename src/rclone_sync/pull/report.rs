//! What a pull says that it did, and how it is counted on the way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::storage::RequestCounts;
use crate::volume::{MetadataOutcome, NotSet};

use super::super::Tally;

/// What a pull did.
#[derive(Debug)]
pub struct PullReport {
    /// The generation that the target is now, or would be.
    pub generation: u64,
    /// The generation of the last pull into this target, if it is remembered.
    pub before: Option<u64>,
    /// How it ended.
    pub outcome: Pulled,
    /// An earlier pull had been interrupted while it changed the target, and was finished first.
    pub finished_first: bool,
    /// What the system refused to set.
    pub not_set: NotSet,
    /// Entries that failed; each was told to the observer. Nothing was removed then.
    pub problems: u64,
    /// Counts.
    pub tally: Tally,
    /// Requests sent by this run.
    pub requests: RequestCounts,
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// The target was as the mirror is.
    Unchanged,
    /// It was changed.
    Applied,
    /// A dry run: it would be changed.
    Planned,
}

/// Counts of a pull under way; shared by its threads.
#[derive(Debug, Default)]
pub(super) struct Counts {
    tally: Mutex<Tally>,
    not_set: Mutex<NotSet>,
    problems: AtomicU64,
}

impl Counts {
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn not_set(&self) -> MutexGuard<'_, NotSet> {
        self.not_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn metadata(&self, outcome: &MetadataOutcome) {
        if !outcome.is_complete() {
            self.not_set().add(outcome);
        }
    }

    pub(super) fn problem(&self) {
        self.problems.fetch_add(1, Ordering::Relaxed);
        self.tally().errors += 1;
    }

    pub(super) fn problems(&self) -> u64 {
        self.problems.load(Ordering::Relaxed)
    }
}
