//! Reads a segment to its last byte and checks every rule of `docs/format.md` section 7.

use crate::catalog::Codec;
use crate::crypto::{HEADER_LEN, TAG_LEN};
use crate::error::{Error, Result};
use crate::id::BlobId;
use crate::limits::BLOB_MAX;
use crate::repo::repository::Io;
use crate::storage::Checksum;

use super::segment::{Fields, Segment, segment_key};
use super::{ENTRY_LEN, PREFIX_LEN, codec_of, filter};

/// Bytes of a large segment that one request reads here.
const PIECE: usize = 4 << 20;

/// One entry of a segment as it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// First bytes of the blob's id.
    pub prefix: [u8; PREFIX_LEN],
    /// Number of the pack in the segment's table.
    pub pack: u32,
    /// Where in the pack the sealed blob starts.
    pub offset: u32,
    /// Length of the sealed blob, tag included.
    pub stored_len: u32,
    /// Length of the plaintext.
    pub raw_len: u32,
    /// How to decode it after opening.
    pub codec: Codec,
}

impl Segment {
    /// Hands every entry to `each`, in order. A segment that is not in memory is read in pieces of 4 MiB, and its name is compared with
    /// the hash of all that was read; that of one in memory was compared when it was opened.
    ///
    /// # Errors
    /// `Corrupt` at the first thing that is wrong. Rows before it were handed out.
    pub(in crate::repo) fn scan(&self, io: &Io, each: &mut dyn FnMut(&IndexRow)) -> Result<()> {
        self.scan_to_end(io, each, &mut |_, _| ())
    }

    /// As [`Segment::scan`]; returns the checksums of the packs, in their order. Costs no request more; the footer, about 95 bytes a pack, is in
    /// memory meanwhile.
    pub(in crate::repo) fn scan_with_checksums(
        &self,
        io: &Io,
        each: &mut dyn FnMut(&IndexRow),
    ) -> Result<Vec<Option<Checksum>>> {
        let (range, mut footer) = (self.footer_range(), Vec::new());
        self.scan_to_end(io, each, &mut |at, piece| {
            let index = |place: u64| usize::try_from(place.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
            footer.extend_from_slice(piece.get(index(range.start)..index(range.end)).unwrap_or_default());
        })?;
        self.checksums_in(&footer)
    }

    /// `tail` hears of the pieces of what comes after the blocks, in order, each with its place.
    fn scan_to_end(&self, io: &Io, each: &mut dyn FnMut(&IndexRow), tail: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        let mut rules = Rules { segment: self, last: None, rows: 0, each };
        match &self.whole {
            Some(bytes) => {
                for number in 0..self.firsts.len() {
                    rules.block(number, bytes.get(self.block_at(number)..).unwrap_or_default())?;
                }
                tail(0, bytes);
            }
            None => self.scan_pieces(io, &mut rules, tail)?,
        }
        rules.finish()
    }

    fn scan_pieces(&self, io: &Io, rules: &mut Rules<'_>, tail: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        let key = segment_key(&self.name());
        let mut hasher = blake3::Hasher::new();
        let mut read = |from: u64, to: u64| -> Result<bytes::Bytes> {
            let piece = io.block(io.store.get_range(&key, from..to))?;
            hasher.update(&piece);
            Ok(piece)
        };
        read(0, HEADER_LEN as u64)?;
        let blocks = self.firsts.len();
        let at_once = (PIECE / (self.block_at(1) - self.block_at(0))).max(1);
        for first in (0..blocks).step_by(at_once) {
            let after = first.saturating_add(at_once);
            let end = if after < blocks { self.block_at(after) as u64 } else { self.blocks_end() };
            let piece = read(self.block_at(first) as u64, end)?;
            for number in first..after.min(blocks) {
                rules.block(number, piece.get(self.block_at(number) - self.block_at(first)..).unwrap_or_default())?;
            }
        }
        let mut at = self.blocks_end();
        while at < self.size() {
            let end = self.size().min(at + PIECE as u64);
            tail(at, &read(at, end)?);
            at = end;
        }
        if hasher.finalize().as_bytes() != self.name().as_bytes() {
            return Err(Error::corrupt("bytes do not have the hash that names them"));
        }
        Ok(())
    }
}

/// What must hold from row to row.
struct Rules<'a> {
    segment: &'a Segment,
    last: Option<[u8; PREFIX_LEN]>,
    rows: u64,
    each: &'a mut dyn FnMut(&IndexRow),
}

