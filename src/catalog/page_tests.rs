//! Leaf pages against the specification, against damage, and against lies.

use std::sync::Arc;

use proptest::prelude::*;

use super::entry::{BlobRef, Content, Entry, FileNode, LinkGroup, Metadata, Node, Timestamp, Xattr};
use super::page::{LeafPage, PageBuilder};
use super::page_decode::decode_leaf;
use super::samples::{CUT_KEY, bundled, entries, many, metadata, path};
use crate::error::ErrorKind;
use crate::id::{BlobId, ContentHash};

fn pages(entries: &[Entry]) -> Vec<LeafPage> {
    let mut builder = PageBuilder::new(CUT_KEY);
    let mut pages: Vec<_> = entries.iter().filter_map(|entry| builder.push(entry).expect("valid entry")).collect();
    pages.extend(builder.finish());
    pages
}

fn page(entries: &[Entry]) -> Vec<u8> {
    let [page] = pages(entries).try_into().expect("one page");
    page.bytes
}

/// A root directory, a file in a bundle with an attribute, a symlink with two names.
fn golden_entries() -> [Entry; 3] {
    let time = |seconds, nanos| Timestamp { seconds, nanos };
    let root: Arc<[u8]> = b"root".as_slice().into();
    let plain = Metadata {
        mode: 0o777,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime: time(0, 0),
        ctime: time(0, 0),
        inode: 0,
        xattrs: Arc::from([]),
    };
    let directory = Metadata {
        mode: 0o755,
        user: Some(Arc::clone(&root)),
        group: Some(root),
        mtime: time(10, 0),
        ctime: time(9, 5),
        inode: 2,
        ..plain.clone()
    };
    let file = Metadata {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: time(-1, 999_999_999),
        ctime: time(-1, 0),
        inode: 300,
        xattrs: Arc::from([Xattr { name: b"user.k".to_vec(), value: b"v".to_vec() }]),
        ..plain.clone()
    };
    let blob = BlobRef { id: BlobId::new([0xbb; 32]), raw_len: 12 };
    let content = Content::Bundle { blob, offset: 7, hash: ContentHash::new([0xcc; 16]) };
    let content = FileNode { size: 5, content, extents: None, incomplete: false };
    let link = LinkGroup { device: 1, inode: 9 };
    [
        Entry { path: path(""), meta: directory, node: Node::Directory, link: None },
        Entry { path: path("a"), meta: file, node: Node::File(content), link: None },
        Entry { path: path("al"), meta: plain, node: Node::Symlink { target: b"x".to_vec() }, link: Some(link) },
    ]
}

/// Worked out by hand from `docs/format.md` section 9.
#[rustfmt::skip]
const GOLDEN: &[u8] = &[
    1,
    // One blob: its id, 12 bytes.
    1,
    0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb,
    0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb,
    12,
    // One name. One set of one attribute.
    1, 4, b'r', b'o', b'o', b't',
    1, 1, 6, b'u', b's', b'e', b'r', b'.', b'k', 1, b'v',
    // Three entries.
    3,
    // 15 bytes: "", directory, 0755, uid, gid, names 1 and 1, mtime 10.0, ctime one second less and 5 ns, inode 2, no set.
    15, 0, 0, 0, 0xed, 3, 0, 0, 1, 1, 20, 0, 1, 5, 2, 0,
    // 46 bytes: "a", file, 0644, 1000, 1000, no names, mtime -1 s + 999999999 ns, ctime the same second, inode 300, set 1.
    46, 0, 1, b'a', 1, 0xa4, 3, 0xe8, 7, 0xe8, 7, 0, 0, 1, 0xff, 0x93, 0xeb, 0xdc, 3, 0, 0, 0xac, 2, 1,
    // Size 5. Bundle: blob 0 at 7, content hash.
    1, 1, 5,
    2, 18, 0, 7, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
    // 23 bytes: "a" + "l", symlink, 0777, zeros; target "x"; group (1, 9).
    23, 1, 1, b'l', 2, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    5, 1, b'x',
    6, 2, 1, 9,
];

