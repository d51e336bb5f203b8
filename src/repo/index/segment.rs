//! Reads index segments by range.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::catalog::Place;
use crate::crypto::{HEADER_LEN, KeyRing, ObjectKind, Opener, Part, TAG_LEN};
use crate::error::{Error, Result};
use crate::id::{BlobId, ObjectHash, PackRef};

use super::filter::{self, Filter};
use super::{ENTRY_LEN, IndexEntry, PREFIX_LEN, PackInfo, codec_of, kind_of, merged_away, tables};
use crate::repo::repository::Io;
use crate::storage::Checksum;

pub(super) const TRAILER_MAGIC: &[u8; 8] = b"vvindex1";
const TRAILER_LEN: usize = 24;
const PACK_LEN: usize = 79;
/// What a footer has beside its records: entries, entries of a block, time, and two counts.
const COUNTS_LEN: usize = 8 + 2 + 8 + 4 + 4;

/// Segments up to this size are fetched as a whole: one request, and no more for any lookup.
const WHOLE_MAX: u64 = 1 << 20;
/// Blocks fetched by one request (70 KiB): ids are random, so neighbours are rarely wanted, but restores sweep.
const GROUP: usize = 16;
/// Groups kept in memory for each segment (1.1 MiB).
const GROUPS_KEPT: usize = 16;
/// Segments opened at once.
const OPENED_AT_ONCE: usize = 8;

/// One open segment: its tables and filter are in memory, its blocks are not (unless it is small).
pub(in crate::repo) struct Segment {
    name: ObjectHash,
    opener: Opener,
    pub(super) packs: Vec<PackInfo>,
    supersedes: Vec<ObjectHash>,
    /// First eight bytes of each block's first prefix.
    pub(super) firsts: Vec<u64>,
    entries: u64,
    /// Bytes of the object.
    size: u64,
    /// Where the sealed footer starts, and the number of blocks that its seal is bound to.
    footer: (u64, u32),
    block_entries: usize,
    pub(super) filter: Filter,
    pub(super) whole: Option<Bytes>,
    groups: Mutex<Groups>,
}

#[derive(Default)]
struct Groups {
    blocks: HashMap<usize, Arc<Vec<u8>>>,
    order: VecDeque<usize>,
}

/// What the end of a segment says.
struct Tail {
    total: u64,
    footer_at: u64,
    blocks: u32,
    footer: Vec<u8>,
    filter: Vec<u8>,
}

impl Segment {
    /// Opens many segments, a few at once; `None` when one of them has been merged away meanwhile.
    pub(in crate::repo) fn open_all(io: &Io, listed: &[(ObjectHash, u64)]) -> Result<Option<Vec<Self>>> {
        io.block(async {
            stream::iter(listed.iter().copied())
                .map(|(name, size)| async move {
                    match Self::open(io, name, size).await {
                        Ok(segment) => Ok(Some(segment)),
                        Err(error) if merged_away(&error) => Ok(None),
                        Err(error) => Err(error.within(format!("index segment {name}"))),
                    }
                })
                .buffered(OPENED_AT_ONCE)
                .try_collect::<Vec<Option<Self>>>()
                .await
                .map(|segments| segments.into_iter().collect())
        })
    }

    pub(in crate::repo) async fn open(io: &Io, name: ObjectHash, size: u64) -> Result<Self> {
        let key = segment_key(&name);
        if size <= WHOLE_MAX {
            let bytes = io.store.get(&key, WHOLE_MAX).await?;
            return Self::from_bytes(&io.keys, name, bytes, true);
        }
        // Footer and filter take about a seventeenth of a segment.
        let (mut tail, total) = io.store.get_suffix(&key, size / 14 + (64 << 10)).await?;
        let need = tail_len(&tail, total)?;
        if need > tail.len() as u64 {
            tail = io.store.get_suffix(&key, need).await?.0;
        }
        let header = io.store.get_range(&key, 0..HEADER_LEN as u64).await?;
        let opener = Opener::from_header(&io.keys, ObjectKind::Index, &header)?;
        let tail = open_tail(&opener, &tail, total)?;
        Self::assemble(name, opener, &tail, None)
    }

