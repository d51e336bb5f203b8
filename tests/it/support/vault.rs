//! A repository in memory with everything that a backup needs, and eyes that see what a snapshot holds.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::Runtime;
use volvault::backup::{self, BackupOptions, BackupReport, ParentChoice, Skip};
use volvault::catalog::{Content, Entry, Extent, Node};
use volvault::clock::{SharedClock, SystemClock};
use volvault::events::{Event, Observer, Progress, Stop, Watch};
use volvault::limits::Limits;
use volvault::repo::{
    BlobKind, Compression, Entropy, InitOptions, OpenOptions, Repository, Selector, Session, SharedEntropy, Snapshot,
    SnapshotFilter, SystemEntropy, Wanted,
};
use volvault::secret::{Credential, Key32};
use volvault::size::ByteSize;
use volvault::storage::{Location, Store};
use volvault::volume::rules::RuleOptions;
use volvault::volume::{Rules, sources_from_args};
use volvault::{Result, chunker};

use super::hasty;

/// A store, and a runtime to reach it.
pub(crate) struct Vault {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) limits: Limits,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
}

/// A runtime with two threads.
pub(crate) fn runtime() -> Arc<Runtime> {
    Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}

/// Bytes that follow from a seed: the same ids, keys and salts in each run, in the order in which they are asked for.
#[derive(Debug)]
pub(crate) struct SeededEntropy {
    seed: [u8; 32],
    drawn: AtomicU64,
}

impl SeededEntropy {
    /// The source of one of those who take part.
    pub(crate) fn of(seed: u64, who: u64) -> SharedEntropy {
        let seed = *blake3::Hasher::new().update(&seed.to_le_bytes()).update(&who.to_le_bytes()).finalize().as_bytes();
        Arc::new(Self { seed, drawn: AtomicU64::new(0) })
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        let drawn = self.drawn.fetch_add(1, Ordering::SeqCst);
        blake3::Hasher::new_keyed(&self.seed).update(&drawn.to_le_bytes()).finalize_xof().fill(bytes);
        Ok(())
    }

    fn occasion(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl Vault {
    /// An empty store in memory, and bounds that make many packs of little data.
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    pub(crate) fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self::on(runtime(), objects)
    }

    pub(crate) fn on(runtime: Arc<Runtime>, objects: Arc<dyn ObjectStore>) -> Self {
        let limits = Limits { pack_size: ByteSize::kib(64), workers: 2, readers: 2, ..Limits::default() };
        Self { runtime, objects, limits, clock: SystemClock::new(), entropy: SystemEntropy::new() }
    }

    /// As [`Vault::new`], with a repository in it.
    pub(crate) fn ready() -> Self {
        let vault = Self::new();
        vault.init().unwrap();
        vault
    }

    pub(crate) fn credential() -> Credential {
        Credential::Key(Key32::new([7; 32]))
    }

    pub(crate) fn store(&self) -> Store {
        Store::from_object_store_with(Arc::clone(&self.objects), Location::Memory, hasty())
    }

    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions {
            limits: self.limits.clone(),
            compression: Compression::Auto,
            extra_verify: true,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            runtime: self.runtime.handle().clone(),
            host: "test".to_owned(),
            user: "tester".to_owned(),
        }
    }

    pub(crate) fn init(&self) -> Result<Repository> {
        self.init_in(self.store())
    }

    /// Makes one at another place, on this runtime.
    pub(crate) fn init_in(&self, store: Store) -> Result<Repository> {
        let chunker = chunker::Params::around(16 << 10)?;
        let init = InitOptions { credential: Self::credential(), chunker, kdf: None, label: String::new() };
        Repository::init(store, &init, self.options())
    }

    pub(crate) fn open(&self) -> Result<Repository> {
        self.open_with(&Self::credential())
    }

    pub(crate) fn open_with(&self, credential: &Credential) -> Result<Repository> {
        Repository::open(self.store(), credential, self.options())
    }

    /// Keys and sizes of all objects.
    pub(crate) fn objects_listed(&self) -> Vec<(String, u64)> {
        self.runtime
            .block_on(self.store().list(""))
            .unwrap()
            .into_iter()
            .map(|object| (object.key, object.size))
            .collect()
    }
}

/// Options for a backup of `dir` itself.
pub(crate) fn options_for(dir: &Path) -> BackupOptions {
    BackupOptions {
        sources: sources_from_args(&[PathBuf::from(".")], dir).unwrap(),
        paths: vec![dir.as_os_str().as_bytes().to_vec()],
        rules: Arc::new(Rules::new(RuleOptions::default()).unwrap()),
        excludes: Vec::new(),
        tags: Vec::new(),
        host: "test".to_owned(),
        time: None,
        parent: ParentChoice::Auto,
        ignore_ctime: false,
        ignore_inode: false,
        read_rate: None,
        dry_run: false,
        skip: Skip::Never,
    }
}

/// Remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(crate) problems: Mutex<Vec<String>>,
}

