//! A bandwidth limit as a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets bytes pass at a given rate on average.
///
/// A download passes piece by piece, as its body arrives, so it flows evenly. An upload passes before its request is
/// sent: the client library takes a body as a whole, so one object leaves at the speed of the link and the next one
/// waits until the average is kept again. Whoever comes takes a place in time first and sleeps until it, so many at
/// once are served in turn.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes per second; none lets everything pass.
    rate: Option<u64>,
    /// When all bytes that were let in so far have passed.
    free_at: Mutex<Option<Instant>>,
}

impl Throttle {
    /// A limit of `rate` bytes per second, or none.
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), free_at: Mutex::new(None) }
    }

    /// Returns when `bytes` may pass.
    pub(super) async fn pass(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let start = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let start = free_at.map_or(now, |at| at.max(now));
            *free_at = start.checked_add(time_for(bytes, rate));
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

/// How long `bytes` take at `rate` bytes per second.
pub(super) fn time_for(bytes: u64, rate: u64) -> Duration {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_at_the_rate_on_average_and_the_first_do_not_wait() {
        let throttle = Throttle::new(Some(1_000_000));
        let start = Instant::now();
        throttle.pass(100_000).await;
        assert!(start.elapsed() < Duration::from_millis(80), "the first waits for nothing");
        throttle.pass(50_000).await;
        throttle.pass(1).await;
        let taken = start.elapsed();
        assert!(taken >= Duration::from_millis(145), "150,000 bytes at 1 MB/s passed in {taken:?}");
    }

    #[tokio::test]
    async fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        Throttle::new(None).pass(u64::MAX).await;
        assert!(start.elapsed() < Duration::from_millis(50));
    }
}
