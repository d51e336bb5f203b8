//! A regular file of a target, open for reading and writing. Its metadata is set through the same descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::apply::{Apply, Inode, MetadataOutcome};
use super::resolve::os;
use super::sparse::{Run, runs};
use super::stat::{Stat, stat_fd};
use crate::catalog::Metadata;
use crate::error::{Error, ErrorKind, Result};
use crate::path::escape;

/// What is written at once where a file system cannot punch holes.
const ZEROS: usize = 64 << 10;

/// A file below a [`Target`](super::Target). May be written from several threads at once, at different places.
#[derive(Debug)]
pub struct TargetFile {
    fd: OwnedFd,
    on_disk: Vec<u8>,
    origin: Origin,
}

/// How a file came to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Created by us. `bare`: it has no attributes.
    Created { bare: bool },
    /// It was there.
    Existing,
}

impl TargetFile {
    pub(super) fn new(fd: OwnedFd, on_disk: Vec<u8>, origin: Origin) -> Self {
        Self { fd, on_disk, origin }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn sentence(&self, verb: &str) -> String {
        format!("{verb} {}", escape(&self.on_disk))
    }

    /// What the file is now. With `nlink` above 1 it has other names, which would change with it.
    pub fn stat(&self) -> Result<Stat> {
        os(stat_fd(self.fd.as_fd()), || self.sentence("stat"))
    }

    /// Whether this handle created the file.
    pub fn is_new(&self) -> bool {
        self.origin != Origin::Existing
    }

    /// Writes all of `data` at `offset`.
    pub fn write_all_at(&self, mut data: &[u8], mut offset: u64) -> Result<()> {
        while !data.is_empty() {
            let count = match rustix::io::pwrite(&self.fd, data, offset) {
                Err(Errno::INTR) => continue,
                answer => os(answer, || self.sentence("write"))?,
            };
            if count == 0 {
                return Err(Error::new(ErrorKind::Local, format!("{}: nothing was written", self.sentence("write"))));
            }
            data = data.get(count..).unwrap_or_default();
            offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Writes `data` at `offset`, but leaves or makes a hole where it is zeros for 16 KiB or more. A file that ends in a hole
    /// needs [`TargetFile::set_len`] in the end.
    pub fn write_sparse_at(&self, data: &[u8], offset: u64) -> Result<()> {
        for run in runs(data, offset) {
            let (Run::Data(range) | Run::Zeros(range)) = &run;
            let at = offset.saturating_add(u64::try_from(range.start).unwrap_or(u64::MAX));
            match &run {
                Run::Data(range) => self.write_all_at(data.get(range.clone()).unwrap_or_default(), at)?,
                // Nothing was ever written there.
                Run::Zeros(_) if self.is_new() => {}
                Run::Zeros(range) => self.make_hole(at, u64::try_from(range.len()).unwrap_or(0))?,
            }
        }
        Ok(())
    }

    /// Makes `len` bytes at `offset` read as zeros, without blocks where the file system can do that. The length of the file
    /// does not change.
    pub fn make_hole(&self, offset: u64, len: u64) -> Result<()> {
        let size = self.stat()?.size;
        let end = offset.saturating_add(len).min(size);
        if offset >= end {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.fd, mode, offset, end - offset) {
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => self.write_zeros(offset, end),
            answer => os(answer, || self.sentence("make a hole in")),
        }
    }

    fn write_zeros(&self, mut offset: u64, end: u64) -> Result<()> {
        let zeros = vec![0; ZEROS];
        while offset < end {
            let count = usize::try_from(end - offset).unwrap_or(ZEROS).min(ZEROS);
            self.write_all_at(zeros.get(..count).unwrap_or_default(), offset)?;
            offset += u64::try_from(count).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Reads from `offset`; fewer bytes than asked for may come. 0 is the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        loop {
            match rustix::io::pread(&self.fd, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                answer => return os(answer, || self.sentence("read")),
            }
        }
    }

    /// Makes the file `len` bytes long: cuts it off, or lets it end in a hole.
    pub fn set_len(&self, len: u64) -> Result<()> {
        os(rustix::fs::ftruncate(&self.fd, len), || self.sentence("set the length of"))
    }

    /// Gives the file owner, attributes, mode and times; the last thing to do with it. What could not be set for lack of
    /// privilege is counted.
    pub fn set_metadata(&self, wanted: &Metadata, options: &Apply<'_>) -> Result<MetadataOutcome> {
        let bare = self.origin == Origin::Created { bare: true };
        let inode = Inode { fd: self.fd.as_fd(), handle: false, bare };
        os(inode.apply(wanted, options), || self.sentence("set the metadata of"))
    }

    /// Returns when the content is on the disk.
    pub fn sync(&self) -> Result<()> {
        os(rustix::fs::fdatasync(&self.fd), || self.sentence("sync"))
    }
}
