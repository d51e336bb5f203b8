//! Sizes, durations and ages as rclone's users write them.

use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime};

use crate::error::{Error, Result};
use crate::size::ByteSize;

/// Digits after the point that are looked at.
const DECIMALS_MAX: usize = 9;

const MILLISECOND: u128 = 1_000_000;
const SECOND: u128 = 1000 * MILLISECOND;
const HOUR: u128 = 3600 * SECOND;
const DAY: u128 = 24 * HOUR;

/// rclone's units of time, in nanoseconds; a number without one is in seconds. The longer names come first.
const UNITS: [(&str, u128); 9] = [
    ("ms", MILLISECOND),
    ("d", DAY),
    ("w", 7 * DAY),
    ("M", 30 * DAY),
    ("y", 365 * DAY),
    ("h", HOUR),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("", SECOND),
];

/// Units that may be joined, as in `1h30m`.
const JOINED: [(&str, u128); 7] =
    [("ns", 1), ("us", 1000), ("µs", 1000), ("ms", MILLISECOND), ("h", HOUR), ("m", 60 * SECOND), ("s", SECOND)];

/// A size: `512k`, `1.5G`, `10MiB`, `7B`; a bare number is in KiB. `off` is none.
///
/// # Errors
/// `Invalid` for anything else.
pub fn size(text: &str) -> Result<Option<ByteSize>> {
    if text == "off" {
        return Ok(None);
    }
    let refuse = || {
        Error::invalid(format!("{text:?} is not a size"))
            .with_hint("write a number with a suffix B, K, M, G, T or P (without one it is in KiB), or off")
    };
    let lower = text.to_ascii_lowercase();
    let (number, shift) = match lower.strip_suffix(|c: char| c == 'b') {
        Some(rest) if !rest.ends_with('i') => (rest, 0),
        rest => {
            let unit = rest.unwrap_or(&lower).strip_suffix('i').unwrap_or(&lower);
            let binary = lower.len() > unit.len();
            let split = unit.char_indices().next_back().filter(|(_, c)| c.is_ascii_alphabetic());
            match split {
                None if binary => return Err(refuse()),
                None => (unit, 10),
                Some((at, c)) => {
                    let power = "kmgtpe".find(c).ok_or_else(refuse)?;
                    (unit.get(..at).unwrap_or_default(), 10 * (power + 1))
                }
            }
        }
    };
    let size = scaled(number, 1_u128 << shift).and_then(|size| u64::try_from(size).ok());
    size.map(|size| Some(ByteSize(size))).ok_or_else(refuse)
}

/// A length of time: `1h30m`, `1.5d`, `2w`, `100` (seconds). `off` is none.
///
/// # Errors
/// `Invalid` for anything else, and for what is longer than 500 years.
pub fn duration(text: &str) -> Result<Option<Duration>> {
    if text == "off" {
        return Ok(None);
    }
    let single = UNITS.iter().find_map(|(unit, nanos)| scaled(text.strip_suffix(unit)?, *nanos));
    let nanos = single.or_else(|| joined(text)).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map(|nanos| Some(Duration::from_nanos(nanos))).ok_or_else(|| {
        Error::invalid(format!("{text:?} is not a duration"))
            .with_hint("write a number with a suffix ms, s, m, h, d, w, M or y (without one it is in seconds), or off")
    })
}

/// A point in time: a date (`2024-01-31`, `2024-01-31T10:00:00`, with or without an offset), or a duration before `now`.
///
/// # Errors
/// `Invalid` for anything else.
pub fn moment(text: &str, now: DateTime<FixedOffset>) -> Result<Option<DateTime<FixedOffset>>> {
    let refused = match duration(text) {
        Ok(None) => return Ok(None),
        Ok(Some(age)) => return Ok(now.checked_sub_signed(chrono::Duration::from_std(age).unwrap_or_default())),
        Err(error) => error,
    };
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(Some(moment));
    }
    let local = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0));
    let moment = local.and_then(|local| local.and_local_timezone(*now.offset()).single());
    moment.map(Some).ok_or(refused)
}

/// `1h30m`: numbers with units, joined.
fn joined(text: &str) -> Option<u128> {
    let (mut sum, mut rest) = (0_u128, text);
    while !rest.is_empty() {
        let number = rest.get(..rest.find(|c: char| !c.is_ascii_digit() && c != '.')?)?;
        let (unit, nanos) =
            JOINED.iter().find(|(unit, _)| rest.get(number.len()..).is_some_and(|r| r.starts_with(unit)))?;
        sum = sum.checked_add(scaled(number, *nanos)?)?;
        rest = rest.get(number.len() + unit.len()..)?;
    }
    (!text.is_empty()).then_some(sum)
}

/// A decimal number times `unit`, rounded down.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || whole.len() + decimals.len() == 0 {
        return None;
    }
    let decimals: String = decimals.chars().chain("000000000".chars()).take(DECIMALS_MAX).collect();
    let billionths: u128 = format!("{whole}{decimals}").parse().ok()?;
    Some(billionths.checked_mul(unit)? / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_rclone_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1024),
            ("1.5", 1536),
            ("7b", 7),
            ("7B", 7),
            ("10k", 10 << 10),
            ("1Ki", 1 << 10),
            ("1kib", 1 << 10),
            ("1.5M", 3 << 19),
            ("2GiB", 2 << 30),
            ("1T", 1 << 40),
            ("1p", 1 << 50),
            ("1e", 1 << 60),
        ] {
            assert_eq!(size(text).unwrap(), Some(ByteSize(bytes)), "{text}");
        }
        assert_eq!(size("off").unwrap(), None);
        for text in ["", "1KB", "1MB", "-1", "1 K", "k", "1x", "1i", "1iB", "99999999P", ".", "1.2.3", "K1"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_rclone_reads_them() {
        for (text, seconds) in [
            ("100", 100),
            ("1.5d", 129_600),
            ("1h30m", 5400),
            ("1.5h30m", 7200),
            ("2w", 1_209_600),
            ("1M", 2_592_000),
            ("1m", 60),
            ("1y", 31_536_000),
            ("3000ms", 3),
            ("1h1m1s", 3661),
        ] {
            assert_eq!(duration(text).unwrap(), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("1us").unwrap(), Some(Duration::from_micros(1)));
        assert_eq!(duration("off").unwrap(), None);
        for text in ["", "h", "1d12h", "-1h", "1x", "1000y", "1h 30m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_dates_or_ages() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap();
        let now = at("2026-03-04T05:06:07+02:00");
        for (text, moment_then) in [
            ("1d", "2026-03-03T05:06:07+02:00"),
            ("2024-01-31", "2024-01-31T00:00:00+02:00"),
            ("2024-01-31 10:00:00", "2024-01-31T10:00:00+02:00"),
            ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ] {
            assert_eq!(moment(text, now).unwrap(), Some(at(moment_then)), "{text}");
        }
        assert_eq!(moment("off", now).unwrap(), None);
        assert!(moment("yesterday", now).is_err());
    }
}
