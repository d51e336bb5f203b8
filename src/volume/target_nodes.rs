//! What a [`Target`] makes and removes besides directories and regular files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::EntryKind;
use super::apply::Inode;
use super::parents::Parent;
use super::resolve::{open_beneath, os};
use super::stat::{Stat, stat_at, stat_fd};
use super::target::{Made, Target, device_number, device_type};
use crate::catalog::Node;
use crate::error::{Error, Result};
use crate::path::TreePath;

/// Tries when somebody else puts something back where we just removed it.
const RETRIES: usize = 8;

impl Target {
    /// Makes a symbolic link at `path`, in place of what is there.
    pub fn symlink(&self, path: &TreePath, target: &[u8]) -> Result<()> {
        self.make(path, |parent, name| rustix::fs::symlinkat(target, parent.fd(), name))
    }

    /// Makes `new` another name of `existing`, which may be anything but a directory; a link is linked itself, not followed.
    pub fn hard_link(&self, existing: &TreePath, new: &TreePath) -> Result<()> {
        let (from, from_name) = self.locate(existing)?;
        let source = os(stat_at(from.fd(), from_name), || self.sentence("stat", existing))?;
        if source.kind == EntryKind::Directory {
            return Err(Error::invalid(self.sentence("link to directory", existing)));
        }
        let same = |stat: &Stat| (stat.device, stat.inode) == (source.device, source.inode);
        if self.stat(new)?.is_some_and(|stat| same(&stat)) {
            return Ok(());
        }
        self.make(new, |to, name| rustix::fs::linkat(from.fd(), from_name, to.fd(), name, AtFlags::empty()))
    }

    /// Makes a link, a pipe or a device, in place of what is there.
    pub fn make_special(&self, path: &TreePath, node: &Node) -> Result<Made> {
        match node {
            Node::Symlink { target } => self.symlink(path, target).map(|()| Made::Yes),
            Node::Fifo => self.fifo(path),
            Node::CharDevice { major, minor } => self.device(path, EntryKind::CharDevice, *major, *minor),
            Node::BlockDevice { major, minor } => self.device(path, EntryKind::BlockDevice, *major, *minor),
            Node::Directory | Node::File(_) => Err(Error::bug("files and directories are made elsewhere")),
        }
    }

    /// Whether the link, pipe or device that [`Target::make_special`] would make stands at `path`, where `stat` was seen.
    pub fn has_special(&self, path: &TreePath, node: &Node, stat: &Stat) -> Result<bool> {
        if stat.kind != EntryKind::of(node) {
            return Ok(false);
        }
        Ok(match node {
            Node::Symlink { target } => self.link_target(path)?.as_ref() == Some(target),
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => stat.rdev == (*major, *minor),
            Node::Fifo => true,
            Node::Directory | Node::File(_) => false,
        })
    }

    /// Makes a named pipe.
    pub fn fifo(&self, path: &TreePath) -> Result<Made> {
        self.node(path, FileType::Fifo, 0)
    }

    /// Makes a device node of one of the two device kinds.
    pub fn device(&self, path: &TreePath, kind: EntryKind, major: u32, minor: u32) -> Result<Made> {
        let file_type = device_type(kind).ok_or_else(|| Error::bug("device() makes device nodes only"))?;
        self.node(path, file_type, device_number(major, minor))
    }

    fn node(&self, path: &TreePath, file_type: FileType, device: rustix::fs::Dev) -> Result<Made> {
        let mode = Mode::RUSR | Mode::WUSR;
        let mut refused = false;
        self.make(path, |parent, name| match rustix::fs::mknodat(parent.fd(), name, file_type, mode, device) {
            Err(Errno::PERM) => {
                refused = true;
                Ok(())
            }
            answer => answer,
        })?;
        Ok(if refused { Made::NotPermitted } else { Made::Yes })
    }

    /// Calls until nothing is in the way any more.
    fn make(&self, path: &TreePath, mut call: impl FnMut(&Parent, &[u8]) -> rustix::io::Result<()>) -> Result<()> {
        let (parent, name) = self.locate(path)?;
        for _ in 0..RETRIES {
            match call(&parent, name) {
                Err(Errno::EXIST) => self.clear(&parent, name, path)?,
                answer => return os(answer, || self.sentence("create", path)),
            }
        }
        Err(self.contested(path))
    }

    /// Removes what stands at `path`; a directory with everything in it. Links are removed, never followed. Nothing there is
    /// no error.
    pub fn remove(&self, path: &TreePath) -> Result<()> {
        let (parent, name) = self.locate(path)?;
        match stat_at(parent.fd(), name) {
            Err(Errno::NOENT) => return Ok(()),
            answer => {
                let stat = os(answer, || self.sentence("stat", path))?;
                if stat.kind != EntryKind::Directory {
                    return self.unlink(&parent, name, path);
                }
            }
        }
        let answer = self.remove_tree(path);
        self.parents.forget(path.as_bytes());
        answer
    }

