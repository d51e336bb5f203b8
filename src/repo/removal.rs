//! The steps of a prune that touch the store. Which packs go is decided in `maintenance`; the order of the steps is the protocol of
//! `docs/format.md` section 11, and the names are those of its model.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::crypto::ObjectKind;
use crate::error::{ErrorKind, Result};
use crate::id::{ObjectHash, SessionId};
use crate::limits::OBJECT_MAX;

use super::absent::{self, Condemned, Gone};
use super::index::Index;
use super::listing::{ListedSession, Listing};
use super::pack::pack_key;
use super::session::Session;
use super::session_record::{Record, SessionKind, has_died};
use super::{compact, small};

const PRUNED: &str = "state/pruned/";
/// Snapshots that the record of a prune names: 35 bytes each, of the megabyte that a small object may have.
const SNAPSHOTS_PER_RECORD: usize = 20_000;
/// Packs that are deleted by one call, which is one request where the store can.
const DELETED_AT_ONCE: usize = 1000;

/// Another run that has not ended.
#[derive(Clone, Debug)]
pub struct Other {
    /// Its session.
    pub id: SessionId,
    /// What it does; `None` when its record cannot be read.
    pub kind: Option<SessionKind>,
    /// Where it runs.
    pub host: String,
    /// Whether it ran on this machine and its process is gone.
    pub has_died: bool,
    /// For how long it has given no sign of life, by the store's clock.
    pub silent: TimeDelta,
}

/// What the last prune saw, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct PrunedRecord {
    prune: String,
    time: String,
    host: String,
    snapshots: Vec<String>,
    /// How many snapshots had been forgotten by then.
    #[serde(default)]
    forgotten: u64,
}

/// What the last prunes saw.
#[derive(Clone, Debug, Default)]
pub struct SeenByPrunes {
    /// The snapshots.
    pub snapshots: BTreeSet<SessionId>,
    /// How many snapshots had been forgotten by then.
    pub forgotten: u64,
}

