//! Which blobs are used: a sorted table with a row for each place of a blob, and a mark for each row.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::id::{BlobId, ObjectHash};
use crate::repo::{BlobKind, IndexRow, PackInfo};

use super::rows::{Key, Place, Rows, Unsorted};

/// The places of all blobs.
#[derive(Debug, Default)]
pub(super) struct Usage {
    packs: Vec<PackInfo>,
    /// The numbers of packs, while rows are added.
    numbers: HashMap<ObjectHash, u32>,
    /// The same afterwards, in the order of the names: a tenth of the memory.
    by_name: Vec<u32>,
    unsorted: Unsorted,
    rows: Rows,
    used: Vec<AtomicU64>,
    /// Blobs that have been stored since.
    newer: Option<Box<Self>>,
}

/// What became of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// The blob has no place.
    Missing,
    /// It has one, and was used already.
    Again,
    /// It has one, and is used from now on.
    First,
}

impl Usage {
    pub(super) fn with_capacity(rows: u64, packs: usize) -> Self {
        let unsorted = Unsorted::with_capacity(usize::try_from(rows).unwrap_or(0));
        Self { unsorted, packs: Vec::with_capacity(packs), numbers: HashMap::with_capacity(packs), ..Self::default() }
    }

    /// The number of a pack; the same pack has one number whoever names it.
    ///
    /// # Errors
    /// `Corrupt` when two segments describe it differently.
    pub(super) fn add_pack(&mut self, info: &PackInfo) -> Result<u32> {
        let next = u32::try_from(self.packs.len()).ok().filter(|number| *number < 1 << 24);
        let next = next.ok_or_else(|| Error::bug("more than 16 million packs"))?;
        let number = *self.numbers.entry(info.pack.name).or_insert(next);
        if number == next {
            self.packs.push(*info);
        }
        if self.packs.get(number as usize) == Some(info) {
            return Ok(number);
        }
        Err(Error::corrupt(format!("two index segments describe pack {} differently", info.pack.name))
            .with_hint("run `volvault check`"))
    }

    pub(super) fn add(&mut self, pack: u32, row: &IndexRow) {
        let key = row.prefix.first_chunk().copied().unwrap_or_default();
        self.unsorted.push(key, Place { pack, len: row.stored_len });
    }

