//! Synthetic snapshots, written through the repository's own interface, and what a check says of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use volvault::Result;
use volvault::catalog::{
    BlobRef, Content, Entry, FileNode, InnerPage, Metadata, Node, StoredPage, Timestamp, TreeWriter, store_chunks,
};
use volvault::events::{Observer, Progress, Stop, Watch};
use volvault::maintenance::{self, CheckOptions, CheckReport, ReadData};
use volvault::path::TreePath;
use volvault::repo::{BlobKind, BlobWriter, Repository, Session, Snapshot, SnapshotName, Status, Summary, pack_key};
use volvault::storage::Store;

use super::vault::{Ear, Vault};

/// Files of a synthetic snapshot: path, and content; a content of `None` is a directory.
pub(crate) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// How a file of a synthetic snapshot is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All files in one bundle.
    Bundle,
    /// Each file as chunks of so many bytes.
    Chunks(usize),
}

/// A repository in memory whose objects a test can get at.
pub(crate) struct Bench {
    pub(crate) vault: Vault,
    pub(crate) objects: Arc<InMemory>,
}

impl Bench {
    /// A new repository.
    pub(crate) fn new() -> Self {
        let bench = Self::over(InMemory::new());
        bench.vault.init().unwrap();
        bench
    }

    pub(crate) fn over(objects: InMemory) -> Self {
        let objects = Arc::new(objects);
        Self { vault: Vault::over(objects.clone()), objects }
    }

    pub(crate) fn open(&self) -> Repository {
        self.vault.open().unwrap()
    }

    /// Keys of all objects below `prefix`.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.vault.objects_listed().into_iter().map(|(key, _)| key);
        listed.filter(|key| key.starts_with(prefix)).collect()
    }

    pub(crate) fn get(&self, key: &str) -> Bytes {
        let read = async { self.objects.get(&key.into()).await.unwrap().bytes().await.unwrap() };
        self.vault.runtime.block_on(read)
    }

    pub(crate) fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.vault.runtime.block_on(self.objects.put(&key.into(), bytes.into().into())).unwrap();
    }

    pub(crate) fn delete(&self, key: &str) {
        self.vault.runtime.block_on(self.objects.delete(&key.into())).unwrap();
    }

    /// The keys of the packs that the index knows, and what is in them.
    pub(crate) fn kinds_of_packs(&self) -> BTreeMap<String, BlobKind> {
        let repo = self.open();
        let session = repo.observe().unwrap();
        let segments = session.open_segments(false).unwrap().into_iter().map(|(_, segment)| segment.unwrap());
        let infos = segments.flat_map(|segment| segment.packs().to_vec()).collect::<Vec<_>>();
        infos.into_iter().map(|info| (pack_key(&info.pack.name), info.kind)).collect()
    }

    /// Changes one byte in the middle of an object.
    pub(crate) fn damage(&self, key: &str) {
        let mut bytes = self.get(key).to_vec();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        self.put(key, bytes);
    }

    pub(crate) fn check(&self, read_data: ReadData) -> CheckReport {
        check(&self.open(), read_data).unwrap()
    }

    /// Opens another store with this repository's key, on this runtime.
    pub(crate) fn open_store(&self, store: Store) -> Result<Repository> {
        Repository::open(store, &Vault::credential(), self.vault.options())
    }
}

/// Runs a check.
pub(crate) fn check(repo: &Repository, read_data: ReadData) -> Result<CheckReport> {
    check_heard(repo, read_data, &Ear::default())
}

pub(crate) fn check_heard(repo: &Repository, read_data: ReadData, observer: &dyn Observer) -> Result<CheckReport> {
    let (progress, stop) = (Progress::default(), Stop::new());
    maintenance::check(repo, &CheckOptions { read_data }, &Watch { observer, progress: &progress, stop: &stop })
}

fn metadata(mode: u16) -> Metadata {
    Metadata {
        mode,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime: Timestamp { seconds: 1_700_000_000, nanos: 1 },
        ctime: Timestamp { seconds: 1_700_000_000, nanos: 2 },
        inode: 1,
        xattrs: Arc::from([]),
    }
}

