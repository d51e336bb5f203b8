//! Gives an inode the metadata of a snapshot: owner, attributes, mode, times, in the one order that works.
//!
//! Changing the owner clears set-id bits and capabilities, so it comes first. An access control list changes the mode,
//! so the mode comes after the attributes. Everything changes times, so they come last. What the system refuses for lack
//! of privilege, or because the file system has no such thing, is counted and not an error.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::{Errno, Result};

use super::EntryKind;
use super::owners::OwnerNames;
use super::resolve::proc_path;
use super::stat::{Stat, stat_fd};
use super::xattrs::Reach;
use crate::catalog::{Metadata, Timestamp, Xattr};

/// Whom restored entries belong to.
#[derive(Debug, Clone, Copy)]
pub enum Ownership<'a> {
    /// The recorded numbers.
    Ids,
    /// The numbers that the recorded names have here; the recorded numbers where a name is not known.
    Names(&'a OwnerNames),
    /// Whoever runs this.
    Leave,
}

/// Says of the name of an extended attribute whether it is wanted.
pub type XattrFilter = dyn Fn(&[u8]) -> bool + Sync;

/// What metadata is restored, and how.
#[derive(Clone, Copy)]
pub struct Apply<'a> {
    /// Owner and group. Set-id and sticky bits are restored only where these are as recorded.
    pub ownership: Ownership<'a>,
    /// The extended attributes to restore, and to remove where the snapshot does not have them; all if `None`.
    pub xattr_filter: Option<&'a XattrFilter>,
}

/// How many things could not be set. All zero: the entry is as recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetadataOutcome {
    /// Owners or groups.
    pub ownership: u64,
    /// Set-id and sticky bits left out, because the owner is not the recorded one.
    pub special_bits: u64,
    /// Permissions.
    pub mode: u64,
    /// Extended attributes.
    pub xattrs: u64,
    /// Times.
    pub times: u64,
}

impl MetadataOutcome {
    /// Whether everything was set.
    pub fn is_complete(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.ownership += other.ownership;
        self.special_bits += other.special_bits;
        self.mode += other.mode;
        self.xattrs += other.xattrs;
        self.times += other.times;
    }
}

impl Default for Apply<'_> {
    fn default() -> Self {
        Self { ownership: Ownership::Ids, xattr_filter: None }
    }
}

impl std::fmt::Debug for Apply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let filter = if self.xattr_filter.is_some() { "some" } else { "all" };
        f.debug_struct("Apply").field("ownership", &self.ownership).field("xattrs", &filter).finish()
    }
}

/// An inode to be given metadata.
#[derive(Debug)]
pub(super) struct Inode<'a> {
    pub(super) fd: BorrowedFd<'a>,
    /// The descriptor is only an `O_PATH` handle.
    pub(super) handle: bool,
    /// Just created by us, in a directory that gives no access control list: it has no attributes that we would remove.
    pub(super) bare: bool,
}

impl Inode<'_> {
    fn reach(&self) -> Reach<'_> {
        if self.handle { Reach::handle(self.fd) } else { Reach::open(self.fd) }
    }

    fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        // The greatest number means "no change" to the kernel and can be no owner.
        let (Some(uid), Some(gid)) = (valid(uid), valid(gid)) else { return Err(Errno::INVAL) };
        rustix::fs::chownat(self.fd, c"", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
    }

    pub(super) fn chmod(&self, mode: u16) -> Result<()> {
        let mode = Mode::from_raw_mode(u32::from(mode));
        if self.handle {
            rustix::fs::chmodat(CWD, proc_path(self.fd), mode, AtFlags::empty())
        } else {
            rustix::fs::fchmod(self.fd, mode)
        }
    }

    fn set_times(&self, mtime: Timestamp) -> Result<()> {
        let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) };
        let times = Timestamps { last_access: time, last_modification: time };
        if !self.handle {
            return rustix::fs::futimens(self.fd, &times);
        }
        match rustix::fs::utimensat(self.fd, c"", &times, AtFlags::EMPTY_PATH) {
            // Linux before 5.8.
            Err(Errno::INVAL) => rustix::fs::utimensat(CWD, proc_path(self.fd), &times, AtFlags::empty()),
            answer => answer,
        }
    }

    /// Gives the inode the owner, attributes, mode and times of `wanted`; the access time becomes the modification time. Goes
    /// on after a failure and returns the first one.
    pub(super) fn apply(&self, wanted: &Metadata, options: &Apply<'_>) -> Result<MetadataOutcome> {
        let mut applying = Applying {
            inode: self,
            stat: stat_fd(self.fd)?,
            outcome: MetadataOutcome::default(),
            mode_is_known: true,
            failure: None,
        };
        let owned = applying.set_owner(wanted, options.ownership);
        applying.set_xattrs(&wanted.xattrs, options);
        applying.set_mode(wanted.mode, owned);
        applying.set_times(wanted.mtime);
        applying.failure.map_or(Ok(applying.outcome), Err)
    }
}

