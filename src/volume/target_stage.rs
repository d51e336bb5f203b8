//! What a staged change of a [`Target`] needs besides making and removing: one writer at a time, moves out of the tree,
//! directories that go only when they are empty, content that stays on the disk.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::resolve::{PASS, open_beneath, os, proc_path};
use super::stat::{Stat, stat_at, stat_fd};
use super::target::Target;
use super::target_file::TargetFile;
use super::target_look::TargetReader;
use crate::error::{Error, ErrorKind, Result};
use crate::path::{TreePath, escape};

/// Copied at once where the kernel cannot copy from file to file.
const PIECE: usize = 256 << 10;

/// Nobody else holds the lock of the directory as long as this lives; the kernel gives it back when the process ends.
#[derive(Debug)]
pub struct TargetLock(Option<OwnedFd>);

/// An open directory, and a path by which programs that want one reach it, whatever is moved or replaced meanwhile.
#[derive(Debug)]
pub struct DirHandle(OwnedFd);

impl DirHandle {
    /// Where a file of the directory is found as long as this lives. Needs `/proc`.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&proc_path(self.0.as_fd())).join(name)
    }

    /// What the directory is.
    pub fn stat(&self) -> Result<Stat> {
        os(stat_fd(self.0.as_fd()), || "stat an open directory".to_owned())
    }
}

impl Drop for TargetLock {
    fn drop(&mut self) {
        // Closing would not end it while a program that is just being started by another thread still has the handle.
        if let Some(fd) = &self.0 {
            let _ = rustix::fs::flock(fd, FlockOperation::Unlock);
        }
    }
}

impl TargetLock {
    /// Takes the lock of a directory that is only read: `None` while a process has it that writes there.
    pub fn shared(path: &Path) -> Result<Option<Self>> {
        let said = || format!("open directory {}", escape(path.as_os_str().as_bytes()));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = os(rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()), said)?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(Self(Some(fd)))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(_) => Ok(Some(Self(None))),
        }
    }
}

impl Target {
    /// Opens a directory of the target, to reach files in it by path.
    pub fn dir_handle(&self, path: &TreePath) -> Result<DirHandle> {
        os(open_beneath(self.handle(), path.as_bytes(), PASS), || self.sentence("open directory", path)).map(DirHandle)
    }

    /// Takes the lock of the directory itself; `None` when another process has it. Where the file system has no locks (some
    /// network file systems have none for directories) nothing is locked.
    pub fn lock(&self) -> Result<Option<TargetLock>> {
        let fd = self.open_to_list(&TreePath::root())?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(TargetLock(Some(fd)))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(_) => Ok(Some(TargetLock(None))),
        }
    }

    /// Removes the directory at `path` if nothing is in it; whether it is gone. Nothing there counts as gone, something else
    /// than a directory stays.
    pub fn remove_dir(&self, path: &TreePath) -> Result<bool> {
        let (parent, name) = self.locate(path)?;
        match self.unlink_from(parent.fd(), name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => return Ok(false),
            Ok(()) | Err(Errno::NOENT) => {}
            answer => os(answer, || self.sentence("remove directory", path))?,
        }
        self.parents.forget(path.as_bytes());
        Ok(true)
    }

    /// Moves what stands at `from` into another directory of the same file system, in place of a file that stands at `to`.
    pub fn move_to(&self, from: &TreePath, other: &Self, to: &TreePath) -> Result<()> {
        let (old, old_name) = self.locate(from)?;
        let (new, new_name) = other.locate(to)?;
        let said = || self.sentence("move away", from);
        let before = os(stat_at(old.fd(), old_name), said)?;
        os(rustix::fs::renameat(old.fd(), old_name, new.fd(), new_name), said)?;
        self.parents.forget(from.as_bytes());
        other.parents.forget(to.as_bytes());
        match stat_at(old.fd(), old_name) {
            // Of two names of one inode `rename` leaves both.
            Ok(after) if (after.device, after.inode) == (before.device, before.inode) => self.remove(from),
            _ => Ok(()),
        }
    }

    /// Gives what stands at `from`, which is no directory, another name in another directory of the same file system, in
    /// place of a file that stands there.
    ///
    /// # Errors
    /// `Local` when a directory stands there.
    pub fn link_to(&self, from: &TreePath, other: &Self, to: &TreePath) -> Result<()> {
        let (old, old_name) = self.locate(from)?;
        let (new, new_name) = other.locate(to)?;
        let said = || self.sentence("link", from);
        match rustix::fs::linkat(old.fd(), old_name, new.fd(), new_name, AtFlags::empty()) {
            Err(Errno::EXIST) => {
                other.unlink(&new, new_name, to)?;
                os(rustix::fs::linkat(old.fd(), old_name, new.fd(), new_name, AtFlags::empty()), said)
            }
            answer => os(answer, said),
        }
    }

    /// Returns when the names in the directory at `path` are on the disk.
    pub fn sync_dir(&self, path: &TreePath) -> Result<()> {
        let fd = self.open_to_list(path)?;
        os(rustix::fs::fsync(&fd), || self.sentence("sync", path))
    }
}

impl TargetFile {
    /// Copies `len` bytes at `from` of another file to `offset`, within the kernel where it can: a file system that shares
    /// blocks then stores nothing.
    ///
    /// # Errors
    /// `Local` when the other file ends before that.
    pub fn copy_from(&self, source: &TargetReader, from: u64, offset: u64, len: u64) -> Result<()> {
        let (mut from, mut offset, mut left) = (from, offset, len);
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX);
            let copied = rustix::fs::copy_file_range(
                source.as_fd(),
                Some(&mut from),
                self.as_fd(),
                Some(&mut offset),
                count.min(1 << 30),
            );
            match copied {
                Ok(0) => return Err(self.too_short()),
                Ok(copied) => left = left.saturating_sub(u64::try_from(copied).unwrap_or(u64::MAX)),
                Err(Errno::INTR) => {}
                // Another file system, or one that cannot.
                Err(Errno::XDEV | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL | Errno::PERM) => {
                    return self.copy_by_hand(source, from, offset, left);
                }
                Err(errno) => return os(Err(errno), || self.sentence("copy to")),
            }
        }
        Ok(())
    }

    fn copy_by_hand(&self, source: &TargetReader, mut from: u64, mut offset: u64, mut left: u64) -> Result<()> {
        let mut buffer = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        while left > 0 {
            let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = buffer.get_mut(..count).unwrap_or_default();
            if source.read_full_at(piece, from)? < count {
                return Err(self.too_short());
            }
            self.write_all_at(piece, offset)?;
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            (from, offset, left) = (from.saturating_add(count), offset.saturating_add(count), left - count);
        }
        Ok(())
    }

    fn too_short(&self) -> Error {
        Error::new(ErrorKind::Local, format!("{}: the file it comes from has become shorter", self.sentence("copy to")))
    }
}
