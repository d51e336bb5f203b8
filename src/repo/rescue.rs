//! What a repair needs of the format: directories of packs by range, blobs out of damaged packs, and index segments that take the place of others.

use std::collections::HashSet;

use futures::{StreamExt, stream};

use crate::catalog::{BlobRef, Place};
use crate::crypto::{BlobKind, KeyRing, ObjectKind, Opener, Part, decrypt_unproven};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, ObjectHash};

use super::codec;
use super::index::{IndexEntry, PREFIX_LEN, PackInfo, SegmentBuilder, segment_key};
use super::inspect::OpenSegment;
use super::pack::{PackEntry, open_blob, pack_key, read_directory, tail_len};
use super::repository::{Io, Repository};
use super::session::Session;

/// Bytes of a pack's end that are fetched first: the directory of some 1,400 blobs.
const TAIL: u64 = 64 << 10;
/// Names of superseded segments that are carried on.
const CARRIED_MAX: usize = 1000;
/// Entries of a segment that is written here (40 MiB in memory while it is made).
const ENTRIES_MAX: usize = 512 << 10;

/// A pack by its own directory.
pub type Directory = (PackInfo, Vec<PackEntry>);

impl Repository {
    /// Reads the headers and directories of stored packs by range, several at once: two requests each. Says nothing of the blobs.
    pub fn directories(&self, packs: &[(ObjectHash, u64)]) -> Vec<Result<Directory>> {
        let io = self.io();
        let read = |(name, size): (ObjectHash, u64)| async move {
            directory(io, name, size).await.map_err(|error| error.within(format!("pack {name}")))
        };
        let at_once = self.limits().reads_in_flight.max(1);
        io.block(stream::iter(packs.to_vec()).map(read).buffered(at_once).collect())
    }

    /// Whether the store has no such pack, asked anew: a listing may have been short.
    pub fn is_missing(&self, name: &ObjectHash) -> Result<bool> {
        match self.io().block(self.io().store.head(&pack_key(name))) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

async fn directory(io: &Io, name: ObjectHash, size: u64) -> Result<Directory> {
    let key = pack_key(&name);
    let header = io.store.get_range(&key, 0..size.min(crate::crypto::HEADER_LEN as u64)).await?;
    let (kind, opener) = open_header(&io.keys, &header)?;
    let mut tail = io.store.get_range(&key, size.saturating_sub(TAIL)..size).await?;
    let need = tail_len(&tail, size)?;
    if need > tail.len() as u64 {
        tail = io.store.get_range(&key, size.saturating_sub(need)..size).await?;
    }
    let entries = read_directory(&opener, &tail, size)?;
    let blobs = u32::try_from(entries.len()).map_err(|_| Error::corrupt("directory of a pack"))?;
    Ok((PackInfo { pack: opener.pack_ref(name), kind, size, blobs }, entries))
}

/// A pack says by its header whether it holds data or tree blobs.
fn open_header(keys: &KeyRing, header: &[u8]) -> Result<(BlobKind, Opener)> {
    let open = |kind| Opener::from_header(keys, ObjectKind::pack_of(kind), header).map(|opener| (kind, opener));
    open(BlobKind::Data).or_else(|_| open(BlobKind::Tree))
}

/// An id that begins so: enough for the index, which knows no more of it.
fn begins(prefix: &[u8; PREFIX_LEN]) -> BlobId {
    let mut bytes = [0u8; BlobId::LEN];
    bytes.iter_mut().zip(prefix).for_each(|(to, from)| *to = *from);
    BlobId::new(bytes)
}

impl IndexEntry {
    /// The blob, as far as the index knows its id; the rest is 0.
    pub fn blob(&self) -> (BlobKind, BlobId) {
        (self.kind, begins(&self.prefix))
    }
}

/// A tree blob where a catalogue says that it lies.
#[derive(Clone, Copy, Debug)]
pub struct Hinted {
    /// The blob.
    pub blob: BlobRef,
    /// Where it lay when the catalogue was written.
    pub place: Place,
}

/// What others know of a pack.
#[derive(Clone, Copy, Debug)]
pub struct KnownPlaces<'a> {
    /// The pack in the index, with the blobs that it has there, if it is known.
    pub indexed: Option<(&'a PackInfo, &'a [IndexEntry])>,
    /// What catalogues say of it.
    pub hinted: &'a [Hinted],
}

/// What a damaged pack still gives.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// Blobs that are whole.
    pub whole: Vec<(BlobKind, Vec<u8>)>,
    /// Blobs that are not, by the first bytes of their ids; the rest of these is 0.
    pub lost: Vec<(BlobKind, BlobId)>,
}

