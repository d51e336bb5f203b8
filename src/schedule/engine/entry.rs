//! One resource: when it is due, and what a run changes.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::record::{Asked, Record};
use super::{Ended, EngineOptions};
use crate::mover::Numbers;
use crate::schedule::board::{HISTORY_MAX, Outcome, Past, ResourceView, Runs};
use crate::schedule::cron::Cron;
use crate::schedule::document::{Resource, Task};
use crate::schedule::go_duration;
use crate::schedule::status::{Condition, MoverResult, MoverStatus, Status};
use crate::storage::RequestCounts;

/// Pauses between failed tries, as those of a Kubernetes job: they double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LAST_PAUSE: Duration = Duration::from_mins(6);

/// A volume that never comes to rest is saved all the same after so many times the settling time.
const UNSETTLED: u32 = 10;

/// The mover's exit code when it was asked to stop.
const STOPPED: u8 = 130;

const SYNCHRONIZING: &str = "Synchronizing";

#[derive(Debug)]
pub(super) struct Entry {
    resource: Resource,
    status: Status,
    record: Record,
    running: Option<Running>,
    due_since: Option<DateTime<Utc>>,
    change: Option<Change>,
    out_of_sync: bool,
    /// From when on a run that has not ended counts as missed: found once for each success, because it takes a walk through the calendar.
    deadline: Option<DateTime<Utc>>,
    runs: Runs,
    requests: RequestCounts,
}

#[derive(Debug)]
struct Running {
    since: DateTime<Utc>,
    actions: Vec<String>,
    tag: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

impl Entry {
    pub(super) fn new(
        resource: Resource,
        status: Status,
        mut record: Record,
        (options, now): (&EngineOptions, DateTime<Utc>),
    ) -> Self {
        record.first_seen.get_or_insert(now);
        let mut entry = Self {
            resource,
            status,
            record,
            running: None,
            due_since: None,
            change: None,
            out_of_sync: false,
            deadline: None,
            runs: Runs::default(),
            requests: RequestCounts::default(),
        };
        // The schedule may be another one than when the file was written.
        entry.plan(options);
        entry
    }

    pub(super) const fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(super) const fn status(&self) -> &Status {
        &self.status
    }

    pub(super) const fn record(&self) -> &Record {
        &self.record
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) const fn due_since(&self) -> Option<DateTime<Utc>> {
        self.due_since
    }

    pub(super) fn ask(&mut self, tag: String) {
        self.record.asked = Some(Asked { instead_of: self.resource.trigger.manual.clone(), tag });
    }

    pub(super) fn changed(&mut self, now: DateTime<Utc>) {
        let first = self.change.map_or(now, |change| change.first);
        self.change = Some(Change { first, last: now });
    }

    /// Finds out whether it is due.
    pub(super) fn look(&mut self, options: &EngineOptions, now: DateTime<Utc>) {
        if self.status.last_sync_time.is_none() || self.has_missed(now) {
            self.out_of_sync = true;
        }
        if self.running.is_some() || self.resource.paused || !self.is_due(options, now) {
            self.due_since = None;
        } else {
            self.due_since.get_or_insert(now);
        }
    }

    fn is_due(&self, options: &EngineOptions, now: DateTime<Utc>) -> bool {
        if self.status.last_sync_start_time.is_some() {
            // A run that has not succeeded yet: it failed, or the process was killed.
            // No pause is longer than the last: a clock that was set back must not make one of hours.
            return self.record.next_try.is_none_or(|time| now >= time || time > later(now, LAST_PAUSE));
        }
        if self.status.last_sync_time.is_none() || self.has_settled(now) {
            return true;
        }
        let tag = self.tag();
        if tag.is_some() && tag != self.status.last_manual_sync.as_deref() {
            return true;
        }
        let trigger = &self.resource.trigger;
        if trigger.manual.is_some() {
            return false;
        }
        match (&trigger.schedule, trigger.on_change) {
            (Some(_), _) => self.status.next_sync_time.is_none_or(|next| now > next),
            (None, Some(_)) => false,
            (None, None) => self.rested_at(options).is_none_or(|time| now >= time || time > later(now, options.rest)),
        }
    }

    fn has_settled(&self, now: DateTime<Utc>) -> bool {
        let (Some(change), Some(settled)) = (self.change, self.resource.trigger.on_change) else { return false };
        let since = |time: DateTime<Utc>| (now - time).to_std().unwrap_or_default();
        since(change.last) >= settled || since(change.first) >= settled * UNSETTLED
    }

    fn rested_at(&self, options: &EngineOptions) -> Option<DateTime<Utc>> {
        Some(later(self.status.last_sync_time?, options.rest))
    }

