//! Shows how a run goes on: a bar on a terminal, a plain line every ten seconds elsewhere, status lines with `--json`.
//!
//! A ticker thread polls the run's counters; single events go straight to the console. Nothing here may slow a run down or
//! outlive it.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::json::mirror::MirrorStatus;
use super::output::json::{BackupItem, BackupStatus, ItemError, Message, PlainError, RestoreItem, RestoreStatus};
use super::output::{Console, Overlay, json, mirror, text};
use crate::clock::{Clock, in_minutes};
use crate::events::{Action, Event, Observer, Progress, Stop, Watch};
use crate::path::escape;
use crate::rclone_sync::Tally;
use crate::size::ByteSize;

mod pace;

use pace::{Counts, Pace};

/// What kind of run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A backup.
    Backup,
    /// A restore.
    Restore,
    /// A check.
    Check,
    /// A prune.
    Prune,
    /// A push or a pull of a mirror.
    Mirror {
        /// Whether nothing is written.
        dry_run: bool,
        /// How often the statistics are printed where there is no bar; `None` for never.
        every: Option<Duration>,
    },
}

/// How a run is shown, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    Nothing,
    Bar(Duration),
    Lines(Duration),
    Json(Duration),
}

/// Ten times a second is as often as eyes and parsers care for.
const OFTEN: Duration = Duration::from_millis(100);
/// A line every ten seconds shows in a log that a run is alive and does not fill it.
const SELDOM: Duration = Duration::from_secs(10);

/// Runs `work` while its progress is shown.
pub(crate) fn watched<R>(
    console: &Console,
    clock: &dyn Clock,
    run: (Kind, &Stop),
    work: impl FnOnce(&Watch<'_>) -> R,
) -> R {
    let (kind, stop) = run;
    let progress = Progress::default();
    let style = style(console, kind, std::io::stderr().is_terminal());
    let listener = Listener { console, kind };
    let watch = Watch { observer: &listener, progress: &progress, stop };
    if style == Style::Nothing {
        return work(&watch);
    }
    let done = Done::default();
    let ticker = Ticker { console, clock, kind, style, progress: &progress };
    std::thread::scope(|scope| {
        scope.spawn(|| ticker.run(&done));
        // Dropped also when `work` panics: the scope would wait for the ticker for ever.
        let _finished = Finished(&done);
        work(&watch)
    })
}

/// restic's rules: a rate that was asked for counts everywhere, else `--quiet` shows nothing.
fn style(console: &Console, kind: Kind, terminal: bool) -> Style {
    let settings = console.settings();
    let asked = settings.updates_per_second.map(|rate| Duration::from_secs_f64(1.0 / rate.clamp(1e-6, 60.0)));
    match asked {
        None if settings.quiet => Style::Nothing,
        // check and prune have no status lines.
        _ if settings.json && matches!(kind, Kind::Check | Kind::Prune) => Style::Nothing,
        _ if settings.json => Style::Json(asked.unwrap_or(OFTEN)),
        _ if terminal => Style::Bar(asked.unwrap_or(OFTEN)),
        _ if let Kind::Mirror { every, .. } = kind => every.map_or(Style::Nothing, Style::Lines),
        _ => Style::Lines(asked.unwrap_or(SELDOM)),
    }
}

#[derive(Default)]
struct Done {
    done: Mutex<bool>,
    changed: Condvar,
}

struct Finished<'a>(&'a Done);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        *self.0.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

impl Done {
    /// Waits for the end, but no longer than `interval`; whether it has come.
    fn within(&self, interval: Duration) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, _) =
            self.changed.wait_timeout_while(done, interval, |done| !*done).unwrap_or_else(PoisonError::into_inner);
        *done
    }
}

struct Ticker<'a> {
    console: &'a Console,
    clock: &'a dyn Clock,
    kind: Kind,
    style: Style,
    progress: &'a Progress,
}

