//! Decides what runs when. Time is an argument, nothing is started here and nothing waits: months of a schedule pass in a test in no time.
//!
//! The rules are those of `VolSync`'s state machine (`internal/controller/statemachine/machine.go`): a resource that has never succeeded runs at once; a
//! manual trigger comes before a schedule; the next time is reckoned from the end of the last success; a run that ends after the one after the next was due
//! counts as a missed interval. A failed try is repeated with the pauses of a Kubernetes job, and it stays the same run until it succeeds.

mod entry;
mod record;

#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::board::{ResourceId, ResourceView, Role};
use super::cron::Zone;
use super::document::Resource;
use crate::error::{Error, Result};
use crate::mover::{Numbers, Remembered};
use entry::Entry;

pub(super) use record::Kept;

/// How resources run beside each other.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Whose clocks schedules mean that name no zone.
    pub zone: Zone,
    /// The longest that a scheduled run is put off, so that many machines do not come at once.
    pub jitter: Duration,
    /// How long a resource without a trigger rests between runs: a pod's start did that for `VolSync`.
    pub rest: Duration,
    /// Jobs at the same time.
    pub jobs: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { zone: Zone::Machine, jitter: Duration::ZERO, rest: Duration::from_secs(10), jobs: 2 }
    }
}

/// A job to start now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// Which resource.
    pub(super) index: usize,
    /// What the mover is to do, in order; nothing for a mirror.
    pub(super) actions: Vec<String>,
}

/// How a job ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    /// The mover's exit code.
    pub(super) code: u8,
    pub(super) numbers: Numbers,
    /// What is kept of the log.
    pub(super) logs: String,
    /// What is remembered of its repository from now on.
    pub(super) remembered: Option<Remembered>,
}

/// All resources, and where each of them stands.
#[derive(Debug)]
pub(super) struct Engine {
    options: EngineOptions,
    entries: Vec<Entry>,
    stopping: bool,
}

impl Engine {
    /// Goes on where `kept` says that an earlier process stopped.
    pub(super) fn new(resources: Vec<Resource>, mut kept: Kept, options: EngineOptions, now: DateTime<Utc>) -> Self {
        let entries = resources
            .into_iter()
            .map(|resource| {
                let (status, record) = kept.take(&resource.id);
                Entry::new(resource, status, record, (&options, now))
            })
            .collect();
        Self { options, entries, stopping: false }
    }

    /// What is to be started now; it counts as running from here on. Whoever has waited longest is first.
    pub(super) fn turn(&mut self, now: DateTime<Utc>) -> Vec<Start> {
        for entry in &mut self.entries {
            entry.look(&self.options, now);
        }
        if self.stopping {
            return Vec::new();
        }
        let running = self.entries.iter().filter(|entry| entry.is_running()).count();
        let mut due: Vec<(DateTime<Utc>, usize)> =
            self.entries.iter().enumerate().filter_map(|(index, entry)| Some((entry.due_since()?, index))).collect();
        due.sort_unstable();
        due.truncate(self.options.jobs.saturating_sub(running));
        let starts = due.into_iter().filter_map(|(_, index)| {
            let actions = self.entries.get_mut(index)?.start(now);
            Some(Start { index, actions })
        });
        starts.collect()
    }

    /// Takes the end of a job.
    pub(super) fn ended(&mut self, index: usize, ended: Ended, now: DateTime<Utc>) {
        let stopping = self.stopping;
        if let Some(entry) = self.entries.get_mut(index) {
            entry.ended(ended, stopping, (&self.options, now));
        }
    }

    /// Takes a request for a run.
    pub(super) fn ask(&mut self, id: &ResourceId, tag: String) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.resource().id == *id) {
            entry.ask(tag);
        }
    }

    /// Takes that a volume has changed.
    pub(super) fn changed(&mut self, index: usize, now: DateTime<Utc>) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.changed(now);
        }
    }

    /// Nothing is started any more.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    pub(super) fn running(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_running()).count()
    }

    /// What earlier jobs of a resource saw of its repository.
    pub(super) fn remembered(&self, index: usize) -> Option<&Remembered> {
        self.entries.get(index)?.record().remembered.as_ref()
    }

    pub(super) fn resource(&self, index: usize) -> Result<&Resource> {
        let entry = self.entries.get(index).ok_or_else(|| Error::bug("a resource that there is none of"))?;
        Ok(entry.resource())
    }

    pub(super) fn views(&self) -> Vec<ResourceView> {
        self.entries.iter().map(|entry| entry.view(&self.options)).collect()
    }

    /// What the next process needs: a list of resources with `VolSync`'s status, and beside it what `VolSync` has no field for.
    pub(super) fn kept(&self) -> Value {
        let items: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| {
                let id = &entry.resource().id;
                json!({
                    "apiVersion": "volsync.backube/v1alpha1",
                    "kind": kind(id.role),
                    "metadata": { "name": id.name, "namespace": id.namespace },
                    "status": entry.status(),
                    "volvault": entry.record(),
                })
            })
            .collect();
        json!({ "apiVersion": "v1", "kind": "List", "items": items })
    }
}

/// `ReplicationSource` or `ReplicationDestination`.
pub(super) const fn kind(role: Role) -> &'static str {
    match role {
        Role::Source => "ReplicationSource",
        Role::Destination => "ReplicationDestination",
    }
}
