//! An entry that the walk found, and how to read what belongs to it. Nothing is opened until it is asked for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::owners::OwnerNames;
use super::resolve::{open_beneath, os};
use super::source_file::{SmallRead, SourceFile};
use super::stat::{EntryKind, Stat, stat_fd};
use super::xattrs::Reach;
use crate::catalog::{Metadata, Xattr};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{TreePath, escape};

/// A directory on disk below which entries are reached, by handle.
#[derive(Debug)]
pub struct SourceRoot {
    dir: OwnedFd,
    path: PathBuf,
    at: TreePath,
    /// The one entry of this root, where its name on disk is not that of its place.
    only: Option<Vec<u8>>,
    device: u64,
    euid: u32,
    /// The access time of any file may be left alone, not only of our own; cleared when that proves wrong.
    quiet: AtomicBool,
}

impl SourceRoot {
    /// Opens the directory at `path`, which stands at `at` in the snapshot. Links in `path` itself are followed: the user
    /// named it.
    pub(super) fn open(path: &Path, at: TreePath) -> Result<Self> {
        let said = || format!("open directory {}", escape(path.as_os_str().as_bytes()));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = os(rustix::fs::openat(CWD, path, flags, Mode::empty()), said)?;
        let device = os(stat_fd(dir.as_fd()), said)?.device;
        let euid = rustix::process::geteuid().as_raw();
        let quiet = AtomicBool::new(has_capability(CapabilitySet::FOWNER));
        Ok(Self { dir, path: path.to_path_buf(), at, only: None, device, euid, quiet })
    }

    pub(super) fn only(mut self, name: Vec<u8>) -> Self {
        self.only = Some(name);
        self
    }

    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn at(&self) -> &TreePath {
        &self.at
    }

    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// The path below the handle.
    pub(super) fn relative<'a>(&'a self, path: &'a TreePath) -> &'a [u8] {
        if let Some(name) = &self.only {
            return name;
        }
        let below = path.as_bytes().strip_prefix(self.at.as_bytes()).unwrap_or_default();
        below.strip_prefix(b"/").unwrap_or(below)
    }

    /// The path on disk, for exclude rules and for messages.
    pub(super) fn on_disk(&self, path: &TreePath) -> Vec<u8> {
        let mut bytes = self.path.as_os_str().as_bytes().to_vec();
        let below = self.relative(path);
        if !below.is_empty() && bytes.last() != Some(&b'/') {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(below);
        bytes
    }

    /// Opens `path` for reading and leaves its access time alone where the system permits that: with the capability for it, or
    /// when `owner` is us.
    pub(super) fn open_quietly(
        &self,
        path: &TreePath,
        flags: OFlags,
        owner: Option<u32>,
    ) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK;
        if self.quiet.load(Ordering::Relaxed) || owner == Some(self.euid) {
            match open_beneath(self.handle(), self.relative(path), flags | OFlags::NOATIME) {
                // It belongs to somebody else by now, or to somebody outside our user namespace.
                Err(Errno::PERM) => self.quiet.store(false, Ordering::Relaxed),
                answer => return answer,
            }
        }
        open_beneath(self.handle(), self.relative(path), flags)
    }
}

/// An entry of the tree as the walk saw it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it stands in the snapshot.
    pub path: TreePath,
    /// What it was when the walk came by.
    pub stat: Stat,
    /// How to reach it.
    pub root: Arc<SourceRoot>,
    /// It had no extended attributes then, as far as the walk was told to look.
    pub bare: bool,
}

impl Found {
    /// The path on disk, escaped, for messages.
    pub fn display(&self) -> String {
        escape(&self.root.on_disk(&self.path))
    }

    pub(super) fn sentence(&self, verb: &str) -> String {
        format!("{verb} {}", self.display())
    }

    /// Opens a regular file for reading: no link is followed, a pipe that took its place does not block, its access time stays
    /// where the system permits that.
    ///
    /// # Errors
    /// `NotFound` when it has vanished; `Local` when it is not a regular file any more.
    pub fn open(&self) -> Result<SourceFile> {
        let fd = self.open_unchecked()?;
        let stat = os(stat_fd(fd.as_fd()), || self.sentence("stat"))?;
        self.check_file(&stat)?;
        Ok(SourceFile::new(fd, stat, self.clone()))
    }

