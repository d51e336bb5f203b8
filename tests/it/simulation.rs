//! Eight writers, a forget and two prunes at once over a store that fails, in an order that a seed decides (R04, R05, R13).
//!
//! `VOLVAULT_SIM_SEEDS=50000 cargo test --release --test it simulation::` runs as many (`.ci/run` 500), from `VOLVAULT_SIM_FIRST` on, and says now and then how far it is. It goes on after a failure and names
//! all seeds that failed; `VOLVAULT_SIM_SEED=n` runs that one again and shows every operation. The seed decides everything: order, faults, ids, keys, salts and clocks. What it does not decide are the
//! inode numbers and change times of the files that are backed up, which are in the catalogue: these stay in the target directory, so that a seed does the same there for ever, and something slightly different elsewhere.
//!
//! What the store does wrong: it fails before and after the fact, answers late writes with an error and carries
//! them out later (also after they were repeated and undone), breaks off listings, leaves packs and index segments out of listings, shows times that are wrong by up
//! to an hour or by up to thirty days; runs are killed, or stand still while all others go on, and are taken for dead at once or never.
//! What it must do right: show an object that it acknowledged.

#![expect(clippy::disallowed_methods, reason = "files to back up are written as any program writes them")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta};
use object_store::memory::InMemory;
use tokio::runtime::Runtime;
use volvault::clock::ManualClock;
use volvault::events::{Progress, Silent, Stop, Watch};
use volvault::id::SessionId;
use volvault::limits::Limits;
use volvault::maintenance::{self, MaxUnused, PruneOptions, ReadData};
use volvault::repo::{OpenOptions, Repository, Status};
use volvault::size::ByteSize;
use volvault::storage::{Location, Store};
use volvault::{Result, storage::Patience};

use crate::support::repo::check;
use crate::support::stage::{Chances, Stage};
use crate::support::trees::Dice;
use crate::support::vault::{SeededEntropy, Seen, Vault, backup, contents, noise, on_disk, options_for, runtime};

const WRITERS: usize = 8;
const FORGET: usize = 8;
/// The rest are prunes.
const ACTORS: usize = 11;

type Content = BTreeMap<Vec<u8>, Seen>;

/// Directories to back up, with what is in them; they have much in common.
fn sources() -> &'static [(PathBuf, Content)] {
    static SOURCES: OnceLock<Vec<(PathBuf, Content)>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("simulation-1");
        if !root.exists() {
            let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            make_sources(made.path());
            // Another process may have been faster.
            if std::fs::rename(made.path(), &root).is_ok() {
                let _ = made.keep();
            }
        }
        (0..10).map(|number| root.join(format!("source{number}"))).map(|dir| (dir.clone(), on_disk(&dir))).collect()
    })
}

fn make_sources(root: &Path) {
    let mut rng = Dice::new(1);
    for number in 0..10 {
        let dir = root.join(format!("source{number}"));
        std::fs::create_dir(&dir).unwrap();
        for file in 0..3 + rng.below(3) {
            let content = rng.below(8);
            let len = 60 + 1100 * usize::try_from(content).unwrap();
            std::fs::write(dir.join(format!("f{file}")), noise(len, content)).unwrap();
        }
    }
}

/// What the runs were told.
#[derive(Default)]
struct Told {
    /// Snapshots that were reported as saved, and the source of each.
    saved: BTreeMap<SessionId, usize>,
    /// Snapshots that somebody wanted to be gone.
    forgotten: BTreeSet<SessionId>,
    problems: Vec<String>,
}

struct Simulation {
    vault: Vault,
    clock: Arc<ManualClock>,
    stage: Arc<Stage>,
    told: Mutex<Told>,
    seed: u64,
}

impl Simulation {
    fn new(seed: u64, runtime: &Arc<Runtime>) -> Self {
        let mut rng = Dice::new(seed ^ 0x5eed);
        let mut chances = Chances { pause: 20, ..Chances::default() };
        if rng.chance(750) {
            (chances.before, chances.after, chances.late) = (rng.below(20), rng.below(20), rng.below(40));
        }
        if rng.chance(500) {
            chances.kill = rng.below(8);
        }
        if rng.chance(300) {
            chances.lie = rng.below(100);
        }
        chances.skew = if rng.chance(100) { 30 * 86400 } else { 3600 * i64::from(rng.chance(600)) };
        let objects = Arc::new(InMemory::new());
        let mut vault = Vault::on(Arc::clone(runtime), objects.clone());
        let clock = Arc::new(ManualClock::new(beginning()));
        (vault.clock, vault.entropy) = (clock.clone(), SeededEntropy::of(seed, u64::MAX));
        // No two threads of one actor ask the store at the same time: then the seed would not decide who is first.
        vault.limits = Limits {
            pack_size: ByteSize::kib(4),
            workers: 1,
            readers: 1,
            packs_in_flight: 0,
            reads_in_flight: 1,
            ..Limits::default()
        };
        vault.init().unwrap();
        let stage = Stage::new(objects, seed, chances);
        Self { vault, clock, stage, told: Mutex::default(), seed }
    }

