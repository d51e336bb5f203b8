//! `--bwlimit`: how many bytes a second may be sent and received, now or by the clock.
//!
//! `10M`, `10M:100k` (sent, received), `off`, or a timetable: `08:00,512k 12:00,10M 23:00,off`, `Mon-08:00,1M Fri-18:00,off`. The
//! last entry before now is in force; before the first one of the week it is the last of all.

use std::str::FromStr;
use std::time::Duration;

use chrono::{Datelike, NaiveDateTime, Timelike};
use tokio::runtime::Handle;

use super::amounts;
use crate::clock::SharedClock;
use crate::error::{Attempt, Error, Result};
use crate::size::ByteSize;
use crate::storage::Bandwidth;

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const DAY_MINUTES: u32 = 24 * 60;

/// A timetable is written in minutes.
const TABLE_READ_EVERY: Duration = Duration::from_secs(15);

/// The limit that `text` describes; it changes as a timetable says for as long as the runtime lives.
///
/// # Errors
/// `Invalid` for what describes none.
pub fn follow(text: &str, clock: SharedClock, runtime: &Handle) -> Result<Bandwidth> {
    let table = text.parse::<Timetable>().attempt(|| format!("option --bwlimit {text:?}"))?;
    let constant = table.is_constant();
    let rates = move || table.rates_at(clock.now().naive_local());
    let now = rates();
    let bandwidth = Bandwidth::new(now.up, now.down);
    if constant {
        return Ok(bandwidth);
    }
    let changing = bandwidth.clone();
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(TABLE_READ_EVERY).await;
            let now = rates();
            changing.set(now.up, now.down);
        }
    });
    Ok(bandwidth)
}

/// Bytes a second; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Sent at most.
    pub up: Option<ByteSize>,
    /// Received at most.
    pub down: Option<ByteSize>,
}

/// Rates by the time of the week.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timetable {
    /// In the order in which they were written.
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// Since Sunday, 00:00.
    minute: u32,
    rates: Rates,
}

impl Timetable {
    /// The rates in force at a time of the wall clock.
    pub fn rates_at(&self, now: NaiveDateTime) -> Rates {
        let minute = now.weekday().num_days_from_sunday() * DAY_MINUTES + now.hour() * 60 + now.minute();
        // Of two for the same minute, `max_by_key` takes the later.
        let begun = self.slots.iter().filter(|slot| slot.minute <= minute).max_by_key(|slot| slot.minute);
        begun.or(self.slots.last()).map(|slot| slot.rates).unwrap_or_default()
    }

    /// Whether the rates never change, so that nobody needs to look at the clock.
    pub fn is_constant(&self) -> bool {
        self.slots.iter().all(|slot| self.slots.first().is_some_and(|first| first.rates == slot.rates))
    }
}

impl FromStr for Timetable {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if !text.contains([' ', ',', ';']) {
            return Ok(Self { slots: vec![Slot { minute: 0, rates: rates(text)? }] });
        }
        let mut slots = Vec::new();
        for entry in text.split([' ', ';']).filter(|entry| !entry.is_empty()) {
            let (time, limit) = entry.split_once(',').ok_or_else(|| refuse(entry))?;
            let rates = rates(limit)?;
            let (day, clock) = match time.split_once('-') {
                Some((day, clock)) => (Some(weekday(day).ok_or_else(|| refuse(entry))?), clock),
                None => (None, time),
            };
            let minute = minute_of_day(clock).ok_or_else(|| refuse(entry))?;
            let days = day.map_or(0..7, |day| day..day + 1);
            slots.extend(days.map(|day| Slot { minute: day * DAY_MINUTES + minute, rates }));
        }
        if slots.is_empty() { Err(refuse(text)) } else { Ok(Self { slots }) }
    }
}

fn refuse(what: &str) -> Error {
    Error::invalid(format!("{what:?} is not a bandwidth limit")).with_hint(
        "write 10M, UP:DOWN such as 10M:off, or a timetable such as \"08:00,512k Fri-18:00,10M:1M Sat-00:00,off\"",
    )
}

