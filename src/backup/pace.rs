//! Slows reading down to a rate, so that a backup leaves a busy disk to others.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::events::Stop;
use crate::repo::Repository;
use crate::size::ByteSize;

/// Longest pause in one piece: a run that is asked to stop in the middle of one shall hear of it.
const STEP: Duration = Duration::from_millis(500);
/// Shorter debts are left to grow: a pause is never exact.
const LEAST: Duration = Duration::from_millis(5);

/// The rate at which all readers together read.
pub(super) struct Pace<'a> {
    repo: &'a Repository,
    stop: &'a Stop,
    /// Bytes a second; none for as fast as can be.
    rate: Option<u64>,
    /// When what was read so far should have been read, on the clock's count.
    due: Mutex<Duration>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(repo: &'a Repository, stop: &'a Stop, rate: Option<ByteSize>) -> Self {
        Self { repo, stop, rate: rate.map(ByteSize::bytes).filter(|rate| *rate > 0), due: Mutex::default() }
    }

    /// Waits as long as reading `bytes` at the rate would have taken longer.
    pub(super) fn read(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let length = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = self.repo.clock().elapsed().max(*due).saturating_add(length);
            *due
        };
        while !self.stop.requested() {
            let left = due.saturating_sub(self.repo.clock().elapsed());
            if left < LEAST {
                return;
            }
            self.repo.pause(left.min(STEP));
        }
    }
}
