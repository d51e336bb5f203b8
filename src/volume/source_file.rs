//! Reading the content of one file, and noticing when it changes under the reader.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

use super::found::Found;
use super::resolve::os;
use super::stat::{Stat, stat_fd};
use super::xattrs::Reach;
use crate::catalog::{Extent, Xattr};
use crate::error::{Error, Result};

/// Files from this size on are announced to the kernel as read from start to end (it doubles its read-ahead).
const SEQUENTIAL_FROM: u64 = 1 << 20;

/// Most extents that are told of one file (16 MiB of them). A file with more is read as if it had no holes.
const EXTENTS_MAX: usize = 1 << 20;

/// A regular file open for reading.
#[derive(Debug)]
pub struct SourceFile {
    fd: OwnedFd,
    stat: Stat,
    found: Found,
    position: u64,
}

impl SourceFile {
    pub(super) fn new(fd: OwnedFd, stat: Stat, found: Found) -> Self {
        if stat.size >= SEQUENTIAL_FROM {
            // Only advice: a file system that does not take it reads as before.
            let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Sequential);
        }
        Self { fd, stat, found, position: 0 }
    }

    /// What it was when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Reads on from where the last call ended. 0 is the end of the file.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.read_at(buffer, self.position)?;
        self.position = self.position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    /// Reads from `offset`; fewer bytes than asked for may come. 0 is the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        loop {
            match rustix::io::pread(&self.fd, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                answer => return os(answer, || self.found.sentence("read")),
            }
        }
    }

    /// Where the data of the file lies, up to the size it had when it was opened; `None` when it has no holes or the
    /// file system does not tell.
    pub fn extents(&self) -> Result<Option<Vec<Extent>>> {
        if !self.stat.may_have_holes() {
            return Ok(None);
        }
        let (mut extents, mut at, size) = (Vec::new(), 0, self.stat.size);
        while at < size {
            let start = match rustix::fs::seek(&self.fd, SeekFrom::Data(at)) {
                Ok(start) if start < size => start,
                Ok(_) | Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
                Err(errno) => return os(Err(errno), || self.found.sentence("find the holes of")),
            };
            let end = match rustix::fs::seek(&self.fd, SeekFrom::Hole(start)) {
                // Cut off at this very moment.
                Err(Errno::NXIO) => break,
                answer => os(answer, || self.found.sentence("find the holes of"))?.min(size),
            };
            if extents.len() == EXTENTS_MAX || end <= start {
                return Ok(None);
            }
            extents.push(Extent { offset: start, len: end - start });
            at = end;
        }
        let whole = matches!(extents.as_slice(), [only] if only.offset == 0 && only.len == size);
        Ok((!whole).then_some(extents))
    }

    /// The extended attributes, with the error of those that could not be read.
    pub fn xattrs(&self) -> (Arc<[Xattr]>, Option<Error>) {
        self.found.xattrs_through(&Reach::open(self.fd.as_fd()))
    }

    /// What the file is now; with [`Stat::same_content`] it tells whether it changed since it was opened.
    pub fn stat_now(&self) -> Result<Stat> {
        os(stat_fd(self.fd.as_fd()), || self.found.sentence("stat"))
    }
}

/// What came of reading a small file.
#[derive(Debug)]
pub struct SmallRead {
    /// Bytes appended to the buffer. When `stat.size` is beyond the limit, nothing was appended: the file has grown and is
    /// to be read with [`Found::open`].
    pub len: usize,
    /// The file changed while it was read, so the bytes may be of no one state of it.
    pub changed: bool,
    /// What the file was after the bytes were read.
    pub stat: Stat,
    /// Its extended attributes.
    pub xattrs: Arc<[Xattr]>,
    /// Why attributes are missing.
    pub xattr_problem: Option<Error>,
}

impl SmallRead {
    /// One `stat`, after the read: when it equals what the walk saw, nothing changed in between, neither before nor during
    /// the read, and the file was a regular one all the time. Only when it differs the file is read again.
    pub(super) fn read(found: &Found, max: usize, buffer: &mut Vec<u8>) -> Result<Self> {
        let fd = found.open_unchecked()?;
        let begin = buffer.len();
        let answer = Self::read_twice(&fd, found, max, buffer);
        if !matches!(&answer, Ok(small) if small.len > 0) {
            buffer.truncate(begin);
        }
        let (xattrs, xattr_problem) = found.xattrs_through(&Reach::open(fd.as_fd()));
        answer.map(|small| Self { xattrs, xattr_problem, ..small })
    }

    fn read_twice(fd: &OwnedFd, found: &Found, max: usize, buffer: &mut Vec<u8>) -> Result<Self> {
        let begin = buffer.len();
        let mut before = found.stat.clone();
        for last in [false, true] {
            buffer.truncate(begin);
            let expected = usize::try_from(before.size).unwrap_or(usize::MAX).min(max);
            let answer = read_all(fd, expected, max, buffer);
            let stat = os(stat_fd(fd.as_fd()), || found.sentence("stat"))?;
            found.check_file(&stat)?;
            let whole = os(answer, || found.sentence("read"))?;
            let len = if whole { buffer.len() - begin } else { 0 };
            let length_fits = u64::try_from(len).is_ok_and(|len| len == stat.size);
            let changed = !(length_fits && before.same_content(&stat));
            let grown = u64::try_from(max).is_ok_and(|max| stat.size > max);
            if last || grown || !changed {
                let len = if grown { 0 } else { len };
                // What was torn goes by its state before the read: the next run sees that it is another now, and reads again.
                let stat = if changed && !grown { before } else { stat };
                return Ok(Self { len, changed, stat, xattrs: Arc::default(), xattr_problem: None });
            }
            before = stat;
        }
        Err(Error::bug("the second read is the last"))
    }
}

/// Appends the whole file to `buffer`. One call when it is as long as expected: the byte beyond shows the end. `false` when
/// there is more than `max`.
fn read_all(fd: &OwnedFd, expected: usize, max: usize, buffer: &mut Vec<u8>) -> rustix::io::Result<bool> {
    let start = buffer.len();
    loop {
        let have = buffer.len() - start;
        let offset = u64::try_from(have).unwrap_or(u64::MAX);
        let room = expected.max(have).saturating_add(1).saturating_sub(have);
        buffer.reserve(room.max(512.min(max)));
        let asked = buffer.capacity() - buffer.len();
        match rustix::io::pread(fd, spare_capacity(buffer), offset) {
            Err(Errno::INTR) => {}
            answer => {
                let count = answer?;
                if buffer.len() - start > max {
                    return Ok(false);
                }
                // A file system may give less than is there, but not less than asked for and just what was expected.
                if count == 0 || (count < asked && buffer.len() - start == expected) {
                    return Ok(true);
                }
            }
        }
    }
}
