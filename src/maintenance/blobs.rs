//! Which blobs the index has: a sorted table in memory, so that a look-up costs no request.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::catalog::{BlobRef, Codec, Place};
use crate::error::Result;
use crate::id::ObjectHash;
use crate::repo::{BlobKind, IndexRow, PREFIX_LEN, PackEntry, PackInfo, Session};

use super::checksums::Checksums;

/// Blobs that are remembered as found when the index is too large for a table (16 bytes each, and the set's own).
const REMEMBERED_MAX: usize = 10_000_000;

type Prefix = [u8; PREFIX_LEN];

/// One place of a blob: 36 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    prefix: Prefix,
    /// Number in `Blobs::packs`.
    pack: u32,
    offset: u32,
    stored_len: u32,
    /// The plaintext's length, and the codec in the lowest bit.
    raw_len_and_codec: u32,
}

/// A blob as the index has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) raw_len: u32,
    /// Whether its pack is not known to be broken there.
    pub(super) whole: bool,
}

/// What the index has, and which of it is lost.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    packs: Vec<PackInfo>,
    numbers: HashMap<ObjectHash, u32>,
    /// `None`: too many, the index in the store is asked instead.
    rows: Option<Vec<Row>>,
    rows_of_pack: Vec<u32>,
    /// What stores say of the packs.
    pub(super) checksums: Checksums,
    /// Broken packs, each with what is whole in it nevertheless.
    broken: HashMap<ObjectHash, HashSet<Prefix>>,
    remembered: Mutex<HashSet<[u8; 16]>>,
}

impl Blobs {
    /// Room for `count` rows; with `is_table` false they are not kept.
    pub(super) fn new(count: u64, is_table: bool) -> Self {
        let rows = is_table.then(|| Vec::with_capacity(usize::try_from(count).unwrap_or(0)));
        Self { rows, ..Self::default() }
    }

    /// The number of a pack, which may have been added before; `None` when it was added with another description.
    pub(super) fn add_pack(&mut self, info: &PackInfo) -> Option<u32> {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(info.pack.name).or_insert(next);
        if number == next {
            self.packs.push(*info);
            self.rows_of_pack.push(0);
        }
        (self.packs.get(number as usize) == Some(info)).then_some(number)
    }

    pub(super) fn add(&mut self, pack: u32, row: &IndexRow) {
        if let Some(rows) = &mut self.rows {
            let raw_len_and_codec = row.raw_len << 1 | u32::from(row.codec == Codec::Zstd);
            rows.push(Row {
                prefix: row.prefix,
                pack,
                offset: row.offset,
                stored_len: row.stored_len,
                raw_len_and_codec,
            });
        }
    }

    /// To be called after the last row.
    pub(super) fn sort(&mut self) {
        let Some(rows) = &mut self.rows else { return };
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            if let Some(count) = self.rows_of_pack.get_mut(row.pack as usize) {
                *count += 1;
            }
        }
    }

    pub(super) fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// The number of a pack.
    pub(super) fn number(&self, name: &ObjectHash) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// Number of places in a pack; `None` when there is no table.
    pub(super) fn rows_of(&self, name: &ObjectHash) -> Option<u32> {
        self.rows.as_ref()?;
        self.rows_of_pack.get(*self.numbers.get(name)? as usize).copied()
    }

    /// Whether the index has exactly this place for the blob.
    pub(super) fn has(&self, name: &ObjectHash, entry: &PackEntry) -> bool {
        let prefix = entry.id.as_bytes().first_chunk().copied().unwrap_or_default();
        let Some(pack) = self.numbers.get(name).copied() else { return false };
        let raw_len_and_codec = entry.raw_len << 1 | u32::from(entry.codec == Codec::Zstd);
        let row = Row { prefix, pack, offset: entry.offset, stored_len: entry.stored_len, raw_len_and_codec };
        self.rows.as_ref().is_some_and(|rows| rows.binary_search(&row).is_ok())
    }

    /// Whether a pack is known to be broken.
    pub(super) fn is_broken(&self, name: &ObjectHash) -> bool {
        self.broken.contains_key(name)
    }

    /// Marks a pack as broken but for these blobs.
    pub(super) fn set_broken(&mut self, name: ObjectHash, whole: HashSet<Prefix>) {
        self.broken.insert(name, whole);
    }

    /// The best place of a blob: in a sound pack, if there is one.
    pub(super) fn find(&self, session: &Session<'_>, kind: BlobKind, blob: &BlobRef) -> Result<Option<Found>> {
        let prefix: Prefix = blob.id.as_bytes().first_chunk().copied().unwrap_or_default();
        let mut best: Option<Found> = None;
        let mut offer = |place: Place, raw_len: u32| {
            let whole =
                self.broken.is_empty() || self.broken.get(&place.pack.name).is_none_or(|whole| whole.contains(&prefix));
            if best.is_none_or(|best| whole && !best.whole) {
                best = Some(Found { place, raw_len, whole });
            }
        };
        match &self.rows {
            Some(rows) => {
                let first = rows.partition_point(|row| row.prefix < prefix);
                for row in rows.iter().skip(first).take_while(|row| row.prefix == prefix) {
                    let info = self.packs.get(row.pack as usize).filter(|info| info.kind == kind);
                    if let Some(info) = info {
                        offer(row.place(info), row.raw_len_and_codec >> 1);
                    }
                }
            }
            None => session.places(kind, &blob.id)?.iter().for_each(|entry| offer(entry.place, entry.raw_len)),
        }
        Ok(best)
    }

    /// What is wrong with a reference to a data blob, if anything.
    pub(super) fn flaw(&self, session: &Session<'_>, blob: &BlobRef) -> Result<Option<String>> {
        if self.is_remembered(blob) {
            return Ok(None);
        }
        let id = blob.id;
        let flaw = match self.find(session, BlobKind::Data, blob)? {
            None => format!("blob {id} is in no pack that the index knows"),
            Some(found) if found.raw_len != blob.raw_len => {
                format!("blob {id} has {} bytes in the index, not {}", found.raw_len, blob.raw_len)
            }
            Some(found) if !found.whole => format!("blob {id} is lost: pack {} is broken", found.place.pack.name),
            Some(_) => {
                self.remember(blob);
                return Ok(None);
            }
        };
        Ok(Some(flaw))
    }

    /// With a table, finding again is as quick as remembering.
    fn is_remembered(&self, blob: &BlobRef) -> bool {
        self.rows.is_none() && self.remembered.lock().unwrap_or_else(PoisonError::into_inner).contains(&shortened(blob))
    }

    fn remember(&self, blob: &BlobRef) {
        if self.rows.is_none() {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() < REMEMBERED_MAX {
                remembered.insert(shortened(blob));
            }
        }
    }
}

impl Row {
    fn place(&self, info: &PackInfo) -> Place {
        let codec = if self.raw_len_and_codec & 1 == 1 { Codec::Zstd } else { Codec::Stored };
        Place { pack: info.pack, offset: self.offset, stored_len: self.stored_len, codec }
    }
}

/// Twelve bytes of the id, and the length that was found to be right.
fn shortened(blob: &BlobRef) -> [u8; 16] {
    let mut short = [0u8; 16];
    let bytes = blob.id.as_bytes().iter().take(12).chain(&blob.raw_len.to_le_bytes()).copied().collect::<Vec<u8>>();
    short.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    short
}
