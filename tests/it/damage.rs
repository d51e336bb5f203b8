//! Damage to every object of a repository, by accident or on purpose: it is an error that names the object, never a panic and never
//! wrong bytes (R20 to R22 of the list of bars).
//!
//! Every bit and every length is tried on the one object; what the whole program makes of it (open, check with all data, read all
//! content) is tried for a part of them, because that takes milliseconds each.

use std::collections::BTreeMap;
use std::ops::Range;

use volvault::Result;
use volvault::catalog::{ChunkList, Content, ListItem};
use volvault::id::ObjectHash;
use volvault::maintenance::ReadData;
use volvault::repo::{BlobKind, BlobWriter, PackInfo, Repository, Session, verify_pack};

use crate::support::repo::{Bench, Layout, Tree as Files, check, entries, file, write_entries, write_tree};
use crate::support::vault::{Seen, contents, noise};

type Tree = BTreeMap<Vec<u8>, Seen>;

/// A repository with every kind of object and of content, and what its snapshots hold.
struct Case {
    bench: Bench,
    expected: BTreeMap<String, Tree>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let bench = Bench::new();
        let repo = bench.open();
        let small = |n: u64| (format!("small-{n}"), Some(noise(40, seed + n)));
        write_tree(&repo, &Files::from([small(1), small(2), ("dir".to_owned(), None)]), Layout::Bundle);
        let session = repo.write_session().unwrap();
        let writer = BlobWriter::new(&session, false);
        let chunked = ("chunked".to_owned(), Some(noise(300, seed + 3)));
        let mut files = entries(&repo, &writer, &Files::from([chunked]), Layout::Chunks(150));
        files.push(listed(&writer, &noise(200, seed + 4)));
        write_entries(&session, &writer, &files);
        let expected = read_all(&repo).unwrap().into_iter().map(|(id, tree)| (id, tree.unwrap())).collect();
        Self { bench, expected }
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.bench.keys(prefix);
        assert!(!keys.is_empty(), "{prefix}");
        keys
    }

    /// What the whole program says of the repository as it is now. Panics if it reads wrong bytes.
    fn examine(&self) -> String {
        let repo = match self.bench.vault.open() {
            Ok(repo) => repo,
            Err(error) => return error.chain(),
        };
        let mut said = match check(&repo, ReadData::All) {
            Ok(report) => report.errors,
            Err(error) => vec![error.chain()],
        };
        match read_all(&repo) {
            Ok(snapshots) => {
                for (id, tree) in snapshots {
                    match tree {
                        Ok(tree) => assert_eq!(Some(&tree), self.expected.get(&id), "wrong bytes in snapshot {id}"),
                        Err(error) => said.push(error),
                    }
                }
            }
            Err(error) => said.push(error.chain()),
        }
        said.join("\n")
    }

    /// Puts `bytes` in the place of an object, looks, and puts the object back.
    fn with(&self, key: &str, bytes: &[u8], look: impl FnOnce() -> String) -> String {
        let before = self.bench.get(key);
        self.bench.put(key, bytes.to_vec());
        let said = look();
        self.bench.put(key, before);
        said
    }

    /// The whole program must name the object when its bytes are these.
    fn assert_named(&self, key: &str, bytes: &[u8], what: &str) {
        let said = self.with(key, bytes, || self.examine());
        assert!(is_named(&said, key), "{key} {what}: {said:?}");
    }
}

/// A file whose two chunks stand in a list.
fn listed(writer: &BlobWriter<'_>, content: &[u8]) -> volvault::catalog::Entry {
    let put = |chunk: &[u8]| writer.put(BlobKind::Data, chunk).unwrap().blob;
    let chunks =
        content.chunks(100).map(put).map(|blob| ListItem { id: blob.id, len: u64::from(blob.raw_len) }).collect();
    let list = writer.put(BlobKind::Tree, &ChunkList { depth: 0, chunks }.encode()).unwrap().blob;
    file("listed", content.len(), Content::Lists { depth: 0, lists: vec![list] })
}

/// All content of each snapshot, or why it cannot be had.
fn read_all(repo: &Repository) -> Result<BTreeMap<String, Result<Tree, String>>> {
    let session = repo.observe()?;
    let read =
        |name| session.load(name).and_then(|snapshot| contents(&session, &snapshot)).map_err(|error| error.chain());
    Ok(session.snapshots().iter().map(|name| (name.id.to_hex(), read(name))).collect())
}

