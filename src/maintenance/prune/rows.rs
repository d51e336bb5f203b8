//! The table of places itself: a row of 10 bytes for each place of a blob, sorted by the blob.
//!
//! Six bytes of an id stand for it. Rows lie in the order of the first two of them, and a table says where the rows of each pair begin; so a row holds the
//! four bytes after these, three for the pack and three for the length. Two blobs of ten million share six bytes about once; then both count as used
//! when one is, and as copies of each other until the whole ids, which stand in the packs, have been compared.
//!
//! Memory: 12 bytes a row while the table is made, 10 afterwards, and 512 KiB.

use std::ops::Range;

pub(super) use crate::repo::Key;

/// Bytes of a row with its whole key, and without the two bytes that its position says.
const WIDE: usize = 12;
const ROW: usize = 10;
/// Pairs of first bytes.
const PAIRS: usize = 1 << 16;

/// Where a copy of a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the pack, below 2^24.
    pub(super) pack: u32,
    /// The bytes that it takes there, below 2^24.
    pub(super) len: u32,
}

/// Rows as they come.
#[derive(Debug, Default)]
pub(super) struct Unsorted {
    bytes: Vec<u8>,
}

impl Unsorted {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self { bytes: Vec::with_capacity(rows.saturating_mul(WIDE)) }
    }

    pub(super) fn push(&mut self, key: Key, place: Place) {
        let [_, pack @ ..] = place.pack.to_be_bytes();
        let [_, len @ ..] = place.len.to_be_bytes();
        self.bytes.extend_from_slice(&key);
        self.bytes.extend_from_slice(&pack);
        self.bytes.extend_from_slice(&len);
    }

    /// Sorts the rows, and leaves out what stands there twice. In place: there is no room for two tables.
    pub(super) fn sort(self) -> Rows {
        let mut bytes = self.bytes;
        bytes.as_chunks_mut::<WIDE>().0.sort_unstable();
        let mut counts = vec![0usize; PAIRS];
        let (mut last, mut kept) = (None, 0);
        for at in (0..bytes.len()).step_by(WIDE) {
            let row: Option<[u8; WIDE]> = bytes.get(at..).and_then(<[u8]>::first_chunk).copied();
            let Some([first, second, rest @ ..]) = row.filter(|_| row != last) else { continue };
            last = row;
            if let Some(count) = counts.get_mut(pair(first, second)) {
                *count += 1;
            }
            // Never ahead of what is still to be read: rows become shorter.
            if let Some(to) = bytes.get_mut(kept..).and_then(<[u8]>::first_chunk_mut::<ROW>) {
                *to = rest;
            }
            kept += ROW;
        }
        bytes.truncate(kept);
        bytes.shrink_to_fit();
        let ends = counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        Rows { starts: std::iter::once(0).chain(ends).collect(), bytes }
    }
}

/// The sorted table.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// The number of the first row of each pair of first bytes, and the number of rows.
    starts: Vec<usize>,
}

impl Rows {
    pub(super) const fn len(&self) -> usize {
        self.bytes.len() / ROW
    }

    /// The rows of a blob: their numbers, and the places.
    pub(super) fn of(&self, key: Key) -> impl Iterator<Item = (usize, Place)> {
        let [first, second, rest @ ..] = key;
        let range = self.range(pair(first, second));
        let rows = self.all().get(range.clone()).unwrap_or_default();
        let before = rows.partition_point(|row| rest_of(row) < rest);
        let same = rows.iter().skip(before).take_while(move |row| rest_of(row) == rest);
        same.zip(range.start + before..).map(|(row, number)| (number, place_of(row)))
    }

    /// Every blob: what stands for its id, the number of its first row, and its places.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Key, usize, Vec<Place>)> {
        (0..=u8::MAX).flat_map(|first| (0..=u8::MAX).map(move |second| (first, second))).flat_map(
            move |(first, second)| {
                let range = self.range(pair(first, second));
                let mut at = range.start;
                let rows = self.all().get(range).unwrap_or_default();
                rows.chunk_by(|a, b| rest_of(a) == rest_of(b)).map(move |same| {
                    let number = at;
                    at += same.len();
                    let [c, d, e, f] = same.first().map(rest_of).unwrap_or_default();
                    ([first, second, c, d, e, f], number, same.iter().map(place_of).collect())
                })
            },
        )
    }

    fn all(&self) -> &[[u8; ROW]] {
        self.bytes.as_chunks().0
    }

    fn range(&self, pair: usize) -> Range<usize> {
        let start = |pair: usize| self.starts.get(pair).copied().unwrap_or(0);
        start(pair)..start(pair + 1)
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(u16::from_be_bytes([first, second]))
}

fn rest_of(row: &[u8; ROW]) -> [u8; 4] {
    row.first_chunk().copied().unwrap_or_default()
}

fn place_of(row: &[u8; ROW]) -> Place {
    let number = |at: usize| row.iter().skip(at).take(3).fold(0, |number, byte| number << 8 | u32::from(*byte));
    Place { pack: number(4), len: number(7) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map, with keys that share their first bytes, their last, and all.
        #[test]
        fn rows_are_those_of_a_map(
            rows in prop::collection::vec((0u8..3, 0u8..3, 0u8..4, 0u32..1 << 24, 0u32..1 << 24), 0..400),
            repeated in 0usize..50,
        ) {
            let key = |first: u8, middle: u8, last: u8| [first * 127, middle * 85, 0, middle, 7, last * 80];
            let mut table = Unsorted::with_capacity(0);
            let mut map: BTreeMap<Key, BTreeSet<(u32, u32)>> = BTreeMap::new();
            for (a, b, c, pack, len) in rows.iter().chain(rows.iter().take(repeated)) {
                table.push(key(*a, *b, *c), Place { pack: *pack, len: *len });
                map.entry(key(*a, *b, *c)).or_default().insert((*pack, *len));
            }
            let table = table.sort();
            prop_assert_eq!(table.len(), map.values().map(BTreeSet::len).sum::<usize>());
            let mut number = 0;
            let mut groups = table.groups();
            for (key, expected) in &map {
                let (found, first, places) = groups.next().unwrap();
                prop_assert_eq!((found, first), (*key, number));
                let expected: Vec<Place> = expected.iter().map(|(pack, len)| Place { pack: *pack, len: *len }).collect();
                prop_assert_eq!(&places, &expected);
                let numbered: Vec<(usize, Place)> = expected.into_iter().enumerate().map(|(n, place)| (number + n, place)).collect();
                prop_assert_eq!(table.of(*key).collect::<Vec<_>>(), numbered);
                number += places.len();
            }
            prop_assert!(groups.next().is_none());
            prop_assert_eq!(table.of([1, 1, 1, 1, 1, 1]).count(), 0);
        }
    }
}
