//! Sessions: a run tells others that it is there, and sees what was there when it came. Spec: `docs/format.md` section 11.
//!
//! Order: the session record is stored before `state/` is listed, and nothing is reused that the listing condemns. So a prune that
//! condemns later sees the session, and one that condemned earlier is seen by it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use crate::crypto::{BlobKind, ObjectKind};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, ObjectHash, SessionId, SourceId};
use crate::limits::OBJECT_MAX;

use super::absent::{Condemned, Gone, dropped};
use super::index::{Index, IndexEntry, Segment};
use super::listing::Listing;
use super::pins;
use super::reader::Reader;
use super::repository::Repository;
use super::session_record::{Record, SessionKind, heartbeat, record_key};
use super::small;
use super::snapshot::{Fact, Known, Snapshot, SnapshotFilter, Status};
use super::snapshot_names::{Selector, SnapshotName};

/// How often the state is listed again because a prune ended while it was read.
const LISTED_AGAIN_MAX: usize = 5;

/// Records of ended sessions that are let lie: a sixteenth of what one request lists.
const SWEEP_FROM: usize = 64;

/// Snapshots that cannot be decoded, and why.
pub type Unreadable = Vec<(SnapshotName, Error)>;

/// A registered run, and the repository as it was when the run came.
#[derive(Debug)]
pub struct Session<'r> {
    repo: &'r Repository,
    id: SessionId,
    record: Record,
    registered: bool,
    /// A write of which nobody knows whether it landed, and that could not be marked: the session must not look as if it had ended.
    unresolved: AtomicBool,
    /// Whether the index was looked at again.
    refreshed: AtomicBool,
    listing: Listing,
    /// Snapshots that were read one by one: few, and some are asked for twice.
    loaded: Mutex<BTreeMap<SessionId, Snapshot>>,
    condemned: BTreeMap<SessionId, Condemned>,
    gone: Gone,
    absent: HashSet<ObjectHash>,
    index: OnceLock<Arc<RwLock<Index>>>,
    /// Held while the index is opened, so that threads that need it at once ask the store once.
    opening: Mutex<()>,
    heart: Option<tokio::task::AbortHandle>,
    /// Number of the last record that was sent.
    beats: Arc<AtomicU32>,
}

impl<'r> Session<'r> {
    /// With `kind` none, nobody is told: for what is over before a prune could matter, and for dry runs.
    pub(super) fn start(repo: &'r Repository, kind: Option<SessionKind>) -> Result<Self> {
        let id = SessionId::new(repo.keys().random()?);
        let record = Record::new(repo, id, kind.unwrap_or(SessionKind::Read));
        let registered = match kind.map(|_| record.put(repo.io(), id, "0")) {
            None => false,
            Some(Ok(())) => true,
            // Whoever may only read (no right to write, a read-only file system) can still restore; a prune then does not wait for it.
            Some(Err(error))
                if kind == Some(SessionKind::Read)
                    && matches!(error.kind(), ErrorKind::Denied | ErrorKind::Local | ErrorKind::Corrupt) =>
            {
                false
            }
            Some(Err(error)) => return Err(error.within("register this run with the repository")),
        };
        let (listing, condemned, gone) = look(repo)?;
        let mut absent = gone.packs.clone();
        // What a writer must not build on is what is condemned, too. A reader needs that: a prune may yet spare it.
        if kind == Some(SessionKind::Write) {
            absent.extend(condemned.values().flat_map(|of| of.packs.iter().copied()));
        }
        let beats = Arc::new(AtomicU32::new(0));
        let heart = registered.then(|| heartbeat(repo, id, record.clone(), Arc::clone(&beats)));
        let index = OnceLock::new();
        let session = Self {
            repo,
            id,
            record,
            registered,
            unresolved: AtomicBool::new(false),
            refreshed: AtomicBool::new(false),
            listing,
            loaded: Mutex::default(),
            condemned,
            gone,
            absent,
            index,
            opening: Mutex::new(()),
            heart,
            beats,
        };
        // Before anything is read for use. That this run was there is taken back: nothing stays of it.
        pins::compare(&session).inspect_err(|_| session.end("refused")).map(|()| session)
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

    /// What prunes that had not ended when the session started want to remove, by the session of the prune.
    pub const fn condemned(&self) -> &BTreeMap<SessionId, Condemned> {
        &self.condemned
    }

    /// Whether packs are condemned, so that a reference must be looked up before it is reused. Dropped packs do not matter for that: no
    /// snapshot needs one, unless it is marked as suspect, and those are nobody's parents.
    pub fn is_prune_about(&self) -> bool {
        !self.condemned.is_empty()
    }

    /// The packs that count as not there: dropped ones, and for a session that writes those that a prune condemned.
    pub const fn absent_packs(&self) -> &HashSet<ObjectHash> {
        &self.absent
    }

    /// What was dropped for good.
    pub const fn gone(&self) -> &Gone {
        &self.gone
    }

    /// Reads one snapshot: one GET.
    pub fn load(&self, name: &SnapshotName) -> Result<Snapshot> {
        let io = self.repo.io();
        let bytes = io
            .block(io.store.get(&name.key(), OBJECT_MAX))
            .map_err(|error| error.within(format!("read snapshot {}", name.id.short())))?;
        let snapshot = Snapshot::open(&io.keys, name, &bytes)?;
        self.remember(name, &snapshot);
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(name.id, snapshot.clone());
        Ok(snapshot)
    }

    fn remember(&self, name: &SnapshotName, snapshot: &Snapshot) {
        if let Some(memory) = self.repo.memory() {
            memory.saw(name.source, snapshot);
        }
    }

    /// All snapshots that `filter` means, newest first, and those that cannot be read. One GET each, several at once.
    pub fn load_all(&self, filter: &SnapshotFilter) -> Result<(Vec<Snapshot>, Unreadable)> {
        let (mut snapshots, unreadable) = self.load_names(self.listing.snapshots.iter().collect())?;
        snapshots.retain(|snapshot| filter.matches(snapshot));
        Ok((snapshots, unreadable))
    }

    /// What is known of the snapshots of a source that were read in this session, and of those that they know of: for one that is about to be written.
    pub fn known_of(&self, source: &SourceId) -> Vec<Known> {
        let known = self.known();
        let names = self.listing.snapshots.iter().filter(|name| name.source == *source);
        names.filter_map(|name| known.get(&name.id).copied()).collect()
    }

    fn known(&self) -> BTreeMap<SessionId, Known> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let each = loaded.values().flat_map(|one| one.known.iter().copied().chain([one.known_as()]));
        each.map(|known| (known.id, known)).collect()
    }

