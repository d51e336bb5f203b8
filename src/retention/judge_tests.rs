//! Rules one by one, and all together against a slow formulation that shares nothing with the code but the types.

use chrono::{NaiveDate, TimeDelta};
use proptest::prelude::*;

use super::*;

/// Verdicts as text, for snapshots of an hour ago and more; `-` for one that goes.
fn verdicts(times: &[&str], policy: &Policy) -> Vec<String> {
    let times: Vec<_> = times.iter().map(|text| DateTime::parse_from_rfc3339(text).unwrap()).collect();
    let group: Vec<_> = times.iter().map(|&time| Candidate { time, tags: &[], standing: Standing::Complete }).collect();
    judge(&group, policy, now()).into_iter().map(shown).collect()
}

fn shown(verdict: Verdict) -> String {
    match verdict {
        Verdict::Keep(reasons) => reasons.join("; "),
        Verdict::Remove => "-".to_owned(),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z").unwrap().to_utc()
}

fn span(text: &str) -> Span {
    text.parse().unwrap()
}

#[test]
fn the_newest_of_each_period_stays_and_the_oldest_of_all_while_something_is_left() {
    let times = [
        "2024-03-05T10:00:00Z",
        "2024-03-05T09:00:00Z",
        "2024-03-04T23:00:00Z",
        "2024-03-03T23:00:00Z",
        "2024-03-03T01:00:00Z",
    ];
    let daily = |count| Policy { daily: Count::UpTo(count), ..Policy::default() };
    assert_eq!(verdicts(&times, &daily(2)), ["daily snapshot", "-", "daily snapshot", "-", "-"]);
    let all = ["daily snapshot", "-", "daily snapshot", "daily snapshot"];
    assert_eq!(verdicts(&times, &daily(3)), [all.as_slice(), &["-"]].concat());
    assert_eq!(verdicts(&times, &daily(4)), [all.as_slice(), &["oldest daily snapshot"]].concat());
    let unlimited = Policy { daily: Count::Unlimited, ..Policy::default() };
    assert_eq!(verdicts(&times, &unlimited), verdicts(&times, &daily(4)));
}

#[test]
fn one_snapshot_may_take_a_place_in_several_rules() {
    let times = ["2024-03-05T10:00:00Z", "2024-03-05T09:00:00Z", "2024-02-29T09:00:00Z"];
    let policy = Policy { last: Count::UpTo(1), daily: Count::UpTo(2), yearly: Count::UpTo(1), ..Policy::default() };
    assert_eq!(verdicts(&times, &policy), ["last snapshot; daily snapshot; yearly snapshot", "-", "daily snapshot"]);
}

#[test]
fn periods_are_those_of_each_snapshots_own_offset_and_weeks_are_iso_weeks() {
    // The same midnight in UTC; the second is still yesterday where it was made.
    let times = ["2024-03-05T00:30:00+02:00", "2024-03-04T17:20:00-05:00", "2024-03-04T22:10:00Z"];
    let daily = Policy { daily: Count::Unlimited, ..Policy::default() };
    assert_eq!(verdicts(&times, &daily), ["daily snapshot", "daily snapshot", "oldest daily snapshot"]);
    let times = ["2025-01-01T10:00:00Z", "2024-12-30T10:00:00Z", "2024-12-29T10:00:00Z"];
    let weekly = Policy { weekly: Count::UpTo(2), ..Policy::default() };
    assert_eq!(verdicts(&times, &weekly), ["weekly snapshot", "-", "weekly snapshot"]);
}

#[test]
fn windows_begin_at_the_latest_that_is_not_in_the_future_and_leave_their_first_moment_out() {
    let times = [
        "2030-01-01T00:00:00Z",
        "2024-03-31T10:00:00Z",
        "2024-03-02T10:00:01Z",
        "2024-03-02T10:00:00Z",
        "2024-03-01T10:00:00Z",
    ];
    let policy = Policy { within: span("1m"), ..Policy::default() };
    assert_eq!(verdicts(&times, &policy), ["within 1m", "within 1m", "within 1m", "-", "-"]);
    let policy = Policy { within_monthly: span("1y"), ..Policy::default() };
    let (monthly, oldest) = ("monthly within 1y", "oldest monthly within 1y");
    assert_eq!(verdicts(&times, &policy), [monthly, monthly, "-", "-", oldest]);
    assert_eq!(verdicts(&times[..1], &Policy { within: span("1h"), ..Policy::default() }), ["within 1h"]);
}

#[test]
fn tags_keep_whatever_the_counts_say() {
    let time = DateTime::parse_from_rfc3339("2024-03-31T10:00:00Z").unwrap();
    let tags = |list: &[&str]| list.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
    let of = [tags(&["a", "b"]), tags(&["a"]), tags(&[])];
    let group: Vec<_> = of.iter().map(|tags| Candidate { time, tags, standing: Standing::Complete }).collect();
    let policy = Policy { tags: vec![tags(&["b", "a"]), tags(&["a"]), tags(&[""])], ..Policy::default() };
    let kept: Vec<_> = judge(&group, &policy, now()).into_iter().map(shown).collect();
    assert_eq!(kept, ["has tags [b, a]; has tags [a]", "has tags [a]", "has tags []"]);
}

#[test]
fn a_partial_snapshot_takes_no_place_and_goes_once_a_later_one_is_complete() {
    let time = |day: u32| DateTime::parse_from_rfc3339(&format!("2024-03-0{day}T10:00:00Z")).unwrap();
    let tag = ["keep".to_owned()];
    let candidate = |day, standing| Candidate { time: time(day), tags: &tag, standing };
    let group = [
        candidate(5, Standing::Partial),
        candidate(4, Standing::Complete),
        candidate(3, Standing::Superseded),
        candidate(2, Standing::Complete),
        candidate(1, Standing::Superseded),
    ];
    let policy = Policy { last: Count::UpTo(1), tags: vec![tag.to_vec()], ..Policy::default() };
    let kept: Vec<_> = judge(&group, &policy, now()).into_iter().map(shown).collect();
    assert_eq!(kept, [UNFINISHED, "has tags [keep]; last snapshot", "-", "has tags [keep]", "-"]);
    let policy = Policy { yearly: Count::UpTo(9), within: span("2d"), ..Policy::default() };
    let kept: Vec<_> = judge(&group, &policy, now()).into_iter().map(shown).collect();
    assert_eq!(kept, [UNFINISHED, "within 2d; yearly snapshot", "-", "oldest yearly snapshot", "-"]);
}

// ---------------------------------------------------------------- the slow formulation

/// What a snapshot is kept for, worked out for it alone from the whole list, newest first.
fn slow_reasons(all: &[Candidate<'_>], nr: usize, policy: &Policy) -> Vec<String> {
    let (this, oldest) = (&all[nr], nr + 1 == all.len());
    let mut reasons = Vec::new();
    for list in policy.tags.iter().filter(|list| list.iter().all(|tag| this.tags.contains(tag))) {
        reasons.push(format!("has tags [{}]", list.join(", ")));
    }
    // Of those at the same moment the first: its offset says what a month is.
    let past = all.iter().map(|snapshot| snapshot.time).filter(|time| time.to_utc() < now());
    let latest = past.reduce(|latest, time| if time > latest { time } else { latest });
    let inside =
        |span: &Span, time: DateTime<FixedOffset>| latest.is_none_or(|latest| time > slow_before(latest, span));
    if !policy.within.is_zero() && inside(&policy.within, this.time) {
        reasons.push(format!("within {}", policy.within));
    }
    // How often the period changes on the way to a snapshot: the places that those before it take.
    let text = |nr: usize, format: &str| match format {
        "" => nr.to_string(),
        format => all[nr].time.format(format).to_string(),
    };
    let first = |nr: usize, format: &str| nr == 0 || text(nr, format) != text(nr - 1, format);
    let counted = [
        (policy.last, "", "last"),
        (policy.hourly, "%Y%m%d%H", "hourly"),
        (policy.daily, "%Y%m%d", "daily"),
        (policy.weekly, "%G-%V", "weekly"),
        (policy.monthly, "%Y%m", "monthly"),
        (policy.yearly, "%Y", "yearly"),
    ];
    for (count, format, kind) in counted {
        let taken = (0..nr).filter(|&nr| first(nr, format)).count() as u64;
        let open = match count {
            Count::UpTo(count) => taken < count,
            Count::Unlimited => true,
        };
        match (open, first(nr, format), oldest) {
            (true, true, _) => reasons.push(format!("{kind} snapshot")),
            (true, false, true) => reasons.push(format!("oldest {kind} snapshot")),
            (true, false, false) | (false, _, _) => {}
        }
    }
    let windows = [
        (policy.within_hourly, "%Y%m%d%H", "hourly"),
        (policy.within_daily, "%Y%m%d", "daily"),
        (policy.within_weekly, "%G-%V", "weekly"),
        (policy.within_monthly, "%Y%m", "monthly"),
        (policy.within_yearly, "%Y", "yearly"),
    ];
    for (span, format, kind) in windows.iter().filter(|(span, ..)| !span.is_zero() && inside(span, this.time)) {
        match (first(nr, format), oldest) {
            (true, _) => reasons.push(format!("{kind} within {span}")),
            (false, true) => reasons.push(format!("oldest {kind} within {span}")),
            (false, false) => {}
        }
    }
    reasons
}

/// Month by month and day by day, on the wall clock of `time`.
fn slow_before(time: DateTime<FixedOffset>, span: &Span) -> DateTime<FixedOffset> {
    let mut parts = std::collections::BTreeMap::new();
    let text = span.to_string();
    for part in text.split_inclusive(|c: char| c.is_ascii_alphabetic()) {
        let (number, unit) = part.split_at(part.len() - 1);
        parts.insert(unit.to_owned(), number.parse::<i64>().unwrap());
    }
    let get = |unit: &str| parts.get(unit).copied().unwrap_or(0);
    let wall = time.naive_local();
    let (mut year, mut month) = (wall.year(), wall.month());
    for _ in 0..12 * get("y") + get("m") {
        (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
    }
    // The day may not exist there: count on from the first.
    let mut date = NaiveDate::from_ymd_opt(year, month, 1).unwrap();
    (1..wall.day()).for_each(|_| date = date.succ_opt().unwrap());
    (0..7 * get("w") + get("d")).for_each(|_| date = date.pred_opt().unwrap());
    let utc = date.and_time(wall.time()) - TimeDelta::seconds(i64::from(time.offset().local_minus_utc()));
    utc.and_utc().with_timezone(time.offset()) - TimeDelta::hours(get("h"))
}

fn times() -> impl Strategy<Value = Vec<DateTime<FixedOffset>>> {
    let offsets = prop::sample::select(vec![0, 3600, 7200, -18_000, 20_700, 50_400, -43_200]);
    // Steps of many sizes, so that there are ties, full hours and years that are missing.
    let step = prop_oneof![Just(0i64), 0..90i64, 0..7200i64, 0..200_000i64, 0..3_000_000i64, 0..40_000_000i64];
    let end = prop_oneof![
        // Leap days, ends of months and of ISO years, and times that reach into the future.
        prop::sample::select(vec![1_709_208_000i64, 1_711_875_600, 1_735_660_800, 1_609_459_199, 1_795_176_000]),
        1_500_000_000i64..1_810_000_000,
    ];
    (end, prop::collection::vec((step, offsets), 0..30)).prop_map(|(mut at, steps)| {
        let time = |(step, offset): (i64, i32)| {
            at -= step;
            DateTime::from_timestamp(at, 0).unwrap().with_timezone(&FixedOffset::east_opt(offset).unwrap())
        };
        steps.into_iter().map(time).collect()
    })
}

fn count() -> impl Strategy<Value = Count> {
    prop_oneof![3 => Just(Count::UpTo(0)), 2 => (1u64..8).prop_map(Count::UpTo), 1 => Just(Count::Unlimited)]
}

fn window() -> impl Strategy<Value = Span> {
    let spans = ["1h", "25h", "1d", "9d", "3w15h", "1m", "1m1d", "13m", "1y", "2y5m7d3h", "8y"];
    prop_oneof![3 => Just(Span::default()), 2 => prop::sample::select(spans.map(span).to_vec())]
}

fn policy() -> impl Strategy<Value = Policy> {
    let tags = prop::sample::select(vec![vec![], vec![vec!["a"]], vec![vec!["a", "b"]], vec![vec!["b"], vec!["c"]]]);
    let tags = tags.prop_map(|lists| {
        let list = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        lists.into_iter().map(list).collect::<Vec<Vec<String>>>()
    });
    let counts = (count(), count(), count(), count(), count(), count());
    let windows = (window(), window(), window(), window(), window(), window());
    (counts, windows, tags).prop_map(|((last, hourly, daily, weekly, monthly, yearly), windows, tags)| {
        let (within, within_hourly, within_daily, within_weekly, within_monthly, within_yearly) = windows;
        Policy {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
            within_hourly,
            within_daily,
            within_weekly,
            within_monthly,
            within_yearly,
            tags,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_are_those_of_the_slow_formulation(
        times in times(),
        policy in policy(),
        (tagged, standing) in (any::<u64>(), any::<u64>()),
        seed in any::<u64>(),
    ) {
        let lists = [vec![], vec!["a".to_owned()], vec!["b".to_owned(), "a".to_owned()], vec!["c".to_owned()]];
        let bits = |word: u64, nr: usize| (word.rotate_right(u32::try_from(nr).unwrap() * 2) & 3) as usize;
        let standing = |nr| match bits(standing, nr) {
            0 if bits(seed, nr) > 1 => Standing::Partial,
            1 if bits(seed, nr) > 1 => Standing::Superseded,
            _ => Standing::Complete,
        };
        let all: Vec<_> = times.iter().enumerate()
            .map(|(nr, &time)| Candidate { time, tags: &lists[bits(tagged, nr)], standing: standing(nr) })
            .collect();
        let complete: Vec<_> = all.iter().copied().filter(|each| each.standing == Standing::Complete).collect();
        let mut expected = (0..complete.len()).map(|nr| slow_reasons(&complete, nr, &policy));
        let expected: Vec<Vec<String>> = all.iter().map(|each| match each.standing {
            Standing::Complete => expected.next().unwrap(),
            Standing::Partial => vec![UNFINISHED.to_owned()],
            Standing::Superseded => Vec::new(),
        }).collect();
        let judged: Vec<Vec<String>> = judge(&all, &policy, now()).into_iter().map(|verdict| match verdict {
            Verdict::Keep(reasons) => reasons,
            Verdict::Remove => Vec::new(),
        }).collect();
        prop_assert_eq!(&judged, &expected);

        // In whatever order they come: only ties may change places.
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|nr| (*nr as u64 + 1).wrapping_mul(seed | 1));
        let mut seen = std::collections::BTreeSet::new();
        if times.iter().all(|time| seen.insert(*time)) {
            let moved: Vec<_> = order.iter().map(|&nr| all[nr]).collect();
            let moved = judge(&moved, &policy, now());
            for (at, nr) in order.into_iter().enumerate() {
                let reasons = match &moved[at] { Verdict::Keep(reasons) => reasons.clone(), Verdict::Remove => Vec::new() };
                prop_assert_eq!(&reasons, &expected[nr]);
            }
        }
    }
}
