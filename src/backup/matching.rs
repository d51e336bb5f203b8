//! Decides, entry by entry, what is carried over from the parent and what is read. Reads nothing itself.

use std::collections::HashSet;

use crate::catalog::{BlobRef, Content, Entry, FileNode, LinkGroup, Node, StoredObject, Timestamp};

use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::limits::BUNDLED_BELOW;
use crate::path::TreePath;
use crate::repo::{BlobKind, BlobWriter, Reader};
use crate::volume::{EntryKind, Found, Stat, WalkItem};

use super::options::BackupOptions;
use super::parent::Cursor;

/// What an entry is compared with its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    New,
    Modified,
    Unchanged,
}

/// An entry that something must be read of.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) found: Found,
    pub(super) link: Option<LinkGroup>,
    pub(super) change: Change,
}

/// What is to be done for one entry.
#[derive(Debug)]
pub(super) enum Item {
    /// Nothing: the parent's entry stands.
    Keep(Entry),
    /// Read its metadata; content, if it is a file, is the parent's.
    Describe { subject: Subject, content: Option<FileNode> },
    /// Read a small file; its content may turn out to be the parent's.
    Small { subject: Subject, old: Option<FileNode> },
    /// Read and cut a large file.
    Large { subject: Subject },
    /// Tell.
    Problem { path: TreePath, error: Error },
    /// Tell that it is not saved.
    Socket { path: TreePath },
}

impl Item {
    /// About how many bytes are read for it.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Self::Small { subject, .. } => subject.found.stat.size,
            Self::Keep(_) | Self::Describe { .. } | Self::Large { .. } | Self::Problem { .. } | Self::Socket { .. } => {
                0
            }
        }
    }
}

/// Matches the walk with the parent.
pub(super) struct Matcher<'a> {
    options: &'a BackupOptions,
    cursor: Cursor<'a>,
    sparse: HashSet<BlobId>,
    /// Hard-link groups met so far: 16 bytes each.
    groups: HashSet<LinkGroup>,
    live: Option<LiveCheck<'a>>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(
        options: &'a BackupOptions,
        cursor: Cursor<'a>,
        sparse: HashSet<BlobId>,
        live: Option<LiveCheck<'a>>,
    ) -> Self {
        Self { options, cursor, sparse, groups: HashSet::new(), live }
    }

    /// Why the parent could not be read to its end.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.cursor.take_failure()
    }

    pub(super) fn item(&mut self, item: WalkItem) -> Result<Item> {
        match item {
            WalkItem::Found(found) => self.found(found),
            WalkItem::Problem { path, error } => Ok(Item::Problem { path, error }),
            WalkItem::Socket { path } => Ok(Item::Socket { path }),
        }
    }

    fn found(&mut self, found: Found) -> Result<Item> {
        let old = self.cursor.at(&found.path);
        let stat = &found.stat;
        let link = (stat.nlink > 1 && stat.kind != EntryKind::Directory)
            .then_some(LinkGroup { device: stat.device, inode: stat.inode });
        let first_of_group = link.is_none_or(|group| self.groups.insert(group));
        let change = if old.is_some() { Change::Modified } else { Change::New };
        if let Some(old) = &old
            && same_inode(old, stat, link)
            && has_content(old, first_of_group)
            && self.may_reuse(&old.node)?
        {
            return Ok(Item::Keep(old.clone()));
        }
        if stat.kind != EntryKind::File || !first_of_group {
            return Ok(Item::Describe { subject: Subject { found, link, change }, content: None });
        }
        let old = match old.map(|entry| (entry.meta, entry.node)) {
            Some((meta, Node::File(file))) if self.may_reuse_file(&file)? => {
                if self.trusts(&meta.mtime, meta.inode, &file, &found.stat) {
                    let subject = Subject { found, link, change: Change::Unchanged };
                    return Ok(Item::Describe { subject, content: Some(file) });
                }
                Some(file)
            }
            _ => None,
        };
        let subject = Subject { found, link, change };
        if subject.found.stat.size < BUNDLED_BELOW {
            Ok(Item::Small { subject, old })
        } else {
            Ok(Item::Large { subject })
        }
    }

    /// Whether the user told us to trust less than the inode's change time.
    fn trusts(&self, mtime: &Timestamp, inode: u64, file: &FileNode, stat: &Stat) -> bool {
        let inode_ok = self.options.ignore_inode || inode == stat.inode;
        let whole = !file.incomplete && (file.size == 0 || !matches!(file.content, Content::Empty));
        (self.options.ignore_ctime || self.options.ignore_inode)
            && inode_ok
            && whole
            && file.size == stat.size
            && *mtime == stat.mtime
    }

    fn may_reuse(&mut self, node: &Node) -> Result<bool> {
        match node {
            Node::File(file) => self.may_reuse_file(file),
            Node::Directory
            | Node::Symlink { .. }
            | Node::Fifo
            | Node::CharDevice { .. }
            | Node::BlockDevice { .. } => Ok(true),
        }
    }

    fn may_reuse_file(&mut self, file: &FileNode) -> Result<bool> {
        if let Content::Bundle { blob, .. } = &file.content
            && self.sparse.contains(&blob.id)
        {
            return Ok(false);
        }
        self.live.as_mut().map_or(Ok(true), |live| live.is_live(file))
    }
}