    /// The manual trigger that counts.
    fn tag(&self) -> Option<&str> {
        let document = &self.resource.trigger.manual;
        match &self.record.asked {
            Some(asked) if asked.instead_of == *document => Some(&asked.tag),
            Some(_) | None => document.as_deref(),
        }
    }

    /// The schedule, where it counts.
    fn schedule(&self) -> Option<&Cron> {
        let trigger = &self.resource.trigger;
        trigger.schedule.as_ref().filter(|_| trigger.manual.is_none())
    }

    fn next_scheduled(&self, options: &EngineOptions) -> Option<DateTime<Utc>> {
        let slot = self.schedule()?.next(self.status.last_sync_time?, options.zone)?;
        Some(later(slot, self.put_off(slot, options)))
    }

    /// How long the run of a slot is put off: always the same for the same slot, and at most half the time to the next one.
    fn put_off(&self, slot: DateTime<Utc>, options: &EngineOptions) -> Duration {
        let after = self.schedule().and_then(|cron| cron.next(slot, options.zone));
        let gap = after.and_then(|after| (after - slot).to_std().ok()).unwrap_or(Duration::MAX);
        let most = options.jitter.min(gap / 2);
        let [a, b, c, d, ..] =
            *blake3::hash(format!("{} {}", self.resource.id, slot.timestamp()).as_bytes()).as_bytes();
        most.mul_f64(f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX))
    }

    /// Finds what follows from the last success. Each run should be over before the one after it is due: the next is due at the next time, and is to be
    /// over by the time after that.
    fn plan(&mut self, options: &EngineOptions) {
        self.status.next_sync_time = self.next_scheduled(options);
        let second = |cron: &Cron, last| cron.next(last, options.zone).and_then(|next| cron.next(next, options.zone));
        self.deadline = self.schedule().zip(self.status.last_sync_time).and_then(|(cron, last)| second(cron, last));
    }

    fn has_missed(&self, now: DateTime<Utc>) -> bool {
        self.deadline.is_some_and(|deadline| deadline < now)
    }

    /// Begins a run, or a further try of it; what the mover is to do.
    pub(super) fn start(&mut self, now: DateTime<Utc>) -> Vec<String> {
        let actions = self.actions(now);
        self.due_since = None;
        // What changes from here on may not be seen by this run.
        self.change = None;
        self.record.next_try = None;
        self.status.last_sync_start_time.get_or_insert(now);
        self.condition(("True", "SyncInProgress", "Synchronization in-progress"), now);
        let tag = self.tag().map(str::to_owned);
        self.running = Some(Running { since: now, actions: actions.clone(), tag });
        actions
    }

    fn actions(&self, now: DateTime<Utc>) -> Vec<String> {
        let task = match &self.resource.task {
            Task::Backup(task) => task,
            Task::Restore(_) => return vec!["restore".to_owned()],
            Task::Mirror(_) => return Vec::new(),
        };
        let restic = self.status.restic.clone().unwrap_or_default();
        let mut actions = Vec::new();
        if task.unlock.is_some() && task.unlock != restic.last_unlocked {
            actions.push("unlock".to_owned());
        }
        actions.push("backup".to_owned());
        let interval = TimeDelta::days(i64::from(task.prune_interval_days));
        let pruned = restic.last_pruned.or(self.record.first_seen).unwrap_or(now);
        if pruned.checked_add_signed(interval).is_some_and(|time| now > time) {
            actions.push("prune".to_owned());
        }
        actions
    }

    /// Takes the end of a try.
    pub(super) fn ended(&mut self, ended: Ended, stopping: bool, (options, now): (&EngineOptions, DateTime<Utc>)) {
        let Some(running) = self.running.take() else { return };
        let Ended { code, numbers, logs, remembered } = ended;
        self.record.remembered = remembered;
        let seconds = (now - running.since).to_std().unwrap_or_default().as_secs_f64();
        let outcome = match code {
            0 => Outcome::Successful,
            STOPPED if stopping => Outcome::Stopped,
            _ => Outcome::Failed,
        };
        self.record.history.push(Past { started: running.since, seconds, outcome, code, numbers });
        let surplus = self.record.history.len().saturating_sub(HISTORY_MAX);
        self.record.history.drain(..surplus);
        self.requests = self.requests.plus(&numbers.requests);
        match outcome {
            Outcome::Successful => {
                self.runs.succeeded += 1;
                self.record.latest = Some(self.completed(numbers));
                self.status.latest_mover_status = Some(MoverStatus { result: MoverResult::Successful, logs });
                self.succeeded(running, (options, now));
            }
            Outcome::Failed => {
                self.runs.failed += 1;
                self.status.latest_mover_status = Some(MoverStatus { result: MoverResult::Failed, logs });
                let doublings = self.record.failures.min(16);
                self.record.failures = self.record.failures.saturating_add(1);
                let pause = (FIRST_PAUSE * 2_u32.saturating_pow(doublings)).min(LAST_PAUSE);
                self.record.next_try = Some(later(now, pause));
            }
            // The next process goes on with it.
            Outcome::Stopped => {}
        }
    }

