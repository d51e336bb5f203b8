//! Whatever bytes come, a decoder answers with a value or an error (R33): bytes that mean nothing, valid ones with foreign pieces in them, and
//! objects of arbitrary bytes under names that fit them.

use proptest::prelude::*;
use volvault::catalog::{ChunkList, Content, InnerPage, ListItem, TreeWriter, decode_leaf};
use volvault::maintenance::ReadData;
use volvault::repo::BlobKind;

use crate::support::repo::{Bench, Layout, Tree, check, entry, file, write_tree};
use crate::support::vault::{contents, noise};

/// Valid encodings to begin from: leaf pages, an inner page and a chunk list.
fn samples() -> Vec<Vec<u8>> {
    let bench = Bench::new();
    let keys = bench.open().keys().page_cut();
    let mut pages = Vec::new();
    let mut tree = TreeWriter::new(keys);
    let mut store = |bytes: &[u8]| {
        pages.push(bytes.to_vec());
        let id = volvault::id::BlobId::new(*blake3::hash(bytes).as_bytes());
        Ok(volvault::catalog::StoredPage { id, raw_len: u32::try_from(bytes.len()).unwrap(), place: None })
    };
    for n in 0..60 {
        let at = format!("f{n:03}");
        let made = match n % 3 {
            0 => file(&at, 0, Content::Empty),
            1 => entry(&at, volvault::catalog::Node::Symlink { target: b"to".to_vec() }),
            _ => entry(&at, volvault::catalog::Node::CharDevice { major: 1, minor: 3 }),
        };
        tree.push(&made, &mut store).unwrap();
    }
    let root = tree.finish(&mut store).unwrap();
    pages.push(root.encode());
    let chunks = (0..20).map(|n| ListItem { id: volvault::id::BlobId::new([n; 32]), len: 1000 }).collect();
    pages.push(ChunkList { depth: 0, chunks }.encode());
    pages
}

fn decode_all(bytes: &[u8]) {
    let _ = decode_leaf(bytes);
    let _ = InnerPage::decode(bytes);
    let _ = ChunkList::decode(bytes);
}

/// Pieces of one thing in another: where, how much of it goes, and what comes.
fn splice() -> impl Strategy<Value = (usize, prop::sample::Index, usize, Vec<u8>)> {
    (0..16usize, any::<prop::sample::Index>(), 0..12usize, prop::collection::vec(any::<u8>(), 0..12))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_make_a_decoder_of_the_catalogue_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        decode_all(&bytes);
    }
}

#[test]
fn no_foreign_piece_makes_a_decoder_of_the_catalogue_panic() {
    let samples = samples();
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let spliced = prop::collection::vec(splice(), 1..4).prop_map(|splices| {
        let mut bytes = samples[splices[0].0 % samples.len()].clone();
        for (_, at, gone, come) in splices {
            let at = at.index(bytes.len() + 1);
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, come);
        }
        bytes
    });
    runner
        .run(&spliced, |bytes| {
            decode_all(&bytes);
            Ok(())
        })
        .unwrap();
}

/// The name that an object of these bytes has to have, like the one of `key`.
fn name_for(key: &str, bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes).to_hex();
    let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
    match key.split('/').nth(1) {
        _ if key.starts_with("packs/") => format!("packs/{}/{hash}", &hash[..2]),
        Some("keys") => format!("{folder}/{}", &hash[..32]),
        Some("index") => format!("{folder}/{hash}"),
        Some("snapshots") => format!("{}-{}", key.rsplit_once('-').unwrap().0, &hash[..32]),
        _ => key.to_owned(),
    }
}

#[test]
fn no_object_of_arbitrary_bytes_makes_the_program_panic() {
    let bench = Bench::new();
    let tree = Tree::from([("a".to_owned(), Some(noise(3000, 1))), ("b".to_owned(), Some(noise(50, 2)))]);
    write_tree(&bench.open(), &tree, Layout::Chunks(1000));
    assert_eq!(bench.kinds_of_packs().values().filter(|kind| **kind == BlobKind::Tree).count(), 1);
    let keys = bench.keys("");
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let object = (any::<prop::sample::Index>(), 0..120usize, prop::collection::vec(any::<u8>(), 0..300));
    runner
        .run(&object, |(which, kept, bytes)| {
            let key = which.get(&keys);
            let before = bench.get(key);
            // With the beginning of a real one, which gets past the first checks.
            let bytes = [&before[..kept.min(before.len())], bytes.as_slice()].concat();
            let name = name_for(key, &bytes);
            bench.put(&name, bytes);
            if let Ok(repo) = bench.vault.open() {
                let _ = check(&repo, ReadData::All);
                if let Ok(session) = repo.observe() {
                    for snapshot in session.snapshots() {
                        let _ = session.load(snapshot).and_then(|snapshot| contents(&session, &snapshot));
                    }
                }
            }
            bench.delete(&name);
            bench.put(key, before);
            Ok(())
        })
        .unwrap();
    assert_eq!(bench.check(ReadData::All).errors, Vec::<String>::new());
}
