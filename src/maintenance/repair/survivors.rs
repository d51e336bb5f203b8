//! Reads a snapshot's tree past everything that is lost: pages that cannot be read are named and passed over, files that lack content come with
//! what remains of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::catalog::{
    BlobRef, ChildRef, ChunkList, Content, Entry, FileNode, InnerPage, LinkGroup, Metadata, Node, StoredObject,
    Timestamp, decode_leaf,
};
use crate::error::{Error, Result};
use crate::id::BlobId;
use crate::path::TreePath;
use crate::size::ByteSize;

use super::super::Context;
use super::super::blobs::Blobs;
use super::super::trees::{fetch_all, locate};
use super::remains::{Piece, Remains, remains};

/// Pages, and chunk lists, that one fetch is asked for.
const PAGES_AT_ONCE: usize = 64;
/// Pages that are remembered as sound, 16 bytes each.
const SOUND_MAX: usize = 4_000_000;

/// Hears of each entry that is left, and makes a file's content out of what remains of it.
pub(super) trait Heir {
    /// Takes the next entry, in order.
    fn entry(&mut self, entry: &Entry) -> Result<()>;
    /// Content that consists of these chunks.
    fn content(&mut self, chunks: Vec<BlobRef>) -> Result<Content>;
}

/// Reads trees; remembers between them which pages are sound.
pub(super) struct Survey<'c> {
    context: &'c Context<'c>,
    blobs: &'c Blobs,
    sound: HashSet<[u8; 16]>,
}

/// One tree being read.
struct Reading<'s, 'c, 'h> {
    survey: &'s mut Survey<'c>,
    heir: Option<&'h mut dyn Heir>,
    losses: Vec<String>,
    last: Option<TreePath>,
    /// Directories that the last entry lies in.
    open: Vec<TreePath>,
    /// Hard-link groups whose content has come.
    groups: HashSet<LinkGroup>,
    /// Ranges of paths of lost pages: from, and up to before.
    gaps: Vec<(TreePath, Option<TreePath>)>,
}

impl<'c> Survey<'c> {
    pub(super) fn new(context: &'c Context<'c>, blobs: &'c Blobs) -> Self {
        Self { context, blobs, sound: HashSet::new() }
    }

    /// Whether anything of the tree is lost. Pages that were found to be sound in another tree are not read again.
    pub(super) fn is_damaged(&mut self, root: &InnerPage) -> Result<bool> {
        Ok(!self.read(root, None)?.is_empty())
    }

    /// Hands all that is left to `heir`; returns what is lost, a sentence each.
    pub(super) fn survivors(&mut self, root: &InnerPage, heir: &mut dyn Heir) -> Result<Vec<String>> {
        self.read(root, Some(heir))
    }

    fn read(&mut self, root: &InnerPage, heir: Option<&mut dyn Heir>) -> Result<Vec<String>> {
        let mut reading = Reading {
            survey: self,
            heir,
            losses: Vec::new(),
            last: None,
            open: Vec::new(),
            groups: HashSet::new(),
            gaps: Vec::new(),
        };
        reading.inner(root, None)?;
        Ok(reading.losses)
    }

