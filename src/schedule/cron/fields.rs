//! The five fields of a schedule as sets of numbers.

use crate::error::{Error, Result};

/// What a field may hold.
struct Bounds {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTE: Bounds = Bounds { what: "minute", least: 0, most: 59, names: &[] };
const HOUR: Bounds = Bounds { what: "hour", least: 0, most: 23, names: &[] };
const DAY: Bounds = Bounds { what: "day of month", least: 1, most: 31, names: &[] };
const MONTH: Bounds = Bounds {
    what: "month",
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Bounds =
    Bounds { what: "day of week", least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// The numbers that a field allows, and whether it said "any".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Set {
    bits: u64,
    any: bool,
}

/// A schedule's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    minute: Set,
    hour: Set,
    day: Set,
    month: Set,
    weekday: Set,
}

impl Fields {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = *words.as_slice() else {
            return Err(Error::invalid(format!("it has {} fields and not 5", words.len())));
        };
        Ok(Self {
            minute: Set::parse(minute, &MINUTE)?,
            hour: Set::parse(hour, &HOUR)?,
            day: Set::parse(day, &DAY)?,
            month: Set::parse(month, &MONTH)?,
            weekday: Set::parse(weekday, &WEEKDAY)?,
        })
    }

    pub(super) fn minute(&self, minute: u32) -> bool {
        self.minute.has(minute)
    }

    pub(super) fn hour(&self, hour: u32) -> bool {
        self.hour.has(hour)
    }

    pub(super) fn month(&self, month: u32) -> bool {
        self.month.has(month)
    }

    /// Where both fields name days, either will do; where one says "any", only the other counts.
    pub(super) fn day(&self, of_month: u32, of_week: u32) -> bool {
        let (by_month, by_week) = (self.day.has(of_month), self.weekday.has(of_week));
        if self.day.any || self.weekday.any { by_month && by_week } else { by_month || by_week }
    }
}

impl Set {
    const fn has(self, number: u32) -> bool {
        number < u64::BITS && self.bits >> number & 1 == 1
    }

    /// A list of ranges. Empty pieces of it count for nothing, as in robfig's parser; a list of nothing else is refused here.
    fn parse(text: &str, bounds: &Bounds) -> Result<Self> {
        let mut set = Self::default();
        for piece in text.split(',').filter(|piece| !piece.is_empty()) {
            let range =
                Self::range(piece, bounds).map_err(|error| error.within(format!("{piece:?} is no {}", bounds.what)))?;
            set.bits |= range.bits;
            set.any |= range.any;
        }
        if set.bits == 0 { Err(Error::invalid(format!("there is no {}", bounds.what))) } else { Ok(set) }
    }

    /// `5`, `1-5`, `*`, `?`, each with `/step`; `5/step` goes on to the end.
    fn range(text: &str, bounds: &Bounds) -> Result<Self> {
        let (span, step) = match text.split_once('/') {
            Some((_, step)) if step.contains('/') => return Err(Error::invalid("it has more than one step")),
            Some((span, step)) => (span, Some(number(step)?)),
            None => (text, None),
        };
        let (low, high) = span.split_once('-').map_or((span, None), |(low, high)| (low, Some(high)));
        let all = matches!(low, "*" | "?");
        let (from, to) = if all {
            // What follows a dash after a star is not looked at.
            (bounds.least, bounds.most)
        } else {
            let from = bounds.number(low)?;
            let to = match (high, step) {
                (Some(high), _) if high.contains('-') => return Err(Error::invalid("it has more than one dash")),
                (Some(high), _) => bounds.number(high)?,
                (None, Some(_)) => bounds.most,
                (None, None) => from,
            };
            (from, to)
        };
        if from < bounds.least || to > bounds.most || from > to {
            return Err(Error::invalid(format!("from {} to {} it goes", bounds.least, bounds.most)));
        }
        let step = step.unwrap_or(1);
        let stride = usize::try_from(step).ok().filter(|stride| *stride > 0);
        let stride = stride.ok_or_else(|| Error::invalid("a step is at least 1"))?;
        let bits = (from..=to).step_by(stride).fold(0, |bits, number| bits | 1_u64 << number);
        Ok(Self { bits, any: all && step <= 1 })
    }
}

impl Bounds {
    fn number(&self, text: &str) -> Result<u32> {
        let lower = text.to_lowercase();
        match (self.least..).zip(self.names).find(|(_, name)| **name == lower) {
            Some((number, _)) => Ok(number),
            None => number(text),
        }
    }
}

/// A number as Go's `Atoi` reads it: a sign may stand before it.
fn number(text: &str) -> Result<u32> {
    text.parse::<u32>().map_err(|_| Error::invalid(format!("{text:?} is no number")))
}
