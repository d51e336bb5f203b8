//! The actions of a job, one after the other, on a repository that is opened once.

use std::cell::{Cell, OnceCell};
use std::sync::{Arc, Mutex};

use chrono::DateTime;
use tokio::runtime::Handle;

use super::failure::Failure;
use super::job::{Action, Job};
use super::log::Log;
use super::numbers::Numbers;
use super::remembering::Keeper;
use crate::clock::SharedClock;
use crate::events::{Stop, Watch};
use crate::path::escape;
use crate::pins::Remembered;
use crate::repo::{Memory, Repository, Session};
use crate::storage::Store;

/// Whether the job goes on after an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// With the next action.
    On,
    /// There is nothing to do: the job is over, and well.
    End,
}

/// A job that is being done.
pub(super) struct Run<'a> {
    pub(super) job: &'a Job,
    pub(super) log: &'a Log,
    pub(super) clock: SharedClock,
    pub(super) runtime: Handle,
    pub(super) stop: &'a Stop,
    pub(super) store: OnceCell<Store>,
    pub(super) repository: OnceCell<Repository>,
    /// What the repository is held to, and where that is kept.
    pub(super) memory: OnceCell<(Keeper<'a>, Arc<Memory>)>,
    /// What whoever started the job remembers of its repository.
    pub(super) remembered: Option<&'a Mutex<Option<Remembered>>>,
    seen: Cell<Numbers>,
    counted: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(job: &'a Job, log: &'a Log, (clock, runtime): (SharedClock, Handle), stop: &'a Stop) -> Self {
        let seen = Cell::new(Numbers::default());
        let (store, repository, memory) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { job, log, clock, runtime, stop, store, repository, memory, remembered: None, seen, counted: false }
    }

    /// With `counted`, somebody keeps count of what is done.
    pub(super) fn counted(self, counted: bool) -> Self {
        Self { counted, ..self }
    }

    /// With `remembered`, whoever started the job keeps what is seen of the repository.
    pub(super) fn remembered_by(self, remembered: Option<&'a Mutex<Option<Remembered>>>) -> Self {
        Self { remembered, ..self }
    }

    /// Does one action.
    pub(super) fn act(&self, action: Action) -> Result<Flow, Failure> {
        self.go_on()?;
        let (what, volume) = (action.word(), escape(self.job.volume.as_os_str().as_encoded_bytes()));
        let waits = format!("the {what} still waits for {volume} or {}", self.job.location);
        let flow = self.log.until_overdue(self.stop, &waits, || self.perform(action))?;
        self.go_on().map(|()| flow)
    }

    fn perform(&self, action: Action) -> Result<Flow, Failure> {
        match action {
            Action::Unlock => self.unlock(),
            Action::Backup => return self.backup(),
            Action::Prune => self.prune()?,
            Action::Restore => self.restore()?,
        }
        Ok(Flow::On)
    }

    /// VolSync asks for it when a user does: the run of a mover that locks may have been killed.
    fn unlock(&self) {
        self.log.say("=== Starting unlock ===");
        self.log.say("successfully removed 0 locks: no run ever locks the repository");
    }

    fn go_on(&self) -> Result<(), Failure> {
        if self.stop.requested() { Err(Failure::stopped()) } else { Ok(()) }
    }

    /// Runs `work` and shows how far it is.
    pub(super) fn watched<R>(&self, work: impl FnOnce(&Watch<'_>) -> R) -> R {
        self.log.watched(self.clock.as_ref(), self.stop, work)
    }

    /// Keeps what an action did.
    pub(super) fn note(&self, note: impl FnOnce(&mut Numbers)) {
        let mut seen = self.seen.get();
        note(&mut seen);
        self.seen.set(seen);
    }

    /// Keeps when a check last read data, which is asked only where somebody wants to know. No job fails for it.
    pub(super) fn note_verified(&self, session: &Session<'_>) {
        let noted = self.counted.then(|| session.verified_before().ok()).flatten().map(|verified| verified.noted);
        let noted = noted.filter(|seconds| *seconds > 0).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        self.note(|numbers| numbers.verified = noted);
    }

    /// What was done so far.
    pub(super) fn numbers(&self) -> Numbers {
        let requests = self.store.get().map(Store::requests).unwrap_or_default();
        Numbers { requests, ..self.seen.get() }
    }

    /// `, 12 requests`: appended to a line that the operator keeps.
    pub(super) fn requests(&self) -> String {
        self.store.get().map(|store| format!(", {} requests", store.requests().total())).unwrap_or_default()
    }
}