    /// Removes what is no directory.
    pub(super) fn unlink(&self, parent: &Parent, name: &[u8], path: &TreePath) -> Result<()> {
        match self.unlink_from(parent.fd(), name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            answer => os(answer, || self.sentence("remove", path)),
        }
    }

    /// Removes a name from a directory, which is opened up if it is ours and closed to ourselves.
    pub(super) fn unlink_from(&self, dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> rustix::io::Result<()> {
        match rustix::fs::unlinkat(dir, name, flags) {
            Err(Errno::ACCESS) if !self.privileged => {
                open_up(dir)?;
                rustix::fs::unlinkat(dir, name, flags)
            }
            answer => answer,
        }
    }

    /// Goes by path below the root and not by nested handles, so that depth costs no descriptors. Of a directory its files go
    /// first, then, after what is in them, its directories.
    fn remove_tree(&self, top: &TreePath) -> Result<()> {
        let mut stack = vec![(top.clone(), false)];
        while let Some((dir, emptied)) = stack.pop() {
            if emptied {
                self.remove_empty(&dir)?;
                continue;
            }
            let below = self.remove_files(&dir)?;
            stack.push((dir.clone(), true));
            for name in below {
                stack.push((dir.join(&name)?, false));
            }
        }
        Ok(())
    }

    fn remove_empty(&self, dir: &TreePath) -> Result<()> {
        let Some((above, name)) = super::resolve::split(dir.as_bytes()) else {
            return Err(Error::bug("the root of a target is not removed"));
        };
        let said = || self.sentence("remove directory", dir);
        let above = os(open_beneath(self.handle(), above, super::resolve::PASS), said)?;
        match self.unlink_from(above.as_fd(), name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            answer => os(answer, said),
        }
    }

    /// Removes all but the directories of `dir`, and returns the names of those.
    fn remove_files(&self, dir: &TreePath) -> Result<Vec<Vec<u8>>> {
        let fd = self.open_to_list(dir)?;
        self.open_up(fd.as_fd(), dir)?;
        let mut below = Vec::new();
        for (name, kind) in self.list_open(&fd, dir)? {
            if kind == EntryKind::Directory {
                below.push(name);
                continue;
            }
            match rustix::fs::unlinkat(&fd, name.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => below.push(name),
                Err(errno) => return os(Err(errno), || self.sentence("remove a file in", dir)),
            }
        }
        Ok(below)
    }

    /// Opens a directory for listing; one of ours that is closed to ourselves is opened up.
    pub(super) fn open_to_list(&self, dir: &TreePath) -> Result<OwnedFd> {
        let said = || self.sentence("open directory", dir);
        let open = || open_beneath(self.handle(), dir.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        match open() {
            Err(Errno::ACCESS) => {
                let handle = os(open_beneath(self.handle(), dir.as_bytes(), super::resolve::PASS), said)?;
                self.open_up(handle.as_fd(), dir)?;
                os(open(), said)
            }
            answer => os(answer, said),
        }
    }

    /// Lets the owner list and change a directory. Its mode is set in the end anyway.
    pub(super) fn open_up(&self, dir: BorrowedFd<'_>, path: &TreePath) -> Result<()> {
        os(open_up(dir), || self.sentence("stat", path))
    }

    /// Renames within the target, in place of a file that stands at `to`: how a finished file takes its place in one step.
    pub fn rename(&self, from: &TreePath, to: &TreePath) -> Result<()> {
        let (old, old_name) = self.locate(from)?;
        let (new, new_name) = self.locate(to)?;
        os(rustix::fs::renameat(old.fd(), old_name, new.fd(), new_name), || self.sentence("rename", from))?;
        self.parents.forget(from.as_bytes());
        self.parents.forget(to.as_bytes());
        Ok(())
    }

    /// As [`Target::rename`], for what is no directory.
    pub fn rename_file(&self, from: &TreePath, to: &TreePath) -> Result<()> {
        let (old, old_name) = self.locate(from)?;
        let (new, new_name) = self.locate(to)?;
        os(rustix::fs::renameat(old.fd(), old_name, new.fd(), new_name), || self.sentence("rename", from))
    }

    /// Returns when everything below the target is on the disk, with whatever else is on that file system.
    pub fn sync(&self) -> Result<()> {
        let root = TreePath::root();
        let fd = self.open_to_list(&root)?;
        os(rustix::fs::syncfs(&fd), || self.sentence("sync", &root))
    }
}

/// A directory of somebody else stays as it is; what is done in it then says why it fails.
fn open_up(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let stat = stat_fd(dir)?;
    if stat.mode & 0o700 != 0o700 {
        let _ = Inode { fd: dir, handle: true, bare: false }.chmod(stat.mode | 0o700);
    }
    Ok(())
}
