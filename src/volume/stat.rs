//! What one `statx` tells about an entry, in fixed-width types.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};
use rustix::io::{Errno, Result};

use crate::catalog::{Node, Timestamp};

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A socket: never saved, because nothing could be restored.
    Socket,
}

impl EntryKind {
    /// The kind of a file type; `None` for one that the file system did not tell.
    pub(super) fn from_file_type(file_type: FileType) -> Option<Self> {
        match file_type {
            FileType::Directory => Some(Self::Directory),
            FileType::RegularFile => Some(Self::File),
            FileType::Symlink => Some(Self::Symlink),
            FileType::Fifo => Some(Self::Fifo),
            FileType::CharacterDevice => Some(Self::CharDevice),
            FileType::BlockDevice => Some(Self::BlockDevice),
            FileType::Socket => Some(Self::Socket),
            FileType::Unknown => None,
        }
    }

    /// The kind of what a catalogue describes.
    pub fn of(node: &Node) -> Self {
        match node {
            Node::Directory => Self::Directory,
            Node::File(_) => Self::File,
            Node::Symlink { .. } => Self::Symlink,
            Node::Fifo => Self::Fifo,
            Node::CharDevice { .. } => Self::CharDevice,
            Node::BlockDevice { .. } => Self::BlockDevice,
        }
    }

    /// The kind in words, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "regular file",
            Self::Symlink => "symbolic link",
            Self::Fifo => "named pipe",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Socket => "socket",
        }
    }
}

/// What `lstat` tells about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Content length; what the file system says for other kinds.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Inode number.
    pub inode: u64,
    /// Device the inode lies on.
    pub device: u64,
    /// Names of the inode.
    pub nlink: u64,
    /// Major and minor number of a device node.
    pub rdev: (u32, u32),
    /// Blocks of 512 bytes that are allocated.
    pub blocks: u64,
}

impl Stat {
    /// Whether fewer blocks are allocated than the size needs: the file has holes, or is compressed.
    pub fn may_have_holes(&self) -> bool {
        self.kind == EntryKind::File && self.blocks.saturating_mul(512) < self.size
    }

    /// Whether content that was read between `self` and `later` was not changed meanwhile, as far as the
    /// file system can tell.
    pub fn same_content(&self, later: &Self) -> bool {
        let key = |stat: &Self| (stat.inode, stat.size, stat.mtime, stat.ctime);
        key(self) == key(later)
    }

    fn from_statx(raw: &Statx) -> Option<Self> {
        Some(Self {
            kind: EntryKind::from_file_type(FileType::from_raw_mode(u32::from(raw.stx_mode)))?,
            mode: raw.stx_mode & 0o7777,
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            size: raw.stx_size,
            mtime: timestamp(&raw.stx_mtime),
            ctime: timestamp(&raw.stx_ctime),
            inode: raw.stx_ino,
            device: rustix::fs::makedev(raw.stx_dev_major, raw.stx_dev_minor),
            nlink: u64::from(raw.stx_nlink),
            rdev: (raw.stx_rdev_major, raw.stx_rdev_minor),
            blocks: raw.stx_blocks,
        })
    }
}

fn timestamp(raw: &StatxTimestamp) -> Timestamp {
    Timestamp { seconds: raw.tv_sec, nanos: raw.tv_nsec }
}

/// Stats `name` in `dir`; never follows a link and never triggers an automount. One system call.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
    stat_with(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Stats what `fd` stands for, also when it is only an `O_PATH` handle.
pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Stat> {
    stat_with(fd, b"", AtFlags::EMPTY_PATH)
}

fn stat_with(dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<Stat> {
    let raw = rustix::fs::statx(dir, name, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)?;
    Stat::from_statx(&raw).ok_or(Errno::NOTSUP)
}
