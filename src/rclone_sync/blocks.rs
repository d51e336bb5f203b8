//! Block lists: the content-defined blocks of a big file, by which a push finds what the store has already, and a pull what the disk has already.
//!
//! Cut by the chunker with a table that everybody knows: a mirror hides nothing from its store. A block list only ever saves work: what is put
//! together with one is checked against the hash of the whole file. Spec: `docs/mirror.md` section 5.

use std::io::Read;

use crate::catalog::wire::{Reader, put_varint};
use crate::chunker::{Chunker, Params};
use crate::error::{Error, Result};
use crate::id::ObjectHash;

use super::memory::zeros;

/// Files from this size on have a block list: below it, a transfer of the whole costs about as much as finding out what changed.
pub const FILE_MIN: u64 = 8 << 20;
/// Most blocks of a list, 20 bytes each in memory.
const BLOCKS_MAX: usize = 1 << 20;
/// Largest file with a list: half of its blocks may be half as long as the average.
const FILE_MAX: u64 = 512 << 30;
/// Sizes of files up to which blocks have this average. Lists of 4 MiB at most but for the largest files.
const AVERAGES: [(u64, u32); 3] = [(64 << 30, 256 << 10), (128 << 30, 512 << 10), (FILE_MAX, 1 << 20)];

/// First bytes of a block list.
const MAGIC: &[u8; 8] = b"vvblks1\n";
/// The hash of all bytes before it ends a block list.
const SEAL: usize = 32;
/// Most bytes that one block takes in a list: its length and its hash.
const ROW_MAX: usize = 4 + Block::HASH;
/// Most bytes that a list expands to.
const RAW_MAX: usize = 16 + BLOCKS_MAX * ROW_MAX;
/// Largest object; readers refuse more.
pub const BLOCKS_OBJECT_MAX: u64 = (RAW_MAX + (1 << 20)) as u64;

/// A block: its length, and the first 16 bytes of the BLAKE3 of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The hash.
    pub hash: [u8; Block::HASH],
    /// The length, at least 1.
    pub len: u32,
}

impl Block {
    const HASH: usize = 16;

    /// The block of these bytes.
    ///
    /// # Errors
    /// `Bug` for more than 4 GiB.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let len = u32::try_from(bytes.len()).map_err(|_| Error::bug("a block of 4 GiB"))?;
        let mut hash = [0; Self::HASH];
        blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut hash);
        Ok(Self { hash, len })
    }
}

/// The blocks of a file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockList {
    average: u32,
    blocks: Vec<Block>,
}

/// What one pass over a file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Its blocks.
    pub list: BlockList,
    /// BLAKE3 of all of it.
    pub hash: ObjectHash,
    /// Its length.
    pub size: u64,
}

/// A piece of the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where in the new file it starts.
    pub at: u64,
    /// Its length.
    pub len: u64,
    /// Where in the old file the same bytes are, if they are there.
    pub old: Option<u64>,
}

/// Is told of each block of a file: where it starts, what it is, and its bytes.
pub type EachBlock<'a> = dyn FnMut(u64, &Block, &[u8]) -> Result<()> + 'a;

/// The average block of a new list of a file of `size` bytes; none if such a file has no list.
pub fn average_for(size: u64) -> Option<u32> {
    if size < FILE_MIN {
        return None;
    }
    AVERAGES.iter().find(|(max, _)| size <= *max).map(|(_, average)| *average)
}

/// Reads `read` to its end, cuts it into blocks of `average` bytes on average and hashes it, in one pass; `each` gets every block with its place
/// and its bytes, in order. An old list is only of use for a new one of the same average: pass [`BlockList::average`] of the old list, or [`average_for`].
///
/// # Errors
/// Those of `read` (`Local`) and of `each`; `Invalid` for an average that the chunker refuses and for a file of too many blocks.
pub fn cut(read: &mut dyn Read, average: u32, each: &mut EachBlock<'_>) -> Result<Cut> {
    let chunker = Chunker::new(&Params::around(average)?, gear())?;
    let (mut hasher, mut blocks, mut size) = (blake3::Hasher::new(), Vec::new(), 0u64);
    let mut buffer = zeros(2 * chunker.max());
    let (mut start, mut end, mut is_over) = (0, 0, false);
    loop {
        if !is_over && end - start < chunker.max() {
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            while !is_over && end < buffer.len() {
                let got = read_some(read, buffer.get_mut(end..).unwrap_or_default())?;
                hasher.update(buffer.get(end..end + got).unwrap_or_default());
                end += got;
                is_over = got == 0;
            }
        }
        let rest = buffer.get(start..end).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let bytes = rest.get(..chunker.cut(rest)).unwrap_or_default();
        let block = Block::of(bytes)?;
        if blocks.len() == BLOCKS_MAX {
            return Err(Error::invalid(format!("a file of more than {BLOCKS_MAX} blocks has no block list")));
        }
        each(size, &block, bytes)?;
        blocks.push(block);
        size += bytes.len() as u64;
        start += bytes.len();
    }
    let hash = ObjectHash::new(*hasher.finalize().as_bytes());
    Ok(Cut { list: BlockList { average, blocks }, hash, size })
}

