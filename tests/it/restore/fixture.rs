//! A repository in memory, snapshots written by hand, and a place to restore to with bystanders around it.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use volvault::catalog::{
    BlobRef, Content, Entry, Extent, FileNode, LinkGroup, Metadata, Node, StoredPage, Timestamp, TreeWriter, Xattr,
    store_chunks,
};
use volvault::chunker;
use volvault::clock::SystemClock;
use volvault::error::{Error, Result};
use volvault::events::{Action, Event, Observer, Progress, Stop, Watch};
use volvault::limits::Limits;
use volvault::path::TreePath;
use volvault::repo::{
    BlobKind, BlobWriter, Compression, InitOptions, OpenOptions, Repository, Session, Snapshot, Status, Summary,
    SystemEntropy,
};
use volvault::restore::{RestoreOptions, RestoreReport};
use volvault::secret::{Credential, Key32};
use volvault::storage::{Location, Store};

pub(crate) struct Fixture {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) objects: Arc<InMemory>,
    pub(crate) repo: Repository,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let objects = Arc::new(InMemory::new());
        let store = Store::from_object_store(Arc::clone(&objects) as Arc<dyn ObjectStore>, Location::Memory);
        let options = OpenOptions {
            limits: Limits { workers: 2, ..Limits::default() },
            compression: Compression::Auto,
            extra_verify: true,
            clock: SystemClock::new(),
            entropy: SystemEntropy::new(),
            runtime: runtime.handle().clone(),
            host: "host".to_owned(),
            user: "user".to_owned(),
        };
        let init = InitOptions {
            credential: Credential::Key(Key32::new([7; 32])),
            chunker: chunker::Params::around(256 << 10).expect("chunker"),
            kdf: None,
            label: String::new(),
        };
        let repo = Repository::init(store, &init, options).expect("init");
        Self { runtime, objects, repo }
    }

    /// Writes a snapshot of what `make` puts into it.
    pub(crate) fn snapshot(&self, make: impl FnOnce(&mut Maker<'_>)) -> Snapshot {
        let session = self.repo.write_session().expect("session");
        let writer = BlobWriter::new(&session, false);
        let mut maker = Maker { writer: &writer, entries: Vec::new(), repo: &self.repo };
        make(&mut maker);
        let entries = maker.entries;
        let mut tree = TreeWriter::new(self.repo.keys().page_cut());
        let mut store = |page: &[u8]| store_page(&writer, page);
        for entry in &entries {
            tree.push(entry, &mut store).expect("entry");
        }
        let root = tree.finish(&mut store).expect("tree");
        writer.finish().expect("finish");
        self.publish(&session, root)
    }

    /// Writes a snapshot with this root.
    pub(crate) fn publish(&self, session: &Session<'_>, root: volvault::catalog::InnerPage) -> Snapshot {
        let snapshot = Snapshot {
            id: session.id(),
            time: self.repo.clock().now(),
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
            prev: None,
            sparse: Vec::new(),
            known: Vec::new(),
        };
        session.publish(&snapshot).expect("publish");
        snapshot
    }

    pub(crate) fn restore(&self, snapshot: &Snapshot, options: &RestoreOptions) -> Outcome {
        self.restore_until(snapshot, options, &Stop::new())
    }

    pub(crate) fn restore_until(&self, snapshot: &Snapshot, options: &RestoreOptions, stop: &Stop) -> Outcome {
        let session = self.repo.read_session().expect("session");
        let heard = Heard::default();
        let progress = Progress::default();
        let watch = Watch { observer: &heard, progress: &progress, stop };
        let result = volvault::restore::run(&session, snapshot, options, &watch);
        let Heard { problems, items, notes } = heard;
        Outcome {
            result,
            problems: problems.into_inner().expect("lock"),
            items: items.into_inner().expect("lock"),
            notes: notes.into_inner().expect("lock"),
        }
    }

    /// The keys of stored objects below `prefix`.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<object_store::path::Path> {
        use futures::TryStreamExt;
        let list = self.objects.list(Some(&object_store::path::Path::from(prefix)));
        let mut keys: Vec<_> = self.runtime.block_on(list.map_ok(|meta| meta.location).try_collect()).expect("list");
        keys.sort();
        keys
    }

    /// Changes one byte of a stored object.
    pub(crate) fn damage(&self, key: &object_store::path::Path, at: usize) {
        self.runtime.block_on(async {
            let mut bytes = self.objects.get(key).await.expect("get").bytes().await.expect("bytes").to_vec();
            bytes[at] ^= 1;
            self.objects.put(key, bytes.into()).await.expect("put");
        });
    }
}

