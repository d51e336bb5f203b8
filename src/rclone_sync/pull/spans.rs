//! Which ranges of an object are asked for: all of it in pieces, or the data of a file with holes, near pieces together.

use std::ops::Range;

use crate::catalog::{Extent, FileNode};

/// Largest range of one request: 8 MiB take 70 ms on a link of 1 Gbit/s, so that a round trip costs little beside.
pub(super) const SPAN_MAX: u64 = 8 << 20;
/// Holes shorter than this are read over: about what a link moves in one round trip.
pub(super) const GAP_MAX: u64 = 256 << 10;

/// A range of an object, and the data in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) range: Range<u64>,
    pub(super) pieces: Vec<Extent>,
}

impl Span {
    pub(super) fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

/// The data of a file, in order.
pub(super) fn whole_file(file: &FileNode) -> impl Iterator<Item = Extent> + '_ {
    let whole = file.extents.is_none().then_some(Extent { offset: 0, len: file.size });
    file.extents.as_deref().unwrap_or_default().iter().copied().chain(whole)
}

/// The data of a file within `range`.
pub(super) fn clip(file: &FileNode, range: Extent) -> impl Iterator<Item = Extent> + '_ {
    let end = range.offset.saturating_add(range.len);
    let ends_before = |piece: &Extent| piece.offset.saturating_add(piece.len) <= range.offset;
    let before = file.extents.as_deref().unwrap_or_default().partition_point(ends_before);
    whole_file(file).skip(before).take_while(move |piece| piece.offset < end).filter_map(move |piece| {
        let from = piece.offset.max(range.offset);
        let to = piece.offset.saturating_add(piece.len).min(end);
        (from < to).then(|| Extent { offset: from, len: to - from })
    })
}

/// What is asked for to have all `pieces`, which are in order and apart: one span at a time.
pub(super) fn spans(pieces: impl Iterator<Item = Extent>) -> impl Iterator<Item = Span> {
    let mut pieces = pieces.flat_map(cut).filter(|piece| piece.len > 0).peekable();
    std::iter::from_fn(move || {
        let first = pieces.next()?;
        let mut span = Span { range: first.offset..first.offset + first.len, pieces: vec![first] };
        while let Some(next) = pieces.next_if(|next| {
            next.offset - span.range.end <= GAP_MAX && next.offset + next.len - span.range.start <= SPAN_MAX
        }) {
            span.range.end = next.offset + next.len;
            span.pieces.push(next);
        }
        Some(span)
    })
}

/// Cuts a long extent at multiples of [`SPAN_MAX`] from its start.
fn cut(extent: Extent) -> impl Iterator<Item = Extent> {
    let count = extent.len.div_ceil(SPAN_MAX);
    (0..count).map(move |number| {
        let from = number * SPAN_MAX;
        Extent { offset: extent.offset + from, len: SPAN_MAX.min(extent.len - from) }
    })
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

    fn ranges(file: &FileNode) -> Vec<Range<u64>> {
        spans(whole_file(file)).map(|span| span.range).collect()
    }

    #[test]
    fn a_file_is_asked_for_in_pieces_and_its_holes_are_not_asked_for() {
        const M: u64 = 1 << 20;
        assert_eq!(ranges(&file(0, None)), []);
        assert_eq!(ranges(&file(9 * M, None)), [0..8 * M, 8 * M..9 * M]);
        assert_eq!(ranges(&file(17 * M, None)), [0..8 * M, 8 * M..16 * M, 16 * M..17 * M]);
        assert_eq!(ranges(&file(100 * M, Some(&[]))), []);
        let sparse = file(100 * M, Some(&[(0, 5000), (200_000, 10), (50 * M, 9 * M), (60 * M, 1)]));
        assert_eq!(ranges(&sparse), [0..200_010, 50 * M..58 * M, 58 * M..59 * M, 60 * M..60 * M + 1]);
        assert_eq!(spans(whole_file(&sparse)).next().expect("a span").pieces.len(), 2);
        let clipped: Vec<_> =
            clip(&sparse, Extent { offset: 100, len: 200_000 }).map(|piece| (piece.offset, piece.len)).collect();
        assert_eq!(clipped, [(100, 4900), (200_000, 10)]);
    }
}
