//! Sessions: a run tells others that it is there, and sees what was there when it came. Spec: `docs/format.md` section 11.
//!
//! Order: the session record is stored before `state/` is listed, and nothing is reused that the listing condemns. So a prune that
//! condemns later sees the session, and one that condemned earlier is seen by it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

use crate::crypto::{BlobKind, ObjectKind, entropy};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, ObjectHash, SessionId};
use crate::limits::OBJECT_MAX;

use super::index::{Index, IndexEntry};
use super::listing::Listing;
use super::reader::Reader;
use super::repository::{Io, Repository, program};
use super::small;
use super::snapshot::{Snapshot, SnapshotFilter, Status};
use super::snapshot_names::{Selector, SnapshotName};

const SESSIONS: &str = "state/sessions/";

/// Records of ended sessions that are let lie: a sixteenth of what one request lists.
const SWEEP_FROM: usize = 64;

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// Writes one snapshot.
    Write,
    /// Reads.
    Read,
}

/// The record of a session, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    session: String,
    #[serde(rename = "type")]
    kind: SessionKind,
    started: String,
    host: String,
    pid: u32,
    program: String,
    n: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
}

/// Packs that a condemned or dropped record names.
#[derive(Debug, Serialize, Deserialize)]
struct PackList {
    packs: Vec<String>,
}

/// Snapshots that cannot be decoded, and why.
pub type Unreadable = Vec<(SnapshotName, Error)>;

/// A registered run, and the repository as it was when the run came.
#[derive(Debug)]
pub struct Session<'r> {
    repo: &'r Repository,
    id: SessionId,
    record: Record,
    registered: bool,
    listing: Listing,
    absent: HashSet<ObjectHash>,
    index: OnceLock<Arc<RwLock<Index>>>,
    heart: Option<tokio::task::AbortHandle>,
    /// Number of the last record that was sent.
    beats: Arc<AtomicU32>,
}

impl<'r> Session<'r> {
    /// With `kind` none, nobody is told: for what is over before a prune could matter, and for dry runs.
    pub(super) fn start(repo: &'r Repository, kind: Option<SessionKind>) -> Result<Self> {
        let id = SessionId::new(entropy::random()?);
        let options = repo.options();
        let record = Record {
            session: id.to_hex(),
            kind: kind.unwrap_or(SessionKind::Read),
            started: options.clock.now().to_rfc3339(),
            host: options.host.clone(),
            pid: std::process::id(),
            program: program(),
            n: 0,
            outcome: None,
        };
        let registered = match kind.map(|_| put_record(repo.io(), id, "0", &record)) {
            None => false,
            Some(Ok(())) => true,
            // Whoever may only read (no right to write, a read-only file system) can still restore; a prune then does not wait for it.
            Some(Err(error))
                if kind == Some(SessionKind::Read) && matches!(error.kind(), ErrorKind::Denied | ErrorKind::Local) =>
            {
                false
            }
            Some(Err(error)) => return Err(error.within("register this run with the repository")),
        };
        let listing = repo.listing()?;
        let absent = absent_packs(repo.io(), &listing, kind)?;
        let beats = Arc::new(AtomicU32::new(0));
        let heart = registered.then(|| heartbeat(repo, id, record.clone(), Arc::clone(&beats)));
        Ok(Self { repo, id, record, registered, listing, absent, index: OnceLock::new(), heart, beats })
    }

