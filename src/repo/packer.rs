//! Fills packs and stores them. At most `packs_in_flight` packs are on their way; whoever brings another waits.
//!
//! A run that was told to stop has little time. When it is up, data packs that are not stored are given up, and whoever brings more is
//! refused; catalogue pages are sent all the same, for what can be saved is saved by them.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle};

use crate::catalog::{BlobRef, Codec, Place};
use crate::clock::SharedClock;
use crate::crypto::BlobKind;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Stop;
use crate::id::{BlobId, ObjectHash};
use crate::limits::Limits;
use crate::storage::{Checksum, Store};

use super::index::{PREFIX_LEN, PackInfo, Segment, SegmentBuilder};
use super::pack::{FinishedPack, PackBuilder, PackEntry, pack_key};
use super::repository::Io;
use super::writer::WriterReport;

/// A second pack for chunks is opened when the first has this many bytes: chunks then go to either, by chance, which hides their
/// order from the store; a small backup still makes one pack. Where small and large files come together, a pack of bundles is the second one.
const SECOND_PACK_AFTER: usize = 4 << 20;

/// The open packs of data have no more than this many thirds of a full one together: the largest goes off early. Memory is why.
const OPEN_THIRDS: u64 = 4;

/// An open pack of data goes off when so many have been begun after it: what a run can save that is stopped ends where the first blob is that was
/// not stored, and a few bundles among large files would wait for their pack to fill until the end.
const BEGUN_SINCE: u64 = 4;

/// How often a run that waits for the store looks whether it was told to stop.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Blobs that share packs. A bundle is needed until the last of its files has changed, a chunk until its file has: side by side, what lives on would
/// have to be copied out of a pack because of what does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Chunks,
    Bundles,
    Trees,
}

impl Lane {
    pub(super) const fn kind(self) -> BlobKind {
        match self {
            Self::Chunks | Self::Bundles => BlobKind::Data,
            Self::Trees => BlobKind::Tree,
        }
    }

    /// Where blobs go of which nothing else is known.
    pub(super) const fn of(kind: BlobKind) -> Self {
        match kind {
            BlobKind::Data => Self::Chunks,
            BlobKind::Tree => Self::Trees,
        }
    }
}

/// The packs being filled and on their way.
#[derive(Debug)]
pub(super) struct Packer<'s> {
    io: Io,
    limits: Limits,
    clock: SharedClock,
    /// Whether the run was told to stop; without it, a run waits for its packs as long as it takes.
    stop: Option<&'s Stop>,
    /// Whether it stopped waiting for data packs.
    gave_up: AtomicBool,
    /// Whether the run knows that it did, and needs nothing of what is not stored.
    accepted: AtomicBool,
    chunks: [Mutex<Option<Open>>; 2],
    bundles: Mutex<Option<Open>>,
    /// Bytes in these three.
    open_data: AtomicU64,
    /// Held by whoever sends the largest of them off.
    turn: Mutex<()>,
    tree: Mutex<Option<Open>>,
    stored: Mutex<Stored>,
    /// Memory of packs that were stored. Given back to the allocator, buffers of this size make it keep all large blocks in its
    /// arenas (glibc raises its threshold for them), and a backup peaks a third higher.
    spare: Arc<Mutex<Vec<Bytes>>>,
}

/// A pack being filled.
#[derive(Debug)]
struct Open {
    number: u64,
    since: Duration,
    pack: PackBuilder,
}

/// A pack on its way.
#[derive(Debug)]
struct Upload {
    number: u64,
    info: PackInfo,
    entries: Vec<PackEntry>,
    /// Those of a catalogue pack, which may have to be sent once more.
    again: Option<Bytes>,
    /// Ends with what the store says of the bytes.
    task: JoinHandle<Result<Option<Checksum>>>,
}

#[derive(Debug, Default)]
struct Stored {
    uploads: VecDeque<Upload>,
    /// Packs begun so far: a pack's number is how many were begun with it.
    begun: u64,
    /// Numbers of the data packs that were begun and that the store has not acknowledged.
    unstored: BTreeSet<u64>,
    /// When it was first seen that the run was told to stop.
    stopped: Option<Duration>,
    /// What was stored so far.
    report: WriterReport,
    index: SegmentBuilder,
    /// Packs stored by this session, with their lengths.
    packs: Vec<(ObjectHash, u64)>,
    places: HashMap<BlobId, Place>,
    /// When the last segment was written.
    written: Duration,
    /// Segments written by this session and not yet handed to the index.
    segments: Vec<(ObjectHash, Bytes)>,
}