    /// Tree blobs by number; those that cannot be had are missing.
    fn fetch(&self, blobs: &[BlobRef]) -> Result<HashMap<usize, Vec<u8>>> {
        let (mut wanted, mut asked) = (Vec::new(), Vec::new());
        for (number, blob) in blobs.iter().enumerate() {
            if let (Some(want), None) = locate(self.context, self.blobs, blob)? {
                wanted.push(want);
                asked.push(number);
            }
        }
        let plains: Mutex<HashMap<usize, Vec<u8>>> = Mutex::default();
        fetch_all(self.context, &wanted, &|number, plain| {
            let lock = || plains.lock().unwrap_or_else(PoisonError::into_inner);
            drop(asked.get(number).map(|number| lock().insert(*number, plain.to_vec())));
            Ok(())
        })?;
        Ok(plains.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_here(&self, blob: &BlobRef) -> Result<bool> {
        Ok(self.blobs.flaw(self.context.session, blob)?.is_none())
    }

    /// The content of a file, piece by piece.
    fn pieces(&self, file: &FileNode) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        match &file.content {
            Content::Empty => {}
            Content::Object(_) => return Err(StoredObject::misplaced()),
            Content::Bundle { .. } => return Err(Error::bug("content in a bundle has no pieces")),
            Content::Chunks(chunks) => {
                for chunk in chunks {
                    pieces.push(self.piece(chunk)?);
                }
            }
            Content::Lists { depth, lists } => {
                let named: Vec<(BlobRef, Option<u64>)> = lists.iter().map(|list| (*list, None)).collect();
                self.lists(*depth, &named, &mut pieces)?;
            }
        }
        Ok(pieces)
    }

    fn piece(&self, chunk: &BlobRef) -> Result<Piece> {
        let is_here = self.is_here(chunk)?;
        Ok(if is_here { Piece::Here(*chunk) } else { Piece::Lost(Some(u64::from(chunk.raw_len))) })
    }

    fn lists(&self, depth: u8, lists: &[(BlobRef, Option<u64>)], pieces: &mut Vec<Piece>) -> Result<()> {
        for batch in lists.chunks(PAGES_AT_ONCE) {
            self.context.go_on()?;
            let blobs: Vec<BlobRef> = batch.iter().map(|(blob, _)| *blob).collect();
            let plains = self.fetch(&blobs)?;
            for (number, (_, len)) in batch.iter().enumerate() {
                let list = plains.get(&number).and_then(|plain| ChunkList::decode(plain).ok());
                let fits = |list: &ChunkList| {
                    list.depth == depth && list.len().is_some() && (len.is_none() || list.len() == *len)
                };
                let Some(list) = list.filter(fits) else {
                    pieces.push(Piece::Lost(*len));
                    continue;
                };
                if let Some(below) = depth.checked_sub(1) {
                    let named = |id: BlobId, len| (BlobRef { id, raw_len: 0 }, Some(len));
                    let lists: Vec<_> = list.chunks.iter().map(|item| named(item.id, item.len)).collect();
                    self.lists(below, &lists, pieces)?;
                    continue;
                }
                for item in &list.chunks {
                    let raw_len = u32::try_from(item.len).map_err(|_| Error::bug("a chunk list that was checked"))?;
                    pieces.push(self.piece(&BlobRef { id: item.id, raw_len })?);
                }
            }
        }
        Ok(())
    }
}

impl Reading<'_, '_, '_> {
    fn inner(&mut self, page: &InnerPage, until: Option<&TreePath>) -> Result<()> {
        let ends: Vec<Option<&TreePath>> =
            page.children.iter().skip(1).map(|child| Some(&child.first)).chain([until]).collect();
        let below = page.level.saturating_sub(1);
        for (children, ends) in page.children.chunks(PAGES_AT_ONCE).zip(ends.chunks(PAGES_AT_ONCE)) {
            self.survey.context.go_on()?;
            let blobs: Vec<BlobRef> =
                children.iter().map(|child| BlobRef { id: child.id, raw_len: child.raw_len }).collect();
            let unread: Vec<usize> =
                (0..children.len()).filter(|n| !children.get(*n).is_some_and(|c| self.is_known(c))).collect();
            let asked: Vec<BlobRef> = unread.iter().filter_map(|number| blobs.get(*number)).copied().collect();
            let mut plains = self.survey.fetch(&asked)?;
            for (number, at) in unread.iter().enumerate() {
                let (Some(child), Some(until)) = (children.get(*at), ends.get(*at)) else { continue };
                let losses = self.losses.len();
                match plains.remove(&number).ok_or_else(|| Error::corrupt("it cannot be read")) {
                    Ok(plain) if below == 0 => match self.leaf(child, *until, &plain) {
                        Ok(entries) => entries.into_iter().try_for_each(|entry| self.entry(entry))?,
                        Err(error) => self.lose(child, *until, &error),
                    },
                    Ok(plain) => match deeper(child, below, &plain) {
                        Ok(page) => self.inner(&page, *until)?,
                        Err(error) => self.lose(child, *until, &error),
                    },
                    Err(error) => self.lose(child, *until, &error),
                }
                if self.losses.len() == losses {
                    self.remember(child);
                }
            }
        }
        Ok(())
    }

    fn is_known(&self, child: &ChildRef) -> bool {
        self.heir.is_none() && self.survey.sound.contains(&digest(child))
    }

    fn remember(&mut self, child: &ChildRef) {
        if self.heir.is_none() && self.survey.sound.len() < SOUND_MAX {
            self.survey.sound.insert(digest(child));
        }
    }

    fn leaf(&mut self, child: &ChildRef, until: Option<&TreePath>, plain: &[u8]) -> Result<Vec<Entry>> {
        let entries = decode_leaf(plain)?;
        let first = entries.first().map(|entry| &entry.path);
        let in_order = (self.last.is_none() || first > self.last.as_ref())
            && (until.is_none() || entries.last().map(|entry| &entry.path) < until);
        if entries.len() as u64 != child.entries || first != Some(&child.first) || !in_order {
            return Err(Error::corrupt("it is not the page that its parent describes"));
        }
        self.last = entries.last().map(|entry| entry.path.clone());
        Ok(entries)
    }