/// Bytes that are in memory while a file is cut: two of the longest blocks.
pub fn cut_from(average: u32) -> u64 {
    2 * 4 * u64::from(average)
}

fn read_some(read: &mut dyn Read, into: &mut [u8]) -> Result<usize> {
    loop {
        match read.read(into) {
            Ok(got) => return Ok(got),
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => {
                return Err(Error::new(crate::error::kind_of_io(&cause), "read the content").with_source(cause));
            }
        }
    }
}

/// The table of all mirrors.
fn gear() -> Box<[u64; 256]> {
    let mut bytes = [0; 8 * 256];
    blake3::Hasher::new_derive_key("volvault mirror gear 1").finalize_xof().fill(&mut bytes);
    let mut gear = Box::new([0; 256]);
    for (entry, chunk) in gear.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *entry = u64::from_le_bytes(*chunk);
    }
    gear
}

impl BlockList {
    /// Length of a block on average.
    pub fn average(&self) -> u32 {
        self.average
    }

    /// The blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Length of the file.
    pub fn size(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.len)).sum()
    }

    /// The bytes of the object.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut raw = Vec::with_capacity(16 + self.blocks.len() * (ROW_MAX - 1));
        put_varint(&mut raw, u64::from(self.average));
        put_varint(&mut raw, self.blocks.len() as u64);
        for block in &self.blocks {
            put_varint(&mut raw, u64::from(block.len));
            raw.extend_from_slice(&block.hash);
        }
        let len = u32::try_from(raw.len()).map_err(|_| Error::bug("a block list of 4 GiB"))?;
        let frame =
            zstd::bulk::compress(&raw, 3).map_err(|cause| Error::bug("compress a block list").with_source(cause))?;
        let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + frame.len() + SEAL);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&frame);
        let seal = blake3::hash(&bytes);
        bytes.extend_from_slice(seal.as_bytes());
        Ok(bytes)
    }

    /// Reads the list of a file of `size` bytes.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are no such list.
    pub fn decode(bytes: &[u8], size: u64) -> Result<Self> {
        let corrupt = |why: &str| Error::corrupt(format!("a block list: {why}"));
        let (sealed, seal) = bytes
            .split_last_chunk::<SEAL>()
            .filter(|_| bytes.len() as u64 <= BLOCKS_OBJECT_MAX)
            .ok_or_else(|| corrupt("its length"))?;
        if blake3::hash(sealed).as_bytes() != seal {
            return Err(corrupt("its bytes do not have the hash at its end"));
        }
        let mut reader = Reader::new(sealed);
        if reader.array()? != *MAGIC {
            return Err(corrupt("it is none, or one of a later format"));
        }
        let len = usize::try_from(u32::from_le_bytes(reader.array()?)).map_err(|_| corrupt("its length"))?;
        if len > RAW_MAX {
            return Err(corrupt("it expands to too much"));
        }
        let raw = zstd::bulk::decompress(reader.take(reader.remaining())?, len)
            .map_err(|cause| corrupt("decompress it").with_source(cause))?;
        if raw.len() != len {
            return Err(corrupt("it does not have the length that it says"));
        }
        let mut reader = Reader::new(&raw);
        let average = reader.u32("average of blocks")?;
        let longest =
            u64::from(Params::around(average).map_err(|cause| corrupt("its average").with_source(cause))?.max);
        let count = reader.count(1 + Block::HASH, "blocks")?;
        if count > BLOCKS_MAX {
            return Err(corrupt("it has too many blocks"));
        }
        let (mut blocks, mut left) = (Vec::with_capacity(count), size);
        for _ in 0..count {
            let block = {
                let len = reader.u32("length of a block")?;
                Block { hash: reader.array()?, len }
            };
            if block.len == 0 || u64::from(block.len) > longest {
                return Err(corrupt("the length of a block"));
            }
            left =
                left.checked_sub(u64::from(block.len)).ok_or_else(|| corrupt("its blocks are longer than the file"))?;
            blocks.push(block);
        }
        reader.finish("a block list")?;
        if left != 0 {
            return Err(corrupt("its blocks are shorter than the file"));
        }
        Ok(Self { average, blocks })
    }

    /// The file as runs, from its start to its end: what is in `old` too, and what is not. Neighbours of the old file stay together.
    pub fn against(&self, old: &Known<'_>) -> Vec<Run> {
        let (mut runs, mut at): (Vec<Run>, u64) = (Vec::new(), 0);
        for block in &self.blocks {
            let len = u64::from(block.len);
            let after = runs.last().and_then(|run| run.old.map(|start| start + run.len));
            let found = old.find(block, after);
            match runs.last_mut() {
                Some(run) if run.old.is_none() && found.is_none() => run.len += len,
                Some(run) if run.old.is_some() && found.is_some() && found == after => run.len += len,
                _ => runs.push(Run { at, len, old: found }),
            }
            at += len;
        }
        runs
    }
}