    /// A segment of which all bytes are at hand; with `keep` they stay in memory.
    pub(in crate::repo) fn from_bytes(keys: &KeyRing, name: ObjectHash, bytes: Bytes, keep: bool) -> Result<Self> {
        if blake3::hash(&bytes).as_bytes() != name.as_bytes() {
            return Err(Error::corrupt("bytes do not have the hash that names them"));
        }
        let opener = Opener::from_header(keys, ObjectKind::Index, &bytes)?;
        let tail = open_tail(&opener, &bytes, bytes.len() as u64)?;
        Self::assemble(name, opener, &tail, keep.then_some(bytes))
    }

    fn assemble(name: ObjectHash, opener: Opener, tail: &Tail, whole: Option<Bytes>) -> Result<Self> {
        let damaged = || Error::corrupt("footer of an index segment");
        let mut footer = Fields(&tail.footer);
        let entries = footer.u64()?;
        let block_entries = usize::from(u16::from_le_bytes(footer.take()?));
        let _written = footer.u64()?;
        let mut packs = footer.records::<PACK_LEN>()?.iter().map(read_pack).collect::<Result<Vec<_>>>()?;
        packs.shrink_to_fit();
        let supersedes = footer.records::<32>()?.iter().map(|name| ObjectHash::new(*name)).collect();
        if block_entries == 0 || entries > tail.footer_at / ENTRY_LEN as u64 {
            return Err(damaged());
        }
        let blocks = usize::try_from(entries).map_err(|_| damaged())?.div_ceil(block_entries);
        let firsts: Vec<u64> =
            footer.0.as_chunks::<8>().0.iter().take(blocks).map(|first| u64::from_le_bytes(*first)).collect();
        if firsts.len() != blocks {
            return Err(damaged());
        }
        Ok(Self {
            name,
            opener,
            packs,
            supersedes,
            firsts,
            entries,
            size: tail.total,
            footer: (tail.footer_at, tail.blocks),
            block_entries,
            filter: Filter::decode(&tail.filter)?,
            whole,
            groups: Mutex::default(),
        })
    }

    pub(in crate::repo) const fn name(&self) -> ObjectHash {
        self.name
    }

    pub(in crate::repo) fn supersedes(&self) -> &[ObjectHash] {
        &self.supersedes
    }

    pub(in crate::repo) fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    pub(in crate::repo) const fn entries(&self) -> u64 {
        self.entries
    }

    pub(in crate::repo) const fn size(&self) -> u64 {
        self.size
    }

    /// Where the sealed footer lies in the object.
    pub(super) const fn footer_range(&self) -> std::ops::Range<u64> {
        self.footer.0..self.size.saturating_sub(TRAILER_LEN as u64)
    }

    /// What the stores said of the packs when these were stored, in the order of [`Segment::packs`], from the sealed footer. It is not kept in memory:
    /// only checks and merges want it, and they read all of a segment.
    pub(super) fn checksums_in(&self, sealed_footer: &[u8]) -> Result<Vec<Option<Checksum>>> {
        let (at, blocks) = self.footer;
        let footer = self.opener.open(&Part::Footer { total: self.size, blocks }, at, sealed_footer)?;
        let records = self.packs.len() * PACK_LEN + self.supersedes.len() * ObjectHash::LEN + self.firsts.len() * 8;
        Ok(tables::checksums(footer.get(COUNTS_LEN + records..).unwrap_or_default(), self.packs.len()))
    }

    /// For one that is only read as a whole: 2 bytes of memory less for each entry. A look-up costs a request all the same then.
    pub(in crate::repo) fn without_filter(mut self) -> Self {
        self.filter.forget();
        self
    }

    /// The entry of `id`, if the segment has one. No request when the filter says no.
    pub(in crate::repo) fn find(&self, io: &Io, id: &BlobId) -> Result<Option<IndexEntry>> {
        if self.firsts.is_empty() || !self.filter.may_hold(id) {
            return Ok(None);
        }
        let key = big_endian(filter::key_of(id.as_bytes()));
        // Blocks are sorted by prefix as bytes; only the last block that starts before the id, or at it, can hold it.
        let after = self.firsts.partition_point(|first| big_endian(*first) <= key);
        let before = self.firsts.partition_point(|first| big_endian(*first) < key);
        for number in before.saturating_sub(1)..after {
            let block = self.block(io, number)?;
            let rows = block.as_chunks::<ENTRY_LEN>().0;
            let prefix = id.as_bytes().first_chunk::<PREFIX_LEN>();
            if let Ok(at) = rows.binary_search_by(|row| row.first_chunk::<PREFIX_LEN>().cmp(&prefix)) {
                return rows.get(at).map(|row| self.entry(row)).transpose();
            }
        }
        Ok(None)
    }

