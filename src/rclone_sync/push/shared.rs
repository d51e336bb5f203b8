//! What the pushes to several destinations share: the options, what was told already, and the content of files that were just read.
//!
//! Each destination is pushed to by threads of its own, at its own pace: none waits for another. Those that are about as fast find what
//! the first of them has read; one that falls behind by more than [`WINDOW`] reads the source again. So a slow destination costs time of
//! the disk and nothing else, and a dead one nothing at all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::events::Watch;
use crate::path::TreePath;
use crate::volume::{Found, OwnerNames, ReadRate, TargetLock};

use super::super::destination::Destination;
use super::super::pull::TORN_IF;
use super::options::PushOptions;
use super::read::{FileRead, read_file};
use super::together::Together;
use super::unreadable;

/// Bytes of small files kept for the other destinations: one that is behind by a second reads them again at 16 MiB a second and more.
const WINDOW: usize = 16 << 20;
/// What a file kept counts for beside its bytes.
const SLOT: usize = 512;
/// Problems and notes that are remembered, so that each is told once; about 200 bytes each.
const TOLD_MAX: usize = 100_000;

/// Where a pull keeps what it has fetched: such a directory is the target of one.
pub(super) const PULL_STAGE: &[u8] = b".volvault-pull";

/// See the module.
pub(super) struct Shared<'a> {
    pub(super) source: &'a Path,
    pub(super) destinations: &'a [Destination],
    pub(super) options: &'a PushOptions,
    pub(super) watch: &'a Watch<'a>,
    pub(super) names: OwnerNames,
    pub(super) problems: AtomicU64,
    /// Bytes of small files that were read.
    pub(super) read: AtomicU64,
    pub(super) together: Together,
    pub(super) rate: ReadRate<'a>,
    told: Mutex<HashSet<String>>,
    reads: Mutex<Reads>,
}

#[derive(Default)]
struct Reads {
    slots: HashMap<TreePath, Arc<OnceLock<FileRead>>>,
    /// Those that are read, oldest first, with what they count for.
    order: VecDeque<(TreePath, usize)>,
    bytes: usize,
}

impl<'a> Shared<'a> {
    pub(super) fn new(
        source: &'a Path,
        destinations: &'a [Destination],
        options: &'a PushOptions,
        watch: &'a Watch<'a>,
    ) -> Self {
        // One alone waits for nobody.
        let several = if destinations.len() > 1 { destinations.len() } else { 0 };
        Self {
            source,
            destinations,
            options,
            watch,
            names: OwnerNames::load(),
            problems: AtomicU64::new(0),
            read: AtomicU64::new(0),
            together: Together::new(options.means.clock.clone(), options.together, several),
            rate: ReadRate::new(options.means.clock.clone(), watch.stop, options.read_rate),
            told: Mutex::default(),
            reads: Mutex::default(),
        }
    }

    /// Tells of something of the source that could not be read; once, however many destinations meet it.
    pub(super) fn problem(&self, during: &'static str, item: &str, error: &Error) {
        self.once(item, || {
            self.problems.fetch_add(1, Ordering::Relaxed);
            self.watch.problem(during, item, error);
        });
    }

    /// Does something the first time that it is named.
    pub(super) fn once(&self, name: &str, act: impl FnOnce()) {
        let mut told = lock(&self.told);
        let room = told.len() < TOLD_MAX;
        let new = if room { told.insert(name.to_owned()) } else { !told.contains(name) };
        drop(told);
        if new {
            act();
        }
    }

    /// Keeps pulls into the source away while it is read, where the file system has locks; pushes of one source are not in each other's way.
    pub(super) fn lock_source(&self) -> Result<TargetLock> {
        let lock = TargetLock::shared(self.source).map_err(|error| match error.kind() {
            ErrorKind::Denied => unreadable(self.source).with_source(error),
            _ => error,
        })?;
        lock.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, format!("a pull into {} is under way", self.source.display()))
                .with_hint("push when it is over: until then the directory is of two generations")
        })
    }

    /// Refuses a source that a pull has left between two generations.
    pub(super) fn check_pull(&self) -> Result<()> {
        let stage = self.source.join(OsStr::from_bytes(PULL_STAGE));
        if !TORN_IF.iter().any(|name| stage.join(name).exists()) {
            return Ok(());
        }
        let text = format!(
            "a pull into {} was cut off while it was applied, or could not do all of it",
            self.source.display()
        );
        Err(Error::new(ErrorKind::Unavailable, text)
            .with_hint("finish the pull first: until then the directory is of two generations"))
    }

    /// Whether a file of this path would lie among the control objects of a destination.
    pub(super) fn is_reserved(&self, path: &TreePath) -> bool {
        self.destinations.iter().any(|destination| destination.places.is_reserved(path))
    }

    /// Whether the source has a regular file or a directory at `path` with this ending.
    pub(super) fn has_object(&self, path: &TreePath, end: &str) -> bool {
        let mut name = self.source.join(path.as_os_str()).into_os_string();
        name.push(end);
        std::fs::symlink_metadata(name).is_ok_and(|meta| meta.is_file() || meta.is_dir())
    }

    /// The content of a file below the size of a big one.
    pub(super) fn read(&self, found: &Found) -> FileRead {
        if self.destinations.len() < 2 {
            return read_file(self, found);
        }
        let slot = Arc::clone(lock(&self.reads).slots.entry(found.path.clone()).or_default());
        let mut read_now = false;
        // Whoever comes while it is read waits for that.
        let read = slot.get_or_init(|| {
            read_now = true;
            read_file(self, found)
        });
        if read_now {
            lock(&self.reads).keep(&found.path, read.weight() + SLOT);
        }
        read.clone()
    }
}

impl Reads {
    fn keep(&mut self, path: &TreePath, weight: usize) {
        self.order.push_back((path.clone(), weight));
        self.bytes += weight;
        while self.bytes > WINDOW
            && let Some((oldest, weight)) = self.order.pop_front()
        {
            self.slots.remove(&oldest);
            self.bytes -= weight;
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