fn valid(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

struct Applying<'a> {
    inode: &'a Inode<'a>,
    stat: Stat,
    outcome: MetadataOutcome,
    /// The mode is still that of `stat`.
    mode_is_known: bool,
    failure: Option<Errno>,
}

impl Applying<'_> {
    /// Whether `answer` is a success; a refusal is left to the caller to count.
    fn went_well(&mut self, answer: Result<()>) -> bool {
        match answer {
            Ok(()) => true,
            Err(errno) if is_refusal(errno) => false,
            Err(errno) => {
                self.failure.get_or_insert(errno);
                true
            }
        }
    }

    /// Whether the entry belongs to whom it should.
    fn set_owner(&mut self, wanted: &Metadata, ownership: Ownership<'_>) -> bool {
        let (uid, gid) = match ownership {
            Ownership::Ids => (wanted.uid, wanted.gid),
            Ownership::Names(names) => (
                wanted.user.as_deref().and_then(|name| names.uid(name)).unwrap_or(wanted.uid),
                wanted.group.as_deref().and_then(|name| names.gid(name)).unwrap_or(wanted.gid),
            ),
            Ownership::Leave => return (self.stat.uid, self.stat.gid) == (wanted.uid, wanted.gid),
        };
        if (self.stat.uid, self.stat.gid) == (uid, gid) {
            return true;
        }
        self.mode_is_known = false;
        let answer = self.inode.chown(uid, gid);
        let done = answer.is_ok();
        if !self.went_well(answer) {
            self.outcome.ownership += 1;
        }
        done
    }

    fn set_xattrs(&mut self, wanted: &[Xattr], options: &Apply<'_>) {
        if wanted.is_empty() && self.inode.bare {
            return;
        }
        let chosen = |name: &[u8]| options.xattr_filter.is_none_or(|filter| filter(name));
        let reach = self.inode.reach();
        let present = if self.inode.bare { Vec::new() } else { reach.list().unwrap_or_default() };
        let is_wanted = |name: &[u8]| wanted.iter().any(|xattr| xattr.name == name);
        for name in present.iter().filter(|name| is_ours(name) && chosen(name) && !is_wanted(name)) {
            self.change(name, || reach.remove(name));
        }
        // Access control lists come last: one may take the right to set the others from the owner.
        let (lists, others): (Vec<&Xattr>, Vec<&Xattr>) =
            wanted.iter().filter(|xattr| chosen(&xattr.name)).partition(|xattr| is_access_list(&xattr.name));
        for xattr in others.into_iter().chain(lists) {
            let same = present.contains(&xattr.name)
                && reach.get(&xattr.name).is_ok_and(|value| value.as_ref() == Some(&xattr.value));
            if !same {
                self.change(&xattr.name, || reach.set(&xattr.name, &xattr.value));
            }
        }
    }

    fn change(&mut self, name: &[u8], call: impl Fn() -> Result<()>) {
        // The owner needs write permission for `user.` attributes, whatever the descriptor was opened for.
        let locked = matches!(self.stat.kind, EntryKind::File | EntryKind::Directory) && self.stat.mode & 0o200 == 0;
        let mut answer = call();
        if answer == Err(Errno::ACCESS) && locked && self.inode.chmod(self.stat.mode | 0o600).is_ok() {
            self.mode_is_known = false;
            answer = call();
        }
        if is_access_list(name) {
            self.mode_is_known = false;
        }
        if answer != Err(Errno::NODATA) && !self.went_well(answer) {
            self.outcome.xattrs += 1;
        }
    }

    fn set_mode(&mut self, wanted: u16, owned: bool) {
        if self.stat.kind == EntryKind::Symlink {
            return;
        }
        let mode = if owned { wanted & 0o7777 } else { wanted & 0o777 };
        if mode != wanted & 0o7777 {
            self.outcome.special_bits += 1;
        }
        if self.mode_is_known && self.stat.mode == mode {
            return;
        }
        let answer = self.inode.chmod(mode);
        if !self.went_well(answer) {
            self.outcome.mode += 1;
        }
    }

    fn set_times(&mut self, mtime: Timestamp) {
        let answer = self.inode.set_times(mtime);
        if !self.went_well(answer) {
            self.outcome.times += 1;
        }
    }
}

/// The system will not, or the file system cannot; `ENOENT` is a missing `/proc`.
fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::NOENT)
}

fn is_access_list(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

/// Attributes that a snapshot decides on. Labels of security modules are the machine's own when the snapshot has none.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || is_access_list(name)
        || name == b"security.capability"
}
