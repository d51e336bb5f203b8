//! What a check found.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::error::Error;
use crate::events::{Event, Progress, Watch};
use crate::id::ObjectHash;

use super::budget::Coverage;
use super::checksums::StoreChecksums;

/// Sentences that a report keeps; the rest is counted.
const ERRORS_KEPT: usize = 10_000;

/// The verdict. As JSON it has restic's members and some more; errors and notes were told to the observer one by one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    /// How many errors there are; none: everything that was looked at is as it was written.
    pub num_errors: u64,
    /// Names of packs that are missing or damaged.
    pub broken_packs: Vec<String>,
    /// The index is damaged or says what is not so.
    pub suggest_repair_index: bool,
    /// There are packs that nothing refers to.
    pub suggest_prune: bool,
    /// What to do about broken packs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggest_repair: Option<String>,
    /// Snapshots that were read.
    pub snapshots: u64,
    /// Config, key slots, sessions and other records that were opened.
    pub records: u64,
    /// Index segments that were read.
    pub index_segments: u64,
    /// Packs that the index names.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Entries of the index.
    pub blobs: u64,
    /// Catalogue pages and chunk lists that were read; those that snapshots share were read once.
    pub pages: u64,
    /// Packs that no index segment names: left by an interrupted run, or of a run that is under way.
    pub unreferenced_packs: u64,
    /// Their bytes.
    pub unreferenced_bytes: u64,
    /// Those of them that no prune has dropped.
    #[serde(skip)]
    pub unnamed_packs: u64,
    /// Packs that were read as a whole.
    pub packs_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// How far checks with a budget have come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// How the checksums that the store lists compare with those in the index; none where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksums: Option<StoreChecksums>,
    /// Files of snapshots that cannot be had as a whole; one that several snapshots share is counted with the page it stands in.
    pub affected_files: u64,
    /// The first 10,000 errors, one sentence each; of files the first hundred.
    #[serde(skip)]
    pub errors: Vec<String>,
    /// What is worth a line but no error.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Files that are told one by one.
const FILES_TOLD: u64 = 100;

/// Takes what the threads of a check find.
pub(super) struct Findings<'c> {
    watch: &'c Watch<'c>,
    report: Mutex<CheckReport>,
}

impl<'c> Findings<'c> {
    pub(super) fn new(watch: &'c Watch<'c>) -> Self {
        Self { watch, report: Mutex::default() }
    }

    /// An error about `item`: a key, or the name of something in a snapshot.
    pub(super) fn error(&self, item: &str, error: &Error) {
        self.watch.problem("check", item, error);
        let chain = error.chain();
        let sentence = if chain.contains(item) { chain } else { format!("{item}: {chain}") };
        self.update(|report| {
            report.num_errors += 1;
            if report.errors.len() < ERRORS_KEPT {
                report.errors.push(sentence);
            }
        });
    }

    /// An error about a file of a snapshot. A lost pack can be that of very many: some are told, and the rest is counted.
    pub(super) fn file_error(&self, item: &str, error: &Error) {
        let mut number = 0;
        self.update(|report| {
            report.affected_files += 1;
            number = report.affected_files;
        });
        if number <= FILES_TOLD {
            return self.error(item, error);
        }
        Progress::add(&self.watch.progress.errors, 1);
        self.update(|report| report.num_errors += 1);
    }

    /// An error about a pack that makes it broken.
    pub(super) fn broken_pack(&self, name: &ObjectHash, error: &Error) {
        self.error(&name.to_hex(), error);
        self.update(|report| {
            let name = name.to_hex();
            if !report.broken_packs.contains(&name) {
                report.broken_packs.push(name);
            }
        });
    }

    /// Something that is no error.
    pub(super) fn note(&self, text: String) {
        self.watch.observer.on(&Event::Note { text: &text });
        self.update(|report| {
            if report.notes.len() < ERRORS_KEPT {
                report.notes.push(text);
            }
        });
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut CheckReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn into_report(self) -> CheckReport {
        let mut untold = 0;
        self.update(|report| untold = report.affected_files.saturating_sub(FILES_TOLD));
        if untold > 0 {
            self.note(format!("{untold} more files of snapshots are affected, and not named here"));
        }
        let mut report = self.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        if report.num_errors > 0 && report.unreferenced_packs > 0 {
            // What is missing may lie in just these packs.
            report.suggest_prune = false;
            report.suggest_repair_index = true;
        }
        if !report.broken_packs.is_empty() {
            report.broken_packs.sort_unstable();
            report.suggest_repair = Some(
                "bring the broken packs back from another copy of the repository with `volvault repair --from`, or save what is whole in \
                 them with `volvault repair packs`; docs/repair.md has the steps"
                    .to_owned(),
            );
        }
        report
    }
}
