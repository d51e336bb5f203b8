//! Reads files of the source: content, hashes and description, and whether they stood still meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::catalog::{Entry, Extent, Metadata, Node, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectHash;
use crate::volume::{EntryKind, Found, OwnerNames, Stat};

use super::super::memory::buffer;
use super::holes::Holes;
use super::shared::Shared;

/// Files from this size on are read in pieces and sent in parts.
pub(super) const BIG_FROM: u64 = 8 << 20;

/// A small file as it was read.
#[derive(Debug)]
pub(super) struct SmallFile {
    pub(super) meta: Metadata,
    pub(super) bytes: Bytes,
    pub(super) hash: ObjectHash,
    pub(super) md5: [u8; 16],
    /// Where its data lies, if it has holes.
    pub(super) extents: Option<Vec<Extent>>,
}

/// What came of reading a file.
#[derive(Debug, Clone)]
pub(super) enum FileRead {
    Small(Arc<SmallFile>),
    /// It has grown meanwhile, and is to be read in pieces.
    Big,
    /// It could not be read, or did not stand still; that was told.
    Failed,
}

impl FileRead {
    /// Bytes that it holds.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Small(small) => small.bytes.len(),
            Self::Big | Self::Failed => 0,
        }
    }
}

/// Reads a file that the walk saw as a small one. One that changes while it is read is read once more, and left for the next push if it
/// changes again.
pub(super) fn read_file(shared: &Shared<'_>, found: &Found) -> FileRead {
    match read_small(shared, found) {
        Ok(read) => read,
        Err(error) => {
            shared.problem("push", &found.display(), &error);
            FileRead::Failed
        }
    }
}

fn read_small(shared: &Shared<'_>, found: &Found) -> Result<FileRead> {
    let most = usize::try_from(BIG_FROM - 1).unwrap_or(usize::MAX);
    // One byte more shows the end of the file.
    let mut buffer = buffer(usize::try_from(found.stat.size).unwrap_or(most).min(most) + 1);
    let read = found.read_small(most, &mut buffer)?;
    shared.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
    shared.rate.read(buffer.len() as u64);
    if read.stat.size >= BIG_FROM {
        return Ok(FileRead::Big);
    }
    if read.changed {
        return Err(changed(found));
    }
    if let Some(error) = read.xattr_problem {
        shared.problem("push", &format!("{} (attributes)", found.display()), &error);
    }
    let meta = steady(shared.names.metadata(&read.stat, read.xattrs));
    let (hash, md5) = (ObjectHash::new(*blake3::hash(&buffer).as_bytes()), Md5::digest(&buffer).into());
    let extents = extents(found, &read.stat, &buffer);
    Ok(FileRead::Small(Arc::new(SmallFile { meta, bytes: buffer.into(), hash, md5, extents })))
}

/// The holes of a small file. They are a saving of the file system and no part of the content: a failure to find them is none.
fn extents(found: &Found, stat: &Stat, bytes: &[u8]) -> Option<Vec<Extent>> {
    if !stat.may_have_holes() {
        return None;
    }
    let file = found.open().ok().filter(|file| file.stat().same_content(stat))?;
    let mut holes = Holes::new(file.extents().ok().flatten());
    holes.see(bytes);
    holes.finish()
}

/// The error of a file that does not stand still.
pub(super) fn changed(found: &Found) -> Error {
    Error::new(ErrorKind::Local, format!("{} changed while it was read", found.display()))
        .with_hint("the mirror keeps its last state; push from a snapshot of the volume to get one state of everything")
}

/// Metadata as a mirror has it: without what differs between two copies of one tree.
pub(super) fn steady(meta: Metadata) -> Metadata {
    Metadata { ctime: meta.mtime, inode: 0, ..meta }
}

/// The entry of anything but a file. None if it could not be read, which was told.
pub(super) fn describe(shared: &Shared<'_>, found: &Found) -> Option<Entry> {
    let node = match found.stat.kind {
        EntryKind::Directory => Node::Directory,
        EntryKind::Symlink => match found.link_target() {
            Ok(target) => Node::Symlink { target },
            Err(error) => {
                shared.problem("push", &found.display(), &error);
                return None;
            }
        },
        EntryKind::Fifo => Node::Fifo,
        EntryKind::CharDevice => Node::CharDevice { major: found.stat.rdev.0, minor: found.stat.rdev.1 },
        EntryKind::BlockDevice => Node::BlockDevice { major: found.stat.rdev.0, minor: found.stat.rdev.1 },
        EntryKind::File | EntryKind::Socket => return None,
    };
    Some(Entry { path: found.path.clone(), meta: metadata(shared, found), node, link: None })
}

/// Metadata of an entry whose content is not read. Attributes that cannot be read are told and left out.
pub(super) fn metadata(shared: &Shared<'_>, found: &Found) -> Metadata {
    let names: &OwnerNames = &shared.names;
    let (meta, problem) = found.metadata(names);
    if let Some(error) = problem {
        shared.problem("push", &format!("{} (attributes)", found.display()), &error);
    }
    steady(meta)
}

/// A time as rclone writes it beside an object: seconds since 1970, and as many decimals as it needs.
pub(super) fn mtime_header(time: Timestamp) -> String {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let (sign, all) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let decimals = format!("{:09}", all % 1_000_000_000);
    let decimals = decimals.trim_end_matches('0');
    let point = if decimals.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{decimals}", all / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rclone_writes_them() {
        for (seconds, nanos, text) in [
            (1_354_040_105, 123_456_789, "1354040105.123456789"),
            (1_354_040_105, 0, "1354040105"),
            (1_354_040_105, 100_000_000, "1354040105.1"),
            (0, 1, "0.000000001"),
            (-1, 900_000_000, "-0.1"),
            (-2, 0, "-2"),
        ] {
            assert_eq!(mtime_header(Timestamp { seconds, nanos }), text);
        }
    }
}
