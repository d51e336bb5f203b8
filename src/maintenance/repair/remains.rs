//! What remains of a file when some of its content is lost: the lost parts become holes, so that all else stays at its place, and the file is
//! marked as incomplete.

use crate::catalog::{BlobRef, Extent, FileNode};

/// A part of a file's content, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// It is in this blob.
    Here(BlobRef),
    /// So many bytes are lost; `None`: as many as the others leave.
    Lost(Option<u64>),
}

/// The chunks that are left of a file, and where they belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remains {
    pub(super) chunks: Vec<BlobRef>,
    pub(super) extents: Vec<Extent>,
    /// Bytes that are lost.
    pub(super) lost: u64,
}

/// What is left of a file whose content was in `pieces`; `None` when all of it is there. Pieces that do not add up to the content count as lost.
pub(super) fn remains(file: &FileNode, pieces: &[Piece]) -> Option<Remains> {
    let len = file.content_len().unwrap_or(0);
    let sized = sized(pieces, len);
    let pieces = match &sized {
        Some(sized) if sized.iter().all(|(_, blob)| blob.is_some()) => return None,
        Some(sized) => sized.as_slice(),
        None => &[],
    };
    let whole = [Extent { offset: 0, len: file.size }];
    let mut places = Places { extents: file.extents.as_deref().unwrap_or(&whole), used: 0 };
    let mut remains = Remains { chunks: Vec::new(), extents: Vec::new(), lost: len };
    for (len, blob) in pieces {
        match blob {
            None => places.skip(*len),
            Some(blob) => {
                remains.chunks.push(*blob);
                remains.lost -= len;
                places.take(*len, &mut remains.extents);
            }
        }
    }
    Some(remains)
}

/// All pieces with their lengths; `None` when they do not add up. Where several lengths are unknown, all between the first and the last of them is lost.
fn sized(pieces: &[Piece], len: u64) -> Option<Vec<(u64, Option<BlobRef>)>> {
    let size = |piece: &Piece| match piece {
        Piece::Here(blob) => Some((u64::from(blob.raw_len), Some(*blob))),
        Piece::Lost(len) => len.map(|len| (len, None)),
    };
    let sum = |pieces: &[(u64, Option<BlobRef>)]| pieces.iter().try_fold(0u64, |sum, (len, _)| sum.checked_add(*len));
    let first = pieces.iter().position(|piece| *piece == Piece::Lost(None)).unwrap_or(pieces.len());
    let after = pieces.iter().rposition(|piece| *piece == Piece::Lost(None)).map_or(pieces.len(), |last| last + 1);
    let mut sized: Vec<_> = pieces.iter().take(first).filter_map(size).collect();
    let behind: Vec<_> = pieces.iter().skip(after).filter_map(size).collect();
    let between = len.checked_sub(sum(&sized)?.checked_add(sum(&behind)?)?)?;
    match (first < pieces.len(), between) {
        (false, 0) => {}
        (true, between) if between > 0 => sized.push((between, None)),
        (_, _) => return None,
    }
    sized.extend(behind);
    Some(sized)
}

/// Where in the file the next bytes of its content belong.
struct Places<'e> {
    extents: &'e [Extent],
    /// Bytes of the first extent that are used up.
    used: u64,
}

impl Places<'_> {
    fn skip(&mut self, len: u64) {
        self.take(len, &mut Vec::new());
    }

    /// Adds the places of the next `len` bytes; what touches the last one is joined with it.
    fn take(&mut self, mut len: u64, into: &mut Vec<Extent>) {
        while len > 0 {
            let Some((extent, rest)) = self.extents.split_first() else { return };
            let part = len.min(extent.len - self.used);
            let offset = extent.offset + self.used;
            match into.last_mut().filter(|last| last.offset + last.len == offset) {
                Some(last) => last.len += part,
                None => into.push(Extent { offset, len: part }),
            }
            self.used += part;
            len -= part;
            if self.used == extent.len {
                (self.extents, self.used) = (rest, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Content;
    use crate::id::BlobId;

    fn blob(raw_len: u32) -> BlobRef {
        BlobRef { id: BlobId::new([1; 32]), raw_len }
    }

    fn here(raw_len: u32) -> Piece {
        Piece::Here(blob(raw_len))
    }

    fn left(size: u64, extents: Option<&[(u64, u64)]>, pieces: &[Piece]) -> Option<(Vec<(u64, u64)>, u64)> {
        let extents =
            extents.map(|list| list.iter().map(|(offset, len)| Extent { offset: *offset, len: *len }).collect());
        let file = FileNode { size, content: Content::Empty, extents, incomplete: false };
        let remains = remains(&file, pieces)?;
        let content: u64 = remains.chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum();
        assert_eq!(content, remains.extents.iter().map(|extent| extent.len).sum::<u64>());
        Some((remains.extents.iter().map(|extent| (extent.offset, extent.len)).collect(), remains.lost))
    }

    #[test]
    fn what_is_left_stays_at_its_place() {
        let lost = |len| Piece::Lost(Some(len));
        let gone = Piece::Lost(None);
        for (pieces, expected) in [
            (vec![here(4), here(6)], None),
            (vec![lost(4), here(6)], Some((vec![(4, 6)], 4))),
            (vec![here(2), lost(3), here(1), here(4)], Some((vec![(0, 2), (5, 5)], 3))),
            (vec![here(2), gone, here(4)], Some((vec![(0, 2), (6, 4)], 4))),
            (vec![here(2), gone, here(1), gone, here(4)], Some((vec![(0, 2), (6, 4)], 4))),
            (vec![gone], Some((vec![], 10))),
            // What does not add up could be anywhere.
            (vec![here(2), lost(3)], Some((vec![], 10))),
            (vec![here(9), gone, here(4)], Some((vec![], 10))),
            (vec![here(6), gone, here(4)], Some((vec![], 10))),
        ] {
            assert_eq!(left(10, None, &pieces), expected, "{pieces:?}");
        }
    }

    #[test]
    fn holes_stay_holes_and_grow() {
        let sparse: &[(u64, u64)] = &[(10, 4), (20, 6)];
        assert_eq!(left(100, Some(sparse), &[here(4), here(6)]), None);
        let lost = Piece::Lost(Some(3));
        assert_eq!(left(100, Some(sparse), &[here(3), lost, here(4)]), Some((vec![(10, 3), (22, 4)], 3)));
        assert_eq!(left(100, Some(sparse), &[lost, here(7)]), Some((vec![(13, 1), (20, 6)], 3)));
    }
}
