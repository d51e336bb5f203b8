use super::*;

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// The next `count` times after `after`, as clocks in the zone show them.
fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let (cron, zone) = (Cron::parse(cron).unwrap(), Zone::named(zone).unwrap());
    let mut time = at(after);
    let mut shown = Vec::new();
    for _ in 0..count {
        time = cron.next(time, zone).unwrap();
        let offset = chrono::FixedOffset::east_opt(i32::try_from(zone.offset(time.timestamp())).unwrap()).unwrap();
        shown.push(time.with_timezone(&offset).format("%m-%d %H:%M%:z").to_string());
    }
    shown
}

#[test]
fn schedules_come_when_robfigs_do() {
    for (cron, after, expected) in [
        ("17 2 * * *", "2024-02-28T02:17:00Z", &["02-29 02:17+00:00", "03-01 02:17+00:00"][..]),
        ("*/20 9-10 * * *", "2024-01-01T09:30:00Z", &["01-01 09:40+00:00", "01-01 10:00+00:00", "01-01 10:20+00:00"]),
        ("50/5 * * * *", "2024-01-01T09:54:59Z", &["01-01 09:55+00:00", "01-01 10:50+00:00"]),
        ("0 0 13 * FRI", "2024-09-06T00:00:00Z", &["09-13 00:00+00:00", "09-20 00:00+00:00"]),
        ("0 0 13 * *", "2024-09-06T00:00:00Z", &["09-13 00:00+00:00", "10-13 00:00+00:00"]),
        ("0 0 */2 * mon", "2024-09-01T00:00:00Z", &["09-02 00:00+00:00", "09-03 00:00+00:00"]),
        ("0 0 29 feb ?", "2021-01-01T00:00:00Z", &["02-29 00:00+00:00"]),
        ("@weekly", "2024-09-04T05:06:07Z", &["09-08 00:00+00:00"]),
        ("@hourly", "2024-12-31T23:00:00Z", &["01-01 00:00+00:00"]),
        ("@every 90m", "2024-12-31T23:00:00.9Z", &["01-01 00:30+00:00", "01-01 02:00+00:00"]),
        ("@every 100ms", "2024-12-31T23:59:59.9Z", &["01-01 00:00+00:00"]),
        ("TZ=Asia/Tokyo 0 6 * * *", "2024-01-01T00:00:00Z", &["01-01 21:00+00:00"]),
        ("CRON_TZ=UTC @daily", "2024-01-01T00:00:00Z", &["01-02 00:00+00:00"]),
    ] {
        assert_eq!(times(cron, "UTC", after, expected.len()), expected, "{cron}");
    }
}

#[test]
fn an_hour_that_is_left_out_is_left_out_and_one_that_comes_twice_comes_twice() {
    for (cron, zone, after, expected) in [
        // Spring: no 2:30 on 31 March.
        ("30 2 * * *", "Europe/Berlin", "2024-03-29T12:00:00Z", &["03-30 02:30+01:00", "04-01 02:30+02:00"][..]),
        ("0 * * * *", "Europe/Berlin", "2024-03-31T00:00:00Z", &["03-31 03:00+02:00", "03-31 04:00+02:00"]),
        // Autumn: 2:30 twice on 27 October.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2024-10-26T12:00:00Z",
            &["10-27 02:30+02:00", "10-27 02:30+01:00", "10-28 02:30+01:00"],
        ),
        // Half an hour on Lord Howe, both ways.
        ("15 2 * * *", "Australia/Lord_Howe", "2024-10-05T00:00:00Z", &["10-07 02:15+11:00"]),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2024-04-06T00:00:00Z",
            &["04-07 01:45+11:00", "04-07 01:45+10:30", "04-08 01:45+10:30"],
        ),
        // Midnight was left out in São Paulo, and came twice.
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-02T12:00:00Z", &["11-03 00:00-03:00"]),
        ("0 1 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", &["11-04 01:00-02:00"]),
    ] {
        assert_eq!(times(cron, zone, after, expected.len()), expected, "{cron} in {zone}");
    }
}

#[test]
fn months_of_a_schedule_take_no_time() {
    let cron = Cron::parse("*/7 * * * *").unwrap();
    let zone = Zone::named("America/New_York").unwrap();
    let (mut time, end) = (at("2024-01-01T00:00:00Z"), at("2024-07-01T00:00:00Z"));
    let mut count = 0;
    while time < end {
        let next = cron.next(time, zone).unwrap();
        assert!(next > time);
        time = next;
        count += 1;
    }
    // Nine in each of 182 times 24 hours.
    assert_eq!(count, 182 * 24 * 9);
}

#[test]
fn what_is_no_schedule_is_refused_with_its_place() {
    for (text, said) in [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 0 * * *", "6 fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * * 7", "day of week"),
        ("*/0 * * * *", "at least 1"),
        ("5-1 * * * *", "minute"),
        ("1-2-3 * * * *", "dash"),
        ("1/2/3 * * * *", "step"),
        ("-1 * * * *", "minute"),
        (", * * * *", "minute"),
        ("x * * * *", "minute"),
        ("* * * * mond", "day of week"),
        ("@often", "@often"),
        ("@every", "@every"),
        ("@every soon", "duration"),
        ("TZ=Mars/Base * * * * *", "Mars/Base"),
        ("TZ=UTC", "after the time zone"),
        ("0 0 30 2 *", "never comes"),
    ] {
        let error = Cron::parse(text).unwrap_err();
        assert!(error.chain().contains(said), "{text:?}: {}", error.chain());
    }
}
