//! One POSIX ACL: the lines of `getfacl` on one side, the extended attribute of the kernel on the other.

use crate::error::{Error, Result};

/// The attribute of what applies to the file itself.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of what new files below a directory inherit.
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;
/// Linux allows fewer: what it keeps fits into 64 KiB of eight bytes each.
const ENTRIES_MAX: usize = 8 << 10;

/// Whom a line speaks of, in the order in which the kernel wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tag {
    Owner,
    User(u32),
    OwningGroup,
    Group(u32),
    Mask,
    Other,
}

impl Tag {
    fn code(self) -> (u16, u32) {
        match self {
            Self::Owner => (0x01, NO_ID),
            Self::User(id) => (0x02, id),
            Self::OwningGroup => (0x04, NO_ID),
            Self::Group(id) => (0x08, id),
            Self::Mask => (0x10, NO_ID),
            Self::Other => (0x20, NO_ID),
        }
    }

    fn of(code: u16, id: u32) -> Option<Self> {
        Some(match code {
            0x01 => Self::Owner,
            0x02 => Self::User(id),
            0x04 => Self::OwningGroup,
            0x08 => Self::Group(id),
            0x10 => Self::Mask,
            0x20 => Self::Other,
            _ => return None,
        })
    }
}

/// Permissions by whom they are for: sorted, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Acl(Vec<(Tag, u16)>);

impl Acl {
    /// Adds a line; a second one for the same is refused.
    pub(super) fn insert(&mut self, tag: Tag, permissions: u16) -> Result<()> {
        match self.0.binary_search_by_key(&tag, |(tag, _)| *tag) {
            Err(at) if self.0.len() < ENTRIES_MAX => {
                self.0.insert(at, (tag, permissions));
                Ok(())
            }
            _ => Err(Error::corrupt("an ACL has an entry twice, or too many")),
        }
    }

    /// What a file of this mode has without any ACL.
    pub(super) fn of_mode(mode: u16) -> Self {
        Self(vec![(Tag::Owner, mode >> 6 & 7), (Tag::OwningGroup, mode >> 3 & 7), (Tag::Other, mode & 7)])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn entries(&self) -> &[(Tag, u16)] {
        &self.0
    }

    pub(super) fn get(&self, tag: Tag) -> Option<u16> {
        self.0.iter().find(|(found, _)| *found == tag).map(|(_, permissions)| *permissions)
    }

    /// Whether it says more than nine bits of a mode can.
    pub(super) fn is_extended(&self) -> bool {
        self.0.iter().any(|(tag, _)| matches!(tag, Tag::User(_) | Tag::Group(_) | Tag::Mask))
    }

    /// The permission bits of a file with it: the mask stands in the place of the group, as `chmod` and `ls` have it.
    pub(super) fn mode(&self) -> Option<u16> {
        let group = self.get(Tag::Mask).or(self.get(Tag::OwningGroup))?;
        Some(self.get(Tag::Owner)? << 6 | group << 3 | self.get(Tag::Other)?)
    }

    /// The value of the attribute.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for (tag, permissions) in &self.0 {
            let (code, id) = tag.code();
            out.extend_from_slice(&code.to_le_bytes());
            out.extend_from_slice(&permissions.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        }
        out
    }

    /// Reads the value of an attribute.
    ///
    /// # Errors
    /// `Corrupt` for what the kernel would not give.
    pub(super) fn decode(value: &[u8]) -> Result<Self> {
        let refuse = || Error::corrupt("the value of an attribute is no POSIX ACL");
        let entries = value.strip_prefix(&VERSION.to_le_bytes()).ok_or_else(refuse)?;
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(refuse());
        }
        let mut acl = Self::default();
        for [t0, t1, p0, p1, i0, i1, i2, i3] in entries {
            let permissions = u16::from_le_bytes([*p0, *p1]);
            let tag = Tag::of(u16::from_le_bytes([*t0, *t1]), u32::from_le_bytes([*i0, *i1, *i2, *i3]));
            acl.insert(tag.filter(|_| permissions <= 7).ok_or_else(refuse)?, permissions)?;
        }
        Ok(acl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_has_the_kernels_bytes() {
        let mut acl = Acl::of_mode(0o640);
        acl.insert(Tag::Mask, 5).unwrap();
        acl.insert(Tag::User(1001), 7).unwrap();
        let bytes = hex::decode(concat!(
            "02000000",
            "01000600ffffffff",
            "02000700e9030000",
            "04000400ffffffff",
            "10000500ffffffff",
            "20000000ffffffff"
        ))
        .unwrap();
        assert_eq!(acl.encode(), bytes);
        assert_eq!(Acl::decode(&bytes).unwrap(), acl);
        assert_eq!(acl.mode(), Some(0o650), "the mask is the group's bits");
        assert!(acl.insert(Tag::Mask, 1).is_err());
    }

    #[test]
    fn values_that_are_no_acl_are_refused() {
        for value in ["", "01000000", "0200000001", "0200000003000700ffffffff", "0200000001000800ffffffff"] {
            assert!(Acl::decode(&hex::decode(value).unwrap()).is_err(), "{value}");
        }
        assert!(Acl::decode(&hex::decode("02000000").unwrap()).unwrap().is_empty());
    }
}