    /// Its id, which will be that of its snapshot.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The repository.
    pub const fn repo(&self) -> &'r Repository {
        self.repo
    }

    /// What was there when the session started.
    pub const fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Snapshots, newest first.
    pub fn snapshots(&self) -> &[SnapshotName] {
        &self.listing.snapshots
    }

    /// Whether packs are condemned or dropped, so that a reference must be looked up before it is reused.
    pub fn has_absent_packs(&self) -> bool {
        !self.absent.is_empty()
    }

    /// The packs that count as not there: dropped ones, and for a session that writes those that a prune condemned.
    pub const fn absent_packs(&self) -> &HashSet<ObjectHash> {
        &self.absent
    }

    /// Reads one snapshot: one GET.
    pub fn load(&self, name: &SnapshotName) -> Result<Snapshot> {
        let io = self.repo.io();
        let bytes = io
            .block(io.store.get(&name.key(), OBJECT_MAX))
            .map_err(|error| error.within(format!("read snapshot {}", name.id.short())))?;
        Snapshot::open(&io.keys, name, &bytes)
    }

    /// All snapshots that `filter` means, newest first, and those that cannot be read. One GET each, several at once.
    pub fn load_all(&self, filter: &SnapshotFilter) -> Result<(Vec<Snapshot>, Unreadable)> {
        use futures::{StreamExt, stream};
        let io = self.repo.io();
        let at_once = self.repo.limits().reads_in_flight.max(1);
        let fetched: Vec<(&SnapshotName, Result<Snapshot>)> = io.block(
            stream::iter(&self.listing.snapshots)
                .map(|name| async move {
                    let bytes = io.store.get(&name.key(), OBJECT_MAX).await;
                    (name, bytes.and_then(|bytes| Snapshot::open(&io.keys, name, &bytes)))
                })
                .buffered(at_once)
                .collect(),
        );
        let (mut snapshots, mut unreadable) = (Vec::new(), Vec::new());
        for (name, result) in fetched {
            match result {
                Ok(snapshot) if filter.matches(&snapshot) => snapshots.push(snapshot),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::NotFound) =>
                {
                    unreadable.push((name.clone(), error));
                }
                Err(error) => return Err(error),
            }
        }
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.time));
        Ok((snapshots, unreadable))
    }

    /// The snapshot that `selector` means. Latest costs one GET where no filter is given, else one for each newer snapshot.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Invalid` when an id is ambiguous.
    pub fn find(&self, selector: &Selector, filter: &SnapshotFilter) -> Result<Snapshot> {
        match selector {
            Selector::Id(prefix) => self.load(self.find_id(prefix)?),
            Selector::Latest { previous, as_of, include_partial } => {
                let mut left = *previous;
                for name in &self.listing.snapshots {
                    if as_of.is_some_and(|as_of| name.time > as_of) {
                        continue;
                    }
                    let snapshot = self.load(name)?;
                    if !filter.matches(&snapshot) || (snapshot.status == Status::Partial && !include_partial) {
                        continue;
                    }
                    if left == 0 {
                        return Ok(snapshot);
                    }
                    left -= 1;
                }
                Err(Error::new(ErrorKind::NotFound, "no snapshot found")
                    .with_hint("run `volvault snapshots` to see what there is"))
            }
        }
    }

    /// As [`Session::find`], for what only needs its name: an id costs no request, and may be that of a damaged snapshot.
    pub fn find_name(&self, selector: &Selector, filter: &SnapshotFilter) -> Result<SnapshotName> {
        if let Selector::Id(prefix) = selector {
            return self.find_id(prefix).cloned();
        }
        let id = self.find(selector, filter)?.id;
        self.find_id(&id.to_hex()).cloned()
    }

    fn find_id(&self, prefix: &str) -> Result<&SnapshotName> {
        let hex = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = self.listing.snapshots.iter().filter(|name| hex && name.id.to_hex().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(name), None) => Ok(name),
            (None, _) => Err(Error::new(ErrorKind::NotFound, format!("no matching ID found for prefix {prefix:?}"))
                .with_hint("run `volvault snapshots` to see what there is")),
            (Some(_), Some(_)) => Err(Error::invalid(format!("multiple snapshots start with {prefix:?}"))
                .with_hint("give more digits of the id")),
        }
    }

    /// Reads trees and content.
    pub const fn reader(&self) -> Reader<'_> {
        Reader::new(self)
    }

    /// The index, opened on first use: one ranged read for each segment.
    pub(super) fn index(&self) -> Result<Arc<RwLock<Index>>> {
        if let Some(index) = self.index.get() {
            return Ok(Arc::clone(index));
        }
        let index = Index::open(self.repo.io(), &self.listing.segments, self.absent.clone())?;
        Ok(Arc::clone(self.index.get_or_init(|| Arc::new(RwLock::new(index)))))
    }

    /// All live places of a blob.
    pub(super) fn find_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<IndexEntry>> {
        let (index, io) = (self.index()?, self.repo.io());
        let found = read(&index).find(io, kind, id);
        match found {
            // A segment that is read by range has been merged into another one: its blobs are in that now.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let fresh = Index::open(io, &Listing::segments_now(io)?, self.absent.clone())?;
                *index.write().unwrap_or_else(PoisonError::into_inner) = fresh;
                read(&index).find(io, kind, id)
            }
            found => found,
        }
    }

    /// Merges index segments if there are many; for the end of a run that wrote. Returns how many were merged.
    pub fn compact_index(&self) -> Result<usize> {
        let Some(index) = self.index.get() else { return Ok(0) };
        let segments = read(index).segments().to_vec();
        super::compact::compact(self, &segments)
    }

    /// Stores the snapshot of this session and makes sure that no prune overtook it. Everything it refers to must have been stored.
    ///
    /// # Errors
    /// `Unavailable` when a prune had given this session up: the snapshot may lack content, and is marked so.
    pub fn publish(&self, snapshot: &Snapshot) -> Result<SnapshotName> {
        let io = self.repo.io();
        let (name, sealed) = snapshot.seal(&io.keys)?;
        if let Err(error) = io.block(io.store.put(&name.key(), sealed.bytes.into())) {
            // The write may yet land: mark it before giving up, so that nobody trusts it.
            let marker = self.mark_suspect();
            return Err(marker.err().unwrap_or(error).within("store the snapshot"));
        }
        let marked = io.block(io.store.list(&format!("state/suspect/{}/", self.id)))?;
        if marked.is_empty() {
            return Ok(name);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "a prune had given this run up while it stood still; its snapshot may lack content",
        )
        .with_hint("run the backup again: what is stored is used"))
    }

    fn mark_suspect(&self) -> Result<()> {
        let io = self.repo.io();
        let key = format!("state/suspect/{}/self", self.id);
        let value = serde_json::json!({ "session": self.id.to_hex(), "by": "self" });
        let sealed = small::seal(&io.keys, ObjectKind::Suspect, &key, &value)?;
        io.block(io.store.put(&key, sealed.bytes.into()))
    }

    /// Removes the records of sessions that ended by their snapshots, once there are many: they would make the listing longer with
    /// every run. Best effort, and one request for all where the store can.
    pub fn sweep_ended(&self) {
        let published: HashSet<SessionId> = self.listing.snapshots.iter().map(|name| name.id).collect();
        let ended = self.listing.sessions.iter().filter(|(id, _)| published.contains(*id));
        let keys: Vec<String> = ended.flat_map(|(_, keys)| keys.iter().cloned()).collect();
        if keys.len() >= SWEEP_FROM {
            let io = self.repo.io();
            let _ = io.block(io.store.delete_many(keys));
        }
    }

    /// Ends a session that published nothing. A session with a snapshot has ended by that.
    pub fn end(&self, outcome: &str) {
        self.stop_heart();
        if self.registered {
            let io = self.repo.io();
            let record = Record { outcome: Some(outcome.to_owned()), ..self.record.clone() };
            // Best effort: a session without an end goes stale and costs a prune some waiting, no more.
            let keys = (0..=self.beats.load(Ordering::SeqCst)).map(|n| record_key(self.id, &n.to_string())).collect();
            if io.block(io.store.delete_many(keys)).is_err() {
                let _ = put_record(io, self.id, "done", &record);
            }
        }
    }

    fn stop_heart(&self) {
        if let Some(heart) = &self.heart {
            heart.abort();
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.stop_heart();
    }
}