impl Session<'_> {
    /// `await_sessions`: the runs that have not ended, as `listing` shows them. One GET for each.
    pub fn others(&self, listing: &Listing) -> Result<Vec<Other>> {
        let ended: HashSet<SessionId> = listing.snapshots.iter().map(|name| name.id).collect();
        let mut others = Vec::new();
        for (id, session) in &listing.sessions {
            let is_done = session.keys.iter().any(|key| key.ends_with("/done"));
            if *id == self.id() || is_done || ended.contains(id) || self.gone().forgotten.contains(id) {
                continue;
            }
            if let Some(other) = self.other(*id, session, listing)? {
                others.push(other);
            }
        }
        Ok(others)
    }

    fn other(&self, id: SessionId, session: &ListedSession, listing: &Listing) -> Result<Option<Other>> {
        let Some(key) = session.keys.first() else { return Ok(None) };
        // The store's time now, as nearly as we know it. Whoever is ahead of it by days gave his sign of life with a wrong clock.
        let now = listing.sessions.get(&self.id()).and_then(|own| own.seen).or(listing.newest);
        let silent = match (now, session.seen) {
            (Some(now), Some(seen)) => (now - seen).abs(),
            _ => TimeDelta::zero(),
        };
        match Record::read(self.repo().io(), key) {
            Ok(record) => {
                let has_died = has_died(&record);
                Ok(Some(Other { id, kind: Some(record.kind), host: record.host, has_died, silent }))
            }
            // It has ended since.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            // Who cannot say what it is may be a writer.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                Ok(Some(Other { id, kind: None, host: String::new(), has_died: false, silent }))
            }
            Err(error) => Err(error.within("look who else is at work")),
        }
    }

    /// `condemn`: from here on no new run builds on these packs.
    pub fn condemn(&self, packs: &[ObjectHash]) -> Result<Vec<String>> {
        Condemned::store(self.repo().io(), self.id(), packs).map_err(|error| error.within("condemn packs"))
    }

    /// Tells later prunes which runs may not know what this one condemned; returns the record's key.
    pub fn store_waits(&self, sessions: &BTreeSet<SessionId>) -> Result<String> {
        Condemned::store_waits(self.repo().io(), self.id(), sessions)
    }

    /// `mark_stale`: this prune does not wait for that run, which will see so before it reports success.
    pub fn mark_stale(&self, other: SessionId) -> Result<()> {
        let io = self.repo().io();
        let key = format!("state/suspect/{other}/{}", self.id());
        let value = serde_json::json!({ "session": other.to_hex(), "by": self.id().to_hex() });
        let sealed = small::seal(&io.keys, ObjectKind::Suspect, &key, &value)?;
        io.block(io.store.put(&key, sealed.bytes.into()))
            .map_err(|error| error.within(format!("mark the run {} as given up", other.short())))
    }

    /// `drop`: these packs are gone for good, whatever names them. `seen` is what was listed before this prune waited for others.
    pub fn drop_packs(&self, gone: &Gone, seen: &Listing) -> Result<()> {
        absent::drop_packs(self.repo().io(), self.id(), gone, seen).map_err(|error| error.within("drop packs"))
    }

    /// `delete_packs`: only what was dropped. `each` hears how many have gone.
    pub fn delete_packs(&self, packs: &[ObjectHash], each: &mut dyn FnMut(usize)) -> Result<()> {
        let io = self.repo().io();
        for packs in packs.chunks(DELETED_AT_ONCE) {
            io.block(io.store.delete_many(packs.iter().map(pack_key).collect()))
                .map_err(|error| error.within("delete dropped packs"))?;
            each(packs.len());
        }
        Ok(())
    }

    /// `uncondemn`, and other records of prunes that are not needed any more.
    pub fn remove_records(&self, keys: Vec<String>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let io = self.repo().io();
        io.block(io.store.delete_many(keys)).map_err(|error| error.within("remove records of prunes that ended"))
    }

    /// `clear_suspect`: the snapshot of this run turned out to be complete.
    pub fn clear_suspect(&self, id: SessionId) -> Result<()> {
        let io = self.repo().io();
        let markers = io.block(io.store.list(&format!("state/suspect/{id}/")))?;
        self.remove_records(markers.into_iter().map(|object| object.key).collect())
    }

    /// Rewrites index segments that hold many entries of packs that were dropped, and merges small ones. Returns how many.
    pub fn rewrite_index(&self, dropped: &HashSet<ObjectHash>) -> Result<usize> {
        let io = self.repo().io();
        let index = Index::open(io, &Listing::segments_now(io)?, HashSet::new())?;
        let segments: Vec<Arc<_>> = index.segments().to_vec();
        compact::rewrite(self, &segments, dropped)
    }

    /// What the last prunes saw; nothing when there was no prune.
    pub fn seen_by_prunes(&self, listing: &Listing) -> Result<SeenByPrunes> {
        let io = self.repo().io();
        let mut seen = SeenByPrunes::default();
        for key in &listing.pruned {
            let bytes = match io.block(io.store.get(key, OBJECT_MAX)) {
                // Another prune has ended, and replaced it by its own.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                bytes => bytes?,
            };
            let record = small::open(&io.keys, ObjectKind::Pruned, key, &bytes);
            let record: PrunedRecord = record.map_err(small::with_way_out)?;
            for id in &record.snapshots {
                seen.snapshots.insert(id.parse()?);
            }
            seen.forgotten = seen.forgotten.max(record.forgotten);
        }
        Ok(seen)
    }

    /// Notes what this prune saw, then removes the notes `old`. So it can tell later whether snapshots vanished that nobody forgot.
    pub fn note_seen(&self, seen: &SeenByPrunes, old: &[String]) -> Result<()> {
        let (io, options) = (self.repo().io(), self.repo().options());
        let hex: Vec<String> = seen.snapshots.iter().map(SessionId::to_hex).collect();
        // A record without snapshots says how many were forgotten.
        let chunks = hex.chunks(SNAPSHOTS_PER_RECORD).chain(hex.is_empty().then_some([].as_slice()));
        for (number, snapshots) in chunks.enumerate() {
            let key = format!("{PRUNED}{}-{number}", self.id());
            let record = PrunedRecord {
                prune: self.id().to_hex(),
                time: options.clock.now().to_rfc3339(),
                host: options.host.clone(),
                snapshots: snapshots.to_vec(),
                forgotten: seen.forgotten,
            };
            let sealed = small::seal(&io.keys, ObjectKind::Pruned, &key, &record)?;
            io.block(io.store.put(&key, sealed.bytes.into()))?;
        }
        self.remove_records(old.to_vec())
    }
}