impl Ticker<'_> {
    fn run(&self, done: &Done) {
        let start = self.clock.elapsed();
        let mut pace = Pace::default();
        let (interval, bar) = match self.style {
            Style::Nothing => return,
            Style::Bar(interval) => (interval, Some(self.bar())),
            Style::Lines(interval) | Style::Json(interval) => (interval, None),
        };
        while !done.within(interval) {
            let elapsed = self.clock.elapsed().saturating_sub(start);
            let counts = Counts::read(self.progress);
            pace.note(elapsed, counts.bytes_done);
            match &bar {
                Some(bar) => show(bar, &sentence(self.kind, &counts, elapsed, &pace), &counts),
                None if matches!(self.style, Style::Json(_)) => self.status(&counts, elapsed, &pace),
                None if matches!(self.kind, Kind::Mirror { .. }) => self.console.warn(&block(&counts, elapsed)),
                None => self.console.warn(&sentence(self.kind, &counts, elapsed, &pace)),
            }
        }
        if let Some(bar) = bar {
            self.console.set_overlay(None);
            bar.finish_and_clear();
        }
    }

    fn bar(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        self.console.set_overlay(Some(Box::new(Bar(bar.clone()))));
        bar
    }

    fn status(&self, counts: &Counts, elapsed: Duration, pace: &Pace) {
        let percent_done = text::fraction(counts.bytes_done, counts.bytes_total);
        match self.kind {
            Kind::Backup => self.console.json(&BackupStatus {
                message_type: "status",
                seconds_elapsed: elapsed.as_secs(),
                seconds_remaining: pace.remaining(counts).map_or(0, |remaining| remaining.as_secs()),
                percent_done,
                total_files: counts.files_total,
                files_done: counts.files_done,
                total_bytes: counts.bytes_total,
                bytes_done: counts.bytes_done,
                error_count: counts.errors,
                current_files: counts.current.iter().cloned().collect(),
            }),
            Kind::Restore => self.console.json(&RestoreStatus {
                message_type: "status",
                seconds_elapsed: elapsed.as_secs(),
                percent_done,
                total_files: counts.files_total,
                files_restored: counts.files_done,
                total_bytes: counts.bytes_total,
                bytes_restored: counts.bytes_done,
            }),
            Kind::Mirror { .. } => self.console.json(&MirrorStatus {
                message_type: "status",
                seconds_elapsed: elapsed.as_secs(),
                percent_done,
                total_transfers: counts.files_total,
                transfers: counts.files_done,
                total_bytes: counts.bytes_total,
                bytes: counts.bytes_done,
                error_count: counts.errors,
            }),
            Kind::Check | Kind::Prune => {}
        }
    }
}

/// rclone's statistics, as far as they are known while a run goes on.
fn block(counts: &Counts, elapsed: Duration) -> String {
    let tally = Tally {
        transfers: counts.files_done,
        transfers_total: counts.files_total,
        bytes: counts.bytes_done,
        bytes_total: counts.bytes_total,
        errors: counts.errors,
        ..Tally::default()
    };
    mirror::stats(&tally, elapsed, mirror::ErrorNote::Retry)
}

fn show(bar: &ProgressBar, sentence: &str, counts: &Counts) {
    let current = counts.current.as_deref().map(|current| format!("\n{}", text::name(current))).unwrap_or_default();
    bar.set_message(format!("{sentence}{current}"));
    bar.tick();
}

