//! Eight writers, a forget and two prunes at once over a store that fails, in an order that a seed decides (R04, R05, R13).
//!
//! `VOLVAULT_SIM_SEEDS=50000 cargo test --release --test it simulation::` runs as many (`.ci/run` 500); a failure names its seed, and `VOLVAULT_SIM_SEED=n` runs that
//! one again and prints every operation; ids are random, so that some failures come back only in one run of a few. What the store does wrong: it fails before and after the fact, answers late writes with an error and carries
//! them out later (also after they were repeated and undone), breaks off listings, leaves packs and index segments out of listings, shows times that are wrong by up
//! to an hour or by up to thirty days; runs are killed, or stand still while all others go on, and are taken for dead at once or never.
//! What it must do right: show an object that it acknowledged.

#![expect(clippy::disallowed_methods, reason = "files to back up are written as any program writes them")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use object_store::memory::InMemory;
use volvault::clock::{ManualClock, SystemClock};
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
use crate::support::vault::{Seen, Vault, backup, contents, noise, on_disk, options_for};

const WRITERS: usize = 8;
const FORGET: usize = 8;
/// The rest are prunes.
const ACTORS: usize = 11;

type Content = BTreeMap<Vec<u8>, Seen>;

/// Directories to back up, with what is in them; they have much in common.
struct Sources {
    _root: tempfile::TempDir,
    each: Vec<(PathBuf, Content)>,
}