    /// What a policy wants to know of all snapshots of a source, newest first, and those that cannot be read. One GET for each that no snapshot knows of
    /// which was read in this session: a backup reads its parent, which knows all that came before it in its line. Tags are known to the snapshot alone.
    pub fn facts(&self, source: &SourceId, with_tags: bool) -> Result<(Vec<Fact>, Unreadable)> {
        let known = if with_tags { BTreeMap::new() } else { self.known() };
        let names = self.listing.snapshots.iter().filter(|name| name.source == *source);
        let (near, far): (Vec<_>, Vec<_>) = names.partition(|name| known.contains_key(&name.id));
        let (snapshots, unreadable) = self.load_names(far)?;
        let near = near.into_iter().filter_map(|name| {
            let Known { id, offset, status } = *known.get(&name.id)?;
            Some(Fact { id, time: name.time.with_timezone(&offset), status, tags: Vec::new() })
        });
        let mut facts: Vec<Fact> = near.chain(snapshots.iter().map(Fact::of)).collect();
        facts.sort_by_key(|fact| std::cmp::Reverse(fact.time));
        Ok((facts, unreadable))
    }

    fn load_names(&self, names: Vec<&SnapshotName>) -> Result<(Vec<Snapshot>, Unreadable)> {
        use futures::{StreamExt, stream};
        let io = self.repo.io();
        let at_once = self.repo.limits().reads_in_flight.max(1);
        let fetched: Vec<(&SnapshotName, Result<Snapshot>)> = io.block(
            stream::iter(names)
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
                Ok(snapshot) => {
                    self.remember(name, &snapshot);
                    snapshots.push(snapshot);
                }
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
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = self.index.get() {
            return Ok(Arc::clone(index));
        }
        let index = Index::open(self.repo.io(), &self.listing.segments, self.absent.clone())?;
        Ok(Arc::clone(self.index.get_or_init(|| Arc::new(RwLock::new(index)))))
    }

    /// Uses these segments as the index, if none is open yet.
    pub(super) fn open_index_with(&self, segments: Vec<Arc<Segment>>) {
        self.index.get_or_init(|| Arc::new(RwLock::new(Index::of(segments, self.absent.clone()))));
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

    /// Opens segments that were stored since the session began, once: a snapshot may have been listed later than the segments that it needs.
    /// Whether there are any.
    pub(super) fn refresh_index(&self) -> Result<bool> {
        if self.refreshed.swap(true, Ordering::SeqCst) {
            return Ok(false);
        }
        let (index, io) = (self.index()?, self.repo.io());
        let now = Listing::segments_now(io)?;
        // Not those that were listed: one of them may have been merged away, so that the index was opened from a later listing.
        let opened: Vec<Arc<Segment>> = read(&index).segments().to_vec();
        let is_known =
            |name: &ObjectHash| opened.iter().any(|known| known.name() == *name || known.supersedes().contains(name));
        if now.iter().all(|(name, _)| is_known(name)) {
            return Ok(false);
        }
        let fresh = Index::open(io, &now, self.absent.clone())?;
        *index.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
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
        // One small object that ends the run: it does not wait for the bandwidth that a limit leaves to packs.
        if let Err(error) = io.block(io.store.past_the_queue().put(&name.key(), sealed.bytes.into())) {
            // The write may yet land: mark it before giving up, so that nobody trusts it.
            let marker = self.mark_suspect();
            self.unresolved.store(marker.is_err(), Ordering::SeqCst);
            return Err(marker.err().unwrap_or(error).within("store the snapshot"));
        }
        let marked = io.block(io.store.list(&format!("state/suspect/{}/", self.id)))?;
        if marked.is_empty() {
            self.remember(&name, snapshot);
            return Ok(name);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "a prune had given this run up while it stood still; its snapshot may lack content",
        )
        .with_hint("run the backup again: what is stored is used"))
    }

    /// What a snapshot that takes the place of `old` names as the one before it. What is gone may have no record any more that says why, so for a new
    /// name it would look as if it had vanished; `old` will have one when it goes.
    pub fn prev_in_place_of(&self, old: &Snapshot) -> Option<SessionId> {
        let is_listed = |id: &SessionId| self.listing.snapshots.iter().any(|name| name.id == *id);
        old.prev.map(|prev| if is_listed(&prev) { prev } else { old.id })
    }

    /// As [`Session::publish`], for a snapshot whose content another one has, which was listed when this session started.
    ///
    /// That one protects the content, as long as it is there: a prune that passes before the new one is published sees the old one then. So this
    /// looks whether it still is, once the new one is published.
    ///
    /// # Errors
    /// `Unavailable` when it is not: the new snapshot may lack content, and is marked so.
    pub fn publish_beside(&self, snapshot: &Snapshot, old: &SnapshotName) -> Result<SnapshotName> {
        if self.listing.suspect.contains(&old.id) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "snapshot {} is marked as suspect: a prune gave its run up, and it may lack content",
                    old.id.short()
                ),
            )
            .with_hint("a prune takes the mark away if it is whole; else forget it"));
        }
        let name = self.publish(snapshot)?;
        let Err(error) = self.repo.io().block(self.repo.io().store.head(&old.key())) else { return Ok(name) };
        self.mark_suspect()?;
        Err(Error::new(ErrorKind::Unavailable, format!("look whether snapshot {} is still there", old.id.short()))
            .with_source(error)
            .with_hint("if it was forgotten meanwhile, nothing is left to do; else run the command again"))
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
        let keys: Vec<String> = ended.flat_map(|(_, session)| session.keys.iter().cloned()).collect();
        if keys.len() >= SWEEP_FROM {
            let io = self.repo.io();
            let _ = io.block(io.store.delete_many(keys));
        }
    }

    /// Ends a session that published nothing. A session with a snapshot has ended by that.
    pub fn end(&self, outcome: &str) {
        self.stop_heart();
        if self.registered && !self.unresolved.load(Ordering::SeqCst) {
            let io = self.repo.io();
            let record = Record { outcome: Some(outcome.to_owned()), ..self.record.clone() };
            // Best effort: a session without an end goes stale and costs a prune some waiting, no more.
            let keys = (0..=self.beats.load(Ordering::SeqCst)).map(|n| record_key(self.id, &n.to_string())).collect();
            if io.block(io.store.delete_many(keys)).is_err() {
                let _ = record.put(io, self.id, "done");
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

/// What lies in `state/`, and the packs that are condemned or dropped.
pub(super) fn look(repo: &Repository) -> Result<(Listing, BTreeMap<SessionId, Condemned>, Gone)> {
    let io = repo.io();
    for _ in 0..LISTED_AGAIN_MAX {
        let mut listing = repo.listing()?;
        let read = Condemned::read(io, &listing).and_then(|condemned| Ok((condemned, dropped(io, &listing)?)));
        match read {
            Ok((condemned, gone)) => {
                // A write of a snapshot that landed after it was forgotten.
                listing.snapshots.retain(|name| !gone.forgotten.contains(&name.id));
                return Ok((listing, condemned, gone));
            }
            // A prune has ended meanwhile, and removed its condemned record after its tombstones were stored.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(small::with_way_out(error)),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "prunes begin and end faster than their records can be read")
        .with_hint("run the command again"))
}
