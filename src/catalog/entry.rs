//! What a catalogue says of one file: the types, and the rules that hold within one entry.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::{BlobId, ContentHash, ObjectHash, PackRef};
use crate::path::TreePath;

/// Deepest chunk list.
pub(super) const LIST_DEPTH_MAX: u8 = 4;
/// Longest `ETag` and longest version of an object: S3 has 1,024 bytes for a version.
const TOKEN_MAX: usize = 1 << 10;

/// A blob and the length of its plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlobRef {
    /// Its id.
    pub id: BlobId,
    /// Length of its plaintext, 1 byte to 8 MiB.
    pub raw_len: u32,
}

/// A point in time as file systems keep it: seconds since 1970, which may be negative, and nanoseconds from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that, below one billion.
    pub nanos: u32,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Name with its namespace, such as `user.comment`.
    pub name: Vec<u8>,
    /// Value; may be empty.
    pub value: Vec<u8>,
}

/// What every kind of entry has. Names and attribute sets are shared between the entries of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Permission, set-id and sticky bits: the low 12 bits of `st_mode`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The owner's name where the entry was read.
    pub user: Option<Arc<[u8]>>,
    /// The group's name where the entry was read.
    pub group: Option<Arc<[u8]>>,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Inode number.
    pub inode: u64,
    /// Extended attributes, sorted by name, each name once.
    pub xattrs: Arc<[Xattr]>,
}

/// Names of one inode have the same group. Only the first of a group in the tree has content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkGroup {
    /// Device of the inode.
    pub device: u64,
    /// Its number.
    pub inode: u64,
}

/// A run of data in a file with holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file it starts.
    pub offset: u64,
    /// Its length, at least 1.
    pub len: u64,
}

/// Where the bytes of a file are. For a file with holes these are the bytes of its extents, joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// No bytes, or those of an earlier entry of the same [`LinkGroup`].
    Empty,
    /// Part of a bundle; the length is that of the content.
    Bundle {
        /// The bundle.
        blob: BlobRef,
        /// Where in its plaintext the content starts.
        offset: u32,
        /// Hash of the content.
        hash: ContentHash,
    },
    /// Blobs, in order.
    Chunks(Vec<BlobRef>),
    /// Chunk lists, in order; [`ChunkReader`](super::ChunkReader) expands them.
    Lists {
        /// Depth of the lists named here.
        depth: u8,
        /// The lists, with the lengths of their own plaintext.
        lists: Vec<BlobRef>,
    },
    /// An object of a mirror that holds the whole file, holes as zeros. No repository has it.
    Object(Arc<StoredObject>),
}

/// The object of a mirror that holds a file, and what a reader must find to know that it is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredObject {
    /// BLAKE3 of its bytes; none for what another tool stored and nobody has read yet.
    pub hash: Option<ObjectHash>,
    /// The `ETag` that the store gave it, as the store writes it.
    pub etag: Box<str>,
    /// The version that the store gave it, where it keeps versions.
    pub version: Option<Box<str>>,
    /// Where else the bytes are.
    pub at: ObjectAt,
    /// There is a block list of the file.
    pub blocks: bool,
}

/// Where the bytes of a [`StoredObject`] are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectAt {
    /// At the key of the path.
    Plain,
    /// In the control area, named by the hash.
    Staged,
    /// At the key of the path, and in a pack too.
    Packed {
        /// The pack.
        pack: ObjectHash,
        /// Where in the pack the file starts.
        offset: u64,
    },
}

impl StoredObject {
    /// The error of a repository's code that meets such content.
    pub fn misplaced() -> Error {
        Error::corrupt("the content of a file is that of a mirror")
    }

    fn flaw(&self) -> Option<&'static str> {
        let long = |text: &str| text.is_empty() || text.len() > TOKEN_MAX;
        if long(&self.etag) || self.version.as_deref().is_some_and(long) {
            return Some("the ETag or the version of an object is empty or too long");
        }
        if self.hash.is_none() && (self.blocks || self.at != ObjectAt::Plain) {
            return Some("an object without a hash has a block list or another place");
        }
        None
    }
}

/// What a regular file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNode {
    /// Length of the file, holes included.
    pub size: u64,
    /// Where its bytes are.
    pub content: Content,
    /// Where its data lies, ascending and apart; `None` when it has no holes.
    pub extents: Option<Vec<Extent>>,
    /// The file could not be read to its end.
    pub incomplete: bool,
}

