//! What this process may give to entries. A comparison that knows it does not find the same difference for ever.

use std::borrow::Cow;

use rustix::thread::CapabilitySet;

use super::EntryKind;
use super::apply::MetadataOutcome;
use super::found::has_capability;
use crate::catalog::{Metadata, Xattr};

/// What this process may do to files, as far as it can tell beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each capability that matters")]
pub struct Rights {
    /// Give files to others.
    pub chown: bool,
    /// Make device nodes.
    pub mknod: bool,
    /// Set file capabilities.
    pub setfcap: bool,
    /// Set attributes of the `trusted.` and `security.` namespaces.
    pub admin: bool,
}

impl Rights {
    /// Those of this thread.
    pub fn mine() -> Self {
        Self {
            chown: has_capability(CapabilitySet::CHOWN),
            mknod: has_capability(CapabilitySet::MKNOD),
            setfcap: has_capability(CapabilitySet::SETFCAP),
            admin: has_capability(CapabilitySet::SYS_ADMIN),
        }
    }

    /// What of `wanted` can be given to an entry that belongs to `owner` (user and group), and what is left out for lack of
    /// rights. Set-id and sticky bits go only with the recorded owner.
    pub fn attainable(
        self,
        wanted: &Metadata,
        kind: EntryKind,
        owner: (u32, u32),
    ) -> (Cow<'_, Metadata>, MetadataOutcome) {
        let mut left_out = MetadataOutcome::default();
        let mut meta = Cow::Borrowed(wanted);
        if !self.chown && (wanted.uid, wanted.gid) != owner {
            left_out.ownership = 1;
            if kind != EntryKind::Symlink && wanted.mode & 0o7000 != 0 {
                left_out.special_bits = 1;
            }
            let meta = meta.to_mut();
            (meta.uid, meta.gid) = owner;
            meta.mode &= 0o777;
        }
        let barred = wanted.xattrs.iter().filter(|xattr| !self.may_set(xattr)).count();
        if barred > 0 {
            left_out.xattrs = u64::try_from(barred).unwrap_or(u64::MAX);
            meta.to_mut().xattrs = wanted.xattrs.iter().filter(|xattr| self.may_set(xattr)).cloned().collect();
        }
        (meta, left_out)
    }

    fn may_set(self, xattr: &Xattr) -> bool {
        match xattr.name.as_slice() {
            b"security.capability" => self.setfcap,
            name if name.starts_with(b"trusted.") || name.starts_with(b"security.") => self.admin,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Timestamp;

    #[test]
    fn without_rights_the_owner_stays_and_what_depends_on_it_is_left_out() {
        let none = Rights { chown: false, mknod: false, setfcap: false, admin: false };
        let xattr = |name: &str| Xattr { name: name.as_bytes().to_vec(), value: Vec::new() };
        let wanted = Metadata {
            mode: 0o4755,
            uid: 5,
            gid: 6,
            user: None,
            group: None,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            inode: 0,
            xattrs: [xattr("trusted.a"), xattr("user.b")].into(),
        };
        let (meta, left_out) = none.attainable(&wanted, EntryKind::File, (1, 2));
        assert_eq!((meta.uid, meta.gid, meta.mode), (1, 2, 0o755));
        assert_eq!(meta.xattrs.len(), 1);
        assert_eq!((left_out.ownership, left_out.special_bits, left_out.xattrs), (1, 1, 1));
        let (meta, left_out) = none.attainable(&wanted, EntryKind::File, (5, 6));
        assert_eq!((meta.mode, left_out.ownership), (0o4755, 0));
    }
}
