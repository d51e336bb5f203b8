//! What one LIST of `state/` shows. Spec: `docs/format.md` section 1.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::id::{ObjectHash, SessionId};

use super::repository::Io;
use super::snapshot_names::SnapshotName;

/// What one LIST of `state/` showed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Snapshots, newest first.
    pub snapshots: Vec<SnapshotName>,
    /// Index segments with their sizes.
    pub segments: Vec<(ObjectHash, u64)>,
    /// Sessions that have records, with the keys of these.
    pub sessions: BTreeMap<SessionId, Vec<String>>,
    /// Keys of condemned and dropped records.
    pub condemned: Vec<String>,
    /// See `condemned`.
    pub dropped: Vec<String>,
    /// Keys of the records of snapshots that were removed on purpose.
    pub forgotten: Vec<String>,
    /// Sessions that a prune marked.
    pub suspect: BTreeSet<SessionId>,
    /// Keys that are none of ours.
    pub unknown: Vec<String>,
}

impl Listing {
    pub(super) fn read(io: &Io) -> Result<Self> {
        let mut listing = Self::default();
        for object in io.block(io.store.list("state/")).map_err(|error| error.within("list the repository's state"))? {
            listing.take(&object.key, object.size);
        }
        listing.snapshots.sort_by(|a, b| b.time.cmp(&a.time).then(b.id.cmp(&a.id)));
        Ok(listing)
    }

    /// The index segments that are there now.
    pub(super) fn segments_now(io: &Io) -> Result<Vec<(ObjectHash, u64)>> {
        let mut listing = Self::default();
        for object in io.block(io.store.list("state/index/"))? {
            listing.take(&object.key, object.size);
        }
        Ok(listing.segments)
    }

    fn take(&mut self, key: &str, size: u64) {
        let mut parts = key.split('/').skip(1);
        let known = match (parts.next(), parts.next(), parts.next()) {
            (Some("keys"), Some(_), None) => true,
            (Some("forgotten"), Some(_), None) => {
                self.forgotten.push(key.to_owned());
                true
            }
            (Some("index"), Some(text), None) => text.parse().is_ok_and(|name: ObjectHash| {
                // Hex of upper case parses, but is no name of ours: no such segment could be read.
                let is_ours = name.to_hex() == text;
                if is_ours {
                    self.segments.push((name, size));
                }
                is_ours
            }),
            (Some("snapshots"), Some(_), Some(_)) => SnapshotName::parse(key).is_some_and(|name| {
                self.snapshots.push(name);
                true
            }),
            (Some("sessions"), Some(id), Some(_)) => id.parse().is_ok_and(|id: SessionId| {
                self.sessions.entry(id).or_default().push(key.to_owned());
                true
            }),
            (Some("condemned"), Some(_), None) => {
                self.condemned.push(key.to_owned());
                true
            }
            (Some("dropped"), Some(_), None) => {
                self.dropped.push(key.to_owned());
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
