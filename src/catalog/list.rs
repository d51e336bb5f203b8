//! Chunk lists: the chunks of big files, in blobs of their own, so that an entry stays small and an edit in the middle
//! of a file changes one list.

use std::collections::VecDeque;

use super::entry::{BlobRef, Content, LIST_DEPTH_MAX, StoredObject};
use super::tree::StoredPage;
use super::wire::{Reader, put_len, put_varint};
use crate::error::{Attempt, Error, Result};
use crate::id::BlobId;
use crate::limits::BLOB_MAX;

/// First byte of a chunk list.
const LIST: u8 = 3;

/// Chunks, or lists, that an entry names itself: 2 KiB of table at most for files up to tens of megabytes.
pub const INLINE_MAX: usize = 64;

/// Items of a list before its end is looked for.
const ITEMS_MIN: usize = 64;
/// Items of a list at most: about 72 KiB.
const ITEMS_MAX: usize = 2048;
/// One id in 512 ends a list.
const CUT_MASK: u16 = 0x1ff;

/// Lists that a [`ChunkReader`] asks for at once: about 300 KiB, 8,000 chunks.
const FETCH_BATCH: usize = 16;

/// A blob in a chunk list and the length of the file content that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListItem {
    /// A data blob at depth 0, a chunk list above.
    pub id: BlobId,
    /// Bytes of file content in it or below it.
    pub len: u64,
}

/// One chunk list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkList {
    /// 0: the items are data blobs; d: lists of depth d − 1.
    pub depth: u8,
    /// The items, in file order.
    pub chunks: Vec<ListItem>,
}

impl ChunkList {
    /// The list as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 36 * self.chunks.len());
        bytes.extend_from_slice(&[LIST, self.depth]);
        put_len(&mut bytes, self.chunks.len());
        for item in &self.chunks {
            bytes.extend_from_slice(item.id.as_bytes());
            put_varint(&mut bytes, item.len);
        }
        bytes
    }

    /// Reads a list.
    ///
    /// # Errors
    /// `Corrupt` for anything that `docs/format.md` section 9 does not allow.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != LIST {
            return Err(Error::corrupt("not a chunk list"));
        }
        let depth = reader.u8()?;
        if depth > LIST_DEPTH_MAX {
            return Err(Error::corrupt(format!("chunk list of depth {depth}")));
        }
        let count = reader.count(BlobId::LEN + 1, "chunks")?;
        let mut chunks = Vec::with_capacity(count);
        for number in 0..count {
            let item = ListItem { id: BlobId::new(reader.array()?), len: reader.varint()? };
            if item.len == 0 || (depth == 0 && item.len > BLOB_MAX as u64) {
                return Err(Error::corrupt(format!("chunk {number} of a list has {} bytes", item.len)));
            }
            chunks.push(item);
        }
        reader.finish("a chunk list")?;
        Ok(Self { depth, chunks })
    }

    /// Bytes of file content below; `None` above 64 bits.
    pub fn len(&self) -> Option<u64> {
        self.chunks.iter().try_fold(0u64, |sum, item| sum.checked_add(item.len))
    }

    /// Whether it has no items, which no writer makes.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

/// The content of a file that consists of `chunks`: named by the entry itself up to [`INLINE_MAX`], above that in
/// chunk lists, which go to `store`. Lists are cut at content-defined places, so that files alike share them.
///
/// # Errors
/// Those of `store`; `Invalid` for a file of more than about 64⁶ chunks.
pub fn store_chunks(chunks: Vec<BlobRef>, store: &mut dyn FnMut(&[u8]) -> Result<StoredPage>) -> Result<Content> {
    if chunks.is_empty() {
        return Ok(Content::Empty);
    }
    if chunks.len() <= INLINE_MAX {
        return Ok(Content::Chunks(chunks));
    }
    let mut items: Vec<ListItem> =
        chunks.iter().map(|chunk| ListItem { id: chunk.id, len: u64::from(chunk.raw_len) }).collect();
    drop(chunks);
    for depth in 0..=LIST_DEPTH_MAX {
        let (lists, parents) = store_level(depth, &items, store)?;
        if lists.len() <= INLINE_MAX {
            return Ok(Content::Lists { depth, lists });
        }
        items = parents;
    }
    Err(Error::invalid("the file has too many chunks"))
}

/// Stores `items` as lists of `depth`; returns the lists as an entry names them, and as a list above does.
fn store_level(
    depth: u8,
    items: &[ListItem],
    store: &mut dyn FnMut(&[u8]) -> Result<StoredPage>,
) -> Result<(Vec<BlobRef>, Vec<ListItem>)> {
    let (mut lists, mut parents) = (Vec::new(), Vec::new());
    let mut rest = items;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at_checked(list_len(rest)).unwrap_or((rest, &[]));
        rest = tail;
        let list = ChunkList { depth, chunks: head.to_vec() };
        let stored = store(&list.encode())?;
        lists.push(BlobRef { id: stored.id, raw_len: stored.raw_len });
        let len = list.len().ok_or_else(|| Error::bug("chunks of more than 64 bits"))?;
        parents.push(ListItem { id: stored.id, len });
    }
    Ok((lists, parents))
}

/// Number of items of the list that starts with `items`.
fn list_len(items: &[ListItem]) -> usize {
    let longest = items.len().min(ITEMS_MAX);
    let is_end = |item: &ListItem| {
        item.id.as_bytes().first_chunk().is_some_and(|head| u16::from_le_bytes(*head) & CUT_MASK == 0)
    };
    items.iter().take(longest).skip(ITEMS_MIN - 1).position(is_end).map_or(longest, |at| at + ITEMS_MIN)
}

