//! The status page, the metrics and the status documents of a scheduler that is made up: to look at them, and for tests of others to read.
//!
//!     cargo run --example status_page -- 127.0.0.1:9731
//!
//! It prints its address, and ends with its standard input. With `hostile` behind the address every word of the documents is an attack on the page.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example is a command, and ends when something is wrong"
)]

use std::io::Read;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use volvault::clock::SystemClock;
use volvault::monitor::{MonitorOptions, Token, serve};
use volvault::mover::Numbers;
use volvault::schedule::{
    Board, Method, MoverResult, MoverStatus, Outcome, Past, ResourceId, ResourceView, Role, Runs, Status, View,
};
use volvault::storage::RequestCounts;

const HOSTILE: &str =
    "\"><script>document.title='owned'</script><img src=x onerror=alert(1)>'&amp;\u{202e}\\\n# HELP x";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let listen = arguments.get(1).map_or("127.0.0.1:0", String::as_str).parse().unwrap();
    let hostile = arguments.get(2).is_some_and(|word| word == "hostile");
    let clock = SystemClock::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options =
        MonitorOptions { listen, token: Some(Token::parse(b"a-token-of-an-example").unwrap()), hosts: Vec::new() };
    let serving = serve(&options, Board::new(view(clock.now().to_utc(), hostile)), clock, runtime.handle()).unwrap();
    println!("http://{}", serving.address());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn view(now: DateTime<Utc>, hostile: bool) -> View {
    let mut resources: Vec<ResourceView> = if hostile {
        vec![hostile_resource(now, Role::Source), hostile_resource(now, Role::Destination)]
    } else {
        made_up(now)
    };
    resources.sort_by(|one, other| one.id.cmp(&other.id));
    let program = if hostile { HOSTILE.to_owned() } else { format!("volvault {}", env!("CARGO_PKG_VERSION")) };
    View { program, started: now - TimeDelta::days(9), ready: true, beat: now + TimeDelta::days(1), resources }
}

fn made_up(now: DateTime<Utc>) -> Vec<ResourceView> {
    let nightly = "schedule 17 2 * * *";
    let shop = |name, trigger, method| resource(now, (Role::Source, "shop", name), trigger, method);
    let edge = |name, trigger, method| resource(now, (Role::Destination, "edge-berlin", name), trigger, method);
    vec![
        shop("postgres-data", nightly, Method::Restic),
        ResourceView {
            running: Some(now - TimeDelta::seconds(95)),
            ..shop("uploads", "on change, settled for 30s", Method::Restic)
        },
        failed(shop("mail", "schedule @hourly", Method::Restic), now),
        ResourceView {
            paused: true,
            next: None,
            ..shop("archive-of-the-year-before-with-a-name-of-sixty-three-letters", "manual first", Method::Restic)
        },
        shop("site", "always", Method::Rclone),
        ResourceView { out_of_sync: true, missed_intervals: 3, ..edge("site", "schedule */5 * * * *", Method::Rclone) },
        ResourceView { waiting: true, ..edge("mail", nightly, Method::Restic) },
        ResourceView {
            status: Status::default(),
            latest: None,
            history: Vec::new(),
            next: None,
            ..edge("new", "manual", Method::Restic)
        },
    ]
}

fn resource(now: DateTime<Utc>, id: (Role, &str, &str), trigger: &str, method: Method) -> ResourceView {
    let (role, namespace, name) = id;
    let seed = name.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let history: Vec<Past> = (0..60).map(|n| past(now, seed, n)).collect();
    let (last, sum) = (history.last().unwrap().clone(), history.iter().map(|past| past.seconds).sum());
    let snapshots = (method == Method::Restic).then_some(31);
    ResourceView {
        id: ResourceId { namespace: namespace.to_owned(), name: name.to_owned(), role },
        method,
        volume: format!("{name}-pvc"),
        trigger: trigger.to_owned(),
        paused: false,
        running: None,
        running_for: None,
        waiting: false,
        next: Some(now + TimeDelta::minutes(307)),
        status: Status {
            last_sync_time: Some(last.started + TimeDelta::seconds(40)),
            last_sync_duration: Some(Duration::from_secs_f64(last.seconds)),
            latest_mover_status: Some(MoverStatus {
                result: MoverResult::Successful,
                logs: "repository 0e5959c5 opened (version 1)\nusing parent snapshot 1eec01b2\nAdded to the repository: 1.106 MiB (316.775 KiB stored)\nprocessed 187 files, 1.093 MiB in 0:00, 9 requests\nsnapshot 8ac6bece saved\nRestic completed in 1s\n".to_owned(),
            }),
            ..Status::default()
        },
        missed_intervals: 0,
        out_of_sync: false,
        runs: Runs { succeeded: 58, failed: 2, seconds: sum },
        requests: last.numbers.requests,
        latest: Some(Numbers {
            snapshots,
            newest: Some(last.started),
            verified: Some(now - TimeDelta::days(12)),
            prune_refused: snapshots.map(|_| false),
            ..last.numbers
        }),
        history,
    }
}

/// A run every hour, the last of them an hour ago: volumes grow, some runs take longer, one in seventeen fails.
fn past(now: DateTime<Utc>, seed: u64, n: i32) -> Past {
    let step = u64::try_from(n).unwrap();
    let noise = (seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    let fails = n % 17 == 11;
    let requests = RequestCounts {
        get: 4 + noise % 5,
        put: 3 + noise % 40,
        list: 2,
        head: 1,
        get_range: noise % 7,
        bytes_up: noise * 100,
        bytes_down: 20_000,
        ..RequestCounts::default()
    };
    Past {
        started: now - TimeDelta::minutes(60 * (60 - i64::from(n))),
        seconds: if fails {
            1.5
        } else {
            8.0 + f64::from(n) / 10.0 + f64::from(u32::try_from(noise % 97).unwrap()) / 4.0
        },
        outcome: if fails { Outcome::Failed } else { Outcome::Successful },
        code: if fails { 3 } else { 0 },
        numbers: Numbers {
            files: 12_000 + 40 * step,
            bytes: (3 << 30) + (step << 24),
            changed: noise % 400,
            moved: noise * 40,
            requests,
            ..Numbers::default()
        },
    }
}

fn failed(mut resource: ResourceView, now: DateTime<Utc>) -> ResourceView {
    let last = resource.history.last_mut().unwrap();
    (last.outcome, last.code, last.seconds) = (Outcome::Failed, 3, 0.4);
    resource.next = Some(now + TimeDelta::seconds(40));
    resource.status.latest_mover_status = Some(MoverStatus {
        result: MoverResult::Failed,
        logs: "== Checking directory for content ===\nERROR: failure checking existence of repository\nopen the repository s3:https://minio.central:9000/backups/mail: the store refuses the credentials\n".to_owned(),
    });
    resource
}

fn hostile_resource(now: DateTime<Utc>, role: Role) -> ResourceView {
    let mut resource = resource(now, (role, HOSTILE, HOSTILE), HOSTILE, Method::Restic);
    resource.volume = HOSTILE.repeat(20);
    resource.status.latest_mover_status = Some(MoverStatus { result: MoverResult::Failed, logs: HOSTILE.repeat(9) });
    for (past, wrong) in resource.history.iter_mut().zip([f64::NAN, f64::INFINITY, -1.0, 1e300]) {
        past.seconds = wrong;
        past.numbers.bytes = u64::MAX;
    }
    resource
}
