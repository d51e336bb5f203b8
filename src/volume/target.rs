//! The directory that is restored into. Everything happens relative to handles below it.
//!
//! Paths are resolved anew or through a handle that was resolved before, never through a link. Somebody who moves
//! a directory of the target elsewhere while we write into it finds the rest of our files there: they move our
//! directory, we do not leave it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::EntryKind;
use super::apply::{Apply, Inode, MetadataOutcome};
use super::found::has_capability;
use super::parents::{Parent, Parents};
use super::resolve::{open_beneath, os, split};
use super::stat::{Stat, stat_at, stat_fd};
use super::target_file::{Origin, TargetFile};
use crate::catalog::Metadata;
use crate::error::{Error, ErrorKind, Result};
use crate::path::{TreePath, escape};

/// Tries when somebody else puts something back where we just removed it.
const RETRIES: usize = 8;

/// An open directory and the handles of those below it that were used last. Shared by all threads of a restore.
#[derive(Debug)]
pub struct Target {
    root: Arc<Parent>,
    path: PathBuf,
    pub(super) parents: Parents,
    /// Permissions of directories do not bind us.
    pub(super) privileged: bool,
    /// Directories with content may be removed to make room for something else.
    remove_trees: bool,
}

/// What may be removed to make room for a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Only what is not a regular file.
    OtherKinds,
    /// A regular file too.
    Anything,
}

/// Whether a special file could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is there.
    Yes,
    /// The system does not permit it.
    NotPermitted,
}

impl Target {
    /// Opens the directory at `path`, and creates it, with those above it, when `create` says so. Links in `path` itself are
    /// followed: the user named it.
    ///
    /// # Errors
    /// `NotFound` when it does not exist and is not to be created.
    pub fn open(path: &Path, create: bool) -> Result<Self> {
        let said = || format!("open directory {}", escape(path.as_os_str().as_bytes()));
        if create {
            os(
                std::fs::create_dir_all(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
                || format!("create directory {}", escape(path.as_os_str().as_bytes())),
            )?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = os(rustix::fs::openat(CWD, path, flags, Mode::empty()), said)?;
        Ok(Self {
            root: Arc::new(Parent::new(fd)),
            path: path.to_path_buf(),
            parents: Parents::default(),
            privileged: has_capability(CapabilitySet::DAC_OVERRIDE),
            remove_trees: false,
        })
    }

    /// Permits that a directory with content is removed when the snapshot has something else at its place. Without, that is an
    /// error.
    #[must_use]
    pub fn remove_trees(mut self, permit: bool) -> Self {
        self.remove_trees = permit;
        self
    }

    /// The directory as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.root.fd()
    }

    /// The path on disk, for messages.
    pub(super) fn on_disk(&self, path: &TreePath) -> Vec<u8> {
        self.path.join(path.as_os_str()).into_os_string().as_bytes().to_vec()
    }

    pub(super) fn sentence(&self, verb: &str, path: &TreePath) -> String {
        format!("{verb} {}", escape(&self.on_disk(path)))
    }

    /// The handle of the directory that holds `path`, and its name there.
    pub(super) fn locate<'a>(&self, path: &'a TreePath) -> Result<(Arc<Parent>, &'a [u8])> {
        let (dir, name) = split(path.as_bytes()).ok_or_else(|| Error::bug("the root of a target has no name in it"))?;
        let parent = if dir.is_empty() {
            Arc::clone(&self.root)
        } else {
            os(self.parents.get(self.handle(), dir), || self.sentence("open the directory of", path))?
        };
        Ok((parent, name))
    }

    /// What stands at `path`, links not followed; `None` when nothing does, or when a directory on the way is missing or is
    /// no directory.
    pub fn stat(&self, path: &TreePath) -> Result<Option<Stat>> {
        let answer = match split(path.as_bytes()) {
            None => stat_fd(self.handle()),
            Some((b"", name)) => stat_at(self.handle(), name),
            Some((dir, name)) => self.parents.get(self.handle(), dir).and_then(|parent| stat_at(parent.fd(), name)),
        };
        match answer {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            answer => os(answer, || self.sentence("stat", path)).map(Some),
        }
    }

