//! Pulls while a writer pushes one generation after the other: every file says which generation it belongs to, and no target ever
//! holds files of two.
//!
//! `VOLVAULT_TORTURE_PULLS` says how many pulls there are in all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use volvault::events::{Progress, Stop, Watch};
use volvault::rclone_sync::pull::{PullOptions, pull};
use volvault::rclone_sync::push::{Keep, PushOptions, Pushed, push};
use volvault::rclone_sync::{Destination, Means};

use crate::support::mirror::{Mirror, write};
use crate::support::vault::Ear;

const PULLERS: u64 = 8;
const FILES: u64 = 24;
/// As many are pushed at least.
const GENERATIONS: u64 = 5;

fn pulls() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a knob of the test, not of the program")]
    let asked = std::env::var("VOLVAULT_TORTURE_PULLS").ok();
    asked.map_or(160, |text| text.parse().unwrap())
}

/// Stamps every file with its generation; some come and go, and change their length.
fn stamp(root: &Path, generation: u64) {
    for number in 0..FILES {
        let path = format!("{}/{number}", number % 5);
        if (generation + number).is_multiple_of(7) {
            std::fs::remove_file(root.join(&path)).ok();
            continue;
        }
        let padding = ".".repeat(usize::try_from((generation * 31 + number) % 50).unwrap());
        write(root, &path, format!("{generation:09}{padding}").as_bytes());
    }
}

/// The generation of each file below `root`.
fn stamps(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for directory in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            found.insert(file.display().to_string(), text[..9].to_owned());
        }
    }
    found
}

fn means(mirror: &Mirror) -> Means {
    mirror.options().means
}

fn push_on(mirror: &Mirror, generation: u64) {
    stamp(&mirror.source(), generation);
    let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
    let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
    let destination =
        Destination { name: "mirror".to_owned(), places: mirror.places(), state: Some(mirror.at("pusher")) };
    // Whatever the newest generation does not name is removed at once, under the hands of whoever reads it.
    let keep = Keep { generations: 1, grace: Duration::ZERO, every: 1 };
    let pack_small = generation.is_multiple_of(3).then_some(30);
    let options = PushOptions { keep, pack_small, ..PushOptions::new(means(mirror)) };
    let report = push(&mirror.source(), &[destination], &options, &watch).unwrap();
    let result = report.destinations.into_iter().next().unwrap().result.unwrap();
    assert_eq!(result, Pushed::Published { generation });
}

/// Says so when it goes.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_pull_mixes_two_generations_while_others_are_pushed_without_pause() {
    let mirror = Mirror::new();
    std::fs::create_dir(mirror.source()).unwrap();
    push_on(&mirror, 1);
    let (over, pushed, done) = (AtomicBool::new(false), AtomicU64::new(1), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let pullers: Vec<_> = (0..PULLERS)
            .map(|number| {
                scope.spawn({
                    let (mirror, counts) = (&mirror, (&pushed, &done, &over));
                    move || puller(mirror, number, counts)
                })
            })
            .collect();
        scope.spawn(|| {
            // Also when a push panics: nobody waits for generations that do not come.
            let _ended = Ended(&over);
            while !over.load(Ordering::SeqCst) {
                let next = pushed.load(Ordering::SeqCst) + 1;
                push_on(&mirror, next);
                pushed.store(next, Ordering::SeqCst);
                // Time for somebody to read a generation as a whole: on a network the pullers are the faster ones, here they are not.
                mirror.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(60)).await });
            }
        });
        for puller in pullers {
            if let Err(panic) = puller.join() {
                over.store(true, Ordering::SeqCst);
                std::panic::resume_unwind(panic);
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    let generations = pushed.load(Ordering::SeqCst);
    assert!(
        done.load(Ordering::SeqCst) >= pulls() / PULLERS * PULLERS && generations > GENERATIONS,
        "{generations} generations"
    );
    println!("{} pulls of {generations} generations", done.load(Ordering::SeqCst));
}

fn puller(mirror: &Mirror, number: u64, (pushed, done, over): (&AtomicU64, &AtomicU64, &AtomicBool)) {
    let target = mirror.at(&format!("target-{number}"));
    let options = PullOptions { transfers: 2, checkers: 0, ..PullOptions::new(means(mirror)) };
    let state = Some(mirror.at(&format!("state-{number}")));
    let from = Destination { name: "mirror".to_owned(), places: mirror.places(), state };
    let mut last = 0;
    // Also where pushes are slow there have to be some.
    let is_wanted = |round: &u64| *round < pulls() / PULLERS || pushed.load(Ordering::SeqCst) <= GENERATIONS;
    for round in (0..).take_while(|round| is_wanted(round) && !over.load(Ordering::SeqCst)) {
        let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
        let report =
            pull(&from, &target, &options, &Watch { observer: &ear, progress: &progress, stop: &stop }).unwrap();
        let what = format!("puller {number}, round {round}, generation {}", report.generation);
        assert!(report.generation >= last && report.problems == 0, "{what}");
        last = report.generation;
        let found = stamps(&target);
        let wanted = format!("{:09}", report.generation);
        assert!(found.values().all(|stamp| *stamp == wanted), "{what}: {found:?}");
        let count = (0..FILES).filter(|number| !(report.generation + number).is_multiple_of(7)).count();
        assert_eq!(found.len(), count, "{what}");
        done.fetch_add(1, Ordering::SeqCst);
    }
}
