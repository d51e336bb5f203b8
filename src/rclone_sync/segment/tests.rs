//! Segments against the page, against maps, against damage and against lies.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Change, FRAME_HEAD, SegmentReader, SegmentRef, SegmentWriter, Written};
use crate::catalog::{
    Content, Entry, Extent, FileNode, LinkGroup, Metadata, Node, ObjectAt, StoredObject, Timestamp, Xattr,
};
use crate::error::{ErrorKind, Result};
use crate::id::ObjectHash;
use crate::path::TreePath;
use crate::rclone_sync::merge::Merge;

fn path(text: &str) -> TreePath {
    TreePath::parse(text).expect("a path")
}

fn metadata(number: u64) -> Metadata {
    let mtime = Timestamp { seconds: 1_700_000_000 + number.cast_signed() % 100_000, nanos: 123_456_789 };
    Metadata {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: Some(b"someone".as_slice().into()),
        group: None,
        mtime,
        ctime: mtime,
        inode: 0,
        xattrs: Arc::from([]),
    }
}

fn directory(at: &str) -> Entry {
    Entry { path: path(at), meta: metadata(0), node: Node::Directory, link: None }
}

/// A file whose content is told from others by its number.
fn file(at: &str, number: u64) -> Entry {
    let bytes = *blake3::hash(&number.to_le_bytes()).as_bytes();
    let md5 = blake3::hash(&bytes);
    let etag = format!("\"{}\"", hex::encode(&md5.as_bytes()[..16])).into();
    let hash = ObjectHash::new(bytes);
    let object = StoredObject { hash: Some(hash), etag, version: None, at: ObjectAt::Plain, blocks: false };
    let content = Content::Object(Arc::new(object));
    let node = FileNode { size: number % 90_000 + 1, content, extents: None, incomplete: false };
    Entry { path: path(at), meta: metadata(number), node: Node::File(node), link: None }
}

/// `count` files in directories of a hundred.
fn tree(count: u64) -> Vec<Entry> {
    let mut entries = vec![directory("")];
    for number in 0..count {
        if number % 100 == 0 {
            entries.push(directory(&format!("dir-{:05}", number / 100)));
        }
        entries.push(file(&format!("dir-{:05}/some-file-{number:07}.txt", number / 100), number));
    }
    entries
}

fn write(dir: &tempfile::TempDir, name: &str, changes: impl IntoIterator<Item = Change>) -> Written {
    let mut writer = SegmentWriter::create(&dir.path().join(name)).expect("a file");
    for change in changes {
        match change {
            Change::Put(entry) => writer.put(&entry).expect("put"),
            Change::Remove(path) => writer.remove(&path).expect("removed"),
        }
    }
    writer.finish().expect("finished")
}

fn puts(entries: &[Entry]) -> Vec<Change> {
    entries.iter().cloned().map(|entry| Change::Put(Box::new(entry))).collect()
}

fn read(written: &Written) -> Result<Vec<Change>> {
    SegmentReader::of_file(&written.path, &written.at(1))?.collect()
}

#[test]
fn a_base_comes_back_and_costs_about_60_bytes_an_entry() {
    let dir = tempfile::tempdir().expect("a directory");
    let entries = tree(20_000);
    let written = write(&dir, "base", puts(&entries));
    assert_eq!(read(&written).expect("read"), puts(&entries));
    assert_eq!((written.entries, written.removed, written.files), (20_201, 0, 20_000));
    assert_eq!(written.bytes, (0..20_000).map(|number| number % 90_000 + 1).sum::<u64>());
    assert_eq!(written.size, std::fs::metadata(&written.path).expect("there").len());
    let each = written.size / written.entries;
    assert!((48..70).contains(&each), "{each} bytes an entry");
    let again = write(&dir, "again", puts(&entries));
    assert_eq!((again.hash, again.size), (written.hash, written.size));
}

#[test]
fn changes_come_back_in_the_order_of_paths_over_many_frames() {
    let dir = tempfile::tempdir().expect("a directory");
    // Long runs of removed paths end frames, too.
    let changes: Vec<Change> = (0..30_000)
        .map(|number| {
            let at = format!("dir/a-name-that-is-{number:06}");
            if number % 7 == 0 || (10_000..22_000).contains(&number) {
                Change::Remove(path(&at))
            } else {
                Change::Put(Box::new(file(&at, number)))
            }
        })
        .collect();
    let written = write(&dir, "delta", changes.clone());
    assert_eq!(read(&written).expect("read"), changes);
    let removed = changes.iter().filter(|change| matches!(change, Change::Remove(_))).count() as u64;
    assert_eq!((written.removed, written.entries), (removed, 30_000 - removed));
    let empty = write(&dir, "empty", []);
    assert_eq!(read(&empty).expect("read"), []);
}

