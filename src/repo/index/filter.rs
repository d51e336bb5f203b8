//! The filter of a segment: may an id be in it? Spec: `docs/format.md` section 7.
//!
//! Built by `xorf`; looked up by our own few lines, so that a damaged filter is an error and not a panic.

use xorf::BinaryFuse8;

use crate::error::{Error, Result};
use crate::id::BlobId;

/// Length of what stands before the fingerprints.
const HEAD_LEN: usize = 24;

/// A binary fuse filter over the first eight bytes of ids: no false negatives, one false positive in 256.
#[derive(Debug)]
pub(super) struct Filter {
    seed: u64,
    segment_length: u32,
    mask: u32,
    count_length: u32,
    fingerprints: Vec<u8>,
}

/// What the filter knows of an id.
pub(super) fn key_of(prefix: &[u8]) -> u64 {
    prefix.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The encoded filter of these keys, which may repeat. Takes about 25 bytes of memory a key.
pub(super) fn build(mut keys: Vec<u64>) -> Result<Vec<u8>> {
    keys.sort_unstable();
    keys.dedup();
    let filter =
        BinaryFuse8::try_from(&keys).map_err(|cause| Error::bug("build an index filter").with_source(cause))?;
    let mut bytes = Vec::with_capacity(HEAD_LEN + filter.fingerprints.len());
    bytes.extend_from_slice(&filter.descriptor.seed.to_le_bytes());
    let count = u32::try_from(filter.fingerprints.len()).map_err(|_| Error::bug("size of an index filter"))?;
    for number in [
        filter.descriptor.segment_length,
        filter.descriptor.segment_length_mask,
        filter.descriptor.segment_count_length,
        count,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&filter.fingerprints);
    Ok(bytes)
}

impl Filter {
    /// Reads an encoded filter.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt("filter of an index segment");
        let (head, fingerprints) = bytes.split_first_chunk::<HEAD_LEN>().ok_or_else(damaged)?;
        let (seed, numbers) = head.split_first_chunk::<8>().ok_or_else(damaged)?;
        let [segment_length, mask, count_length, count] = numbers.as_chunks::<4>().0 else { return Err(damaged()) };
        if fingerprints.len() as u64 != u64::from(u32::from_le_bytes(*count)) {
            return Err(damaged());
        }
        Ok(Self {
            seed: u64::from_le_bytes(*seed),
            segment_length: u32::from_le_bytes(*segment_length),
            mask: u32::from_le_bytes(*mask),
            count_length: u32::from_le_bytes(*count_length),
            fingerprints: fingerprints.to_vec(),
        })
    }

    /// Gives its memory back. From now on every id may be in the segment.
    pub(super) fn forget(&mut self) {
        self.fingerprints = Vec::new();
    }

    /// Whether the id may be in the segment. A slot outside the fingerprints can only come from damage; then "maybe", and the block decides.
    #[expect(clippy::cast_possible_truncation, reason = "the format takes the low bits here")]
    pub(super) fn may_hold(&self, id: &BlobId) -> bool {
        let mut h = key_of(id.as_bytes()).wrapping_add(self.seed);
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^= h >> 33;
        let slot0 = ((u128::from(h) * u128::from(self.count_length)) >> 64) as u32;
        let slot1 = slot0.wrapping_add(self.segment_length) ^ ((h >> 18) as u32 & self.mask);
        let slot2 = slot0.wrapping_add(self.segment_length.wrapping_mul(2)) ^ (h as u32 & self.mask);
        let wanted = (h ^ (h >> 32)) as u8;
        let fingerprint = |slot: u32| self.fingerprints.get(slot as usize).copied();
        match (fingerprint(slot0), fingerprint(slot1), fingerprint(slot2)) {
            (Some(a), Some(b), Some(c)) => a ^ b ^ c == wanted,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> BlobId {
        BlobId::new(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    #[test]
    fn members_are_always_found_and_few_others() {
        for count in [0u64, 1, 2, 3, 100, 10_000] {
            let keys = (0..count).map(|n| key_of(id(n).as_bytes())).collect();
            let filter = Filter::decode(&build(keys).unwrap()).unwrap();
            assert!((0..count).all(|n| filter.may_hold(&id(n))), "{count}");
            if count >= 100 {
                let wrong = (0..100_000).filter(|n| filter.may_hold(&id(1_000_000 + n))).count();
                assert!(wrong < 600, "{wrong} of 100,000");
                assert!(filter.fingerprints.len() as u64 <= count * 13 / 10 + 500);
            }
        }
    }

    #[test]
    fn a_damaged_filter_is_an_error_or_a_maybe_and_never_a_panic() {
        let bytes = build((0..50).map(|n| key_of(id(n).as_bytes())).collect()).unwrap();
        for len in 0..bytes.len() {
            assert!(Filter::decode(&bytes[..len]).is_err());
        }
        for bit in 0..HEAD_LEN * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(filter) = Filter::decode(&damaged) {
                for n in 0..100 {
                    let _ = filter.may_hold(&id(n));
                }
            }
        }
    }
}
