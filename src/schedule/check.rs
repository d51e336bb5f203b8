//! Whether what the documents describe could run: everything they name is there, and the stores answer.

use std::path::Path;

use tokio::runtime::Handle;

use super::board::{Method, ResourceId};
use super::document::{Documents, Resource, Task};
use super::job::{Job, Setup};
use crate::clock::SharedClock;
use crate::environment::Environment;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::Stop;
use crate::mover::{self, Reached};

/// What reaches stores.
pub struct Reach<'a> {
    /// Time.
    pub clock: SharedClock,
    /// Where requests run.
    pub runtime: Handle,
    /// Whether to stop.
    pub stop: &'a Stop,
}

/// What was found of one resource.
#[derive(Debug)]
pub struct Checked {
    /// Which one.
    pub id: ResourceId,
    /// What moves its data.
    pub method: Method,
    /// A sentence on how it is.
    pub outcome: Result<String>,
}

/// Checks every resource; nothing is written to any store. Files that a store needs are put in the setup's directory and removed again.
pub fn check(
    documents: &Documents,
    setup: &Setup,
    environment: &Environment,
    reach: Option<&Reach<'_>>,
) -> Vec<Checked> {
    let one = |resource: &Resource| {
        let outcome = Job::new(resource, documents, setup, environment).and_then(|job| one(resource, &job, reach));
        Checked { id: resource.id.clone(), method: resource.method(), outcome }
    };
    let checked = documents.resources.iter().map(one).collect();
    if setup.files.exists() {
        // Nobody else has it: what is left behind is only untidy.
        let _ = std::fs::remove_dir_all(&setup.files);
    }
    checked
}

fn one(resource: &Resource, job: &Job, reach: Option<&Reach<'_>>) -> Result<String> {
    directory(&job.volume)?;
    let Some(Reach { clock, runtime, stop }) = reach else { return Ok(format!("volume {}", job.volume.display())) };
    if stop.requested() {
        return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
    }
    job.place_files()?;
    let (world, volume) = ((clock.clone(), runtime.clone()), job.volume.display());
    match &resource.task {
        Task::Backup(_) | Task::Restore(_) => {
            let said = match (mover::reach_repository(&job.environment, world)?, &resource.task) {
                (Reached::Found(name), _) => name,
                (Reached::Nothing(location), Task::Backup(_)) => {
                    format!("there is no repository at {location} yet: the first run makes it")
                }
                (Reached::Nothing(location), Task::Restore(_) | Task::Mirror(_)) => {
                    format!("there is no repository at {location} yet, so there is nothing to restore")
                }
            };
            Ok(format!("volume {volume}, {said}"))
        }
        Task::Mirror(_) => {
            Ok(format!("volume {volume}, {}", mover::reach_mirror(&job.environment, &job.volume, world)?))
        }
    }
}

fn directory(volume: &Path) -> Result<()> {
    let status = std::fs::metadata(volume).attempt(|| format!("find the volume at {}", volume.display()))?;
    if status.is_dir() { Ok(()) } else { Err(Error::invalid(format!("{} is no directory", volume.display()))) }
}
