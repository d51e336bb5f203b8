//! When a failed request is sent again: the only place that decides it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::Error as StoreError;
use tokio::time::Instant;

use super::counts::Counters;
use super::failure::{Failure, judge};
use super::throttle::time_for;

/// How long a store is waited for. The default suits a store behind a network.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Times that one request is sent at most.
    pub attempts: u32,
    /// The longest first pause; each further one may be twice as long. The pause taken is a random part of it.
    pub first_pause: Duration,
    /// No pause is longer, except when the store asks for it.
    pub longest_pause: Duration,
    /// All pauses of one request together.
    pub total_pause: Duration,
    /// Time for one answer, or for the next piece of one, beside the time that sending takes.
    pub answer: Duration,
    /// After this long, beside the time that sending takes, a request is not sent again.
    pub total: Duration,
    /// The slowest link, in bytes per second, that an upload is waited for.
    pub slowest: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 10,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            total_pause: Duration::from_mins(1),
            answer: Duration::from_mins(1),
            total: Duration::from_mins(5),
            // 128 kbit/s: a 12 MiB pack takes 13 minutes.
            slowest: 16 << 10,
        }
    }
}

impl Patience {
    /// For a disk: a call returns when the kernel returns, and cannot be taken back before.
    pub(super) fn local() -> Self {
        let day = Duration::from_hours(24);
        Self { answer: day, total: day, ..Self::default() }
    }

    /// Time for the answer to a request that sends `bytes`.
    pub(super) fn answer_to(&self, bytes: u64) -> Duration {
        self.answer.saturating_add(time_for(bytes, self.slowest))
    }
}

/// Retries that a store has left, shared by all its requests. A dead store is not asked ten times by each of
/// thousands of requests: after about a hundred retries without success everything fails at its first failure.
#[derive(Debug)]
pub(super) struct Budget(Mutex<u32>);

/// As in the AWS SDKs.
const BUDGET: u32 = 500;
const RETRY_COST: u32 = 5;
const SUCCESS_GAIN: u32 = 1;

impl Budget {
    pub(super) fn new() -> Self {
        Self(Mutex::new(BUDGET))
    }

    fn take(&self) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = left.checked_sub(RETRY_COST);
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }

    /// A success gives one back, and what its own retries took.
    pub(super) fn give_back(&self, retries: u32) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_add(SUCCESS_GAIN).saturating_add(retries.saturating_mul(RETRY_COST)).min(BUDGET);
    }
}

/// Which failures a request may be sent again after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Carrying it out twice is like carrying it out once.
    Always,
    /// Only if it certainly had no effect: create-only and compare-and-swap writes.
    IfNotSent,
}

/// The retries of one request.
#[derive(Debug)]
pub(super) struct Retries {
    patience: Arc<Patience>,
    budget: Arc<Budget>,
    counters: Arc<Counters>,
    repeat: Repeat,
    deadline: Instant,
    done: u32,
    malformed: u32,
    paused: Duration,
}

/// An answer that breaks the protocol is asked for again this often: a proxy may have had an accident, but
/// what is truncated in the store stays so.
const MALFORMED_RETRIES: u32 = 2;

impl Retries {
    pub(super) fn new(patience: &Arc<Patience>, budget: &Arc<Budget>, counters: &Arc<Counters>) -> Self {
        Self {
            patience: Arc::clone(patience),
            budget: Arc::clone(budget),
            counters: Arc::clone(counters),
            repeat: Repeat::Always,
            deadline: Instant::now() + patience.total,
            done: 0,
            malformed: 0,
            paused: Duration::ZERO,
        }
    }

    /// For a request that sends `bytes` and may be repeated as `repeat` says.
    pub(super) fn of_upload(mut self, bytes: u64, repeat: Repeat) -> Self {
        self.deadline += time_for(bytes, self.patience.slowest);
        self.repeat = repeat;
        self
    }

    /// For a request that was sent `sent` times, the first time `ago`.
    pub(super) fn after(mut self, sent: u32, ago: Duration) -> Self {
        self.done = sent.saturating_sub(1);
        self.deadline = self.deadline.checked_sub(ago).unwrap_or(self.deadline);
        self
    }