pub(crate) fn entry(path: &str, node: Node) -> Entry {
    let mode = if matches!(node, Node::Directory) { 0o755 } else { 0o644 };
    Entry { path: TreePath::parse(path).unwrap(), meta: metadata(mode), node, link: None }
}

pub(crate) fn file(path: &str, size: usize, content: Content) -> Entry {
    entry(path, Node::File(FileNode { size: size as u64, content, extents: None, incomplete: false }))
}

/// Stores a tree blob as pages and lists are stored.
pub(crate) fn store_page(writer: &BlobWriter<'_>, bytes: &[u8]) -> Result<StoredPage> {
    let stored = writer.put(BlobKind::Tree, bytes)?;
    Ok(StoredPage { id: stored.blob.id, raw_len: stored.blob.raw_len, place: None })
}

/// The entries of `tree`, their content stored.
pub(crate) fn entries(repo: &Repository, writer: &BlobWriter<'_>, tree: &Tree, layout: Layout) -> Vec<Entry> {
    let mut bundle = Vec::new();
    tree.values().flatten().for_each(|content| bundle.extend_from_slice(content));
    let whole = (layout == Layout::Bundle).then(|| writer.put(BlobKind::Data, &bundle).unwrap().blob);
    let mut offset = 0;
    let mut entries = Vec::new();
    for (path, content) in tree {
        let Some(content) = content else {
            entries.push(entry(path, Node::Directory));
            continue;
        };
        let stored = match (layout, whole) {
            (Layout::Chunks(len), _) => {
                let put = |chunk: &[u8]| writer.put(BlobKind::Data, chunk).unwrap().blob;
                let chunks: Vec<BlobRef> = content.chunks(len).map(put).collect();
                store_chunks(chunks, &mut |list| store_page(writer, list)).unwrap()
            }
            (Layout::Bundle, Some(blob)) if !content.is_empty() => {
                Content::Bundle { blob, offset, hash: repo.keys().content_hash(content) }
            }
            (Layout::Bundle, _) => Content::Empty,
        };
        offset += u32::try_from(content.len()).unwrap();
        entries.push(file(path, content.len(), stored));
    }
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    entries
}

/// Writes a snapshot of `tree`.
pub(crate) fn write_tree(repo: &Repository, tree: &Tree, layout: Layout) -> SnapshotName {
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let entries = entries(repo, &writer, tree, layout);
    write_entries(&session, &writer, &entries)
}

/// Writes a snapshot of these entries, and ends the session.
pub(crate) fn write_entries(session: &Session<'_>, writer: &BlobWriter<'_>, entries: &[Entry]) -> SnapshotName {
    let mut pages = TreeWriter::new(session.repo().keys().page_cut());
    for entry in entries {
        pages.push(entry, &mut |page| store_page(writer, page)).unwrap();
    }
    let root = pages.finish(&mut |page| store_page(writer, page)).unwrap();
    publish(session, writer, root)
}

/// Publishes a snapshot with this root.
pub(crate) fn publish(session: &Session<'_>, writer: &BlobWriter<'_>, mut root: InnerPage) -> SnapshotName {
    writer.finish().unwrap();
    root.fill_hints(&|id| writer.place(&id));
    session.publish(&snapshot(session, root)).unwrap()
}

fn snapshot(session: &Session<'_>, root: InnerPage) -> Snapshot {
    Snapshot {
        id: session.id(),
        time: session.repo().clock().now(),
        host: "host".to_owned(),
        user: "user".to_owned(),
        uid: 0,
        gid: 0,
        paths: vec![b"/data".to_vec()],
        tags: Vec::new(),
        excludes: Vec::new(),
        parent: None,
        original: None,
        status: Status::Complete,
        root,
        program: "test".to_owned(),
        summary: Summary::default(),
        seq: 0,
        prev: session.snapshots().first().map(|newest| newest.id),
        sparse: Vec::new(),
        known: Vec::new(),
    }
}
