//! From a directory handle and a relative path to another handle, without ever following a link or leaving
//! the directory.
//!
//! The kernel does it in one call (`openat2`, Linux 5.6). Where that is missing or filtered (old kernels, old
//! seccomp profiles) each component is opened on its own with `O_NOFOLLOW`. Paths longer than `PATH_MAX` are
//! walked in pieces, so the depth of a tree has no limit here.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use crate::error::{self, Attempt};

/// Longest path handed to the kernel at once; `PATH_MAX` is 4096 with the final NUL.
const PIECE_MAX: usize = 3800;

/// Tries after `EAGAIN`, which `openat2` answers when something was renamed under its feet.
const RETRIES: usize = 16;

/// What everything is opened with.
const CAREFUL: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// What a directory on the way is opened with.
pub(super) const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Opens `path` below `root`. `path` is that of a [`crate::path::TreePath`]: no empty, `.` or `..` components; the empty path
/// opens `root` itself anew. A symbolic link anywhere is an error (`ELOOP` or `ENOTDIR`), the last component included, unless
/// `flags` hold `O_PATH` without `O_DIRECTORY`: then the handle is of the link itself.
pub(super) fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    open_with(root, path, flags, kernel_resolves())
}

fn open_with(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, kernel: bool) -> Result<OwnedFd> {
    // `openat2` takes nothing meaningless: a handle cannot become a controlling terminal.
    let tty = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
    let flags = flags | tty | CAREFUL;
    let mut held: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > PIECE_MAX {
        let cut = rest.iter().take(PIECE_MAX).rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        let (piece, tail) = rest.split_at_checked(cut).ok_or(Errno::INVAL)?;
        held = Some(open_piece(held.as_ref().map_or(root, AsFd::as_fd), piece, PASS | CAREFUL, kernel)?);
        rest = tail.get(1..).unwrap_or_default();
    }
    open_piece(held.as_ref().map_or(root, AsFd::as_fd), rest, flags, kernel)
}

fn open_piece(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags, kernel: bool) -> Result<OwnedFd> {
    if path.is_empty() {
        return rustix::fs::openat(dir, c".", flags, Mode::empty());
    }
    if !path.contains(&b'/') {
        return retry(|| rustix::fs::openat(dir, path, flags, Mode::empty()));
    }
    if kernel {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        return retry(|| rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve));
    }
    let mut held: Option<OwnedFd> = None;
    let mut names = path.split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        let at = held.as_ref().map_or(dir, AsFd::as_fd);
        let flags = if names.peek().is_some() { PASS | CAREFUL } else { flags };
        held = Some(retry(|| rustix::fs::openat(at, name, flags, Mode::empty()))?);
    }
    held.ok_or(Errno::INVAL)
}

fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..RETRIES {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            answer => return answer,
        }
    }
    call()
}

/// Whether `openat2` works here; found out once per process.
fn kernel_resolves() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let flags = PASS | OFlags::CLOEXEC;
        rustix::fs::openat2(rustix::fs::CWD, c"/", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).is_ok()
    })
}

/// The name under which the kernel hands out what `fd` stands for, whatever its kind; works for `O_PATH` handles, which the
/// calls on descriptors refuse. Needs `/proc`.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Splits a path into its directory and its last component; `None` for the root.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(cut) => Some((path.get(..cut)?, path.get(cut + 1..)?)),
        None => Some((b"", path)),
    }
}

/// Turns the answer of a system call into ours.
pub(super) fn os<T>(answer: Result<T>, what: impl FnOnce() -> String) -> error::Result<T> {
    answer.map_err(io::Error::from).attempt(what)
}

/// Whether every further write would fail alike: the disk or the quota is full, or the file system cannot be written.
pub fn is_hopeless(error: &error::Error) -> bool {
    let mut next = Some(error as &(dyn std::error::Error + 'static));
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
            return matches!(io.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem);
        }
        next = cause.source();
    }
    false
}

/// Whether it failed because two places lie on different file systems.
pub fn is_elsewhere(error: &error::Error) -> bool {
    let mut next = Some(error as &(dyn std::error::Error + 'static));
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::CrossesDevices;
        }
        next = cause.source();
    }
    false
}

/// Reads at most `max` bytes from the start of a regular file in `dir`; for tag files and the like.
pub(super) fn read_head(dir: BorrowedFd<'_>, name: &[u8], max: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let fd = open_beneath(dir, name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let mut head = Vec::new();
    if super::stat::stat_fd(fd.as_fd())?.kind == super::EntryKind::File {
        File::from(fd).take(max).read_to_end(&mut head)?;
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn neither_way_of_resolving_follows_links_or_leaves_the_root() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("root/a/b")).expect("directories");
        std::fs::create_dir_all(at("outside/b")).expect("directories");
        symlink("../outside", at("root/out")).expect("link");
        symlink("a", at("root/in")).expect("link");
        symlink("b", at("root/a/last")).expect("link");
        let root = File::open(at("root")).expect("root");
        for kernel in [true, false] {
            let open = |path: &str, flags| open_with(root.as_fd(), path.as_bytes(), flags, kernel);
            assert!(open("a/b", PASS).is_ok());
            assert!(open("", PASS).is_ok());
            assert_eq!(open("a/missing", PASS).err(), Some(Errno::NOENT));
            for wrong in ["out/b", "in/b", "a/last", "out", "in"] {
                let error = open(wrong, PASS).expect_err(wrong);
                assert!(matches!(error, Errno::LOOP | Errno::NOTDIR), "{wrong}: {error}");
            }
            let link = open("a/last", OFlags::PATH).expect("a handle of the link itself");
            assert_eq!(
                crate::volume::stat::stat_fd(link.as_fd()).expect("stat").kind,
                crate::volume::EntryKind::Symlink
            );
        }
        assert!(kernel_resolves());
    }

    #[test]
    fn paths_split_at_their_last_slash() {
        assert_eq!(split(b""), None);
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
    }
}
