//! Fills packs and stores them. At most `packs_in_flight` packs are on their way; whoever brings another waits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::catalog::{BlobRef, Codec, Place};
use crate::clock::SharedClock;
use crate::crypto::BlobKind;
use crate::error::{Error, Result};
use crate::id::{BlobId, ObjectHash};
use crate::limits::Limits;

use super::index::{PREFIX_LEN, PackInfo, Segment, SegmentBuilder};
use super::pack::{FinishedPack, PackBuilder, PackEntry, pack_key};
use super::repository::Io;

/// A second pack of the same kind is opened when the first has this many bytes: blobs then go to either, by chance, which hides their
/// order from the store; a small backup still makes one pack.
const SECOND_PACK_AFTER: usize = 4 << 20;

/// The packs being filled and on their way.
#[derive(Debug)]
pub(super) struct Packer {
    io: Io,
    limits: Limits,
    clock: SharedClock,
    data: [Mutex<Option<PackBuilder>>; 2],
    tree: Mutex<Option<PackBuilder>>,
    stored: Mutex<Stored>,
    /// Memory of packs that were stored. Given back to the allocator, buffers of this size make it keep all large blocks in its
    /// arenas (glibc raises its threshold for them), and a backup peaks a third higher.
    spare: Arc<Mutex<Vec<Bytes>>>,
}

type Upload = JoinHandle<Result<(PackInfo, Vec<PackEntry>)>>;

#[derive(Debug, Default)]
struct Stored {
    uploads: VecDeque<Upload>,
    index: SegmentBuilder,
    /// Packs stored by this session, with their lengths.
    packs: Vec<(ObjectHash, u64)>,
    places: HashMap<BlobId, Place>,
    /// When the last segment was written.
    written: Duration,
    /// Segments written by this session and not yet handed to the index.
    segments: Vec<(ObjectHash, Bytes)>,
}

impl Packer {
    pub(super) fn new(io: Io, limits: Limits, clock: SharedClock) -> Self {
        let written = clock.elapsed();
        Self {
            io,
            limits,
            clock,
            data: [Mutex::default(), Mutex::default()],
            tree: Mutex::default(),
            stored: Mutex::new(Stored { written, ..Stored::default() }),
            spare: Arc::default(),
        }
    }

    /// Seals a blob into an open pack; a pack that is full is sent off.
    pub(super) fn add(&self, kind: BlobKind, blob: BlobRef, codec: Codec, bytes: &[u8]) -> Result<()> {
        let full = {
            let mut slot = self.slot(kind, blob.id);
            if slot.is_none() {
                // Not while enough are on their way: what waits behind them is memory, and makes nothing faster.
                self.make_room(&mut lock(&self.stored))?;
                *slot = Some(PackBuilder::new(&self.io.keys, kind, self.take_spare())?);
            }
            let pack = slot.as_mut().ok_or_else(|| Error::bug("an open pack"))?;
            pack.add(blob, codec, bytes)?;
            if (pack.len() as u64) < self.limits.pack_size.bytes() { None } else { slot.take() }
        };
        full.map_or(Ok(()), |pack| self.send(pack.finish()?))
    }

    /// Memory of a pack that nobody looks at any more: the store may hold on to one a little longer than it takes to answer.
    fn take_spare(&self) -> Vec<u8> {
        let mut spare = lock(&self.spare);
        spare.iter().position(Bytes::is_unique).map(|free| Vec::from(spare.swap_remove(free))).unwrap_or_default()
    }

    fn slot(&self, kind: BlobKind, id: BlobId) -> MutexGuard<'_, Option<PackBuilder>> {
        let [first, second] = &self.data;
        match kind {
            BlobKind::Tree => lock(&self.tree),
            BlobKind::Data => {
                let other = lock(second);
                // The id is a keyed hash: its bits are as good as a coin.
                let heads = id.as_bytes().last().is_some_and(|byte| byte & 1 == 0);
                if heads && other.is_some() {
                    return other;
                }
                drop(other);
                let slot = lock(first);
                if heads && slot.as_ref().is_some_and(|pack| pack.len() > SECOND_PACK_AFTER) {
                    drop(slot);
                    return lock(second);
                }
                slot
            }
        }
    }

    fn send(&self, pack: FinishedPack) -> Result<()> {
        let mut stored = lock(&self.stored);
        self.make_room(&mut stored)?;
        if pack.kind == BlobKind::Tree {
            for entry in &pack.entries {
                stored.places.insert(
                    entry.id,
                    Place { pack: pack.pack, offset: entry.offset, stored_len: entry.stored_len, codec: entry.codec },
                );
            }
        }
        let (store, spare, keep) = (self.io.store.clone(), Arc::clone(&self.spare), self.limits.packs_in_flight + 1);
        stored.uploads.push_back(self.io.runtime.spawn(async move {
            let bytes = Bytes::from(pack.bytes);
            let size = bytes.len() as u64;
            let blobs = u32::try_from(pack.entries.len()).map_err(|_| Error::bug("blobs in a pack"))?;
            let what = || format!("store pack {}", pack.pack.name);
            store.put(&pack_key(&pack.pack.name), bytes.clone()).await.map_err(|error| error.within(what()))?;
            let mut spare = lock(&spare);
            if spare.len() < keep {
                spare.push(bytes);
            }
            Ok((PackInfo { pack: pack.pack, kind: pack.kind, size, blobs }, pack.entries))
        }));
        Ok(())
    }

    /// Waits until another pack may be on its way.
    fn make_room(&self, stored: &mut Stored) -> Result<()> {
        while stored.uploads.len() >= self.limits.packs_in_flight.max(1) {
            self.collect_one(stored)?;
        }
        Ok(())
    }

    /// Waits for the oldest upload and indexes it: only what the store acknowledged gets into a segment.
    fn collect_one(&self, stored: &mut Stored) -> Result<()> {
        let Some(upload) = stored.uploads.pop_front() else { return Ok(()) };
        let (info, entries) =
            self.io.block(upload).map_err(|cause| Error::bug("an upload was abandoned").with_source(cause))??;
        stored.packs.push((info.pack.name, info.size));
        stored.index.add(info, entries)?;
        let late = self.clock.elapsed().saturating_sub(stored.written) >= self.limits.index_flush_after;
        if late || stored.index.len() >= self.limits.index_flush_blobs {
            stored.written = self.clock.elapsed();
            self.write_segment(stored)?;
        }
        Ok(())
    }

    fn write_segment(&self, stored: &mut Stored) -> Result<()> {
        let sealed = std::mem::take(&mut stored.index).finish(&self.io.keys, self.clock.now().timestamp(), &[])?;
        let bytes = Bytes::from(sealed.bytes);
        let key = format!("state/index/{}", sealed.hash);
        self.io
            .block(self.io.store.put(&key, bytes.clone()))
            .map_err(|error| error.within("store an index segment"))?;
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

    /// Sends off what is open, waits for everything, writes the last segment: packs before index.
    pub(super) fn finish(&self) -> Result<Vec<(ObjectHash, u64)>> {
        for slot in self.data.iter().chain([&self.tree]) {
            let open = lock(slot).take();
            if let Some(pack) = open {
                self.send(pack.finish()?)?;
            }
        }
        let mut stored = lock(&self.stored);
        while !stored.uploads.is_empty() {
            self.collect_one(&mut stored)?;
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
