//! Writes index segments.

use std::collections::{HashMap, HashSet};

use crate::catalog::Codec;
use crate::crypto::{KeyRing, ObjectKind, ObjectWriter, Part, Sealed, TAG_LEN};
use crate::error::{Error, Result};
use crate::id::ObjectHash;
use crate::repo::pack::PackEntry;
use crate::repo::repository::Io;
use crate::storage::Checksum;

use super::filter;
use super::segment::{Segment, TRAILER_MAGIC};
use super::{BLOCK_ENTRIES, ENTRY_LEN, IndexRow, PREFIX_LEN, PackInfo, kind_code, tables};

/// One entry on its way into a segment.
#[derive(Clone, Copy, Debug)]
struct Row {
    prefix: [u8; PREFIX_LEN],
    pack: u32,
    offset: u32,
    stored_len: u32,
    raw_len: u32,
    codec: Codec,
}

/// Collects packs and writes their segment. About 44 bytes of memory a blob.
#[derive(Debug, Default)]
pub(in crate::repo) struct SegmentBuilder {
    packs: Vec<PackInfo>,
    /// What the store said of each of them.
    checksums: Vec<Option<Checksum>>,
    numbers: HashMap<ObjectHash, u32>,
    rows: Vec<Row>,
}

impl SegmentBuilder {
    /// Number of blobs so far.
    pub(in crate::repo) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    pub(in crate::repo) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a stored pack, with what the store said of its bytes, and its blobs.
    pub(in crate::repo) fn add(
        &mut self,
        (info, checksum): (PackInfo, Option<Checksum>),
        entries: impl IntoIterator<Item = PackEntry>,
    ) -> Result<()> {
        let pack = self.add_pack(info, checksum)?;
        for entry in entries {
            let prefix = entry.id.as_bytes().first_chunk().copied().unwrap_or_default();
            self.rows.push(Row {
                prefix,
                pack,
                offset: entry.offset,
                stored_len: entry.stored_len,
                raw_len: entry.raw_len,
                codec: entry.codec,
            });
        }
        Ok(())
    }

    /// Adds all rows and checksums of another segment, but for those of packs that `leave_out` has.
    pub(in crate::repo) fn add_segment(
        &mut self,
        io: &Io,
        segment: &Segment,
        leave_out: &HashSet<ObjectHash>,
    ) -> Result<()> {
        let mut numbers = Vec::with_capacity(segment.packs().len());
        for info in segment.packs() {
            let known = self.numbers.get(&info.pack.name).copied();
            numbers.push(match known {
                _ if leave_out.contains(&info.pack.name) => None,
                Some(number) => Some(number),
                None => Some(self.add_pack(*info, None)?),
            });
        }
        let checksums = segment.scan_with_checksums(io, &mut |row| {
            if let Some(pack) = numbers.get(row.pack as usize).copied().flatten() {
                let IndexRow { prefix, offset, stored_len, raw_len, codec, .. } = *row;
                self.rows.push(Row { prefix, pack, offset, stored_len, raw_len, codec });
            }
        })?;
        for (number, checksum) in numbers.into_iter().zip(checksums) {
            if let Some(known) = number.and_then(|number| self.checksums.get_mut(number as usize)) {
                *known = known.or(checksum);
            }
        }
        Ok(())
    }

    fn add_pack(&mut self, info: PackInfo, checksum: Option<Checksum>) -> Result<u32> {
        let pack = u32::try_from(self.packs.len())
            .ok()
            .filter(|number| *number < 1 << 24)
            .ok_or_else(|| Error::bug("packs in an index segment"))?;
        self.packs.push(info);
        self.checksums.push(checksum);
        self.numbers.insert(info.pack.name, pack);
        Ok(pack)
    }

    /// Takes out the second and further copies of blobs, each with its pack: a segment has one row for a blob. `None` when there are none.
    pub(in crate::repo) fn split_copies(&mut self) -> Result<Option<Self>> {
        self.rows.sort_unstable_by_key(|row| (row.prefix, row.pack));
        self.rows.dedup_by_key(|row| (row.prefix, row.pack));
        let mut copies = Self::default();
        let (packs, checksums, mut last, mut outcome) = (&self.packs, &self.checksums, None, Ok(()));
        self.rows.retain(|row| {
            if last.replace(row.prefix) != Some(row.prefix) {
                return true;
            }
            let pack = packs.get(row.pack as usize).ok_or_else(|| Error::bug("a row of an unknown pack"));
            let number = pack.and_then(|info| match copies.numbers.get(&info.pack.name) {
                Some(number) => Ok(*number),
                None => copies.add_pack(*info, checksums.get(row.pack as usize).copied().flatten()),
            });
            match number {
                Ok(pack) => copies.rows.push(Row { pack, ..*row }),
                Err(error) => outcome = Err(error),
            }
            false
        });
        outcome?;
        Ok((!copies.rows.is_empty()).then_some(copies))
    }