/// Whether a text names the object at this key.
fn is_named(said: &str, key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|name| said.contains(name))
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

fn hash(bytes: &[u8]) -> ObjectHash {
    ObjectHash::new(*blake3::hash(bytes).as_bytes())
}

/// Every bit and every length of the objects below `prefix`: `look` is shown the key and must say what is wrong. Of the bits, one a
/// byte, and of the lengths, every `stride`th, is shown to the whole program, too.
fn every_bit_and_length(case: &Case, prefix: &str, stride: usize, look: &dyn Fn(&str) -> String) {
    for key in case.keys(prefix) {
        let bytes = case.bench.get(&key);
        for bit in 0..bytes.len() * 8 {
            let damaged = flipped(&bytes, bit);
            let said = case.with(&key, &damaged, || look(&key));
            assert!(is_named(&said, &key), "{key} bit {bit}: {said:?}");
            if (bit / 8) % stride == 0 && bit % 8 == bit / 8 % 8 {
                case.assert_named(&key, &damaged, &format!("bit {bit}"));
            }
        }
        for len in 0..bytes.len() {
            let said = case.with(&key, &bytes[..len], || look(&key));
            assert!(is_named(&said, &key), "{key} length {len}: {said:?}");
            if len % stride == 0 {
                case.assert_named(&key, &bytes[..len], &format!("length {len}"));
            }
        }
    }
    assert_eq!(case.examine(), "");
}