/// `[0:10] 42.31%  1234 files 2.345 GiB, total 2000 files 5.543 GiB, 0 errors, 45.200 MiB/s ETA 0:13`
fn sentence(kind: Kind, counts: &Counts, elapsed: Duration, pace: &Pace) -> String {
    let things = match kind {
        Kind::Backup | Kind::Mirror { .. } => "files",
        Kind::Restore => "files/dirs",
        Kind::Check | Kind::Prune => "objects",
    };
    let mut line = format!("[{}] ", in_minutes(elapsed));
    // Writing to a string cannot fail.
    if counts.totals_are_final && counts.bytes_total > 0 {
        let _ = write!(line, "{}  ", text::percent(counts.bytes_done, counts.bytes_total));
    }
    let _ = write!(line, "{} {things} {}", counts.files_done, ByteSize(counts.bytes_done));
    if counts.files_total > 0 {
        let _ = write!(line, ", total {} {things} {}", counts.files_total, ByteSize(counts.bytes_total));
    }
    let _ = write!(line, ", {} errors", counts.errors);
    if let Some(rate) = pace.rate() {
        let _ = write!(line, ", {}/s", ByteSize(rate));
    }
    if let Some(remaining) = pace.remaining(counts) {
        let _ = write!(line, " ETA {}", in_minutes(remaining));
    }
    line
}

#[derive(Debug)]
struct Bar(ProgressBar);

impl Overlay for Bar {
    fn aside(&self, write: &mut dyn FnMut()) {
        self.0.suspend(write);
    }
}

/// Tells of single events as they happen.
struct Listener<'a> {
    console: &'a Console,
    kind: Kind,
}

impl Observer for Listener<'_> {
    fn on(&self, event: &Event<'_>) {
        let settings = self.console.settings();
        match event {
            Event::Problem { during, item, error } if settings.json => {
                let message = error.chain();
                if self.kind == Kind::Check {
                    let message = with_item(item, message);
                    self.console.warn_json(&PlainError { message_type: "error", message: &message });
                } else {
                    let error = Message { message: &message };
                    self.console.warn_json(&ItemError { message_type: "error", error, during, item });
                }
            }
            Event::Problem { item, error, .. } => {
                self.console.warn(&format!("error: {}", with_item(&text::name(item), error.chain())));
            }
            Event::Note { text } => {
                if !settings.quiet && !settings.json {
                    self.console.warn(text);
                }
            }
            Event::Item { action, path, size } if settings.json => self.item_json(*action, &json::path(path), *size),
            Event::Item { path, .. } if path.is_root() && matches!(self.kind, Kind::Mirror { .. }) => {}
            Event::Item { action, path, size } if let Kind::Mirror { dry_run, .. } = self.kind => {
                let level = if *action == Action::Unchanged { 2 } else { 1 };
                let happened = mirror::happened(*action, *size, dry_run);
                self.console.detail(level, &format!("{}: {happened}", escape(path.as_bytes())));
            }
            Event::Item { action, path, size } => {
                let size = if *size > 0 { format!(" ({})", ByteSize(*size)) } else { String::new() };
                self.console.detail(2, &format!("{:<9} {}{size}", word(*action), path.display()));
            }
        }
    }

    fn wants_items(&self) -> bool {
        let least = if matches!(self.kind, Kind::Mirror { .. }) { 1 } else { 2 };
        self.console.settings().verbosity >= least
    }
}

/// Most errors name their file already.
fn with_item(item: &str, chain: String) -> String {
    if chain.contains(item) { chain } else { format!("{item}: {chain}") }
}

const fn word(action: Action) -> &'static str {
    match action {
        Action::New => "new",
        Action::Modified => "modified",
        Action::Unchanged => "unchanged",
        Action::Restored => "restored",
        Action::Updated => "updated",
        Action::Deleted => "deleted",
        Action::Skipped => "skipped",
    }
}

impl Listener<'_> {
    fn item_json(&self, action: Action, item: &str, size: u64) {
        let action = word(action);
        match self.kind {
            Kind::Backup => self.console.json(&BackupItem {
                message_type: "verbose_status",
                action,
                item,
                duration: 0.0,
                data_size: size,
                data_size_in_repo: 0,
                metadata_size: 0,
                metadata_size_in_repo: 0,
                total_files: 0,
            }),
            Kind::Restore | Kind::Mirror { .. } => {
                self.console.json(&RestoreItem { message_type: "verbose_status", action, item, size });
            }
            Kind::Check | Kind::Prune => {}
        }
    }
}

#[cfg(test)]
mod tests;
