//! What is known of every resource, for those who show it: replaced as a whole after every change, so that a reader never waits for the engine.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::error::{Error, ErrorKind, Result};
use crate::mover::Numbers;
use crate::storage::RequestCounts;

/// Runs that are remembered of each resource: a plot of them still tells something, and a hundred resources stay a small file.
pub const HISTORY_MAX: usize = 100;

/// Longest tag of a manual trigger.
const TAG_MAX: usize = 63;

/// Requests for a run that wait; more are refused.
const ASKED_MAX: usize = 64;

/// Which end of a replication a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `ReplicationSource`: a volume is saved.
    Source,
    /// `ReplicationDestination`: a volume is filled.
    Destination,
}

/// What moves the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A repository.
    Restic,
    /// A mirror.
    Rclone,
}

impl Role {
    /// As `VolSync`'s metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

impl Method {
    /// As `VolSync`'s metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restic => "restic",
            Self::Rclone => "rclone",
        }
    }
}

/// Names a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId {
    /// The namespace; `default` where the document has none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The kind.
    pub role: Role,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.role.as_str(), self.namespace, self.name)
    }
}

/// Everything that can be shown.
#[derive(Debug, Clone)]
pub struct View {
    /// Name and version of the program.
    pub program: String,
    /// When this process began.
    pub started: DateTime<Utc>,
    /// Whether the engine is at work: all was read, and nobody asked to stop.
    pub ready: bool,
    /// The engine's last turn: at most seconds ago when all is well.
    pub beat: DateTime<Utc>,
    /// Sorted by id.
    pub resources: Vec<ResourceView>,
}

/// What is known of one resource.
#[derive(Debug, Clone)]
pub struct ResourceView {
    /// Which one.
    pub id: ResourceId,
    /// What moves its data.
    pub method: Method,
    /// The claim that names its volume.
    pub volume: String,
    /// When it runs, for people.
    pub trigger: String,
    /// Whether it is paused.
    pub paused: bool,
    /// Since when a job is at work.
    pub running: Option<DateTime<Utc>>,
    /// The manual trigger that this job is for.
    pub running_for: Option<String>,
    /// Whether it is due, and waits because as many jobs run as may.
    pub waiting: bool,
    /// The next start: by the schedule, or the next try after a failure.
    pub next: Option<DateTime<Utc>>,
    /// `VolSync`'s status.
    pub status: Status,
    /// Runs that ended after the one after them was due.
    pub missed_intervals: u64,
    /// Whether the last run is older than it should be.
    pub out_of_sync: bool,
    /// Tries since this process began.
    pub runs: Runs,
    /// Tries, the oldest first, at most [`HISTORY_MAX`]; kept over restarts.
    pub history: Vec<Past>,
    /// What the store was asked since this process began.
    pub requests: RequestCounts,
    /// What the last successful run found and did.
    pub latest: Option<Numbers>,
}

/// Tries since this process began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Runs {
    /// Successful ones.
    pub succeeded: u64,
    /// Failed ones.
    pub failed: u64,
    /// How long the successful ones took together.
    pub seconds: f64,
}

/// A try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// When it began.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// The mover's exit code.
    pub code: u8,
    /// What it did.
    #[serde(default)]
    pub numbers: Numbers,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Well.
    Successful,
    /// Not well.
    Failed,
    /// This process was asked to stop.
    Stopped,
}

/// The view that counts now, and what was asked for by those who look at it.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    view: Mutex<Arc<View>>,
    asked: Mutex<Vec<(ResourceId, String)>>,
}

impl Board {
    /// A board that shows `view`.
    pub fn new(view: View) -> Self {
        Self(Arc::new(Inner { view: Mutex::new(Arc::new(view)), asked: Mutex::default() }))
    }

    /// What it shows now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.0.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows `view` from now on.
    pub fn publish(&self, view: View) {
        *self.0.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// Asks for a run beyond the trigger, as if `spec.trigger.manual` had become `tag`: `lastManualSync` says when it is done.
    ///
    /// # Errors
    /// `NotFound` for an unknown resource, `Refused` for a paused one, for the tag of its last run or of the one at work, which would start none, and when too much was asked
    /// for already, `Invalid` for a tag that is empty, longer than 63 bytes or not printable.
    pub fn ask(&self, id: &ResourceId, tag: &str) -> Result<()> {
        if tag.is_empty() || tag.len() > TAG_MAX || tag.chars().any(char::is_control) {
            return Err(Error::invalid(format!("a manual trigger is 1 to {TAG_MAX} bytes of printable text")));
        }
        let view = self.view();
        let resource = view.resources.iter().find(|resource| resource.id == *id);
        let resource = resource.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no {id}")))?;
        if resource.paused {
            return Err(Error::new(ErrorKind::Refused, format!("{id} is paused")));
        }
        if resource.status.last_manual_sync.as_deref() == Some(tag) {
            let text = format!("{id} has run for {tag} already, and another text starts another run");
            return Err(Error::new(ErrorKind::Refused, text));
        }
        if resource.running_for.as_deref() == Some(tag) {
            let text = format!("{id} is running for {tag} now, and another text starts another run after it");
            return Err(Error::new(ErrorKind::Refused, text));
        }
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= ASKED_MAX || asked.iter().any(|(waiting, _)| waiting == id) {
            return Err(Error::new(ErrorKind::Refused, format!("a run of {id} was asked for already")));
        }
        asked.push((id.clone(), tag.to_owned()));
        Ok(())
    }

    /// What was asked for since the last call.
    pub(super) fn take_asked(&self) -> Vec<(ResourceId, String)> {
        std::mem::take(&mut *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Board")
    }
}
