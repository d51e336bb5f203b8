//! Objects that can be compared with another copy of the repository without any key: those whose names are hashes of their bytes.

use crate::error::Result;
use crate::id::RepoId;

use super::config;

/// Key of the object that tells whose copy a store holds.
pub const CONFIG: &str = config::KEY;

/// What an object is, as far as its key tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedKind {
    /// A pack.
    Pack,
    /// An index segment.
    Index,
    /// A snapshot.
    Snapshot,
    /// A key slot.
    Slot,
}

/// The hash that a key promises of the object's bytes: all of it or its first half, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What the object is.
    pub kind: NamedKind,
    hash: String,
}

impl Promise {
    /// Reads a key; `None` for objects whose names are no hashes.
    pub fn of(key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.split('/').collect();
        let (kind, hash, len) = match parts.as_slice() {
            ["packs", folder, hash] if hash.starts_with(folder) && folder.len() == 2 => (NamedKind::Pack, *hash, 64),
            ["state", "index", hash] => (NamedKind::Index, *hash, 64),
            ["state", "keys", hash] => (NamedKind::Slot, *hash, 32),
            ["state", "snapshots", _, name] => (NamedKind::Snapshot, name.rsplit('-').next()?, 32),
            _ => return None,
        };
        let is_hex = hash.len() == len && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| Self { kind, hash: hash.to_owned() })
    }

    /// Whether these are the bytes that were promised.
    pub fn is_kept_by(&self, bytes: &[u8]) -> bool {
        blake3::hash(bytes).to_hex().starts_with(&self.hash)
    }
}

/// The repository's id from the bytes of its config.
///
/// # Errors
/// `Corrupt` when they are none.
pub fn repo_id(config: &[u8]) -> Result<RepoId> {
    config::repo_id(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_with_hashes_promise_something() {
        let hash = blake3::hash(b"x").to_hex().to_string();
        let half = &hash[..32];
        for (key, kind) in [
            (format!("packs/{}/{hash}", &hash[..2]), NamedKind::Pack),
            (format!("state/index/{hash}"), NamedKind::Index),
            (format!("state/keys/{half}"), NamedKind::Slot),
            (format!("state/snapshots/ab/20260101T000000.000000000Z-cd-{half}"), NamedKind::Snapshot),
        ] {
            let promise = Promise::of(&key).unwrap();
            assert_eq!(promise.kind, kind);
            assert!(promise.is_kept_by(b"x") && !promise.is_kept_by(b"y"));
        }
        let odd =
            [format!("packs/00/{hash}"), format!("state/index/{half}"), format!("state/index/{}", hash.to_uppercase())];
        for key in odd.iter().map(String::as_str).chain(["config", "state/sessions/ab/0", "trash/x/config"]) {
            assert_eq!(Promise::of(key), None, "{key}");
        }
    }
}