impl Rules<'_> {
    fn block(&mut self, number: usize, sealed: &[u8]) -> Result<()> {
        let wrong = |what: &str| Error::corrupt(format!("block {number} {what}"));
        let plain = self.segment.open_block(number, sealed)?;
        let (rows, rest) = plain.as_chunks::<ENTRY_LEN>();
        if !rest.is_empty() || rows.first().map(|row| filter::key_of(row)) != self.segment.firsts.get(number).copied() {
            return Err(wrong("does not begin with the entry that the footer names"));
        }
        for row in rows {
            let row = self.row(row).map_err(|error| error.within(format!("block {number}")))?;
            (self.each)(&row);
        }
        Ok(())
    }

    fn row(&mut self, bytes: &[u8; ENTRY_LEN]) -> Result<IndexRow> {
        let mut fields = Fields(bytes);
        let prefix: [u8; PREFIX_LEN] = fields.take()?;
        let wrong = |what: &str| Error::corrupt(format!("the entry of blob {} {what}", hex::encode(prefix)));
        let pack = fields.u24()?;
        let offset = u32::from_le_bytes(fields.take()?);
        let (stored_len, raw_len) = (fields.u24()?, fields.u24()?);
        let [codec] = fields.take()?;
        let codec = codec_of(codec).ok_or_else(|| wrong("has an unknown codec"))?;
        if self.last.is_some_and(|last| last >= prefix) {
            return Err(wrong("is not after the one before it"));
        }
        let info =
            self.segment.packs.get(pack as usize).ok_or_else(|| wrong("names a pack that the footer does not have"))?;
        let inside = offset as usize >= HEADER_LEN && u64::from(offset) + u64::from(stored_len) <= info.size;
        let longest = (raw_len as usize).saturating_add(TAG_LEN);
        if !inside
            || raw_len == 0
            || raw_len as usize > BLOB_MAX
            || !(TAG_LEN + 1..=longest).contains(&(stored_len as usize))
        {
            return Err(wrong(&format!("does not fit into pack {}", info.pack.name)));
        }
        if !self.segment.filter.may_hold(&widened(&prefix)) {
            return Err(wrong("is denied by the filter"));
        }
        self.last = Some(prefix);
        self.rows += 1;
        Ok(IndexRow { prefix, pack, offset, stored_len, raw_len, codec })
    }

    fn finish(&self) -> Result<()> {
        if self.rows != self.segment.entries() {
            return Err(Error::corrupt(format!(
                "there are {} entries where the footer names {}",
                self.rows,
                self.segment.entries()
            )));
        }
        Ok(())
    }
}