/// The kind of an entry and what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory. Its entries follow it in the catalogue.
    Directory,
    /// A regular file.
    File(FileNode),
    /// A symbolic link.
    Symlink {
        /// Where it points: any bytes but NUL, at least one.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// One line of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the root of the source.
    pub path: TreePath,
    /// Owner, mode, times, attributes.
    pub meta: Metadata,
    /// Kind and content.
    pub node: Node,
    /// Set when the inode had several names; never on a directory.
    pub link: Option<LinkGroup>,
}

/// How a blob is stored inside its seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// Where a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The pack.
    pub pack: PackRef,
    /// Where in the pack the sealed blob starts.
    pub offset: u32,
    /// Length of the sealed blob, tag included.
    pub stored_len: u32,
    /// How to decode it after opening.
    pub codec: Codec,
}

impl Codec {
    /// The byte that stands for it in all formats.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Zstd => 1,
        }
    }
}

impl TryFrom<u8> for Codec {
    type Error = Error;

    fn try_from(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Zstd),
            _ => Err(Error::corrupt(format!("codec {byte} is unknown"))),
        }
    }
}

impl Timestamp {
    fn is_valid(self) -> bool {
        self.nanos < 1_000_000_000
    }
}

impl FileNode {
    /// Number of bytes that [`Content`] holds: the size, or the sum of the extents of a file with holes.
    /// `None` when the extents are not ascending, apart, non-empty and inside the file.
    pub fn content_len(&self) -> Option<u64> {
        let Some(extents) = &self.extents else { return Some(self.size) };
        let (mut end, mut sum) = (0u64, 0u64);
        for extent in extents {
            if extent.offset < end || extent.len == 0 {
                return None;
            }
            end = extent.offset.checked_add(extent.len)?;
            // No overflow: the extents are apart, so their sum is at most `end`.
            sum = sum.checked_add(extent.len)?;
        }
        (end <= self.size).then_some(sum)
    }

    fn flaw(&self, linked: bool) -> Option<&'static str> {
        let Some(len) = self.content_len() else {
            return Some("extents are empty, overlap, or leave the file");
        };
        match &self.content {
            Content::Empty => (len > 0 && !linked).then_some("a file with a size has no content"),
            Content::Object(_) if self.size == 0 => Some("a file without data has content"),
            Content::Object(object) => object.flaw(),
            Content::Bundle { .. } | Content::Chunks(_) | Content::Lists { .. } if len == 0 => {
                Some("a file without data has content")
            }
            Content::Bundle { blob, offset, .. } => {
                let end = u64::from(*offset).checked_add(len);
                end.is_none_or(|end| end > u64::from(blob.raw_len)).then_some("content reaches beyond its bundle")
            }
            Content::Chunks(chunks) => {
                let sum = chunks.iter().try_fold(0u64, |sum, chunk| sum.checked_add(u64::from(chunk.raw_len)));
                (sum != Some(len)).then_some("the chunks do not sum to the length of the file")
            }
            Content::Lists { depth, .. } if *depth > LIST_DEPTH_MAX => Some("chunk lists are nested too deeply"),
            Content::Lists { lists, .. } => lists.is_empty().then_some("a file names no chunk lists"),
        }
    }
}

impl Entry {
    /// What is wrong with this entry by itself, if anything. Writers ask before they encode, readers after they decode.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        if self.meta.mode > 0o7777 {
            return Some("the mode has more than 12 bits");
        }
        if !self.meta.mtime.is_valid() || !self.meta.ctime.is_valid() {
            return Some("a time has a billion nanoseconds or more");
        }
        match &self.node {
            Node::Directory => self.link.is_some().then_some("a directory is in a hard-link group"),
            Node::File(file) => file.flaw(self.link.is_some()),
            Node::Symlink { target } => {
                (target.is_empty() || target.contains(&0)).then_some("the target of a symlink is empty or holds NUL")
            }
            Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => None,
        }
    }
}

/// What is wrong with a set of extended attributes, if anything.
pub(super) fn xattrs_flaw(set: &[Xattr]) -> Option<&'static str> {
    if set.iter().any(|attr| attr.name.is_empty() || attr.name.contains(&0)) {
        return Some("the name of an extended attribute is empty or holds NUL");
    }
    let ascending = set.iter().zip(set.iter().skip(1)).all(|(left, right)| left.name < right.name);
    (!ascending).then_some("extended attributes are not sorted by name")
}
