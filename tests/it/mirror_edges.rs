//! Edges that pull one mirror again and again from an S3 server, over HTTP, while a source pushes: what each pull costs, in requests and in bytes.
//!
//! `VOLVAULT_EDGES` says how many edges there are; with 100 and more they take their time, as edges do. Prints the table of `docs/mirror.md`, section 10.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use volvault::clock::SystemClock;
use volvault::events::{Progress, Stop, Watch};
use volvault::rclone_sync::pull::{PullOptions, Pulled, pull};
use volvault::rclone_sync::push::{PushOptions, Pushed, push};
use volvault::rclone_sync::{Destination, Means, Places};
use volvault::storage::RequestCounts;

use crate::support::memory_s3::Habits;
use crate::support::mirror::write;
use crate::support::s3::{S3Server, S3ServerThread};
use crate::support::vault::Ear;

/// Threads that pull, one edge after the other.
const WORKERS: usize = 8;
/// Files that change in each generation: the first ones, in ten directories.
const CHANGED: u64 = 20;

/// How much is done.
struct Scale {
    edges: usize,
    files: u64,
    generations: u64,
    /// Pulls of each edge between two pushes.
    polls: u64,
    /// Between two pulls of an edge.
    pause: Duration,
}

impl Scale {
    fn asked() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a knob of the test, not of the program")]
        let asked = std::env::var("VOLVAULT_EDGES").ok();
        let edges = asked.map_or(20, |text| text.parse().unwrap());
        if edges < 100 {
            return Self { edges, files: 60, generations: 4, polls: 2, pause: Duration::ZERO };
        }
        Self { edges, files: 200, generations: 10, polls: 5, pause: Duration::from_secs(3) }
    }
}

/// The pulls of one kind.
#[derive(Debug, Default, Clone, Copy)]
struct Kind {
    pulls: u64,
    requests: u64,
    least: u64,
    most: u64,
    bytes: u64,
}

impl Kind {
    fn add(&mut self, counts: &RequestCounts) {
        let total = counts.total();
        self.least = if self.pulls == 0 { total } else { self.least.min(total) };
        self.most = self.most.max(total);
        self.pulls += 1;
        self.requests += total;
        self.bytes += counts.bytes_down;
    }

    fn line(&self, name: &str) -> String {
        let each =
            |sum: u64| format!("{}.{:02}", sum / self.pulls.max(1), sum % self.pulls.max(1) * 100 / self.pulls.max(1));
        format!(
            "| {name} | {} | {} | {} | {} | {} |",
            self.pulls,
            each(self.requests),
            self.least,
            self.most,
            each(self.bytes)
        )
    }
}

/// What all edges together have seen.
#[derive(Debug, Default)]
struct Seen {
    first: Kind,
    unchanged: Kind,
    changed: Kind,
}

struct Site {
    server: S3ServerThread,
    runtime: Runtime,
    dir: tempfile::TempDir,
    seen: Mutex<Seen>,
    /// Pulls that have ended, of each edge.
    pulls: Vec<AtomicU64>,
    over: AtomicBool,
}

impl Site {
    fn new(scale: &Scale) -> Self {
        Self {
            server: S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "bucket")),
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
            dir: tempfile::tempdir().unwrap(),
            seen: Mutex::default(),
            pulls: (0..scale.edges).map(|_| AtomicU64::new(0)).collect(),
            over: AtomicBool::new(false),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A way to the mirror of its own, with a state of its own: as for another machine.
    fn destination(&self, name: &str) -> Destination {
        let (location, options) = (self.server.server.location("bucket", "site"), self.server.server.options());
        let places = self.runtime.block_on(Places::connect(&location, &options, SystemClock::new())).unwrap();
        Destination { name: name.to_owned(), places, state: Some(self.at(&format!("{name}-state"))) }
    }

    fn means(&self, name: &str) -> Means {
        Means {
            clock: SystemClock::new(),
            host: name.to_owned(),
            program: "volvault test".to_owned(),
            id: name.to_owned(),
            scratch: self.dir.path().to_owned(),
        }
    }

