//! Removes snapshots: those that a policy does not keep, or those that are named. The plan comes first, as a value; nothing is removed
//! that does not stand in it.
//!
//! Only snapshots go. What nothing refers to any more goes with a prune.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, FixedOffset, Utc};

use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::repo::{Fact, NotRemoved, Session, Snapshot, SnapshotFilter, Status, Unreadable};
use crate::retention::{Candidate, GroupKey, Grouping, Policy, Standing, Verdict, judge};

/// What a forget by policy is to do.
#[derive(Clone, Debug)]
pub struct ForgetOptions {
    /// What stays.
    pub policy: Policy,
    /// Among which snapshots it counts.
    pub grouping: Grouping,
    /// Which snapshots are looked at; all others stay.
    pub filter: SnapshotFilter,
    /// Whether an empty policy, which keeps nothing, is meant.
    pub allow_remove_all: bool,
}

/// What a forget will do.
#[derive(Debug, Default)]
pub struct ForgetPlan {
    /// The groups, sorted.
    pub groups: Vec<ForgetGroup>,
    /// Snapshots that cannot be read: they stay, and count for nothing.
    pub unreadable: Unreadable,
}

/// What becomes of the snapshots of a group; the newest first.
#[derive(Debug)]
pub struct ForgetGroup {
    /// What they have in common.
    pub key: GroupKey,
    /// Those that stay, and why.
    pub keep: Vec<(Snapshot, Vec<String>)>,
    /// Those that go.
    pub remove: Vec<Snapshot>,
}

/// What a forget did.
#[derive(Debug, Default)]
pub struct ForgetReport {
    /// How many snapshots it removed.
    pub removed: usize,
    /// Those that it could not remove.
    pub not_removed: Vec<NotRemoved>,
}

impl ForgetOptions {
    /// Whether these options can be carried out at all.
    ///
    /// # Errors
    /// `Invalid` without a policy, unless that is meant and a filter says for what.
    pub fn check(&self) -> Result<()> {
        match (self.policy.is_empty(), self.allow_remove_all) {
            (true, false) => Err(Error::invalid("no policy was specified, no snapshots will be removed")
                .with_hint("say what to keep, for instance with --keep-daily 7, or name the snapshots to remove")),
            (true, true) if self.filter.is_empty() => Err(Error::invalid(
                "--unsafe-allow-remove-all is not allowed unless a snapshot filter option is specified",
            )
            .with_hint("name the snapshots that are meant, with --host, --tag or --path")),
            (true, true) | (false, _) => Ok(()),
        }
    }
}

impl ForgetPlan {
    /// Decides by policy. One GET for each snapshot of the repository, several at once.
    ///
    /// # Errors
    /// `Invalid` when a group would lose its last complete snapshot, and as [`ForgetOptions::check`].
    pub fn by_policy(session: &Session<'_>, options: &ForgetOptions) -> Result<Self> {
        options.check()?;
        let (snapshots, unreadable) = session.load_all(&SnapshotFilter::default())?;
        let doubtful = &session.listing().suspect;
        let groups = sort_out(snapshots, doubtful, options, session.repo().clock().now().to_utc())?;
        Ok(Self { groups, unreadable })
    }

    /// The snapshots that go.
    pub fn removed(&self) -> BTreeSet<SessionId> {
        self.groups.iter().flat_map(|group| &group.remove).map(|snapshot| snapshot.id).collect()
    }
}

/// Those of the snapshots of one source, the newest first, that a policy removes. Costs no request.
///
/// # Errors
/// `Invalid` for a policy that keeps nothing, and when the source would lose its last complete snapshot.
pub fn removed_of_source(session: &Session<'_>, facts: &[Fact], policy: &Policy) -> Result<BTreeSet<SessionId>> {
    if policy.is_empty() {
        return Err(Error::invalid("no policy was specified, no snapshots will be removed"));
    }
    let doubtful = &session.listing().suspect;
    let is_complete = |fact: &Fact| fact.status == Status::Complete && !doubtful.contains(&fact.id);
    let newest = facts.iter().filter(|fact| is_complete(fact)).map(|fact| fact.time).max();
    let standing = |fact: &Fact| match is_complete(fact) {
        true => Standing::Complete,
        false if newest.is_some_and(|newest| newest > fact.time) => Standing::Superseded,
        false => Standing::Partial,
    };
    let candidates: Vec<Candidate<'_>> =
        facts.iter().map(|fact| Candidate { time: fact.time, tags: &fact.tags, standing: standing(fact) }).collect();
    let verdicts = judge(&candidates, policy, session.repo().clock().now().to_utc());
    let (going, staying): (Vec<_>, Vec<_>) =
        facts.iter().zip(verdicts).partition(|(_, verdict)| *verdict == Verdict::Remove);
    if newest.is_some() && !staying.iter().any(|(fact, _)| is_complete(fact)) {
        return Err(Error::invalid("refusing to delete the last snapshot of this source")
            .with_hint("nothing was removed; is a tag misspelt?"));
    }
    Ok(going.into_iter().map(|(fact, _)| fact.id).collect())
}

