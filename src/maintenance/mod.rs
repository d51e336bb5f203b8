//! Looks after a repository: check, forget and prune; what `repair` holds puts right what a check finds.
//!
//! A check reads everything that the rest of a repository hangs on (index, snapshots, catalogue) and says what is not as it was
//! written. Of packs it looks at names, sizes and checksums in the listing, and reads those that were written again, and those that it is asked to. It writes nothing but its own session record, and never stops at the first error: all are found and named.
//!
//! Memory: 36 bytes for each blob of the index up to `Limits::table_blobs`, 16 to 48 bytes for each catalogue page and chunk list,
//! and `Limits::read_window` for what is being read.

mod blobs;
mod budget;
mod checksums;
mod copy;
mod forget;
mod lists;
mod options;
mod prune;
mod read_data;
pub mod repair;
mod report;
mod stats;
mod structure;
mod tag;
mod there;
mod trees;
mod vanished;

pub use budget::Coverage;
pub use checksums::StoreChecksums;
pub use copy::{CopyReport, copy};
pub use forget::{ForgetGroup, ForgetOptions, ForgetPlan, ForgetReport, forget, removed_of_source};
pub use options::{CheckOptions, ReadData};
pub use prune::{Amount, MaxUnused, PruneOptions, PrunePlan, PruneReport, prune, prune_without};
pub use report::CheckReport;
pub use stats::{Stats, StatsMode, stats, stats_of_each};
pub use tag::{TagChange, TagReport, tag};

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::events::Watch;
use crate::repo::{PackInfo, Repository, Session};

use blobs::Blobs;
use report::Findings;

/// What all steps of a check share.
struct Context<'c> {
    session: &'c Session<'c>,
    watch: &'c Watch<'c>,
    findings: Findings<'c>,
}

impl Context<'_> {
    /// Begins a step that a display can name.
    ///
    /// # Errors
    /// `Interrupted` when the run was asked to stop.
    fn begin(&self, step: &str) -> Result<()> {
        let mut current = self.watch.progress.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *current = Some(step.to_owned());
        drop(current);
        self.go_on()
    }

    fn go_on(&self) -> Result<()> {
        if self.watch.stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "the check was interrupted"));
        }
        Ok(())
    }
}

/// Checks the repository. What is wrong stands in the report and goes to `watch` at once; `watch.progress` counts packs and pages as
/// files.
///
/// # Errors
/// When the store cannot be read, so that there is no verdict, or `Interrupted`.
pub fn check(repo: &Repository, options: &CheckOptions, watch: &Watch<'_>) -> Result<CheckReport> {
    let session = repo.read_session()?;
    let context = Context { session: &session, watch, findings: Findings::new(watch) };
    let outcome = run(&context, options);
    session.end(if outcome.is_ok() { "done" } else { "failed" });
    outcome?;
    Ok(context.findings.into_report())
}

/// The order makes errors say most: what is lost is known before the files are looked at that need it.
fn run(context: &Context<'_>, options: &CheckOptions) -> Result<()> {
    context.begin("check config, keys and sessions")?;
    structure::records(context)?;
    structure::vanished(context)?;
    context.begin("load indexes")?;
    let mut blobs = structure::index(context)?;
    context.begin("check all packs")?;
    let packs = structure::packs(context, &mut blobs)?;
    if options.read_data != ReadData::None {
        context.begin("read data")?;
        match options.read_data {
            ReadData::Budget(period) => read_due(context, &mut blobs, packs, period)?,
            choice => read_data::run(context, &mut blobs, choice.select(packs, context.session.id()))?,
        }
    }
    checksums::read_rewritten(context, &mut blobs)?;
    context.begin("check snapshots, trees and blobs")?;
    trees::run(context, &blobs)
}

/// Reads the part of the data whose turn it is, and notes that. A part with a broken pack is not noted: its turn comes again.
fn read_due(context: &Context<'_>, blobs: &mut Blobs, mut packs: Vec<PackInfo>, period: Duration) -> Result<()> {
    let now = context.session.repo().clock().now().timestamp();
    let before = context.session.verified()?;
    let mut due = budget::due(&before, period, now);
    let read = due.len() as u64;
    packs.retain(|info| due.contains(&budget::slice_of(info)));
    read_data::run(context, blobs, packs)?;
    for info in blobs.packs().iter().filter(|info| blobs.is_broken(&info.pack.name)) {
        due.remove(&budget::slice_of(info));
    }
    let after = budget::noted(&before, &due, now);
    match context.session.note_verified(&after) {
        Ok(()) => {}
        // Whoever may only read has checked all the same.
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Local) => {
            context.findings.note(format!("the next check will read the same again: {}", error.chain()));
        }
        Err(error) => return Err(error),
    }
    context.findings.update(|report| report.coverage = Some(budget::coverage(&after, read, period, now)));
    Ok(())
}

/// Whether an error says something about the repository, and not about the way to it.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported)
}