    fn sleep(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Stamps the files that change, and publishes.
    fn push(&self, mirror: &Destination, generation: u64) -> RequestCounts {
        stamp(&self.at("source"), CHANGED, generation);
        let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
        let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
        let options = PushOptions::new(self.means("source"));
        let report = push(&self.at("source"), std::slice::from_ref(mirror), &options, &watch).unwrap();
        let [report] = <[_; 1]>::try_from(report.destinations).unwrap();
        assert_eq!(report.result.unwrap(), Pushed::Published { generation });
        report.requests
    }

    /// One pull of one edge.
    fn pull(&self, number: usize, mirror: &Destination) {
        let name = format!("edge-{number}");
        let options = PullOptions { transfers: 4, checkers: 0, ..PullOptions::new(self.means(&name)) };
        let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
        let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
        let report = pull(mirror, &self.at(&name), &options, &watch).unwrap();
        assert_eq!(report.problems, 0, "{name}");
        let mut seen = self.seen.lock().unwrap();
        match report.outcome {
            Pulled::Unchanged => seen.unchanged.add(&report.requests),
            _ if self.pulls[number].load(Ordering::SeqCst) == 0 => seen.first.add(&report.requests),
            _ => seen.changed.add(&report.requests),
        }
        drop(seen);
        let wanted = format!("{:09}", report.generation);
        for file in 0..CHANGED {
            let text = std::fs::read_to_string(self.at(&name).join(path_of(file))).unwrap();
            assert_eq!(text, wanted, "{name}, file {file}");
        }
        self.pulls[number].fetch_add(1, Ordering::SeqCst);
    }

    /// The edges of one thread, again and again.
    fn edges(&self, worker: usize, scale: &Scale) -> u64 {
        let mine: Vec<(usize, Destination)> = (worker..scale.edges)
            .step_by(WORKERS)
            .map(|edge| (edge, self.destination(&format!("edge-{edge}"))))
            .collect();
        while !self.over.load(Ordering::SeqCst) {
            for (number, mirror) in &mine {
                self.pull(*number, mirror);
            }
            self.sleep(scale.pause);
        }
        mine.iter().map(|(_, mirror)| sent(mirror)).sum()
    }

    /// Waits until every edge has pulled so often.
    fn wait_for(&self, pulls: &[u64]) {
        let behind = || self.pulls.iter().zip(pulls).any(|(done, wanted)| done.load(Ordering::SeqCst) < *wanted);
        while behind() && !self.over.load(Ordering::SeqCst) {
            self.sleep(Duration::from_millis(5));
        }
    }
}

fn path_of(file: u64) -> String {
    format!("{}/{file}", file % 10)
}

fn stamp(source: &Path, files: u64, generation: u64) {
    for file in 0..files {
        write(source, &path_of(file), format!("{generation:09}").as_bytes());
    }
}

/// All requests that were ever sent to it.
fn sent(mirror: &Destination) -> u64 {
    mirror.places.data.requests().plus(&mirror.places.control.requests()).total()
}

/// Tells the others when its thread panics.
struct Bell<'a>(&'a AtomicBool);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

#[test]
fn edges_pay_one_request_for_nothing_and_little_more_than_the_changed_files_for_a_generation() {
    let scale = Scale::asked();
    let site = Site::new(&scale);
    stamp(&site.at("source"), scale.files, 1);
    let source = site.destination("source");
    site.push(&source, 1);
    let mut pushes = Kind::default();
    let from_edges = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS.min(scale.edges))
            .map(|worker| {
                let (site, scale) = (&site, &scale);
                scope.spawn(move || {
                    let _bell = Bell(&site.over);
                    site.edges(worker, scale)
                })
            })
            .collect();
        let _bell = Bell(&site.over);
        site.wait_for(&vec![2; scale.edges]);
        for generation in 2..=scale.generations {
            pushes.add(&site.push(&source, generation));
            let wanted: Vec<u64> =
                site.pulls.iter().map(|done| done.load(Ordering::SeqCst) + scale.polls.max(2)).collect();
            site.wait_for(&wanted);
        }
        site.over.store(true, Ordering::SeqCst);
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u64>()
    });
    let seen = site.seen.lock().unwrap();
    println!(
        "{} edges, {} files, {} generations, {CHANGED} files changed in each\n",
        scale.edges, scale.files, scale.generations
    );
    println!("| | runs | requests each | least | most | bytes of objects received each |\n|---|---|---|---|---|---|");
    for (name, kind) in [
        ("first pull", &seen.first),
        ("unchanged pull", &seen.unchanged),
        ("pull of a generation", &seen.changed),
        ("push", &pushes),
    ] {
        println!("{}", kind.line(name));
    }
    // Nobody counts what the server did not see, and the server saw nothing that nobody counts.
    assert_eq!(site.server.server.requests(), from_edges + sent(&source));
    let edges = u64::try_from(scale.edges).unwrap();
    assert!(seen.first.pulls == edges && seen.changed.pulls >= edges, "{seen:?}");
    assert!(seen.unchanged.pulls > 0 && seen.unchanged.requests == seen.unchanged.pulls, "{seen:?}");
    // The root, the changes, and the files, when no push came between.
    assert!(seen.changed.least <= CHANGED + 2, "{seen:?}");
}