    /// To be called after the last row. Segments repeat each other after a merge that was stopped; then so do rows.
    pub(super) fn sort(&mut self) {
        self.rows = std::mem::take(&mut self.unsorted).sort();
        self.used = (0..self.rows.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        self.by_name = std::mem::take(&mut self.numbers).into_values().collect();
        self.by_name.sort_unstable_by_key(|number| self.packs.get(*number as usize).map(|info| info.pack.name));
    }

    /// Packs in which `newer` has a place of a blob that this table does not have there.
    pub(super) fn not_known_from(&self, newer: &Self) -> HashSet<ObjectHash> {
        let mut packs = HashSet::new();
        for (key, _, places) in newer.rows.groups() {
            for place in places {
                let Some(name) = newer.packs.get(place.pack as usize).map(|info| info.pack.name) else { continue };
                let number = self.number(&name);
                let is_known = packs.contains(&name) || self.rows.of(key).any(|(_, own)| Some(own.pack) == number);
                if !is_known {
                    packs.insert(name);
                }
            }
        }
        packs
    }

    /// Adds what has been stored since. It can be marked, and counts for nothing else.
    pub(super) fn set_newer(&mut self, newer: Self) {
        self.newer = Some(Box::new(newer));
    }

    pub(super) fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// The number of a pack, once all rows are sorted.
    pub(super) fn number(&self, name: &ObjectHash) -> Option<u32> {
        let name_of = |number: &u32| self.packs.get(*number as usize).map(|info| info.pack.name);
        let at = self.by_name.binary_search_by_key(&Some(*name), name_of).ok()?;
        self.by_name.get(at).copied()
    }

    /// Marks all places of a blob as used. May be called from several threads.
    pub(super) fn mark(&self, id: &BlobId) -> Marked {
        self.mark_key(key(id))
    }

    /// Takes all marks back.
    pub(super) fn unmark(&self) {
        for word in &self.used {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// As [`Usage::mark`], for a blob of which no more is known.
    pub(super) fn mark_key(&self, key: Key) -> Marked {
        let mut marked = self.newer.as_ref().map_or(Marked::Missing, |newer| newer.mark_key(key));
        for (at, _) in self.rows.of(key) {
            let before = self.used.get(at / 64).map_or(0, |word| word.fetch_or(1 << (at % 64), Ordering::Relaxed));
            if before & 1 << (at % 64) != 0 {
                return Marked::Again;
            }
            marked = Marked::First;
        }
        marked
    }

    /// Whether the blob may lie among catalogue pages: what an entry names there is a chunk list.
    pub(super) fn may_be_list(&self, id: &BlobId) -> bool {
        let kind = |place: Place| self.packs.get(place.pack as usize).map(|info| info.kind);
        self.group(id).any(|(_, place)| kind(place) == Some(BlobKind::Tree))
            || self.newer.as_ref().is_some_and(|newer| newer.may_be_list(id))
    }

    /// Whether a snapshot needs the blob.
    pub(super) fn is_used(&self, id: &BlobId) -> bool {
        self.group(id).next().is_some_and(|(at, _)| self.is_marked(at))
    }

    /// The numbers of the packs that may hold a blob.
    pub(super) fn places(&self, id: &BlobId) -> impl Iterator<Item = u32> {
        self.group(id).map(|(_, place)| place.pack)
    }

    /// Every blob with all its places, and whether it is used.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Vec<Place>, bool)> {
        self.rows.groups().map(|(_, first, places)| (places, self.is_marked(first)))
    }

    fn is_marked(&self, at: usize) -> bool {
        self.used.get(at / 64).is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (at % 64) != 0)
    }

    fn group(&self, id: &BlobId) -> impl Iterator<Item = (usize, Place)> {
        self.rows.of(key(id))
    }
}

/// What stands for an id here.
pub(super) fn key(id: &BlobId) -> Key {
    id.as_bytes().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Codec;
    use crate::id::PackRef;
    use crate::repo::PREFIX_LEN;

    fn info(n: u8, kind: BlobKind) -> PackInfo {
        PackInfo { pack: PackRef { name: ObjectHash::new([n; 32]), epoch: 0, salt: [0; 32] }, kind, size: 1, blobs: 1 }
    }

    fn row(id: &BlobId, stored_len: u32) -> IndexRow {
        let prefix: [u8; PREFIX_LEN] = id.as_bytes().first_chunk().copied().unwrap();
        IndexRow { prefix, pack: 0, offset: 80, stored_len, raw_len: 1, codec: Codec::Stored }
    }

    fn id(n: u64) -> BlobId {
        BlobId::new(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    #[test]
    fn a_place_that_another_table_has_and_this_one_lacks_is_named() {
        let table = |rows: &[(u64, u8)]| {
            let mut usage = Usage::with_capacity(0, 0);
            for (n, pack) in rows {
                let number = usage.add_pack(&info(*pack, BlobKind::Data)).unwrap();
                usage.add(number, &row(&id(*n), 1));
            }
            usage.sort();
            usage
        };
        let known = table(&[(1, 1), (2, 1), (2, 2), (3, 3)]);
        let name = |n: u8| ObjectHash::new([n; 32]);
        assert_eq!(known.not_known_from(&table(&[(2, 2), (1, 1), (3, 3)])), HashSet::new());
        assert_eq!(known.not_known_from(&table(&[(1, 2), (3, 3)])), HashSet::from([name(2)]));
        assert_eq!(known.not_known_from(&table(&[(9, 9), (2, 1), (3, 1)])), HashSet::from([name(9), name(1)]));
    }

    proptest! {
        /// Against a plain map from id to packs.
        #[test]
        fn marks_and_places_are_those_of_a_map(
            rows in prop::collection::vec((0u64..300, 0u8..5, 1u32..1 << 24), 0..600),
            marks in prop::collection::vec(0u64..400, 0..300),
        ) {
            let mut usage = Usage::with_capacity(0, 0);
            let mut map: HashMap<u64, std::collections::BTreeMap<u32, u32>> = HashMap::new();
            for (n, pack, len) in rows {
                let number = usage.add_pack(&info(pack, BlobKind::Data)).unwrap();
                // Every place is named once: what is in a pack twice has one length there.
                if let std::collections::btree_map::Entry::Vacant(place) = map.entry(n).or_default().entry(number) {
                    place.insert(len);
                    usage.add(number, &row(&id(n), len));
                }
            }
            usage.sort();
            let mut used = std::collections::HashSet::new();
            for n in marks {
                let expected = match (map.contains_key(&n), used.contains(&n)) {
                    (false, _) => Marked::Missing,
                    (true, true) => Marked::Again,
                    (true, false) => Marked::First,
                };
                prop_assert_eq!(usage.mark(&id(n)), expected);
                used.insert(n);
            }
            for (n, places) in &map {
                prop_assert_eq!(usage.is_used(&id(*n)), used.contains(n));
                let mut found: Vec<u32> = usage.places(&id(*n)).collect();
                found.sort_unstable();
                let expected: Vec<u32> = places.keys().copied().collect();
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(usage.groups().count(), map.len());
            let expected = map.iter().filter(|(n, _)| used.contains(n)).map(|(_, places)| places.len()).sum::<usize>();
            let total = usage.groups().filter(|(_, used)| *used).map(|(places, _)| places.len()).sum::<usize>();
            prop_assert_eq!(total, expected);
        }
    }
}