/// Takes out of `bytes`, which are what is there of a pack, all blobs that are whole: those that its directory names, if that can be read, and
/// those that the index or a catalogue has in it.
pub fn salvage(repo: &Repository, name: ObjectHash, known: KnownPlaces<'_>, bytes: &[u8]) -> Salvaged {
    let KnownPlaces { indexed, hinted } = known;
    let keys = repo.keys();
    let header = open_header(keys, bytes);
    let from_index = |info: &PackInfo| {
        let kind = info.kind;
        (kind, Opener::for_pack(keys, ObjectKind::pack_of(kind), &info.pack))
    };
    let mut salvaged = Salvaged::default();
    let from_hint =
        |hint: &Hinted| (BlobKind::Tree, Opener::for_pack(keys, ObjectKind::pack_of(BlobKind::Tree), &hint.place.pack));
    let elsewhere = || indexed.map(|(info, _)| from_index(info)).or_else(|| hinted.first().map(from_hint));
    let Some((kind, opener)) = header.ok().or_else(elsewhere) else { return salvaged };
    let mut seen: HashSet<[u8; PREFIX_LEN]> = HashSet::new();
    let mut missing: HashSet<[u8; PREFIX_LEN]> = HashSet::new();
    let total = bytes.len() as u64;
    for entry in read_directory(&opener, bytes, total).unwrap_or_default() {
        let prefix = entry.id.as_bytes().first_chunk().copied().unwrap_or_default();
        match slice(bytes, entry.offset, entry.stored_len)
            .and_then(|sealed| open_blob(keys, kind, &opener, &entry, &mut sealed.to_vec()))
        {
            Ok(plain) if seen.insert(prefix) => salvaged.whole.push((kind, plain)),
            Ok(_) => {}
            Err(_) => drop(missing.insert(prefix)),
        }
    }
    let rows = indexed.map(|(_, rows)| rows).unwrap_or_default();
    for row in rows.iter().filter(|row| row.place.pack.name == name && row.kind == kind) {
        if seen.contains(&row.prefix) {
            continue;
        }
        match open_row(keys, row, &opener, bytes) {
            Ok(plain) if seen.insert(row.prefix) => salvaged.whole.push((kind, plain)),
            Ok(_) => {}
            Err(_) => drop(missing.insert(row.prefix)),
        }
    }
    for hint in hinted.iter().filter(|_| kind == BlobKind::Tree) {
        let prefix = hint.blob.id.as_bytes().first_chunk().copied().unwrap_or_default();
        if seen.contains(&prefix) {
            continue;
        }
        match open_hinted(keys, hint, &opener, bytes) {
            Ok(plain) if seen.insert(prefix) => salvaged.whole.push((kind, plain)),
            Ok(_) => {}
            Err(_) => drop(missing.insert(prefix)),
        }
    }
    salvaged.lost = missing.into_iter().filter(|prefix| !seen.contains(prefix)).map(|p| (kind, begins(&p))).collect();
    salvaged.lost.sort_unstable();
    salvaged
}

fn open_hinted(keys: &KeyRing, hint: &Hinted, opener: &Opener, bytes: &[u8]) -> Result<Vec<u8>> {
    let Hinted { blob: BlobRef { id, raw_len }, place: Place { offset, stored_len, codec, .. } } = *hint;
    let entry = PackEntry { id, offset, stored_len, raw_len, codec };
    let sealed = slice(bytes, offset, stored_len)?;
    open_blob(keys, BlobKind::Tree, opener, &entry, &mut sealed.to_vec())
}

fn slice(bytes: &[u8], offset: u32, len: u32) -> Result<&[u8]> {
    let start = offset as usize;
    bytes.get(start..start.saturating_add(len as usize)).ok_or_else(|| Error::corrupt("the pack ends before the blob"))
}