/// The blocks of an old file, to be looked up: 16 bytes each.
#[derive(Debug)]
pub struct Known<'a> {
    list: &'a BlockList,
    /// Where each block starts.
    starts: Vec<u64>,
    /// Numbers of the blocks, sorted by block and then by place.
    sorted: Vec<u32>,
}

impl<'a> Known<'a> {
    /// Looks `list` through once.
    pub fn of(list: &'a BlockList) -> Self {
        let starts = list.blocks.iter().scan(0, |end, block| {
            let start = *end;
            *end += u64::from(block.len);
            Some(start)
        });
        let mut sorted: Vec<u32> = (0..).take(list.blocks.len()).collect();
        sorted.sort_by_key(|number| Self::block(list, *number));
        Self { list, starts: starts.collect(), sorted }
    }

    /// Where in the old file this block is: at `after`, if it is there too, else the first place of it.
    pub fn find(&self, block: &Block, after: Option<u64>) -> Option<u64> {
        let next = after.and_then(|after| self.starts.binary_search(&after).ok());
        if let Some(next) = next
            && self.list.blocks.get(next) == Some(block)
        {
            return after;
        }
        let first = self.sorted.partition_point(|number| Self::block(self.list, *number) < Some(block));
        let number = self.sorted.get(first).copied().filter(|number| Self::block(self.list, *number) == Some(block))?;
        self.starts.get(usize::try_from(number).ok()?).copied()
    }

    fn block(list: &BlockList, number: u32) -> Option<&Block> {
        list.blocks.get(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Small blocks, so that tests have many.
    const AVERAGE: u32 = 4 << 10;

    fn cut_all(bytes: &[u8]) -> Cut {
        cut(&mut &*bytes, AVERAGE, &mut |_, _, _| Ok(())).expect("cut")
    }

    /// Gives what is asked for in small and uneven pieces.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.1 = self.1 % 7919 + 100;
            let len = into.len().min(self.1);
            self.0.read(&mut into[..len])
        }
    }

    #[test]
    fn a_pass_gives_every_byte_once_and_the_hash_of_all() {
        let bytes = noise(20 << 20, 1);
        let (mut seen, mut blocks) = (Vec::new(), Vec::new());
        let cut = cut(&mut Dribble(&bytes, 0), 256 << 10, &mut |at, block, bytes| {
            assert_eq!((at, Block::of(bytes).expect("a block")), (seen.len() as u64, *block));
            seen.extend_from_slice(bytes);
            blocks.push(*block);
            Ok(())
        });
        let cut = cut.expect("cut");
        assert_eq!(seen, bytes);
        assert_eq!(cut.list.blocks(), blocks);
        assert_eq!((cut.size, cut.list.size()), (20 << 20, 20 << 20));
        assert_eq!(cut.hash.as_bytes(), blake3::hash(&bytes).as_bytes());
        assert!((55..110).contains(&blocks.len()), "{} blocks", blocks.len());
        assert_eq!(cut_all(&[]).list.blocks(), []);
    }

    /// Frozen: a change here makes every old list useless.
    #[test]
    fn the_table_and_the_cuts_are_those_of_the_page() {
        let gear = gear();
        let table = blake3::hash(gear.map(u64::to_le_bytes).as_flattened());
        let lens: Vec<u32> = cut(&mut &*noise(2 << 20, 2), 256 << 10, &mut |_, _, _| Ok(()))
            .expect("cut")
            .list
            .blocks()
            .iter()
            .map(|block| block.len)
            .collect();
        assert_eq!(table.to_hex().as_str(), "620d931a7f9ae8b0f96ac89804b335dd60bff4a7abed5d046b9f1cfe376511d3");
        assert_eq!(lens, [269_701, 565_736, 595_200, 434_469, 232_046]);
    }

