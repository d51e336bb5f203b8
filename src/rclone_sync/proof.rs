//! What the bytes of an object are compared with: its BLAKE3; where nobody knows that yet, the MD5 that its `ETag` is; or nothing.

use md5::{Digest as _, Md5};

use crate::catalog::StoredObject;
use crate::storage::Pin;

/// Takes the bytes of an object, in order.
pub(super) enum Proof {
    Hash(Box<blake3::Hasher>, [u8; 32]),
    Md5(Md5, [u8; 16]),
    /// Only size and pin can be relied upon.
    Nothing,
}

impl Proof {
    pub(super) fn of(object: &StoredObject) -> Self {
        let md5 = || Pin { etag: Some(object.etag.to_string()), version: None }.md5();
        match (object.hash, md5) {
            (Some(hash), _) => Self::Hash(Box::default(), *hash.as_bytes()),
            (None, md5) => md5().map_or(Self::Nothing, |md5| Self::Md5(Md5::new(), md5)),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Hash(hasher, _) => {
                hasher.update(bytes);
            }
            Self::Md5(hasher, _) => hasher.update(bytes),
            Self::Nothing => {}
        }
    }

    /// Whether the bytes are those of the object; none if that cannot be known.
    pub(super) fn finish(self) -> Option<bool> {
        match self {
            Self::Hash(hasher, hash) => Some(*hasher.finalize().as_bytes() == hash),
            Self::Md5(hasher, md5) => Some(<[u8; 16]>::from(hasher.finalize()) == md5),
            Self::Nothing => None,
        }
    }
}