    /// The sealed segment; `written` in Unix seconds.
    pub(in crate::repo) fn finish(mut self, keys: &KeyRing, written: i64, supersedes: &[ObjectHash]) -> Result<Sealed> {
        self.rows.sort_unstable_by_key(|row| row.prefix);
        // A blob that stands in two packs keeps one entry here; the other copy is surplus.
        self.rows.dedup_by_key(|row| row.prefix);
        let mut writer = ObjectWriter::new(keys, ObjectKind::Index, self.rows.len() * 37 + 4096)?;
        let mut firsts = Vec::new();
        let mut block = Vec::with_capacity(usize::from(BLOCK_ENTRIES) * ENTRY_LEN);
        for (number, rows) in self.rows.chunks(usize::from(BLOCK_ENTRIES)).enumerate() {
            block.clear();
            firsts.push(rows.first().map_or(0, |row| filter::key_of(&row.prefix)));
            for row in rows {
                encode_row(row, &mut block)?;
            }
            let number = u32::try_from(number).map_err(|_| Error::bug("blocks of an index segment"))?;
            writer.append(&Part::Block { number }, &block)?;
        }
        let filter = filter::build(self.rows.iter().map(|row| filter::key_of(&row.prefix)).collect())?;
        let filter_len = writer.append(&Part::Filter, &filter)?.len();
        let footer = self.footer(written, supersedes, &firsts)?;
        let total = (writer.len() + footer.len() + TAG_LEN + TRAILER_MAGIC.len() + 16) as u64;
        let blocks = u32::try_from(firsts.len()).map_err(|_| Error::bug("blocks of an index segment"))?;
        let footer_len = writer.append(&Part::Footer { total, blocks }, &footer)?.len();
        for len in [footer_len, filter_len] {
            writer
                .append_plain(&u32::try_from(len).map_err(|_| Error::bug("length of an index segment"))?.to_le_bytes());
        }
        writer.append_plain(&total.to_le_bytes());
        writer.append_plain(TRAILER_MAGIC);
        Ok(writer.finish())
    }

    fn footer(&self, written: i64, supersedes: &[ObjectHash], firsts: &[u64]) -> Result<Vec<u8>> {
        let count = |n: usize| u32::try_from(n).map_err(|_| Error::bug("footer of an index segment"));
        let mut footer = Vec::with_capacity(self.packs.len() * 95 + supersedes.len() * 32 + firsts.len() * 8 + 32);
        footer.extend_from_slice(&(self.rows.len() as u64).to_le_bytes());
        footer.extend_from_slice(&BLOCK_ENTRIES.to_le_bytes());
        footer.extend_from_slice(&written.to_le_bytes());
        footer.extend_from_slice(&count(self.packs.len())?.to_le_bytes());
        for info in &self.packs {
            footer.extend_from_slice(info.pack.name.as_bytes());
            footer.extend_from_slice(&info.size.to_le_bytes());
            footer.push(kind_code(info.kind));
            footer.extend_from_slice(&info.pack.epoch.to_le_bytes());
            footer.extend_from_slice(&info.pack.salt);
            footer.extend_from_slice(&info.blobs.to_le_bytes());
        }
        footer.extend_from_slice(&count(supersedes.len())?.to_le_bytes());
        for name in supersedes {
            footer.extend_from_slice(name.as_bytes());
        }
        for first in firsts {
            footer.extend_from_slice(&first.to_le_bytes());
        }
        tables::append_checksums(&self.checksums, &mut footer)?;
        Ok(footer)
    }
}

fn encode_row(row: &Row, out: &mut Vec<u8>) -> Result<()> {
    let u24 = |n: u32| {
        let [a, b, c, d] = n.to_le_bytes();
        if d == 0 { Ok([a, b, c]) } else { Err(Error::bug("a number of an index entry does not fit")) }
    };
    out.extend_from_slice(&row.prefix);
    out.extend_from_slice(&u24(row.pack)?);
    out.extend_from_slice(&row.offset.to_le_bytes());
    out.extend_from_slice(&u24(row.stored_len)?);
    out.extend_from_slice(&u24(row.raw_len)?);
    out.push(row.codec.as_u8());
    Ok(())
}
