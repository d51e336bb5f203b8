//! Our schedules against `robfig/cron` v3, which `VolSync` uses: its answers are in `robfig.txt`, made by `tests/peers/cron/main.go`.

use chrono::{DateTime, Utc};
use volvault::schedule::{Cron, Zone};

const ANSWERS: &str = include_str!("robfig.txt");

fn answer(zone: &str, moment: &str, spec: &str) -> String {
    let cron = match Cron::parse(spec) {
        Ok(cron) => cron,
        Err(error) if error.chain().contains("never comes") => return "never".to_owned(),
        Err(_) => return "refused".to_owned(),
    };
    let zone = Zone::named(zone).unwrap();
    let mut time: DateTime<Utc> = moment.parse().unwrap();
    let mut times = Vec::new();
    for _ in 0..3 {
        let Some(next) = cron.next(time, zone) else {
            times.push("never".to_owned());
            break;
        };
        time = next;
        times.push(time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    }
    times.join(" ")
}

#[test]
fn schedules_are_read_and_come_as_volsyncs_parser_has_it() {
    let mut wrong = Vec::new();
    for line in ANSWERS.lines() {
        let mut parts = line.split('\t');
        let [zone, moment, spec, theirs] = std::array::from_fn(|_| parts.next().unwrap());
        let spec: String = serde_json::from_str(spec).unwrap();
        let ours = answer(zone, moment, &spec);
        if spec.starts_with("@every -") {
            // Theirs takes it for once a second, which nobody can mean.
            assert_eq!(ours, "refused");
            continue;
        }
        if ours != theirs {
            wrong.push(format!("{spec:?} in {zone} after {moment}: {ours}, theirs {theirs}"));
        }
    }
    assert!(ANSWERS.lines().count() > 1_000);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