    /// A run that passed over an empty volume did not look at the repository. What the one before it found there still counts, or nobody would be told
    /// that the newest snapshot gets older and older. Nor do most runs prune.
    fn completed(&self, mut numbers: Numbers) -> Numbers {
        numbers.prune_refused = numbers.prune_refused.or(self.record.latest.and_then(|latest| latest.prune_refused));
        match (self.record.latest, &self.resource.task) {
            (Some(Numbers { snapshots, newest, verified, .. }), Task::Backup(_)) if numbers.snapshots.is_none() => {
                Numbers { snapshots, newest, verified, ..numbers }
            }
            _ => numbers,
        }
    }

    fn succeeded(&mut self, running: Running, (options, now): (&EngineOptions, DateTime<Utc>)) {
        if self.has_missed(now) {
            self.record.missed_intervals += 1;
        }
        let began = self.status.last_sync_start_time.take().unwrap_or(running.since);
        let took = (now - began).to_std().unwrap_or_default();
        self.runs.seconds += took.as_secs_f64();
        self.out_of_sync = false;
        self.record.failures = 0;
        self.status.last_sync_duration = Some(took);
        self.status.last_sync_time = Some(now);
        self.plan(options);
        self.status.last_manual_sync = running.tag;
        if let Task::Backup(task) = &self.resource.task {
            let restic = self.status.restic.get_or_insert_default();
            let did = |action: &str| running.actions.iter().any(|done| done == action);
            if did("unlock") {
                restic.last_unlocked.clone_from(&task.unlock);
            }
            if did("prune") {
                restic.last_pruned = Some(now);
            }
        }
        let trigger = &self.resource.trigger;
        let waiting = match (self.schedule(), &trigger.manual, trigger.on_change) {
            (Some(_), _, _) => ("False", "WaitingForSchedule", "Waiting for next scheduled synchronization"),
            (None, None, Some(_)) => ("False", "WaitingForManual", "Waiting for the volume to change"),
            (None, None, None) => ("False", "CleaningUp", "Resting before the next synchronization"),
            (None, Some(_), _) => ("False", "WaitingForManual", "Waiting for manual trigger"),
        };
        self.condition(waiting, now);
    }

    fn condition(&mut self, (status, reason, message): (&str, &str, &str), now: DateTime<Utc>) {
        let before = self.status.conditions.iter().find(|condition| condition.kind == SYNCHRONIZING);
        let since =
            before.filter(|condition| condition.status == status).map(|condition| condition.last_transition_time);
        self.status.conditions = vec![Condition {
            kind: SYNCHRONIZING.to_owned(),
            status: status.to_owned(),
            last_transition_time: since.unwrap_or(now),
            reason: reason.to_owned(),
            message: message.to_owned(),
        }];
    }

    pub(super) fn view(&self, options: &EngineOptions) -> ResourceView {
        let idle = self.running.is_none() && !self.resource.paused;
        let trigger = &self.resource.trigger;
        let always = trigger.schedule.is_none() && trigger.manual.is_none() && trigger.on_change.is_none();
        let rested = if always { self.rested_at(options) } else { None };
        let next = self.record.next_try.or(self.status.next_sync_time).or(rested).filter(|_| idle);
        ResourceView {
            id: self.resource.id.clone(),
            method: self.resource.method(),
            volume: self.resource.volume.clone(),
            trigger: self.shown_trigger(),
            paused: self.resource.paused,
            running: self.running.as_ref().map(|running| running.since),
            running_for: self.running.as_ref().and_then(|running| running.tag.clone()),
            waiting: self.due_since.is_some(),
            next,
            status: self.status.clone(),
            missed_intervals: self.record.missed_intervals,
            out_of_sync: self.out_of_sync,
            runs: self.runs,
            history: self.record.history.clone(),
            requests: self.requests,
            latest: self.record.latest,
        }
    }

    fn shown_trigger(&self) -> String {
        let trigger = &self.resource.trigger;
        let mut parts = Vec::new();
        parts.extend(trigger.manual.as_ref().map(|tag| format!("manual {tag}")));
        parts.extend(self.schedule().map(|cron| format!("schedule {cron}")));
        parts.extend(trigger.on_change.map(|time| format!("on change, settled for {}", go_duration::format(time))));
        if parts.is_empty() { "always".to_owned() } else { parts.join(", ") }
    }
}

/// A time so much later; the end of time is no reason to fail.
fn later(time: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| time.checked_add_signed(by)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
