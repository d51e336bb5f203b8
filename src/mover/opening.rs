//! From a job to an open repository.

use super::failure::Failure;
use super::run::Run;
use crate::chunker;
use crate::environment::host_name;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::{InitOptions, OpenOptions, Repository, SystemEntropy};
use crate::storage::Store;

impl Run<'_> {
    /// The repository, which is made if there is none; in strict mode a restore makes none, because a mistyped location would look like success.
    pub(super) fn ensure(&self, make: bool) -> Result<&Repository, Failure> {
        if let Some(repository) = self.repository.get() {
            return Ok(repository);
        }
        self.log.say("=== Check for dir initialized ===");
        let repository = match self.connect_and_open() {
            Ok(repository) => repository,
            Err(error) if error.kind() == ErrorKind::NoRepository && make => {
                self.log.say("=== Initialize Dir ===");
                self.make().map_err(|error| Failure::new(3, "failure initializing repository").with_cause(error))?
            }
            Err(error) => return Err(refused(error)),
        };
        Ok(self.keep(repository))
    }

    /// The repository as it is.
    pub(super) fn open(&self) -> Result<&Repository, Failure> {
        if let Some(repository) = self.repository.get() {
            return Ok(repository);
        }
        let repository = self.connect_and_open().map_err(|error| Failure::of("opening the repository", error))?;
        Ok(self.keep(repository))
    }

    fn keep(&self, repository: Repository) -> &Repository {
        let (id, version) = (repository.id().short(), repository.config().format);
        self.log.say(&format!("repository {id} opened (version {version})"));
        self.repository.get_or_init(|| self.follow(repository))
    }

    fn connect(&self) -> Result<Store> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        let job = self.job;
        let store = self.runtime.block_on(Store::connect(&job.location, &job.store, self.clock.clone()))?;
        Ok(self.store.get_or_init(|| store).clone())
    }

    fn connect_and_open(&self) -> Result<Repository> {
        Repository::open(self.connect()?, &self.job.credential, self.open_options())
    }

    fn make(&self) -> Result<Repository> {
        let init = InitOptions {
            credential: self.job.credential.clone(),
            chunker: chunker::Params::default(),
            kdf: None,
            label: String::new(),
        };
        match Repository::init(self.connect()?, &init, self.open_options()) {
            Ok(made) => {
                let id: String = made.id().to_hex().chars().take(10).collect();
                self.log.say(&format!("created volvault repository {id} at {}", self.job.location));
                Ok(made)
            }
            // The mover of another volume was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.connect_and_open(),
            Err(error) => Err(error),
        }
    }

    fn open_options(&self) -> OpenOptions {
        OpenOptions {
            limits: self.job.limits.clone(),
            compression: self.job.compression,
            extra_verify: true,
            clock: self.clock.clone(),
            entropy: SystemEntropy::new(),
            runtime: self.runtime.clone(),
            host: host_name(),
            // A pod's user has no name.
            user: rustix::process::getuid().as_raw().to_string(),
        }
    }
}

/// The script's words and its exit code.
fn refused(error: Error) -> Failure {
    let sentence = if error.kind() == ErrorKind::WrongKey {
        "failure connecting to repository, incorrect password"
    } else {
        "failure checking existence of repository"
    };
    Failure::new(3, sentence).with_cause(error)
}
