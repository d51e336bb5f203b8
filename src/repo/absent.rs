//! Packs that are on their way out: condemned by a prune that is under way, or dropped for good. Spec: `docs/format.md` section 11.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::crypto::ObjectKind;
use crate::error::{Error, Result};
use crate::id::{ObjectHash, SessionId};
use crate::limits::OBJECT_MAX;

use super::listing::Listing;
use super::repository::Io;
use super::small;

pub(super) const CONDEMNED: &str = "state/condemned/";
pub(super) const DROPPED: &str = "state/dropped/";
/// Packs that one record names: 67 bytes each, of the megabyte that a small object may have.
const PACKS_PER_RECORD: usize = 10_000;
/// Snapshots that a dropped record names as forgotten (35 bytes each): far more than can be on their way late.
pub(super) const FORGOTTEN_MAX: usize = 5000;
/// A dropped record of this many bytes is not merged any more.
const FULL: u64 = 600_000;
/// Name of the record of a prune that holds the sessions it waits for.
const WAITS: &str = "waits";

/// What a condemned record holds: packs, or in the last one of a prune the sessions that may not know of it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct CondemnedRecord {
    prune: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waits: Option<Vec<String>>,
}

/// What a dropped record holds.
#[derive(Debug, Serialize, Deserialize)]
struct DroppedRecord {
    packs: Vec<String>,
    /// Snapshots that were forgotten before: should a write of one land late, it is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    forgotten: Vec<String>,
    /// Keys of the records all of whose names stand in this one, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    includes: Vec<String>,
}

/// What is gone for good.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    /// Packs: whatever names one, its blobs are not there.
    pub packs: HashSet<ObjectHash>,
    /// Snapshots that were forgotten before packs of theirs were dropped.
    pub forgotten: HashSet<SessionId>,
}

/// What one prune has condemned.
#[derive(Clone, Debug, Default)]
pub struct Condemned {
    /// The keys of its records.
    pub keys: Vec<String>,
    /// The packs that it wants to remove.
    pub packs: HashSet<ObjectHash>,
    /// The sessions that were there when the packs had been condemned; `None` when it did not come to look.
    pub waits: Option<BTreeSet<SessionId>>,
}

impl Condemned {
    /// All condemned records of a listing, by the session of the prune.
    ///
    /// # Errors
    /// `NotFound` when one was removed since: its prune has ended, list again.
    pub(super) fn read(io: &Io, listing: &Listing) -> Result<BTreeMap<SessionId, Self>> {
        let mut all: BTreeMap<SessionId, Self> = BTreeMap::new();
        for key in &listing.condemned {
            let record: CondemnedRecord = read(io, ObjectKind::Condemned, key)?;
            let prune = record.prune.parse().map_err(|error| unknown(key, error))?;
            let of = all.entry(prune).or_default();
            of.keys.push(key.clone());
            of.packs.extend(names(key, &record.packs)?);
            if let Some(waits) = record.waits {
                let parsed: Result<BTreeSet<SessionId>> = waits.iter().map(|id| id.parse()).collect();
                of.waits = Some(parsed.map_err(|error| unknown(key, error))?);
            }
        }
        Ok(all)
    }