pub(crate) fn store_page(writer: &BlobWriter<'_>, page: &[u8]) -> Result<StoredPage> {
    let stored = writer.put(BlobKind::Tree, page)?;
    Ok(StoredPage { id: stored.blob.id, raw_len: stored.blob.raw_len, place: None })
}

/// What a restore said and did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<RestoreReport>,
    pub(crate) problems: Vec<String>,
    pub(crate) items: Vec<(Action, String)>,
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    pub(crate) fn report(&self) -> &RestoreReport {
        self.result.as_ref().expect("a restore that came to its end")
    }

    /// The report of a restore without a single problem.
    pub(crate) fn clean(&self) -> &RestoreReport {
        assert_eq!(self.problems, Vec::<String>::new());
        assert_eq!(self.report().problems, 0);
        self.report()
    }
}

#[derive(Default)]
struct Heard {
    problems: Mutex<Vec<String>>,
    items: Mutex<Vec<(Action, String)>>,
    notes: Mutex<Vec<String>>,
}

impl Observer for Heard {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Problem { item, error, .. } => {
                self.problems.lock().expect("lock").push(format!("{item}: {}", error.chain()));
            }
            Event::Item { action, path, .. } => self.items.lock().expect("lock").push((*action, path.display())),
            Event::Note { text } => self.notes.lock().expect("lock").push((*text).to_owned()),
            _ => {}
        }
    }

    fn wants_items(&self) -> bool {
        true
    }
}

/// Puts entries into a snapshot, in the order in which it is told.
pub(crate) struct Maker<'m> {
    writer: &'m BlobWriter<'m>,
    repo: &'m Repository,
    pub(crate) entries: Vec<Entry>,
}

pub(crate) fn tree_path(text: &str) -> TreePath {
    TreePath::parse(text).expect("path")
}

pub(crate) const TIME: Timestamp = Timestamp { seconds: 1_600_000_000, nanos: 123_456_789 };

pub(crate) fn meta(mode: u16) -> Metadata {
    Metadata {
        mode,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime: TIME,
        ctime: TIME,
        inode: 1,
        xattrs: Arc::default(),
    }
}

impl Maker<'_> {
    pub(crate) fn put(&self, content: &[u8]) -> BlobRef {
        self.writer.put(BlobKind::Data, content).expect("put").blob
    }

    pub(crate) fn add(&mut self, at: &str, mode: u16, node: Node) -> &mut Entry {
        self.entries.push(Entry { path: tree_path(at), meta: meta(mode), node, link: None });
        self.entries.last_mut().expect("just pushed")
    }

    pub(crate) fn dir(&mut self, at: &str) -> &mut Entry {
        self.add(at, 0o755, Node::Directory)
    }

    pub(crate) fn symlink(&mut self, at: &str, target: &str) -> &mut Entry {
        self.add(at, 0o777, Node::Symlink { target: target.as_bytes().to_vec() })
    }

    /// A small file in a bundle of its own.
    pub(crate) fn file(&mut self, at: &str, content: &[u8]) -> &mut Entry {
        self.bundle_bytes(&[(at, content)]);
        self.entries.last_mut().expect("just pushed")
    }

    /// Small files in one bundle.
    pub(crate) fn bundle(&mut self, files: &[(&str, &str)]) {
        let files: Vec<_> = files.iter().map(|(at, content)| (*at, content.as_bytes())).collect();
        self.bundle_bytes(&files);
    }

    fn bundle_bytes(&mut self, files: &[(&str, &[u8])]) {
        let joined: Vec<u8> = files.iter().flat_map(|(_, content)| content.iter().copied()).collect();
        let blob = (!joined.is_empty()).then(|| self.put(&joined));
        let mut offset = 0;
        for (at, content) in files {
            let content_ref = match blob {
                Some(blob) if !content.is_empty() => {
                    Content::Bundle { blob, offset, hash: self.repo.keys().content_hash(content) }
                }
                _ => Content::Empty,
            };
            let node = FileNode { size: content.len() as u64, content: content_ref, extents: None, incomplete: false };
            self.add(at, 0o644, Node::File(node));
            offset += u32::try_from(content.len()).expect("small");
        }
    }

    /// A file in chunks of `chunk` bytes, in lists where there are many.
    pub(crate) fn chunked(&mut self, at: &str, content: &[u8], chunk: usize) -> &mut Entry {
        let chunks = content.chunks(chunk).map(|piece| self.put(piece)).collect();
        let content_ref = store_chunks(chunks, &mut |page| store_page(self.writer, page)).expect("chunk lists");
        let node = FileNode { size: content.len() as u64, content: content_ref, extents: None, incomplete: false };
        self.add(at, 0o644, Node::File(node))
    }

    /// A file of `size` bytes with data only in `extents`, which `content` fills.
    pub(crate) fn sparse(&mut self, at: &str, size: u64, extents: &[(u64, u64)], content: &[u8]) -> &mut Entry {
        let extents = extents.iter().map(|(offset, len)| Extent { offset: *offset, len: *len }).collect();
        let entry = self.chunked(at, content, 100_000);
        if let Node::File(node) = &mut entry.node {
            node.size = size;
            node.extents = Some(extents);
        }
        entry
    }

    /// Makes the last entry one name of inode `inode`.
    pub(crate) fn linked(&mut self, inode: u64) -> &mut Entry {
        let entry = self.entries.last_mut().expect("an entry");
        entry.link = Some(LinkGroup { device: 1, inode });
        entry
    }

    /// Another name of inode `inode`, a file of `size` bytes.
    pub(crate) fn name(&mut self, at: &str, size: u64, inode: u64) -> &mut Entry {
        let node = FileNode { size, content: Content::Empty, extents: None, incomplete: false };
        self.add(at, 0o644, Node::File(node)).link = Some(LinkGroup { device: 1, inode });
        self.entries.last_mut().expect("just pushed")
    }
}

