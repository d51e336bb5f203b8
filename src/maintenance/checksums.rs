//! Compares the checksums that come with the listing of packs with those that the index has of the same packs, from when they were stored.
//!
//! Both are what a store wrote down when bytes came. That they differ says that the object was written again, and no more: under another key of the
//! store the same bytes have another one. So such packs are read, which tells. That they are alike says that nobody wrote the object again, and nothing
//! of what became of it on the store's disks.
//!
//! Memory: 17 bytes a pack where there are checksums, one where there are none.

use std::fmt;

use serde::Serialize;

use crate::error::Result;
use crate::repo::PackInfo;
use crate::size::ByteSize;
use crate::storage::Checksum;

use super::blobs::Blobs;
use super::{Context, options, read_data};

/// Packs that a check reads without being asked to, and their bytes: about what a minute brings over 100 Mbit/s. The choice is another one each time.
const READ_MAX: (usize, ByteSize) = (64, ByteSize(1 << 30));
/// Packs that a sentence names.
const NAMED_MAX: usize = 3;

/// How the checksums that the store lists compare with those in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreChecksums {
    /// Packs of which both have one.
    pub compared: u64,
    /// Those of them whose checksums differ: they were written again since they were stored.
    pub rewritten: u64,
    /// Those of these that this check read, whether it was asked to or not.
    pub rewritten_read: u64,
    /// Packs for which the store lists none.
    pub none_at_store: u64,
    /// Packs for which the store lists one, and the index has none.
    pub none_in_index: u64,
}

impl fmt::Display for StoreChecksums {
    /// One line for people: `checksums at the store: 812 of 900 packs compared, none differs; without one at the store: 8, in the index: 80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compared, rewritten, none_at_store, none_in_index, .. } = self;
        write!(f, "checksums at the store: {compared} of {} packs compared", compared + none_at_store + none_in_index)?;
        match (compared, rewritten) {
            (0, _) => {}
            (_, 0) => f.write_str(", none differs")?,
            (_, 1) => f.write_str(", 1 differs")?,
            (_, rewritten) => write!(f, ", {rewritten} differ")?,
        }
        match (none_at_store, none_in_index) {
            (0, 0) => Ok(()),
            (store, 0) => write!(f, "; without one at the store: {store}"),
            (0, index) => write!(f, "; without one in the index: {index}"),
            (store, index) => write!(f, "; without one at the store: {store}, in the index: {index}"),
        }
    }
}

/// What is known of a pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    NotListed,
    NoneAtStore,
    NoneInIndex,
    Alike,
    Rewritten,
    RewrittenAndRead,
}

/// The checksums of the packs of an index, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    kept: Vec<Option<Checksum>>,
    seen: Vec<Seen>,
}

impl Checksums {
    /// Takes what an index segment has; the first one that is known of a pack counts.
    pub(super) fn keep(&mut self, pack: u32, checksum: Option<Checksum>) {
        if checksum.is_some() && self.kept(pack).is_none() {
            set(&mut self.kept, pack, checksum);
        }
    }

    /// Takes what the store lists.
    pub(super) fn listed(&mut self, pack: u32, checksum: Option<Checksum>) {
        let seen = match (checksum, self.kept(pack)) {
            (None, _) => Seen::NoneAtStore,
            (Some(_), None) => Seen::NoneInIndex,
            (Some(listed), Some(kept)) if listed == kept => Seen::Alike,
            (Some(_), Some(_)) => Seen::Rewritten,
        };
        set(&mut self.seen, pack, seen);
    }

    fn kept(&self, pack: u32) -> Option<Checksum> {
        self.kept.get(pack as usize).copied().flatten()
    }

    /// This check reads the pack.
    pub(super) fn is_read(&mut self, pack: u32) {
        if let Some(seen) = self.seen.get_mut(pack as usize)
            && *seen == Seen::Rewritten
        {
            *seen = Seen::RewrittenAndRead;
        }
    }

    /// Numbers of the packs of which this was seen.
    fn those(&self, what: Seen) -> impl Iterator<Item = usize> {
        self.seen.iter().enumerate().filter(move |(_, seen)| **seen == what).map(|(number, _)| number)
    }

    /// None where neither the index nor the store has any, as in a directory.
    fn compared(&self) -> Option<StoreChecksums> {
        let count = |what| self.those(what).count() as u64;
        let rewritten_read = count(Seen::RewrittenAndRead);
        let rewritten = count(Seen::Rewritten) + rewritten_read;
        let compared = count(Seen::Alike) + rewritten;
        let (none_at_store, none_in_index) = (count(Seen::NoneAtStore), count(Seen::NoneInIndex));
        let is_any = compared + none_in_index > 0 || !self.kept.is_empty();
        is_any.then_some(StoreChecksums { compared, rewritten, rewritten_read, none_at_store, none_in_index })
    }
}

fn set<T: Clone + Default>(items: &mut Vec<T>, number: u32, value: T) {
    let number = number as usize;
    if items.len() <= number {
        items.resize(number + 1, T::default());
    }
    if let Some(item) = items.get_mut(number) {
        *item = value;
    }
}

