//! Entries and a store for the tests of this room.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use super::entry::{BlobRef, Content, Entry, Extent, FileNode, LinkGroup, Metadata, Node, Timestamp, Xattr};
use super::tree::StoredPage;
use crate::error::{Error, Result};
use crate::id::{BlobId, ContentHash};
use crate::path::TreePath;

pub(super) const CUT_KEY: [u8; 32] = [7; 32];

pub(super) fn path(text: &str) -> TreePath {
    TreePath::parse(text).expect("valid path")
}

pub(super) fn blob(number: u64, raw_len: u32) -> BlobRef {
    BlobRef { id: BlobId::new(*blake3::hash(&number.to_le_bytes()).as_bytes()), raw_len }
}

/// A file of `size` bytes in a bundle, as there are most of.
pub(super) fn bundled(path: &str, size: u32) -> Entry {
    let number = u64::from(size);
    let content = Content::Bundle { blob: blob(number / 64, 1 << 20), offset: 9, hash: ContentHash::new([3; 16]) };
    let file = FileNode { size: number, content, extents: None, incomplete: false };
    Entry { path: self::path(path), meta: metadata(number), node: Node::File(file), link: None }
}

pub(super) fn metadata(number: u64) -> Metadata {
    let seconds = 1_700_000_000 + number.cast_signed() % 5000;
    Metadata {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: Some(b"someone".as_slice().into()),
        group: Some(b"users".as_slice().into()),
        mtime: Timestamp { seconds, nanos: 123_456_789 },
        ctime: Timestamp { seconds: seconds + 3, nanos: 987_654_321 },
        inode: 1_000_000 + number,
        xattrs: Arc::from([]),
    }
}

/// `count` files in directories of about 100, in catalogue order.
pub(super) fn many(count: u32) -> Vec<Entry> {
    let mut entries: Vec<Entry> = (0..count)
        .map(|number| bundled(&format!("project/dir-{:04}/some-file-{number:06}.txt", number / 100), number % 4000 + 1))
        .collect();
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    entries
}

/// A store in memory.
#[derive(Default)]
pub(super) struct Pages(pub(super) HashMap<BlobId, Vec<u8>>);

impl Pages {
    #[expect(clippy::unnecessary_wraps, reason = "it has the shape of a store")]
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<StoredPage> {
        let id = BlobId::new(*blake3::hash(bytes).as_bytes());
        self.0.insert(id, bytes.to_vec());
        Ok(StoredPage { id, raw_len: u32::try_from(bytes.len()).expect("small"), place: None })
    }

    pub(super) fn get(&self, id: BlobId) -> Result<Vec<u8>> {
        self.0.get(&id).cloned().ok_or_else(|| Error::corrupt("no such page"))
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'.'), Just(0xff), Just(b' ')], 1..4),
        1 => prop::collection::vec(1u8.., 1..20),
    ]
}

fn paths() -> impl Strategy<Value = BTreeSet<TreePath>> {
    let one = prop::collection::vec(name(), 0..4).prop_map(|names| names.join(&b'/'));
    prop::collection::vec(one, 1..30)
        .prop_map(|paths| paths.into_iter().filter_map(|path| TreePath::parse(path).ok()).collect())
        .prop_filter("at least one valid path", |paths: &BTreeSet<TreePath>| !paths.is_empty())
}

