//! Stores blobs once: id, look up, compress, seal, pack.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};

use crate::catalog::{BlobRef, Codec, Place};
use crate::crypto::BlobKind;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Stop;
use crate::id::{BlobId, ObjectHash};
use crate::limits::BLOB_MAX;

use super::codec;
use super::pack::{PackEntry, pack_key};
use super::packer::{Lane, Packer};
use super::session::Session;

/// Packs that a stopped run asks the store for: 64 round trips at the default of reads at once.
const ASKED_IN_A_HURRY: usize = 1024;

/// What became of a blob.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Its id and length.
    pub blob: BlobRef,
    /// Whether it was not there before.
    pub new: bool,
    /// The pack of this writer that has it; 0 when it was there before, or lies in a pack that the store has already.
    pub pack: u64,
}

/// What a writer stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriterReport {
    /// New data blobs.
    pub data_blobs: u64,
    /// New tree blobs.
    pub tree_blobs: u64,
    /// Their plaintext bytes.
    pub raw_bytes: u64,
    /// Bytes they take, compressed and sealed.
    pub stored_bytes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    data_blobs: AtomicU64,
    tree_blobs: AtomicU64,
    raw_bytes: AtomicU64,
    stored_bytes: AtomicU64,
}

impl WriterReport {
    /// Counts the blobs of one pack.
    pub(super) fn count(&mut self, kind: BlobKind, entries: &[PackEntry]) {
        let blobs = if kind == BlobKind::Data { &mut self.data_blobs } else { &mut self.tree_blobs };
        *blobs += entries.len() as u64;
        self.raw_bytes += entries.iter().map(|entry| u64::from(entry.raw_len)).sum::<u64>();
        self.stored_bytes += entries.iter().map(|entry| u64::from(entry.stored_len)).sum::<u64>();
    }
}

/// Says where a blob is, or that the caller is to store it.
type Claim<'s> = fn(&BlobWriter<'s>, BlobKind, BlobId) -> Result<Claimed>;

/// What a claim of a blob came to.
#[derive(Debug)]
enum Claimed {
    /// It is in this pack, or was there before (0).
    There(u64),
    /// The caller is to store it.
    Ours,
}

/// Stores the blobs of one session. Shared by all threads of a backup; [`BlobWriter::put`] does its work on the caller's thread.
///
/// Memory: the open packs and those on their way (`Limits::pack_size` each), about 110 bytes for each new blob up to
/// `Limits::index_flush_blobs`, and the index filters.
#[derive(Debug)]
pub struct BlobWriter<'s> {
    session: &'s Session<'s>,
    packer: Packer<'s>,
    /// Blobs that this session has stored since its last index segment, with the number of their pack, and without one those that a thread is
    /// about to store: `packed` tells that one of these has found its pack, or will not.
    claimed: Mutex<Claims>,
    packed: Condvar,
    counts: Counts,
    /// The first failure: what it left out is in no pack, whoever asked for it.
    failed: Mutex<Option<Error>>,
    dry_run: bool,
}

type Claims = HashMap<(BlobKind, BlobId), Option<u64>>;

/// A blob that this thread is about to store. Dropped before it has, it is free for others: they wait for it.
struct UnderWay<'w, 's> {
    writer: &'w BlobWriter<'s>,
    key: (BlobKind, BlobId),
}

impl UnderWay<'_, '_> {
    fn found(self, pack: u64) {
        lock(&self.writer.claimed).insert(self.key, Some(pack));
    }
}

impl Drop for UnderWay<'_, '_> {
    fn drop(&mut self) {
        let mut claimed = lock(&self.writer.claimed);
        if claimed.get(&self.key).is_some_and(Option::is_none) {
            claimed.remove(&self.key);
        }
        drop(claimed);
        self.writer.packed.notify_all();
    }
}

impl<'s> BlobWriter<'s> {
    /// A writer for `session`; with `dry_run` everything is done but storing.
    pub fn new(session: &'s Session<'s>, dry_run: bool) -> Self {
        let repo = session.repo();
        let packer = Packer::new(repo.io().clone(), repo.limits().clone(), std::sync::Arc::clone(repo.clock()));
        Self {
            session,
            packer,
            claimed: Mutex::default(),
            packed: Condvar::new(),
            counts: Counts::default(),
            failed: Mutex::default(),
            dry_run,
        }
    }

    /// One that gives up what it could not send within `Limits::send_after_stop` after `stop` was requested: then it refuses data.
    #[must_use]
    pub fn obeying(self, stop: &'s Stop) -> Self {
        Self { packer: self.packer.obeying(stop), ..self }
    }

    /// Whether data was given up because the run was stopped. Then every call that meets it fails with `Interrupted`, until
    /// [`BlobWriter::let_go`].
    pub fn gave_up(&self) -> bool {
        self.packer.gave_up()
    }