impl<'s> Packer<'s> {
    pub(super) fn new(io: Io, limits: Limits, clock: SharedClock) -> Self {
        let written = clock.elapsed();
        Self {
            io,
            limits,
            clock,
            stop: None,
            gave_up: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
            chunks: [Mutex::default(), Mutex::default()],
            bundles: Mutex::default(),
            open_data: AtomicU64::new(0),
            turn: Mutex::default(),
            tree: Mutex::default(),
            stored: Mutex::new(Stored { written, ..Stored::default() }),
            spare: Arc::default(),
        }
    }

    /// One that gives data packs up when `stop` was requested and they take too long.
    pub(super) fn obeying(self, stop: &'s Stop) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Seals a blob into an open pack, whose number it returns; a pack that is full is sent off.
    pub(super) fn add(&self, to: Lane, blob: BlobRef, codec: Codec, bytes: &[u8]) -> Result<u64> {
        let kind = to.kind();
        if kind == BlobKind::Data && self.gave_up() {
            return Err(out_of_time());
        }
        let (number, full) = {
            let mut slot = self.slot(to, blob.id);
            if slot.is_none() {
                *slot = Some(self.begin(kind)?);
            }
            let open = slot.as_mut().ok_or_else(|| Error::bug("an open pack"))?;
            let before = open.pack.len();
            open.pack.add(blob, codec, bytes)?;
            if kind == BlobKind::Data {
                self.open_data.fetch_add((open.pack.len() - before) as u64, Ordering::Relaxed);
            }
            let is_late = kind == BlobKind::Tree
                && self.clock.elapsed().saturating_sub(open.since) >= self.limits.pages_flush_after;
            let full = is_late || open.pack.len() as u64 >= self.limits.pack_size.bytes();
            (open.number, if full { self.take(&mut slot) } else { None })
        };
        let due = full.or_else(|| self.take_largest_of_too_much());
        if let Some(open) = due {
            self.send(open)?;
            self.send_overdue()?;
        }
        Ok(number)
    }

    /// Sends off the open packs that were begun long ago.
    fn send_overdue(&self) -> Result<()> {
        let begun = lock(&self.stored).begun;
        for slot in self.chunks.iter().chain([&self.bundles]) {
            let overdue = {
                let mut slot = lock(slot);
                let is_overdue = slot.as_ref().is_some_and(|open| open.number + BEGUN_SINCE < begun);
                if is_overdue { self.take(&mut slot) } else { None }
            };
            overdue.map_or(Ok(()), |open| self.send(open))?;
        }
        Ok(())
    }

    /// Empties a slot.
    fn take(&self, slot: &mut Option<Open>) -> Option<Open> {
        let open = slot.take()?;
        if open.pack.kind() == BlobKind::Data {
            self.open_data.fetch_sub(open.pack.len() as u64, Ordering::Relaxed);
        }
        Some(open)
    }

    /// The largest of the open packs of data, if they have too much together.
    fn take_largest_of_too_much(&self) -> Option<Open> {
        let is_too_much = || self.open_data.load(Ordering::Relaxed) * 3 >= self.limits.pack_size.bytes() * OPEN_THIRDS;
        if !is_too_much() {
            return None;
        }
        // One after the other: the second would take a small one.
        let _turn = lock(&self.turn);
        if !is_too_much() {
            return None;
        }
        let slots = self.chunks.iter().chain([&self.bundles]);
        let largest = slots.max_by_key(|slot| lock(slot).as_ref().map_or(0, |open| open.pack.len()))?;
        self.take(&mut lock(largest))
    }

    fn begin(&self, kind: BlobKind) -> Result<Open> {
        let number = {
            let mut stored = lock(&self.stored);
            // Not while enough are on their way: what waits behind them is memory, and makes nothing faster.
            self.make_room(&mut stored)?;
            stored.begun += 1;
            let number = stored.begun;
            if kind == BlobKind::Data {
                stored.unstored.insert(number);
            }
            number
        };
        let pack = PackBuilder::new(&self.io.keys, kind, self.take_spare())?;
        if kind == BlobKind::Data {
            self.open_data.fetch_add(pack.len() as u64, Ordering::Relaxed);
        }
        Ok(Open { number, since: self.clock.elapsed(), pack })
    }

    /// Memory of a pack that nobody looks at any more: the store may hold on to one a little longer than it takes to answer.
    fn take_spare(&self) -> Vec<u8> {
        let mut spare = lock(&self.spare);
        spare.iter().position(Bytes::is_unique).map(|free| Vec::from(spare.swap_remove(free))).unwrap_or_default()
    }

    fn slot(&self, lane: Lane, id: BlobId) -> MutexGuard<'_, Option<Open>> {
        let [first, second] = &self.chunks;
        match lane {
            Lane::Trees => lock(&self.tree),
            Lane::Bundles => lock(&self.bundles),
            Lane::Chunks => {
                let other = lock(second);
                // The id is a keyed hash: its bits are as good as a coin.
                let heads = id.as_bytes().last().is_some_and(|byte| byte & 1 == 0);
                if heads && other.is_some() {
                    return other;
                }
                drop(other);
                let slot = lock(first);
                if heads && slot.as_ref().is_some_and(|open| open.pack.len() > SECOND_PACK_AFTER) {
                    drop(slot);
                    let is_mixed = lock(&self.bundles).is_some();
                    return lock(if is_mixed { first } else { second });
                }
                slot
            }
        }
    }

