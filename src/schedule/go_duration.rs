//! Durations as Go reads and writes them: those of `VolSync`'s documents are Go's.

use std::fmt::Write as _;
use std::time::Duration;

use crate::error::{Error, Result};

/// `1h2m3.5s`, `250ms`, `0s`.
pub(super) fn format(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    match (seconds, nanos) {
        (0, 0) => return "0s".to_owned(),
        (0, 1..1_000) => return format!("{nanos}ns"),
        (0, 1_000..1_000_000) => return format!("{}µs", decimal(u64::from(nanos / 1_000), nanos % 1_000, 3)),
        (0, _) => return format!("{}ms", decimal(u64::from(nanos / 1_000_000), nanos % 1_000_000, 6)),
        (_, _) => {}
    }
    let mut text = String::new();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if seconds >= 60 {
        let _ = write!(text, "{minutes}m");
    }
    text + &decimal(seconds % 60, nanos, 9) + "s"
}

/// A whole number and its fraction of so many digits, without zeros at the end.
fn decimal(whole: u64, fraction: u32, digits: usize) -> String {
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

/// Reads what Go's `time.ParseDuration` reads and is not negative.
///
/// # Errors
/// `Invalid` for anything else, and for more than some 290 years.
pub fn parse(text: &str) -> Result<Duration> {
    let refuse = || {
        Error::invalid(format!("{text:?} is not a duration"))
            .with_hint("write it like 30s, 10m, 1h30m or 300ms, as Go does")
    };
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(refuse());
    }
    // As in Go, whose durations are 63 bits of nanoseconds.
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(refuse());
        }
        let end = after.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos = nanos_of(unit).ok_or_else(refuse)?;
        let part = value(whole, fraction, nanos).ok_or_else(refuse)?;
        total = total.checked_add(part).filter(|sum| *sum <= i64::MAX.unsigned_abs()).ok_or_else(refuse)?;
        rest = after;
    }
    Ok(Duration::from_nanos(total))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()))
}

fn nanos_of(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        "us" | "µs" | "μs" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

fn value(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut part = 0_u64;
    let mut scale = unit;
    // Finer than a nanosecond is left out.
    for digit in fraction.bytes() {
        scale /= 10;
        part = part.checked_add(u64::from(digit - b'0').checked_mul(scale)?)?;
    }
    whole.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_and_read_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (3_600_000_000_000, "1h0m0s"),
            (60_000_000_000, "1m0s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
            assert_eq!(parse(text).unwrap(), Duration::from_nanos(nanos), "{text}");
        }
        for (text, seconds) in
            [("1h30m", 5400.0), ("+5s", 5.0), (".5s", 0.5), ("1.s", 1.0), ("0", 0.0), ("39h9m14.425s", 140_954.425)]
        {
            assert!((parse(text).unwrap().as_secs_f64() - seconds).abs() < 1e-9, "{text}");
        }
        for text in ["", "3", "-5s", "s", ".", "1", "5d", "1h ", "3000000h", "99999999999999999999s", "1..5s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
