//! The bound on the bytes of files that a push has in memory: of all files, threads and destinations together.
//!
//! Each destination has a share of its own, so that one that is slow or dead takes nothing from the others. In a share are small files on their way,
//! parts of big ones that are filled or on their way, and what big files are cut from. Whoever waits for room is served in turn, so that a part does
//! not wait behind small files without end.
//!
//! Nobody waits for ever: small files and parts get rid of what they hold without more room, and when there are none on their way, the first in turn has
//! room.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::events::Stop;
use crate::path::TreePath;

use super::super::waiting::{LOOK, unless_stopped};
use super::send::interrupted;
use super::shared::lock;
use super::together::Wants;

/// Bytes for up to four destinations together: what a link of 10 Gbit/s moves in 50 ms.
const PUSH_MAX: u64 = 64 << 20;
/// The least share, for more than four destinations: two parts of 8 MiB, one of which is filled while the other is on its way.
const SHARE_MIN: u64 = 16 << 20;
/// Big files that are read at once for one destination.
const READ_AT_ONCE: usize = 8;
/// What they are cut from may be this part of the share: 2 MiB for each, but for those above 64 GiB.
const CUT_PART: u64 = 4;
const CUT_FROM: u64 = 2 << 20;

/// The share of one destination.
#[derive(Debug, Clone)]
pub(super) struct Budget<'a> {
    inner: Arc<Inner>,
    stop: &'a Stop,
}

#[derive(Debug)]
struct Inner {
    most: u64,
    reads_most: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of small files and of parts.
    moving: u64,
    /// Bytes that files are cut from.
    cutting: u64,
    /// Big files that are read now.
    reading: Vec<TreePath>,
    /// Numbers of those who wait for room: the next to be given, and whose turn it is.
    next: u64,
    turn: u64,
    peak: u64,
}

/// The right to have some bytes in memory; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    inner: Arc<Inner>,
    bytes: u64,
}

/// The right to read a big file, with what it is cut from in memory; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reading<'b> {
    inner: &'b Inner,
    path: &'b TreePath,
    bytes: u64,
}

impl<'a> Budget<'a> {
    /// The share of each of so many destinations.
    pub(super) fn of(destinations: usize, stop: &'a Stop) -> Self {
        let most = (PUSH_MAX / u64::try_from(destinations.max(1)).unwrap_or(u64::MAX)).max(SHARE_MIN);
        let reads_most = usize::try_from(most / CUT_PART / CUT_FROM).unwrap_or(usize::MAX).clamp(1, READ_AT_ONCE);
        let inner = Inner { most, reads_most, state: Mutex::default(), freed: Condvar::new() };
        Self { inner: Arc::new(inner), stop }
    }

    /// Waits until so many bytes may be in memory. What is more than there is room for is there alone.
    ///
    /// # Errors
    /// `Interrupted` when the user asked to stop.
    pub(super) fn hold(&self, bytes: u64) -> Result<Held> {
        let mut state = self.room(lock(&self.inner.state), bytes)?;
        state.moving = state.moving.saturating_add(bytes);
        state.note();
        Ok(Held { inner: Arc::clone(&self.inner), bytes })
    }

    /// Waits until a big file may be read, which takes so many bytes. All destinations read in the same order: else two of them could have begun
    /// different files, each waiting for the other to join.
    ///
    /// # Errors
    /// `Interrupted` when the user asked to stop.
    pub(super) fn read<'b>(&'b self, path: &'b TreePath, bytes: u64, wants: &Wants<'_>) -> Result<Reading<'b>> {
        let inner = &*self.inner;
        let mut state = lock(&inner.state);
        // A file that is wanted and never comes (it went meanwhile) keeps a place free, but not the last one.
        while !state.reading.is_empty() && state.reading.len() + wants.before(path, &state.reading) >= inner.reads_most
        {
            state = self.wait(state)?;
        }
        state.reading.push(path.clone());
        let mut reading = Reading { inner, path, bytes: 0 };
        let mut state = self.room(state, bytes)?;
        state.cutting = state.cutting.saturating_add(bytes);
        state.note();
        reading.bytes = bytes;
        Ok(reading)
    }

    /// Waits for its turn, and then for room.
    fn room<'s>(&'s self, mut state: MutexGuard<'s, State>, bytes: u64) -> Result<MutexGuard<'s, State>> {
        let turn = state.next;
        state.next += 1;
        while state.turn != turn || (state.moving > 0 && state.all().saturating_add(bytes) > self.inner.most) {
            state = self.wait(state)?;
        }
        state.turn += 1;
        // The next in turn may have room, too.
        self.inner.freed.notify_all();
        Ok(state)
    }

    /// Waits until something has changed. When the user asks to stop, nobody's turn comes any more, and nobody waits for it.
    fn wait<'s>(&'s self, state: MutexGuard<'s, State>) -> Result<MutexGuard<'s, State>> {
        let (state, _) = self.inner.freed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
        if self.stop.was_requested() { Err(interrupted()) } else { Ok(state) }
    }

    /// Waits for something, unless the user asks to stop.
    pub(super) async fn unless_stopped<T>(&self, future: impl Future<Output = T> + Unpin) -> Result<T> {
        unless_stopped(self.stop, future).await.ok_or_else(interrupted)
    }

    /// The most that was held at once.
    pub(super) fn peak(&self) -> u64 {
        lock(&self.inner.state).peak
    }
}

