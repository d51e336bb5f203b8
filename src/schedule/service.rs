//! The loop: jobs are started when they are due, each on a thread of its own, and what becomes of them is kept and shown.
//!
//! The order of writes: that a run has begun stands in the status file before the job starts, and how it ended before anything else is started; so a
//! process that is killed leaves a file from which the next one goes on. It turns four times a second, and does nothing then but look at the time, at
//! inotify and at requests: what a turn costs is the same for a clock that jumps and for a machine that slept.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use chrono::{DateTime, Utc};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::FlockOperation;
use tokio::runtime::Handle;

use super::board::{Board, Method, ResourceId, View};
use super::document::Documents;
use super::engine::{Ended, Engine, EngineOptions, Kept, Start};
use super::job::{Job, Setup};
use super::logs::JobLog;
use super::watch::Watcher;
use crate::clock::SharedClock;
use crate::environment::Environment;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::Stop;
use crate::mover::{self, Demands, Numbers, Remembered, World};
use crate::volume::durable::{Publish, publish};

/// How often the loop looks around.
const TURN: Duration = Duration::from_millis(250);

/// A volume that cannot be watched counts as changed so often.
const UNWATCHED: Duration = Duration::from_mins(10);

/// The exit code of a job that panicked, which is a bug of ours.
const PANICKED: u8 = 101;

/// The name of the status file, and of the file that keeps a second process away.
const STATUS_FILE: &str = "status.json";
const LOCK_FILE: &str = "lock";

/// What a service works with.
pub struct ServiceWorld<'a> {
    /// The variables of this process: of them only the proxies reach a job.
    pub environment: &'a Environment,
    /// Time.
    pub clock: SharedClock,
    /// Where requests run.
    pub runtime: Handle,
    /// Whether it was asked to stop.
    pub stop: &'a Stop,
    /// Takes lines for people.
    pub say: Say,
}

/// Takes a line for people, from any thread.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// Resources that are ready to run.
pub struct Service {
    engine: Engine,
    jobs: Vec<Job>,
    directory: PathBuf,
    board: Board,
    program: String,
    started: DateTime<Utc>,
    /// Held until the process ends.
    _lock: File,
}

struct Watched {
    watcher: Option<Watcher>,
    settled_at: DateTime<Utc>,
}

/// What the threads of jobs need of the loop.
struct Shop<'a> {
    jobs: &'a [Job],
    world: &'a ServiceWorld<'a>,
    ended: Sender<(usize, Ended)>,
}

/// What a job fills in while it runs.
struct Held {
    numbers: Mutex<Numbers>,
    remembered: Mutex<Option<Remembered>>,
}

impl Service {
    /// Prepares everything that `documents` describe: volumes and Secrets are found, the status of an earlier process is read.
    ///
    /// # Errors
    /// `Invalid` for a resource that something is missing of; `Refused` when another process uses the directory; `Corrupt` for a status file that is none.
    pub fn new(
        documents: Documents,
        setup: &Setup,
        directory: &Path,
        options: EngineOptions,
        world: &ServiceWorld<'_>,
    ) -> Result<Self> {
        let jobs = prepare(&documents, setup, world.environment)?;
        let lock = lock(directory)?;
        let now = world.clock.now().to_utc();
        let kept = kept(&directory.join(STATUS_FILE))?;
        let engine = Engine::new(documents.resources, kept, options, now);
        let program = format!("volvault {}", env!("CARGO_PKG_VERSION"));
        let view = View { program: program.clone(), started: now, ready: false, beat: now, resources: engine.views() };
        let board = Board::new(view);
        Ok(Self { engine, jobs, directory: directory.to_owned(), board, program, started: now, _lock: lock })
    }

    /// Where it shows how things are.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Runs until it is asked to stop; jobs that are at work then are asked, too, and waited for.
    ///
    /// # Errors
    /// When files for jobs cannot be put in place.
    pub fn run(self, world: &ServiceWorld<'_>) -> Result<()> {
        let Self { mut engine, jobs, directory, board, program, started, _lock } = self;
        jobs.iter().try_for_each(Job::place_files)?;
        let (sender, receiver) = bounded(jobs.len().max(1));
        let shop = Shop { jobs: &jobs, world, ended: sender };
        let mut keeper = Keeper { path: directory.join(STATUS_FILE), written: Vec::new(), say: Arc::clone(&world.say) };
        let mut watched = watch(&mut engine, &jobs, world);
        std::thread::scope(|scope| {
            loop {
                let now = world.clock.now().to_utc();
                let stopping = world.stop.requested();
                if stopping {
                    engine.stop();
                }
                board.take_asked().into_iter().for_each(|(id, tag)| engine.ask(&id, tag));
                look(&mut watched, &mut engine, (now, world));
                let starts = engine.turn(now);
                // First written, then begun.
                keeper.keep(&engine);
                for start in starts {
                    shop.start(scope, start, &engine);
                }
                let resources = engine.views();
                board.publish(View { program: program.clone(), started, ready: !stopping, beat: now, resources });
                if stopping && engine.running() == 0 {
                    return Ok(());
                }
                take(&receiver, &mut engine, world);
                keeper.keep(&engine);
            }
        })
    }
}

/// The job of each resource; all that is missing is told at once.
pub(super) fn prepare(documents: &Documents, setup: &Setup, environment: &Environment) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let mut wrong = Vec::new();
    for resource in &documents.resources {
        match Job::new(resource, documents, setup, environment) {
            Ok(job) => jobs.push(job),
            Err(error) => wrong.push(error.within(resource.id.to_string())),
        }
    }
    let Some(first) = wrong.first() else { return Ok(jobs) };
    let hint = first.hint().unwrap_or("see docs/scheduler.md").to_owned();
    let all: Vec<String> = wrong.iter().map(Error::chain).collect();
    Err(Error::invalid(all.join("; ")).with_hint(hint))
}

