//! How a run is watched: counters that a display polls, events that it is told, and the wish to stop.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::Error;
use crate::path::TreePath;

/// Something that happened to one file and that a user may want to hear of.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// One file could not be saved or restored; the run goes on and its exit code will say so.
    Problem {
        /// What was being done: `scan`, `archival`, `restore`, `check`.
        during: &'static str,
        /// The file or object, as text for people.
        item: &'a str,
        /// Why.
        error: &'a Error,
    },
    /// Something worth a line that is not a failure (a socket skipped, a password-cost warning).
    Note {
        /// The sentence.
        text: &'a str,
    },
    /// One entry is done.
    Item {
        /// What became of it.
        action: Action,
        /// Its path.
        path: &'a TreePath,
        /// Content length in bytes.
        size: u64,
    },
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Backup: not in the parent snapshot.
    New,
    /// Backup: differs from the parent snapshot.
    Modified,
    /// Same as before.
    Unchanged,
    /// Restore: written where nothing was.
    Restored,
    /// Restore: an existing file brought to the snapshot's state.
    Updated,
    /// Restore: removed because the snapshot does not hold it.
    Deleted,
    /// Restore: left as it is.
    Skipped,
}

/// Hears of events. Called from many threads, also from hot paths: must be quick.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn on(&self, event: &Event<'_>);

    /// Whether [`Event::Item`] is wanted; nothing is prepared for it otherwise.
    fn wants_items(&self) -> bool {
        false
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on(&self, _event: &Event<'_>) {}
}

/// Counters of a run, read by a display while it goes on. Monotonic, except that totals may grow late.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files found so far, or in the plan.
    pub files_total: AtomicU64,
    /// Bytes of content found so far, or in the plan.
    pub bytes_total: AtomicU64,
    /// Files done.
    pub files_done: AtomicU64,
    /// Bytes of content done, unchanged ones included.
    pub bytes_done: AtomicU64,
    /// Problems reported.
    pub errors: AtomicU64,
    /// Whether the totals are final.
    pub scan_finished: AtomicBool,
    /// What is being worked on.
    pub current: Mutex<Option<String>>,
}

impl Progress {
    /// Adds to one of the counters.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

/// Whether the user asked the run to stop (SIGINT, SIGTERM). Once set it stays set.
#[derive(Debug, Default)]
pub struct Stop {
    requested: AtomicBool,
    /// Questions until it requests itself; 0 is never.
    countdown: AtomicU64,
}

impl Stop {
    /// Not asked to stop.
    pub const fn new() -> Self {
        Self::after(0)
    }

    /// Asks the run to stop when it looks for the `questions`th time (0 is never): so a test stops a run at each of its steps.
    pub const fn after(questions: u64) -> Self {
        Self { requested: AtomicBool::new(false), countdown: AtomicU64::new(questions) }
    }

    /// Asks the run to stop at the next good moment.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to stop, for who asks in the rhythm of a clock: such a question is no step of the run.
    pub fn was_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Whether the run was asked to stop.
    pub fn requested(&self) -> bool {
        if self.countdown.load(Ordering::Relaxed) > 0 && self.countdown.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.request();
        }
        self.requested.load(Ordering::SeqCst)
    }
}

/// How one run is watched and stopped.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Hears of single events.
    pub observer: &'a dyn Observer,
    /// Counters for a display.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub stop: &'a Stop,
}

impl Watch<'_> {
    /// Reports that one file or object failed, and counts it.
    pub fn problem(&self, during: &'static str, item: &str, error: &Error) {
        Progress::add(&self.progress.errors, 1);
        self.observer.on(&Event::Problem { during, item, error });
    }
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}
