//! The end of a backup: packs, index, and last of all the snapshot.

use chrono::{DateTime, FixedOffset};

use crate::catalog::InnerPage;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::{BlobWriter, Session, Snapshot, Status, Summary, WriterReport};

use super::assemble::Outcome;
use super::options::{BackupOptions, BackupReport, Skip};
use super::parent::Parent;

/// What was saved, and how.
pub(super) struct Saved<'a> {
    pub(super) stored: (Outcome, WriterReport),
    pub(super) options: &'a BackupOptions,
    pub(super) start: DateTime<FixedOffset>,
    pub(super) status: Status,
}

/// Publishes the snapshot of what `writer` has made durable. Order: packs, then index, then the lengths of the packs as the store
/// has them (all that by [`BlobWriter::finish`]), then the snapshot, then the look for a prune's marker. Stopped in between, a run leaves
/// blobs that the next one uses.
pub(super) fn finish(
    session: &Session<'_>,
    writer: &BlobWriter<'_>,
    parent: &Parent,
    saved: Saved<'_>,
) -> Result<BackupReport> {
    let Saved { stored: (outcome, report), options, start, status } = saved;
    let mut summary = filled(outcome.summary, &report);
    summary.errors = outcome.problems;
    summary.backup_start = start.to_rfc3339_opts(chrono::SecondsFormat::Nanos, false);
    summary.backup_end = session.repo().clock().now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, false);
    let mut root = outcome.root;
    root.fill_hints(&|id| writer.place(&id));
    let mut answer = BackupReport {
        snapshot: None,
        stored: None,
        status,
        summary: summary.clone(),
        problems: outcome.problems,
        parent: parent.id(),
    };
    if root.entries() == 0 {
        return Err(nothing_saved(session, status));
    }
    let may_skip = may_skip(options.skip, outcome.problems);
    let unchanged =
        status == Status::Complete && may_skip && parent.only_root().is_some_and(|old| same_pages(old, &root));
    if options.dry_run || unchanged {
        session.end("skipped");
        return Ok(answer);
    }
    let source = session.repo().keys().source_id(options.host.as_bytes(), &options.paths);
    let snapshot = Snapshot {
        id: session.id(),
        time: options.time.unwrap_or(start),
        host: options.host.clone(),
        user: session.repo().options().user.clone(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        paths: options.paths.clone(),
        tags: options.tags.clone(),
        excludes: options.excludes.clone(),
        parent: parent.id(),
        original: None,
        status,
        root,
        program: concat!("volvault ", env!("CARGO_PKG_VERSION")).to_owned(),
        summary,
        seq: parent.newest().map_or(0, |(_, seq)| seq + 1),
        prev: parent.newest().map(|(id, _)| id),
        sparse: outcome.sparse,
        known: session.known_of(&source),
    };
    // A run that was stopped has seconds left, and leaves tidying up to the next one.
    let may_tidy = status == Status::Complete;
    if may_tidy {
        // While the session still stands, so that no prune goes by the index of before. A failure costs the next run some requests.
        let _ = session.compact_index();
    }
    session.publish(&snapshot)?;
    answer.snapshot = Some(snapshot.id);
    answer.stored = Some(Box::new(snapshot));
    if may_tidy {
        session.sweep_ended();
    }
    Ok(answer)
}

/// Ends the session of a run that has nothing to show, and says why it has not.
fn nothing_saved(session: &Session<'_>, status: Status) -> Error {
    if status == Status::Partial {
        session.end("stopped");
        return Error::new(ErrorKind::Interrupted, "stopped before anything was saved");
    }
    session.end("empty");
    Error::invalid("there is nothing to save: the snapshot would be empty")
}

fn may_skip(skip: Skip, problems: u64) -> bool {
    match skip {
        Skip::Never => false,
        Skip::Failing => problems > 0,
        Skip::Unchanged => true,
    }
}

/// With what was stored.
fn filled(summary: Summary, report: &WriterReport) -> Summary {
    Summary {
        data_blobs: report.data_blobs,
        tree_blobs: report.tree_blobs,
        data_added: report.raw_bytes,
        data_added_packed: report.stored_bytes,
        ..summary
    }
}

/// Whether two trees are the same: their pages are.
fn same_pages(left: &InnerPage, right: &InnerPage) -> bool {
    left.level == right.level
        && left.children.iter().map(|child| child.id).eq(right.children.iter().map(|child| child.id))
}