/// Removes the snapshots `ids`; `reason` is for the record that is left of it.
///
/// # Errors
/// When nothing could be removed at all. What single snapshots were hindered by stands in the report.
pub fn forget(session: &Session<'_>, ids: &BTreeSet<SessionId>, reason: &str) -> Result<ForgetReport> {
    let not_removed = session.repo().forget(session.listing(), ids, reason)?;
    Ok(ForgetReport { removed: ids.len() - not_removed.len(), not_removed })
}

/// `doubtful` are sessions that a prune gave up: their snapshots may lack content, and count no more than partial ones.
fn sort_out(
    snapshots: Vec<Snapshot>,
    doubtful: &BTreeSet<SessionId>,
    options: &ForgetOptions,
    now: DateTime<Utc>,
) -> Result<Vec<ForgetGroup>> {
    let is_complete = |snapshot: &Snapshot| snapshot.status == Status::Complete && !doubtful.contains(&snapshot.id);
    let mut newest: HashMap<GroupKey, DateTime<FixedOffset>> = HashMap::new();
    for snapshot in snapshots.iter().filter(|snapshot| is_complete(snapshot)) {
        let time = newest.entry(key(snapshot, Grouping::BY_SOURCE)).or_insert(snapshot.time);
        *time = snapshot.time.max(*time);
    }
    let standing = |snapshot: &Snapshot| {
        let later = || newest.get(&key(snapshot, Grouping::BY_SOURCE)).is_some_and(|time| *time > snapshot.time);
        match is_complete(snapshot) {
            true => Standing::Complete,
            false if later() => Standing::Superseded,
            false => Standing::Partial,
        }
    };
    let mut groups: BTreeMap<GroupKey, Vec<(Snapshot, Standing)>> = BTreeMap::new();
    for snapshot in snapshots.into_iter().filter(|snapshot| options.filter.matches(snapshot)) {
        let standing = standing(&snapshot);
        groups.entry(key(&snapshot, options.grouping)).or_default().push((snapshot, standing));
    }
    groups.into_iter().map(|(key, snapshots)| sort_out_group(key, snapshots, &options.policy, now)).collect()
}

fn sort_out_group(
    key: GroupKey,
    snapshots: Vec<(Snapshot, Standing)>,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<ForgetGroup> {
    let candidates: Vec<Candidate<'_>> = snapshots
        .iter()
        .map(|(snapshot, standing)| Candidate { time: snapshot.time, tags: &snapshot.tags, standing: *standing })
        .collect();
    let verdicts = judge(&candidates, policy, now);
    let (mut keep, mut remove) = (Vec::new(), Vec::new());
    let (mut complete, mut complete_kept) = (false, false);
    for ((snapshot, standing), verdict) in snapshots.into_iter().zip(verdicts) {
        complete |= standing == Standing::Complete;
        match verdict {
            Verdict::Keep(reasons) => {
                complete_kept |= standing == Standing::Complete;
                keep.push((snapshot, reasons));
            }
            Verdict::Remove => remove.push(snapshot),
        }
    }
    if complete && !complete_kept && !policy.is_empty() {
        return Err(Error::invalid(format!("refusing to delete last snapshot of snapshot group {:?}", shown(&key)))
            .with_hint("nothing was removed; is a tag misspelt? What is not to be looked at can be filtered out"));
    }
    Ok(ForgetGroup { key, keep, remove })
}

fn key(snapshot: &Snapshot, grouping: Grouping) -> GroupKey {
    grouping.key(&snapshot.host, &snapshot.paths, &snapshot.tags)
}

/// `host h, path [/data]`, as restic names a group.
fn shown(key: &GroupKey) -> String {
    let mut parts = Vec::new();
    parts.extend(key.host.as_ref().map(|host| format!("host {host}")));
    let path = |path: &Vec<u8>| crate::path::escape(path);
    let paths = |paths: &Vec<Vec<u8>>| paths.iter().map(path).collect::<Vec<_>>().join(" ");
    parts.extend(key.paths.as_ref().map(|list| format!("path [{}]", paths(list))));
    parts.extend(key.tags.as_ref().map(|tags| format!("tags [{}]", tags.join(" "))));
    parts.join(", ")
}

#[cfg(test)]
#[path = "forget_tests.rs"]
mod tests;
