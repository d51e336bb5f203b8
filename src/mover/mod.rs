//! One unattended job, as an operator starts it in a pod: the environment in, log lines and an exit code out.
//!
//! The contract is that of the scripts in VolSync's own mover image, so that our image can stand in its place: names, actions, variables, exit codes and
//! the lines that VolSync's filters look for. For users: `docs/kubernetes.md`. It asks nobody anything, keeps nothing on disk but what the job is
//! about and what it saw of the repository, and opens the repository once for all actions of a job.

mod backup;
mod called;
mod content;
mod debug;
mod failure;
mod forget;
mod identity;
mod job;
mod log;
mod numbers;
mod opening;
mod prune;
mod rclone;
mod reach;
mod remembering;
mod restore;
mod run;
mod shell;

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::clock::SharedClock;
use crate::environment::Environment;
use crate::events::Stop;

pub use called::Called;
pub use debug::{Debug, debug_directory, waits_for_debugging};
pub use numbers::Numbers;
pub use rclone::{rclone, reach_mirror};
pub use reach::{Reached, reach_repository};
pub use shell::program_of;

pub use crate::pins::Remembered;

use failure::Failure;
use job::{Action, Job};
use log::Log;
use run::{Flow, Run};

/// What a job works with.
pub struct World<'a> {
    /// The variables.
    pub environment: &'a Environment,
    /// Time.
    pub clock: SharedClock,
    /// Where requests run.
    pub runtime: Handle,
    /// Whether the job was asked to stop.
    pub stop: &'a Stop,
    /// Takes the lines of the log, each at once.
    pub out: Box<dyn Write + Send>,
    /// Where the volume really lies that `DATA_DIR` or `MOUNT_PATH` names; `None`: there.
    pub volume: Option<&'a Path>,
    /// Takes what the job did, as far as it got.
    pub numbers: Option<&'a Mutex<Numbers>>,
    /// Holds what earlier jobs saw of the repository, and takes what this one sees; without it, that is kept on the cache volume if there is one.
    pub remembered: Option<&'a Mutex<Option<Remembered>>>,
}

/// Which variables must be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demands {
    /// Those that VolSync's script demands.
    Script,
    /// Only those that mean something here.
    Needed,
}

/// Does what `actions` say, one after the other, and returns the exit code: 0 when all was done, 1 for a wrong environment, 2 for an unknown
/// action, 3 when the repository cannot be opened or files could not be read, 10, 12 and 13 as the command has them, 130 when it was stopped.
pub fn restic(actions: &[String], demands: Demands, world: World<'_>) -> u8 {
    let World { environment, clock, runtime, stop, out, volume, numbers, remembered } = world;
    let log = Log::new(out);
    let start = clock.elapsed();
    log.say("Starting container");
    log.say(&format!("VolSync restic container version: volvault {}", env!("CARGO_PKG_VERSION")));
    log.say(&actions.join(" "));
    let outcome = prepare(actions, demands, (environment, volume), &log).and_then(|(job, actions)| {
        let run = Run::new(&job, &log, (clock.clone(), runtime), stop).counted(numbers.is_some());
        let run = run.remembered_by(remembered);
        let outcome = actions.iter().try_fold(Flow::On, |flow, action| match flow {
            Flow::On => run.act(*action),
            Flow::End => Ok(Flow::End),
        });
        run.keep_pins();
        if let Some(numbers) = numbers {
            *numbers.lock().unwrap_or_else(PoisonError::into_inner) = run.numbers();
        }
        outcome
    });
    match outcome {
        Ok(Flow::On) => {
            log.say(&format!("Restic completed in {}s", clock.elapsed().saturating_sub(start).as_secs()));
            0
        }
        Ok(Flow::End) => 0,
        Err(failure) => {
            failure.tell(&log);
            failure.code()
        }
    }
}

/// Everything that can be wrong with the request is found before anything is done.
fn prepare(
    actions: &[String],
    demands: Demands,
    (environment, volume): (&Environment, Option<&Path>),
    log: &Log,
) -> Result<(Job, Vec<Action>), Failure> {
    log.say("Testing mandatory env variables");
    job::demand(demands, environment)?;
    let actions = actions.iter().map(|word| Action::parse(word)).collect::<Result<_, _>>()?;
    let job = Job::new(environment, volume)?;
    if environment.raw(job::CUSTOM_CA).is_some() {
        log.say("Using custom CA.");
    }
    if job.is_ambiguous {
        log.say(&format!(
            "warning: this pod does not know its namespace: resources called {} in other namespaces must not share this repository; set {}",
            job.host,
            job::NAMESPACE
        ));
    }
    Ok((job, actions))
}