    /// The names in a directory with their kinds, in byte order.
    pub fn list(&self, dir: &TreePath) -> Result<Vec<(Vec<u8>, EntryKind)>> {
        let fd = self.open_to_list(dir)?;
        self.list_open(&fd, dir)
    }

    pub(super) fn list_open(&self, fd: &OwnedFd, dir: &TreePath) -> Result<Vec<(Vec<u8>, EntryKind)>> {
        let mut buffer = Vec::with_capacity(super::listing::READ_BUFFER);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = os(entry, || self.sentence("list directory", dir))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match EntryKind::from_file_type(entry.file_type()) {
                Some(kind) => kind,
                None => match stat_at(fd.as_fd(), name) {
                    Err(Errno::NOENT) => continue,
                    answer => os(answer, || self.sentence("list directory", dir))?.kind,
                },
            };
            names.push((name.to_vec(), kind));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes sure that a real directory stands at `path`. One that is there stays, with what is in it; anything else is replaced,
    /// a link without a look at its target. The directory is open to its owner until its metadata is set.
    pub fn create_dir(&self, path: &TreePath) -> Result<()> {
        if path.is_root() {
            return if self.privileged { Ok(()) } else { self.open_up(self.handle(), path) };
        }
        let (parent, name) = self.locate(path)?;
        // A handle from before may be of a directory that is not there any more.
        self.parents.forget(path.as_bytes());
        for _ in 0..RETRIES {
            match rustix::fs::mkdirat(parent.fd(), name, Mode::RWXU) {
                Err(Errno::EXIST) => {}
                answer => return os(answer, || self.sentence("create directory", path)),
            }
            match open_beneath(parent.fd(), name, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(_) if self.privileged => return Ok(()),
                Ok(fd) => return self.open_up(fd.as_fd(), path),
                Err(Errno::NOTDIR | Errno::LOOP) => self.clear(&parent, name, path)?,
                Err(Errno::NOENT) => {}
                Err(errno) => return os(Err(errno), || self.sentence("open directory", path)),
            }
        }
        Err(self.contested(path))
    }

    /// Creates a regular file with mode 0600 where none is, after removing what stands there as far as `replace` permits.
    ///
    /// # Errors
    /// `AlreadyExists` when a regular file stands there that is not to be replaced.
    pub fn create_file(&self, path: &TreePath, replace: Replace) -> Result<TargetFile> {
        let (parent, name) = self.locate(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..RETRIES {
            match rustix::fs::openat(parent.fd(), name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) => {}
                answer => {
                    let fd = os(answer, || self.sentence("create", path))?;
                    let origin = Origin::Created { bare: !parent.gives_acl };
                    return Ok(TargetFile::new(fd, self.on_disk(path), origin));
                }
            }
            let is_file = || matches!(stat_at(parent.fd(), name), Ok(stat) if stat.kind == EntryKind::File);
            if replace == Replace::OtherKinds && is_file() {
                return Err(Error::new(ErrorKind::AlreadyExists, self.sentence("create", path)));
            }
            self.clear(&parent, name, path)?;
        }
        Err(self.contested(path))
    }

    /// Opens the regular file at `path` for reading and writing. One that its owner may not write is made writable.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Local` when something else stands there.
    pub fn open_file(&self, path: &TreePath) -> Result<TargetFile> {
        let (parent, name) = self.locate(path)?;
        // The kind is known before anything is opened: a device must not be.
        let stat = os(stat_at(parent.fd(), name), || self.sentence("stat", path))?;
        self.check_kind(path, &stat, EntryKind::File)?;
        let open = || open_beneath(parent.fd(), name, OFlags::RDWR | OFlags::NONBLOCK);
        let fd = match open() {
            Err(Errno::ACCESS) => {
                let handle = os(open_beneath(parent.fd(), name, OFlags::PATH), || self.sentence("open", path))?;
                let inode = Inode { fd: handle.as_fd(), handle: true, bare: false };
                // Not ours: the second try says so.
                let _ = inode.chmod(stat.mode | 0o600);
                open()
            }
            answer => answer,
        };
        let fd = os(fd, || self.sentence("open", path))?;
        let stat = os(stat_fd(fd.as_fd()), || self.sentence("stat", path))?;
        self.check_kind(path, &stat, EntryKind::File)?;
        Ok(TargetFile::new(fd, self.on_disk(path), Origin::Existing))
    }

    pub(super) fn check_kind(&self, path: &TreePath, stat: &Stat, wanted: EntryKind) -> Result<()> {
        if stat.kind == wanted {
            return Ok(());
        }
        let (is, name) = (stat.kind.name(), wanted.name());
        Err(Error::new(ErrorKind::Local, format!("{} is a {is}, not a {name}", escape(&self.on_disk(path)))))
    }

    pub(super) fn contested(&self, path: &TreePath) -> Error {
        let text = format!("{}: somebody keeps putting something in its place", self.sentence("create", path));
        Error::new(ErrorKind::Local, text)
    }

    /// Makes room at a place that is to hold something else.
    pub(super) fn clear(&self, parent: &Parent, name: &[u8], path: &TreePath) -> Result<()> {
        match rustix::fs::unlinkat(parent.fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Linux says the first, POSIX the second, when it is a directory.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return os(Err(errno), || self.sentence("remove", path)),
        }
        self.parents.forget(path.as_bytes());
        match rustix::fs::unlinkat(parent.fd(), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.remove_trees => self.remove(path),
            answer => os(answer, || self.sentence("remove", path)).map_err(|error| {
                error.with_hint("a directory with content stands there: remove it, or permit deletion")
            }),
        }
    }

    /// Gives what stands at `path` owner, attributes, mode and times. For directories this comes after everything in them, and
    /// deepest first: writing into a directory changes its times, and its mode may forbid it.
    ///
    /// # Errors
    /// `Local` when something other than `kind` stands there.
    pub fn set_metadata(
        &self,
        path: &TreePath,
        kind: EntryKind,
        wanted: &Metadata,
        options: &Apply<'_>,
    ) -> Result<MetadataOutcome> {
        let said = || self.sentence("set the metadata of", path);
        let (parent, name) = if path.is_root() { (Arc::clone(&self.root), &b""[..]) } else { self.locate(path)? };
        if kind == EntryKind::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            match open_beneath(parent.fd(), name, flags) {
                // Not readable even for us: a handle will do.
                Err(Errno::ACCESS) => {}
                Err(errno) => return os(Err(errno), said),
                Ok(fd) => {
                    let inode = Inode { fd: fd.as_fd(), handle: false, bare: false };
                    return os(inode.apply(wanted, options), said);
                }
            }
        }
        let fd = os(open_beneath(parent.fd(), name, OFlags::PATH), said)?;
        let stat = os(stat_fd(fd.as_fd()), said)?;
        self.check_kind(path, &stat, kind)?;
        os(Inode { fd: fd.as_fd(), handle: true, bare: false }.apply(wanted, options), said)
    }
}

/// The number of a device node.
pub(super) fn device_number(major: u32, minor: u32) -> Dev {
    rustix::fs::makedev(major, minor)
}

/// The file type of a device node.
pub(super) fn device_type(kind: EntryKind) -> Option<FileType> {
    match kind {
        EntryKind::CharDevice => Some(FileType::CharacterDevice),
        EntryKind::BlockDevice => Some(FileType::BlockDevice),
        EntryKind::Directory | EntryKind::File | EntryKind::Symlink | EntryKind::Fifo | EntryKind::Socket => None,
    }
}
