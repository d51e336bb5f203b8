//! Extended attributes, POSIX ACLs and capabilities among them: read, written, removed.

use std::os::fd::BorrowedFd;

use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

use super::resolve::proc_path;
use crate::catalog::Xattr;

/// Most that the kernel answers for a list of names or for one value.
const ANSWER_MAX: usize = 64 << 10;

/// Tries when an attribute grows between two calls.
const RETRIES: usize = 4;

/// How the inode is reached.
#[derive(Debug)]
pub(super) enum Reach<'a> {
    /// By a descriptor that was opened for reading or writing.
    Open(BorrowedFd<'a>),
    /// By an `O_PATH` handle, through its name under `/proc`.
    Handle(String),
    /// By its name in an open directory, under `/proc` too; a link there is looked at itself. For looking only: one call where a handle
    /// takes three.
    Named(Vec<u8>),
}

impl<'a> Reach<'a> {
    pub(super) fn handle(fd: BorrowedFd<'_>) -> Self {
        Self::Handle(proc_path(fd))
    }

    pub(super) fn named(dir: BorrowedFd<'_>, name: &[u8]) -> Self {
        Self::Named([proc_path(dir).as_bytes(), b"/", name].concat())
    }

    pub(super) fn open(fd: BorrowedFd<'a>) -> Self {
        Self::Open(fd)
    }

    fn list_into(&self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Self::Handle(path) => rustix::fs::listxattr(path.as_str(), buffer),
            Self::Named(path) => rustix::fs::llistxattr(path.as_slice(), buffer),
        }
    }

    fn get_into(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
            Self::Handle(path) => rustix::fs::getxattr(path.as_str(), name, buffer),
            Self::Named(path) => rustix::fs::lgetxattr(path.as_slice(), name, buffer),
        }
    }

    /// The names; none where the file system has no attributes.
    pub(super) fn list(&self) -> Result<Vec<Vec<u8>>> {
        let list = match whole(|buffer| self.list_into(buffer)) {
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
            answer => answer?,
        };
        Ok(list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// The value of `name`; `None` when there is no such attribute.
    pub(super) fn get(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        match whole(|buffer| self.get_into(name, buffer)) {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Sets `name`, whether it was there or not.
    pub(super) fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Handle(path) => rustix::fs::setxattr(path.as_str(), name, value, XattrFlags::empty()),
            Self::Named(path) => rustix::fs::lsetxattr(path.as_slice(), name, value, XattrFlags::empty()),
        }
    }

    /// Removes `name`.
    pub(super) fn remove(&self, name: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Handle(path) => rustix::fs::removexattr(path.as_str(), name),
            Self::Named(path) => rustix::fs::lremovexattr(path.as_slice(), name),
        }
    }

    /// All attributes, sorted by name. A value that cannot be read is left out and its error given beside the others.
    pub(super) fn read_all(&self) -> (Vec<Xattr>, Option<Errno>) {
        let names = match self.list() {
            Ok(names) => names,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let (mut xattrs, mut problem) = (Vec::with_capacity(names.len()), None);
        for name in names {
            match self.get(&name) {
                Ok(Some(value)) => xattrs.push(Xattr { name, value }),
                Ok(None) => {}
                Err(error) => problem = Some(error),
            }
        }
        xattrs.sort_unstable();
        xattrs.dedup_by(|left, right| left.name == right.name);
        (xattrs, problem)
    }
}

/// Calls until the answer fits. Most files have no attributes, and this is one call then.
fn whole(call: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; 512];
    match call(&mut small) {
        Err(Errno::RANGE) => {}
        answer => return Ok(small.get(..answer?).unwrap_or_default().to_vec()),
    }
    let mut big = vec![0; ANSWER_MAX];
    for _ in 0..RETRIES {
        match call(&mut big) {
            Err(Errno::RANGE | Errno::INTR) => {}
            answer => {
                big.truncate(answer?);
                return Ok(big);
            }
        }
    }
    Err(Errno::TOOBIG)
}
