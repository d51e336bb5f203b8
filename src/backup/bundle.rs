//! Small files ride in bundles: blobs that hold many of them. Spec: `docs/format.md` section 8.

use std::collections::HashMap;

use crate::id::ContentHash;

/// A bundle may end from here on.
const BUNDLE_MIN: usize = 256 << 10;
/// And ends here.
const BUNDLE_MAX: usize = 1 << 20;
/// How much more a bundle takes on average once it may end.
const BUNDLE_MORE: u64 = 256 << 10;
/// Files that are remembered to find copies of them: twice as many at most, about 60 bytes each.
const REMEMBERED: usize = 100_000;

/// Where a small file was put: number of the bundle in this run, and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) bundle: u64,
    pub(super) offset: u32,
}

/// The bundle being filled, and what was put where.
#[derive(Debug, Default)]
pub(super) struct Bundler {
    number: u64,
    bytes: Vec<u8>,
    young: HashMap<ContentHash, Slice>,
    old: HashMap<ContentHash, Slice>,
}

impl Bundler {
    /// Puts a file's content into a bundle, unless a file with the same content was put into one not long ago. Returns where it is and, when this
    /// filled the bundle, the bundle.
    pub(super) fn add(&mut self, content: &[u8], hash: ContentHash) -> (Slice, Option<(u64, Vec<u8>)>) {
        if let Some(slice) = self.young.get(&hash).or_else(|| self.old.get(&hash)) {
            return (*slice, None);
        }
        if self.bytes.is_empty() {
            self.bytes.reserve_exact(BUNDLE_MAX + content.len());
        }
        let slice = Slice { bundle: self.number, offset: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX) };
        self.bytes.extend_from_slice(content);
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, slice);
        let full =
            self.bytes.len() >= BUNDLE_MAX || (self.bytes.len() >= BUNDLE_MIN && ends_here(content.len() as u64, hash));
        (slice, if full { self.close() } else { None })
    }

    /// The open bundle, if it holds anything.
    pub(super) fn close(&mut self) -> Option<(u64, Vec<u8>)> {
        if self.bytes.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let number = self.number;
        self.number += 1;
        Some((number, bytes))
    }
}

/// A larger file ends a bundle more often, so that a byte counts the same in files of all sizes.
fn ends_here(size: u64, hash: ContentHash) -> bool {
    let value = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    u128::from(value) * u128::from(BUNDLE_MORE) < u128::from(size) << 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> ContentHash {
        let hash = blake3::hash(&n.to_le_bytes());
        ContentHash::new(*hash.as_bytes().first_chunk().unwrap())
    }

    #[test]
    fn bundles_keep_their_bounds_and_the_same_files_make_the_same_bundles() {
        let run = |skip: u64| {
            let mut bundler = Bundler::default();
            let mut full = Vec::new();
            for n in skip..2000 {
                full.extend(bundler.add(&vec![u8::try_from(n % 251).unwrap(); 3000], hash(n)).1);
            }
            full.extend(bundler.close());
            full
        };
        let (all, rest) = (run(0), run(100));
        for (_, bytes) in &all[..all.len() - 1] {
            assert!((BUNDLE_MIN..BUNDLE_MAX + 3000).contains(&bytes.len()));
        }
        let same = rest.iter().filter(|(_, bytes)| all.iter().any(|(_, other)| other == bytes)).count();
        assert!(same + 3 >= rest.len(), "{same} of {}", rest.len());
    }

    #[test]
    fn a_copy_of_a_file_takes_no_room() {
        let mut bundler = Bundler::default();
        let first = bundler.add(b"content", hash(1)).0;
        assert_ne!(bundler.add(b"another", hash(2)).0, first);
        assert_eq!(bundler.add(b"content", hash(1)).0, first);
        assert_eq!(bundler.close().unwrap().1, b"contentanother");
    }
}
