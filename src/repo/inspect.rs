//! What a check needs to see that other readers do not: every index segment by itself, the packs that are really there, and all
//! small objects. Only reads.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};

use crate::crypto::{ObjectKind, Opener, Slot};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, ObjectHash};
use crate::limits::{OBJECT_MAX, SLOT_MAX};
use crate::storage::{Checksum, Listed};

use super::config::{self, Config};
use super::index::{IndexEntry, IndexRow, PREFIX_LEN, PackInfo, Segment};
use super::listing::Listing;
use super::pack::{PackEntry, open_blob, pack_key, read_directory, read_pack};
use super::repository::Repository;
use super::session::Session;
use super::snapshot::Snapshot;
use super::snapshot_names::SnapshotName;
use super::{BlobKind, marks, slots, small};

/// How often the segments are listed again because some were merged while they were opened.
const LISTED_AGAIN_MAX: usize = 5;
/// Segments opened at once; each may be in memory as a whole (1 MiB).
const OPENED_AT_ONCE: usize = 8;

/// An index segment that can be read to its last byte.
#[derive(Debug)]
pub struct OpenSegment<'s> {
    session: &'s Session<'s>,
    segment: Arc<Segment>,
}

/// A pack as the store lists it.
#[derive(Clone, Copy, Debug)]
pub struct StoredPack {
    /// Its name.
    pub name: ObjectHash,
    /// Bytes of the object.
    pub size: u64,
    /// When it was stored, by the store's clock.
    pub modified: DateTime<Utc>,
}

/// What lies below `packs/`.
#[derive(Clone, Debug, Default)]
pub struct StoredPacks {
    /// Packs, sorted by name.
    pub packs: Vec<StoredPack>,
    /// Keys that no pack has.
    pub strays: Vec<String>,
}

impl OpenSegment<'_> {
    /// Its name.
    pub fn name(&self) -> ObjectHash {
        self.segment.name()
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The packs that it knows; rows name them by number.
    pub fn packs(&self) -> &[PackInfo] {
        self.segment.packs()
    }

    /// Segments that count as gone because this one is there.
    pub fn supersedes(&self) -> &[ObjectHash] {
        self.segment.supersedes()
    }

    /// Number of its rows, as its footer says.
    pub fn entries(&self) -> u64 {
        self.segment.entries()
    }

    /// Reads all of it and hands every row to `each`, sorted by prefix.
    ///
    /// # Errors
    /// `Corrupt` when anything is not as the format wants it, naming the segment.
    pub fn rows(&self, each: &mut dyn FnMut(&IndexRow)) -> Result<()> {
        let io = self.session.repo().io();
        self.segment.scan(io, each).map_err(|error| error.within(format!("index segment {}", self.name())))
    }

    /// As [`OpenSegment::rows`]; returns what the store said of each pack when it was stored, in the order of [`OpenSegment::packs`].
    ///
    /// # Errors
    /// As [`OpenSegment::rows`].
    pub fn rows_and_checksums(&self, each: &mut dyn FnMut(&IndexRow)) -> Result<Vec<Option<Checksum>>> {
        let read = self.segment.scan_with_checksums(self.session.repo().io(), each);
        read.map_err(|error| error.within(format!("index segment {}", self.name())))
    }
}

