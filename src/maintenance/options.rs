//! What a check is asked to read.

use std::time::Duration;

use crate::id::SessionId;
use crate::repo::PackInfo;
use crate::size::ByteSize;

/// How much of the packs is read, by restic's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ReadData {
    /// Nothing: index and catalogue only.
    #[default]
    None,
    /// Every pack.
    All,
    /// One of `t` parts: packs whose name's first byte, modulo `t`, is `n` − 1. All parts from 1 to `t` are all packs.
    Subset {
        /// Which part, from 1.
        n: u32,
        /// Of how many, at most 256.
        t: u32,
    },
    /// This part of the packs in hundredths, at least one pack, another choice each time.
    Percent(f64),
    /// As a percentage, of packs that have about this many bytes.
    Size(ByteSize),
    /// So much, beginning with what was not read for longest, that all is read once in this time; what was read when is noted.
    Budget(Duration),
}

/// How to check.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CheckOptions {
    /// What to read of the packs.
    pub read_data: ReadData,
}

impl ReadData {
    /// The packs that are meant; `seed` makes the choice where there is one.
    pub(super) fn select(self, mut packs: Vec<PackInfo>, seed: SessionId) -> Vec<PackInfo> {
        match self {
            Self::None => Vec::new(),
            // Which packs are due is not decided by chance: `budget` has chosen.
            Self::All | Self::Budget(_) => packs,
            Self::Subset { n, t } => {
                let first = |pack: &PackInfo| u32::from(pack.pack.name.as_bytes().first().copied().unwrap_or(0));
                packs.retain(|pack| first(pack).checked_rem(t).is_some_and(|part| part.checked_add(1) == Some(n)));
                packs
            }
            Self::Percent(percent) => choose(packs, percent, seed),
            Self::Size(size) => {
                let total: u64 = packs.iter().map(|pack| pack.size).sum();
                choose(packs, percentage(size.bytes(), total), seed)
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage needs no more")]
fn percentage(size: u64, total: u64) -> f64 {
    if total <= size { 100.0 } else { size as f64 / total as f64 * 100.0 }
}

/// That part of the packs, rounded down, but at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "between 0 and the number of packs"
)]
fn choose(mut packs: Vec<PackInfo>, percent: f64, seed: SessionId) -> Vec<PackInfo> {
    let count = (packs.len() as f64 * percent.clamp(0.0, 100.0) / 100.0) as usize;
    shuffle(&mut packs, seed);
    packs.truncate(count.max(1));
    packs
}

/// Puts them into an order that the seed gives, and that is another one for another seed.
pub(super) fn shuffle(packs: &mut [PackInfo], seed: SessionId) {
    packs.sort_by_cached_key(|pack| {
        *blake3::Hasher::new().update(seed.as_bytes()).update(pack.pack.name.as_bytes()).finalize().as_bytes()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ObjectHash, PackRef};
    use crate::repo::BlobKind;

    fn packs(count: u8) -> Vec<PackInfo> {
        let info = |n| PackInfo {
            pack: PackRef { name: ObjectHash::new([n; 32]), epoch: 0, salt: [0; 32] },
            kind: BlobKind::Data,
            size: 100,
            blobs: 1,
        };
        (0..count).map(info).collect()
    }

    fn count(read_data: ReadData, of: u8) -> usize {
        read_data.select(packs(of), SessionId::new([1; 16])).len()
    }

    #[test]
    fn all_parts_are_all_packs_and_no_pack_is_in_two() {
        for t in [1, 3, 7, 256] {
            let mut seen: Vec<ObjectHash> = (1..=t)
                .flat_map(|n| ReadData::Subset { n, t }.select(packs(200), SessionId::new([0; 16])))
                .map(|pack| pack.pack.name)
                .collect();
            assert_eq!(seen.len(), 200);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 200);
        }
        assert_eq!(count(ReadData::Subset { n: 0, t: 0 }, 9), 0);
    }

    #[test]
    fn a_percentage_is_rounded_down_and_never_nothing() {
        for (percent, of, expected) in
            [(50.0, 9, 4), (1.0, 9, 1), (100.0, 9, 9), (33.4, 3, 1), (10.0, 0, 0), (f64::NAN, 9, 1)]
        {
            assert_eq!(count(ReadData::Percent(percent), of), expected, "{percent} of {of}");
        }
        assert_eq!(count(ReadData::Size(ByteSize(250)), 10), 2);
        assert_eq!(count(ReadData::Size(ByteSize(1)), 10), 1);
        assert_eq!(count(ReadData::Size(ByteSize::mib(1)), 10), 10);
    }

    #[test]
    fn another_session_chooses_other_packs() {
        let chosen = |seed| ReadData::Percent(20.0).select(packs(200), SessionId::new([seed; 16]));
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
    }
}