    /// All entries in order, read in large pieces.
    pub(in crate::repo) fn all(&self, io: &Io) -> Result<Vec<IndexEntry>> {
        let mut entries = Vec::with_capacity(usize::try_from(self.entries).unwrap_or(0));
        for number in 0..self.firsts.len() {
            for row in self.block(io, number)?.as_chunks::<ENTRY_LEN>().0 {
                entries.push(self.entry(row)?);
            }
        }
        Ok(entries)
    }

    fn entry(&self, row: &[u8; ENTRY_LEN]) -> Result<IndexEntry> {
        let damaged = || Error::corrupt(format!("entry of index segment {}", self.name));
        let mut fields = Fields(row);
        let prefix = fields.take()?;
        let pack = fields.u24()?;
        let offset = u32::from_le_bytes(fields.take()?);
        let stored_len = fields.u24()?;
        let raw_len = fields.u24()?;
        let [codec] = fields.take()?;
        let info = self.packs.get(pack as usize).ok_or_else(damaged)?;
        let codec = codec_of(codec).ok_or_else(damaged)?;
        if u64::from(offset) + u64::from(stored_len) > info.size {
            return Err(damaged());
        }
        Ok(IndexEntry { prefix, place: Place { pack: info.pack, offset, stored_len, codec }, raw_len, kind: info.kind })
    }

    fn block(&self, io: &Io, number: usize) -> Result<Arc<Vec<u8>>> {
        if let Some(whole) = &self.whole {
            return self.open_block(number, whole.get(self.block_at(number)..).unwrap_or_default()).map(Arc::new);
        }
        let group = number / GROUP;
        let cached = self.groups.lock().unwrap_or_else(PoisonError::into_inner).blocks.get(&group).cloned();
        let sealed = match cached {
            Some(sealed) => sealed,
            None => self.fetch_group(io, group)?,
        };
        let start = self.block_at(number) - self.block_at(group * GROUP);
        self.open_block(number, sealed.get(start..).unwrap_or_default()).map(Arc::new)
    }

    fn fetch_group(&self, io: &Io, group: usize) -> Result<Arc<Vec<u8>>> {
        let start = self.block_at(group * GROUP) as u64;
        let end = self.block_at(((group + 1) * GROUP).min(self.firsts.len()));
        let last_short = if (group + 1) * GROUP >= self.firsts.len() { self.blocks_end() } else { end as u64 };
        let bytes = io.block(io.store.get_range(&segment_key(&self.name), start..last_short))?;
        let sealed = Arc::new(bytes.to_vec());
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.blocks.insert(group, Arc::clone(&sealed)).is_none() {
            groups.order.push_back(group);
            if groups.order.len() > GROUPS_KEPT
                && let Some(oldest) = groups.order.pop_front()
            {
                groups.blocks.remove(&oldest);
            }
        }
        Ok(sealed)
    }

    pub(super) fn open_block(&self, number: usize, sealed: &[u8]) -> Result<Vec<u8>> {
        let within = |error: Error| error.within(format!("block {number} of index segment {}", self.name));
        let sealed =
            sealed.get(..self.block_len(number)).ok_or_else(|| within(Error::corrupt("block is cut short")))?;
        let mut bytes = sealed.to_vec();
        let counter = u32::try_from(number).map_err(|_| Error::bug("blocks of an index segment"))?;
        let len = self
            .opener
            .open_in_place(&Part::Block { number: counter }, self.block_at(number) as u64, &mut bytes)
            .map_err(within)?
            .len();
        bytes.truncate(len);
        Ok(bytes)
    }

    pub(super) fn block_at(&self, number: usize) -> usize {
        HEADER_LEN + number * (self.block_entries * ENTRY_LEN + TAG_LEN)
    }

    fn block_len(&self, number: usize) -> usize {
        let before = number * self.block_entries;
        let entries = usize::try_from(self.entries).unwrap_or(0).saturating_sub(before).min(self.block_entries);
        entries * ENTRY_LEN + TAG_LEN
    }