impl State {
    fn all(&self) -> u64 {
        self.moving.saturating_add(self.cutting)
    }

    fn note(&mut self) {
        self.peak = self.peak.max(self.all());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.state);
        state.moving = state.moving.saturating_sub(self.bytes);
        drop(state);
        self.inner.freed.notify_all();
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.state);
        if let Some(at) = state.reading.iter().position(|path| path == self.path) {
            state.reading.swap_remove(at);
        }
        state.cutting = state.cutting.saturating_sub(self.bytes);
        drop(state);
        self.inner.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::rclone_sync::push::together::Together;

    const MIB: u64 = 1 << 20;
    static STOP: Stop = Stop::new();

    fn path(name: &str) -> TreePath {
        TreePath::parse(name).unwrap()
    }

    #[test]
    fn shares_are_of_one_sum_and_never_less_than_two_parts() {
        let share = |destinations| Budget::of(destinations, &STOP).inner.most;
        assert_eq!([1, 2, 4, 5, 100].map(share), [64 * MIB, 32 * MIB, 16 * MIB, 16 * MIB, 16 * MIB]);
        let reads = |destinations| Budget::of(destinations, &STOP).inner.reads_most;
        assert_eq!([1, 2, 4, 100].map(reads), [8, 4, 2, 2]);
    }

    #[test]
    fn threads_together_hold_no_more_than_the_share() {
        let (budget, held) = (Budget::of(4, &STOP), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..16u64 {
                let (budget, held) = (&budget, &held);
                scope.spawn(move || {
                    for round in 0..200 {
                        let bytes = (thread * 7919 + round * 104_729) % (9 * MIB);
                        let _held = budget.hold(bytes).unwrap();
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(now <= 16 * MIB, "{now}");
                        std::thread::yield_now();
                        held.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((8 * MIB..=16 * MIB).contains(&budget.peak()), "{}", budget.peak());
    }

    #[test]
    fn what_is_more_than_the_share_is_held_alone() {
        let budget = Budget::of(4, &STOP);
        let huge = budget.hold(1 << 40).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| drop(budget.hold(1).unwrap()));
            assert!(!waits.is_finished());
            drop(huge);
        });
        assert_eq!(budget.peak(), 1 << 40);
    }

    #[test]
    fn nobody_waits_any_more_when_the_run_is_to_stop() {
        let (stop, wants) = (Stop::new(), Together::new(SystemClock::new(), Duration::ZERO, 0));
        let (wants, name) = (wants.want(BTreeSet::new()), path("a"));
        let budget = Budget::of(1, &stop);
        let _held = budget.hold(64 * MIB).unwrap();
        std::thread::scope(|scope| {
            let part = scope.spawn(|| budget.hold(1).map(drop));
            let read = scope.spawn(|| budget.read(&name, 1, &wants).map(drop));
            stop.request();
            assert!(part.join().unwrap().is_err() && read.join().unwrap().is_err());
        });
        assert!(lock(&budget.inner.state).reading.is_empty());
    }

    #[test]
    fn big_files_are_read_in_their_order() {
        let together = Together::new(SystemClock::new(), Duration::ZERO, 0);
        let names = ["a", "b", "c", "d"].map(path);
        let wants = together.want(names.iter().cloned().collect::<BTreeSet<_>>());
        let budget = Budget::of(4, &STOP);
        // The first that comes need not wait for one that may never come, but it leaves the other places to those before it.
        let last = budget.read(&names[3], MIB, &wants).unwrap();
        std::thread::scope(|scope| {
            let third = scope.spawn(|| drop(budget.read(&names[2], MIB, &wants).unwrap()));
            for before in ["a", "b"] {
                assert!(!third.is_finished(), "{before} was to come");
                wants.pass_over(&path(before));
            }
            drop(last);
        });
        assert!(lock(&budget.inner.state).reading.is_empty());
    }
}
