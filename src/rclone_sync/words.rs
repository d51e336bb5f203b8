//! What is said of a run, in rclone's words: wrappers and `VolSync` cut these lines by their beginnings.

use std::fmt::Write;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::events::Action;

use super::tally::Tally;

/// What the block says of errors, in brackets; of several the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorNote {
    /// The next run will find the same.
    NoRetry,
    /// The next run may do better.
    Retry,
    /// The run was ended by one.
    Fatal,
}

/// What a run did to a mirror or to a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is at this generation, as before.
    Unchanged(u64),
    /// It went from one generation, if it had one, to another.
    Changed(Option<u64>, u64),
    /// It would go to this generation.
    Planned(u64),
}

impl ErrorNote {
    /// What is said of an error of this kind.
    pub const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Refused | ErrorKind::Invalid => Self::Fatal,
            ErrorKind::Unavailable | ErrorKind::Changed | ErrorKind::Local | ErrorKind::Interrupted => Self::Retry,
            ErrorKind::NoRepository
            | ErrorKind::WrongKey
            | ErrorKind::Denied
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Corrupt
            | ErrorKind::Unsupported
            | ErrorKind::RolledBack
            | ErrorKind::Bug => Self::NoRetry,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Fatal => "fatal error encountered",
            Self::Retry => "retrying may help",
            Self::NoRetry => "no need to retry",
        }
    }
}

/// rclone's block of statistics as of version 1.75, without the empty lines around it: a line only where there is something
/// to say, except for the first and the last.
pub fn stats(tally: &Tally, elapsed: Duration, note: ErrorNote) -> String {
    // As with rclone, what is done was to be done; a plan may know only part of it.
    let tally = &Tally {
        bytes_total: tally.bytes_total.max(tally.bytes),
        checks_total: tally.checks_total.max(tally.checks),
        transfers_total: tally.transfers_total.max(tally.transfers),
        ..*tally
    };
    let speed = speed(tally.bytes, elapsed);
    let mut text = format!(
        "Transferred:   \t{:>13} / {}, {}, {}/s, ETA {}\n",
        size(tally.bytes),
        size(tally.bytes_total),
        percent(tally.bytes, tally.bytes_total),
        size(speed),
        eta(tally.bytes, tally.bytes_total, speed)
    );
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    if tally.errors > 0 {
        line(format_args!("Errors:        {:>10} ({})", tally.errors, note.words()));
    }
    if tally.checks > 0 || tally.checks_total > 0 || tally.listed > 0 {
        let (done, total) = (tally.checks, tally.checks_total);
        line(format_args!("Checks:        {done:>10} / {total}, {}, Listed {}", percent(done, total), tally.listed));
    }
    if tally.deleted_files > 0 || tally.deleted_dirs > 0 {
        line(format_args!(
            "Deleted:       {:>10} (files), {} (dirs), {} (freed)",
            tally.deleted_files,
            tally.deleted_dirs,
            size(tally.deleted_bytes)
        ));
    }
    if tally.renamed > 0 {
        line(format_args!("Renamed:       {:>10}", tally.renamed));
    }
    if tally.transfers > 0 || tally.transfers_total > 0 {
        let (done, total) = (tally.transfers, tally.transfers_total);
        line(format_args!("Transferred:   {done:>10} / {total}, {}", percent(done, total)));
    }
    if tally.server_side_copies > 0 {
        line(format_args!(
            "Server Side Copies:{:>6} @ {}",
            tally.server_side_copies,
            size(tally.server_side_copy_bytes)
        ));
    }
    line(format_args!("Elapsed time:  {:>10}s", seconds(elapsed)));
    text
}

/// Bytes a second, as rclone has it: nothing before the first second is over.
pub fn speed(bytes: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    if millis < 1000 { 0 } else { bytes.saturating_mul(1000) / millis }
}

/// `0 B`, `4 KiB`, `683.597 KiB`.
#[expect(clippy::cast_precision_loss, reason = "three decimals are shown")]
pub fn size(bytes: u64) -> String {
    let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes >> shift > 0) {
        None => format!("{bytes} B"),
        Some((shift, unit)) if bytes.trailing_zeros() >= *shift => format!("{} {unit}", bytes >> shift),
        Some((shift, unit)) => format!("{:.3} {unit}", bytes as f64 / (1u64 << shift) as f64),
    }
}

/// A whole number of hundredths, `-` of nothing.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let (part, whole) = (u128::from(part), u128::from(whole));
    format!("{}%", (200 * part + whole) / (2 * whole))
}

fn eta(done: u64, total: u64, speed: u64) -> String {
    match total.checked_sub(done).filter(|_| total > 0 && speed > 0) {
        None => "-".to_owned(),
        Some(left) => match left / speed {
            0 => "0s".to_owned(),
            seconds => units(seconds, 3),
        },
    }
}

/// `5.0`, `1m5.2`, `1h5.2`: minutes and more in units, then seconds with a decimal.
fn seconds(elapsed: Duration) -> String {
    let tenths = elapsed.as_millis() / 100;
    let whole = u64::try_from(tenths / 600).unwrap_or(u64::MAX).saturating_mul(60);
    format!("{}{}.{}", units(whole, usize::MAX), tenths % 600 / 10, tenths % 10)
}

/// The `most` greatest units of a time that are not zero; empty for no time.
fn units(seconds: u64, most: usize) -> String {
    const DAY: u64 = 86_400;
    let days = seconds / DAY;
    let parts = [
        (days / 365, "y"),
        (days % 365 / 7, "w"),
        (days % 365 % 7, "d"),
        (seconds % DAY / 3600, "h"),
        (seconds % 3600 / 60, "m"),
        (seconds % 60, "s"),
    ];
    let mut text = String::new();
    for (amount, unit) in parts.iter().filter(|(amount, _)| *amount > 0).take(most) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{amount}{unit}");
    }
    text
}

/// The last line of a run, one for each mirror: `s3:data: generation 41 -> 42, 105 requests, exit status 0`.
pub fn told(name: &str, told: Told, requests: u64, code: u8) -> String {
    let what = match told {
        Told::Unchanged(generation) => format!("unchanged, generation {generation}"),
        Told::Changed(Some(before), now) if before != now => format!("generation {before} -> {now}"),
        Told::Changed(_, now) => format!("generation {now}"),
        Told::Planned(now) => format!("generation {now}, nothing was written"),
    };
    let plural = if requests == 1 { "" } else { "s" };
    format!("{name}: {what}, {requests} request{plural}, exit status {code}")
}

/// What became of a file, as rclone logs it.
pub fn happened(action: Action, size: u64, dry_run: bool) -> String {
    let (done, left) = match action {
        Action::New | Action::Restored => ("Copied (new)", "copy"),
        Action::Modified | Action::Updated => ("Copied (replaced existing)", "copy"),
        Action::Deleted => ("Deleted", "delete"),
        Action::Unchanged => return "Unchanged skipping".to_owned(),
        Action::Skipped => return "Skipped".to_owned(),
    };
    if dry_run { format!("Skipped {left} as --dry-run is set (size {})", go_size(size)) } else { done.to_owned() }
}

/// A size as rclone logs it: `0`, `4Ki`, `683.597Ki`.
fn go_size(bytes: u64) -> String {
    size(bytes).trim_end_matches('B').replace(' ', "")
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