#[test]
fn paths_out_of_order_are_refused_by_the_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut writer = SegmentWriter::create(&dir.path().join("x")).expect("a file");
    writer.put(&file("b", 1)).expect("first");
    assert_eq!(writer.remove(&path("b")).expect_err("twice").kind(), ErrorKind::Bug);
    let mut writer = SegmentWriter::create(&dir.path().join("x")).expect("a file");
    writer.remove(&path("b")).expect("first");
    assert_eq!(writer.put(&file("a", 1)).expect_err("behind").kind(), ErrorKind::Bug);
}

/// Worked out by hand from section 4 of the page.
#[test]
fn a_delta_has_the_bytes_of_the_page() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut entry = file("b", 6);
    let object = StoredObject {
        hash: Some(ObjectHash::new([0xaa; 32])),
        etag: format!("\"{}\"", "bc".repeat(16)).into(),
        version: Some("v1".into()),
        at: ObjectAt::Packed { pack: ObjectHash::new([0xdd; 32]), offset: 300 },
        blocks: true,
    };
    let extents = Some(vec![Extent { offset: 1, len: 2 }]);
    let node = FileNode { size: 7, content: Content::Object(Arc::new(object)), extents, incomplete: false };
    entry.node = Node::File(node);
    entry.meta = Metadata { mode: 0o600, uid: 0, gid: 0, user: None, mtime: Timestamp::default(), ..entry.meta };
    entry.meta.ctime = entry.meta.mtime;
    let changes = vec![Change::Remove(path("a")), Change::Remove(path("a/c")), Change::Put(Box::new(entry))];
    let written = write(&dir, "delta", changes.clone());
    assert_eq!(read(&written).expect("read"), changes);
    let bytes = std::fs::read(&written.path).expect("there");
    let field =
        [vec![0xaa; 32], vec![2 | 4 | 8 | 16], vec![0xbc; 16], b"\x02v1".to_vec(), vec![0xdd; 32], vec![0xac, 0x02]]
            .concat();
    let record = [
        b"\x00\x01b\x01\x80\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".as_slice(),
        b"\x01\x01\x07",
        b"\x08\x02\x01\x02",
        &[16, 86],
        &field,
    ]
    .concat();
    let frame = [b"\x02\x00\x01a\x01\x02/c".as_slice(), b"\x01\x00\x00\x00\x01", &[111], &record].concat();
    assert_eq!((field.len(), record.len()), (86, 111));
    let stored = u32::from_le_bytes(bytes[8..12].try_into().expect("four")) as usize;
    assert_eq!(&bytes[..8], b"vvmirr1\n");
    assert_eq!(bytes[12..16], u32::try_from(frame.len()).expect("short").to_le_bytes());
    assert_eq!(zstd::bulk::decompress(&bytes[16..16 + stored], 1 << 20).expect("zstd"), frame);
    let footer_at = 16 + stored + FRAME_HEAD;
    assert_eq!(bytes[16 + stored..footer_at], [0; FRAME_HEAD]);
    let end = bytes.len() - 16;
    let footer = zstd::bulk::decompress(&bytes[footer_at + 8..end], 1 << 20).expect("zstd");
    assert_eq!(footer, [1, 2, 1, u8::try_from(stored).expect("short"), 3, 1, b'a']);
    assert_eq!(bytes[end..end + 8], (footer_at as u64).to_le_bytes());
    assert_eq!(&bytes[end + 8..], b"vvmirrE\n");
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let changes = vec![
        Change::Put(Box::new(directory(""))),
        Change::Remove(path("a")),
        Change::Put(Box::new(file("b", 5))),
        Change::Remove(path("c")),
    ];
    let written = write(&dir, "delta", changes);
    let bytes = std::fs::read(&written.path).expect("there");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        for damaged in [&damaged[..], &bytes[..at]] {
            std::fs::File::create(&written.path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, damaged))
                .expect("written");
            let error = read(&written).expect_err("damaged");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error:?}");
        }
    }
    std::fs::File::create(&written.path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))
        .expect("written");
    let true_ref = written.at(1);
    for lie in [
        SegmentRef { size: true_ref.size + 1, ..true_ref.clone() },
        SegmentRef { size: true_ref.size - 1, ..true_ref.clone() },
        SegmentRef { entries: 3, ..true_ref.clone() },
        SegmentRef { entries: 1, ..true_ref.clone() },
        SegmentRef { removed: 1, ..true_ref.clone() },
        SegmentRef { hash: ObjectHash::new([1; 32]), ..true_ref },
    ] {
        let read: Result<Vec<Change>> = SegmentReader::of_file(&written.path, &lie).expect("opened").collect();
        assert_eq!(read.expect_err("a lie").kind(), ErrorKind::Corrupt, "{lie:?}");
    }
}

