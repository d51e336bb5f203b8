//! What stands in a [`Target`] already, looked at without changing anything: a restore that finds all as it should be
//! makes no call that writes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use super::EntryKind;
use super::apply::{Apply, Ownership, is_ours};
use super::resolve::{open_beneath, os};
use super::stat::{Stat, stat_fd};
use super::target::Target;
use super::xattrs::Reach;
use crate::catalog::{Metadata, Xattr};
use crate::error::Result;
use crate::path::{TreePath, escape};

/// What is read at once to see whether it is zeros.
const PIECE: usize = 64 << 10;

/// A regular file of a target, open for reading only.
#[derive(Debug)]
pub struct TargetReader {
    fd: OwnedFd,
    on_disk: Vec<u8>,
    stat: Stat,
}

impl Target {
    /// Opens the regular file at `path` for reading: no link is followed, a pipe or device is not opened.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Local` when something else stands there.
    pub fn read_file(&self, path: &TreePath) -> Result<TargetReader> {
        let (parent, name) = self.locate(path)?;
        let handle = os(open_beneath(parent.fd(), name, OFlags::PATH), || self.sentence("open", path))?;
        let found = os(stat_fd(handle.as_fd()), || self.sentence("stat", path))?;
        self.check_kind(path, &found, EntryKind::File)?;
        let fd =
            os(open_beneath(parent.fd(), name, OFlags::RDONLY | OFlags::NONBLOCK), || self.sentence("open", path))?;
        let stat = os(stat_fd(fd.as_fd()), || self.sentence("stat", path))?;
        self.check_kind(path, &stat, EntryKind::File)?;
        Ok(TargetReader { fd, on_disk: self.on_disk(path), stat })
    }

    /// Where the symbolic link at `path` points; `None` when something else, or nothing, stands there.
    pub fn link_target(&self, path: &TreePath) -> Result<Option<Vec<u8>>> {
        let (parent, name) = self.locate(path)?;
        match rustix::fs::readlinkat(parent.fd(), name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(errno) => os(Err(errno), || self.sentence("read link", path)),
        }
    }

    /// Whether [`Target::set_metadata`] would find nothing to do at `path`, where `stat` was seen.
    pub fn has_metadata(&self, path: &TreePath, stat: &Stat, wanted: &Metadata, options: &Apply<'_>) -> Result<bool> {
        if !has_basics(stat, wanted, options) {
            return Ok(false);
        }
        if path.is_root() {
            let handle = os(open_beneath(self.handle(), b"", OFlags::PATH), || self.sentence("open", path))?;
            return Ok(has_xattrs(&Reach::handle(handle.as_fd()), &wanted.xattrs, options));
        }
        let (parent, name) = self.locate(path)?;
        Ok(has_xattrs(&Reach::named(parent.fd(), name), &wanted.xattrs, options))
    }

    /// As [`Target::has_metadata`], for a file that this program made where nobody else may write: it has attributes only if some are
    /// wanted, or if its directory gives them.
    pub fn has_metadata_as_made(
        &self,
        path: &TreePath,
        stat: &Stat,
        wanted: &Metadata,
        options: &Apply<'_>,
    ) -> Result<bool> {
        let (parent, _) = self.locate(path)?;
        Ok(wanted.xattrs.is_empty() && !parent.gives_acl && has_basics(stat, wanted, options))
    }
}

impl TargetReader {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What the file was when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Fills `buffer` from `offset` on; fewer bytes come only at the end of the file.
    pub fn read_full_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match rustix::io::pread(&self.fd, rest, at) {
                Err(Errno::INTR) => {}
                Ok(0) => break,
                answer => filled += os(answer, || format!("read {}", escape(&self.on_disk)))?,
            }
        }
        Ok(filled)
    }

    /// Whether `len` bytes from `offset` on are there and are zeros. Holes are not read.
    pub fn is_zero(&self, offset: u64, len: u64) -> Result<bool> {
        let end = offset.saturating_add(len);
        if end > self.stat.size && len > 0 {
            return Ok(false);
        }
        let mut buffer = Vec::new();
        let mut at = offset;
        while at < end {
            at = match rustix::fs::seek(&self.fd, SeekFrom::Data(at)) {
                Ok(data) => data.max(at),
                Err(Errno::NXIO) => return Ok(true),
                // No such thing here: everything is data.
                Err(_) => at,
            };
            if at >= end {
                return Ok(true);
            }
            buffer.resize(PIECE.min(usize::try_from(end - at).unwrap_or(PIECE)), 0);
            let count = self.read_full_at(&mut buffer, at)?;
            let piece = buffer.get(..count).unwrap_or_default();
            if count == 0 || piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += u64::try_from(count).unwrap_or(u64::MAX);
        }
        Ok(true)
    }

    /// Whether setting the metadata `wanted` would change nothing.
    pub fn has_metadata(&self, wanted: &Metadata, options: &Apply<'_>) -> bool {
        has_basics(&self.stat, wanted, options) && has_xattrs(&Reach::open(self.fd.as_fd()), &wanted.xattrs, options)
    }
}

/// Whether what was seen has the owner, mode and time of `wanted`; attributes aside.
pub fn has_basics(stat: &Stat, wanted: &Metadata, options: &Apply<'_>) -> bool {
    let is = (stat.uid, stat.gid);
    let recorded = (wanted.uid, wanted.gid);
    let (owner_is_set, owned) = match options.ownership {
        Ownership::Ids => (is == recorded, is == recorded),
        Ownership::Names(names) => {
            let uid = wanted.user.as_deref().and_then(|name| names.uid(name)).unwrap_or(wanted.uid);
            let gid = wanted.group.as_deref().and_then(|name| names.gid(name)).unwrap_or(wanted.gid);
            (is == (uid, gid), is == (uid, gid))
        }
        Ownership::Leave => (true, is == recorded),
    };
    let mode = if owned { wanted.mode & 0o7777 } else { wanted.mode & 0o777 };
    owner_is_set && stat.mtime == wanted.mtime && (stat.kind == EntryKind::Symlink || stat.mode == mode)
}

fn has_xattrs(reach: &Reach<'_>, wanted: &[Xattr], options: &Apply<'_>) -> bool {
    let (present, None) = reach.read_all() else { return false };
    let chosen = |name: &[u8]| options.xattr_filter.is_none_or(|filter| filter(name));
    let is_wanted = |name: &[u8]| wanted.iter().any(|xattr| xattr.name == name);
    let mut theirs =
        present.iter().filter(|xattr| chosen(&xattr.name) && (is_ours(&xattr.name) || is_wanted(&xattr.name)));
    let mut ours = wanted.iter().filter(|xattr| chosen(&xattr.name));
    // Both are sorted by name.
    loop {
        match (theirs.next(), ours.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) if left == right => {}
            _ => return false,
        }
    }
}