    fn send(&self, open: Open) -> Result<()> {
        let FinishedPack { kind, pack, bytes, entries } = open.pack.finish()?;
        let mut stored = lock(&self.stored);
        let room = self.make_room(&mut stored);
        if kind == BlobKind::Data || !self.gave_up() {
            room?;
        }
        if kind == BlobKind::Tree {
            for entry in &entries {
                stored.places.insert(
                    entry.id,
                    Place { pack, offset: entry.offset, stored_len: entry.stored_len, codec: entry.codec },
                );
            }
        }
        let blobs = u32::try_from(entries.len()).map_err(|_| Error::bug("blobs in a pack"))?;
        let info = PackInfo { pack, kind, size: bytes.len() as u64, blobs };
        let bytes = Bytes::from(bytes);
        let is_tree = kind == BlobKind::Tree;
        // What a stopped run can save is saved by its catalogue: it does not wait for the bandwidth that a limit gives to data.
        let store = if is_tree { self.store() } else { self.io.store.clone() };
        let again = is_tree.then(|| bytes.clone());
        let task = self.upload(store, pack.name, bytes);
        stored.uploads.push_back(Upload { number: open.number, info, entries, again, task });
        while self.limits.packs_in_flight == 0 && !stored.uploads.is_empty() {
            self.collect_one(&mut stored)?;
        }
        Ok(())
    }

    fn upload(&self, store: Store, name: ObjectHash, bytes: Bytes) -> JoinHandle<Result<Option<Checksum>>> {
        let (spare, keep) = (Arc::clone(&self.spare), self.limits.packs_in_flight + 1);
        self.io.runtime.spawn(async move {
            let what = || format!("store pack {name}");
            let put = store.put_with_checksum(&pack_key(&name), bytes.clone()).await;
            let checksum = put.map_err(|error| error.within(what()))?;
            let mut spare = lock(&spare);
            if spare.len() < keep {
                spare.push(bytes);
            }
            Ok(checksum)
        })
    }

    /// The store, and past the queue once the run was told to stop.
    fn store(&self) -> Store {
        if self.is_told_to_stop() { self.io.store.past_the_queue() } else { self.io.store.clone() }
    }

    /// Whether the run has only seconds left.
    pub(super) fn is_told_to_stop(&self) -> bool {
        self.stop.is_some_and(Stop::was_requested)
    }

    /// Waits until another pack may be on its way.
    fn make_room(&self, stored: &mut Stored) -> Result<()> {
        while stored.uploads.len() >= self.limits.packs_in_flight.max(1) {
            self.collect_one(stored)?;
        }
        Ok(())
    }

    /// Waits for the oldest upload and indexes it: only what the store acknowledged gets into a segment.
    ///
    /// # Errors
    /// Those of the store; `Interrupted` when the run was told to stop and its time for data is up.
    fn collect_one(&self, stored: &mut Stored) -> Result<()> {
        let Some(mut upload) = stored.uploads.pop_front() else { return Ok(()) };
        let Some(answer) = self.wait(&mut stored.stopped, &mut upload.task) else {
            stored.uploads.push_front(upload);
            self.give_up(stored);
            return Err(out_of_time());
        };
        let checksum = answer.map_err(|cause| Error::bug("an upload was abandoned").with_source(cause))??;
        stored.unstored.remove(&upload.number);
        stored.packs.push((upload.info.pack.name, upload.info.size));
        stored.report.count(upload.info.kind, &upload.entries);
        stored.index.add((upload.info, checksum), upload.entries)?;
        let late = self.clock.elapsed().saturating_sub(stored.written) >= self.limits.index_flush_after;
        if late || stored.index.len() >= self.limits.index_flush_blobs {
            stored.written = self.clock.elapsed();
            self.write_segment(stored)?;
        }
        Ok(())
    }

