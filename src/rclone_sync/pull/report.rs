//! What a pull says that it did, and how it is counted on the way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::storage::RequestCounts;
use crate::volume::{MetadataOutcome, NotSet};

use super::super::Tally;
use super::fetch::BATCH_MAX;
use super::spans::SPAN_MAX;

/// What a pull did.
#[derive(Debug)]
pub struct PullReport {
    /// The generation that the target is now, or would be.
    pub generation: u64,
    /// The generation of the last pull into this target, if it is remembered.
    pub before: Option<u64>,
    /// The mirror is at an earlier generation than at the last pull, and nobody asked for that: its root was put back, or it was made anew.
    pub went_back: bool,
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
    /// Requests that the files of a dry run would take, about; their bytes are the tally's, at most.
    pub planned: u64,
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
    ranges: AtomicU64,
    packed: AtomicU64,
    packed_bytes: AtomicU64,
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

    /// A file is to be fetched.
    pub(super) fn plan(&self, size: u64, is_packed: bool) {
        if is_packed {
            self.packed.fetch_add(1, Ordering::Relaxed);
            self.packed_bytes.fetch_add(size, Ordering::Relaxed);
        } else {
            self.ranges.fetch_add(size.div_ceil(SPAN_MAX).max(1), Ordering::Relaxed);
        }
    }

    /// Requests for all of these, if those in packs lie close together.
    pub(super) fn planned(&self) -> u64 {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of_packs = read(&self.packed).div_ceil(BATCH_MAX as u64).max(read(&self.packed_bytes).div_ceil(SPAN_MAX));
        read(&self.ranges) + of_packs
    }

    pub(super) fn problem(&self) {
        self.problems.fetch_add(1, Ordering::Relaxed);
        self.tally().errors += 1;
    }

    pub(super) fn problems(&self) -> u64 {
        self.problems.load(Ordering::Relaxed)
    }
}
