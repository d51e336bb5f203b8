//! Inner pages: which pages a tree consists of, in order, and perhaps where they lie.

use std::collections::HashMap;

use super::entry::{Codec, Place};
use super::page_decode::raw_len;
use super::wire::{Reader, put_bytes, put_len, put_varint};
use crate::error::{Attempt, Error, Result};
use crate::id::{BlobId, ObjectHash, PackRef};
use crate::path::TreePath;

/// First byte of an inner page.
const INNER: u8 = 2;
/// Highest level.
pub(super) const LEVEL_MAX: u8 = 8;
/// Shortest record of a child with its length: id and seven numbers.
const CHILD_MIN: usize = 40;
/// Name, epoch and salt of a pack.
const PACK_LEN: usize = 66;
/// Length of the tag that a sealed blob ends with.
const SEAL_TAG: u32 = 16;

/// A page as its parent names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildRef {
    /// Its id.
    pub id: BlobId,
    /// Length of its plaintext.
    pub raw_len: u32,
    /// Number of entries in it or below it, at least 1.
    pub entries: u64,
    /// Path of the first of these.
    pub first: TreePath,
    /// Where it lay when this was written: to be checked by id, and only a short cut.
    pub hint: Option<Place>,
}

/// The children of a page, in catalogue order. The root of a tree is one of level 1 or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InnerPage {
    /// 1: the children are leaf pages; n: inner pages of level n − 1.
    pub level: u8,
    /// The children; none only in the root of an empty tree.
    pub children: Vec<ChildRef>,
}

impl InnerPage {
    /// Number of entries below.
    pub fn entries(&self) -> u64 {
        self.children.iter().fold(0, |sum, child| sum.saturating_add(child.entries))
    }

    /// What names the tree below: two trees of one repository hold the same exactly when this is the same. Where their pages lie does not count.
    pub fn name(&self) -> (u8, Vec<BlobId>) {
        (self.level, self.children.iter().map(|child| child.id).collect())
    }

    /// Sets the hint of every child that `locate` knows: for a root, once the packs of its pages are closed.
    pub fn fill_hints(&mut self, locate: &dyn Fn(BlobId) -> Option<Place>) {
        for child in &mut self.children {
            if let Some(place) = locate(child.id) {
                child.hint = Some(place);
            }
        }
    }

    /// The page as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut packs: Vec<PackRef> = Vec::new();
        let mut numbers: HashMap<PackRef, usize> = HashMap::new();
        let mut records = Vec::new();
        let mut record = Vec::new();
        for child in &self.children {
            record.clear();
            record.extend_from_slice(child.id.as_bytes());
            put_varint(&mut record, u64::from(child.raw_len));
            put_varint(&mut record, child.entries);
            match &child.hint {
                None => record.extend_from_slice(&[0; 4]),
                Some(place) => {
                    let number = *numbers.entry(place.pack).or_insert_with(|| {
                        packs.push(place.pack);
                        packs.len()
                    });
                    put_len(&mut record, number);
                    put_varint(&mut record, u64::from(place.offset));
                    put_varint(&mut record, u64::from(place.stored_len));
                    record.push(place.codec.as_u8());
                }
            }
            put_bytes(&mut record, child.first.as_bytes());
            put_bytes(&mut records, &record);
        }
        let mut page = vec![INNER, self.level];
        put_len(&mut page, packs.len());
        for pack in &packs {
            page.extend_from_slice(pack.name.as_bytes());
            page.extend_from_slice(&pack.epoch.to_le_bytes());
            page.extend_from_slice(&pack.salt);
        }
        put_len(&mut page, self.children.len());
        page.extend_from_slice(&records);
        page
    }

    /// Reads a page.
    ///
    /// # Errors
    /// `Corrupt` for anything that `docs/format.md` section 9 does not allow.
    pub fn decode(page: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(page);
        if reader.u8()? != INNER {
            return Err(Error::corrupt("not an inner page of the catalogue"));
        }
        let level = reader.u8()?;
        if level == 0 || level > LEVEL_MAX {
            return Err(Error::corrupt(format!("inner page of level {level}")));
        }
        let count = reader.count(PACK_LEN, "packs")?;
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            let name = ObjectHash::new(reader.array()?);
            let epoch = u16::from_le_bytes(reader.array()?);
            packs.push(PackRef { name, epoch, salt: reader.array()? });
        }
        let count = reader.count(CHILD_MIN, "children")?;
        let mut children: Vec<ChildRef> = Vec::with_capacity(count);
        for number in 0..count {
            let child = reader
                .bytes()
                .and_then(|record| ChildRef::decode(record, &packs))
                .attempt(|| format!("decode child {number} of an inner page"))?;
            if children.last().is_some_and(|last| last.first >= child.first) {
                return Err(Error::corrupt(format!("child {number} of an inner page is not after the one before it")));
            }
            children.push(child);
        }
        reader.finish("an inner page")?;
        Ok(Self { level, children })
    }
}

