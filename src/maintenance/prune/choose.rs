//! Which packs go, which are rewritten, and which stay. Pure.

use crate::repo::BlobKind;

use super::options::PruneOptions;

/// A pack is small when it has less than this many hundredths of a full one.
const SMALL: u64 = 80;

/// One pack, as marking left it. Sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackUse {
    /// Its number in the table.
    pub(super) number: u32,
    pub(super) kind: BlobKind,
    /// Bytes of the object.
    pub(super) size: u64,
    /// Number of blobs, as the index says.
    pub(super) blobs: u64,
    /// Blobs that are needed from here.
    pub(super) used_blobs: u64,
    /// Their bytes.
    pub(super) used: u64,
    /// Needed blobs of which another pack has the copy that stays.
    pub(super) surplus_blobs: u64,
    /// Their bytes.
    pub(super) surplus: u64,
    /// Bytes of blobs that nobody needs.
    pub(super) unused: u64,
    /// It must go: a prune that is over had condemned it.
    pub(super) forced: bool,
    /// It must not be touched: a prune that is at work has condemned it.
    pub(super) taken: bool,
}

/// What is to be done, by numbers of packs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Nobody needs anything in them.
    pub(super) remove: Vec<u32>,
    /// What is needed is copied out of them first.
    pub(super) repack: Vec<u32>,
}

/// Restic's rules: what nobody needs goes; then those packs are rewritten that waste most, until no more is wasted than `max_unused`.
pub(super) fn choose(packs: &[PackUse], options: &PruneOptions, full: u64) -> Choice {
    let mut choice = Choice::default();
    let mut candidates = Vec::new();
    let used: u64 = packs.iter().map(|pack| pack.used).sum();
    let allowed = options.max_unused.bytes(used);
    let mut wasted = 0u64;
    let mut rewritten = 0u64;
    let small = |pack: &PackUse| options.repack_small && pack.size * 100 < full * SMALL;
    let smalls = |kind| packs.iter().filter(|pack| pack.kind == kind && small(pack)).count();
    let (small_data, small_trees) = (smalls(BlobKind::Data), smalls(BlobKind::Tree));
    for pack in packs.iter().filter(|pack| !pack.taken) {
        let joins = small(pack) && (if pack.kind == BlobKind::Data { small_data } else { small_trees }) > 1;
        if pack.used_blobs == 0 && pack.surplus_blobs == 0 {
            choice.remove.push(pack.number);
        } else if pack.forced || pack.used_blobs == 0 {
            // Copies are compared by whole ids before their pack goes, which is what rewriting does first.
            choice.repack.push(pack.number);
            rewritten += pack.used;
        } else if joins || pack.unused + pack.surplus > 0 {
            wasted += pack.unused + pack.surplus;
            candidates.push((pack, joins));
        }
    }
    // Most waste for each byte that has to be copied comes first.
    candidates.sort_by(|(a, _), (b, _)| {
        let waste = |pack: &PackUse| u128::from(pack.unused + pack.surplus);
        (waste(b) * u128::from(a.used)).cmp(&(waste(a) * u128::from(b.used))).then(a.number.cmp(&b.number))
    });
    for (pack, joins) in candidates {
        let within = options.max_repack.is_none_or(|max| rewritten + pack.used <= max.bytes());
        if within && (joins || wasted > allowed) {
            choice.repack.push(pack.number);
            rewritten += pack.used;
            wasted -= pack.unused + pack.surplus;
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::prune::options::MaxUnused;
    use crate::size::ByteSize;

    fn pack(number: u32, used: u64, unused: u64) -> PackUse {
        PackUse {
            number,
            kind: BlobKind::Data,
            size: used + unused,
            blobs: 10,
            used_blobs: u64::from(used > 0) * 5,
            used,
            surplus_blobs: 0,
            surplus: 0,
            unused,
            forced: false,
            taken: false,
        }
    }

    fn options(max_unused: MaxUnused) -> PruneOptions {
        PruneOptions { max_unused, ..PruneOptions::default() }
    }

    const NOTHING: MaxUnused = MaxUnused::Bytes(ByteSize(0));

    #[test]
    fn what_nobody_needs_goes_and_the_rest_is_rewritten_as_far_as_asked() {
        let packs = [pack(0, 100, 0), pack(1, 0, 100), pack(2, 90, 10), pack(3, 10, 90), pack(4, 50, 50)];
        let plan = |max_unused| choose(&packs, &options(max_unused), 1000);
        assert_eq!(plan(NOTHING), Choice { remove: vec![1], repack: vec![3, 4, 2] });
        assert_eq!(plan(MaxUnused::Unlimited), Choice { remove: vec![1], repack: vec![] });
        assert_eq!(plan(MaxUnused::Bytes(ByteSize(10))), Choice { remove: vec![1], repack: vec![3, 4] });
        // 250 bytes are used: 20 % of what remains are 62.
        assert_eq!(plan(MaxUnused::Percent(20.0)), Choice { remove: vec![1], repack: vec![3] });
        assert_eq!(plan(MaxUnused::Percent(100.0)), Choice { remove: vec![1], repack: vec![] });
    }

    #[test]
    fn a_limit_on_rewriting_holds_and_lesser_packs_may_still_fit() {
        let packs = [pack(0, 100, 300), pack(1, 40, 50)];
        let limited = PruneOptions { max_repack: Some(ByteSize(60)), ..options(NOTHING) };
        assert_eq!(choose(&packs, &limited, 1000).repack, [1]);
    }

    #[test]
    fn copies_are_rewritten_not_removed_and_what_another_prune_has_is_left_alone() {
        let copies = PackUse { used_blobs: 0, used: 0, surplus_blobs: 3, surplus: 30, ..pack(0, 0, 70) };
        let forced = PackUse { forced: true, ..pack(1, 100, 0) };
        let dead = PackUse { forced: true, ..pack(2, 0, 100) };
        let taken = PackUse { taken: true, ..pack(3, 0, 100) };
        let choice = choose(&[copies, forced, dead, taken], &options(MaxUnused::Unlimited), 1000);
        assert_eq!(choice, Choice { remove: vec![2], repack: vec![0, 1] });
    }

    #[test]
    fn small_packs_are_joined_when_asked_but_not_one_alone() {
        let tree = PackUse { kind: BlobKind::Tree, ..pack(9, 10, 0) };
        let packs = [pack(0, 100, 0), pack(1, 200, 0), pack(2, 900, 0), tree];
        let small = PruneOptions { repack_small: true, ..options(MaxUnused::Unlimited) };
        let mut repack = choose(&packs, &small, 1000).repack;
        repack.sort_unstable();
        assert_eq!(repack, [0, 1]);
        assert_eq!(choose(&packs, &options(NOTHING), 1000), Choice::default());
    }
}
