//! Time as an argument. Nothing but the system clock here and `main` asks the machine what time it is.

mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};

pub use text::{in_minutes, parse_time, parse_time_to_its_end};

/// The time of day and the time since some fixed moment.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of day, with the machine's UTC offset.
    fn now(&self) -> DateTime<FixedOffset>;
    /// Time since an arbitrary moment; never goes back, and goes on while the machine sleeps.
    fn elapsed(&self) -> Duration;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock.
    #[expect(clippy::new_ret_no_self, reason = "a clock is always used shared")]
    pub fn new() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> DateTime<FixedOffset> {
        chrono::Local::now().fixed_offset()
    }

    fn elapsed(&self) -> Duration {
        // Not `Instant`, whose clock stands still while the machine sleeps: whoever wakes up has to see that others went on.
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let since_start = |seconds, nanoseconds| Some(Duration::new(seconds, u32::try_from(nanoseconds).ok()?));
        u64::try_from(time.tv_sec).ok().and_then(|seconds| since_start(seconds, time.tv_nsec)).unwrap_or_default()
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    start: DateTime<FixedOffset>,
    moved: std::sync::Mutex<Duration>,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: DateTime<FixedOffset>) -> Self {
        Self { start, moved: std::sync::Mutex::default() }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        *self.moved.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<FixedOffset> {
        self.start + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.moved.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
