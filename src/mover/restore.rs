//! `restore`: brings the volume to the state of a snapshot.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::content::{self, LOST_AND_FOUND};
use super::failure::Failure;
use super::job::{SOURCE_ID, STRICT};
use super::run::Run;
use crate::clock::in_minutes;
use crate::error::{Error, Result};
use crate::path::escape;
use crate::repo::{Session, Snapshot, SnapshotName, Status};
use crate::restore::{self, NotSet, RestoreOptions, RestoreReport};
use crate::size::ByteSize;
use crate::volume::rules::{Selection, SelectionOptions};

/// Extended attributes that anybody may set on their own files: a mover never has the right to set the others.
const XATTRS: [&str; 2] = ["user.*", "system.posix_acl_*"];

impl Run<'_> {
    pub(super) fn restore(&self) -> Result<(), Failure> {
        let failed = |error| Failure::of("the restore", error);
        let repository = self.ensure(!self.job.strict)?;
        self.log.say("=== Starting restore ===");
        let session = repository.read_session().map_err(failed)?;
        let outcome = self.restore_in(&session);
        session.end(if outcome.is_ok() { "done" } else { "failed" });
        let report = outcome.map_err(failed)?;
        content::sync(&self.job.volume).map_err(failed)?;
        match report {
            None if self.job.strict => {
                Err(Failure::new(1, format!("there is no snapshot to restore, and {STRICT} is set")))
            }
            Some(_) if self.stop.requested() => Err(Failure::stopped()),
            Some(report) if report.problems > 0 => {
                Err(Failure::new(1, format!("{} entries could not be restored", report.problems)))
            }
            None | Some(_) => Ok(()),
        }
    }

    fn restore_in(&self, session: &Session<'_>) -> Result<Option<RestoreReport>> {
        let start = self.clock.elapsed();
        let Some(snapshot) = self.choose(session)? else {
            self.tell_none(session);
            return Ok(None);
        };
        let options = self.restore_options()?;
        if !self.job.restoring.options.is_empty() {
            self.log.say(&format!("RESTORE_OPTIONS: {}", self.job.restoring.options));
        }
        self.log.say(&format!("Selected snapshot with id: {}", snapshot.id.short()));
        let (of, to) = (escape(&self.paths().concat()), escape(self.job.volume.as_os_str().as_bytes()));
        self.log.say(&format!(
            "restoring snapshot {} of {} [{of}] at {} to {to}",
            snapshot.id.short(),
            escape(snapshot.host.as_bytes()),
            snapshot.time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        ));
        let report = self.watched(|watch| restore::run(session, &snapshot, &options, watch))?;
        self.note(|numbers| {
            (numbers.files, numbers.bytes) = (report.files_total, report.bytes_total);
            (numbers.changed, numbers.moved) = (report.files_restored, report.bytes_restored);
            (numbers.deleted, numbers.newest) = (report.files_deleted, Some(snapshot.time.to_utc()));
        });
        self.note_verified(session);
        self.tell_restored(&report, self.clock.elapsed().saturating_sub(start));
        Ok(Some(report))
    }

    /// The snapshot of this source that is meant. Snapshots are told apart by nanoseconds and by id, so that two of one second are two; unfinished ones
    /// do not count.
    fn choose(&self, session: &Session<'_>) -> Result<Option<Snapshot>> {
        let restoring = &self.job.restoring;
        let source = session.repo().keys().source_id(self.job.host.as_bytes(), &self.paths());
        let mine = session.snapshots().iter().filter(|name| name.source == source);
        let eligible = mine.filter(|name| restoring.as_of.is_none_or(|as_of| name.time <= as_of));
        pick(eligible, restoring.previous, |name| session.load(name))
    }

    fn restore_options(&self) -> Result<RestoreOptions> {
        let (data, restoring) = (&self.job.volume, &self.job.restoring);
        if restoring.delete && std::fs::canonicalize(data).is_ok_and(|path| path.parent().is_none()) {
            return Err(Error::invalid("--delete with / in DATA_DIR would delete this system"));
        }
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        // Left out of the backup, so not to be deleted for not being in it.
        let excludes = patterns(&[LOST_AND_FOUND]);
        let includes = patterns(&XATTRS);
        Ok(RestoreOptions {
            selection: Selection::new(&SelectionOptions { excludes, ..SelectionOptions::default() })?,
            xattrs: Selection::new(&SelectionOptions { includes, ..SelectionOptions::default() })?,
            delete: restoring.delete,
            sparse: restoring.sparse,
            verify: restoring.verify,
            ..RestoreOptions::new(data)
        })
    }

    fn tell_none(&self, session: &Session<'_>) {
        let (all, host) = (session.snapshots().len(), escape(self.job.host.as_bytes()));
        self.log.say("No eligible snapshots found");
        self.log.say("=== No data will be restored ===");
        if all > 0 {
            let path = escape(&self.paths().concat());
            self.log.say(&format!(
                "the repository holds {all} snapshots, and none of host {host} and path {path} that is asked for; {SOURCE_ID} says whose are meant"
            ));
        }
    }

    fn tell_restored(&self, report: &RestoreReport, took: Duration) {
        let RestoreReport { files_total, files_restored, files_skipped, files_deleted, .. } = *report;
        let deleted = if files_deleted > 0 { format!(", {files_deleted} deleted") } else { String::new() };
        let not_set = match attributes(&report.not_set) {
            0 => String::new(),
            count => format!(", {count} attributes not restored (unprivileged)"),
        };
        let (bytes, requests) = (ByteSize(report.bytes_restored), self.requests());
        self.log.say(&format!(
            "processed {files_total} files and directories in {}: {files_restored} restored ({bytes}), {files_skipped} unchanged{deleted}{not_set}{requests}",
            in_minutes(took)
        ));
    }
}

/// The complete snapshot with `previous` newer complete ones among `names`, which are sorted, the newest first.
fn pick<'n>(
    names: impl Iterator<Item = &'n SnapshotName>,
    mut previous: usize,
    mut load: impl FnMut(&SnapshotName) -> Result<Snapshot>,
) -> Result<Option<Snapshot>> {
    for name in names {
        let snapshot = load(name)?;
        match (snapshot.status, previous) {
            (Status::Partial, _) => {}
            (Status::Complete, 0) => return Ok(Some(snapshot)),
            (Status::Complete, _) => previous -= 1,
        }
    }
    Ok(None)
}

fn attributes(not_set: &NotSet) -> u64 {
    let NotSet { ownership, special_bits, mode, xattrs, times, nodes } = *not_set;
    ownership + special_bits + mode + xattrs + times + nodes
}
