//! One module for each command: settings, then the use-case, then what came of it.

pub(super) mod accepted;
pub(super) mod backup;
pub(super) mod cat;
pub(super) mod check;
pub(super) mod copy;
mod files;
pub(super) mod forget;
pub(super) mod init;
pub(super) mod key;
pub(super) mod ls;
pub(super) mod mirror;
pub(super) mod prune;
pub(super) mod repair;
pub(super) mod repo;
pub(super) mod restore;
pub(super) mod schedule;
pub(super) mod snapshots;
pub(super) mod stats;
pub(super) mod tag;
pub(super) mod version;

use super::App;
use crate::error::Result;
use crate::repo::{Repository, Session};

impl App<'_> {
    /// Tells that the repository is open, in words that wrappers look for.
    fn tell_open(&self, repository: &Repository) {
        let (id, version) = (repository.id().short(), repository.config().format);
        self.console.say(&format!("repository {id} opened (version {version})"));
    }
}

/// Runs `work` in a session that reads, and ends the session whatever comes of it.
fn reading<T>(repository: &Repository, work: impl FnOnce(&Session<'_>) -> Result<T>) -> Result<T> {
    let session = repository.read_session()?;
    let result = work(&session);
    session.end(if result.is_ok() { "done" } else { "failed" });
    result
}