fn sources() -> &'static Sources {
    static SOURCES: OnceLock<Sources> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        let mut rng = Dice::new(1);
        let each = (0..10).map(|number| {
            let dir = root.path().join(format!("source{number}"));
            std::fs::create_dir(&dir).unwrap();
            for file in 0..3 + rng.below(3) {
                let content = rng.below(8);
                let len = 500 + 9000 * usize::try_from(content).unwrap();
                std::fs::write(dir.join(format!("f{file}")), noise(len, content)).unwrap();
            }
            let content = on_disk(&dir);
            (dir, content)
        });
        let each = each.collect();
        Sources { _root: root, each }
    })
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
    stage: Arc<Stage>,
    told: Mutex<Told>,
    seed: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
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
        let mut vault = Vault::over(objects.clone());
        vault.limits = Limits {
            pack_size: ByteSize::kib(32),
            workers: 1,
            readers: 1,
            packs_in_flight: 1,
            reads_in_flight: 1,
            ..Limits::default()
        };
        vault.init().unwrap();
        let stage = Stage::new(objects, seed, chances);
        Self { vault, stage, told: Mutex::default(), seed }
    }

    /// The repository as `actor` reaches it, with a clock of its own.
    fn open(&self, actor: usize, rng: &mut Dice) -> Result<Repository> {
        let patience = Patience {
            first_pause: Duration::from_micros(10),
            longest_pause: Duration::from_micros(50),
            answer: Duration::from_mins(10),
            total: Duration::from_mins(10),
            ..crate::support::hasty()
        };
        let store = Store::from_object_store_with(self.stage.store_of(actor), Location::Memory, patience);
        let skew = if rng.chance(50) { 30 * 86400 } else { 3600 };
        let skew =
            chrono::TimeDelta::seconds(i64::try_from(rng.below(2 * skew)).unwrap() - i64::try_from(skew).unwrap());
        let clock = Arc::new(ManualClock::new(SystemClock::new().now() + skew));
        let options = OpenOptions { clock, host: format!("host{actor}"), ..self.vault.options() };
        Repository::open(store, &Vault::credential(), options)
    }

    fn act(&self, actor: usize) {
        let mut rng = Dice::new(self.seed.wrapping_mul(31).wrapping_add(actor as u64));
        let outcome = self.open(actor, &mut rng).and_then(|repo| {
            for _ in 0..2 {
                if actor < WRITERS {
                    self.back_up(&repo, &mut rng)?;
                } else if actor == FORGET {
                    self.forget(&repo, &mut rng)?;
                } else {
                    prune(&repo, &prune_options(&mut rng))?;
                }
            }
            Ok(())
        });
        if let Err(error) = outcome {
            self.stage.note(format!("actor {actor}: {}", error.chain()));
        }
        self.stage.leave(actor);
    }

    fn back_up(&self, repo: &Repository, rng: &mut Dice) -> Result<()> {
        let number = usize::try_from(rng.below(sources().each.len() as u64)).unwrap();
        let report = backup(repo, &options_for(&sources().each[number].0))?;
        assert!(report.status == Status::Complete && report.problems == 0, "{report:?}");
        let id = report.snapshot.unwrap();
        self.stage.note(format!("      saved {}", id.to_hex()));
        self.told.lock().unwrap().saved.insert(id, number);
        // Nobody else does anything now.
        self.look(&format!("when {} was reported", id.to_hex()));
        Ok(())
    }

    fn forget(&self, repo: &Repository, rng: &mut Dice) -> Result<()> {
        let listing = repo.listing()?;
        let some: BTreeSet<SessionId> =
            listing.snapshots.iter().filter(|_| rng.chance(500)).map(|name| name.id).collect();
        self.told.lock().unwrap().forgotten.extend(&some);
        repo.forget(&listing, &some, "test").map(drop)
    }

    /// Whether all that was reported can be restored, and everything that is listed and not marked is whole.
    fn look(&self, when: &str) {
        let clean = self.vault.open().unwrap();
        let session = clean.observe().unwrap();
        let mut told = self.told.lock().unwrap();
        let Told { saved, forgotten, problems } = &mut *told;
        let listed: BTreeSet<SessionId> = session.snapshots().iter().map(|name| name.id).collect();
        for id in saved.keys().filter(|id| !forgotten.contains(*id) && !listed.contains(*id)) {
            problems.push(format!("{when}: snapshot {} was reported and is not listed", id.to_hex()));
        }
        for name in session.snapshots() {
            let was_saved = saved.get(&name.id).filter(|_| !forgotten.contains(&name.id));
            if was_saved.is_none() && session.listing().suspect.contains(&name.id) {
                continue;
            }
            let found = session.load(name).and_then(|snapshot| contents(&session, &snapshot));
            match (found, was_saved) {
                (Ok(found), Some(number)) if found != sources().each[*number].1 => {
                    problems.push(format!("{when}: snapshot {} is not what was saved", name.id.to_hex()));
                }
                (Ok(_), _) => {}
                (Err(error), _) => {
                    problems.push(format!("{when}: snapshot {} is lost: {}", name.id.to_hex(), error.chain()));
                }
            }
        }
    }

    fn run(self) -> Vec<String> {
        // Something to build on, and something to remove.
        let mut rng = Dice::new(self.seed);
        let clean = self.vault.open().unwrap();
        for _ in 0..3 {
            self.back_up(&clean, &mut rng).unwrap();
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
        self.look("at the end");
        // The next runs need nothing but themselves.
        let thorough = PruneOptions { stale_after: Duration::ZERO, ..prune_options(&mut rng) };
        for _ in 0..2 {
            if let Err(error) = prune(&clean, &thorough) {
                self.told.lock().unwrap().problems.push(format!("the next prune: {}", error.chain()));
            }
            self.look("after the next prune");
        }
        let report = check(&clean, ReadData::All).unwrap();
        let mut problems = std::mem::take(&mut self.told.lock().unwrap().problems);
        let suspect = clean.listing().unwrap().suspect;
        let marked =
            |error: &String| suspect.iter().any(|id| error.contains(&id.to_hex()) || error.contains(&*id.short()));
        problems
            .extend(report.errors.into_iter().filter(|error| !marked(error)).map(|error| format!("check: {error}")));
        if !problems.is_empty() && std::env::var("VOLVAULT_SIM_SEED").is_ok() {
            problems.splice(0..0, self.stage.trace());
        }
        problems
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

#[test]
fn whatever_runs_at_once_and_fails_nothing_that_was_reported_is_lost() {
    sources();
    let (first, count) = match number("VOLVAULT_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("VOLVAULT_SIM_SEEDS").unwrap_or(200)),
    };
    let next = std::sync::atomic::AtomicU64::new(first);
    let failed: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + count || failed.lock().unwrap().len() > 5 {
                        return;
                    }
                    let problems = Simulation::new(seed).run();
                    if !problems.is_empty() {
                        failed.lock().unwrap().push(format!("VOLVAULT_SIM_SEED={seed}\n  {}", problems.join("\n  ")));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