impl ChildRef {
    /// About the length of its record.
    pub(super) fn size(&self) -> usize {
        64 + self.first.as_bytes().len()
    }

    fn decode(record: &[u8], packs: &[PackRef]) -> Result<Self> {
        let mut reader = Reader::new(record);
        let id = BlobId::new(reader.array()?);
        let raw_len = raw_len(&mut reader)?;
        let entries = reader.varint()?;
        if entries == 0 {
            return Err(Error::corrupt("a page without entries"));
        }
        let hint = Self::decode_hint(&mut reader, packs, raw_len)?;
        let first = TreePath::parse(reader.bytes()?)
            .map_err(|error| Error::corrupt("the first path is not valid").with_source(error))?;
        reader.finish("the record")?;
        Ok(Self { id, raw_len, entries, first, hint })
    }

    fn decode_hint(reader: &mut Reader<'_>, packs: &[PackRef], raw_len: u32) -> Result<Option<Place>> {
        let number = reader.usize("pack number")?;
        let (offset, stored_len) = (reader.u32("offset in a pack")?, reader.u32("stored length")?);
        let codec = reader.u8()?;
        let Some(row) = number.checked_sub(1) else {
            return match (offset, stored_len, codec) {
                (0, 0, 0) => Ok(None),
                _ => Err(Error::corrupt("a hint without a pack")),
            };
        };
        let pack =
            *packs.get(row).ok_or_else(|| Error::corrupt(format!("pack number {number} is not in its table")))?;
        // A reader allocates this much: no codec makes a blob longer.
        if stored_len <= SEAL_TAG || stored_len > raw_len + SEAL_TAG {
            return Err(Error::corrupt(format!("stored length {stored_len} for a blob of {raw_len} bytes")));
        }
        Ok(Some(Place { pack, offset, stored_len, codec: Codec::try_from(codec)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack_ref(byte: u8) -> PackRef {
        PackRef { name: ObjectHash::new([byte; 32]), epoch: 0x0102, salt: [byte + 1; 32] }
    }

    fn page() -> InnerPage {
        let place = |pack: u8, codec| Place { pack: pack_ref(pack), offset: 80, stored_len: 300, codec };
        let child = |n: u8, first: &str, hint| ChildRef {
            id: BlobId::new([n; 32]),
            raw_len: 300,
            entries: u64::from(n),
            first: TreePath::parse(first).expect("path"),
            hint,
        };
        InnerPage {
            level: 1,
            children: vec![
                child(1, "", Some(place(9, Codec::Stored))),
                child(2, "a", None),
                child(3, "a/b", Some(place(9, Codec::Zstd))),
            ],
        }
    }

    #[test]
    fn an_inner_page_has_the_bytes_of_the_specification() {
        let mut expected = vec![2, 1, 1];
        expected.extend([9; 32]);
        expected.extend([2, 1]);
        expected.extend([10; 32]);
        expected.push(3);
        // Length, id, raw length 300, entries, pack, offset, stored length 300, codec, first path.
        for (len, id, tail) in [
            (41, 1, &[0xac, 2, 1, 1, 80, 0xac, 2, 0, 0][..]),
            (41, 2, &[0xac, 2, 2, 0, 0, 0, 0, 1, b'a'][..]),
            (44, 3, &[0xac, 2, 3, 1, 80, 0xac, 2, 1, 3, b'a', b'/', b'b'][..]),
        ] {
            expected.push(len);
            expected.extend([id; 32]);
            expected.extend(tail);
        }
        assert_eq!(page().encode(), expected);
        assert_eq!(InnerPage::decode(&expected).expect("page"), page());
        assert_eq!(page().entries(), 6);
    }

    #[test]
    fn every_truncation_and_trailing_byte_is_refused_and_no_flip_panics() {
        let bytes = page().encode();
        for len in 0..bytes.len() {
            assert!(InnerPage::decode(&bytes[..len]).is_err(), "{len}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(InnerPage::decode(&longer).is_err());
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = InnerPage::decode(&flipped);
        }
    }

    #[test]
    fn children_out_of_order_and_levels_out_of_range_are_refused() {
        let mut swapped = page();
        swapped.children.swap(1, 2);
        assert!(InnerPage::decode(&swapped.encode()).is_err());
        for level in [0, 9] {
            assert!(InnerPage::decode(&InnerPage { level, ..page() }.encode()).is_err());
        }
        let mut long = page();
        long.children[0].hint.as_mut().expect("hint").stored_len = 317;
        assert!(InnerPage::decode(&long.encode()).is_err());
    }

    #[test]
    fn late_hints_reach_only_the_children_that_are_known() {
        let mut page = page();
        let place = Place { pack: pack_ref(7), offset: 1, stored_len: 20, codec: Codec::Zstd };
        page.fill_hints(&|id| (id == BlobId::new([2; 32])).then_some(place));
        assert_eq!(page.children[1].hint, Some(place));
        assert_eq!(page.children[0].hint.expect("kept").pack, pack_ref(9));
    }
}