impl Session<'_> {
    /// Opens every index segment that is there, superseded ones too. With `for_lookups`, [`Session::look_up_in`] may use them; else they take 2 bytes of
    /// memory less for each entry.
    ///
    /// # Errors
    /// Only when the segments cannot be listed; what one of them lacks stands beside its name.
    pub fn open_segments(&self, for_lookups: bool) -> Result<Vec<(ObjectHash, Result<OpenSegment<'_>>)>> {
        self.open_listed(self.listing().segments.clone(), for_lookups)
    }

    /// The same, of a listing made now: what a snapshot needs that the session's own shows is named in one of them, also when that listing had passed the
    /// index before the snapshot was stored. One request more.
    pub fn open_segments_now(&self, for_lookups: bool) -> Result<Vec<(ObjectHash, Result<OpenSegment<'_>>)>> {
        self.open_listed(Listing::segments_now(self.repo().io())?, for_lookups)
    }

    fn open_listed(
        &self,
        mut listed: Vec<(ObjectHash, u64)>,
        for_lookups: bool,
    ) -> Result<Vec<(ObjectHash, Result<OpenSegment<'_>>)>> {
        let io = self.repo().io();
        let open = |name: ObjectHash, size: u64| async move {
            let segment = Segment::open(io, name, size).await;
            (name, if for_lookups { segment } else { segment.map(Segment::without_filter) })
        };
        for _ in 0..LISTED_AGAIN_MAX {
            let opened: Vec<(ObjectHash, Result<Segment>)> =
                io.block(stream::iter(listed).map(|(name, size)| open(name, size)).buffered(OPENED_AT_ONCE).collect());
            let gone =
                |segment: &Result<Segment>| segment.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
            if !opened.iter().any(|(_, segment)| gone(segment)) {
                let named = |(name, segment): (ObjectHash, Result<Segment>)| {
                    let segment = segment.map(|segment| OpenSegment { session: self, segment: Arc::new(segment) });
                    (name, segment.map_err(|error| error.within(format!("index segment {name}"))))
                };
                return Ok(opened.into_iter().map(named).collect());
            }
            listed = Listing::segments_now(io)?;
        }
        Err(Error::new(ErrorKind::Unavailable, "index segments vanish faster than they can be read")
            .with_hint("run the command again"))
    }

    /// Looks blobs up in these segments from here on, instead of opening them a second time; without effect once anything was looked up.
    pub fn look_up_in(&self, segments: &[OpenSegment<'_>]) {
        self.open_index_with(segments.iter().map(|open| Arc::clone(&open.segment)).collect());
    }

    /// All live places of a blob; may cost a request for each segment that has it.
    pub fn places(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<IndexEntry>> {
        self.find_blob(kind, id)
    }

    /// Reads these snapshots, a few at once; each has its own outcome, in the same order.
    pub fn load_each(&self, names: &[SnapshotName]) -> Vec<Result<Snapshot>> {
        let io = self.repo().io();
        let load = |name: SnapshotName| async move {
            let bytes = io.store.get(&name.key(), OBJECT_MAX).await;
            bytes.and_then(|bytes| Snapshot::open(&io.keys, &name, &bytes))
        };
        let at_once = self.repo().limits().reads_in_flight.max(1);
        io.block(stream::iter(names.to_vec()).map(load).buffered(at_once).collect())
    }
}

impl Repository {
    /// The packs that are in the store: one LIST for every 1,000.
    pub fn stored_packs(&self) -> Result<StoredPacks> {
        self.stored_packs_with_checksums(&mut |_, _| ())
    }

    /// As [`Repository::stored_packs`]; `each` hears of every pack and of the checksum that the store lists for it, in any order, and perhaps of one
    /// twice. Costs no request more.
    pub fn stored_packs_with_checksums(
        &self,
        each: &mut (dyn FnMut(&ObjectHash, Option<Checksum>) + Send),
    ) -> Result<StoredPacks> {
        let io = self.io();
        let mut stored = StoredPacks::default();
        let mut sort = |object: Listed| {
            let name = object.key.rsplit('/').next().and_then(|name| name.parse::<ObjectHash>().ok());
            match name.filter(|name| pack_key(name) == object.key) {
                Some(name) => {
                    each(&name, object.checksum);
                    stored.packs.push(StoredPack { name, size: object.size, modified: object.modified });
                }
                None => stored.strays.push(object.key),
            }
        };
        io.block(io.store.list_each("packs/", &mut sort))?;
        stored.packs.sort_unstable_by_key(|pack| pack.name);
        stored.packs.dedup_by_key(|pack| pack.name);
        stored.packs.shrink_to_fit();
        stored.strays.sort_unstable();
        Ok(stored)
    }

    /// Whether a pack is there: one HEAD.
    pub fn has_pack(&self, name: &ObjectHash) -> Result<bool> {
        let io = self.io();
        match io.block(io.store.head(&pack_key(name))) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens `config`, the key slots and all records below `state/` (snapshots and index segments are not among them). Returns how
    /// many there are, and those that are damaged, by key.
    ///
    /// # Errors
    /// When they cannot be listed or read at all.
    pub fn inspect_records(&self) -> Result<(u64, Vec<(String, Error)>)> {
        let io = self.io();
        let mut keys = vec![config::KEY.to_owned()];
        keys.extend(io.block(io.store.list("state/"))?.into_iter().map(|object| object.key));
        keys.retain(|key| record_kind(key).is_some());
        let read = |key: String| async move {
            let max = if key.starts_with(slots::PREFIX) { SLOT_MAX } else { OBJECT_MAX };
            let bytes = io.store.get(&key, max).await;
            (key, bytes)
        };
        let count = keys.len() as u64;
        let at_once = self.limits().reads_in_flight.max(1);
        let mut bytes = stream::iter(keys).map(read).buffered(at_once);
        let mut damaged = Vec::new();
        while let Some((key, bytes)) = io.block(bytes.next()) {
            match bytes.and_then(|bytes| self.open_record(&key, &bytes)) {
                Ok(()) => {}
                // Sessions end, and a prune takes its records away, while others look.
                Err(error) if error.kind() == ErrorKind::NotFound && key != config::KEY => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported) =>
                {
                    damaged.push((key, error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((count, damaged))
    }

    fn open_record(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let io = self.io();
        match record_kind(key) {
            None => Ok(()),
            Some(Record::Config) => {
                if config::repo_id(bytes)? != self.id() {
                    return Err(Error::corrupt(format!("{key} is that of another repository")));
                }
                Config::open(&io.keys, bytes).map(drop)
            }
            Some(Record::Slot(name)) => Slot::decode(name, bytes)
                .and_then(|slot| slot.repo())
                .map(drop)
                .map_err(|error| error.within(format!("open {key}"))),
            Some(Record::Marks) => marks::open(io, key, bytes).map(drop),
            Some(Record::Small(kind)) => small::open::<serde::de::IgnoredAny>(&io.keys, kind, key, bytes).map(drop),
        }
    }
}

/// What a small object is, by its key; snapshots and segments are read elsewhere.
enum Record<'k> {
    Config,
    Slot(&'k str),
    Marks,
    Small(ObjectKind),
}

fn record_kind(key: &str) -> Option<Record<'_>> {
    if key == config::KEY {
        return Some(Record::Config);
    }
    if let Some(name) = key.strip_prefix(slots::PREFIX) {
        return Some(Record::Slot(name));
    }
    if key.starts_with(marks::PREFIX) {
        return Some(Record::Marks);
    }
    let kinds = [
        ("sessions", ObjectKind::Session),
        ("condemned", ObjectKind::Condemned),
        ("suspect", ObjectKind::Suspect),
        ("dropped", ObjectKind::Dropped),
        ("forgotten", ObjectKind::Forgotten),
        ("pruned", ObjectKind::Pruned),
        ("verified", ObjectKind::Verified),
    ];
    let folder = key.strip_prefix("state/")?.split('/').next()?;
    kinds.into_iter().find(|(name, _)| *name == folder).map(|(_, kind)| Record::Small(kind))
}

/// Checks a whole pack against what the index says of it, its name, its directory and every blob; hands the directory's entries to
/// `each`. `bytes` is overwritten.
///
/// # Errors
/// `Corrupt` at the first thing that is wrong, naming the pack.
pub fn verify_pack(
    repo: &Repository,
    info: &PackInfo,
    bytes: &mut [u8],
    each: &mut dyn FnMut(&PackEntry),
) -> Result<()> {
    let (keys, name) = (repo.keys(), info.pack.name);
    let mut blobs = 0u32;
    // Taken before the blobs are opened in place; compared after the name is known to be right.
    let opener = Opener::from_header(keys, ObjectKind::pack_of(info.kind), bytes).map(|opener| opener.pack_ref(name));
    let size = bytes.len() as u64;
    read_pack(keys, info.kind, &name, bytes, &mut |entry, _| {
        blobs += 1;
        each(entry);
        Ok(())
    })?;
    if opener? != info.pack || size != info.size || blobs != info.blobs {
        return Err(Error::corrupt(format!("pack {name} is whole, but not as the index describes it")));
    }
    Ok(())
}

/// The blobs of a damaged pack that are whole nevertheless, by the prefixes of their ids; none when its header or its directory
/// cannot be read. `bytes` is what is there of the pack.
pub fn intact_blobs(repo: &Repository, info: &PackInfo, bytes: &[u8]) -> HashSet<[u8; PREFIX_LEN]> {
    let keys = repo.keys();
    let directory = Opener::from_header(keys, ObjectKind::pack_of(info.kind), bytes)
        .and_then(|opener| Ok((read_directory(&opener, bytes, bytes.len() as u64)?, opener)));
    let Ok((entries, opener)) = directory else { return HashSet::new() };
    let is_whole = |entry: &&PackEntry| {
        let start = entry.offset as usize;
        let sealed = bytes.get(start..start.saturating_add(entry.stored_len as usize));
        sealed.is_some_and(|sealed| open_blob(keys, info.kind, &opener, entry, &mut sealed.to_vec()).is_ok())
    };
    entries.iter().filter(is_whole).filter_map(|entry| entry.id.as_bytes().first_chunk().copied()).collect()
}