    /// The repository as `actor` reaches it, with a clock of its own.
    fn open(&self, actor: usize, rng: &mut Dice) -> Result<Repository> {
        let patience = Patience {
            first_pause: Duration::ZERO,
            longest_pause: Duration::ZERO,
            answer: Duration::from_mins(10),
            total: Duration::from_mins(10),
            ..crate::support::hasty()
        };
        let store = Store::from_object_store_with(self.stage.store_of(actor), Location::Memory, patience);
        let skew = if rng.chance(50) { 30 * 86400 } else { 3600 };
        let skew = TimeDelta::seconds(i64::try_from(rng.below(2 * skew)).unwrap() - i64::try_from(skew).unwrap());
        let clock = Arc::new(ManualClock::new(beginning() + skew));
        let entropy = SeededEntropy::of(self.seed, actor as u64);
        let options = OpenOptions { clock, entropy, host: format!("host{actor}"), ..self.vault.options() };
        Repository::open(store, &Vault::credential(), options)
    }

    fn act(&self, actor: usize) {
        let _leaves = Leaves(&self.stage, actor);
        let mut rng = Dice::new(self.seed.wrapping_mul(31).wrapping_add(actor as u64));
        let outcome = self.open(actor, &mut rng).and_then(|repo| {
            for _ in 0..2 {
                if actor < WRITERS {
                    self.back_up(&repo, &mut rng)?;
                } else if actor == FORGET {
                    self.forget(&repo, &mut rng)?;
                } else {
                    let outcome = prune(&repo, &prune_options(&mut rng));
                    self.look(&format!("after a prune of actor {actor}"), |_| true);
                    outcome?;
                }
            }
            Ok(())
        });
        if let Err(error) = outcome {
            self.stage.note(format!("actor {actor}: {}", error.chain()));
        }
    }

    fn back_up(&self, repo: &Repository, rng: &mut Dice) -> Result<()> {
        let number = usize::try_from(rng.below(sources().len() as u64)).unwrap();
        let report = backup(repo, &options_for(&sources()[number].0))?;
        assert!(report.status == Status::Complete && report.problems == 0, "{report:?}");
        let id = report.snapshot.unwrap();
        self.stage.note(format!("      saved {}", id.to_hex()));
        self.told.lock().unwrap().saved.insert(id, number);
        // Nobody else does anything now.
        self.look(&format!("when {} was reported", id.to_hex()), |listed| listed == id);
        Ok(())
    }

    fn forget(&self, repo: &Repository, rng: &mut Dice) -> Result<()> {
        let listing = repo.listing()?;
        let some: BTreeSet<SessionId> =
            listing.snapshots.iter().filter(|_| rng.chance(500)).map(|name| name.id).collect();
        self.told.lock().unwrap().forgotten.extend(&some);
        repo.forget(&listing, &some, "test").map(drop)
    }

    /// Whether all that was reported is listed, and those snapshots that `counts` are whole if they were reported, or are listed and not marked.
    fn look(&self, when: &str, counts: impl Fn(SessionId) -> bool) {
        let clean = self.vault.open().unwrap();
        let session = clean.observe().unwrap();
        let mut told = self.told.lock().unwrap();
        let Told { saved, forgotten, problems } = &mut *told;
        let listed: BTreeSet<SessionId> = session.snapshots().iter().map(|name| name.id).collect();
        for id in saved.keys().filter(|id| !forgotten.contains(*id) && !listed.contains(*id)) {
            problems.push(format!("{when}: snapshot {} was reported and is not listed", id.to_hex()));
        }
        for name in session.snapshots().iter().filter(|name| counts(name.id)) {
            let was_saved = saved.get(&name.id).filter(|_| !forgotten.contains(&name.id));
            if was_saved.is_none() && session.listing().suspect.contains(&name.id) {
                continue;
            }
            let found = session.load(name).and_then(|snapshot| contents(&session, &snapshot));
            match (found, was_saved) {
                (Ok(found), Some(number)) if found != sources()[*number].1 => {
                    problems.push(format!("{when}: snapshot {} is not what was saved", name.id.to_hex()));
                }
                (Ok(_), _) => {}
                (Err(error), _) => {
                    problems.push(format!("{when}: snapshot {} is lost: {}", name.id.to_hex(), error.chain()));
                }
            }
        }
    }

