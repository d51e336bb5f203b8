//! Moves a tree into a snapshot.
//!
//! One streaming pass: walk, match with the parent snapshot, read what changed, bundle or chunk it, store it, write catalogue pages, and
//! last of all the snapshot. Never deletes anything, and never fails as a whole because of one file. Data flow and threads:
//! `docs/architecture.md`.

mod assemble;
mod bundle;
mod finish;
mod matching;
mod options;
mod parent;
mod pipeline;
mod read;
mod seal;
mod steps;
mod stream;

pub use options::{BackupOptions, BackupReport, ParentChoice, Skip};
pub use stream::{Stream, run_stream};

use chrono::{DateTime, FixedOffset};

use crate::error::{ErrorKind, Result};
use crate::events::Watch;
use crate::repo::{BlobWriter, Repository, Session, Status};

use assemble::Pass;
use parent::{KnownPages, Parent};

/// Saves `options.sources`. Files that cannot be read are reported to `watch` and counted; the rest is saved. When a stop is requested,
/// what was finished is saved as a partial snapshot; what the store has not taken `Limits::send_after_stop` later is left out of it.
///
/// # Errors
/// Errors of the store, `Invalid` when there is nothing at all to save, `Interrupted` when it was stopped before the store had any of it.
pub fn run(repo: &Repository, options: &BackupOptions, watch: &Watch<'_>) -> Result<BackupReport> {
    let start = repo.clock().now();
    options.check_room()?;
    let session = if options.dry_run { repo.observe()? } else { repo.write_session()? };
    run_from(&session, options, start, watch)
}

/// The same in a session that writes and was started for it; what the session saw is of use to whoever goes on with the repository.
pub fn run_in(session: &Session<'_>, options: &BackupOptions, watch: &Watch<'_>) -> Result<BackupReport> {
    let start = session.repo().clock().now();
    let room = options.check_room();
    if room.is_err() {
        session.end("failed");
    }
    room?;
    run_from(session, options, start, watch)
}

fn run_from(
    session: &Session<'_>,
    options: &BackupOptions,
    start: DateTime<FixedOffset>,
    watch: &Watch<'_>,
) -> Result<BackupReport> {
    let report = save(session, options, start, watch);
    if report.is_err() {
        session.end("failed");
    }
    report
}

fn save(
    session: &Session<'_>,
    options: &BackupOptions,
    start: DateTime<FixedOffset>,
    watch: &Watch<'_>,
) -> Result<BackupReport> {
    let parent = Parent::choose(session, options)?;
    let writer = BlobWriter::new(session, options.dry_run).obeying(watch.stop);
    let known = KnownPages::default();
    let context = pipeline::Context { session, writer: &writer, options, watch, known: &known };
    let Pass { outcome, steps, problems } = pipeline::run(&context, &parent);
    let mut status = if watch.stop.requested() { Status::Partial } else { Status::Complete };
    let stored = match outcome.and_then(|outcome| Ok((outcome, writer.finish()?))) {
        Err(error) if error.kind() == ErrorKind::Interrupted && writer.gave_up() => {
            status = Status::Partial;
            steps.keep_what_is_stored(&context, problems)?
        }
        stored => stored?,
    };
    finish::finish(session, &writer, &parent, finish::Saved { stored, options, start, status })
}
