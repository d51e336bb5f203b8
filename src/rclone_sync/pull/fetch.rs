//! Brings the contents of the plan into the stage: several files at once, each verified before it counts as there.
//!
//! Bounds: at most [`THREADS_MAX`] threads with a large file each, or with the neighbours of a pack, and two such waiting for each; beside them as
//! many small files as `transfers` says; [`IN_FLIGHT`] bytes of all of them on their way or being written.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::Semaphore;

use crate::catalog::Entry;
use crate::error::{Error, ErrorKind, Result};

use super::super::segment::Change;
use super::content;
use super::context::Pull;
use super::leaving::Leaving;
use super::small::{Small, is_small};
use super::stage::{FETCH, Plan, Stage};

/// Bytes on their way or being written, of all files together.
pub(super) const IN_FLIGHT: u32 = 48 << 20;
/// Large files at once. Each asks for the range behind the one that it waits for: [`IN_FLIGHT`] has room for one more than all of these, or all of
/// it could be taken by ranges whose predecessors wait for room.
const THREADS_MAX: usize = 5;
/// Objects found to be of another generation after which no more are asked for: a push is under way.
const CHANGED_MAX: u64 = 8;

/// A fetch under way; shared by its threads.
pub(super) struct Fetch<'f, 'a> {
    pub(super) pull: &'f Pull<'a>,
    pub(super) stage: Stage<'f>,
    /// Where renamed files may be.
    pub(super) leaving: &'f Leaving,
    /// A permit for each byte.
    pub(super) room: Arc<Semaphore>,
    /// Held by whoever has the block lists of a file in memory.
    pub(super) lists: Mutex<()>,
    changed: AtomicU64,
    halted: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// The first file that cannot be had.
    failed: Mutex<Option<Error>>,
}

/// Files of a pack that are asked for together, at most: 8 MiB of files of 4 KiB.
pub(super) const BATCH_MAX: usize = 2048;
/// Packs of which files are gathered at once: files that changed lie in packs of their own between those that did not.
const PACKS_OPEN: usize = 48;
/// Files gathered at once, of all packs.
const GATHERED_MAX: usize = 4 * BATCH_MAX;

/// How a fetch ended.
#[derive(Debug)]
pub(super) enum Fetched {
    /// Everything is in the stage.
    All,
    /// Some files cannot be had; each was reported. The target is not touched: it would be a mixture.
    Failed(Error),
    /// Objects are not those of the generation any more. What is staged stays.
    Changed(Error),
}

/// Fetches all of the plan.
pub(super) fn fetch(pull: &Pull<'_>, stage: Stage<'_>, plan: &Plan, leaving: &Leaving) -> Result<Fetched> {
    let fetch = Fetch {
        pull,
        stage,
        leaving,
        room: Arc::new(Semaphore::new(usize::try_from(IN_FLIGHT).unwrap_or(usize::MAX))),
        lists: Mutex::default(),
        changed: AtomicU64::new(0),
        halted: AtomicBool::new(false),
        failure: Mutex::default(),
        failed: Mutex::default(),
    };
    let transfers = pull.options.transfers.clamp(1, 256);
    let threads = transfers.min(THREADS_MAX);
    let (sender, receiver) = bounded(threads);
    let small = Small::new(&fetch, plan)?;
    let (fetch, small) = (&fetch, &small);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let receiver = receiver.clone();
            scope.spawn(move || fetch.work(&receiver));
        }
        drop(receiver);
        let (drivers, share) = Small::drivers(transfers);
        for _ in 0..drivers {
            scope.spawn(move || small.drive(share));
        }
        if let Err(error) = fetch.feed(plan, &sender) {
            fetch.halt(error);
        }
        drop(sender);
    });
    fetch.outcome()
}

impl Fetch<'_, '_> {
    fn feed(&self, plan: &Plan, sender: &Sender<Vec<Entry>>) -> Result<()> {
        // The threads take what is queued until the queue is closed, so that nobody waits for ever.
        let send = |batch| sender.send(batch).map_err(|_| Error::bug("nobody fetches any more"));
        let (mut open, mut gathered): (Vec<Vec<Entry>>, usize) = (Vec::new(), 0);
        for change in self.stage.read(FETCH, &plan.fetch)? {
            self.pull.check()?;
            if self.is_over() {
                return Ok(());
            }
            let Change::Put(entry) = change? else { continue };
            if is_small(&entry) {
                continue;
            }
            if !content::is_packed(&entry) {
                send(vec![*entry])?;
                continue;
            }
            gathered += 1;
            match open.iter_mut().find(|batch| batch.len() < BATCH_MAX && content::goes_with(batch, &entry)) {
                Some(batch) => batch.push(*entry),
                None => open.push(vec![*entry]),
            }
            if open.len() > PACKS_OPEN || gathered > GATHERED_MAX {
                let oldest = open.remove(0);
                gathered -= oldest.len();
                send(oldest)?;
            }
        }
        open.into_iter().try_for_each(send)
    }

    fn work(&self, queue: &Receiver<Vec<Entry>>) {
        for batch in queue {
            if self.is_over() {
                continue;
            }
            let brought = match batch.as_slice() {
                [entry] if !content::is_packed(entry) => content::bring(self, entry),
                several => content::bring_packed(self, several),
            };
            if let Some(first) = batch.first() {
                self.settle(first, brought);
            }
        }
    }

    /// Notes what came of an entry.
    pub(super) fn settle(&self, entry: &Entry, brought: Result<()>) {
        let Err(error) = brought else { return };
        if error.kind() == ErrorKind::Changed {
            self.changed.fetch_add(1, Ordering::SeqCst);
            self.keep(error);
            return;
        }
        let failed = error.repeat();
        match self.pull.problem(&entry.path, error) {
            Ok(()) => {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failed);
            }
            Err(error) => self.halt(error),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.halted.load(Ordering::SeqCst) || self.changed.load(Ordering::SeqCst) >= CHANGED_MAX
    }

    pub(super) fn halt(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.halted.swap(true, Ordering::SeqCst) {
            *failure = Some(error);
        }
    }

    fn keep(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn outcome(&self) -> Result<Fetched> {
        let halted = self.halted.load(Ordering::SeqCst);
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) if halted => Err(error),
            Some(error) => Ok(Fetched::Changed(error)),
            None => Ok(match self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(error) => Fetched::Failed(error),
                None => Fetched::All,
            }),
        }
    }
}
