//! Times and amounts for people.

use chrono::{DateTime, Utc};

use crate::size::ByteSize;

/// More than a year is shown as a year.
const SECONDS_MAX: f64 = 4e7;

/// `2026-11-20 21:05:00 UTC`: a page is read in any time zone.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `3 min ago`, `in 2 h`, `now`.
pub(super) fn relative(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (time - now).num_seconds();
    match seconds {
        -4..=4 => "now".to_owned(),
        5.. => format!("in {}", coarse(seconds.unsigned_abs())),
        _ => format!("{} ago", coarse(seconds.unsigned_abs())),
    }
}

/// The largest unit of which there are two.
fn coarse(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `0.25 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    // Whatever a status file says.
    let seconds = if seconds.is_finite() { seconds.clamp(0.0, SECONDS_MAX) } else { 0.0 };
    let rounded = std::time::Duration::try_from_secs_f64(seconds.round()).unwrap_or_default().as_secs();
    match rounded {
        0..10 => format!("{seconds:.2} s"),
        10..60 => format!("{rounded} s"),
        60..3_600 => format!("{} min {} s", rounded / 60, rounded % 60),
        _ => format!("{} h {} min", rounded / 3_600, rounded / 60 % 60),
    }
}

/// `1.093 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// `1 234 567`, by a thin space that no line is broken at.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn times_and_amounts_are_short() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        for (seconds, words) in
            [(0, "now"), (-60, "60 s ago"), (-600, "10 min ago"), (7_300, "in 2 h"), (-200_000, "2 days ago")]
        {
            assert_eq!(relative(now + TimeDelta::seconds(seconds), now), words);
        }
        for (seconds, words) in
            [(0.254, "0.25 s"), (12.4, "12 s"), (59.9, "1 min 0 s"), (7_500.0, "2 h 5 min"), (-1.0, "0.00 s")]
        {
            assert_eq!(duration(seconds), words);
        }
        assert_eq!((duration(f64::NAN).as_str(), duration(f64::INFINITY).as_str()), ("0.00 s", "0.00 s"));
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        assert_eq!(time(now), "2026-09-21 14:13:20 UTC");
    }
}
