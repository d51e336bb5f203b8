//! What a segment's footer has after its fixed part: tables that a reader may skip. Spec: `docs/format.md` section 7.
//!
//! The format says that these bytes are skipped, whatever they are. So nothing in them is an error: what cannot be read is not there.

use crate::error::{Error, Result};
use crate::storage::Checksum;

/// The number of the table with a checksum for each pack.
const CHECKSUMS: u32 = 1;
const CHECKSUM_LEN: usize = 16;

/// Appends the table of checksums, in the order of the packs; nothing where no pack has one.
pub(super) fn append_checksums(checksums: &[Option<Checksum>], footer: &mut Vec<u8>) -> Result<()> {
    if checksums.iter().all(Option::is_none) {
        return Ok(());
    }
    let len = checksums.len().checked_mul(CHECKSUM_LEN).and_then(|len| u32::try_from(len).ok());
    footer.extend_from_slice(&CHECKSUMS.to_le_bytes());
    footer.extend_from_slice(&len.ok_or_else(|| Error::bug("checksums of an index segment"))?.to_le_bytes());
    for checksum in checksums {
        footer.extend_from_slice(&checksum.map(Checksum::to_bytes).unwrap_or_default());
    }
    Ok(())
}

/// The checksums of `packs` packs, in their order: of the first table of them that has the right length. None at all without one.
pub(super) fn checksums(tables: &[u8], packs: usize) -> Vec<Option<Checksum>> {
    let found = each(tables).find(|(number, table)| {
        *number == CHECKSUMS && packs.checked_mul(CHECKSUM_LEN).is_some_and(|len| len == table.len())
    });
    let table = found.map_or([].as_slice(), |(_, table)| table);
    let mut checksums: Vec<_> =
        table.as_chunks::<CHECKSUM_LEN>().0.iter().map(|bytes| Checksum::from_bytes(*bytes)).collect();
    checksums.resize(packs, None);
    checksums
}

/// Number and bytes of each table, up to the first that says it is longer than what is there.
fn each(mut tables: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (number, rest) = tables.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (table, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        tables = rest;
        Some((u32::from_le_bytes(*number), table))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> impl Strategy<Value = Vec<Option<Checksum>>> {
        prop::collection::vec(any::<Option<[u8; 16]>>().prop_map(|bytes| bytes.and_then(Checksum::from_bytes)), 0..40)
    }

    fn encoded(checksums: &[Option<Checksum>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        append_checksums(checksums, &mut bytes).unwrap();
        bytes
    }

    /// A table of another number.
    fn other() -> impl Strategy<Value = Vec<u8>> {
        (2..u32::MAX, prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(number, table)| {
            let len = u32::try_from(table.len()).unwrap();
            [&number.to_le_bytes()[..], &len.to_le_bytes()[..], &table].concat()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn checksums_come_back_among_tables_that_nobody_knows(
            sums in some(),
            before in prop::collection::vec(other(), 0..3),
            after in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            let bytes = [before.concat(), encoded(&sums), after].concat();
            // What comes after may look like a table only where there is none of ours.
            prop_assert!(sums.iter().all(Option::is_none) || checksums(&bytes, sums.len()) == sums);
            prop_assert_eq!(checksums(&before.concat(), sums.len()), vec![None; sums.len()]);
        }

        #[test]
        fn a_table_that_is_cut_off_or_of_another_length_is_none(
            sums in some(),
            cut in any::<prop::sample::Index>(),
            packs in 0..50usize,
        ) {
            let bytes = encoded(&sums);
            if !bytes.is_empty() {
                prop_assert_eq!(checksums(&bytes[..cut.index(bytes.len())], sums.len()), vec![None; sums.len()]);
            }
            if packs != sums.len() {
                prop_assert_eq!(checksums(&bytes, packs), vec![None; packs]);
            }
        }

        #[test]
        fn any_bytes_give_one_answer_for_each_pack(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(16), Just(0xff), any::<u8>()], 0..200),
            packs in 0..20usize,
        ) {
            prop_assert_eq!(checksums(&bytes, packs).len(), packs);
        }
    }

    #[test]
    fn the_table_is_as_the_format_says() {
        let sum = Checksum::from_bytes(*b"0123456789abcdef");
        let expected = [&[1, 0, 0, 0, 32, 0, 0, 0], &b"0123456789abcdef"[..], &[0; 16]].concat();
        assert_eq!(encoded(&[sum, None]), expected);
        assert_eq!(encoded(&[None, None]), b"");
    }
}
