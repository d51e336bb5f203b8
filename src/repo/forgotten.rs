//! Removal of snapshots, and the records that say it was on purpose. Spec: `docs/format.md` section 11.
//!
//! Order: the forgotten record, then the session records of the snapshots, then the snapshots. So whatever is missing from a later
//! listing is named by a record, wherever this stops; a snapshot that is still listed is there, whatever a record says, and
//! the next forget removes it. A session counts as ended while its snapshot is listed, so its records go first: nobody waits for it then.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::crypto::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;
use crate::limits::OBJECT_MAX;

use super::listing::Listing;
use super::repository::{Io, Repository};
use super::small;
use super::snapshot_names::SnapshotName;

const FORGOTTEN: &str = "state/forgotten/";

/// Snapshots that one record names: 35 bytes each, of the megabyte that a small object may have.
const IDS_PER_RECORD: usize = 20_000;

/// So many records are merged into one: a thirtieth of what one request lists.
const MERGE_FROM: usize = 32;

/// How often records are listed again because another run merged them meanwhile.
const LISTED_AGAIN: usize = 8;

/// A forgotten record, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    snapshots: Vec<String>,
    reason: String,
    time: String,
    host: String,
    /// When the newest of these snapshots was stored, by the store's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored: Option<DateTime<Utc>>,
}

/// What the forgotten records say.
#[derive(Clone, Debug, Default)]
pub struct Forgotten {
    /// The snapshots that were removed on purpose.
    pub ids: BTreeSet<SessionId>,
    /// When the newest of them was stored, by the store's clock: what was stored later was not needed by any of them. `None` when a record does
    /// not say.
    pub stored: Option<DateTime<Utc>>,
}

/// A snapshot that could not be removed, and why.
pub type NotRemoved = (SessionId, Error);

impl Repository {
    /// Removes the snapshots `ids` of `listing`; returns those that could not be removed. One PUT for the record, a DELETE of up to a
    /// thousand objects each where the store can; every 31st time a GET of each record, a PUT and a DELETE to merge them.
    ///
    /// # Errors
    /// When nothing was removed, because the record could not be stored or this version may not maintain the repository.
    pub fn forget(&self, listing: &Listing, ids: &BTreeSet<SessionId>, reason: &str) -> Result<Vec<NotRemoved>> {
        self.config().check_maintainable()?;
        let going: Vec<&SnapshotName> = listing.snapshots.iter().filter(|name| ids.contains(&name.id)).collect();
        if going.is_empty() {
            return Ok(Vec::new());
        }
        let io = self.io();
        let named: BTreeSet<SessionId> = going.iter().map(|name| name.id).collect();
        let stored = named.iter().filter_map(|id| listing.stored.get(id)).max().copied();
        self.store_records(&Forgotten { ids: named.clone(), stored }, reason)
            .map_err(|error| error.within("record which snapshots are removed"))?;
        if let Some(memory) = self.memory() {
            memory.forgot(listing, &named);
        }
        let sessions = listing.sessions.iter().filter(|(id, _)| named.contains(*id));
        let sessions: Vec<String> = sessions.flat_map(|(_, session)| session.keys.iter().cloned()).collect();
        if !sessions.is_empty() {
            // Best effort: a session whose records stay goes stale, and costs a prune some waiting.
            let _ = io.block(io.store.delete_many(sessions));
        }
        let not_removed = delete(io, &going, self.limits().reads_in_flight);
        if listing.forgotten.len() + 1 >= MERGE_FROM {
            // Best effort: what was to be done is done, and another forget tries again.
            let _ = self.merge_records(&listing.forgotten, &HashSet::new());
        }
        Ok(not_removed)
    }

