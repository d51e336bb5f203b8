//! How a big file is put together of what the store has and of what it has not. Pure.

use super::super::blocks::{Block, Run};

/// S3 takes no smaller part but the last.
const PART_MIN: u64 = 5 << 20;
/// Bytes of a part that is sent, for files up to 70 GiB: a part in flight is in memory, and the smallest share of a destination has room for two.
pub(super) const PART: u64 = 8 << 20;
/// Bytes of a part between copies: half of one that is longer is still a part.
pub(super) const PIECE_MAX: u64 = 2 * PART_MIN;
/// Largest part that is copied; S3 copies 5 GiB.
const COPY_MAX: u64 = 4 << 30;
/// S3 takes no more parts.
const PARTS_MAX: usize = 10_000;

/// A part of the new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where in the new file it starts.
    pub(super) at: u64,
    pub(super) len: u64,
    /// Where in the old object the same bytes are; none for bytes that have to be sent.
    pub(super) old: Option<u64>,
}

/// The size of the parts of a file that is sent as a whole.
pub(super) fn part_size(size: u64) -> u64 {
    // A thousand parts are kept in reserve: the file may grow while it is read.
    let least = size.div_ceil(9000).next_multiple_of(1 << 20);
    least.max(PART)
}

/// The parts that make a file of `runs`, or none if it is better sent as a whole: three quarters of it would have to be sent anyway, or it
/// would be too many parts. A short piece between others is sent with as much of its neighbour as makes it a part.
pub(super) fn pieces(runs: &[Run], size: u64) -> Option<Vec<Piece>> {
    let mut joined: Vec<Piece> = Vec::new();
    for run in runs {
        add(&mut joined, Piece { at: run.at, len: run.len, old: run.old });
    }
    let sent: u64 = joined.iter().filter(|piece| piece.old.is_none()).map(|piece| piece.len).sum();
    if sent.saturating_mul(4) > size.saturating_mul(3) {
        return None;
    }
    let parts: Vec<Piece> = joined.iter().flat_map(split).collect();
    (parts.len() <= PARTS_MAX && !parts.is_empty()).then_some(parts)
}

/// Adds a run so that all pieces but the last stay long enough.
fn add(joined: &mut Vec<Piece>, mut next: Piece) {
    if let Some(last) = joined.last_mut() {
        if last.old.is_none() && next.old.is_none() {
            last.len += next.len;
            return;
        }
        if last.len < PART_MIN {
            // It is followed by something, so it must become a part: by what is copied so far being sent instead, or by a bite of the next.
            last.old = None;
            let bite = (PART_MIN - last.len).min(next.len);
            last.len += bite;
            next = Piece { at: next.at + bite, len: next.len - bite, old: next.old.map(|old| old + bite) };
            if next.old.is_none() {
                last.len += next.len;
                next.len = 0;
            }
            let whole = *last;
            joined.pop();
            if next.len == 0 {
                return add(joined, whole);
            }
            add(joined, whole);
        }
    }
    joined.push(next);
}

/// Parts of about the same length, none of them too long.
fn split(piece: &Piece) -> impl Iterator<Item = Piece> + use<> {
    let piece = *piece;
    let most = if piece.old.is_some() { COPY_MAX } else { PIECE_MAX };
    let count = piece.len.div_ceil(most).max(1);
    let each = piece.len.div_ceil(count);
    (0..count).map(move |number| {
        let skip = number * each;
        Piece { at: piece.at + skip, len: each.min(piece.len - skip), old: piece.old.map(|old| old + skip) }
    })
}

/// Hashes the blocks of a piece once more as it is sent, all that lie in it as a whole.
pub(super) struct Again<'a> {
    blocks: std::slice::Iter<'a, Block>,
    /// Bytes before the next block.
    skip: u64,
    /// Bytes of the piece that are still to come.
    left: u64,
    open: Option<(&'a Block, blake3::Hasher, u64)>,
}

impl<'a> Again<'a> {
    /// `blocks` are those of the whole file.
    pub(super) fn of(piece: &Piece, blocks: &'a [Block]) -> Self {
        let mut start = 0;
        let mut rest = blocks.iter();
        while start < piece.at
            && let Some(block) = rest.next()
        {
            start += u64::from(block.len);
        }
        Self { blocks: rest, skip: start.saturating_sub(piece.at), left: piece.len, open: None }
    }