fn metadatas() -> impl Strategy<Value = Metadata> {
    let name = prop::option::of(prop::sample::select(vec![&b"root"[..], b"users", b"\xff\xfe"]));
    let time = prop_oneof![Just(i64::MIN), Just(i64::MAX), -10i64..10, 1_700_000_000i64..1_800_000_000];
    let time = (time, 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos });
    let xattrs = prop::collection::btree_map(
        prop::sample::select(vec![&b"user.a"[..], b"user.b", b"security.capability"]),
        prop::collection::vec(any::<u8>(), 0..10),
        0..3,
    );
    let xattrs = xattrs.prop_map(|map| -> Arc<[Xattr]> {
        map.into_iter().map(|(name, value)| Xattr { name: name.to_vec(), value }).collect()
    });
    (0u16..=0o7777, any::<(u32, u32, u64)>(), name.clone(), name, (time.clone(), time), xattrs).prop_map(
        |(mode, (uid, gid, inode), user, group, (mtime, ctime), xattrs)| Metadata {
            mode,
            uid,
            gid,
            user: user.map(Arc::from),
            group: group.map(Arc::from),
            mtime,
            ctime,
            inode,
            xattrs,
        },
    )
}

/// Data length of a file from its parts, and holes around it if wanted.
fn file(data: u64, content: Content, gaps: Option<Vec<u64>>, incomplete: bool) -> Node {
    let Some(gaps) = gaps else {
        return Node::File(FileNode { size: data, content, extents: None, incomplete });
    };
    let (mut offset, mut left, mut extents) = (0, data, Vec::new());
    for gap in &gaps {
        offset += gap;
        let len = (left / 2).max(1).min(left);
        if len > 0 {
            extents.push(Extent { offset, len });
        }
        offset += len;
        left -= len;
    }
    if left > 0 {
        extents.push(Extent { offset, len: left });
        offset += left;
    }
    Node::File(FileNode { size: offset + 5, content, extents: Some(extents), incomplete })
}

fn nodes() -> impl Strategy<Value = Node> {
    let content = prop_oneof![
        Just((0u64, Content::Empty)),
        (1u32..5000, 0u32..100, 0u64..5, any::<[u8; 16]>()).prop_map(|(len, offset, number, hash)| {
            let blob = blob(number, len + offset + 7);
            (u64::from(len), Content::Bundle { blob, offset, hash: ContentHash::new(hash) })
        }),
        prop::collection::vec((0u64..9, 1u32..=8 << 20), 1..64).prop_map(|chunks| {
            let chunks: Vec<_> = chunks.into_iter().map(|(number, len)| blob(number, len)).collect();
            (chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum(), Content::Chunks(chunks))
        }),
        (0u8..=4, prop::collection::vec(0u64..9, 1..9), 1u64..1 << 50).prop_map(|(depth, lists, len)| {
            let lists = lists.into_iter().map(|number| blob(number, 77)).collect();
            (len, Content::Lists { depth, lists })
        }),
    ];
    let gaps = prop::option::of(prop::collection::vec(0u64..1000, 0..5));
    prop_oneof![
        2 => Just(Node::Directory),
        5 => (content, gaps, any::<bool>())
            .prop_map(|((data, content), gaps, incomplete)| file(data, content, gaps, incomplete)),
        1 => prop::collection::vec(1u8.., 1..30).prop_map(|target| Node::Symlink { target }),
        1 => Just(Node::Fifo),
        1 => any::<(u32, u32)>().prop_map(|(major, minor)| Node::CharDevice { major, minor }),
        1 => any::<(u32, u32)>().prop_map(|(major, minor)| Node::BlockDevice { major, minor }),
    ]
}

type Rest = (Metadata, Node, Option<(u64, u64)>);

/// Entries of all kinds in catalogue order, at least one.
pub(super) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let rest = (metadatas(), nodes(), prop::option::of(any::<(u64, u64)>()));
    (paths(), prop::collection::vec(rest, 30)).prop_map(|(paths, rest)| {
        let entry = |(path, (meta, mut node, link)): (TreePath, Rest)| {
            let link = link.map(|(device, inode)| LinkGroup { device, inode });
            let link = link.filter(|_| node != Node::Directory);
            if let (Node::File(file), Some(link)) = (&mut node, link)
                && link.inode % 2 == 0
            {
                file.content = Content::Empty;
            }
            Entry { path, meta, node, link }
        };
        paths.into_iter().zip(rest).map(entry).collect()
    })
}