    fn lose(&mut self, child: &ChildRef, until: Option<&TreePath>, error: &Error) {
        let (count, first) = (child.entries, child.first.display());
        let to = until.map_or_else(|| "the end".to_owned(), |until| format!("before {}", until.display()));
        self.losses.push(format!(
            "{count} entries from {first} to {to}: catalogue page {}: {}",
            child.id,
            error.chain()
        ));
        self.gaps.push((child.first.clone(), until.cloned()));
    }

    fn entry(&mut self, entry: Entry) -> Result<()> {
        while self.open.last().is_some_and(|dir| !entry.path.starts_with(dir)) {
            self.open.pop();
        }
        self.missing_parents(&entry)?;
        let entry = self.left_of(entry)?;
        if matches!(entry.node, Node::Directory) {
            self.open.push(entry.path.clone());
        }
        match &mut self.heir {
            Some(heir) => heir.entry(&entry),
            None => Ok(()),
        }
    }

    /// Directories of a lost page come back with the owner of what lies in them, closed for all others.
    fn missing_parents(&mut self, entry: &Entry) -> Result<()> {
        let mut missing = Vec::new();
        let mut parent = entry.path.parent();
        while let Some(path) = parent.filter(|path| !path.is_root() && self.open.last() != Some(path)) {
            let is_lost = |(from, until): &(TreePath, Option<TreePath>)| {
                *from <= path && until.as_ref().is_none_or(|until| path < *until)
            };
            if self.gaps.iter().any(is_lost) {
                missing.push(path.clone());
            }
            parent = path.parent();
        }
        for path in missing.into_iter().rev() {
            let directory = Entry { path: path.clone(), meta: nobodys(&entry.meta), node: Node::Directory, link: None };
            self.losses.push(format!("owner, mode and times of directory {}", path.display()));
            self.open.push(path);
            if let Some(heir) = &mut self.heir {
                heir.entry(&directory)?;
            }
        }
        Ok(())
    }

    /// The entry with what is left of its content.
    fn left_of(&mut self, mut entry: Entry) -> Result<Entry> {
        let Node::File(file) = &mut entry.node else { return Ok(entry) };
        let len = file.content_len().unwrap_or(0);
        let left = match &file.content {
            Content::Empty if len == 0 => None,
            Content::Empty => {
                // Another name of the file has the content, unless that name is lost.
                let is_known = entry.link.is_some_and(|group| self.groups.contains(&group));
                (!is_known && !self.gaps.is_empty()).then(|| nothing(len))
            }
            Content::Object(_) => return Err(StoredObject::misplaced()),
            Content::Bundle { blob, .. } => (!self.survey.is_here(blob)?).then(|| nothing(len)),
            Content::Chunks(_) | Content::Lists { .. } => remains(file, &self.survey.pieces(file)?),
        };
        self.groups.extend(entry.link);
        let Some(Remains { chunks, extents, lost }) = left else { return Ok(entry) };
        let part = if lost == len { "all" } else { "a part" };
        self.losses.push(format!(
            "{part} of file {} ({} of {})",
            entry.path.display(),
            ByteSize(lost),
            ByteSize(file.size)
        ));
        file.content = match &mut self.heir {
            Some(heir) if !chunks.is_empty() => heir.content(chunks)?,
            Some(_) | None => Content::Empty,
        };
        file.extents = Some(extents);
        file.incomplete = true;
        Ok(entry)
    }
}

fn deeper(child: &ChildRef, level: u8, plain: &[u8]) -> Result<InnerPage> {
    let page = InnerPage::decode(plain)?;
    let first = page.children.first().map(|child| &child.first);
    if page.level != level || page.entries() != child.entries || first != Some(&child.first) {
        return Err(Error::corrupt("it is not the page that its parent describes"));
    }
    Ok(page)
}

const fn nothing(lost: u64) -> Remains {
    Remains { chunks: Vec::new(), extents: Vec::new(), lost }
}

fn nobodys(below: &Metadata) -> Metadata {
    Metadata {
        mode: 0o700,
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
        inode: 0,
        xattrs: std::sync::Arc::from([]),
        ..below.clone()
    }
}

/// What makes a page, with what its parent says of it, the same as another.
fn digest(child: &ChildRef) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(child.id.as_bytes()).update(&child.entries.to_le_bytes()).update(child.first.as_bytes());
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}