    #[test]
    fn an_insertion_leaves_two_runs_around_it() {
        let old = noise(1 << 20, 3);
        let mut new = old.clone();
        new.splice(500_000..500_000, [1, 2, 3]);
        let (old_cut, new_cut) = (cut_all(&old), cut_all(&new));
        let runs = new_cut.list.against(&Known::of(&old_cut.list));
        let [before, changed, after] = runs.as_slice() else { panic!("{runs:?}") };
        assert_eq!((before.at, before.old, changed.old), (0, Some(0), None));
        assert!(before.len <= 500_000 && changed.len < 64 << 10);
        assert_eq!(after.old, Some(after.at - 3));
    }

    #[test]
    fn repeated_blocks_stay_with_their_neighbours() {
        let zeros = vec![0; 1 << 20];
        let old = [&noise(100_000, 4)[..], &zeros, &noise(100_000, 5)].concat();
        let cut = cut_all(&old);
        let runs = cut.list.against(&Known::of(&cut.list));
        assert_eq!(runs, [Run { at: 0, len: old.len() as u64, old: Some(0) }]);
    }

    #[test]
    fn averages_grow_with_the_file_until_there_is_no_list() {
        for (size, average) in [
            (FILE_MIN - 1, None),
            (FILE_MIN, Some(256 << 10)),
            (64 << 30, Some(256 << 10)),
            ((64 << 30) + 1, Some(512 << 10)),
            (512 << 30, Some(1 << 20)),
            ((512 << 30) + 1, None),
        ] {
            assert_eq!(average_for(size), average, "{size}");
        }
    }

    #[test]
    fn a_list_comes_back_and_damage_is_seen() {
        let cut = cut_all(&noise(60_000, 6));
        let bytes = cut.list.encode().expect("encoded");
        assert_eq!(BlockList::decode(&bytes, 60_000).expect("decoded"), cut.list);
        assert!(BlockList::decode(&bytes, 59_999).is_err());
        assert!(BlockList::decode(&bytes, 60_001).is_err());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(BlockList::decode(&flipped, 60_000).is_err(), "bit of byte {at}");
            assert!(BlockList::decode(&bytes[..at], 60_000).is_err(), "cut at {at}");
        }
    }

    fn sealed(raw: &[u8], announced: u32) -> Vec<u8> {
        let mut bytes =
            [MAGIC.as_slice(), &announced.to_le_bytes(), &zstd::bulk::compress(raw, 3).expect("zstd")].concat();
        let seal = blake3::hash(&bytes);
        bytes.extend_from_slice(seal.as_bytes());
        bytes
    }

    #[test]
    fn lists_that_lie_are_refused_before_they_cost_memory() {
        let zeros = |n: usize| vec![0; n];
        for (name, raw, announced) in [
            ("a bomb", zeros(RAW_MAX + 1), u32::try_from(RAW_MAX + 1).expect("fits")),
            ("another length", zeros(9), 10),
            ("a length below", zeros(9), 8),
            ("no average", zeros(9), 9),
            ("a count beyond the bytes", vec![0x80, 0x20, 0xff, 0xff, 0xff, 0x7f, 0], 7),
            ("an empty block", [&[0x80, 0x20, 1, 0][..], &zeros(16)].concat(), 20),
            ("bytes behind", [&[0x80, 0x20, 1, 5][..], &zeros(17)].concat(), 21),
        ] {
            let error = BlockList::decode(&sealed(&raw, announced), 5).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error:?}");
        }
        assert!(BlockList::decode(&sealed(&[&[0x80, 0x20, 1, 5][..], &zeros(16)].concat(), 20), 5).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn runs_put_the_new_file_together(
            edits in prop::collection::vec((0..300_000usize, 0..9_000usize, 0..9_000usize, any::<u64>()), 0..5),
        ) {
            let old = noise(300_000, 7);
            let mut new = old.clone();
            for (at, gone, come, seed) in edits {
                let at = at.min(new.len());
                let end = (at + gone).min(new.len());
                new.splice(at..end, noise(come, seed));
            }
            let (old_cut, new_cut) = (cut_all(&old), cut_all(&new));
            let mut made = Vec::new();
            for run in new_cut.list.against(&Known::of(&old_cut.list)) {
                prop_assert_eq!(run.at, made.len() as u64);
                let (from, at) = run.old.map_or((&new, run.at), |old_at| (&old, old_at));
                let at = usize::try_from(at).expect("small");
                made.extend_from_slice(&from[at..at + usize::try_from(run.len).expect("small")]);
            }
            prop_assert_eq!(made, new);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(raw in prop::collection::vec(any::<u8>(), 0..200), is_raw: bool) {
            let announced = u32::try_from(raw.len()).expect("short");
            let bytes = if is_raw { sealed(&raw, announced) } else { raw };
            let _ = BlockList::decode(&bytes, 100_000);
        }
    }
}
