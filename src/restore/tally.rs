//! Counts of a restore.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::events::{Action, Progress, Watch};
use crate::volume::{MetadataOutcome, NotSet};

/// What a restore did. Files are entries of any kind, directories too, as restic counts them; bytes are content, holes
/// left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Entries written, or to be written in a dry run.
    pub files_restored: u64,
    /// Entries left as they were: they were as recorded, or `Overwrite` says so.
    pub files_skipped: u64,
    /// Entries removed because the snapshot does not hold them.
    pub files_deleted: u64,
    /// Entries selected.
    pub files_total: u64,
    /// Their content.
    pub bytes_total: u64,
    /// Content written.
    pub bytes_restored: u64,
    /// Content that was there already, also within files that were updated.
    pub bytes_skipped: u64,
    /// Entries compared with the snapshot after all was done.
    pub files_verified: u64,
    /// Entries that failed, each reported to the observer.
    pub problems: u64,
    /// What lack of privilege, or a file system without such things, prevented.
    pub not_set: NotSet,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    files_restored: AtomicU64,
    files_skipped: AtomicU64,
    files_deleted: AtomicU64,
    files_verified: AtomicU64,
    bytes_restored: AtomicU64,
    bytes_skipped: AtomicU64,
    problems: AtomicU64,
    not_set: Mutex<NotSet>,
}

impl Tally {
    pub(super) fn file(&self, action: Action) {
        let counter = match action {
            Action::Restored | Action::Updated | Action::New | Action::Modified => &self.files_restored,
            Action::Unchanged | Action::Skipped => &self.files_skipped,
            Action::Deleted => &self.files_deleted,
        };
        Progress::add(counter, 1);
    }

    pub(super) fn bytes_restored(&self, count: u64) {
        Progress::add(&self.bytes_restored, count);
    }

    pub(super) fn bytes_skipped(&self, count: u64) {
        Progress::add(&self.bytes_skipped, count);
    }

    pub(super) fn verified(&self) {
        Progress::add(&self.files_verified, 1);
    }

    pub(super) fn problem(&self) {
        Progress::add(&self.problems, 1);
    }

    pub(super) fn problems(&self) -> u64 {
        self.problems.load(Ordering::Relaxed)
    }

    pub(super) fn metadata(&self, outcome: &MetadataOutcome) {
        if outcome.is_complete() {
            return;
        }
        self.not_set.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
    }

    pub(super) fn node_not_made(&self) {
        self.not_set.lock().unwrap_or_else(PoisonError::into_inner).nodes += 1;
    }

    pub(super) fn not_set(&self) -> NotSet {
        *self.not_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self, watch: &Watch<'_>) -> RestoreReport {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RestoreReport {
            files_restored: load(&self.files_restored),
            files_skipped: load(&self.files_skipped),
            files_deleted: load(&self.files_deleted),
            files_total: load(&watch.progress.files_total),
            bytes_total: load(&watch.progress.bytes_total),
            bytes_restored: load(&self.bytes_restored),
            bytes_skipped: load(&self.bytes_skipped),
            files_verified: load(&self.files_verified),
            problems: load(&self.problems),
            not_set: self.not_set(),
        }
    }
}
