//! `spec.trigger`, and our annotation.

use std::time::Duration;

use super::Trigger;
use super::fields::Fields;
use crate::error::{Attempt, Error, Result};
use crate::schedule::cron::Cron;
use crate::schedule::go_duration;

/// A volume that changes all the time must come to rest at some time.
const SETTLED_LEAST: Duration = Duration::from_millis(100);
const SETTLED_MOST: Duration = Duration::from_hours(24);

/// Longest tag of a manual trigger.
const MANUAL_MAX: usize = 1024;

pub(super) fn read(spec: &mut Fields<'_>, on_change: Option<&str>) -> Result<Trigger> {
    let mut trigger = Trigger::default();
    if let Some(mut fields) = spec.section("trigger")? {
        let place = fields.at("schedule");
        trigger.schedule =
            fields.word("schedule")?.map(|text| Cron::parse(&text)).transpose().attempt(|| format!("read {place}"))?;
        trigger.manual = fields.word("manual")?;
        if trigger.manual.as_ref().is_some_and(|tag| tag.len() > MANUAL_MAX) {
            return Err(Error::invalid(format!("{} is longer than {MANUAL_MAX} bytes", fields.at("manual"))));
        }
        fields.finish()?;
    }
    trigger.on_change = on_change.map(settled).transpose()?;
    Ok(trigger)
}

fn settled(text: &str) -> Result<Duration> {
    let said = || "read annotation volvault.dev/on-change".to_owned();
    let duration = go_duration::parse(text).attempt(said)?;
    if (SETTLED_LEAST..=SETTLED_MOST).contains(&duration) {
        Ok(duration)
    } else {
        Err(Error::invalid(format!("{text} is not from 100ms to 24h"))).attempt(said)
    }
}