/// Reads packs that were written again, as far as this check has not read them, within bounds; then says what the comparison came to.
pub(super) fn read_rewritten(context: &Context<'_>, blobs: &mut Blobs) -> Result<()> {
    let mut packs = those(blobs, Seen::Rewritten);
    if !packs.is_empty() {
        context.begin("read packs that were written again")?;
        options::shuffle(&mut packs, context.session.id());
        keep_within_bounds(&mut packs);
        read_data::run(context, blobs, packs)?;
    }
    let compared = blobs.checksums.compared();
    context.findings.update(|report| report.checksums = compared);
    let (whole, unread) = (those(blobs, Seen::RewrittenAndRead), those(blobs, Seen::Rewritten));
    if !whole.is_empty() {
        context.findings.note(format!(
            "written again since they were stored, by the checksums at the store, and now read and found whole: {}",
            named(&whole)
        ));
    }
    if !unread.is_empty() {
        let (count, bytes) = READ_MAX;
        context.findings.note(format!(
            "written again since they were stored, by the checksums at the store, and not read: {}. A check that is not asked to read reads {count} \
             such packs, or {bytes}, and others the next time; `check --read-data` reads all, `check --read-data-subset 1/10` and so on a part",
            named(&unread)
        ));
    }
    Ok(())
}

/// The packs of which this was seen, but for those that are known to be broken.
fn those(blobs: &Blobs, what: Seen) -> Vec<PackInfo> {
    let packs = blobs.checksums.those(what).filter_map(|number| blobs.packs().get(number));
    packs.filter(|info| !blobs.is_broken(&info.pack.name)).copied().collect()
}

/// One pack in any case.
fn keep_within_bounds(packs: &mut Vec<PackInfo>) {
    let (count, most) = READ_MAX;
    let mut bytes = 0u64;
    let fit = packs.iter().take(count).take_while(|info| {
        bytes = bytes.saturating_add(info.size);
        bytes <= most.bytes()
    });
    let fit = fit.count().max(1);
    packs.truncate(fit);
}

fn named(packs: &[PackInfo]) -> String {
    let names: Vec<String> = packs.iter().take(NAMED_MAX).map(|info| info.pack.name.to_hex()).collect();
    let more = packs.len() - names.len();
    let names = names.join(", ");
    if more == 0 { format!("pack {names}") } else { format!("pack {names}, and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ObjectHash, PackRef};
    use crate::repo::BlobKind;

    fn sum(n: u8) -> Option<Checksum> {
        Checksum::from_bytes([n; 16])
    }

    #[test]
    fn packs_are_counted_by_what_both_sides_have() {
        let mut sums = Checksums::default();
        for (pack, kept, listed) in [(0, 1, 1), (1, 1, 2), (2, 0, 3), (3, 4, 0), (4, 0, 0), (6, 5, 6)] {
            sums.keep(pack, sum(kept));
            sums.listed(pack, sum(listed));
        }
        // Another segment that says otherwise of a pack, or nothing, changes nothing; a pack that is not listed is not counted.
        sums.keep(0, sum(7));
        sums.keep(0, None);
        sums.listed(0, sum(1));
        sums.keep(9, sum(1));
        sums.is_read(6);
        sums.is_read(0);
        sums.is_read(100);
        let expected =
            StoreChecksums { compared: 3, rewritten: 2, rewritten_read: 1, none_at_store: 2, none_in_index: 1 };
        assert_eq!(sums.compared(), Some(expected));
    }

    #[test]
    fn where_nobody_has_a_checksum_nothing_is_said() {
        let mut sums = Checksums::default();
        sums.keep(0, None);
        sums.listed(0, None);
        assert_eq!(sums.compared(), None);
        let mut moved = Checksums::default();
        moved.keep(0, sum(1));
        moved.listed(0, None);
        assert_eq!(moved.compared(), Some(StoreChecksums { none_at_store: 1, ..StoreChecksums::default() }));
    }

    #[test]
    fn the_line_says_what_was_compared_and_what_not() {
        let line = |compared, rewritten, none_at_store, none_in_index| {
            StoreChecksums { compared, rewritten, rewritten_read: 0, none_at_store, none_in_index }.to_string()
        };
        let start = "checksums at the store: ";
        assert_eq!(line(9, 0, 0, 0), format!("{start}9 of 9 packs compared, none differs"));
        assert_eq!(line(9, 2, 0, 0), format!("{start}9 of 9 packs compared, 2 differ"));
        assert_eq!(line(0, 0, 4, 0), format!("{start}0 of 4 packs compared; without one at the store: 4"));
        let both = "812 of 900 packs compared, none differs; without one at the store: 8, in the index: 80";
        assert_eq!(line(812, 0, 8, 80), format!("{start}{both}"));
        assert_eq!(line(1, 1, 0, 1), format!("{start}1 of 2 packs compared, 1 differs; without one in the index: 1"));
    }

    #[test]
    fn what_is_read_unasked_has_bounds() {
        let info = |size| PackInfo {
            pack: PackRef { name: ObjectHash::new([1; 32]), epoch: 0, salt: [0; 32] },
            kind: BlobKind::Data,
            size,
            blobs: 1,
        };
        for (count, size, expected) in
            [(10, 1, 10), (100, 1, 64), (64, 16 << 20, 64), (64, 17 << 20, 60), (3, 2 << 30, 1)]
        {
            let mut packs = vec![info(size); count];
            keep_within_bounds(&mut packs);
            assert_eq!(packs.len(), expected, "{count} of {size} bytes");
        }
    }
}
