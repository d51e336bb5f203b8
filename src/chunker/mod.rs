//! Cuts a byte stream into content-defined chunks: same bytes and parameters, same cuts, for ever.
//!
//! The algorithm is `FastCDC` v2020 of the crate `fastcdc` with a gear table of the repository's own: a table is what hides
//! the cut points of known files from the store (the crate's seed is one XOR and no key). Knows nothing of
//! keys, files or ids. Spec: `docs/format.md` section 8; golden cut points: `tests/golden/`.

use fastcdc::v2020;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Name of the algorithm in `config`.
pub const ALGORITHM: &str = "fastcdc-v2020";

/// Bounds that `fastcdc` itself has, and that a hostile `config` must not pass.
const SIZE_MIN: u32 = 64;
const SIZE_MAX: u32 = 8 << 20;

/// How a repository cuts. Sizes in bytes, all even: an odd one shifts every boundary in release builds of the crate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// [`ALGORITHM`].
    pub algorithm: String,
    /// Shortest chunk but the last.
    pub min: u32,
    /// Aim.
    pub avg: u32,
    /// Longest chunk.
    pub max: u32,
    /// Mask before the average is reached, 16 hex digits.
    pub mask_s: String,
    /// Mask after it.
    pub mask_l: String,
}

impl Params {
    /// Parameters around an average of `avg` bytes (a power of two from 4 KiB to 1 MiB): half of it at least, four times it at most,
    /// normalisation level 2: chunks of like size, so that an edit costs little more than an average chunk.
    ///
    /// # Errors
    /// `Invalid` for another average.
    pub fn around(avg: u32) -> Result<Self> {
        if !avg.is_power_of_two() || !(4 << 10..=1 << 20).contains(&avg) {
            return Err(Error::invalid(format!("average chunk size {avg} is not a power of two from 4 KiB to 1 MiB")));
        }
        let bits = avg.trailing_zeros() as usize;
        let mask = |bits: usize| {
            v2020::MASKS.get(bits).map(|mask| format!("{mask:016x}")).ok_or_else(|| Error::bug("chunker masks"))
        };
        Ok(Self {
            algorithm: ALGORITHM.to_owned(),
            min: avg / 2,
            avg,
            max: avg * 4,
            mask_s: mask(bits + 2)?,
            mask_l: mask(bits - 2)?,
        })
    }
}

impl Default for Params {
    /// 512 KiB on average: docs/adr/0003 has the measurements.
    fn default() -> Self {
        Self::around(512 << 10).expect("512 KiB is a power of two")
    }
}

/// Cuts with one repository's parameters and table. Cheap to share.
pub struct Chunker {
    min: usize,
    avg: usize,
    max: usize,
    mask_s: u64,
    mask_l: u64,
    gear: Box<[u64; 256]>,
    gear_ls: Box<[u64; 256]>,
}

impl Chunker {
    /// A chunker for `params` as they stand in a `config`, with the repository's gear table.
    ///
    /// # Errors
    /// `Corrupt` when the parameters are none that a writer of this format makes.
    pub fn new(params: &Params, gear: Box<[u64; 256]>) -> Result<Self> {
        let damaged = || Error::corrupt(format!("chunker parameters {params:?}"));
        let sizes = [params.min, params.avg, params.max];
        if params.algorithm != ALGORITHM
            || sizes.iter().any(|size| size % 2 != 0 || !(SIZE_MIN..=SIZE_MAX).contains(size))
            || !sizes.is_sorted()
        {
            return Err(damaged());
        }
        let mask = |text: &str| u64::from_str_radix(text, 16).map_err(|_| damaged());
        let mut gear_ls = gear.clone();
        for entry in gear_ls.iter_mut() {
            *entry <<= 1;
        }
        Ok(Self {
            min: params.min as usize,
            avg: params.avg as usize,
            max: params.max as usize,
            mask_s: mask(&params.mask_s)?,
            mask_l: mask(&params.mask_l)?,
            gear,
            gear_ls,
        })
    }

    /// Longest chunk in bytes: what [`Chunker::cut`] needs to see to decide.
    pub const fn max(&self) -> usize {
        self.max
    }

    /// Length of the first chunk of `rest`, which is all that is left of the stream or at least [`Chunker::max`] bytes of it.
    /// At least 1 for a stream that is not at its end.
    pub fn cut(&self, rest: &[u8]) -> usize {
        let (_, length) = v2020::cut_gear(
            rest,
            self.min,
            self.avg,
            self.max,
            self.mask_s,
            self.mask_l,
            self.mask_s << 1,
            self.mask_l << 1,
            self.gear.as_slice(),
            self.gear_ls.as_slice(),
        );
        length.clamp(1.min(rest.len()), rest.len())
    }

    /// The chunks of a stream that is in memory as a whole.
    pub fn chunks<'a>(&'a self, mut rest: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (chunk, after) = rest.split_at(self.cut(rest));
            rest = after;
            Some(chunk)
        })
    }
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunker({}/{}/{})", self.min, self.avg, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gear() -> Box<[u64; 256]> {
        let mut bytes = [0u8; 2048];
        blake3::Hasher::new().update(b"test gear").finalize_xof().fill(&mut bytes);
        let mut gear = Box::new([0; 256]);
        for (entry, chunk) in gear.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*chunk);
        }
        gear
    }

    fn data(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn small() -> Chunker {
        Chunker::new(&Params::around(4 << 10).unwrap(), gear()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn chunks_join_to_the_stream_and_keep_the_bounds(len in 0usize..200_000, seed: u64) {
            let (chunker, data) = (small(), data(len, seed));
            let chunks: Vec<_> = chunker.chunks(&data).collect();
            prop_assert_eq!(&chunks.concat(), &data);
            for (i, chunk) in chunks.iter().enumerate() {
                prop_assert!(chunk.len() <= chunker.max);
                prop_assert!(chunk.len() >= chunker.min || i + 1 == chunks.len());
            }
        }

        #[test]
        fn a_window_of_the_longest_chunk_decides_as_the_whole_stream_does(len in 0usize..200_000, seed: u64) {
            let (chunker, data) = (small(), data(len, seed));
            let mut at = 0;
            for chunk in chunker.chunks(&data) {
                let window = &data[at..data.len().min(at + chunker.max())];
                prop_assert_eq!(chunker.cut(window), chunk.len());
                at += chunk.len();
            }
        }
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let chunker = small();
        let before = data(1 << 20, 1);
        let mut after = before.clone();
        after.splice(500_000..500_000, [1, 2, 3]);
        let old: std::collections::HashSet<_> = chunker.chunks(&before).collect();
        assert!(chunker.chunks(&after).filter(|chunk| !old.contains(chunk)).count() <= 3);
    }

    #[test]
    fn hostile_parameters_are_refused() {
        let good = Params::default();
        for bad in [
            Params { min: 63, ..good.clone() },
            Params { min: good.min + 1, ..good.clone() },
            Params { max: 1 << 30, ..good.clone() },
            Params { avg: good.max + 2, ..good.clone() },
            Params { mask_s: "x".to_owned(), ..good.clone() },
            Params { algorithm: "rabin".to_owned(), ..good.clone() },
        ] {
            assert!(Chunker::new(&bad, gear()).is_err(), "{bad:?}");
        }
    }
}
