//! Changes the tags of snapshots. A snapshot never changes: one with other tags is a new one of the same time, source and content, which knows the first
//! one it was (`original`); the old one is forgotten.
//!
//! Order: all new snapshots are published, then the old ones are forgotten. Stopped in between, both are there; a second run finds the new ones and
//! only removes the old.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::error::{Error, ErrorKind, Result};
use crate::events::Watch;
use crate::id::{BlobId, SessionId};
use crate::repo::{Repository, Selector, Session, Snapshot, SnapshotFilter, Unreadable};

/// What is to be done to the tags, in restic's words.
#[derive(Clone, Debug, Default)]
pub struct TagChange {
    /// These instead of all others; an empty one stands for none.
    pub set: Option<Vec<String>>,
    /// These too.
    pub add: Vec<String>,
    /// Not these.
    pub remove: Vec<String>,
}

/// What was changed.
#[derive(Debug, Default)]
pub struct TagReport {
    /// Each snapshot that was changed: its old id and its new one.
    pub changed: Vec<(SessionId, SessionId)>,
    /// Snapshots that cannot be read, and were left as they are.
    pub unreadable: Unreadable,
}

impl TagChange {
    /// The tags that a snapshot has afterwards; `None` when they stay.
    fn of(&self, tags: &[String]) -> Option<Vec<String>> {
        let mut new: Vec<String> = match &self.set {
            Some(set) => set.iter().filter(|tag| !tag.is_empty()).cloned().collect(),
            None => tags.iter().filter(|tag| !self.remove.contains(tag)).cloned().collect(),
        };
        for tag in self.add.iter().filter(|tag| !tag.is_empty()) {
            if !new.contains(tag) {
                new.push(tag.clone());
            }
        }
        (new != tags).then_some(new)
    }
}

/// Changes the tags of the snapshots `chosen`, or of all that `filter` means.
///
/// # Errors
/// `Unavailable` when a snapshot vanishes meanwhile; when the store cannot be read or written.
pub fn tag(
    repo: &Repository,
    (chosen, filter): (&[Selector], &SnapshotFilter),
    change: &TagChange,
    watch: &Watch<'_>,
) -> Result<TagReport> {
    repo.config().check_maintainable()?;
    let session = repo.observe()?;
    let (snapshots, unreadable) = if chosen.is_empty() {
        session.load_all(filter)?
    } else {
        (chosen.iter().map(|chosen| session.find(chosen, filter)).collect::<Result<_>>()?, Unreadable::new())
    };
    let is_suspect = |snapshot: &&Snapshot| session.listing().suspect.contains(&snapshot.id);
    if let Some(snapshot) = snapshots.iter().find(|snapshot| !chosen.is_empty() && is_suspect(snapshot)) {
        return Err(Error::invalid(format!(
            "snapshot {} is marked as suspect: a prune gave its run up, and it may lack content",
            snapshot.id.short()
        ))
        .with_hint("a prune takes the mark away if it is whole; else forget it"));
    }
    let snapshots: Vec<&Snapshot> = snapshots.iter().filter(|snapshot| !is_suspect(snapshot)).collect();
    let mut report = TagReport { changed: Vec::new(), unreadable };
    let before = retagged(&session)?;
    for snapshot in snapshots {
        if watch.stop.requested() {
            break;
        }
        let Some(tags) = change.of(&snapshot.tags) else { continue };
        let key = (snapshot.first(), snapshot.time.to_utc(), tags.clone(), snapshot.root.name());
        let new = match before.get(&key) {
            Some(new) => *new,
            None => republish(repo, snapshot, tags)?,
        };
        report.changed.push((snapshot.id, new));
    }
    let old: BTreeSet<SessionId> = report.changed.iter().map(|(old, _)| *old).collect();
    match repo.forget(session.listing(), &old, "tag")?.pop() {
        None => Ok(report),
        Some((id, error)) => Err(error
            .within(format!("remove snapshot {}, which has been replaced by one with other tags", id.short()))
            .with_hint("run the command again")),
    }
}

/// What an interrupted run may have left: snapshots that were made of others. What a repair made has the same time and perhaps the same tags, and
/// less content: only the name of its tree tells it from the whole one.
type Retagged = HashMap<(SessionId, DateTime<Utc>, Vec<String>, (u8, Vec<BlobId>)), SessionId>;

fn retagged(session: &Session<'_>) -> Result<Retagged> {
    let (all, _) = session.load_all(&SnapshotFilter::default())?;
    // One that may lack content replaces nothing.
    let all = all.into_iter().filter(|snapshot| !session.listing().suspect.contains(&snapshot.id));
    let key = |snapshot: Snapshot| {
        let root = snapshot.root.name();
        Some(((snapshot.original?, snapshot.time.to_utc(), snapshot.tags, root), snapshot.id))
    };
    Ok(all.filter_map(key).collect())
}

/// Publishes the snapshot under an id of its own.
fn republish(repo: &Repository, snapshot: &Snapshot, tags: Vec<String>) -> Result<SessionId> {
    let session = repo.write_session()?;
    let old = session.snapshots().iter().find(|name| name.id == snapshot.id).cloned();
    let outcome = match old {
        Some(old) => {
            let (id, prev, original) = (session.id(), session.prev_in_place_of(snapshot), Some(snapshot.first()));
            let new = Snapshot { id, tags, original, prev, ..snapshot.clone() };
            session.publish_beside(&new, &old).map(|name| name.id)
        }
        None => {
            Err(Error::new(ErrorKind::Unavailable, format!("snapshot {} was removed meanwhile", snapshot.id.short()))
                .with_hint("run the command again"))
        }
    };
    if outcome.is_err() {
        session.end("failed");
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_added_and_removed_as_restic_does() {
        let list = |words: &str| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (set, add, remove, tags, expected) in [
            (None, "c", "", "a b", Some("a b c")),
            (None, "a", "", "a b", None),
            (None, "", "a x", "a b", Some("b")),
            (None, "c", "a", "a b", Some("b c")),
            (Some("x y"), "", "", "a b", Some("x y")),
            (Some(""), "", "", "a b", Some("")),
            (Some("a b"), "", "", "a b", None),
        ] {
            let change = TagChange { set: set.map(list), add: list(add), remove: list(remove) };
            assert_eq!(change.of(&list(tags)), expected.map(list), "{change:?}");
        }
    }
}