    /// Takes the next bytes; `false` when a block is not what it was.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.pass(skipped as u64);
            self.skip -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.open.is_none() {
                // One that reaches beyond the piece is hashed nowhere.
                let next = self.blocks.next().filter(|block| u64::from(block.len) <= self.left);
                let Some(block) = next else {
                    self.skip = u64::MAX;
                    self.pass(bytes.len() as u64);
                    return true;
                };
                self.open = Some((block, blake3::Hasher::new(), u64::from(block.len)));
            }
            let Some((block, hasher, missing)) = &mut self.open else { return true };
            let taken = usize::try_from(*missing).unwrap_or(usize::MAX).min(bytes.len());
            hasher.update(bytes.get(..taken).unwrap_or_default());
            *missing -= taken as u64;
            if *missing == 0 {
                if !hasher.finalize().as_bytes().starts_with(&block.hash) {
                    return false;
                }
                self.open = None;
            }
            self.pass(taken as u64);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        true
    }

    fn pass(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn runs(spec: &[(u64, Option<u64>)]) -> (Vec<Run>, u64) {
        let mut at = 0;
        let runs = spec.iter().map(|(len, old)| {
            at += len;
            Run { at: at - len, len: *len, old: *old }
        });
        let runs = runs.collect();
        (runs, at)
    }

    fn check(parts: &[Piece], runs: &[Run], size: u64) {
        let mut at = 0;
        for (number, part) in parts.iter().enumerate() {
            assert_eq!(part.at, at);
            at += part.len;
            assert!(number + 1 == parts.len() || part.len >= PART_MIN, "{parts:?}");
            assert!(part.len <= if part.old.is_some() { COPY_MAX } else { PIECE_MAX });
            if let Some(old) = part.old {
                // What is copied is what the runs say, byte by byte at both ends.
                for place in [part.at, part.at + part.len - 1] {
                    let run = runs.iter().find(|run| (run.at..run.at + run.len).contains(&place)).expect("a run");
                    assert_eq!(run.old.map(|start| start + (place - run.at)), Some(old + (place - part.at)));
                }
            }
        }
        assert_eq!(at, size);
    }

    #[test]
    fn one_changed_block_of_a_large_file_is_one_small_part_between_copies() {
        let (runs, size) =
            runs(&[(5000 * MIB, Some(0)), (300 << 10, None), (5000 * MIB, Some(5000 * MIB + (300 << 10)))]);
        let parts = pieces(&runs, size).expect("a plan");
        check(&parts, &runs, size);
        let sent: u64 = parts.iter().filter(|part| part.old.is_none()).map(|part| part.len).sum();
        assert_eq!((sent, parts.len()), (PART_MIN, 5));
    }

    #[test]
    fn a_file_of_which_little_is_there_is_sent_as_a_whole() {
        let (runs, size) = runs(&[(10 * MIB, Some(0)), (90 * MIB, None)]);
        assert_eq!(pieces(&runs, size), None);
        assert_eq!(part_size(10 * MIB), PART);
        assert!(part_size(1 << 40).is_multiple_of(MIB) && (1_u64 << 40).div_ceil(part_size(1 << 40)) <= 9000);
    }

    #[test]
    fn a_piece_that_is_not_what_was_hashed_is_noticed() {
        let bytes: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let blocks: Vec<Block> = bytes.chunks(1000).map(|block| Block::of(block).expect("a block")).collect();
        let piece = Piece { at: 1500, len: 7000, old: None };
        let sees = |bytes: &[u8]| {
            let mut again = Again::of(&piece, &blocks);
            bytes.chunks(333).all(|some| again.see(some))
        };
        let mut part = bytes[1500..8500].to_vec();
        assert!(sees(&part));
        for (place, is_seen) in [(100, false), (500, true), (3000, true), (6499, true), (6500, false)] {
            part[place] ^= 1;
            assert_eq!(!sees(&part), is_seen, "{place}");
            part[place] ^= 1;
        }
    }

    proptest! {
        #[test]
        fn parts_cover_the_file_and_keep_the_rules(spec in prop::collection::vec((1u64..(40 << 20), any::<bool>()), 1..12)) {
            let mut old = 7;
            let spec: Vec<_> = spec.into_iter().map(|(len, has)| {
                old += len + 3;
                (len, has.then_some(old - len))
            }).collect();
            let (runs, size) = runs(&spec);
            if let Some(parts) = pieces(&runs, size) {
                check(&parts, &runs, size);
            }
        }
    }
}