    pub(super) fn blocks_end(&self) -> u64 {
        self.firsts.len().checked_sub(1).map_or(HEADER_LEN, |last| self.block_at(last) + self.block_len(last)) as u64
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({}, {} entries)", self.name.short(), self.entries)
    }
}

/// The key that a segment is stored at.
pub(in crate::repo) fn segment_key(name: &ObjectHash) -> String {
    format!("state/index/{name}")
}

/// Prefixes are compared as bytes: the first eight, read as a big-endian number, compare alike.
fn big_endian(key: u64) -> u64 {
    key.swap_bytes()
}

fn lengths(tail: &[u8], total: u64) -> Result<(u64, u64)> {
    let damaged = || Error::corrupt("trailer of an index segment");
    let trailer: &[u8; TRAILER_LEN] = tail.last_chunk().ok_or_else(damaged)?;
    let mut fields = Fields(trailer);
    let (footer, filter) = (u32::from_le_bytes(fields.take()?), u32::from_le_bytes(fields.take()?));
    if fields.u64()? != total || fields.0 != TRAILER_MAGIC {
        return Err(damaged());
    }
    let (footer, filter) = (u64::from(footer), u64::from(filter));
    if footer + filter + ((HEADER_LEN + TRAILER_LEN) as u64) > total {
        return Err(damaged());
    }
    Ok((footer, filter))
}

fn tail_len(tail: &[u8], total: u64) -> Result<u64> {
    let (footer, filter) = lengths(tail, total)?;
    Ok(footer + filter + TRAILER_LEN as u64)
}

fn open_tail(opener: &Opener, tail: &[u8], total: u64) -> Result<Tail> {
    let damaged = || Error::corrupt("end of an index segment");
    let (footer_len, filter_len) = lengths(tail, total)?;
    let index = |n: u64| usize::try_from(n).map_err(|_| damaged());
    let footer_end = tail.len() - TRAILER_LEN;
    let footer_start = footer_end.checked_sub(index(footer_len)?).ok_or_else(damaged)?;
    let filter_start = footer_start.checked_sub(index(filter_len)?).ok_or_else(damaged)?;
    let footer_at = total - TRAILER_LEN as u64 - footer_len;
    let filter = tail.get(filter_start..footer_start).ok_or_else(damaged)?;
    let footer = tail.get(footer_start..footer_end).ok_or_else(damaged)?;
    let filter = opener.open(&Part::Filter, footer_at - filter_len, filter)?;
    // The number of blocks is bound by the tag: it follows from where the filter starts.
    let block_len = (usize::from(super::BLOCK_ENTRIES) * ENTRY_LEN + TAG_LEN) as u64;
    let blocks = (footer_at - filter_len).saturating_sub(HEADER_LEN as u64).div_ceil(block_len);
    let blocks = u32::try_from(blocks).map_err(|_| damaged())?;
    let footer = opener.open(&Part::Footer { total, blocks }, footer_at, footer)?;
    Ok(Tail { total, footer_at, blocks, footer, filter })
}

fn read_pack(record: &[u8; PACK_LEN]) -> Result<PackInfo> {
    let mut fields = Fields(record);
    let name = ObjectHash::new(fields.take()?);
    let size = fields.u64()?;
    let [kind] = fields.take()?;
    let epoch = u16::from_le_bytes(fields.take()?);
    let salt = fields.take()?;
    let blobs = u32::from_le_bytes(fields.take()?);
    let kind = kind_of(kind).ok_or_else(|| Error::corrupt("kind of a pack in an index segment"))?;
    Ok(PackInfo { pack: PackRef { name, epoch, salt }, kind, size, blobs })
}

/// Takes fixed-size fields off the front of a byte string.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| Error::corrupt("index segment ends early"))?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u24(&mut self) -> Result<u32> {
        let [a, b, c] = self.take()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// A u32 count and that many records of `N` bytes.
    fn records<const N: usize>(&mut self) -> Result<&'a [[u8; N]]> {
        let count = usize::try_from(u32::from_le_bytes(self.take()?)).map_err(|_| Error::corrupt("index segment"))?;
        let bytes = count.checked_mul(N).and_then(|len| self.0.split_at_checked(len));
        let (records, rest) = bytes.ok_or_else(|| Error::corrupt("index segment ends early"))?;
        self.0 = rest;
        Ok(records.as_chunks::<N>().0)
    }
}
