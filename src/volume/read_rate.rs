//! Slows reading down to a rate, so that a run leaves a busy disk to others.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;
use crate::events::Stop;
use crate::size::ByteSize;

/// Longest pause in one piece: a run that is asked to stop in the middle of one shall hear of it.
const STEP: Duration = Duration::from_millis(500);
/// Shorter debts are left to grow: a pause is never exact.
const LEAST: Duration = Duration::from_millis(5);

/// The rate at which all readers of a run together read.
pub struct ReadRate<'a> {
    clock: SharedClock,
    stop: &'a Stop,
    /// Bytes a second; none for as fast as can be.
    rate: Option<u64>,
    /// When what was read so far should have been read, on the clock's count.
    due: Mutex<Duration>,
    /// Never notified: it is waited on for the time alone.
    nobody: Condvar,
}

impl<'a> ReadRate<'a> {
    /// So many bytes a second; none, or 0, for as fast as can be.
    pub fn new(clock: SharedClock, stop: &'a Stop, rate: Option<ByteSize>) -> Self {
        let rate = rate.map(ByteSize::bytes).filter(|rate| *rate > 0);
        Self { clock, stop, rate, due: Mutex::default(), nobody: Condvar::new() }
    }

    /// Waits as long as reading `bytes` at the rate would have taken longer; not if the run was asked to stop.
    pub fn read(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let length = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = self.clock.elapsed().max(*due).saturating_add(length);
            *due
        };
        // Each waits on a lock of its own, so that others come in meanwhile.
        let own = Mutex::new(());
        while !self.stop.requested() {
            let left = due.saturating_sub(self.clock.elapsed());
            if left < LEAST {
                return;
            }
            let held = own.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.nobody.wait_timeout(held, left.min(STEP)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn reading_takes_as_long_as_the_rate_says_unless_the_run_stops() {
        let (clock, stop) = (SystemClock::new(), Stop::new());
        let rate = ReadRate::new(clock.clone(), &stop, Some(ByteSize(100_000)));
        let start = clock.elapsed();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..3).for_each(|_| rate.read(5000)));
            }
        });
        let took = clock.elapsed().saturating_sub(start);
        assert!(took >= Duration::from_millis(290), "{took:?}");
        stop.request();
        // Hours of debt, and nobody waits for them.
        rate.read(u64::from(u32::MAX));
        ReadRate::new(clock, &Stop::new(), None).read(u64::MAX);
    }
}