/// Whether neither content nor metadata have changed, as far as the kernel can tell: it sets the change time with every change of either, in
/// steps of its clock.
fn same_inode(old: &Entry, stat: &Stat, link: Option<LinkGroup>) -> bool {
    let meta = &old.meta;
    let same_kind = match &old.node {
        Node::Directory => stat.kind == EntryKind::Directory,
        Node::File(file) => stat.kind == EntryKind::File && file.size == stat.size && !file.incomplete,
        Node::Symlink { .. } => stat.kind == EntryKind::Symlink,
        Node::Fifo => stat.kind == EntryKind::Fifo,
        Node::CharDevice { .. } => stat.kind == EntryKind::CharDevice,
        Node::BlockDevice { .. } => stat.kind == EntryKind::BlockDevice,
    };
    same_kind
        && meta.ctime == stat.ctime
        && meta.mtime == stat.mtime
        && meta.inode == stat.inode
        && meta.mode == stat.mode
        && (meta.uid, meta.gid) == (stat.uid, stat.gid)
        && old.link.is_some() == link.is_some()
        && old.link.is_none_or(|group| link == Some(group))
}

/// Whether the old entry has content exactly if it must: the first of a hard-link group does, the others do not.
fn has_content(old: &Entry, first_of_group: bool) -> bool {
    match &old.node {
        Node::File(file) if file.size > 0 => {
            let holds_data = file.extents.as_ref().is_none_or(|extents| !extents.is_empty());
            matches!(file.content, Content::Empty) != (first_of_group && holds_data)
        }
        _ => true,
    }
}

/// Asks the index whether blobs are still there. Needed only while a prune has condemned or dropped packs.
pub(super) struct LiveCheck<'a> {
    writer: &'a BlobWriter<'a>,
    reader: Reader<'a>,
    /// Blobs known to be live: bounded, then forgotten.
    seen: HashSet<BlobId>,
}

impl<'a> LiveCheck<'a> {
    const SEEN_MAX: usize = 100_000;

    pub(super) fn new(writer: &'a BlobWriter<'a>, reader: Reader<'a>) -> Self {
        Self { writer, reader, seen: HashSet::new() }
    }

    fn is_live(&mut self, file: &FileNode) -> Result<bool> {
        match &file.content {
            Content::Empty => Ok(true),
            Content::Object(_) => Err(StoredObject::misplaced()),
            Content::Bundle { blob, .. } => self.holds(BlobKind::Data, blob.id),
            Content::Chunks(chunks) => {
                chunks.iter().try_fold(true, |live, chunk| Ok(live && self.holds(BlobKind::Data, chunk.id)?))
            }
            Content::Lists { lists, .. } => match self.lists_live(file, lists) {
                // A list that cannot be read is no reason to fail: the file can.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => Ok(false),
                live => live,
            },
        }
    }

    fn lists_live(&mut self, file: &FileNode, lists: &[BlobRef]) -> Result<bool> {
        for list in lists {
            if !self.holds(BlobKind::Tree, list.id)? {
                return Ok(false);
            }
        }
        for chunk in self.reader.chunks(file)? {
            if !self.holds(BlobKind::Data, chunk?.id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn holds(&mut self, kind: BlobKind, id: BlobId) -> Result<bool> {
        if self.seen.contains(&id) {
            return Ok(true);
        }
        let live = self.writer.holds(kind, &id)?;
        if live {
            if self.seen.len() >= Self::SEEN_MAX {
                self.seen.clear();
            }
            self.seen.insert(id);
        }
        Ok(live)
    }
}