    /// The answer to an upload; `None` when the run was told to stop and has waited long enough.
    fn wait<T>(&self, stopped: &mut Option<Duration>, task: &mut JoinHandle<T>) -> Option<Result<T, JoinError>> {
        let mut is_late = || {
            let told = self.is_told_to_stop() && !self.gave_up();
            let now = self.clock.elapsed();
            told && now.saturating_sub(*stopped.get_or_insert(now)) >= self.limits.send_after_stop
        };
        self.io.block(async {
            loop {
                tokio::select! {
                    biased;
                    answer = &mut *task => return Some(answer),
                    () = tokio::time::sleep(LOOK_AGAIN) => if is_late() { return None },
                }
            }
        })
    }

    /// Lets go of the data that is on its way. Catalogue packs are sent once more, past everything that waits for bandwidth.
    fn give_up(&self, stored: &mut Stored) {
        self.gave_up.store(true, Ordering::SeqCst);
        for mut upload in std::mem::take(&mut stored.uploads) {
            if !upload.task.is_finished() {
                upload.task.abort();
                let Some(bytes) = upload.again.clone() else { continue };
                upload.task = self.upload(self.store(), upload.info.pack.name, bytes);
            }
            stored.uploads.push_back(upload);
        }
    }

    /// Whether data was given up because a stopped run had no more time.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::SeqCst)
    }

    /// The run accepts that data was given up: [`Packer::finish`] makes the rest durable from now on.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::SeqCst);
    }

    /// Nobody else may have heard that data was given up: a catalogue pack is sent all the same, and may be what was waiting then.
    fn check_given_up(&self) -> Result<()> {
        if self.gave_up() && !self.accepted.load(Ordering::SeqCst) { Err(out_of_time()) } else { Ok(()) }
    }

    /// Whether the store has acknowledged this pack.
    pub(super) fn is_stored(&self, number: u64) -> bool {
        !lock(&self.stored).unstored.contains(&number)
    }

    /// What the store has acknowledged.
    pub(super) fn report(&self) -> WriterReport {
        lock(&self.stored).report
    }

    fn write_segment(&self, stored: &mut Stored) -> Result<()> {
        let sealed = std::mem::take(&mut stored.index).finish(&self.io.keys, self.clock.now().timestamp(), &[])?;
        let bytes = Bytes::from(sealed.bytes);
        let key = format!("state/index/{}", sealed.hash);
        self.io.block(self.store().put(&key, bytes.clone())).map_err(|error| error.within("store an index segment"))?;
        stored.segments.push((sealed.hash, bytes));
        Ok(())
    }

    /// Segments written since the last call, with the prefixes of their ids.
    pub(super) fn take_segments(&self) -> Result<Vec<(Segment, HashSet<[u8; PREFIX_LEN]>)>> {
        let segments = std::mem::take(&mut lock(&self.stored).segments);
        let open = |(name, bytes): (ObjectHash, Bytes)| {
            let prefixes = Segment::from_bytes(&self.io.keys, name, bytes.clone(), true)?
                .all(&self.io)?
                .iter()
                .map(|entry| entry.prefix)
                .collect();
            Ok((Segment::from_bytes(&self.io.keys, name, bytes, false)?, prefixes))
        };
        segments.into_iter().map(open).collect()
    }

    /// Sends off what is open, waits for everything, writes the last segment: packs before index. Data that was given up is left out.
    ///
    /// # Errors
    /// Those of the store; `Interrupted` when data was given up and nobody accepted that.
    pub(super) fn finish(&self) -> Result<Vec<(ObjectHash, u64)>> {
        for slot in self.chunks.iter().chain([&self.bundles, &self.tree]) {
            let open = self.take(&mut lock(slot));
            if let Some(open) = open
                && (open.pack.kind() == BlobKind::Tree || !self.gave_up())
            {
                self.send(open)?;
            }
        }
        let mut stored = lock(&self.stored);
        while !stored.uploads.is_empty() {
            self.collect_one(&mut stored)?;
        }
        self.check_given_up()?;
        if !stored.index.is_empty() {
            self.write_segment(&mut stored)?;
        }
        Ok(stored.packs.clone())
    }

    /// The packs that were stored so far, with their lengths.
    pub(super) fn packs(&self) -> Vec<(ObjectHash, u64)> {
        lock(&self.stored).packs.clone()
    }

    /// Where a tree blob of this session lies, once its pack was sent off.
    pub(super) fn place(&self, id: &BlobId) -> Option<Place> {
        lock(&self.stored).places.get(id).copied()
    }
}

fn out_of_time() -> Error {
    Error::new(ErrorKind::Interrupted, "the run was told to stop, and the store did not take its data in time")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