fn joined<T>(outcomes: impl IntoIterator<Item = Result<T>>) -> String {
    outcomes.into_iter().filter_map(Result::err).map(|error| error.chain()).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_damage_to_config_or_a_key_slot_goes_unnoticed() {
    let case = Case::new(0);
    let look = |_: &str| joined([case.bench.vault.open()]);
    every_bit_and_length(&case, "config", 8, &look);
    every_bit_and_length(&case, "state/keys/", 8, &look);
}

#[test]
fn no_damage_to_a_session_record_goes_unnoticed() {
    let case = Case::new(0);
    let repo = case.bench.open();
    let look = |_: &str| joined(repo.inspect_records().unwrap().1.into_iter().map(|(_, error)| Err::<(), _>(error)));
    every_bit_and_length(&case, "state/sessions/", 8, &look);
}

#[test]
fn no_damage_to_a_snapshot_goes_unnoticed() {
    let case = Case::new(0);
    let repo = case.bench.open();
    let session = repo.observe().unwrap();
    let look = |_: &str| joined(session.load_each(session.snapshots()));
    every_bit_and_length(&case, "state/snapshots/", 8, &look);
}

fn look_at_segments(session: &Session<'_>) -> String {
    let rows = |segment: volvault::repo::OpenSegment<'_>| segment.rows(&mut |_| ());
    joined(session.open_segments(false).unwrap().into_iter().map(|(_, segment)| segment.and_then(rows)))
}

#[test]
fn no_damage_to_an_index_segment_goes_unnoticed() {
    let case = Case::new(0);
    let repo = case.bench.open();
    let session = repo.observe().unwrap();
    every_bit_and_length(&case, "state/index/", 4, &|_| look_at_segments(&session));
}

/// All packs as the index describes them.
fn packs(session: &Session<'_>) -> BTreeMap<String, PackInfo> {
    let segments = session.open_segments(false).unwrap().into_iter().map(|(_, segment)| segment.unwrap());
    let infos = segments.flat_map(|segment| segment.packs().to_vec()).collect::<Vec<_>>();
    infos.into_iter().map(|info| (info.pack.name.to_hex(), info)).collect()
}

#[test]
fn no_damage_to_a_pack_goes_unnoticed() {
    let case = Case::new(0);
    let repo = case.bench.open();
    let session = repo.observe().unwrap();
    let packs = packs(&session);
    let look = |key: &str| {
        let mut bytes = case.bench.get(key).to_vec();
        let info = &packs[key.rsplit('/').next().unwrap()];
        joined([verify_pack(&repo, info, &mut bytes, &mut |_| ())])
    };
    every_bit_and_length(&case, "packs/", 4, &look);
}

#[test]
fn what_is_emptied_lengthened_or_replaced_is_named() {
    let case = Case::new(0);
    let other = Case::new(100);
    for prefix in ["config", "state/keys/", "state/sessions/", "state/snapshots/", "state/index/", "packs/"] {
        for key in case.keys(prefix) {
            let bytes = case.bench.get(&key);
            case.assert_named(&key, &[], "emptied");
            case.assert_named(&key, &[bytes.as_ref(), b"\0"].concat(), "lengthened");
            case.assert_named(&key, &vec![0; bytes.len()], "zeroed");
            // Objects of the same kind, of this repository and of another one with the same key.
            let others = case.keys(prefix).into_iter().filter(|other| *other != key).map(|key| case.bench.get(&key));
            for replacement in others.chain(other.keys(prefix).iter().map(|key| other.bench.get(key))) {
                let said = case.with(&key, &replacement, || case.examine());
                assert!(is_named(&said, &key), "{key}: {said:?}");
            }
        }
    }
    assert_eq!(case.examine(), "");
}

#[test]
fn what_is_deleted_is_missed_where_something_needs_it() {
    let case = Case::new(0);
    for (prefix, is_missed) in [
        ("config", true),
        ("state/keys/", true),
        ("state/sessions/", false),
        ("state/snapshots/", false),
        ("state/index/", true),
        ("packs/", true),
    ] {
        for key in case.keys(prefix) {
            let bytes = case.bench.get(&key);
            case.bench.delete(&key);
            let said = case.examine();
            assert_eq!(!said.is_empty(), is_missed, "{key}: {said:?}");
            assert!(prefix != "packs/" || is_named(&said, &key), "{key}: {said:?}");
            case.bench.put(&key, bytes);
        }
    }
    assert_eq!(case.examine(), "");
}

#[test]
fn what_comes_from_another_repository_with_the_same_key_is_refused_by_name() {
    let other = Case::new(100);
    for prefix in ["state/sessions/", "state/snapshots/", "state/index/"] {
        for key in other.keys(prefix) {
            let case = Case::new(0);
            case.bench.put(&key, other.bench.get(&key));
            let said = case.examine();
            assert!(is_named(&said, &key), "{key}: {said:?}");
        }
    }
    // A slot of another repository is passed over, and a pack that nothing names is no harm.
    let case = Case::new(0);
    for key in other.keys("state/keys/").into_iter().chain(other.keys("packs/")) {
        case.bench.put(&key, other.bench.get(&key));
    }
    assert_eq!(case.examine(), "");
}

/// The owner of a store can give what they changed the name that fits: the seals must notice by themselves.
#[test]
fn an_altered_object_under_its_new_name_is_refused() {
    let case = Case::new(0);
    let repo = case.bench.open();
    let renamed = |key: &str, new: &str, bytes: &[u8], look: &dyn Fn() -> String| {
        let before = case.bench.get(key);
        case.bench.delete(key);
        case.bench.put(new, bytes.to_vec());
        let said = look();
        case.bench.delete(new);
        case.bench.put(key, before);
        said
    };
    for key in case.keys("state/index/") {
        let bytes = case.bench.get(&key);
        for bit in 0..bytes.len() * 8 {
            let damaged = flipped(&bytes, bit);
            let new = format!("state/index/{}", hash(&damaged));
            let said = renamed(&key, &new, &damaged, &|| look_at_segments(&repo.observe().unwrap()));
            assert!(is_named(&said, &new), "{key} bit {bit}: {said:?}");
        }
    }
    for key in case.keys("state/snapshots/") {
        let bytes = case.bench.get(&key);
        for bit in (0..bytes.len() * 8).step_by(3) {
            let damaged = flipped(&bytes, bit);
            let new = format!("{}-{}", key.rsplit_once('-').unwrap().0, &hash(&damaged).to_hex()[..32]);
            let look = || {
                let session = repo.observe().unwrap();
                joined(session.load_each(session.snapshots()))
            };
            let said = renamed(&key, &new, &damaged, &look);
            assert!(said.contains("snapshot"), "{key} bit {bit}: {said:?}");
        }
    }
    for key in case.keys("packs/") {
        let bytes = case.bench.get(&key);
        for at in (0..bytes.len()).step_by(16) {
            let damaged = flipped(&bytes, at * 8 + at % 8);
            let name = hash(&damaged).to_hex();
            let said = renamed(&key, &format!("packs/{}/{name}", &name[..2]), &damaged, &|| case.examine());
            assert!(is_named(&said, &key), "{key} byte {at}: {said:?}");
        }
    }
    for key in case.keys("state/keys/") {
        let bytes = case.bench.get(&key);
        for bit in 0..bytes.len() * 8 {
            let damaged = flipped(&bytes, bit);
            let new = format!("state/keys/{}", &hash(&damaged).to_hex()[..32]);
            let said = renamed(&key, &new, &damaged, &|| joined([case.bench.vault.open()]));
            // The wrapped key is the same in capital letters.
            assert!(!said.is_empty() || damaged.eq_ignore_ascii_case(&bytes), "{key} bit {bit}");
        }
    }
    assert_eq!(case.examine(), "");
}

/// A snapshot may be moved to another time or source only by whoever has the key.
#[test]
fn a_snapshot_under_another_time_source_or_session_is_refused() {
    let case = Case::new(0);
    let key = case.keys("state/snapshots/").remove(0);
    let bytes = case.bench.get(&key);
    let parts: Vec<&str> = key.split('/').collect();
    let name: Vec<&str> = parts[3].split('-').collect();
    for new in [
        format!("state/snapshots/{}/{}", "ab".repeat(16), parts[3]),
        format!("state/snapshots/{}/20300101T000000.000000000Z-{}-{}", parts[2], name[1], name[2]),
        format!("state/snapshots/{}/{}-{}-{}", parts[2], name[0], "cd".repeat(16), name[2]),
    ] {
        case.bench.put(&new, bytes.clone());
        let said = case.examine();
        assert!(is_named(&said, &new), "{new}: {said:?}");
        case.bench.delete(&new);
    }
}

#[test]
fn blobs_of_equal_length_that_change_places_are_refused() {
    let case = Case::new(0);
    let repo = case.bench.open();
    let session = repo.observe().unwrap();
    let mut spans: Vec<(String, Range<usize>)> = Vec::new();
    for (_, segment) in session.open_segments(false).unwrap() {
        let segment = segment.unwrap();
        segment
            .rows(&mut |row| {
                let info = segment.packs()[row.pack as usize];
                let start = row.offset as usize;
                spans.push((volvault::repo::pack_key(&info.pack.name), start..start + row.stored_len as usize));
            })
            .unwrap();
    }
    let mut swaps = 0;
    for (n, (key, span)) in spans.iter().enumerate() {
        for (other_key, other) in spans.iter().skip(n + 1).filter(|(_, other)| other.len() == span.len()) {
            let (bytes, other_bytes) = (case.bench.get(key), case.bench.get(other_key));
            let (mut new, mut other_new) = (bytes.to_vec(), other_bytes.to_vec());
            new[span.clone()].copy_from_slice(&other_bytes[other.clone()]);
            if key == other_key {
                new[other.clone()].copy_from_slice(&bytes[span.clone()]);
                other_new.clone_from(&new);
            } else {
                other_new[other.clone()].copy_from_slice(&bytes[span.clone()]);
            }
            case.bench.put(key, new);
            case.bench.put(other_key, other_new);
            let said = case.examine();
            assert!(is_named(&said, key) && is_named(&said, other_key), "{key} {span:?}: {said:?}");
            assert!(said.contains("read blob") || said.contains(", file "), "the content is refused, too: {said:?}");
            case.bench.put(key, bytes);
            case.bench.put(other_key, other_bytes);
            swaps += 1;
        }
    }
    assert!(swaps > 0);
    assert_eq!(case.examine(), "");
}

/// R14: a store that loses or cuts a pack which it has acknowledged. The run hears of it before it stores a snapshot.
#[test]
fn a_pack_that_the_store_lost_after_it_took_it_fails_the_run() {
    for cut in [false, true] {
        let bench = Bench::new();
        let repo = bench.open();
        let session = repo.write_session().unwrap();
        let writer = BlobWriter::new(&session, false);
        let mut seed = 0;
        let lost = loop {
            writer.put(BlobKind::Data, &noise(30_000, seed)).unwrap();
            seed += 1;
            if let Some(key) = bench.keys("packs/").pop() {
                break key;
            }
        };
        if cut {
            let bytes = bench.get(&lost);
            bench.put(&lost, bytes.slice(..bytes.len() - 1));
        } else {
            bench.delete(&lost);
        }
        let said = writer.finish().unwrap_err().chain();
        assert!(is_named(&said, &lost), "{said}");
        session.end("failed");
    }
}