pub(crate) fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.as_bytes().to_vec(), value: value.to_vec() }
}

/// Bytes that differ from place to place and do not compress.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; len];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// A directory with a target in it and, beside the target, things that nobody may touch.
pub(crate) struct Arena {
    outer: tempfile::TempDir,
}

impl Arena {
    pub(crate) fn new() -> Self {
        let outer = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| outer.path().join(name);
        std::fs::create_dir_all(at("victim/dir/below")).expect("directories");
        std::fs::create_dir(at("target")).expect("directory");
        for (name, content) in
            [("victim/file", "precious"), ("victim/dir/inner", "inner"), ("victim/dir/below/deep", "deep")]
        {
            std::fs::File::create(at(name))
                .and_then(|mut file| std::io::Write::write_all(&mut file, content.as_bytes()))
                .expect("file");
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o640)).expect("mode");
        }
        symlink("file", at("victim/link")).expect("link");
        Self { outer }
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.outer.path().join("target")
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.target().join(name)
    }

    pub(crate) fn victim(&self, name: &str) -> PathBuf {
        self.outer.path().join("victim").join(name)
    }

    /// Everything outside of the target.
    pub(crate) fn outside(&self) -> BTreeMap<PathBuf, Seen> {
        let mut all = BTreeMap::new();
        see(self.outer.path(), &mut all);
        let target = self.target();
        all.retain(|path, _| !path.starts_with(&target) && path != self.outer.path());
        all
    }

    /// Everything in the target, by path in it.
    pub(crate) fn inside(&self) -> BTreeMap<PathBuf, Seen> {
        let mut all = BTreeMap::new();
        see(&self.target(), &mut all);
        all.into_iter()
            .map(|(path, seen)| (path.strip_prefix(self.target()).expect("below").to_path_buf(), seen))
            .collect()
    }

    pub(crate) fn options(&self) -> RestoreOptions {
        RestoreOptions::new(self.target())
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        std::fs::File::create(self.at(name))
            .and_then(|mut file| std::io::Write::write_all(&mut file, content))
            .expect("file");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// What an observer of a file system sees of an entry; change times tell of every touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) links: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) ctime: (i64, i64),
    pub(crate) content: Vec<u8>,
}

fn see(path: &Path, all: &mut BTreeMap<PathBuf, Seen>) {
    use std::os::unix::ffi::OsStrExt;
    let meta = std::fs::symlink_metadata(path).expect("stat");
    let content = if meta.is_symlink() {
        std::fs::read_link(path).expect("link").as_os_str().as_bytes().to_vec()
    } else if meta.is_file() && meta.len() < 1 << 24 {
        std::fs::read(path).expect("read")
    } else {
        Vec::new()
    };
    let seen = Seen {
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        inode: meta.ino(),
        links: meta.nlink(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        ctime: (meta.ctime(), meta.ctime_nsec()),
        content,
    };
    all.insert(path.to_path_buf(), seen);
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).expect("list") {
            see(&entry.expect("entry").path(), all);
        }
    }
}

/// Whether the tests may do what only root may.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn error_text(outcome: &Outcome) -> String {
    outcome.result.as_ref().map_or_else(Error::chain, |_| String::new())
}