/// An id that starts with `prefix`: the filter knows no more of it.
fn widened(prefix: &[u8; PREFIX_LEN]) -> BlobId {
    let mut bytes = [0u8; BlobId::LEN];
    bytes.iter_mut().zip(prefix).for_each(|(to, from)| *to = *from);
    BlobId::new(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::crypto::{BlobKind, KeyRing, MasterKey};
    use crate::id::{ObjectHash, PackRef, RepoId};
    use crate::repo::index::{PackInfo, SegmentBuilder};
    use crate::repo::pack::PackEntry;
    use crate::storage::{Location, Store};

    fn io(runtime: &Runtime) -> Io {
        let keys = KeyRing::new(MasterKey::generate(&crate::crypto::SystemEntropy).unwrap(), RepoId::new([9; 16]));
        let store = Store::from_object_store(Arc::new(InMemory::new()), Location::Memory);
        Io { store, runtime: runtime.handle().clone(), keys }
    }

    fn entry(n: u32) -> PackEntry {
        let id = BlobId::new(*blake3::hash(&n.to_le_bytes()).as_bytes());
        PackEntry { id, offset: 80 + n * 100, stored_len: 100, raw_len: 200, codec: Codec::Zstd }
    }

    /// Name and bytes of a segment of one pack of `size` bytes.
    fn segment(io: &Io, size: u64, entries: impl IntoIterator<Item = PackEntry>) -> (ObjectHash, Vec<u8>) {
        let pack = PackRef { name: ObjectHash::new([1; 32]), epoch: 0, salt: [2; 32] };
        let mut builder = SegmentBuilder::default();
        builder.add((PackInfo { pack, kind: BlobKind::Data, size, blobs: 1 }, None), entries).unwrap();
        let sealed = builder.finish(&io.keys, 0, &[]).unwrap();
        (sealed.hash, sealed.bytes)
    }

    #[test]
    fn checksums_come_from_the_end_of_a_segment_of_any_size_and_cost_no_request() {
        let runtime = Runtime::new().unwrap();
        let io = io(&runtime);
        let sum = |n: u32| Checksum::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes().first_chunk().unwrap());
        // In memory as a whole; read in pieces; with a footer that lies in two of them.
        for (blobs, packs) in [(1000u32, 10u32), (40_000, 700), (50_000, 50_000)] {
            let mut builder = SegmentBuilder::default();
            let known = |n: u32| sum(n).filter(|_| !n.is_multiple_of(3));
            for n in 0..packs {
                let name = ObjectHash::new(*blake3::hash(&n.to_be_bytes()).as_bytes());
                let pack = PackRef { name, epoch: 0, salt: [2; 32] };
                let entries = (n..blobs).step_by(packs as usize).map(entry);
                builder
                    .add((PackInfo { pack, kind: BlobKind::Data, size: 1 << 40, blobs: 1 }, known(n)), entries)
                    .unwrap();
            }
            let sealed = builder.finish(&io.keys, 0, &[ObjectHash::new([7; 32])]).unwrap();
            let size = sealed.bytes.len() as u64;
            io.block(io.store.put(&segment_key(&sealed.hash), sealed.bytes.into())).unwrap();
            let segment = io.block(Segment::open(&io, sealed.hash, size)).unwrap();
            let asked = |read: &dyn Fn()| {
                let before = io.store.requests().total();
                read();
                io.store.requests().total() - before
            };
            let without = asked(&|| segment.scan(&io, &mut |_| ()).unwrap());
            let with = asked(&|| {
                let found = segment.scan_with_checksums(&io, &mut |_| ()).unwrap();
                assert_eq!(found, (0..packs).map(known).collect::<Vec<_>>());
            });
            assert_eq!(with, without);
            // Merged into another one, but for some packs.
            let gone = segment.packs().iter().take(5).map(|info| info.pack.name).collect();
            let mut merged = SegmentBuilder::default();
            merged.add_segment(&io, &segment, &gone).unwrap();
            let sealed = merged.finish(&io.keys, 0, &[]).unwrap();
            let merged = Segment::from_bytes(&io.keys, sealed.hash, sealed.bytes.into(), true).unwrap();
            let found = merged.scan_with_checksums(&io, &mut |_| ()).unwrap();
            assert_eq!(found, (5..packs).map(known).collect::<Vec<_>>());
        }
    }

    /// Stores the bytes under a name and reads all rows by range, or why that fails.
    fn scan(io: &Io, name: ObjectHash, bytes: Vec<u8>) -> std::result::Result<Vec<IndexRow>, String> {
        let size = bytes.len() as u64;
        io.block(io.store.put(&segment_key(&name), bytes.into())).unwrap();
        let mut rows = Vec::new();
        let segment = io.block(Segment::open(io, name, size)).map_err(|error| error.chain())?;
        segment.scan(io, &mut |row| rows.push(*row)).map_err(|error| error.chain())?;
        Ok(rows)
    }

    #[test]
    fn a_large_segment_is_read_in_pieces_and_its_name_is_checked() {
        let runtime = Runtime::new().unwrap();
        let io = io(&runtime);
        let (name, bytes) = segment(&io, 1 << 40, (0..300_000).map(entry));
        assert!(bytes.len() > PIECE);
        let rows = scan(&io, name, bytes.clone()).unwrap();
        assert_eq!(rows.len(), 300_000);
        assert!(rows.iter().all(|row| (row.raw_len, row.pack, row.codec) == (200, 0, Codec::Zstd)));
        // Sound, but under another name: opening reads its two ends only, and does not notice.
        let said = scan(&io, ObjectHash::new([5; 32]), bytes.clone()).unwrap_err();
        assert!(said.contains("hash that names them"), "{said}");
        let mut damaged = bytes;
        damaged[1000] ^= 1;
        assert!(scan(&io, name, damaged).unwrap_err().contains("tag"));
    }

    #[test]
    fn entries_that_cannot_be_are_refused() {
        let runtime = Runtime::new().unwrap();
        let io = io(&runtime);
        let wrong = [
            PackEntry { offset: 79, ..entry(0) },
            PackEntry { offset: 901, ..entry(0) },
            PackEntry { raw_len: 0, ..entry(0) },
            PackEntry { raw_len: 83, ..entry(0) },
            PackEntry { stored_len: 16, ..entry(0) },
            PackEntry { raw_len: (8 << 20) + 1, ..entry(0) },
        ];
        for entry in wrong {
            let (name, bytes) = segment(&io, 1000, [entry]);
            let said = scan(&io, name, bytes).unwrap_err();
            assert!(said.contains("does not fit into pack 0101"), "{entry:?}: {said}");
        }
        let (name, bytes) = segment(&io, 1000, [PackEntry { offset: 900, raw_len: 84, ..entry(0) }]);
        assert_eq!(scan(&io, name, bytes).unwrap().len(), 1);
    }
}
