//! What one LIST of `state/` shows. Spec: `docs/format.md` section 1.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::id::{ObjectHash, SessionId};
use crate::storage::Listed;

use super::absent::DROPPED;
use super::marks::{self, MarksObject};
use super::repository::Io;
use super::snapshot_names::SnapshotName;

/// What one LIST of `state/` showed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Snapshots, newest first.
    pub snapshots: Vec<SnapshotName>,
    /// When each of them was stored, by the store's clock.
    pub stored: BTreeMap<SessionId, DateTime<Utc>>,
    /// Index segments with their sizes.
    pub segments: Vec<(ObjectHash, u64)>,
    /// Sessions that have records.
    pub sessions: BTreeMap<SessionId, ListedSession>,
    /// Keys of condemned records.
    pub condemned: Vec<String>,
    /// Keys of dropped records, with their sizes.
    pub dropped: Vec<(String, u64)>,
    /// Keys of the records of snapshots that were removed on purpose.
    pub forgotten: Vec<String>,
    /// Keys of the records of prunes that ended.
    pub pruned: Vec<String>,
    /// When the newest of them was stored, by the store's clock.
    pub last_prune: Option<DateTime<Utc>>,
    /// Keys of the notes on when which packs were read.
    pub verified: Vec<String>,
    /// What prunes noted of the pages that they read.
    pub marks: Vec<MarksObject>,
    /// Sessions that a prune marked.
    pub suspect: BTreeSet<SessionId>,
    /// When the newest of all these was stored, by the store's clock.
    pub newest: Option<DateTime<Utc>>,
    /// Keys that are none of ours.
    pub unknown: Vec<String>,
}

/// A session as the listing shows it.
#[derive(Clone, Debug, Default)]
pub struct ListedSession {
    /// Keys of its records.
    pub keys: Vec<String>,
    /// When the oldest of them was stored, by the store's clock: the first one is, before the session does anything.
    pub began: Option<DateTime<Utc>>,
    /// When the newest of them was stored, by the store's clock.
    pub seen: Option<DateTime<Utc>>,
}

impl Listing {
    pub(super) fn read(io: &Io) -> Result<Self> {
        let mut listing = Self::part(io, "state/").map_err(|error| error.within("list the repository's state"))?;
        if !io.store.location().lists_in_order() {
            // A prune stores what it dropped before it removes what it condemned: whoever looks for both must look in that order, too.
            listing.dropped = Self::part(io, DROPPED)?.dropped;
        }
        listing.snapshots.sort_by(|a, b| b.time.cmp(&a.time).then(b.id.cmp(&a.id)));
        Ok(listing)
    }

    /// What lies below a folder of `state/`.
    pub(super) fn part(io: &Io, folder: &str) -> Result<Self> {
        let mut listing = Self::default();
        for object in io.block(io.store.list(folder))? {
            listing.newest = listing.newest.max(Some(object.modified));
            listing.take(&object);
        }
        Ok(listing)
    }

    /// The index segments that are there now.
    pub(super) fn segments_now(io: &Io) -> Result<Vec<(ObjectHash, u64)>> {
        Ok(Self::part(io, "state/index/")?.segments)
    }

    fn take(&mut self, object: &Listed) {
        let (key, size) = (object.key.as_str(), object.size);
        let mut parts = key.split('/').skip(1);
        let known = match (parts.next(), parts.next(), parts.next()) {
            (Some("keys"), Some(_), None) => true,
            (Some("verified"), Some(_), None) => {
                self.verified.push(key.to_owned());
                true
            }
            (Some("forgotten"), Some(_), None) => {
                self.forgotten.push(key.to_owned());
                true
            }
            (Some("pruned"), Some(_), None) => {
                self.last_prune = self.last_prune.max(Some(object.modified));
                self.pruned.push(key.to_owned());
                true
            }
            (Some("marks"), Some(name), None) => marks::rank_of(name).is_some_and(|rank| {
                self.marks.push(MarksObject { key: key.to_owned(), rank, size });
                true
            }),
            (Some("index"), Some(text), None) => text.parse().is_ok_and(|name: ObjectHash| {
                // Hex of upper case parses, but is no name of ours: no such segment could be read.
                let is_ours = name.to_hex() == text;
                if is_ours {
                    self.segments.push((name, size));
                }
                is_ours
            }),
            (Some("snapshots"), Some(_), Some(_)) => SnapshotName::parse(key).is_some_and(|name| {
                self.stored.insert(name.id, object.modified);
                self.snapshots.push(name);
                true
            }),
            (Some("sessions"), Some(id), Some(_)) => id.parse().is_ok_and(|id: SessionId| {
                let session = self.sessions.entry(id).or_default();
                session.began = Some(session.began.map_or(object.modified, |began| began.min(object.modified)));
                session.seen = session.seen.max(Some(object.modified));
                session.keys.push(key.to_owned());
                true
            }),
            (Some("condemned"), Some(name), None) if is_record(name) => {
                self.condemned.push(key.to_owned());
                true
            }
            (Some("dropped"), Some(name), None) if is_record(name) => {
                self.dropped.push((key.to_owned(), size));
                true
            }
            (Some("suspect"), Some(id), Some(_)) => id.parse().is_ok_and(|id| {
                self.suspect.insert(id);
                true
            }),
            _ => false,
        };
        if !known {
            self.unknown.push(key.to_owned());
        }
    }
}

/// Whether this is the name of a prune's record. What a network file system or a tool that synchronises leaves beside them is none.
fn is_record(name: &str) -> bool {
    name.split_once('-').is_some_and(|(prune, part)| {
        prune.parse::<SessionId>().is_ok() && (part == "waits" || part.parse::<u32>().is_ok())
    })
}
