//! From a moment to the next one that a schedule allows, over changes of the clock.
//!
//! The rules are those of `robfig/cron` v3: months and days are walked by the calendar, hours and minutes by real time. So an hour that a clock leaves
//! out in spring is left out (a daily run at 2:30 does not happen that day), and one that comes twice in autumn comes twice. Where a zone has no midnight,
//! the day begins at its first whole hour that the walk meets.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Timelike, Utc};

use super::fields::Fields;
use super::zone::Zone;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// Years after which nothing is expected any more: a 29th of February comes within eight, but not seldom within four.
const YEARS: i32 = 5;

/// Whether the walk came past the end of what it walks through, so that what is larger has to be looked at again.
#[derive(PartialEq, Eq)]
enum Found {
    Here,
    Beyond,
}

struct Walk<'f> {
    fields: &'f Fields,
    zone: Zone,
    unix: i64,
    /// Whether it has begun: at the first step what is smaller goes to its beginning, and stays there.
    begun: bool,
}

pub(super) fn next(fields: &Fields, after: DateTime<Utc>, zone: Zone) -> Option<DateTime<Utc>> {
    let mut walk = Walk { fields, zone, unix: after.timestamp().checked_add(1)?, begun: false };
    let last_year = walk.local()?.year() + YEARS;
    while walk.local()?.year() <= last_year {
        if walk.month()? == Found::Here
            && walk.day()? == Found::Here
            && walk.hour()? == Found::Here
            && walk.minute()? == Found::Here
            && walk.second()? == Found::Here
        {
            return DateTime::from_timestamp(walk.unix, 0);
        }
    }
    None
}

impl Walk<'_> {
    /// What clocks show.
    fn local(&self) -> Option<NaiveDateTime> {
        let shown = self.unix.checked_add(self.zone.offset(self.unix))?;
        Some(DateTime::from_timestamp(shown, 0)?.naive_utc())
    }

    /// Goes to the moment at which clocks show this. Where they never do, or do so twice, as Go's `time.Date` has it: by the offset that counts one offset
    /// earlier.
    fn set(&mut self, shown: NaiveDateTime) -> Option<()> {
        let shown = shown.and_utc().timestamp();
        let near = shown.checked_sub(self.zone.offset(shown))?;
        self.unix = shown.checked_sub(self.zone.offset(near))?;
        Some(())
    }

    /// The first step to another day or month begins at this one's first moment.
    fn begin(&mut self, date: NaiveDate) -> Option<()> {
        if !self.begun {
            self.begun = true;
            self.set(date.and_hms_opt(0, 0, 0)?)?;
        }
        Some(())
    }

    fn month(&mut self) -> Option<Found> {
        while !self.fields.month(self.local()?.month()) {
            self.begin(self.local()?.date().with_day(1)?)?;
            let shown = self.local()?;
            let (year, month) =
                if shown.month() == 12 { (shown.year() + 1, 1) } else { (shown.year(), shown.month() + 1) };
            // A day that the month does not have runs over into the next, as Go's dates do.
            let day = NaiveDate::from_ymd_opt(year, month, 1)?.checked_add_days(Days::new(u64::from(shown.day0())))?;
            self.set(day.and_time(shown.time()))?;
            if self.local()?.month() == 1 {
                return Some(Found::Beyond);
            }
        }
        Some(Found::Here)
    }

    fn day(&mut self) -> Option<Found> {
        loop {
            let shown = self.local()?;
            if self.fields.day(shown.day(), shown.weekday().num_days_from_sunday()) {
                return Some(Found::Here);
            }
            self.begin(shown.date())?;
            let shown = self.local()?;
            self.set(shown.date().checked_add_days(Days::new(1))?.and_time(shown.time()))?;
            // Where a clock change takes midnight away, back or on to the hour that is nearest to it.
            match i64::from(self.local()?.hour()) {
                0 => {}
                hour if hour > 12 => self.unix += (24 - hour) * HOUR,
                hour => self.unix -= hour * HOUR,
            }
            if self.local()?.day() == 1 {
                return Some(Found::Beyond);
            }
        }
    }

    fn hour(&mut self) -> Option<Found> {
        while !self.fields.hour(self.local()?.hour()) {
            if !self.begun {
                self.begun = true;
                let shown = self.local()?;
                self.set(shown.date().and_hms_opt(shown.hour(), 0, 0)?)?;
            }
            self.unix += HOUR;
            if self.local()?.hour() == 0 {
                return Some(Found::Beyond);
            }
        }
        Some(Found::Here)
    }

    fn minute(&mut self) -> Option<Found> {
        while !self.fields.minute(self.local()?.minute()) {
            if !self.begun {
                self.begun = true;
                self.unix -= self.unix.rem_euclid(MINUTE);
            }
            self.unix += MINUTE;
            if self.local()?.minute() == 0 {
                return Some(Found::Beyond);
            }
        }
        Some(Found::Here)
    }

    /// Schedules come at the beginning of a minute.
    fn second(&mut self) -> Option<Found> {
        let second = i64::from(self.local()?.second());
        if second == 0 {
            return Some(Found::Here);
        }
        self.begun = true;
        self.unix += MINUTE - second;
        Some(Found::Beyond)
    }
}
