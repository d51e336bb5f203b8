//! A bandwidth limit as a token bucket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::size::ByteSize;

/// A limit that several stores keep together, and that may change while they work.
#[derive(Debug, Clone)]
pub struct Bandwidth {
    pub(super) up: Arc<Throttle>,
    pub(super) down: Arc<Throttle>,
}

impl Bandwidth {
    /// Bytes a second in each direction; none is no limit.
    pub fn new(up: Option<ByteSize>, down: Option<ByteSize>) -> Self {
        let throttle = |rate: Option<ByteSize>| Arc::new(Throttle::new(rate.map(ByteSize::bytes)));
        Self { up: throttle(up), down: throttle(down) }
    }

    /// Other limits from now on, for those who wait already, too.
    pub fn set(&self, up: Option<ByteSize>, down: Option<ByteSize>) {
        self.up.set(up.map(ByteSize::bytes));
        self.down.set(down.map(ByteSize::bytes));
    }
}

/// Lets bytes pass at a given rate on average.
///
/// A download passes piece by piece, as its body arrives, so it flows evenly. An upload passes before its request is
/// sent: the client library takes a body as a whole, so one object leaves at the speed of the link and the next one
/// waits until the average is kept again. Whoever comes takes a place in time first and sleeps until it, so many at
/// once are served in turn.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes per second; 0 lets everything pass.
    rate: AtomicU64,
    /// Tells those who wait that the rate is another one.
    changed: Notify,
    /// When all bytes that were let in so far have passed.
    free_at: Mutex<Option<Instant>>,
}

impl Throttle {
    /// A limit of `rate` bytes per second, or none.
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate: AtomicU64::new(encoded(rate)), changed: Notify::new(), free_at: Mutex::new(None) }
    }

    /// Another limit. What was let in before is forgotten.
    fn set(&self, rate: Option<u64>) {
        if self.rate.swap(encoded(rate), Ordering::SeqCst) != encoded(rate) {
            *self.free_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.changed.notify_waiters();
        }
    }

    /// Returns when `bytes` may pass.
    pub(super) async fn pass(&self, bytes: u64) {
        loop {
            // Before the rate is read: a change in between is not missed.
            let changed = self.changed.notified();
            let rate = self.rate.load(Ordering::SeqCst);
            if rate == 0 {
                return;
            }
            let start = self.place(bytes, rate);
            tokio::select! {
                () = tokio::time::sleep_until(start) => return,
                () = changed => {}
            }
        }
    }

    fn place(&self, bytes: u64, rate: u64) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let start = free_at.map_or(now, |at| at.max(now));
        *free_at = start.checked_add(time_for(bytes, rate));
        start
    }
}

fn encoded(rate: Option<u64>) -> u64 {
    rate.map_or(0, |rate| rate.max(1))
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
    async fn a_new_rate_holds_for_those_who_wait_already() {
        let limit = Bandwidth::new(Some(ByteSize(1)), None);
        limit.up.pass(1_000_000).await;
        let start = Instant::now();
        let shared = limit.clone();
        let waiting = tokio::spawn(async move { shared.up.pass(10).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished(), "a million bytes are ahead of it");
        limit.set(None, Some(ByteSize(1)));
        waiting.await.expect("it passes");
        assert!(start.elapsed() < Duration::from_secs(5));
        limit.down.pass(1).await;
        limit.set(None, Some(ByteSize(1_000_000)));
        limit.down.pass(1).await;
    }

    #[tokio::test]
    async fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        Throttle::new(None).pass(u64::MAX).await;
        assert!(start.elapsed() < Duration::from_millis(50));
    }
}
