//! Which part of the data a check reads so that all of it is read once per period: the slices that were not read for longest, as many as the time since
//! the last such check is a part of the period.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::repo::{PackInfo, Verified};

/// Slices there are.
const SLICES: u64 = 256;
/// What is assumed to have passed before the first check with a budget.
const FIRST: Duration = Duration::from_hours(24);

/// How far checks with a budget have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Parts that this check read, of 256.
    pub read: u64,
    /// Parts that were read within the period, this check's included.
    pub within: u64,
    /// When the part that waits longest was read, in Unix seconds; none if there is one that never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<i64>,
}

/// The slices that are to be read now, by the first byte of the packs' names.
pub(super) fn due(verified: &Verified, period: Duration, now: i64) -> BTreeSet<u8> {
    let period = period.as_secs().max(1);
    let since = match verified.noted {
        0 => FIRST.as_secs(),
        noted => u64::try_from(now.saturating_sub(noted)).unwrap_or(0),
    };
    // Rounded up, so that the last of all slices is reached within the period.
    let count = since.saturating_mul(SLICES).div_ceil(period).clamp(1, SLICES);
    let mut slices: Vec<(i64, u8)> = (0..=u8::MAX).map(|slice| (time_of(verified, slice, now), slice)).collect();
    slices.sort_unstable();
    slices.into_iter().map(|(_, slice)| slice).take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
}

/// A time after now is one of a clock that was wrong: it says nothing.
fn time_of(verified: &Verified, slice: u8, now: i64) -> i64 {
    verified.slices.get(usize::from(slice)).copied().filter(|time| *time <= now).unwrap_or(0)
}

/// The slice of a pack.
pub(super) fn slice_of(info: &PackInfo) -> u8 {
    info.pack.name.as_bytes().first().copied().unwrap_or(0)
}

/// What is to be noted when these slices were read at `now`.
pub(super) fn noted(before: &Verified, read: &BTreeSet<u8>, now: i64) -> Verified {
    let time = |slice: u8| if read.contains(&slice) { now } else { time_of(before, slice, now) };
    Verified { noted: now, slices: (0..=u8::MAX).map(time).collect() }
}

/// How far that is.
pub(super) fn coverage(verified: &Verified, read: u64, period: Duration, now: i64) -> Coverage {
    let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
    let is_recent = |time: &&i64| **time > 0 && now.saturating_sub(**time) <= period;
    let within = verified.slices.iter().filter(is_recent).count() as u64;
    let oldest = verified.slices.iter().min().copied().filter(|time| *time > 0);
    Coverage { read, within, oldest }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const MONTH: Duration = Duration::from_hours(24 * 30);

    /// Runs checks at these times; returns for each slice the times at which it was read.
    fn run(times: &[i64]) -> Vec<Vec<i64>> {
        let mut verified = Verified::default();
        let mut read = vec![Vec::new(); 256];
        for now in times {
            let due = due(&verified, MONTH, *now);
            for slice in &due {
                read[usize::from(*slice)].push(*now);
            }
            verified = noted(&verified, &due, *now);
        }
        read
    }

    #[test]
    fn every_part_is_read_once_per_period_however_often_checks_run() {
        let start = 1_700_000_000;
        for step in [DAY / 24, DAY / 3, DAY, 3 * DAY, 7 * DAY] {
            let times: Vec<i64> = (0..200 * DAY / step).map(|n| start + n * step).collect();
            for reads in run(&times) {
                assert!(reads[0] - start <= 30 * DAY + step, "{step}: first after {} days", (reads[0] - start) / DAY);
                let longest = reads.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
                let most = times.len() as u64 * 256;
                assert!(longest <= 30 * DAY + step, "{step}: {} days", longest / DAY);
                assert!((reads.len() as u64) < most);
            }
        }
    }

    #[test]
    fn a_daily_check_reads_a_thirtieth_and_a_late_one_catches_up() {
        let start = 1_700_000_000;
        let fresh = due(&Verified::default(), MONTH, start);
        assert_eq!(fresh.len(), 9);
        let after = noted(&Verified::default(), &fresh, start);
        assert_eq!(due(&after, MONTH, start + 60).len(), 1);
        assert_eq!(due(&after, MONTH, start + 15 * DAY).len(), 128);
        assert_eq!(due(&after, MONTH, start + 300 * DAY).len(), 256);
        assert!(due(&after, MONTH, start + DAY).is_disjoint(&fresh));
        let coverage = coverage(&after, 9, MONTH, start);
        assert_eq!((coverage.read, coverage.within, coverage.oldest), (9, 9, None));
    }

    #[test]
    fn a_clock_that_was_wrong_costs_work_and_leaves_nothing_out() {
        let now = 1_700_000_000;
        let ahead = noted(&Verified::default(), &(0..=255).collect(), now + 1000 * DAY);
        let mut verified = ahead;
        let mut seen = BTreeSet::new();
        for day in 0..40 {
            let due = due(&verified, MONTH, now + day * DAY);
            seen.extend(due.iter().copied());
            verified = noted(&verified, &due, now + day * DAY);
        }
        assert_eq!(seen.len(), 256);
    }
}
