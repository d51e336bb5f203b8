//! Which packs go, which are rewritten, and which stay. Pure.

use crate::repo::BlobKind;

use super::options::PruneOptions;

/// A pack is small when it has less than this many hundredths of a full one.
const SMALL: u64 = 80;

/// How many of the last steps may end otherwise, and among how many packs an end is looked for: a few million comparisons at most.
const LAST_STEPS: usize = 64;
/// See [`LAST_STEPS`].
const LOOKED_AT: usize = 100_000;

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
    /// It must not be touched: a prune that is at work has condemned it, or a run that is may be writing what it holds.
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
    if options.max_repack.is_none() && !options.repack_small {
        let sorted: Vec<&PackUse> = candidates.into_iter().map(|(pack, _)| pack).collect();
        choice.repack.extend(cheapest(&sorted, wasted.saturating_sub(allowed)));
        return choice;
    }
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

/// Packs that waste `excess` bytes together, for few bytes that have to be copied. `sorted`: most waste for each of these comes first.
///
/// Taking packs in this order is the best there is but for the last one, which may be much more than what is missing then. So for some of the last
/// steps it is asked which pack would end the matter there most cheaply; and what was taken for nothing is put back.
fn cheapest(sorted: &[&PackUse], excess: u64) -> Vec<u32> {
    let waste = |pack: &PackUse| pack.unused + pack.surplus;
    if excess == 0 {
        return Vec::new();
    }
    // What is missing, and what is copied, before each pack is taken.
    let (mut missing, mut copied, mut steps) = (excess, 0u64, Vec::new());
    for pack in sorted {
        steps.push((missing, copied));
        missing = missing.saturating_sub(waste(pack));
        copied += pack.used;
        if missing == 0 {
            break;
        }
    }
    let mut best = (copied, steps.len(), None);
    for (taken, (missing, copied)) in steps.iter().enumerate().rev().take(LAST_STEPS) {
        let rest = sorted.get(taken..).unwrap_or_default().iter().take(LOOKED_AT);
        let last = rest.filter(|pack| waste(pack) >= *missing).min_by_key(|pack| (pack.used, pack.number));
        if let Some(last) = last.filter(|last| copied + last.used < best.0) {
            best = (copied + last.used, taken, Some(*last));
        }
    }
    let mut chosen: Vec<&PackUse> = sorted.iter().take(best.1).chain(best.2.iter()).copied().collect();
    let mut spare = chosen.iter().map(|pack| waste(pack)).sum::<u64>().saturating_sub(excess);
    chosen.sort_by_key(|pack| (std::cmp::Reverse(pack.used), pack.number));
    chosen.retain(|pack| {
        let is_needed = waste(pack) > spare;
        spare -= if is_needed { 0 } else { waste(pack) };
        is_needed
    });
    chosen.into_iter().map(|pack| pack.number).collect()
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
        let plan = |max_unused| {
            let mut choice = choose(&packs, &options(max_unused), 1000);
            choice.repack.sort_unstable();
            choice
        };
        assert_eq!(plan(NOTHING), Choice { remove: vec![1], repack: vec![2, 3, 4] });
        assert_eq!(plan(MaxUnused::Unlimited), Choice { remove: vec![1], repack: vec![] });
        assert_eq!(plan(MaxUnused::Bytes(ByteSize(10))), Choice { remove: vec![1], repack: vec![3, 4] });
        // 250 bytes are used: 20 % of what remains are 62.
        assert_eq!(plan(MaxUnused::Percent(20.0)), Choice { remove: vec![1], repack: vec![3] });
        assert_eq!(plan(MaxUnused::Percent(100.0)), Choice { remove: vec![1], repack: vec![] });
    }

    #[test]
    fn a_small_pack_ends_it_where_a_large_one_would_be_too_much() {
        // 30 bytes must go. In order of waste for each byte copied, 0 and 1 would: 1 copies 400 where 2 copies 50.
        let packs = [pack(0, 10, 20), pack(1, 400, 200), pack(2, 50, 11), pack(3, 90, 9)];
        let mut chosen = choose(&packs, &options(MaxUnused::Bytes(ByteSize(210))), 1000).repack;
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 2]);
        // Here the large one alone is enough, and the first is put back.
        let packs = [pack(0, 10, 20), pack(1, 40, 75)];
        assert_eq!(choose(&packs, &options(MaxUnused::Bytes(ByteSize(25))), 1000).repack, [1]);
    }

    #[test]
    fn never_more_is_left_than_allowed_and_never_more_copied_than_in_plain_order() {
        for seed in 0..2000u64 {
            let draw = |n: u64| u64::from(blake3::hash(&[seed.to_le_bytes(), n.to_le_bytes()].concat()).as_bytes()[0]);
            let packs: Vec<PackUse> =
                (0..12u32).map(|n| pack(n, 1 + draw(u64::from(n)), draw(100 + u64::from(n)))).collect();
            let wasted: u64 = packs.iter().map(|pack| pack.unused).sum();
            let allowed = wasted * draw(999) / 256;
            let chosen = choose(&packs, &options(MaxUnused::Bytes(ByteSize(allowed))), 1000).repack;
            let sums = |numbers: &[u32]| {
                let of = packs.iter().filter(|pack| numbers.contains(&pack.number));
                of.fold((0, 0), |(used, unused), pack| (used + pack.used, unused + pack.unused))
            };
            let (copied, freed) = sums(&chosen);
            assert!(wasted - freed <= allowed, "seed {seed}");
            let mut order: Vec<&PackUse> = packs.iter().filter(|pack| pack.unused > 0).collect();
            order.sort_by(|a, b| (b.unused * a.used).cmp(&(a.unused * b.used)).then(a.number.cmp(&b.number)));
            let (mut plain, mut left) = (0, wasted);
            for pack in order {
                if left > allowed {
                    plain += pack.used;
                    left -= pack.unused;
                }
            }
            assert!(copied <= plain, "seed {seed}: {copied} where {plain} are enough");
        }
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
