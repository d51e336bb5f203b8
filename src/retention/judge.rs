//! The rules, applied to one group.

use std::cmp::Reverse;

use chrono::{DateTime, Datelike, FixedOffset, Timelike, Utc};

use super::policy::{Count, Policy, tag_list};
use super::span::Span;

/// Why a partial snapshot stays; restic has no such thing.
const UNFINISHED: &str = "partial, and none complete since";

/// What the rules look at in a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its time, with the UTC offset that its source had: hours, days, weeks, months and years are those of that offset.
    pub time: DateTime<FixedOffset>,
    /// Its tags.
    pub tags: &'a [String],
    /// Whether it counts.
    pub standing: Standing,
}

/// Whether a snapshot counts for the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds all of its source.
    Complete,
    /// Its run was interrupted, and its source has no later snapshot that is complete.
    Partial,
    /// Its run was interrupted, and its source has a later snapshot that is complete.
    Superseded,
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for these reasons, in restic's words and order.
    Keep(Vec<String>),
    /// It goes.
    Remove,
}

/// Judges the snapshots of one group; the verdicts are in the order of `group`. Of those with the same time the one that comes first
/// counts as the newest.
///
/// Only complete snapshots count: partial ones are neither kept by a rule, nor the latest, nor the oldest. They stay as long as their
/// source has no later complete one.
pub fn judge(group: &[Candidate<'_>], policy: &Policy, now: DateTime<Utc>) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = group.iter().map(|candidate| without_rules(candidate.standing)).collect();
    let complete = group.iter().zip(&mut verdicts).filter(|(candidate, _)| candidate.standing == Standing::Complete);
    let mut newest_first: Vec<(&Candidate<'_>, &mut Verdict)> = complete.collect();
    newest_first.sort_by_key(|(candidate, _)| Reverse(candidate.time));
    // What is in the future was made by a wrong clock, or will be: windows must not hang on it.
    let latest = newest_first.iter().map(|(candidate, _)| candidate.time).find(|time| *time < now);
    let mut rules = Rules::new(policy, latest);
    let count = newest_first.len();
    for (number, (candidate, verdict)) in newest_first.into_iter().enumerate() {
        let reasons = rules.reasons(candidate, number + 1 == count);
        if !reasons.is_empty() {
            *verdict = Verdict::Keep(reasons);
        }
    }
    verdicts
}

fn without_rules(standing: Standing) -> Verdict {
    match standing {
        Standing::Partial => Verdict::Keep(vec![UNFINISHED.to_owned()]),
        Standing::Complete | Standing::Superseded => Verdict::Remove,
    }
}

struct Rules<'p> {
    tags: &'p [Vec<String>],
    buckets: Vec<Bucket>,
}

impl<'p> Rules<'p> {
    /// In the order in which restic gives its reasons.
    fn new(policy: &'p Policy, latest: Option<DateTime<FixedOffset>>) -> Self {
        let window = |span: Span, period: Period| Bucket::window(span, period, latest);
        let buckets = [
            window(policy.within, Period::Each),
            Bucket::counted(policy.last, Period::Each),
            Bucket::counted(policy.hourly, Period::Hour),
            Bucket::counted(policy.daily, Period::Day),
            Bucket::counted(policy.weekly, Period::Week),
            Bucket::counted(policy.monthly, Period::Month),
            Bucket::counted(policy.yearly, Period::Year),
            window(policy.within_hourly, Period::Hour),
            window(policy.within_daily, Period::Day),
            window(policy.within_weekly, Period::Week),
            window(policy.within_monthly, Period::Month),
            window(policy.within_yearly, Period::Year),
        ];
        Self { tags: &policy.tags, buckets: buckets.into_iter().flatten().collect() }
    }

    /// Why the next snapshot stays, counting it.
    fn reasons(&mut self, candidate: &Candidate<'_>, oldest: bool) -> Vec<String> {
        let tagged = self.tags.iter().filter(|list| has_tags(candidate.tags, list));
        let mut reasons: Vec<String> = tagged.map(|list| format!("has tags {}", tag_list(list))).collect();
        reasons.extend(self.buckets.iter_mut().filter_map(|bucket| bucket.take(candidate.time, oldest)));
        reasons
    }
}

/// An empty tag in the list is for snapshots without tags, and what stands behind it is then not looked at, as in restic.
fn has_tags(tags: &[String], list: &[String]) -> bool {
    for tag in list {
        if tag.is_empty() && tags.is_empty() {
            return true;
        }
        if !tags.contains(tag) {
            return false;
        }
    }
    true
}

/// What one snapshot is kept for.
#[derive(Clone, Copy)]
enum Period {
    /// Itself.
    Each,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// The period that `time` lies in; none where every snapshot is one of its own.
    fn slot(self, time: DateTime<FixedOffset>) -> Option<(i32, u32)> {
        match self {
            Self::Each => None,
            Self::Hour => Some((time.year(), time.ordinal0() * 24 + time.hour())),
            Self::Day => Some((time.year(), time.ordinal0())),
            Self::Week => Some((time.iso_week().year(), time.iso_week().week())),
            Self::Month => Some((time.year(), time.month0())),
            Self::Year => Some((time.year(), 0)),
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Each => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

/// One rule, and what it has kept so far.
struct Bucket {
    period: Period,
    bound: Bound,
    reason: String,
    last: Option<(i32, u32)>,
}

/// How far back a rule keeps.
enum Bound {
    /// So many more.
    Left(u64),
    /// What is newer than this.
    Since(DateTime<FixedOffset>),
    /// All.
    Endless,
}

impl Bucket {
    fn counted(count: Count, period: Period) -> Option<Self> {
        let bound = match count {
            Count::UpTo(0) => return None,
            Count::UpTo(count) => Bound::Left(count),
            Count::Unlimited => Bound::Endless,
        };
        Some(Self { period, bound, reason: format!("{} snapshot", period.kind()), last: None })
    }

    /// Where all snapshots are in the future there is no latest, and all are within.
    fn window(span: Span, period: Period, latest: Option<DateTime<FixedOffset>>) -> Option<Self> {
        if span.is_zero() {
            return None;
        }
        let bound = latest.and_then(|latest| span.before(latest)).map_or(Bound::Endless, Bound::Since);
        let reason = match period {
            Period::Each => format!("within {span}"),
            period => format!("{} within {span}", period.kind()),
        };
        Some(Self { period, bound, reason, last: None })
    }

    /// Whether this rule keeps the next snapshot. While it has something left it keeps the oldest too, so that history reaches back
    /// as far as it can.
    fn take(&mut self, time: DateTime<FixedOffset>, oldest: bool) -> Option<String> {
        let open = match self.bound {
            Bound::Left(count) => count > 0,
            Bound::Since(start) => time > start,
            Bound::Endless => true,
        };
        let slot = self.period.slot(time);
        let fresh = slot.is_none() || slot != self.last;
        if !open || !(fresh || oldest) {
            return None;
        }
        self.last = slot;
        if let Bound::Left(count) = &mut self.bound {
            *count -= 1;
        }
        Some(if fresh { self.reason.clone() } else { format!("oldest {}", self.reason) })
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
