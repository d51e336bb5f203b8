//! Files that were removed under one name: when the same content stands under another one, the store copies it.

use std::collections::HashMap;

use crate::catalog::{Content, Entry, Node, Timestamp};
use crate::id::ObjectHash;
use crate::storage::Pin;

use super::compare::object_key;

/// Files remembered, about 250 bytes each: the ones beyond are sent again.
const REMEMBERED: usize = 100_000;
/// Smaller files cost as much to copy as to send.
pub(super) const COPY_FROM: u64 = 16 << 10;

/// Where a content lies that is about to be deleted.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) key: String,
    pub(super) pin: Pin,
    /// The time of the file: one of the same content is the same file only if it has the same.
    pub(super) mtime: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Moved(HashMap<ObjectHash, Origin>);

impl Moved {
    /// The entry is not in the source any more.
    pub(super) fn removed(&mut self, old: &Entry) {
        let Node::File(file) = &old.node else { return };
        let Content::Object(object) = &file.content else { return };
        if file.size < COPY_FROM || self.0.len() >= REMEMBERED {
            return;
        }
        let Some(key) = object_key(old) else { return };
        let pin = Pin { etag: Some(object.etag.to_string()), version: object.version.as_deref().map(str::to_owned) };
        let Some(hash) = object.hash else { return };
        self.0.insert(hash, Origin { key, pin, mtime: old.meta.mtime });
    }

    /// Whether no file could be one of them.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the content of a new file lies already.
    pub(super) fn find(&self, hash: &ObjectHash, mtime: Timestamp) -> Option<&Origin> {
        self.0.get(hash).filter(|origin| origin.mtime == mtime)
    }
}
