//! Sentences and numbers for people, in restic's words where wrappers look for them.

use std::fmt::Write;
use std::time::Duration;

use chrono::{DateTime, Local, TimeZone};

use crate::backup::BackupReport;
use crate::catalog::{Entry, Node, Timestamp};
use crate::clock::in_minutes;
use crate::path::escape;
use crate::repo::{Snapshot, Status, Summary};
use crate::restore::RestoreReport;
use crate::size::ByteSize;

/// How times are shown, in the reader's time zone.
const TIME: &str = "%Y-%m-%d %H:%M:%S";

/// A time as it is shown in lists.
pub(crate) fn time<Z: TimeZone>(time: &DateTime<Z>) -> String {
    time.with_timezone(&Local).format(TIME).to_string()
}

/// A file's time as it is shown in lists; seconds since 1970 where the calendar ends.
pub(crate) fn file_time(stamp: Timestamp) -> String {
    DateTime::from_timestamp(stamp.seconds, stamp.nanos).map_or_else(|| stamp.seconds.to_string(), |utc| time(&utc))
}

/// `12.34%`, never above 100; nothing of nothing is nothing.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.2}%", 100.0 * fraction(part, whole)) }
}

/// Between 0 and 1.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

/// A name for a terminal.
pub(crate) fn name(text: &str) -> String {
    escape(text.as_bytes())
}

/// Names between brackets, as Go prints a list.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> String {
    let names: Vec<String> = names.into_iter().map(escape).collect();
    format!("[{}]", names.join(" "))
}

/// `snapshot 12ab34cd of [/data] at 2024-03-01 10:00:00 by root@host`.
pub(crate) fn snapshot(snapshot: &Snapshot) -> String {
    format!(
        "snapshot {} of {} at {} by {}@{}",
        snapshot.id.short(),
        list(snapshot.paths.iter().map(Vec::as_slice)),
        time(&snapshot.time),
        name(&snapshot.user),
        name(&snapshot.host)
    )
}

/// What the end of a backup needs to know beside the report.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether nothing was written.
    pub(crate) dry_run: bool,
    /// Whether the numbers of blobs are told.
    pub(crate) verbose: bool,
}

/// The end of a backup.
pub(crate) fn backup_report(report: &BackupReport, told: Told) -> String {
    let Summary { files_new, files_changed, files_unmodified, dirs_new, dirs_changed, dirs_unmodified, .. } =
        report.summary;
    let mut text = String::from("\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("Files:       {files_new:5} new, {files_changed:5} changed, {files_unmodified:5} unmodified"));
    line(format_args!("Dirs:        {dirs_new:5} new, {dirs_changed:5} changed, {dirs_unmodified:5} unmodified"));
    if told.verbose {
        line(format_args!("Data Blobs:  {:5} new", report.summary.data_blobs));
        line(format_args!("Tree Blobs:  {:5} new", report.summary.tree_blobs));
    }
    let verb = if told.dry_run { "Would add" } else { "Added" };
    let (added, stored) = (ByteSize(report.summary.data_added), ByteSize(report.summary.data_added_packed));
    line(format_args!("{verb} to the repository: {added:<5} ({stored:<5} stored)"));
    line(format_args!(""));
    line(format_args!(
        "processed {} files, {} in {}",
        report.summary.total_files_processed,
        ByteSize(report.summary.total_bytes_processed),
        in_minutes(told.took)
    ));
    text.push_str(&saved(report, told.dry_run));
    text
}

fn saved(report: &BackupReport, dry_run: bool) -> String {
    match (&report.snapshot, report.status) {
        (None, _) if dry_run => "dry run: nothing was written".to_owned(),
        (None, _) => "skipped creating snapshot".to_owned(),
        (Some(id), Status::Complete) => format!("snapshot {} saved", id.short()),
        (Some(id), Status::Partial) => format!("partial snapshot {} saved: the run was interrupted", id.short()),
    }
}

/// The end of a restore.
pub(crate) fn restore_report(report: &RestoreReport, took: Duration, dry_run: bool) -> String {
    let verb = if dry_run { "Would restore" } else { "Restored" };
    let (done, total) = (report.files_restored, report.files_total);
    let (bytes, bytes_total) = (ByteSize(report.bytes_restored), ByteSize(report.bytes_total));
    let took = in_minutes(took);
    let mut text = if done == total && bytes == bytes_total {
        format!("Summary: {verb} {total} files/dirs ({bytes_total}) in {took}")
    } else {
        format!("Summary: {verb} {done} / {total} files/dirs ({bytes} / {bytes_total}) in {took}")
    };
    if report.files_skipped > 0 {
        let _ = write!(text, ", skipped {} files/dirs {}", report.files_skipped, ByteSize(report.bytes_skipped));
    }
    if report.files_deleted > 0 {
        let _ = write!(text, ", deleted {} files/dirs", report.files_deleted);
    }
    text
}

/// The kind of an entry in restic's words.
pub(crate) const fn kind(node: &Node) -> &'static str {
    match node {
        Node::Directory => "dir",
        Node::File(_) => "file",
        Node::Symlink { .. } => "symlink",
        Node::Fifo => "fifo",
        Node::CharDevice { .. } => "chardev",
        Node::BlockDevice { .. } => "dev",
    }
}

/// `drwxr-xr-x`, with `s` and `t` where set-id and sticky bits are set.
pub(crate) fn permissions(entry: &Entry) -> String {
    let mode = entry.meta.mode;
    let mut text = String::with_capacity(10);
    text.push(match &entry.node {
        Node::Directory => 'd',
        Node::File(_) => '-',
        Node::Symlink { .. } => 'l',
        Node::Fifo => 'p',
        Node::CharDevice { .. } => 'c',
        Node::BlockDevice { .. } => 'b',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Mode bits where Go's `os.FileMode` has them, which restic's JSON shows.
pub(crate) fn go_mode(entry: &Entry) -> u64 {
    let kind: u64 = match &entry.node {
        Node::Directory => 1 << 31,
        Node::File(_) => 0,
        Node::Symlink { .. } => 1 << 27,
        Node::Fifo => 1 << 25,
        Node::CharDevice { .. } => (1 << 26) | (1 << 21),
        Node::BlockDevice { .. } => 1 << 26,
    };
    let mode = entry.meta.mode;
    let special = [(0o4000, 23), (0o2000, 22), (0o1000, 20)];
    let bits = special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, place)| 1u64 << place).sum::<u64>();
    kind | bits | u64::from(mode & 0o777)
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
