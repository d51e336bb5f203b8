//! Looks after a repository: check and forget; what `repair` holds puts right what a check finds.
//!
//! A check reads everything that the rest of a repository hangs on (index, snapshots, catalogue) and says what is not as it was
//! written. It writes nothing but its own session record, and never stops at the first error: all are found and named.
//!
//! Memory: 36 bytes for each blob of the index up to `Limits::table_blobs`, 16 to 48 bytes for each catalogue page and chunk list,
//! and `Limits::read_window` for what is being read.

mod blobs;
mod forget;
mod lists;
mod options;
mod prune;
mod read_data;
pub mod repair;
mod report;
mod structure;
mod trees;

pub use forget::{ForgetGroup, ForgetOptions, ForgetPlan, ForgetReport, forget};
pub use options::{CheckOptions, ReadData};
pub use prune::{Amount, MaxUnused, PruneOptions, PrunePlan, PruneReport, prune};
pub use report::CheckReport;

use crate::error::{Error, ErrorKind, Result};
use crate::events::Watch;
use crate::repo::{Repository, Session};

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
    context.begin("load indexes")?;
    let mut blobs = structure::index(context)?;
    context.begin("check all packs")?;
    let packs = structure::packs(context, &mut blobs)?;
    if options.read_data != ReadData::None {
        context.begin("read data")?;
        let selected = options.read_data.select(packs, context.session.id());
        read_data::run(context, &mut blobs, selected)?;
    }
    context.begin("check snapshots, trees and blobs")?;
    trees::run(context, &blobs)
}

/// Whether an error says something about the repository, and not about the way to it.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported)
}