    /// Accepts that data was given up: from now on nothing is to be referred to that lies in a pack of which [`BlobWriter::is_stored`] says no.
    ///
    /// # Errors
    /// An earlier failure that has another reason.
    pub fn let_go(&self) -> Result<()> {
        match lock(&self.failed).take() {
            Some(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Some(_) | None => {}
        }
        self.packer.accept();
        Ok(())
    }

    /// Whether a pack of this writer ([`Stored::pack`]) is stored.
    pub fn is_stored(&self, pack: u64) -> bool {
        pack == 0 || self.packer.is_stored(pack)
    }

    /// Stores `raw` unless it is there already. Returns before the store has it: [`BlobWriter::finish`] waits.
    ///
    /// # Errors
    /// Errors of the store, also those of earlier blobs. The first is kept, and [`BlobWriter::finish`] returns it, whoever heard it.
    pub fn put(&self, kind: BlobKind, raw: &[u8]) -> Result<Stored> {
        self.put_if(Lane::of(kind), raw, Self::claim)
    }

    /// As [`BlobWriter::put`], for a data blob that holds many small files: it gets into packs of such blobs.
    ///
    /// # Errors
    /// As [`BlobWriter::put`].
    pub fn put_bundle(&self, raw: &[u8]) -> Result<Stored> {
        self.put_if(Lane::Bundles, raw, Self::claim)
    }

    /// As [`BlobWriter::put`], even if the index says that the blob is there: for one that cannot be read where it lies.
    pub fn put_again(&self, kind: BlobKind, raw: &[u8]) -> Result<Stored> {
        self.put_if(Lane::of(kind), raw, |writer, kind, id| Ok(writer.claim_among(lock(&writer.claimed), (kind, id))))
    }

    /// Stores a blob in the form that it has already, unless this writer stored it since its last index segment.
    ///
    /// # Errors
    /// As [`BlobWriter::put`].
    pub(super) fn pass_on(&self, kind: BlobKind, blob: BlobRef, codec: Codec, bytes: &[u8]) -> Result<()> {
        let pass = || -> Result<()> {
            let mut claimed = lock(&self.claimed);
            if claimed.len() > 2 * self.session.repo().limits().index_flush_blobs {
                self.forget_indexed(&mut claimed)?;
            }
            let Claimed::Ours = self.claim_among(claimed, (kind, blob.id)) else { return Ok(()) };
            let under_way = UnderWay { writer: self, key: (kind, blob.id) };
            under_way.found(self.packer.add(Lane::of(kind), blob, codec, bytes)?);
            self.count(kind, blob, bytes.len() + crate::crypto::TAG_LEN);
            Ok(())
        };
        let outcome = pass();
        if let Err(error) = &outcome {
            lock(&self.failed).get_or_insert_with(|| Error::new(error.kind(), error.chain()));
        }
        outcome
    }

    fn put_if(&self, lane: Lane, raw: &[u8], claim: Claim<'s>) -> Result<Stored> {
        let stored = self.try_put(lane, raw, claim);
        if let Err(error) = &stored {
            lock(&self.failed).get_or_insert_with(|| Error::new(error.kind(), error.chain()));
        }
        stored
    }

    fn try_put(&self, lane: Lane, raw: &[u8], claim: Claim<'s>) -> Result<Stored> {
        let kind = lane.kind();
        let raw_len = u32::try_from(raw.len()).ok().filter(|len| (1..=BLOB_MAX).contains(&(*len as usize)));
        let raw_len = raw_len.ok_or_else(|| Error::bug(format!("a blob of {} bytes", raw.len())))?;
        let repo = self.session.repo();
        let id = repo.keys().blob_id(kind, raw);
        let blob = BlobRef { id, raw_len };
        if let Claimed::There(pack) = claim(self, kind, id)? {
            return Ok(Stored { blob, new: false, pack });
        }
        let under_way = UnderWay { writer: self, key: (kind, id) };
        let mut pack = 0;
        let options = repo.options();
        let stored = codec::encode(raw, options.compression, options.extra_verify, |codec, bytes| {
            if !self.dry_run {
                pack = self.packer.add(lane, blob, codec, bytes)?;
            }
            Ok(bytes.len() + crate::crypto::TAG_LEN)
        })?;
        under_way.found(pack);
        self.count(kind, blob, stored);
        Ok(Stored { blob, new: true, pack })
    }

    fn count(&self, kind: BlobKind, blob: BlobRef, stored: usize) {
        let blobs = if kind == BlobKind::Data { &self.counts.data_blobs } else { &self.counts.tree_blobs };
        blobs.fetch_add(1, Ordering::Relaxed);
        self.counts.raw_bytes.fetch_add(u64::from(blob.raw_len), Ordering::Relaxed);
        self.counts.stored_bytes.fetch_add(stored as u64, Ordering::Relaxed);
    }

    /// Whether the repository holds the blob already, this session's own included.
    pub fn holds(&self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        if lock(&self.claimed).contains_key(&(kind, *id)) {
            return Ok(true);
        }
        Ok(!self.session.find_blob(kind, id)?.is_empty())
    }

    /// `Ours` for exactly one caller, and only if nobody has stored the blob.
    fn claim(&self, kind: BlobKind, id: BlobId) -> Result<Claimed> {
        let is_claimed = lock(&self.claimed).contains_key(&(kind, id));
        if !is_claimed && !self.session.find_blob(kind, &id)?.is_empty() {
            return Ok(Claimed::There(0));
        }
        let mut claimed = lock(&self.claimed);
        if claimed.len() > 2 * self.session.repo().limits().index_flush_blobs {
            if self.dry_run {
                // Nothing is indexed in a dry run: its counts become estimates here.
                claimed.clear();
            }
            self.forget_indexed(&mut claimed)?;
        }
        Ok(self.claim_among(claimed, (kind, id)))
    }

    /// Takes a blob that nobody has taken. Whoever has it is waited for until it lies in a pack: what a caller does with the blob may depend
    /// on that pack. (A thread that stores a blob waits for nothing but the store.)
    fn claim_among(&self, mut claimed: MutexGuard<'_, Claims>, key: (BlobKind, BlobId)) -> Claimed {
        loop {
            match claimed.get(&key) {
                Some(Some(pack)) => return Claimed::There(*pack),
                Some(None) => claimed = self.packed.wait(claimed).unwrap_or_else(PoisonError::into_inner),
                None => {
                    claimed.insert(key, None);
                    return Claimed::Ours;
                }
            }
        }
    }

    /// Blobs whose segment is written are found through its filter from now on.
    fn forget_indexed(&self, claimed: &mut Claims) -> Result<()> {
        let segments = self.packer.take_segments()?;
        if segments.is_empty() {
            return Ok(());
        }
        let index = self.session.index()?;
        let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
        for (segment, prefixes) in segments {
            index.add(segment);
            claimed.retain(|(_, id), _| !id.as_bytes().first_chunk().is_some_and(|prefix| prefixes.contains(prefix)));
        }
        Ok(())
    }

    /// Where a tree blob stored by this session lies, once [`BlobWriter::finish`] was called.
    pub fn place(&self, id: &BlobId) -> Option<Place> {
        self.packer.place(id)
    }

    /// Makes everything durable: packs, then index; then asks the store for the length of each pack, so that an upload that
    /// was acknowledged and lost, or cut short, is noticed before a snapshot refers to it.
    pub fn finish(&self) -> Result<WriterReport> {
        if let Some(error) = lock(&self.failed).take() {
            return Err(error.within("store a blob, earlier in this run"));
        }
        if !self.dry_run {
            let packs = self.packer.finish()?;
            if !packs.is_empty() {
                // A stopped run has seconds left: it asks for those that were sent last.
                let asked = if self.packer.is_told_to_stop() { packs.len().min(ASKED_IN_A_HURRY) } else { packs.len() };
                self.verify_packs(packs.get(packs.len() - asked..).unwrap_or_default())?;
                self.forget_indexed(&mut lock(&self.claimed))?;
            }
        }
        Ok(self.report())
    }

    /// The packs that were stored so far, with their lengths.
    pub fn packs(&self) -> Vec<(ObjectHash, u64)> {
        self.packer.packs()
    }

    /// What was stored so far.
    pub fn report(&self) -> WriterReport {
        if self.gave_up() {
            return self.packer.report();
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WriterReport {
            data_blobs: load(&self.counts.data_blobs),
            tree_blobs: load(&self.counts.tree_blobs),
            raw_bytes: load(&self.counts.raw_bytes),
            stored_bytes: load(&self.counts.stored_bytes),
        }
    }

    fn verify_packs(&self, packs: &[(ObjectHash, u64)]) -> Result<()> {
        let io = self.session.repo().io();
        let at_once = self.session.repo().limits().reads_in_flight.max(1);
        io.block(
            stream::iter(packs)
                .map(|(name, size)| async move {
                    let found = io
                        .store
                        .head(&pack_key(name))
                        .await
                        .map_err(|error| error.within(format!("look for pack {name}, which was just stored")))?;
                    if found == *size {
                        return Ok(());
                    }
                    Err(Error::corrupt(format!("pack {name} was stored with {size} bytes and has {found}"))
                        .with_hint("the store lost data that it had acknowledged: do not trust it"))
                })
                .buffer_unordered(at_once)
                .try_collect::<Vec<()>>(),
        )?;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