fn read(index: &RwLock<Index>) -> RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

fn record_key(id: SessionId, n: &str) -> String {
    format!("{SESSIONS}{id}/{n}")
}

fn sealed_record(io: &Io, id: SessionId, n: &str, record: &Record) -> Result<(String, Vec<u8>)> {
    let key = record_key(id, n);
    let sealed = small::seal(&io.keys, ObjectKind::Session, &key, record)?;
    Ok((key, sealed.bytes))
}

fn put_record(io: &Io, id: SessionId, n: &str, record: &Record) -> Result<()> {
    let (key, bytes) = sealed_record(io, id, n, record)?;
    io.block(io.store.put(&key, bytes.into()))
}

/// Stores a record every now and then, so that a prune on another machine knows that this run lives.
fn heartbeat(repo: &Repository, id: SessionId, record: Record, beats: Arc<AtomicU32>) -> tokio::task::AbortHandle {
    let (io, limits) = (repo.io().clone(), repo.limits().clone());
    let beat = async move {
        for n in 1..=limits.heartbeats_max {
            tokio::time::sleep(limits.heartbeat).await;
            let record = Record { n, ..record.clone() };
            beats.store(n, Ordering::SeqCst);
            if let Ok((key, bytes)) = sealed_record(&io, id, &n.to_string(), &record) {
                // A beat that is lost makes this run look older, no more.
                let _ = io.store.put(&key, bytes.into()).await;
            }
        }
    };
    repo.io().runtime.spawn(beat).abort_handle()
}

/// What a writer must not build on is what is condemned or dropped. A reader needs what is condemned: a prune may yet spare it.
fn absent_packs(io: &Io, listing: &Listing, kind: Option<SessionKind>) -> Result<HashSet<ObjectHash>> {
    let mut absent = HashSet::new();
    let writes = kind == Some(SessionKind::Write);
    let condemned = listing.condemned.iter().filter(|_| writes).map(|key| (key, ObjectKind::Condemned));
    for (key, kind) in condemned.chain(listing.dropped.iter().map(|key| (key, ObjectKind::Dropped))) {
        let bytes = match io.block(io.store.get(key, OBJECT_MAX)) {
            Ok(bytes) => bytes,
            // A prune that has ended meanwhile removed its condemned record, after its tombstones were stored: start over.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::Unavailable, "a prune ended while this run started")
                    .with_source(error)
                    .with_hint("run the command again"));
            }
            Err(error) => return Err(error),
        };
        let list: PackList = small::open(&io.keys, kind, key, &bytes)?;
        for name in &list.packs {
            absent
                .insert(name.parse().map_err(|cause: Error| Error::corrupt(format!("open {key}")).with_source(cause))?);
        }
    }
    Ok(absent)
}
