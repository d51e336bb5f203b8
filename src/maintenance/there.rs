//! Which snapshots of one repository are in another one already.
//!
//! Ids and pages depend on a repository's key, so what is compared is what a copy takes over as it is: the first id, time, host, paths, tags, what the
//! run did, and how many entries there are. A snapshot whose tags were changed, or of which a repair has saved a part, is another one, as in restic.
//! Of repaired ones two can agree in all of that and lack different files: they are compared entry by entry. So is whatever had errors, as those have that
//! were repaired and whose tag somebody took away.

use std::collections::HashMap;

use crate::catalog::{Content, Entry, Node};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Watch;
use crate::id::SessionId;
use crate::repo::{Session, Snapshot, SnapshotFilter};

use super::repair::REPAIRED;

/// The snapshots that have a copy, each with the session that can read it, by the snapshot that it was at first.
pub(super) struct There<'s>(HashMap<SessionId, Vec<(&'s Session<'s>, Snapshot)>>);

impl<'s> There<'s> {
    /// What `session` lists. Of one that is marked as suspect nobody knows whether it is whole: it counts for nothing.
    pub(super) fn look(session: &'s Session<'s>) -> Result<Self> {
        let mut there = Self(HashMap::new());
        for snapshot in session.load_all(&SnapshotFilter::default())?.0 {
            if snapshot.original.is_some() && !session.listing().suspect.contains(&snapshot.id) {
                there.add(session, &snapshot);
            }
        }
        Ok(there)
    }

    /// Whether a copy of this snapshot, which `session` can read, is there.
    ///
    /// # Errors
    /// Errors of both stores; `Interrupted`.
    pub(super) fn holds(&self, session: &Session<'_>, snapshot: &Snapshot, watch: &Watch<'_>) -> Result<bool> {
        for (other, copy) in self.0.get(&snapshot.first()).into_iter().flatten() {
            let is_same = is_like(snapshot, copy)
                && (!may_be_a_part(snapshot) || same_entries((session, snapshot), (other, copy), watch)?);
            if is_same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// From now on there is a copy of this snapshot, which `session` can read.
    pub(super) fn add(&mut self, session: &'s Session<'s>, snapshot: &Snapshot) {
        // The longest parts of a snapshot, and of no use here.
        let snapshot = Snapshot { known: Vec::new(), sparse: Vec::new(), ..snapshot.clone() };
        self.0.entry(snapshot.first()).or_default().push((session, snapshot));
    }
}

/// Whether it may lack something that another one of the same first id has.
fn may_be_a_part(snapshot: &Snapshot) -> bool {
    snapshot.summary.errors > 0 || snapshot.tags.iter().any(|tag| tag == REPAIRED)
}

fn is_like(one: &Snapshot, other: &Snapshot) -> bool {
    let tags = |snapshot: &Snapshot| {
        let mut tags = snapshot.tags.clone();
        tags.sort();
        tags
    };
    one.time == other.time
        && one.host == other.host
        && one.paths == other.paths
        && one.status == other.status
        && one.summary == other.summary
        && one.root.entries() == other.root.entries()
        && tags(one) == tags(other)
}

/// Whether two snapshots that were the same at first have the same entries with the same parts of their content.
fn same_entries(
    (session, snapshot): (&Session<'_>, &Snapshot),
    (other, copy): (&Session<'_>, &Snapshot),
    watch: &Watch<'_>,
) -> Result<bool> {
    let mut theirs = other.reader().tree(&copy.root, None);
    for entry in session.reader().tree(&snapshot.root, None) {
        super::copy::go_on(watch)?;
        let same = entry.and_then(|entry| match theirs.next() {
            Some(other) => Ok(shape(entry) == shape(other?)),
            None => Ok(false),
        });
        match same {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            // What cannot be read is like nothing else: it is copied again, or said.
            Err(error) if is_lost(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(theirs.next().is_none())
}

/// The entry without the ids of its content: what is left of a file stands in its extents.
fn shape(mut entry: Entry) -> Entry {
    if let Node::File(file) = &mut entry.node {
        file.content = Content::Empty;
    }
    entry
}

fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}