    /// Stores what prune `prune` wants to remove; returns the keys of its records.
    pub(super) fn store(io: &Io, prune: SessionId, packs: &[ObjectHash]) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for (number, packs) in packs.chunks(PACKS_PER_RECORD).enumerate() {
            let key = format!("{CONDEMNED}{prune}-{number}");
            let packs = packs.iter().map(ObjectHash::to_hex).collect();
            write(io, ObjectKind::Condemned, &key, &CondemnedRecord { prune: prune.to_hex(), packs, waits: None })?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Stores the sessions that may not know what `prune` condemned; returns the record's key.
    pub(super) fn store_waits(io: &Io, prune: SessionId, sessions: &BTreeSet<SessionId>) -> Result<String> {
        let key = format!("{CONDEMNED}{prune}-{WAITS}");
        let waits = Some(sessions.iter().map(SessionId::to_hex).collect());
        write(io, ObjectKind::Condemned, &key, &CondemnedRecord { prune: prune.to_hex(), packs: Vec::new(), waits })?;
        Ok(key)
    }
}

/// What is gone for good, as the dropped records of a listing say. One GET for each record that no other includes.
pub(super) fn dropped(io: &Io, listing: &Listing) -> Result<Gone> {
    let mut gone = Gone::default();
    let mut included: HashSet<String> = HashSet::new();
    // What includes others is longer than they are.
    let mut keys: Vec<&(String, u64)> = listing.dropped.iter().collect();
    keys.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    for (key, _) in keys {
        if included.contains(key) {
            continue;
        }
        let record: DroppedRecord = read(io, ObjectKind::Dropped, key)?;
        gone.packs.extend(names(key, &record.packs)?);
        for id in &record.forgotten {
            gone.forgotten.insert(id.parse().map_err(|error| unknown(key, error))?);
        }
        included.extend(record.includes);
    }
    Ok(gone)
}

/// Adds to what is gone for good. The names of older records are carried over into the new one, which says so; those that an earlier record
/// includes, too, are then removed.
///
/// `seen` is what was listed before this prune waited for the sessions that were there: whoever listed the state before an included record was
/// complete has ended by now, so nobody misses a name in the old record that is removed and in the new one that came too late for a listing.
pub(super) fn drop_packs(io: &Io, session: SessionId, gone: &Gone, seen: &Listing) -> Result<()> {
    let listing = Listing::part(io, DROPPED)?;
    let (mut all, mut includes, mut removable) = (gone.clone(), Vec::new(), Vec::new());
    for (key, size) in &listing.dropped {
        let record: DroppedRecord = read(io, ObjectKind::Dropped, key)?;
        let later: HashSet<&String> = record.includes.iter().collect();
        let was_seen = seen.dropped.iter().any(|(seen, _)| seen == key);
        removable.extend(
            listing.dropped.iter().filter(|(old, _)| was_seen && later.contains(old)).map(|(old, _)| old.clone()),
        );
        if *size < FULL {
            all.packs.extend(names(key, &record.packs)?);
            includes.push(key.clone());
        }
        for id in record.forgotten.iter().take(FORGOTTEN_MAX.saturating_sub(all.forgotten.len())) {
            all.forgotten.insert(id.parse().map_err(|error| unknown(key, error))?);
        }
    }
    let mut packs: Vec<String> = all.packs.iter().map(ObjectHash::to_hex).collect();
    packs.sort_unstable();
    let mut forgotten: Vec<String> = all.forgotten.iter().map(SessionId::to_hex).collect();
    forgotten.sort_unstable();
    let parts = packs.chunks(PACKS_PER_RECORD).count();
    for (number, packs) in packs.chunks(PACKS_PER_RECORD).enumerate() {
        let key = format!("{DROPPED}{session}-{number}");
        // Only a record that stands alone can speak for others: a reader must not take one part for all.
        let (includes, forgotten) = if parts == 1 { (includes.clone(), forgotten.clone()) } else { Default::default() };
        write(io, ObjectKind::Dropped, &key, &DroppedRecord { packs: packs.to_vec(), forgotten, includes })?;
    }
    if removable.is_empty() { Ok(()) } else { io.block(io.store.delete_many(removable)) }
}

fn read<T: serde::de::DeserializeOwned>(io: &Io, kind: ObjectKind, key: &str) -> Result<T> {
    let bytes = io.block(io.store.get(key, OBJECT_MAX))?;
    small::open(&io.keys, kind, key, &bytes)
}

fn write<T: Serialize>(io: &Io, kind: ObjectKind, key: &str, record: &T) -> Result<()> {
    let sealed = small::seal(&io.keys, kind, key, record)?;
    io.block(io.store.put(key, sealed.bytes.into()))
}

fn names(key: &str, packs: &[String]) -> Result<Vec<ObjectHash>> {
    packs.iter().map(|name| name.parse().map_err(|error| unknown(key, error))).collect()
}

fn unknown(key: &str, cause: Error) -> Error {
    Error::corrupt(format!("open {key}")).with_source(cause)
}
