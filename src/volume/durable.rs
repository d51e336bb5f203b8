//! The one way in which a file of our own is published: whole or not at all, and on the disk when the call returns.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::resolve::os;
use crate::error::{Attempt, Error, Result};
use crate::path::escape;

/// Names tried for the temporary file, when those of a killed process with our number are left.
const NAMES: u32 = 100;

/// What to do when the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// Fail with `AlreadyExists`; what is there stays.
    CreateNew,
    /// Take its place, in one step.
    Replace,
}

/// Writes a file with mode 0600: under a temporary name beside it, synced, then put in place, and the directory synced.
pub fn publish(path: &Path, bytes: &[u8], mode: Publish) -> Result<()> {
    let said = || format!("write {}", escape(path.as_os_str().as_bytes()));
    let name = path.file_name().ok_or_else(|| Error::invalid(format!("{}: not the name of a file", said())))?;
    let holder = match path.parent() {
        Some(holder) if !holder.as_os_str().is_empty() => holder,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = os(rustix::fs::openat(CWD, holder, flags, Mode::empty()), said)?;
    let (mut file, temporary) = os(create_temporary(dir.as_fd()), said)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).attempt(said);
    let placed = written.and_then(|()| {
        let (from, to) = (temporary.as_str(), name);
        os(
            match mode {
                Publish::CreateNew => rustix::fs::linkat(&dir, from, &dir, to, AtFlags::empty()),
                Publish::Replace => rustix::fs::renameat(&dir, from, &dir, to),
            },
            said,
        )
    });
    if placed.is_err() || mode == Publish::CreateNew {
        // What matters is told already; a leftover is only untidy.
        let _ = rustix::fs::unlinkat(&dir, temporary.as_str(), AtFlags::empty());
    }
    placed?;
    os(rustix::fs::fsync(&dir), said)
}

fn create_temporary(dir: BorrowedFd<'_>) -> rustix::io::Result<(File, String)> {
    let process = rustix::process::getpid().as_raw_nonzero();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for number in 0..NAMES {
        let name = format!(".volvault-{process}-{number}.tmp");
        match rustix::fs::openat(dir, name.as_str(), flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => {}
            answer => return answer.map(|fd| (File::from(fd), name)),
        }
    }
    Err(Errno::EXIST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_file_appears_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("status.json");
        publish(&path, b"first", Publish::CreateNew).expect("published");
        let error = publish(&path, b"second", Publish::CreateNew).expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("read"), b"first");
        publish(&path, b"second", Publish::Replace).expect("published");
        assert_eq!(std::fs::read(&path).expect("read"), b"second");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
        assert!(publish(Path::new("/"), b"", Publish::Replace).is_err());
    }
}