/// Fetches chunk lists: their plaintexts, in this order, verified by id.
pub type FetchLists<'a> = Box<dyn Fn(&[BlobId]) -> Result<Vec<Vec<u8>>> + Send + 'a>;

/// The chunks of a file, in order; lists are fetched as they are needed. Ends after the first error, and with an error
/// when the chunks do not add up.
pub struct ChunkReader<'a> {
    fetch: FetchLists<'a>,
    open: Vec<OpenList>,
    chunks: std::vec::IntoIter<BlobRef>,
    /// Bytes of file content that are still to come.
    missing: u64,
}

struct OpenList {
    /// Depth of the lists in it.
    depth: u8,
    lists: VecDeque<Child>,
    fetched: VecDeque<(Child, Vec<u8>)>,
}

/// A list as its parent names it: an entry knows its plaintext's length, a list the length of the content below.
#[derive(Clone, Copy)]
struct Child {
    id: BlobId,
    raw_len: Option<u32>,
    len: Option<u64>,
}

impl<'a> ChunkReader<'a> {
    /// The chunks of `content`, which are `len` bytes (`FileNode::content_len`).
    ///
    /// # Errors
    /// `Bug` for content in a bundle, which has no chunks.
    pub fn new(content: Content, len: u64, fetch: FetchLists<'a>) -> Result<Self> {
        let mut reader = Self { fetch, open: Vec::new(), chunks: Vec::new().into_iter(), missing: len };
        match content {
            Content::Empty => reader.missing = 0,
            Content::Bundle { .. } => return Err(Error::bug("content in a bundle has no chunks")),
            Content::Object(_) => return Err(StoredObject::misplaced()),
            Content::Chunks(chunks) => reader.chunks = chunks.into_iter(),
            Content::Lists { depth, lists } => {
                let child = |list: BlobRef| Child { id: list.id, raw_len: Some(list.raw_len), len: None };
                reader.open.push(OpenList {
                    depth,
                    lists: lists.into_iter().map(child).collect(),
                    fetched: VecDeque::new(),
                });
            }
        }
        Ok(reader)
    }

    fn try_next(&mut self) -> Result<Option<BlobRef>> {
        loop {
            if let Some(chunk) = self.chunks.next() {
                let missing = self.missing.checked_sub(u64::from(chunk.raw_len));
                self.missing = missing.ok_or_else(|| Error::corrupt("the chunks are longer than the file"))?;
                return Ok(Some(chunk));
            }
            let Some(open) = self.open.last_mut() else { break };
            let depth = open.depth;
            match open.next(&self.fetch)? {
                None => drop(self.open.pop()),
                Some((child, bytes)) => {
                    self.decode(depth, child, &bytes).attempt(|| format!("read chunk list {}", child.id))?;
                }
            }
        }
        match self.missing {
            0 => Ok(None),
            missing => Err(Error::corrupt(format!("the chunks are {missing} bytes shorter than the file"))),
        }
    }

    fn decode(&mut self, depth: u8, child: Child, bytes: &[u8]) -> Result<()> {
        let list = ChunkList::decode(bytes)?;
        let len = list.len();
        let as_named = list.depth == depth
            && child.raw_len.is_none_or(|raw_len| raw_len as usize == bytes.len())
            && len.is_some()
            && child.len.is_none_or(|expected| len == Some(expected))
            && !list.is_empty();
        if !as_named {
            return Err(Error::corrupt("the list is not the one that its parent describes"));
        }
        if let Some(below) = depth.checked_sub(1) {
            let child = |item: ListItem| Child { id: item.id, raw_len: None, len: Some(item.len) };
            let lists = list.chunks.into_iter().map(child).collect();
            self.open.push(OpenList { depth: below, lists, fetched: VecDeque::new() });
            return Ok(());
        }
        let chunk = |item: ListItem| {
            let raw_len = u32::try_from(item.len).map_err(|_| Error::corrupt("a chunk is too long"))?;
            Ok(BlobRef { id: item.id, raw_len })
        };
        self.chunks = list.chunks.into_iter().map(chunk).collect::<Result<Vec<_>>>()?.into_iter();
        Ok(())
    }
}

impl OpenList {
    fn next(&mut self, fetch: &FetchLists<'_>) -> Result<Option<(Child, Vec<u8>)>> {
        if let Some(next) = self.fetched.pop_front() {
            return Ok(Some(next));
        }
        let batch: Vec<Child> = self.lists.drain(..self.lists.len().min(FETCH_BATCH)).collect();
        if batch.is_empty() {
            return Ok(None);
        }
        let ids: Vec<BlobId> = batch.iter().map(|child| child.id).collect();
        let lists = fetch(&ids)?;
        if lists.len() != batch.len() {
            return Err(Error::bug(format!("{} chunk lists came for {}", lists.len(), batch.len())));
        }
        self.fetched = batch.into_iter().zip(lists).collect();
        Ok(self.fetched.pop_front())
    }
}

impl Iterator for ChunkReader<'_> {
    type Item = Result<BlobRef>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.try_next();
        if !matches!(next, Ok(Some(_))) {
            self.open.clear();
            self.chunks = Vec::new().into_iter();
            self.missing = 0;
        }
        next.transpose()
    }
}
