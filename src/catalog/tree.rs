//! Trees of pages: written from a stream of entries, read as a lazy stream of entries.

use std::collections::VecDeque;

use super::entry::{Entry, Place};
use super::inner::{ChildRef, InnerPage, LEVEL_MAX};
use super::page::{LeafPage, PageBuilder};
use super::page_decode::decode_leaf;
use crate::error::{Attempt, Error, Result};
use crate::id::BlobId;
use crate::path::TreePath;

/// Children of an inner page before its end is looked for.
const CHILDREN_MIN: usize = 64;
/// Children of an inner page, and of a root, at most.
const CHILDREN_MAX: usize = 256;
/// One child in 64 ends a page.
const CUT_MASK: u64 = 63;
/// Size of an inner page, and of a root, at most (about): a root stands in hex in a small object of at most 1 MiB.
/// Reached only by paths of many kilobytes.
const INNER_MAX: usize = 256 << 10;

/// Pages that a [`TreeReader`] asks for at once: 64 pages of about 100 KiB are in memory per level.
pub const FETCH_BATCH: usize = 64;

/// What a store says of a page that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPage {
    /// Its id.
    pub id: BlobId,
    /// Length of its plaintext.
    pub raw_len: u32,
    /// Where it lies, if that is known: not while its pack is open.
    pub place: Option<Place>,
}

/// Writes a tree: entries in catalogue order in, pages out, at the end the root. A clone is the tree as it is now: a root and an open page for
/// each level, some 100 KiB.
#[derive(Clone)]
pub struct TreeWriter {
    leaf: PageBuilder,
    /// `levels[n]` holds the children of the open page of level n + 1.
    levels: Vec<Level>,
}

#[derive(Clone, Default)]
struct Level {
    open: Vec<ChildRef>,
    size: usize,
    /// Whether the children no longer fit into a root, so that pages of this level are cut and stored.
    is_cut: bool,
}

impl TreeWriter {
    /// An empty tree. `cut_key` decides where pages end: the same key, the same pages for the same entries.
    pub fn new(cut_key: [u8; 32]) -> Self {
        Self { leaf: PageBuilder::new(cut_key), levels: vec![Level::default()] }
    }

    /// Adds an entry; calls `store` for each page that this finishes. After an error the writer is not to be used.
    ///
    /// # Errors
    /// As [`PageBuilder::push`] and `store`.
    pub fn push(&mut self, entry: &Entry, store: &mut dyn FnMut(&[u8]) -> Result<StoredPage>) -> Result<()> {
        match self.leaf.push(entry)? {
            Some(page) => self.add_leaf(page, store),
            None => Ok(()),
        }
    }

    /// Stores what is open and returns the root, which is not stored: it belongs into the snapshot. Hints of pages
    /// whose packs were open are missing; [`InnerPage::fill_hints`] adds them when the packs are closed.
    pub fn finish(mut self, store: &mut dyn FnMut(&[u8]) -> Result<StoredPage>) -> Result<InnerPage> {
        let leaf = std::mem::replace(&mut self.leaf, PageBuilder::new([0; 32]));
        if let Some(page) = leaf.finish() {
            self.add_leaf(page, store)?;
        }
        let mut level = 1;
        loop {
            let open = self.level(level)?;
            let children = std::mem::take(&mut open.open);
            if !open.is_cut {
                return Ok(InnerPage { level, children });
            }
            if !children.is_empty() {
                self.close(level, children, store)?;
            }
            level += 1;
        }
    }

    fn add_leaf(&mut self, page: LeafPage, store: &mut dyn FnMut(&[u8]) -> Result<StoredPage>) -> Result<()> {
        let stored = store(&page.bytes)?;
        self.add(1, child(stored, page.entries, page.first), store)
    }

    fn add(&mut self, number: u8, child: ChildRef, store: &mut dyn FnMut(&[u8]) -> Result<StoredPage>) -> Result<()> {
        let level = self.level(number)?;
        if !level.is_cut {
            level.size += child.size();
            level.open.push(child);
            if level.open.len() <= CHILDREN_MAX && level.size <= INNER_MAX {
                return Ok(());
            }
            // Too much for a root: cut what is there as if it had been cut from the start.
            level.is_cut = true;
            level.size = 0;
            for child in std::mem::take(&mut level.open) {
                self.add(number, child, store)?;
            }
            return Ok(());
        }
        if level.size + child.size() > INNER_MAX && !level.open.is_empty() {
            level.size = 0;
            let children = std::mem::take(&mut level.open);
            self.close(number, children, store)?;
            return self.add(number, child, store);
        }
        let is_cut_point =
            child.id.as_bytes().first_chunk().is_some_and(|head| u64::from_le_bytes(*head) & CUT_MASK == 0);
        level.size += child.size();
        level.open.push(child);
        if level.open.len() >= CHILDREN_MAX || (level.open.len() >= CHILDREN_MIN && is_cut_point) {
            level.size = 0;
            let children = std::mem::take(&mut level.open);
            self.close(number, children, store)?;
        }
        Ok(())
    }

    /// Stores an inner page and adds it to the level above.
    fn close(
        &mut self,
        level: u8,
        children: Vec<ChildRef>,
        store: &mut dyn FnMut(&[u8]) -> Result<StoredPage>,
    ) -> Result<()> {
        let page = InnerPage { level, children };
        let first = page.children.first().map(|child| child.first.clone()).unwrap_or_default();
        let stored = store(&page.encode())?;
        self.add(level + 1, child(stored, page.entries(), first), store)
    }

