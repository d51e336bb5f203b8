//! The walk: every entry of the sources in catalogue order, with one system call per entry.
//!
//! The consumer goes through the tree depth first. What it needs next it takes from a pool of threads that list and stat
//! directories ahead of it, or does itself when nobody has begun: so it never waits for a queue, and the walk works
//! without any thread too. What is read ahead is bounded by [`AHEAD_MAX`]. Directories are opened by path below the
//! source's handle and closed at once, so depth and breadth cost no descriptors.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec::IntoIter;

use super::ahead::{Ahead, Task};
use super::found::Found;
use super::rules::Rules;
use super::sources::{Source, Steps};
use super::visit::{Big, CHUNK, Chunk, Outcome, Work};
use crate::error::Error;
use crate::events::Stop;
use crate::path::TreePath;

/// Entries that are read ahead of the consumer at most, give or take what the threads have in hand (2048 each). About
/// 250 bytes each with their paths: 4 MiB.
pub const AHEAD_MAX: usize = 16 << 10;

/// Entries handed over at once: enough that the hand-over costs nothing per entry.
const BATCH: usize = 512;

/// How a walk is done.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// What is left out.
    pub rules: Arc<Rules>,
    /// Threads that read ahead; 0 is allowed.
    pub threads: usize,
    /// Whether it is seen to it that [`Found::bare`] is known: one system call more for each entry.
    pub attributes: bool,
}

/// What the walk comes upon.
#[derive(Debug)]
pub enum WalkItem {
    /// An entry to save.
    Found(Found),
    /// Something that could not be read. A directory that cannot be listed stands before its problem as an entry.
    Problem {
        /// Where.
        path: TreePath,
        /// What failed.
        error: Error,
    },
    /// A socket, which is not saved.
    Socket {
        /// Where.
        path: TreePath,
    },
}

impl WalkItem {
    /// Where it stands in the snapshot.
    pub fn path(&self) -> &TreePath {
        match self {
            Self::Found(found) => &found.path,
            Self::Problem { path, .. } | Self::Socket { path } => path,
        }
    }
}

/// Walks `sources` and hands `consume` an iterator over batches of about 512 items. Entries come in strictly ascending
/// [`TreePath`] order. Directories above a source are entries too, once each. Entries that vanish while the walk goes on
/// are not mentioned. When `stop` is requested the iterator ends early: the consumer asks `stop` afterwards.
///
/// A descriptor is open for each source that has entries in memory.
pub fn walk<R>(
    sources: Vec<Source>,
    options: &WalkOptions,
    stop: &Stop,
    consume: impl FnOnce(&mut dyn Iterator<Item = Vec<WalkItem>>) -> R,
) -> R {
    let ahead = Ahead::new(options, stop);
    std::thread::scope(|scope| {
        let _close = ahead.close_on_drop();
        for number in 0..options.threads {
            // A thread that cannot be had is not missed: the consumer does what nobody else does.
            let _ = std::thread::Builder::new().name(format!("walk-{number}")).spawn_scoped(scope, || ahead.work());
        }
        consume(&mut Walk { ahead: &ahead, steps: Steps::new(sources), frames: Vec::new(), buffer: Vec::new() })
    })
}

struct Walk<'a> {
    ahead: &'a Ahead<'a>,
    steps: Steps,
    /// From the source down to the directory that is being gone through.
    frames: Vec<Frame>,
    /// For listings that the consumer makes itself.
    buffer: Vec<u8>,
}

/// A directory, or a part of a big one, that is being gone through.
struct Frame {
    items: IntoIter<WalkItem>,
    /// Items handed over so far.
    done: usize,
    /// Directories to enter, each with the number of items that come before what is in it.
    children: IntoIter<(usize, Arc<Task>)>,
    next: Option<(usize, Arc<Task>)>,
    rest: Option<Rest>,
}

/// The parts of a big directory that are not gone through yet.
struct Rest {
    big: Arc<Big>,
    scheduled: usize,
    window: VecDeque<Arc<Task>>,
}

impl Iterator for Walk<'_> {
    type Item = Vec<WalkItem>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            if self.ahead.stopped() {
                return None;
            }
            if !self.advance(&mut batch) {
                break;
            }
        }
        (!batch.is_empty()).then_some(batch)
    }
}

impl Walk<'_> {
    /// Does one step; `false` when there is nothing left.
    fn advance(&mut self, batch: &mut Vec<WalkItem>) -> bool {
        let Some(frame) = self.frames.last_mut() else {
            let Some(chunk) = self.steps.next_chunk(self.ahead.options()) else { return false };
            self.frames.push(Frame::new(chunk, None));
            return true;
        };
        let until = frame.next.as_ref().map_or(usize::MAX, |(before, _)| *before);
        let wanted = (until - frame.done).min(BATCH - batch.len());
        if wanted > 0 {
            let before = batch.len();
            batch.extend(frame.items.by_ref().take(wanted));
            frame.done += batch.len() - before;
            if batch.len() - before == wanted {
                return true;
            }
        }
        if let Some((_, task)) = frame.next.take() {
            frame.next = frame.children.next();
            let outcome = self.ahead.take(&task, &mut self.buffer);
            self.frames.push(Frame::from_outcome(outcome));
        } else if let Some(task) = frame.rest.as_mut().and_then(|rest| rest.next_task(self.ahead)) {
            if let Outcome::Chunk(chunk) = self.ahead.take(&task, &mut self.buffer) {
                self.ahead.enqueue_directories(&chunk.children);
                frame.refill(chunk);
            }
        } else {
            self.frames.pop();
        }
        true
    }
}

impl Frame {
    fn new(chunk: Chunk, rest: Option<Rest>) -> Self {
        let mut children = chunk.children.into_iter();
        let next = children.next();
        Self { items: chunk.items.into_iter(), done: 0, children, next, rest }
    }

    fn from_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Chunk(chunk) => Self::new(chunk, None),
            Outcome::Big(big) => Self::new(Chunk::default(), Some(Rest { big, scheduled: 0, window: VecDeque::new() })),
        }
    }

    fn refill(&mut self, chunk: Chunk) {
        let rest = self.rest.take();
        *self = Self::new(chunk, rest);
    }
}

impl Rest {
    /// The next part, with as many of those behind it scheduled as the threads can have in hand.
    fn next_task(&mut self, ahead: &Ahead<'_>) -> Option<Arc<Task>> {
        let window = 1 + 2 * ahead.options().threads;
        while self.window.len() < window && self.scheduled < self.big.len() {
            let task = Arc::new(Task::new(Work::Part { big: Arc::clone(&self.big), from: self.scheduled }));
            self.scheduled += CHUNK;
            ahead.enqueue_part(Arc::clone(&task));
            self.window.push_back(task);
        }
        self.window.pop_front()
    }
}
