//! Whether what a job would work with is there, without doing anything.

use tokio::runtime::Handle;

use super::job::Job;
use crate::clock::SharedClock;
use crate::environment::{Environment, host_name};
use crate::error::{ErrorKind, Result};
use crate::repo::{OpenOptions, Repository, SystemEntropy};
use crate::storage::Store;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It is there, and can be opened: a sentence on it.
    Found(String),
    /// The store answers, and there is nothing yet: the location.
    Nothing(String),
}

/// Opens the repository that the environment of a restic mover describes, and makes none.
///
/// # Errors
/// When the environment makes no sense, the store does not answer, or the password is wrong.
pub fn reach_repository(environment: &Environment, (clock, runtime): (SharedClock, Handle)) -> Result<Reached> {
    let job = Job::new(environment, None)?;
    let store = runtime.block_on(Store::connect(&job.location, &job.store, clock.clone()))?;
    let options = OpenOptions {
        limits: job.limits.clone(),
        compression: job.compression,
        extra_verify: true,
        clock,
        entropy: SystemEntropy::new(),
        runtime,
        host: host_name(),
        user: rustix::process::getuid().as_raw().to_string(),
    };
    match Repository::open(store, &job.credential, options) {
        Ok(repository) => Ok(Reached::Found(format!("repository {} at {}", repository.id().short(), job.location))),
        Err(error) if error.kind() == ErrorKind::NoRepository => Ok(Reached::Nothing(job.location.to_string())),
        Err(error) => Err(error),
    }
}
