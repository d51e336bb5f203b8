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
    /// Time since an arbitrary moment; never goes back.
    fn elapsed(&self) -> Duration;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// The machine's clock.
    #[expect(clippy::new_ret_no_self, reason = "a clock is always used shared")]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn new() -> SharedClock {
        Arc::new(Self { start: std::time::Instant::now() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> DateTime<FixedOffset> {
        chrono::Local::now().fixed_offset()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
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