/// Opens a blob by its row in the index, which has only the beginning of its id: the whole id is that of the content, which then opens the seal.
fn open_row(keys: &KeyRing, row: &IndexEntry, opener: &Opener, bytes: &[u8]) -> Result<Vec<u8>> {
    let Place { pack, offset, stored_len, codec } = row.place;
    let sealed = slice(bytes, offset, stored_len)?;
    let kind = ObjectKind::pack_of(row.kind);
    // The nonce is the type and the offset: any id will do here.
    let part = Part::Blob { id: BlobId::new([0; 32]), raw_len: row.raw_len, codec: codec.as_u8() };
    let body = decrypt_unproven(keys, kind, &pack, (&part, offset), sealed)?;
    let unproven = codec::decode(codec, &body, row.raw_len)?;
    let id = keys.blob_id(row.kind, &unproven);
    if !id.as_bytes().starts_with(&row.prefix) {
        return Err(Error::corrupt("content does not have the id it is stored under"));
    }
    let entry = PackEntry { id, offset, stored_len, raw_len: row.raw_len, codec };
    open_blob(keys, row.kind, opener, &entry, &mut sealed.to_vec())
}

/// Writes index segments. A blob that comes from several packs keeps all its places: they go into different segments, since a prune that is
/// under way may be about to drop one of them.
#[derive(Debug)]
pub struct IndexWriter<'r> {
    repo: &'r Repository,
    builder: SegmentBuilder,
    prefixes: HashSet<[u8; PREFIX_LEN]>,
    written: u64,
}

impl<'r> IndexWriter<'r> {
    /// Writes into `repo`.
    pub fn new(repo: &'r Repository) -> Self {
        Self { repo, builder: SegmentBuilder::default(), prefixes: HashSet::new(), written: 0 }
    }

    /// Adds a pack that is stored.
    pub fn add(&mut self, info: PackInfo, entries: Vec<PackEntry>) -> Result<()> {
        let prefix = |entry: &PackEntry| entry.id.as_bytes().first_chunk().copied().unwrap_or_default();
        let collides = entries.iter().any(|entry| self.prefixes.contains(&prefix(entry)));
        if collides || self.builder.len() + entries.len() > ENTRIES_MAX {
            self.write()?;
        }
        self.prefixes.extend(entries.iter().map(prefix));
        // What the store said of it when it was stored, nobody knows.
        self.builder.add((info, None), entries)
    }

    /// Stores what was added; returns how many segments were written in all.
    pub fn finish(mut self) -> Result<u64> {
        self.write()?;
        Ok(self.written)
    }

    fn write(&mut self) -> Result<()> {
        self.prefixes.clear();
        let builder = std::mem::take(&mut self.builder);
        if !builder.is_empty() {
            store(self.repo, builder, &[])?;
            self.written += 1;
        }
        Ok(())
    }
}

fn store(repo: &Repository, builder: SegmentBuilder, supersedes: &[ObjectHash]) -> Result<()> {
    let io = repo.io();
    let sealed = builder.finish(&io.keys, repo.clock().now().timestamp(), supersedes)?;
    io.block(io.store.put(&segment_key(&sealed.hash), sealed.bytes.into()))
        .map_err(|error| error.within("store an index segment"))
}

impl OpenSegment<'_> {
    /// Its key in the store.
    pub fn key(&self) -> String {
        segment_key(&self.name())
    }

    /// The rows of these packs, in memory: for few.
    pub fn rows_of(&self, packs: &HashSet<ObjectHash>) -> Result<Vec<IndexEntry>> {
        let known = self.packs();
        let mut found = Vec::new();
        self.rows(&mut |row| {
            let info = known.get(row.pack as usize).filter(|info| packs.contains(&info.pack.name));
            found.extend(info.map(|info| IndexEntry {
                prefix: row.prefix,
                place: Place { pack: info.pack, offset: row.offset, stored_len: row.stored_len, codec: row.codec },
                raw_len: row.raw_len,
                kind: info.kind,
            }));
        })?;
        Ok(found)
    }
}

impl Session<'_> {
    /// Stores a segment with all that `segment` has but these packs; it supersedes it. Nothing is written when nothing is left.
    pub fn rewrite_segment(&self, segment: &OpenSegment<'_>, without: &HashSet<ObjectHash>) -> Result<()> {
        if segment.packs().iter().all(|info| without.contains(&info.pack.name)) {
            return Ok(());
        }
        let mut builder = SegmentBuilder::default();
        builder.add_segment(self.repo().io(), segment.segment(), without)?;
        let mut supersedes = vec![segment.name()];
        supersedes.extend(segment.supersedes().iter().take(CARRIED_MAX));
        store(self.repo(), builder, &supersedes)
    }

    /// Whether a prune gave this run up: it may have decided without what this run wrote since.
    pub fn is_given_up(&self) -> Result<bool> {
        let io = self.repo().io();
        Ok(!io.block(io.store.list(&format!("state/suspect/{}/", self.id())))?.is_empty())
    }
}