#[test]
fn a_page_has_the_bytes_of_the_specification() {
    assert_eq!(page(&golden_entries()), GOLDEN);
    assert_eq!(decode_leaf(GOLDEN).expect("golden page"), golden_entries());
}

#[test]
fn every_truncation_and_trailing_byte_is_refused() {
    for len in 0..GOLDEN.len() {
        let error = decode_leaf(&GOLDEN[..len]).expect_err("truncated");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}");
    }
    assert!(decode_leaf(&[GOLDEN, &[0]].concat()).is_err());
}

#[test]
fn no_flipped_bit_makes_the_decoder_panic() {
    for bit in 0..8 * GOLDEN.len() {
        let mut bytes = GOLDEN.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Err(error) = decode_leaf(&bytes) {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}");
        }
    }
}

#[test]
fn each_lie_is_named() {
    // Where the lengths of the three records stand.
    let entry = 53;
    let file = entry + 16;
    let link = file + 47;
    assert_eq!([GOLDEN[entry], GOLDEN[file], GOLDEN[link]], [15, 46, 23]);
    for (at, byte, sentence) in [
        (0, 2, "not a leaf page"),
        (34, 0, "a blob of 0 bytes"),
        (entry + 3, 6, "kind 6"),
        (entry + 5, 127, "12 bits"),
        (entry + 8, 2, "name number 2"),
        (entry + 15, 2, "attribute set number 2"),
        (file + 3, b'/', "path is not valid"),
        (file + 3, 0, "path is not valid"),
        (file + 18, 4, "nanoseconds"),
        (file + 26, 6, "content reaches beyond"),
        (file + 24, 10, "not after the one before"),
        (file + 29, 1, "blob number 1"),
        (link + 1, 2, "shares more"),
        (link + 3, 0, "path is not valid"),
        (link + 19, 0, "holds NUL"),
        (link + 4, 0, "does not belong to an entry of kind 0"),
        (link + 4, 3, "does not belong to an entry of kind 3"),
        (link + 4, 4, "device number is missing"),
    ] {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] = byte;
        let chain = decode_leaf(&bytes).expect_err("a lie").chain();
        assert!(chain.contains(sentence), "byte {at} = {byte}: {chain}");
    }
}

/// The golden page with `fields` after those of its symlink.
fn with_fields(fields: &[u8]) -> Vec<u8> {
    let at = GOLDEN.len() - 24;
    let mut bytes = [GOLDEN, fields].concat();
    bytes[at] += u8::try_from(fields.len()).expect("short");
    bytes
}