impl Observer for Ear {
    fn on(&self, event: &Event<'_>) {
        if let Event::Problem { item, error, .. } = event {
            self.problems.lock().unwrap().push(format!("{item}: {}", error.chain()));
        }
    }
}

pub(crate) fn backup(repo: &Repository, options: &BackupOptions) -> Result<BackupReport> {
    let (progress, stop) = (Progress::default(), Stop::new());
    backup::run(repo, options, &Watch { observer: &Ear::default(), progress: &progress, stop: &stop })
}

/// One entry as a test compares it: what it is, its times and its bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: &'static str,
    pub(crate) mode: u16,
    pub(crate) mtime: (i64, u32),
    pub(crate) bytes: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hash = blake3::hash(&self.bytes).to_hex();
        write!(f, "{} {:o} {:?} {} bytes {}", self.kind, self.mode, self.mtime, self.bytes.len(), &hash[..8])
    }
}

/// Panics with the first entry that differs.
pub(crate) fn assert_same(left: &BTreeMap<Vec<u8>, Seen>, right: &BTreeMap<Vec<u8>, Seen>) {
    for path in left.keys().chain(right.keys()) {
        assert_eq!(left.get(path), right.get(path), "{}", String::from_utf8_lossy(path));
    }
}

/// All entries of a snapshot with their content, read through the library.
pub(crate) fn contents(session: &Session<'_>, snapshot: &Snapshot) -> Result<BTreeMap<Vec<u8>, Seen>> {
    let reader = session.reader();
    let mut seen = BTreeMap::new();
    let mut groups = BTreeMap::new();
    for entry in reader.tree(&snapshot.root, None) {
        let entry = entry?;
        let (kind, bytes) = match &entry.node {
            Node::Directory => ("dir", Vec::new()),
            Node::File(file) => match (entry.link, file.size > 0 && matches!(file.content, Content::Empty)) {
                (Some(group), true) => ("file", groups.get(&(group.device, group.inode)).cloned().unwrap_or_default()),
                (link, _) => {
                    let bytes = file_bytes(session, &entry)?;
                    link.map(|group| groups.insert((group.device, group.inode), bytes.clone()));
                    ("file", bytes)
                }
            },
            Node::Symlink { target } => ("link", target.clone()),
            Node::Fifo => ("fifo", Vec::new()),
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
                ("device", format!("{major}:{minor}").into_bytes())
            }
        };
        let mtime = (entry.meta.mtime.seconds, entry.meta.mtime.nanos);
        seen.insert(entry.path.as_bytes().to_vec(), Seen { kind, mode: entry.meta.mode, mtime, bytes });
    }
    Ok(seen)
}

pub(crate) fn file_bytes(session: &Session<'_>, entry: &Entry) -> Result<Vec<u8>> {
    let reader = session.reader();
    let Node::File(file) = &entry.node else { return Ok(Vec::new()) };
    let data = if let Content::Bundle { blob, offset, .. } = &file.content {
        let wanted = [Wanted { kind: BlobKind::Data, blob: *blob, place: None }];
        let bundle = reader.collect(&wanted)?.remove(0);
        let start = *offset as usize;
        bundle[start..start + usize::try_from(file.size).unwrap()].to_vec()
    } else {
        let chunks = reader.chunks(file)?.collect::<Result<Vec<_>>>()?;
        let wanted: Vec<_> =
            chunks.iter().map(|blob| Wanted { kind: BlobKind::Data, blob: *blob, place: None }).collect();
        reader.collect(&wanted)?.concat()
    };
    let Some(extents) = &file.extents else { return Ok(data) };
    let mut bytes = vec![0; usize::try_from(file.size).unwrap()];
    let mut at = 0;
    for Extent { offset, len } in extents {
        let (offset, len) = (usize::try_from(*offset).unwrap(), usize::try_from(*len).unwrap());
        bytes[offset..offset + len].copy_from_slice(&data[at..at + len]);
        at += len;
    }
    Ok(bytes)
}

/// The newest complete snapshot and its contents.
pub(crate) fn latest(repo: &Repository) -> Result<(Snapshot, BTreeMap<Vec<u8>, Seen>)> {
    let session = repo.observe()?;
    let snapshot = session
        .find(&Selector::Latest { previous: 0, as_of: None, include_partial: false }, &SnapshotFilter::default())?;
    let seen = contents(&session, &snapshot)?;
    Ok((snapshot, seen))
}

/// A directory as [`contents`] would show it, read by the standard library.
pub(crate) fn on_disk(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut seen = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(path) = left.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let (kind, bytes) = if kind.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            ("dir", Vec::new())
        } else if kind.is_symlink() {
            ("link", std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else if kind.is_fifo() {
            ("fifo", Vec::new())
        } else if kind.is_file() {
            ("file", std::fs::read(&path).unwrap())
        } else {
            continue;
        };
        let mode = u16::try_from(meta.mode() & 0o7777).unwrap();
        let mtime = (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap());
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        seen.insert(name, Seen { kind, mode, mtime, bytes });
    }
    seen
}

/// Bytes that do not compress and do not repeat, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
