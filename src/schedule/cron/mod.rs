//! When a schedule is due: the grammar and the rules of `robfig/cron` v3's standard parser, which `VolSync` reads its schedules with.
//!
//! Five fields (minute, hour, day of month, month, day of week) with names, lists, ranges and steps, `?` for `*`, or `@hourly` and its like, or `@every 90m`;
//! before any of them `TZ=Europe/Berlin ` or `CRON_TZ=…`. The rules around clock changes are in [`walk`]; that the answers are the same is shown by
//! `tests/it/cron`, a table of what the Go package answers.

mod fields;
mod walk;
mod zone;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use super::go_duration;
use crate::error::{Attempt, Error, Result};
use fields::Fields;

pub use zone::Zone;

/// Longest text of a schedule: nothing sensible is longer.
const TEXT_MAX: usize = 1024;

/// A schedule that comes at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    rule: Rule,
    zone: Option<Zone>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Fields(Fields),
    Every(Duration),
}

impl Cron {
    /// Reads a schedule.
    ///
    /// # Errors
    /// `Invalid` for what robfig's parser refuses, and for a schedule that never comes, such as the 30th of February: with it `VolSync` runs without a pause.
    pub fn parse(text: &str) -> Result<Self> {
        let read = || -> Result<Self> {
            if text.len() > TEXT_MAX {
                return Err(Error::invalid(format!("it is longer than {TEXT_MAX} bytes")));
            }
            let (zone, rest) = zone_of(text)?;
            Ok(Self { text: text.to_owned(), rule: Rule::parse(rest)?, zone })
        };
        let cron = read().map_err(|error| {
            error
                .with_hint(
                    "write it like '17 2 * * *' (minute, hour, day of month, month, day of week), @daily or @every 90m",
                )
                .within(format!("{text:?} is no schedule"))
        })?;
        if cron.next(DateTime::UNIX_EPOCH, Zone::UTC).is_none() {
            return Err(Error::invalid(format!("the schedule {text:?} never comes")));
        }
        Ok(cron)
    }

    /// The first time after `after` that it comes; none when that is more than five years away. `zone` counts where the schedule names none.
    pub fn next(&self, after: DateTime<Utc>, zone: Zone) -> Option<DateTime<Utc>> {
        match &self.rule {
            Rule::Fields(fields) => walk::next(fields, after, self.zone.unwrap_or(zone)),
            Rule::Every(delay) => {
                let second = after.duration_trunc(TimeDelta::seconds(1)).ok()?;
                second.checked_add_signed(TimeDelta::from_std(*delay).ok()?)
            }
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn zone_of(text: &str) -> Result<(Option<Zone>, &str)> {
    let Some(rest) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) else {
        return Ok((None, text));
    };
    let (name, rest) =
        rest.split_once(' ').ok_or_else(|| Error::invalid("there is no schedule after the time zone"))?;
    Ok((Some(Zone::named(name)?), rest.trim()))
}

impl Rule {
    fn parse(text: &str) -> Result<Self> {
        if let Some(delay) = text.strip_prefix("@every ") {
            let delay = go_duration::parse(delay).attempt(|| "read what follows @every".to_owned())?;
            // Whole seconds, and at least one.
            return Ok(Self::Every(Duration::from_secs(delay.as_secs().max(1))));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            text if text.starts_with('@') => return Err(Error::invalid(format!("{text:?} is not known"))),
            text => text,
        };
        Fields::parse(fields).map(Self::Fields)
    }
}

#[cfg(test)]
mod tests;