/// A segment of these bytes for frames, with a root that tells the truth about it.
fn forged(dir: &tempfile::TempDir, frames: &[&[u8]]) -> Result<Vec<Change>> {
    let mut bytes = super::MAGIC.to_vec();
    let mut push = |raw: &[u8], announced: usize| {
        let stored = zstd::bulk::compress(raw, 3).expect("zstd");
        bytes.extend(u32::try_from(stored.len()).expect("short").to_le_bytes());
        bytes.extend(u32::try_from(announced).expect("short").to_le_bytes());
        bytes.extend(stored);
    };
    for frame in frames {
        push(frame, frame.len());
    }
    let path = dir.path().join("forged");
    bytes.extend([0; 8]);
    let footer_at = bytes.len() as u64;
    let stored = zstd::bulk::compress(&[0], 3).expect("zstd");
    bytes.extend(u32::try_from(stored.len()).expect("short").to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(stored);
    bytes.extend(footer_at.to_le_bytes());
    bytes.extend(super::END);
    std::fs::File::create(&path).and_then(|mut file| std::io::Write::write_all(&mut file, &bytes)).expect("written");
    let hash = ObjectHash::new(*blake3::hash(&bytes).as_bytes());
    let lie = SegmentRef { generation: 1, hash, size: bytes.len() as u64, entries: u64::MAX, removed: u64::MAX };
    SegmentReader::of_file(&path, &lie)?.collect()
}

#[test]
fn frames_that_expand_without_bound_or_hold_nothing_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let bomb = vec![0u8; super::FRAME_MAX + 1];
    let many = [vec![0x80, 0x80, 0x08], vec![0; 1 << 20]].concat();
    let long_paths: Vec<u8> = {
        // 300 paths that share 60,000 bytes with the one before: 18 MiB written out.
        let mut frame = vec![0xac, 0x02, 0, 0xe0, 0xd4, 0x03];
        frame.extend((0..60_000).map(|at| if at % 200 == 199 { b'/' } else { b'a' }).collect::<Vec<u8>>());
        frame[60_005] = b'b';
        for n in 0..299u16 {
            frame.extend([0xdf, 0xd4, 0x03, 3, b'c']);
            frame.extend([b'a' + u8::try_from(n / 26).expect("small"), b'a' + u8::try_from(n % 26).expect("small")]);
        }
        frame
    };
    for (name, frames) in [
        ("bomb", vec![&bomb[..]]),
        ("too many removed paths", vec![&many[..]]),
        ("removed paths of gigabytes", vec![&long_paths[..]]),
        ("nothing", vec![&[0][..]]),
        ("the same path twice", vec![&[1, 0, 1, b'a'][..], &[1, 0, 1, b'a']]),
        ("a path of another tree", vec![&[1, 0, 2, b'.', b'.'][..]]),
        ("shares too much", vec![&[1, 1, 1, b'a'][..]]),
        ("a page that is none", vec![&[0, 2][..]]),
    ] {
        let error = forged(&dir, &frames).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error:?}");
    }
}