/// `10M` for both, or `UP:DOWN`. Nothing is no limit, as rclone has it.
fn rates(text: &str) -> Result<Rates> {
    let one = |text: &str| amounts::size(text).map(|size| size.filter(|size| size.bytes() > 0));
    let (up, down) = text.split_once(':').unwrap_or((text, text));
    Ok(Rates { up: one(up)?, down: one(down)? })
}

fn weekday(name: &str) -> Option<u32> {
    let name = name.to_ascii_lowercase();
    let found = WEEKDAYS.iter().position(|day| *day == name || day.get(..3) == Some(name.as_str()))?;
    u32::try_from(found).ok()
}

/// `08:05`.
fn minute_of_day(clock: &str) -> Option<u32> {
    let two = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    let (hours, minutes) = clock.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(table: &str, time: &str) -> (Option<u64>, Option<u64>) {
        let table: Timetable = table.parse().unwrap();
        let rates = table.rates_at(NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M").unwrap());
        (rates.up.map(ByteSize::bytes), rates.down.map(ByteSize::bytes))
    }

    #[test]
    fn a_limit_is_for_both_directions_or_for_each() {
        let now = "2026-11-20 12:00";
        assert_eq!(at("10M", now), (Some(10 << 20), Some(10 << 20)));
        assert_eq!(at("10M:100k", now), (Some(10 << 20), Some(100 << 10)));
        assert_eq!(at("10M:off", now), (Some(10 << 20), None));
        assert_eq!(at("1.5:0", now), (Some(1536), None));
        assert_eq!(at("off", now), (None, None));
        assert!("10M".parse::<Timetable>().unwrap().is_constant());
        assert_eq!(Timetable::default().rates_at(NaiveDateTime::default()), Rates::default());
    }

    #[test]
    fn a_timetable_of_the_day_wraps_around_midnight() {
        let table = "08:00,512k 12:00,10M 13:00,512k 18:00,30M 23:00,off";
        for (time, rate) in [
            ("2026-11-20 07:59", None),
            ("2026-11-20 08:00", Some(512 << 10)),
            ("2026-11-20 12:30", Some(10 << 20)),
            ("2026-11-20 22:59", Some(30 << 20)),
            ("2026-11-20 23:00", None),
        ] {
            assert_eq!(at(table, time), (rate, rate), "{time}");
        }
        // Before the first entry of the week, the last that was written is in force.
        assert_eq!(at("12:00,1M 08:00,2M", "2026-11-22 00:00"), (Some(2 << 20), Some(2 << 20)));
        assert_eq!(at("12:00,1M 08:00,2M", "2026-11-20 13:00"), (Some(1 << 20), Some(1 << 20)));
    }

    #[test]
    fn a_timetable_of_the_week_stays_until_its_next_entry() {
        let table = "Mon-00:00,512 Friday-23:59,10M:1M;Sat-10:00,1M Sun-20:00,off";
        for (time, up) in [
            ("2026-11-16 00:00", Some(512 << 10)),
            ("2026-11-20 23:58", Some(512 << 10)),
            ("2026-11-20 23:59", Some(10 << 20)),
            ("2026-11-21 12:00", Some(1 << 20)),
            ("2026-11-22 19:00", None),
            ("2026-11-22 21:00", None),
        ] {
            assert_eq!(at(table, time).0, up, "{time}");
        }
    }

    #[test]
    fn what_rclone_refuses_is_refused() {
        for text in [
            "",
            "25:00,1M",
            "10:60,1M",
            "Mon,1M",
            "8:5,1M",
            ":1M",
            "1M:",
            "1M:1M:1M",
            "Foo-10:00,1M",
            "1M 2M",
            " ",
            "10:00,1M,2M",
            "+1:00,1M",
        ] {
            assert!(text.parse::<Timetable>().is_err(), "{text:?}");
        }
    }
}
