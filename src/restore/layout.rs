//! Where the content of a file goes: content is the file's data extents, joined.

use crate::catalog::{Extent, FileNode};
use crate::error::Result;

/// A place in the content of a file, and the place in the file that belongs to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    extent: usize,
    within: u64,
}

/// A run of content without a hole in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Where in the file it starts.
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Cursor {
    /// The next run, of at most `max` bytes; `None` at the end of the content.
    pub(super) fn next(&mut self, file: &FileNode, max: u64) -> Option<Run> {
        let Extent { offset, len } = match &file.extents {
            Some(extents) => *extents.get(self.extent)?,
            None if self.extent == 0 => Extent { offset: 0, len: file.size },
            None => return None,
        };
        let left = len.saturating_sub(self.within);
        let run = Run { offset: offset.saturating_add(self.within), len: left.min(max) };
        if run.len == left {
            self.extent += 1;
            self.within = 0;
        } else {
            self.within += run.len;
        }
        (run.len > 0).then_some(run)
    }

    /// Goes on by `len` bytes of content.
    pub(super) fn skip(&mut self, file: &FileNode, mut len: u64) {
        while len > 0 {
            let Some(run) = self.next(file, len) else { return };
            len -= run.len;
        }
    }

    /// Hands the pieces of `data`, which stands at this place, to `take`, each with its offset in the file.
    pub(super) fn spread(
        mut self,
        file: &FileNode,
        mut data: &[u8],
        mut take: impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        while !data.is_empty() {
            let max = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let Some(run) = self.next(file, max) else { return Ok(()) };
            let (head, rest) =
                data.split_at_checked(usize::try_from(run.len).unwrap_or(usize::MAX)).unwrap_or((data, &[]));
            take(head, run.offset)?;
            data = rest;
        }
        Ok(())
    }
}

/// The holes of a file, in order.
pub(super) fn holes(file: &FileNode) -> impl Iterator<Item = Run> + '_ {
    let extents = file.extents.as_deref().unwrap_or_default();
    let ends = std::iter::once(0).chain(extents.iter().map(|extent| extent.offset.saturating_add(extent.len)));
    let starts = extents.iter().map(|extent| extent.offset).chain(std::iter::once(file.size));
    let gap = |(end, start): (u64, u64)| Run { offset: end, len: start.saturating_sub(end) };
    let any = file.extents.is_some();
    ends.zip(starts).map(gap).filter(move |run| any && run.len > 0)
}

/// Whether the file ends in a hole, so that writing its content does not give it its length.
pub(super) fn ends_in_hole(file: &FileNode) -> bool {
    let end =
        file.extents.as_deref().map(|extents| extents.last().map_or(0, |last| last.offset.saturating_add(last.len)));
    end.is_some_and(|end| end < file.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Content;

    fn file(size: u64, extents: Option<&[(u64, u64)]>) -> FileNode {
        let extents =
            extents.map(|list| list.iter().map(|(offset, len)| Extent { offset: *offset, len: *len }).collect());
        FileNode { size, content: Content::Empty, extents, incomplete: false }
    }

    #[test]
    fn content_is_spread_over_the_extents() {
        let sparse = file(100, Some(&[(10, 4), (20, 2), (50, 10)]));
        let mut pieces = Vec::new();
        let mut cursor = Cursor::default();
        cursor.skip(&sparse, 3);
        let mut keep = |data: &[u8], offset| {
            pieces.push((offset, data.to_vec()));
            Ok(())
        };
        cursor.spread(&sparse, b"abcdef", &mut keep).unwrap();
        assert_eq!(pieces, [(13, b"a".to_vec()), (20, b"bc".to_vec()), (50, b"def".to_vec())]);
        let holes: Vec<_> = holes(&sparse).map(|run| (run.offset, run.len)).collect();
        assert_eq!(holes, [(0, 10), (14, 6), (22, 28), (60, 40)]);
        assert!(ends_in_hole(&sparse));
    }

    #[test]
    fn a_file_without_extents_is_one_run_and_one_of_nothing_is_a_hole() {
        let whole = file(8, None);
        assert_eq!(Cursor::default().next(&whole, 99), Some(Run { offset: 0, len: 8 }));
        assert_eq!(holes(&whole).count(), 0);
        assert!(!ends_in_hole(&whole));
        let hole = file(8, Some(&[]));
        assert_eq!(Cursor::default().next(&hole, 99), None);
        assert_eq!(holes(&hole).collect::<Vec<_>>(), [Run { offset: 0, len: 8 }]);
        assert!(ends_in_hole(&hole));
    }
}