    /// How often the request was sent again.
    pub(super) fn done(&self) -> u32 {
        self.done
    }

    /// Decides whether the request is sent again after `error`, and waits until then.
    pub(super) async fn again_after(&mut self, error: &StoreError) -> bool {
        self.again(judge(error)).await
    }

    /// As [`Retries::again_after`], for a failure that is already judged.
    pub(super) async fn again(&mut self, failure: Failure) -> bool {
        let asked = match failure {
            Failure::Final => return false,
            Failure::NotSent => None,
            _ if self.repeat == Repeat::IfNotSent => return false,
            Failure::Malformed if self.malformed >= MALFORMED_RETRIES => return false,
            Failure::Busy { after } => after,
            Failure::Malformed | Failure::Lost => None,
        };
        self.malformed += u32::from(failure == Failure::Malformed);
        if self.done + 1 >= self.patience.attempts || Instant::now() >= self.deadline {
            return false;
        }
        let pause = self.pause(asked);
        if self.paused + pause > self.patience.total_pause || !self.budget.take() {
            return false;
        }
        // A timer wakes up a millisecond later at the earliest, however short the time.
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.paused += pause;
        self.done += 1;
        self.counters.repeated();
        true
    }

    /// Exponential with full jitter, and at least what the store asked for.
    fn pause(&self, asked: Option<Duration>) -> Duration {
        let factor = 1u32.checked_shl(self.done.min(20)).unwrap_or(u32::MAX);
        let most = self.patience.first_pause.saturating_mul(factor).min(self.patience.longest_pause);
        let part = most.mul_f64(random_fraction());
        asked.map_or(part, |asked| asked.max(part))
    }
}

/// Between 0 and 1. Without entropy the pause is at its longest, which is no harm.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(patience: Patience, budget: &Arc<Budget>) -> Retries {
        Retries::new(&Arc::new(patience), budget, &Arc::new(Counters::default()))
    }

    fn quick() -> Patience {
        Patience {
            first_pause: Duration::from_micros(10),
            longest_pause: Duration::from_micros(50),
            ..Patience::default()
        }
    }

    #[tokio::test]
    async fn a_request_is_sent_so_often_and_no_more() {
        let budget = Arc::new(Budget::new());
        let mut lost = retries(quick(), &budget);
        let mut sent = 1;
        while lost.again(Failure::Lost).await {
            sent += 1;
        }
        assert_eq!((sent, lost.done()), (10, 9));
        let mut malformed = retries(quick(), &budget);
        assert!(malformed.again(Failure::Malformed).await && malformed.again(Failure::Malformed).await);
        assert!(!malformed.again(Failure::Malformed).await);
        assert!(!retries(quick(), &budget).again(Failure::Final).await);
        let mut create = retries(quick(), &budget).of_upload(1, Repeat::IfNotSent);
        assert!(create.again(Failure::NotSent).await);
        assert!(!create.again(Failure::Lost).await && !create.again(Failure::Busy { after: None }).await);
    }

    #[tokio::test]
    async fn a_dead_store_uses_the_budget_up_and_successes_fill_it() {
        let budget = Arc::new(Budget::new());
        let mut sent_again = 0;
        for _ in 0..1000 {
            let mut one = retries(quick(), &budget);
            while one.again(Failure::Lost).await {
                sent_again += 1;
            }
        }
        assert_eq!(sent_again, 100);
        for _ in 0..RETRY_COST {
            budget.give_back(0);
        }
        assert!(retries(quick(), &budget).again(Failure::Lost).await);
    }

    #[tokio::test]
    async fn pauses_have_a_bound_even_if_the_store_asks_for_more() {
        let budget = Arc::new(Budget::new());
        let mut asked = retries(quick(), &budget);
        assert!(!asked.again(Failure::Busy { after: Some(Duration::from_hours(1)) }).await);
        let mut over = retries(Patience { total: Duration::ZERO, ..quick() }, &budget);
        assert!(!over.again(Failure::Lost).await, "the time is over");
        let one = retries(Patience::default(), &budget);
        assert!(one.pause(None) <= Duration::from_millis(100));
    }
}
