//! Where a piece of a file is nothing but zeros.

use std::ops::Range;

/// Holes start and end at multiples of this: the block size of nearly every file system.
const BLOCK: usize = 4096;

/// Shortest run of zeros that becomes a hole. Below, the extents of the file cost more than the blocks.
const HOLE_MIN: usize = 16 << 10;

/// A piece of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run {
    Data(Range<usize>),
    Zeros(Range<usize>),
}

/// Cuts `data`, which is to stand at `offset` of a file, into data and runs of zeros worth a hole.
pub(super) fn runs(data: &[u8], offset: u64) -> Vec<Run> {
    let mut runs = Vec::new();
    let (mut data_from, mut at) = (0, first_block(offset).min(data.len()));
    while at < data.len() {
        let zeros = zero_blocks(data.get(at..).unwrap_or_default());
        if zeros >= HOLE_MIN {
            if at > data_from {
                runs.push(Run::Data(data_from..at));
            }
            runs.push(Run::Zeros(at..at + zeros));
            data_from = at + zeros;
        }
        at += zeros.max(BLOCK);
    }
    if data_from < data.len() {
        runs.push(Run::Data(data_from..data.len()));
    }
    runs
}

/// How far it is from `offset` to the next block.
fn first_block(offset: u64) -> usize {
    let block = u64::try_from(BLOCK).unwrap_or(1);
    usize::try_from(offset.next_multiple_of(block) - offset).unwrap_or(0)
}

/// Bytes of whole blocks of zeros at the start of `data`.
fn zero_blocks(data: &[u8]) -> usize {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    data.chunks_exact(BLOCK).take_while(|block| *block == ZEROS.as_slice()).count() * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_cut_out_at_block_boundaries_of_the_file() {
        let mut data = vec![0; 64 << 10];
        assert_eq!(runs(&data, 0), [Run::Zeros(0..65536)]);
        assert_eq!(
            runs(&data, 1),
            [Run::Data(0..4095), Run::Zeros(4095..61440 + 4095), Run::Data(61440 + 4095..65536)]
        );
        data[0] = 1;
        data[40_000] = 1;
        assert_eq!(
            runs(&data, 8192),
            [Run::Data(0..4096), Run::Zeros(4096..36864), Run::Data(36864..40960), Run::Zeros(40960..65536)]
        );
        assert_eq!(runs(&data[..10], 0), [Run::Data(0..10)]);
        assert_eq!(runs(&[0; 8192], 0), [Run::Data(0..8192)]);
        assert_eq!(runs(&[], 5), []);
    }
}
