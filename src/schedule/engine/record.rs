//! What one process leaves to the next.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::mover::{Numbers, Remembered};
use crate::schedule::board::{Past, ResourceId, Role};
use crate::schedule::status::Status;

/// What `VolSync`'s status has no field for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::schedule) struct Record {
    /// When the resource was first seen: from then on counts the time to the first prune.
    pub(super) first_seen: Option<DateTime<Utc>>,
    /// Runs that ended too late.
    pub(super) missed_intervals: u64,
    /// Failed tries since the last success.
    pub(super) failures: u32,
    /// When the next try is to be.
    pub(super) next_try: Option<DateTime<Utc>>,
    /// A manual trigger that was asked for beside the document.
    pub(super) asked: Option<Asked>,
    /// Numbers of the last success.
    pub(super) latest: Option<Numbers>,
    /// What was seen of the repository: one that shows less is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remembered: Option<Remembered>,
    /// Tries, the oldest first.
    pub(super) history: Vec<Past>,
}

/// A manual trigger that stands in the place of the document's, until that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::schedule) struct Asked {
    /// What the document said when it was asked for.
    pub(super) instead_of: Option<String>,
    /// The tag.
    pub(super) tag: String,
}

/// The status of all resources, as an earlier process left it.
#[derive(Debug, Default)]
pub(in crate::schedule) struct Kept(BTreeMap<ResourceId, (Status, Record)>);

#[derive(Deserialize)]
struct File {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    kind: String,
    metadata: Name,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    volvault: Record,
}

#[derive(Deserialize)]
struct Name {
    name: String,
    namespace: String,
}

impl Kept {
    /// Reads what [`Engine::kept`](super::Engine::kept) made.
    pub(in crate::schedule) fn read(bytes: &[u8]) -> Result<Self> {
        let file: File = serde_json::from_slice(bytes)
            .map_err(|error| Error::corrupt("it is no status file of volvault").with_source(error))?;
        let mut kept = Self::default();
        for Item { kind, metadata: Name { name, namespace }, status, volvault } in file.items {
            let role = match kind.as_str() {
                "ReplicationSource" => Role::Source,
                "ReplicationDestination" => Role::Destination,
                _ => return Err(Error::corrupt(format!("kind {kind:?} is not known in a status file"))),
            };
            kept.0.insert(ResourceId { namespace, name, role }, (status, volvault));
        }
        Ok(kept)
    }

    pub(super) fn take(&mut self, id: &ResourceId) -> (Status, Record) {
        self.0.remove(id).unwrap_or_default()
    }
}