#[test]
fn unknown_fields_are_skipped_but_must_be_whole_and_in_order() {
    assert_eq!(decode_leaf(&with_fields(&[10, 2, 1, 1, 99, 0])).expect("unknown tags"), golden_entries());
    for wrong in [&[10, 2, 1][..], &[10], &[6, 0], &[11, 0, 10, 0]] {
        assert!(decode_leaf(&with_fields(wrong)).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_page_that_would_expand_to_gigabytes_is_refused() {
    // One path of 60,000 bytes, and entries that share all of it.
    let long = vec![b"x".repeat(249); 240].join(&b'/');
    let mut first = bundled("x", 1);
    first.path = crate::path::TreePath::parse(long.clone()).expect("long path");
    first.node = Node::Fifo;
    first.meta = Metadata { user: None, group: None, ..metadata(0) };
    let mut bytes = page(&[first]);
    let count = bytes.iter().position(|byte| *byte == 1).expect("kind byte") + 4;
    assert_eq!(bytes[count], 1, "number of entries");
    let mut records = Vec::new();
    for number in 0..1000 {
        let mut record = Vec::new();
        super::wire::put_len(&mut record, long.len());
        super::wire::put_bytes(&mut record, format!("y{number:03}").as_bytes());
        record.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        super::wire::put_bytes(&mut records, &record);
    }
    let mut number = Vec::new();
    super::wire::put_len(&mut number, 1001);
    bytes.splice(count..=count, number);
    bytes.extend(records);
    let chain = decode_leaf(&bytes).expect_err("too much").chain();
    assert!(chain.contains("the paths of the page"), "{chain}");
}

#[test]
fn entries_out_of_order_or_in_contradiction_are_refused_before_they_are_written() {
    let mut builder = PageBuilder::new(CUT_KEY);
    builder.push(&bundled("b", 1)).expect("first");
    assert_eq!(builder.push(&bundled("b", 1)).expect_err("twice").kind(), ErrorKind::Bug);
    assert_eq!(builder.push(&bundled("a", 1)).expect_err("before").kind(), ErrorKind::Bug);
    let mut wrong = bundled("c", 1);
    wrong.meta.mode = 0o10000;
    assert_eq!(builder.push(&wrong).expect_err("mode").kind(), ErrorKind::Bug);
    let mut wrong = bundled("c", 1);
    if let Node::File(file) = &mut wrong.node {
        file.size = 1 << 20;
    }
    assert_eq!(builder.push(&wrong).expect_err("beyond its bundle").kind(), ErrorKind::Bug);
}

#[test]
fn one_changed_file_changes_one_page_and_a_new_one_at_most_two() {
    let entries = many(20_000);
    let before = pages(&entries);
    assert!(before.len() > 8, "{} pages", before.len());
    assert_eq!(before.iter().map(|page| page.entries).sum::<u64>(), 20_000);
    for at in (0..20_000).step_by(997) {
        let mut changed = entries.clone();
        changed[at].meta.mtime = Timestamp { seconds: 5, nanos: 5 };
        let after = pages(&changed);
        assert_eq!(after.iter().filter(|page| !before.contains(page)).count(), 1, "entry {at}");
        let mut more = entries.clone();
        more.insert(
            at + 1,
            bundled(&format!("{}-copy", std::str::from_utf8(entries[at].path.as_bytes()).expect("text")), 9),
        );
        let after = pages(&more);
        assert!(after.iter().filter(|page| !before.contains(page)).count() <= 2, "entry after {at}");
    }
}

#[test]
fn large_attributes_end_a_page_before_it_is_larger_than_a_blob() {
    let entry = |number: u8| {
        let value = vec![number; 60_000];
        let xattrs = Arc::from([Xattr { name: b"user.big".to_vec(), value }]);
        let meta = Metadata { xattrs, ..metadata(1) };
        Entry { path: path(&format!("f{number:03}")), meta, node: Node::Fifo, link: None }
    };
    let entries: Vec<Entry> = (0..200).map(entry).collect();
    let pages = pages(&entries);
    assert_eq!(pages.len(), 3);
    let decoded: Vec<Entry> = pages.iter().flat_map(|page| decode_leaf(&page.bytes).expect("page")).collect();
    assert_eq!(decoded, entries);
}

proptest! {
    #[test]
    fn entries_of_all_kinds_come_back(entries in entries()) {
        let decoded: Vec<Entry> =
            pages(&entries).iter().flat_map(|page| decode_leaf(&page.bytes).expect("page")).collect();
        prop_assert_eq!(decoded, entries);
    }

    #[test]
    fn damage_of_any_page_is_an_error_or_another_page(entries in entries(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = page(&entries);
        let at = at.index(bytes.len());
        prop_assert!(decode_leaf(&bytes[..at]).is_err());
        bytes[at] = byte;
        if let Ok(decoded) = decode_leaf(&bytes) {
            prop_assert!(decoded.windows(2).all(|pair| pair[0].path < pair[1].path));
        }
    }

    #[test]
    fn any_bytes_decode_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_leaf(&bytes);
        bytes.insert(0, 1);
        let _ = decode_leaf(&bytes);
        bytes[0] = 2;
        let _ = super::InnerPage::decode(&bytes);
        bytes[0] = 3;
        let _ = super::ChunkList::decode(&bytes);
    }
}
