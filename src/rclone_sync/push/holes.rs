//! Makes sure that the holes of a file are holes: some file systems have called data a hole that was not on the disk yet.

use crate::catalog::Extent;

/// Extents kept of one file; one with more is pushed as if it had no holes (a record of the manifest has a bound).
const EXTENTS_KEPT: usize = 50_000;

/// Where the data of a file lies, as the file system says, until its bytes say something else.
pub(super) struct Holes {
    extents: Option<Vec<Extent>>,
    at: u64,
    /// The first extent that does not end before `at`.
    next: usize,
}

impl Holes {
    pub(super) fn new(extents: Option<Vec<Extent>>) -> Self {
        Self { extents: extents.filter(|extents| extents.len() <= EXTENTS_KEPT), at: 0, next: 0 }
    }

    /// Takes the next bytes of the file, holes included.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while let Some(extents) = self.extents.as_ref().filter(|_| !bytes.is_empty()) {
            let extent = extents.get(self.next);
            if extent.is_some_and(|extent| extent.offset + extent.len <= self.at) {
                self.next += 1;
                continue;
            }
            let is_data = extent.is_some_and(|extent| extent.offset <= self.at);
            let end =
                extent.map_or(u64::MAX, |extent| if is_data { extent.offset + extent.len } else { extent.offset });
            let len = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(bytes.len());
            let (head, rest) = bytes.split_at(len);
            if !is_data && head.iter().any(|byte| *byte != 0) {
                self.extents = None;
                return;
            }
            self.at += len as u64;
            bytes = rest;
        }
    }

    /// The extents, if all bytes outside of them were zero.
    pub(super) fn finish(self) -> Option<Vec<Extent>> {
        self.extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_outside_the_extents_makes_them_void() {
        let extents = vec![Extent { offset: 10, len: 5 }, Extent { offset: 20, len: 5 }];
        let mut bytes = [0; 40];
        bytes[10..15].fill(1);
        bytes[20..25].fill(2);
        let seen = |bytes: &[u8]| {
            let mut holes = Holes::new(Some(extents.clone()));
            bytes.chunks(7).for_each(|some| holes.see(some));
            holes.finish()
        };
        assert_eq!(seen(&bytes), Some(extents.clone()));
        for place in [0, 9, 15, 19, 25, 39] {
            bytes[place] = 1;
            assert_eq!(seen(&bytes), None, "{place}");
            bytes[place] = 0;
        }
    }
}