    fn level(&mut self, number: u8) -> Result<&mut Level> {
        if number > LEVEL_MAX {
            return Err(Error::invalid(format!("the catalogue would have more than {LEVEL_MAX} levels")));
        }
        let row = usize::from(number.saturating_sub(1));
        if self.levels.len() <= row {
            self.levels.resize_with(row + 1, Level::default);
        }
        self.levels.get_mut(row).ok_or_else(|| Error::bug("a level of the catalogue is missing"))
    }
}

fn child(stored: StoredPage, entries: u64, first: TreePath) -> ChildRef {
    ChildRef { id: stored.id, raw_len: stored.raw_len, entries, first, hint: stored.place }
}

/// Fetches pages: the plaintexts of these children, in this order, verified by id.
pub type FetchPages<'a> = Box<dyn Fn(&[ChildRef]) -> Result<Vec<Vec<u8>>> + Send + 'a>;

/// The entries of a tree, in order, fetched a few pages at a time. Ends after the first error.
pub struct TreeReader<'a> {
    fetch: FetchPages<'a>,
    within: TreePath,
    /// The open pages from the root down; the last is the one to go on with.
    open: Vec<OpenPage>,
    entries: std::vec::IntoIter<Entry>,
    /// Path of the last entry of the page before.
    last: Option<TreePath>,
}

struct OpenPage {
    level: u8,
    children: VecDeque<ChildRef>,
    fetched: VecDeque<(ChildRef, Vec<u8>)>,
}

impl<'a> TreeReader<'a> {
    /// All entries of the tree.
    pub fn new(root: InnerPage, fetch: FetchPages<'a>) -> Self {
        Self::within(root, TreePath::root(), fetch)
    }

    /// The entry at `path` and all below it. Fetches only pages that can hold them.
    pub fn within(root: InnerPage, path: TreePath, fetch: FetchPages<'a>) -> Self {
        let mut reader = Self { fetch, within: path, open: Vec::new(), entries: Vec::new().into_iter(), last: None };
        reader.open(root);
        reader
    }

    fn open(&mut self, page: InnerPage) {
        let within = &self.within;
        let mut children: VecDeque<ChildRef> = page.children.into();
        // A child reaches up to where the next one begins.
        while children.get(1).is_some_and(|next| next.first <= *within) {
            children.pop_front();
        }
        let end = children.partition_point(|child| child.first <= *within || child.first.starts_with(within));
        children.truncate(end);
        self.open.push(OpenPage { level: page.level, children, fetched: VecDeque::new() });
    }

    /// Decodes the next page; `false` when there is none.
    fn advance(&mut self) -> Result<bool> {
        let Some(page) = self.open.last_mut() else { return Ok(false) };
        let level = page.level;
        let next = match page.fetched.pop_front() {
            Some(next) => Some(next),
            None => page.fetch_more(&self.fetch)?,
        };
        let Some((child, bytes)) = next else {
            self.open.pop();
            return Ok(true);
        };
        self.decode(level, &child, &bytes).attempt(|| format!("read catalogue page {}", child.id))?;
        Ok(true)
    }

    fn decode(&mut self, level: u8, child: &ChildRef, bytes: &[u8]) -> Result<()> {
        let below = level.saturating_sub(1);
        if below == 0 {
            let entries = decode_leaf(bytes)?;
            expect(child, entries.len() as u64, entries.first().map(|entry| &entry.path))?;
            // Within a page the order is checked already.
            if self.last.is_some() && self.last.as_ref() >= entries.first().map(|entry| &entry.path) {
                return Err(Error::corrupt("the page is not after the one before it"));
            }
            self.last = entries.last().map(|entry| entry.path.clone());
            self.entries = entries.into_iter();
            return Ok(());
        }
        let page = InnerPage::decode(bytes)?;
        if page.level != below {
            return Err(Error::corrupt(format!("a page of level {} below one of level {level}", page.level)));
        }
        expect(child, page.entries(), page.children.first().map(|child| &child.first))?;
        self.open(page);
        Ok(())
    }

    fn try_next(&mut self) -> Result<Option<Entry>> {
        loop {
            for entry in self.entries.by_ref() {
                if entry.path.starts_with(&self.within) {
                    return Ok(Some(entry));
                }
                if entry.path > self.within {
                    return Ok(None);
                }
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }
}

impl OpenPage {
    fn fetch_more(&mut self, fetch: &FetchPages<'_>) -> Result<Option<(ChildRef, Vec<u8>)>> {
        let batch: Vec<ChildRef> = self.children.drain(..self.children.len().min(FETCH_BATCH)).collect();
        if batch.is_empty() {
            return Ok(None);
        }
        let pages = fetch(&batch)?;
        if pages.len() != batch.len() {
            return Err(Error::bug(format!("{} pages came for {}", pages.len(), batch.len())));
        }
        self.fetched = batch.into_iter().zip(pages).collect();
        Ok(self.fetched.pop_front())
    }
}

/// Checks what a parent said of a page.
fn expect(child: &ChildRef, entries: u64, first: Option<&TreePath>) -> Result<()> {
    if entries != child.entries || first != Some(&child.first) {
        return Err(Error::corrupt("the page is not the one that its parent describes"));
    }
    Ok(())
}

impl Iterator for TreeReader<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.try_next();
        if !matches!(next, Ok(Some(_))) {
            self.open.clear();
            self.entries = Vec::new().into_iter();
        }
        next.transpose()
    }
}
