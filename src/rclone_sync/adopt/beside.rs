//! A directory that may hold much of what is adopted: what it has is not asked of the store, and what nobody has written down of a
//! file (owner and mode, times of directories) stays as it is there.

use std::path::Path;

use md5::{Digest, Md5};

use crate::catalog::{Metadata, Timestamp};
use crate::error::{ErrorKind, Result};
use crate::id::ObjectHash;
use crate::path::TreePath;
use crate::volume::{EntryKind, Stat, Target};

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Beside(Option<Target>);

impl Beside {
    /// A directory that does not exist holds nothing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        match Target::open(path, false) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self(None)),
            target => target.map(|target| Self(Some(target))),
        }
    }

    /// The file at `path`, if it has this size and this MD5: hash and time. What cannot be read is not there.
    pub(super) fn holds(&self, path: &TreePath, size: u64, wanted: [u8; 16]) -> Option<(ObjectHash, Timestamp)> {
        let target = self.0.as_ref()?;
        let found = target.stat(path).ok()??;
        if found.kind != EntryKind::File || found.size != size {
            return None;
        }
        let file = target.read_file(path).ok()?;
        let (mut md5, mut hasher, mut buffer, mut at) = (Md5::new(), blake3::Hasher::new(), vec![0; PIECE], 0);
        loop {
            let count = file.read_full_at(&mut buffer, at).ok()?;
            let bytes = buffer.get(..count)?;
            md5.update(bytes);
            hasher.update(bytes);
            at += u64::try_from(count).ok()?;
            if count < buffer.len() {
                break;
            }
        }
        let is_same = <[u8; 16]>::from(md5.finalize()) == wanted;
        is_same.then(|| (ObjectHash::new(*hasher.finalize().as_bytes()), found.mtime))
    }

    /// What stands at `path`, if it is of this kind.
    fn stat(&self, path: &TreePath, kind: EntryKind) -> Option<Stat> {
        self.0.as_ref()?.stat(path).ok()?.filter(|stat| stat.kind == kind)
    }

    /// `meta`, with the owner and the mode that stand there. What is new belongs to whoever runs this, as with rclone.
    pub(super) fn describe(&self, path: &TreePath, kind: EntryKind, meta: Metadata) -> Metadata {
        let Some(stat) = self.stat(path, kind) else {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            return Metadata { uid, gid, ..meta };
        };
        let meta = Metadata { uid: stat.uid, gid: stat.gid, mode: stat.mode, ..meta };
        match kind {
            // No prefix says when a directory changed.
            EntryKind::Directory => Metadata { mtime: stat.mtime, ctime: stat.mtime, ..meta },
            _ => meta,
        }
    }
}