    /// The snapshots that were removed on purpose, as far as records still say so. A listing of snapshots that was made before this call
    /// lacks no other ones that a run has removed since records began.
    pub fn forgotten(&self) -> Result<Forgotten> {
        let io = self.io();
        for _ in 0..LISTED_AGAIN {
            match read(io, &self.forgotten_keys()?, self.limits().reads_in_flight) {
                // Merged meanwhile: its names stand in another record by now.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                read => return read.map_err(small::with_way_out),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the records of forgotten snapshots changed each time they were read")
            .with_hint("run the command again"))
    }

    fn store_records(&self, forgotten: &Forgotten, reason: &str) -> Result<()> {
        let (io, options) = (self.io(), self.options());
        let hex: Vec<String> = forgotten.ids.iter().map(SessionId::to_hex).collect();
        for snapshots in hex.chunks(IDS_PER_RECORD) {
            let key = format!("{FORGOTTEN}{}", hex::encode(io.keys.random::<16>()?));
            let record = Record {
                snapshots: snapshots.to_vec(),
                reason: reason.to_owned(),
                time: options.clock.now().to_rfc3339(),
                host: options.host.clone(),
                stored: forgotten.stored,
            };
            let sealed = small::seal(&io.keys, ObjectKind::Forgotten, &key, &record)?;
            io.block(io.store.put(&key, sealed.bytes.into()))?;
        }
        Ok(())
    }

    /// Takes `settled` snapshots out of the records: those that no prune can miss any more. One LIST and a GET of each record; if there is
    /// something to take out, a PUT and a DELETE.
    pub fn sweep_forgotten(&self, settled: &HashSet<SessionId>) -> Result<()> {
        if settled.is_empty() {
            return Ok(());
        }
        match self.merge_records(&self.forgotten_keys()?, settled) {
            // Merged meanwhile: the next prune sweeps.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            swept => swept.map_err(small::with_way_out),
        }
    }

    /// The new record is stored before the old ones go, so that each name always stands in one of them.
    fn merge_records(&self, keys: &[String], settled: &HashSet<SessionId>) -> Result<()> {
        let io = self.io();
        let mut all = read(io, keys, self.limits().reads_in_flight)?;
        let before = all.ids.len();
        all.ids.retain(|id| !settled.contains(id));
        // Nothing to take out; without anything settled it is the number of records that counts.
        if !settled.is_empty() && all.ids.len() == before {
            return Ok(());
        }
        self.store_records(&all, "merged")?;
        io.block(io.store.delete_many(keys.to_vec()))
    }

    fn forgotten_keys(&self) -> Result<Vec<String>> {
        let io = self.io();
        Ok(io.block(io.store.list(FORGOTTEN))?.into_iter().map(|object| object.key).collect())
    }
}

fn read(io: &Io, keys: &[String], at_once: usize) -> Result<Forgotten> {
    let fetched: Vec<Result<_>> = io.block(
        stream::iter(keys)
            .map(|key| async move { io.store.get(key, OBJECT_MAX).await.map(|bytes| (key, bytes)) })
            .buffered(at_once.max(1))
            .collect(),
    );
    let (mut ids, mut stored, mut is_silent) = (BTreeSet::new(), None, false);
    for fetched in fetched {
        let (key, bytes) = fetched?;
        let record: Record = small::open(&io.keys, ObjectKind::Forgotten, key, &bytes)?;
        is_silent |= record.stored.is_none();
        stored = stored.max(record.stored);
        for id in &record.snapshots {
            ids.insert(id.parse().map_err(|cause: Error| Error::corrupt(format!("open {key}")).with_source(cause))?);
        }
    }
    Ok(Forgotten { ids, stored: stored.filter(|_| !is_silent) })
}

/// All in as few requests as the store allows; one by one where that fails, so that what can go goes and the rest is named.
fn delete(io: &Io, names: &[&SnapshotName], at_once: usize) -> Vec<NotRemoved> {
    let keys = names.iter().map(|name| name.key()).collect();
    if io.block(io.store.delete_many(keys)).is_ok() {
        return Vec::new();
    }
    let failed = stream::iter(names).map(|name| async move { (name.id, io.store.delete(&name.key()).await) });
    let outcomes: Vec<(SessionId, Result<()>)> = io.block(failed.buffered(at_once.max(1)).collect());
    outcomes.into_iter().filter_map(|(id, outcome)| outcome.err().map(|error| (id, error))).collect()
}