    /// What went wrong, and all that happened.
    fn run(self) -> (Vec<String>, Vec<String>) {
        // Something to build on, and something to remove.
        let mut rng = Dice::new(self.seed);
        let clean = self.vault.open().unwrap();
        for _ in 0..3 {
            self.back_up(&clean, &mut rng).unwrap();
            self.clock.advance(Duration::from_secs(1));
        }
        self.forget(&clean, &mut rng).unwrap();
        self.stage.enter(0..ACTORS);
        std::thread::scope(|scope| {
            for actor in 0..ACTORS {
                let simulation = &self;
                scope.spawn(move || simulation.act(actor));
            }
        });
        self.vault.runtime.block_on(self.stage.land_late_writes());
        self.look("at the end", |_| true);
        // The next runs need nothing but themselves.
        let thorough = PruneOptions { stale_after: Duration::ZERO, ..prune_options(&mut rng) };
        for _ in 0..2 {
            if let Err(error) = prune(&clean, &thorough) {
                self.told.lock().unwrap().problems.push(format!("the next prune: {}", error.chain()));
            }
            self.look("after the next prune", |_| true);
        }
        let report = check(&clean, ReadData::All).unwrap();
        let mut problems = std::mem::take(&mut self.told.lock().unwrap().problems);
        let suspect = clean.listing().unwrap().suspect;
        let marked =
            |error: &String| suspect.iter().any(|id| error.contains(&id.to_hex()) || error.contains(&*id.short()));
        problems
            .extend(report.errors.into_iter().filter(|error| !marked(error)).map(|error| format!("check: {error}")));
        (problems, self.stage.trace())
    }
}

/// When every simulation begins: 2026-01-01.
fn beginning() -> DateTime<chrono::FixedOffset> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap().fixed_offset()
}

/// An actor that goes, also by a panic: the others would wait for it.
struct Leaves<'s>(&'s Stage, usize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

fn prune_options(rng: &mut Dice) -> PruneOptions {
    let day = Duration::from_hours(24);
    PruneOptions {
        max_unused: [MaxUnused::Bytes(ByteSize(0)), MaxUnused::Percent(5.0)][usize::try_from(rng.below(2)).unwrap()],
        repack_small: rng.chance(300),
        wait: Duration::ZERO,
        stale_after: if rng.chance(600) { Duration::ZERO } else { day },
        orphan_age: if rng.chance(700) { Duration::ZERO } else { day },
        force: true,
        ..PruneOptions::default()
    }
}

fn prune(repo: &Repository, options: &PruneOptions) -> Result<()> {
    let (progress, stop) = (Progress::default(), Stop::new());
    let watch = Watch { observer: &Silent, progress: &progress, stop: &stop };
    maintenance::prune(repo, options, &watch, &mut |_| ()).map(drop)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Tells how far a long run is; the harness would keep it to itself.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Seeds after which a long run says how far it is.
const SAID_EVERY: u64 = 500;

#[test]
fn whatever_runs_at_once_and_fails_nothing_that_was_reported_is_lost() {
    sources();
    let (first, count) = match number("VOLVAULT_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (number("VOLVAULT_SIM_FIRST").unwrap_or(1), number("VOLVAULT_SIM_SEEDS").unwrap_or(200)),
    };
    let next = AtomicU64::new(first);
    let failed: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let started = Instant::now();
    std::thread::scope(|scope| {
        // Most threads of a simulation wait for each other: two at once for each core keep it busy.
        for _ in 0..2 * std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(64) {
            scope.spawn(|| {
                let runtime = runtime();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let (problems, trace) = Simulation::new(seed, &runtime).run();
                    if count == 1 {
                        say(&trace.join("\n"));
                    }
                    if !problems.is_empty() {
                        let problems = problems.join("\n  ");
                        say(&format!("VOLVAULT_SIM_SEED={seed}\n  {problems}"));
                        failed.lock().unwrap().insert(seed, format!("{problems}\n{}", trace.join("\n")));
                    }
                    let done = seed + 1 - first;
                    if done.is_multiple_of(SAID_EVERY) {
                        let (lost, seconds) = (failed.lock().unwrap().len(), started.elapsed().as_secs());
                        say(&format!("{done} of {count} seeds in {seconds} s, {lost} failed"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let seeds: Vec<String> = failed.keys().map(|seed| format!("VOLVAULT_SIM_SEED={seed}")).collect();
    // All that happened with the first of them: elsewhere the seed may not do quite the same.
    assert!(failed.is_empty(), "{}\n{}", seeds.join("\n"), failed.values().next().unwrap());
}

#[test]
fn a_seed_decides_every_operation() {
    let runtime = runtime();
    for seed in 1..9 {
        let once = Simulation::new(seed, &runtime).run();
        let again = Simulation::new(seed, &runtime).run();
        let differs = once.1.iter().zip(&again.1).position(|(one, other)| one != other);
        let differs = differs.map(|at| (&once.1[at.saturating_sub(3)..=at], &again.1[at]));
        assert!(once == again, "seed {seed}: {differs:#?}");
        assert!(once.1.len() > 300, "seed {seed}: {} operations", once.1.len());
    }
}
