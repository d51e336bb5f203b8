//! How fast a run is, and how long it will take.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::events::Progress;

/// A rate over this time follows a change of pace and does not jump with every file.
const WINDOW: Duration = Duration::from_secs(15);

/// The counters at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) files_total: u64,
    pub(super) bytes_total: u64,
    pub(super) files_done: u64,
    pub(super) bytes_done: u64,
    pub(super) errors: u64,
    pub(super) totals_are_final: bool,
    pub(super) current: Option<String>,
}

impl Counts {
    pub(super) fn read(progress: &Progress) -> Self {
        let files_done = progress.files_done.load(Ordering::Relaxed);
        let bytes_done = progress.bytes_done.load(Ordering::Relaxed);
        Self {
            files_total: progress.files_total.load(Ordering::Relaxed),
            bytes_total: progress.bytes_total.load(Ordering::Relaxed),
            files_done,
            bytes_done,
            errors: progress.errors.load(Ordering::Relaxed),
            totals_are_final: progress.scan_finished.load(Ordering::Relaxed),
            current: progress.current.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Remembers the last [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Duration, u64)>);

impl Pace {
    /// Takes note of the bytes done at a time.
    pub(super) fn note(&mut self, at: Duration, bytes: u64) {
        self.0.push_back((at, bytes));
        let old = at.saturating_sub(WINDOW);
        // One moment before the window stays, so that it is covered in full.
        while self.0.get(1).is_some_and(|(second, _)| *second <= old) {
            self.0.pop_front();
        }
    }

    /// Bytes a second; `None` until there is something to say.
    pub(super) fn rate(&self) -> Option<u64> {
        let ((from, bytes_before), (to, bytes)) = (self.0.front()?, self.0.back()?);
        let millis = u64::try_from(to.checked_sub(*from)?.as_millis()).ok().filter(|millis| *millis > 0)?;
        bytes.checked_sub(*bytes_before)?.checked_mul(1000)?.checked_div(millis)
    }

    /// Time left at this rate; `None` while the totals may grow.
    pub(super) fn remaining(&self, counts: &Counts) -> Option<Duration> {
        let left =
            counts.bytes_total.checked_sub(counts.bytes_done).filter(|left| *left > 0 && counts.totals_are_final)?;
        let rate = self.rate().filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(left.div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.rate(), None);
        pace.note(Duration::ZERO, 0);
        assert_eq!(pace.rate(), None);
        for second in 1..=60 {
            // Ten bytes a second for half a minute, then a hundred.
            let bytes = if second <= 30 { second * 10 } else { 300 + (second - 30) * 100 };
            pace.note(Duration::from_secs(second), bytes);
        }
        assert_eq!(pace.rate(), Some(100));
        assert!(pace.0.len() <= 17, "{}", pace.0.len());
    }

    #[test]
    fn the_time_left_is_told_once_the_totals_are_final() {
        let mut pace = Pace::default();
        pace.note(Duration::ZERO, 0);
        pace.note(Duration::from_secs(2), 100);
        let mut counts = Counts { bytes_total: 1000, bytes_done: 100, ..Counts::default() };
        assert_eq!(pace.remaining(&counts), None);
        counts.totals_are_final = true;
        assert_eq!(pace.remaining(&counts), Some(Duration::from_secs(18)));
        counts.bytes_done = 1000;
        assert_eq!(pace.remaining(&counts), None);
    }
}
