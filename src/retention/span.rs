//! Lengths of time as people and calendars count them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, TimeDelta, TimeZone};

use crate::error::Error;

/// So many years, months, weeks, days and hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
    hours: u32,
}

impl Span {
    /// Whether it has no length.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The moment this long before `time`, by the calendar of that time's own UTC offset; none if that is before all dates.
    ///
    /// A day that its month does not have runs over into the next one, as in Go: a month before 31 March is 3 March ("31 February"),
    /// or 2 March in a leap year.
    pub fn before(&self, time: DateTime<FixedOffset>) -> Option<DateTime<FixedOffset>> {
        let local = time.naive_local();
        let (years, months) = (i64::from(self.years), i64::from(self.months));
        let months = i64::from(local.year()) * 12 + i64::from(local.month0()) - 12 * years - months;
        let month = u32::try_from(months.rem_euclid(12)).ok()? + 1;
        let first = NaiveDate::from_ymd_opt(i32::try_from(months.div_euclid(12)).ok()?, month, 1)?;
        let days = i64::from(local.day0()) - 7 * i64::from(self.weeks) - i64::from(self.days);
        let date = first.checked_add_signed(TimeDelta::try_days(days)?)?;
        let moved = time.offset().from_local_datetime(&date.and_time(local.time())).single()?;
        moved.checked_sub_signed(TimeDelta::try_hours(i64::from(self.hours))?)
    }
}

impl FromStr for Span {
    type Err = Error;

    /// Numbers with units `y`, `m` (months), `w`, `d` and `h`, in any order, like `1y5m7d2h`; of a repeated unit the last one counts.
    /// An empty text has no length.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::invalid(format!("{text:?} is not a duration: {why}"))
                .with_hint("write it like 1y5m7d2h, with the units y, m (months), w, d and h")
        };
        let mut span = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if rest.starts_with('-') {
                return Err(refuse("negative values are not allowed"));
            }
            let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| refuse("a number has no unit"))?;
            let (number, units) = rest.split_at(unit_at);
            if number.is_empty() {
                return Err(refuse("a unit has no number"));
            }
            let number = number.parse().map_err(|_| refuse("a number is too large"))?;
            let mut units = units.chars();
            let field = match units.next() {
                Some('y') => &mut span.years,
                Some('m') => &mut span.months,
                Some('w') => &mut span.weeks,
                Some('d') => &mut span.days,
                Some('h') => &mut span.hours,
                Some(_) | None => return Err(refuse("a unit is unknown")),
            };
            *field = number;
            rest = units.as_str();
        }
        Ok(span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.weeks, 'w'), (self.days, 'd'), (self.hours, 'h')];
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_restic_and_volsync_write_them() {
        for (text, shown) in [
            ("1y5m7d2h", "1y5m7d2h"),
            ("2h7d5m1y", "1y5m7d2h"),
            ("3w15h", "3w15h"),
            (" 6y5m234d37h ", "6y5m234d37h"),
            ("1d2d", "2d"),
            ("0d", ""),
            ("", ""),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), shown, "{text}");
            assert_eq!(span.is_zero(), shown.is_empty(), "{text}");
        }
        for text in ["1", "d", "1x", "-1d", "1d-2h", "1 d", "99999999999d", "1M", "1d,2h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_is_subtracted_by_the_calendar_of_the_times_own_offset() {
        for (time, span, before) in [
            ("2023-03-31T10:00:00+00:00", "1m", "2023-03-03T10:00:00+00:00"),
            ("2024-03-31T10:00:00+00:00", "1m", "2024-03-02T10:00:00+00:00"),
            ("2024-02-29T10:00:00+00:00", "1y", "2023-03-01T10:00:00+00:00"),
            ("2024-01-15T10:00:00+00:00", "1m", "2023-12-15T10:00:00+00:00"),
            ("2024-05-31T00:00:00+00:00", "1y3m1d", "2023-03-02T00:00:00+00:00"),
            ("2024-03-01T01:30:00+02:00", "1d", "2024-02-29T01:30:00+02:00"),
            ("2024-03-01T01:30:00+02:00", "2h", "2024-02-29T23:30:00+02:00"),
            ("2024-03-22T15:00:00-05:00", "3w15h", "2024-03-01T00:00:00-05:00"),
            ("2024-01-01T00:00:00+00:00", "25m", "2021-12-01T00:00:00+00:00"),
        ] {
            let time = DateTime::parse_from_rfc3339(time).unwrap();
            assert_eq!(span.parse::<Span>().unwrap().before(time).unwrap().to_rfc3339(), before, "{time} - {span}");
        }
        let time = DateTime::parse_from_rfc3339("2024-01-01T00:00:00Z").unwrap();
        for endless in ["300000y", "4294967295m", "4294967295d", "4294967295w", "4294967295h4294967295y"] {
            assert_eq!(endless.parse::<Span>().unwrap().before(time), None, "{endless}");
        }
    }
}
