//! The names in one directory, sorted, in few allocations.

use std::os::fd::BorrowedFd;

use rustix::fs::RawDir;
use rustix::io::{Errno, Result};

/// Buffer for one `getdents`: a directory of a few hundred names takes one call for all of them.
pub(super) const READ_BUFFER: usize = 128 << 10;

/// Names of a directory in byte order. Costs the bytes of the names and 16 bytes each: about 40 bytes per name, so that
/// a directory of five million entries is listed in about 200 MB.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    index: Vec<NameRef>,
}

/// Where a name lies. The first eight bytes are kept beside it, because most comparisons end there.
#[derive(Debug, Clone, Copy)]
struct NameRef {
    prefix: u64,
    start: u32,
    len: u16,
}

impl Names {
    /// Reads all names of `dir` but `.` and `..`. `buffer` is reused between calls.
    pub(super) fn read(dir: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> Result<Self> {
        buffer.clear();
        buffer.reserve(READ_BUFFER);
        let mut names = Self::default();
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name)?;
            }
        }
        names.sort();
        Ok(names)
    }

    fn push(&mut self, name: &[u8]) -> Result<()> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        let len = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        self.bytes.extend_from_slice(name);
        let mut prefix = [0; 8];
        for (to, from) in prefix.iter_mut().zip(name) {
            *to = *from;
        }
        self.index.push(NameRef { prefix: u64::from_be_bytes(prefix), start, len });
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.index.sort_unstable_by(|left, right| {
            left.prefix.cmp(&right.prefix).then_with(|| name_in(bytes, left).cmp(name_in(bytes, right)))
        });
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The names from `from`, at most `count` of them, in order.
    pub(super) fn range(&self, from: usize, count: usize) -> impl Iterator<Item = &[u8]> {
        self.index.iter().skip(from).take(count).map(|name| name_in(&self.bytes, name))
    }

    /// Whether `name` is there.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.index.binary_search_by(|at| name_in(&self.bytes, at).cmp(name)).is_ok()
    }

    /// Keeps only the names that `keep` wants.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let bytes = &self.bytes;
        self.index.retain(|name| keep(name_in(bytes, name)));
    }
}

fn name_in<'a>(bytes: &'a [u8], name: &NameRef) -> &'a [u8] {
    let start = usize::try_from(name.start).unwrap_or(usize::MAX);
    bytes.get(start..start.saturating_add(usize::from(name.len))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_bytes_also_when_they_share_their_first_eight() {
        let mut names = Names::default();
        let words: [&[u8]; 8] = [b"abcdefgh2", b"abcdefgh", b"abcdefgh10", b"b", b"a", b"\xff\xfe", b"a\n", b"abcdefg"];
        for word in words {
            names.push(word).expect("short name");
        }
        names.sort();
        let mut expected = words;
        expected.sort_unstable();
        assert_eq!(names.range(0, 99).collect::<Vec<_>>(), expected);
        assert!(names.contains(b"abcdefgh10") && !names.contains(b"abcdefgh1"));
        names.retain(|name| name.starts_with(b"a"));
        assert_eq!(names.len(), 6);
        assert_eq!(names.range(1, 1).collect::<Vec<_>>(), [b"a\n"]);
    }
}