fn kept(path: &Path) -> Result<Kept> {
    match std::fs::read(path) {
        Ok(bytes) => Kept::read(&bytes).map_err(|error| {
            error
                .within(format!("read {}", path.display()))
                .with_hint("move it away: then everything runs once, and begins from there")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(error).attempt(|| format!("read {}", path.display())),
    }
}

fn lock(directory: &Path) -> Result<File> {
    std::fs::create_dir_all(directory).attempt(|| format!("make {}", directory.display()))?;
    let path = directory.join(LOCK_FILE);
    let said = || format!("open {}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path).attempt(said)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(ErrorKind::Refused, format!("another process runs with {}", directory.display()))
                .with_hint("give each a directory of its own: --state-dir"))
        }
        Err(error) => Err(std::io::Error::from(error)).attempt(said),
    }
}

/// Waits for a job to end, but not for long.
fn take(receiver: &Receiver<(usize, Ended)>, engine: &mut Engine, world: &ServiceWorld<'_>) {
    let Ok(first) = receiver.recv_timeout(TURN) else { return };
    // Asked to stop while this waited: then that is why the job has ended.
    if world.stop.requested() {
        engine.stop();
    }
    for (index, ended) in std::iter::once(first).chain(receiver.try_iter()) {
        engine.ended(index, ended, world.clock.now().to_utc());
    }
}

/// Writes the status file when it would differ.
struct Keeper {
    path: PathBuf,
    written: Vec<u8>,
    say: Say,
}

impl Keeper {
    fn keep(&mut self, engine: &Engine) {
        let bytes = format!("{:#}\n", engine.kept()).into_bytes();
        if bytes == self.written {
            return;
        }
        // A full disk is no reason to stop saving volumes; it is tried again at the next change.
        if let Err(error) = publish(&self.path, &bytes, Publish::Replace) {
            (self.say)(&format!("the status was not written: {}", error.chain()));
        }
        self.written = bytes;
    }
}

/// What changed while no process watched is not known, so each watched volume counts as changed at first.
fn watch(engine: &mut Engine, jobs: &[Job], world: &ServiceWorld<'_>) -> HashMap<usize, Watched> {
    let now = world.clock.now().to_utc();
    let mut watched = HashMap::new();
    for (index, job) in jobs.iter().enumerate() {
        let Ok(resource) = engine.resource(index) else { continue };
        if resource.trigger.on_change.is_none() {
            continue;
        }
        let opened = Watcher::new(&job.volume).map_err(|error| tell_unwatched(&resource.id, &error, world));
        engine.changed(index, now);
        watched.insert(index, Watched { watcher: opened.ok(), settled_at: now });
    }
    watched
}

fn tell_unwatched(id: &ResourceId, error: &Error, world: &ServiceWorld<'_>) {
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    (world.say)(&format!("{id}: changes are not seen, so it runs every ten minutes: {}{hint}", error.chain()));
}

fn look(watched: &mut HashMap<usize, Watched>, engine: &mut Engine, (now, world): (DateTime<Utc>, &ServiceWorld<'_>)) {
    for (index, watched) in watched {
        let changed = match watched.watcher.as_mut().map(Watcher::changed) {
            Some(Ok(changed)) => changed,
            Some(Err(error)) => {
                if let Ok(resource) = engine.resource(*index) {
                    tell_unwatched(&resource.id, &error, world);
                }
                watched.watcher = None;
                true
            }
            None => (now - watched.settled_at).to_std().is_ok_and(|since| since >= UNWATCHED),
        };
        if changed {
            watched.settled_at = now;
            engine.changed(*index, now);
        }
    }
}

impl<'a> Shop<'a> {
    fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, start: Start, engine: &Engine)
    where
        'a: 'scope,
    {
        let (Some(job), Ok(resource)) = (self.jobs.get(start.index), engine.resource(start.index)) else { return };
        let id = resource.id.to_string();
        let remembered = Mutex::new(engine.remembered(start.index).cloned());
        scope.spawn(move || {
            let log = JobLog::new(job.method);
            let held = Held { numbers: Mutex::new(Numbers::default()), remembered };
            let done = catch_unwind(AssertUnwindSafe(|| self.work(job, &start, (&id, &log, &held))));
            let code = done.unwrap_or_else(|_| {
                log.add("ERROR: the job panicked, which is a bug");
                PANICKED
            });
            let numbers = held.numbers.into_inner().unwrap_or_else(PoisonError::into_inner);
            let remembered = held.remembered.into_inner().unwrap_or_else(PoisonError::into_inner);
            let ended = Ended { code, numbers, logs: log.logs(code == 0), remembered };
            // The loop waits for all jobs before it goes.
            let _ = self.ended.send((start.index, ended));
        });
    }

    fn work(&self, job: &Job, start: &Start, (id, log, held): (&str, &JobLog, &Held)) -> u8 {
        let ServiceWorld { clock, runtime, stop, .. } = self.world;
        let (said, id) = (Arc::clone(&self.world.say), id.to_owned());
        let out = log.writer(move |line| said(&format!("{id}: {line}")));
        let world = World {
            environment: &job.environment,
            clock: clock.clone(),
            runtime: runtime.clone(),
            stop,
            out,
            numbers: Some(&held.numbers),
            remembered: Some(&held.remembered),
            volume: Some(&job.volume),
        };
        match job.method {
            Method::Restic => mover::restic(&start.actions, Demands::Script, world),
            Method::Rclone => mover::rclone(Demands::Script, world),
        }
    }
}
