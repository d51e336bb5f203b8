//! Times as people write and read them.

use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeZone};

use crate::error::{Error, Result};

/// Reads a time: RFC 3339, or date and time, or a date alone, in the machine's time zone.
///
/// # Errors
/// `Invalid` for anything else, and for a time that the zone's clock change leaves out.
pub fn parse_time(text: &str) -> Result<DateTime<FixedOffset>> {
    parse_in(text, &chrono::Local)
}

/// As [`parse_time`]; a time given in whole seconds means that second to its end, as it is shown in a list.
pub fn parse_time_to_its_end(text: &str) -> Result<DateTime<FixedOffset>> {
    let time = parse_time(text)?;
    Ok(if time.timestamp_subsec_nanos() == 0 { time + chrono::TimeDelta::nanoseconds(999_999_999) } else { time })
}

fn parse_in<Z: TimeZone>(text: &str, zone: &Z) -> Result<DateTime<FixedOffset>> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time);
    }
    let refuse = || {
        Error::invalid(format!("{text:?} is not a time"))
            .with_hint("write it like 2024-03-01T22:08:41Z, '2024-03-01 22:08:41' or 2024-03-01")
    };
    let dated = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let naive = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(dated)
        .ok_or_else(refuse)?;
    // When the clock goes back an hour comes twice; the first one is meant, as in Go.
    let local = zone.from_local_datetime(&naive).earliest().ok_or_else(refuse)?;
    Ok(local.fixed_offset())
}

/// `1:02:03` or `2:03`.
pub fn in_minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_restic_and_as_kubernetes_write_them() {
        let zone = FixedOffset::east_opt(7200).unwrap();
        for (text, expected) in [
            ("2024-03-01T22:08:41Z", "2024-03-01T22:08:41+00:00"),
            ("2024-03-01T22:08:41.5-05:00", "2024-03-01T22:08:41.500-05:00"),
            ("2024-03-01 22:08:41", "2024-03-01T22:08:41+02:00"),
            ("2024-03-01T22:08:41", "2024-03-01T22:08:41+02:00"),
            ("2024-03-01 22:08", "2024-03-01T22:08:00+02:00"),
            (" 2024-03-01 ", "2024-03-01T00:00:00+02:00"),
        ] {
            assert_eq!(parse_in(text, &zone).unwrap().to_rfc3339(), expected, "{text}");
        }
        for text in ["", "now", "22:08", "2024-13-01", "2024-02-30", "1709330921"] {
            assert!(parse_in(text, &zone).is_err(), "{text}");
        }
    }
}