    /// Appends the content of a file of at most `max` bytes to `buffer`, in one go: open, read, stat, list attributes, close.
    /// A file that has grown beyond `max` is not read; see [`SmallRead`].
    pub fn read_small(&self, max: usize, buffer: &mut Vec<u8>) -> Result<SmallRead> {
        SmallRead::read(self, max, buffer)
    }

    /// Opens without looking what it is: the caller stats before it trusts what it read.
    pub(super) fn open_unchecked(&self) -> Result<OwnedFd> {
        let answer = self.root.open_quietly(&self.path, OFlags::empty(), Some(self.stat.uid));
        os(answer, || self.sentence("open"))
    }

    pub(super) fn check_file(&self, stat: &Stat) -> Result<()> {
        if stat.kind == EntryKind::File {
            return Ok(());
        }
        let text = format!("{} is a {} now, not a regular file", self.display(), stat.kind.name());
        Err(Error::new(ErrorKind::Local, text))
    }

    /// A handle of the entry itself, whatever it is: pipes and devices are not opened by it.
    fn handle(&self) -> Result<OwnedFd> {
        let below = self.root.relative(&self.path);
        os(open_beneath(self.root.handle(), below, OFlags::PATH), || self.sentence("open"))
    }

    /// Where a symbolic link points.
    pub fn link_target(&self) -> Result<Vec<u8>> {
        let handle = self.handle()?;
        let target = os(rustix::fs::readlinkat(&handle, c"", Vec::new()), || self.sentence("read link"))?;
        Ok(target.into_bytes())
    }

    /// The extended attributes of an entry of any kind, sorted by name, with the error of those that could not be read.
    pub fn xattrs(&self) -> (Arc<[Xattr]>, Option<Error>) {
        match self.handle() {
            Ok(handle) => self.xattrs_through(&Reach::handle(handle.as_fd())),
            Err(error) => (Arc::default(), Some(error)),
        }
    }

    pub(super) fn xattrs_through(&self, reach: &Reach<'_>) -> (Arc<[Xattr]>, Option<Error>) {
        let (xattrs, problem) = match reach.read_all() {
            // There is no /proc here, and only files and directories can be reached without.
            (_, Some(Errno::NOENT)) if matches!(reach, Reach::Handle(_)) => self.xattrs_without_proc(),
            answer => answer,
        };
        let said = || self.sentence("read the extended attributes of");
        (share(xattrs), problem.and_then(|errno| os::<()>(Err(errno), said).err()))
    }

    fn xattrs_without_proc(&self) -> (Vec<Xattr>, Option<Errno>) {
        let directory = match self.stat.kind {
            EntryKind::File => OFlags::empty(),
            EntryKind::Directory => OFlags::DIRECTORY,
            EntryKind::Symlink
            | EntryKind::Fifo
            | EntryKind::CharDevice
            | EntryKind::BlockDevice
            | EntryKind::Socket => return (Vec::new(), None),
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | directory;
        match open_beneath(self.root.handle(), self.root.relative(&self.path), flags) {
            Ok(fd) => Reach::open(fd.as_fd()).read_all(),
            Err(errno) => (Vec::new(), Some(errno)),
        }
    }

    /// What a snapshot keeps of the entry besides its content: what the walk saw, and the extended attributes as they are
    /// now. Never fails as a whole: an error says which attributes are missing. For regular files whose content is read
    /// too, [`SmallRead`] and [`SourceFile`] have the attributes at hand for less.
    pub fn metadata(&self, names: &OwnerNames) -> (Metadata, Option<Error>) {
        let (xattrs, problem) = self.xattrs();
        (names.metadata(&self.stat, xattrs), problem)
    }
}

/// Whether this thread may do what `capability` stands for, as far as it can tell.
pub(super) fn has_capability(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// The empty set is shared by all.
fn share(xattrs: Vec<Xattr>) -> Arc<[Xattr]> {
    if xattrs.is_empty() { Arc::default() } else { Arc::from(xattrs) }
}
