//! Segments of a manifest: immutable, sorted tables of changes (a base is one that only puts), written and read as streams.
//!
//! A segment is a magic, frames of compressed changes in catalogue order, a table of the frames, and a trailer. It is named by its BLAKE3, which a
//! reader has checked only when the stream has ended without an error: nothing may be done to a user's files before that.
//! Spec: `docs/mirror.md` section 4.

mod read;
mod source;
#[cfg(test)]
mod tests;
mod write;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

pub use read::SegmentReader;
pub use write::{SegmentWriter, Written};

use crate::catalog::{Entry, Pathed};
use crate::error::{Error, Result};
use crate::id::ObjectHash;
use crate::limits::BLOB_MAX;
use crate::path::TreePath;

/// First bytes of a segment.
const MAGIC: &[u8; 8] = b"vvmirr1\n";
/// Last bytes of a segment.
const END: &[u8; 8] = b"vvmirrE\n";
/// Two lengths stand before each frame.
const FRAME_HEAD: usize = 8;
/// Where the table of frames starts, and [`END`].
const TRAILER: usize = 16;
/// Most bytes that a frame expands to: the largest page, and the paths that are removed beside it.
const FRAME_MAX: usize = BLOB_MAX + (1 << 20);
/// Bytes of removed paths that end a frame.
const REMOVED_FULL: usize = 64 << 10;
/// Most paths that a frame removes: three times what [`REMOVED_FULL`] can hold.
const REMOVED_MAX: usize = 64 << 10;
/// Most bytes that the removed paths of a frame have when written out: what a reader allocates.
const REMOVED_PATHS_MAX: usize = 2 * BLOB_MAX;

/// Decides where pages end. Public: a mirror hides nothing from its store.
static CUT_KEY: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key("volvault mirror pages 1", &[]));

/// A segment as a root names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The generation that it leads to.
    pub generation: u64,
    /// BLAKE3 of the whole object, and its name.
    #[serde(with = "super::root::hex_hash")]
    pub hash: ObjectHash,
    /// Bytes of the object.
    pub size: u64,
    /// Entries in it.
    pub entries: u64,
    /// Paths that it removes.
    #[serde(default)]
    pub removed: u64,
}

/// What became of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is this entry now.
    Put(Box<Entry>),
    /// There is nothing any more.
    Remove(TreePath),
}

impl Change {
    /// The entry, if there is one.
    pub fn into_entry(self) -> Option<Entry> {
        match self {
            Self::Put(entry) => Some(*entry),
            Self::Remove(_) => None,
        }
    }
}

impl Pathed for Change {
    fn path(&self) -> &TreePath {
        match self {
            Self::Put(entry) => &entry.path,
            Self::Remove(path) => path,
        }
    }
}

fn frame_len(len: usize) -> Result<[u8; 4]> {
    u32::try_from(len).map(u32::to_le_bytes).map_err(|_| Error::bug(format!("a frame of {len} bytes")))
}