/// Entries of all kinds.
fn node() -> impl Strategy<Value = (Node, Option<LinkGroup>)> {
    let object =
        (any::<[u8; 32]>(), "[a-f0-9\"-]{1,40}", prop::option::of("[a-z0-9]{1,9}"), 0..3u8, any::<(bool, u64)>());
    let object = object.prop_map(|(hash, etag, version, at, (blocks, offset))| {
        let at = match at {
            0 => ObjectAt::Plain,
            1 => ObjectAt::Staged,
            _ => ObjectAt::Packed { pack: ObjectHash::new(hash), offset },
        };
        let etag = if blocks { format!("\"{}\"", hex::encode(&hash[..16])).into() } else { etag.into() };
        StoredObject { hash: Some(ObjectHash::new(hash)), etag, version: version.map(Into::into), at, blocks }
    });
    let group = prop::option::of(any::<u64>().prop_map(|inode| LinkGroup { device: 0, inode }));
    let file =
        (object, 1..u64::MAX, prop::option::of(0..3u64), any::<bool>()).prop_map(|(object, size, hole, is_cut)| {
            let extents = hole.map(|hole| {
                (hole < size).then_some(Extent { offset: hole, len: size.saturating_sub(hole) }).into_iter().collect()
            });
            Node::File(FileNode { size, content: Content::Object(Arc::new(object)), extents, incomplete: is_cut })
        });
    prop_oneof![
        3 => (file, group.clone()),
        1 => Just((Node::File(FileNode { size: 0, content: Content::Empty, extents: None, incomplete: false }), None)),
        1 => (1..99u64, any::<u64>()).prop_map(|(size, inode)| {
            let node = FileNode { size, content: Content::Empty, extents: None, incomplete: false };
            (Node::File(node), Some(LinkGroup { device: 0, inode }))
        }),
        2 => Just((Node::Directory, None)),
        1 => prop::collection::vec(1u8.., 1..9).prop_map(|target| (Node::Symlink { target }, None)),
        1 => Just((Node::Fifo, None)),
        1 => any::<(u32, u32)>().prop_map(|(major, minor)| (Node::CharDevice { major, minor }, None)),
    ]
}

fn entry(at: &TreePath) -> impl Strategy<Value = Entry> + use<> {
    let (at, xattr) = (at.clone(), prop::collection::vec(any::<u8>(), 0..4));
    (node(), any::<u16>(), xattr).prop_map(move |((node, link), number, value)| {
        let mut meta = metadata(u64::from(number));
        if number % 3 == 0 {
            meta.xattrs = Arc::from([Xattr { name: b"user.a".to_vec(), value }]);
        }
        Entry { path: at.clone(), meta, node, link }
    })
}

/// What one generation says of some paths.
fn layer() -> impl Strategy<Value = BTreeMap<TreePath, Change>> {
    let paths = prop::collection::btree_set("[a-d]{1,2}(/[a-d.]{1,2}){0,2}", 0..24);
    paths.prop_flat_map(|paths| {
        let paths: Vec<TreePath> = paths.into_iter().filter_map(|text| TreePath::parse(text).ok()).collect();
        let changes: Vec<_> = paths
            .into_iter()
            .map(|path| {
                let gone = Just(Change::Remove(path.clone()));
                let put = entry(&path).prop_map(|entry| Change::Put(Box::new(entry)));
                (Just(path), prop_oneof![2 => put.boxed(), 1 => gone.boxed()])
            })
            .collect();
        changes.prop_map(|changes| changes.into_iter().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_base_and_any_deltas_are_the_map_that_they_describe(layers in prop::collection::vec(layer(), 1..5)) {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut newest, mut readers) = (BTreeMap::new(), Vec::new());
        for (number, layer) in layers.into_iter().enumerate() {
            let written = write(&dir, &number.to_string(), layer.values().cloned());
            prop_assert_eq!(read(&written).expect("read"), layer.values().cloned().collect::<Vec<_>>());
            readers.push(SegmentReader::of_file(&written.path, &written.at(1)).expect("opened"));
            newest.extend(layer);
        }
        let merged: Result<Vec<Change>> = Merge::of(readers).collect();
        prop_assert_eq!(merged.expect("merged"), newest.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        start in 0..2usize,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..8usize, prop::collection::vec(any::<u8>(), 0..8)), 0..4),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let written = write(&dir, "true", puts(&tree(5)));
        let mut forged = if start == 0 { bytes } else { std::fs::read(&written.path).expect("there") };
        for (at, gone, come) in cuts {
            let at = at.index(forged.len() + 1);
            let end = (at + gone).min(forged.len());
            forged.splice(at..end, come);
        }
        std::fs::File::create(&written.path).and_then(|mut file| std::io::Write::write_all(&mut file, &forged)).expect("written");
        // As a hostile root would name it.
        let hash = ObjectHash::new(*blake3::hash(&forged).as_bytes());
        let named = SegmentRef { hash, size: forged.len() as u64, ..written.at(1) };
        let read: Result<Vec<Change>> = SegmentReader::of_file(&written.path, &named).expect("opened").collect();
        let read = read.map_err(|error| error.kind());
        prop_assert!(matches!(read, Ok(_) | Err(ErrorKind::Corrupt)), "{:?}", read);
    }

    #[test]
    fn no_frame_makes_a_reader_panic(frame in prop::collection::vec(any::<u8>(), 1..300)) {
        let dir = tempfile::tempdir().expect("a directory");
        prop_assert_eq!(forged(&dir, &[&frame]).expect_err("its counts are a lie").kind(), ErrorKind::Corrupt);
    }
}
