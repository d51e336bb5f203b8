//! Segments, the writing side: changes in, one file out. One page is in memory.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{CUT_KEY, END, FRAME_MAX, MAGIC, REMOVED_FULL, SegmentRef, frame_len};
use crate::catalog::wire::{put_bytes, put_len, put_varint};
use crate::catalog::{Content, Entry, LeafPage, Node, PageBuilder};
use crate::error::{Attempt, Error, Result};
use crate::id::ObjectHash;
use crate::path::{TreePath, compare, escape};

/// zstd level of frames: hashes and `ETags` are most of an entry and do not compress, so that higher levels save 1 %.
const LEVEL: i32 = 3;

/// Writes one segment into a file. The same changes make the same bytes.
pub struct SegmentWriter {
    path: PathBuf,
    out: BufWriter<File>,
    hasher: blake3::Hasher,
    size: u64,
    compressor: zstd::bulk::Compressor<'static>,
    pages: PageBuilder,
    /// Whether an entry waits in `pages`.
    is_filling: bool,
    removed: Removed,
    /// First path of the frame that is being filled.
    first: Option<Vec<u8>>,
    /// Changes in the frame that is being filled.
    items: u64,
    last: Option<Vec<u8>>,
    table: Vec<u8>,
    frames: u64,
    counts: Counts,
}

/// Removed paths of the frame that is being filled.
#[derive(Default)]
struct Removed {
    bytes: Vec<u8>,
    count: u64,
    last: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    entries: u64,
    removed: u64,
    files: u64,
    bytes: u64,
}

/// A segment that was written: complete, but not yet synced to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// BLAKE3 of its bytes.
    pub hash: ObjectHash,
    /// Its bytes.
    pub size: u64,
    /// Entries in it.
    pub entries: u64,
    /// Paths that it removes.
    pub removed: u64,
    /// Regular files among the entries.
    pub files: u64,
    /// Bytes of their objects.
    pub bytes: u64,
}

impl Written {
    /// As a root names it.
    pub fn at(&self, generation: u64) -> SegmentRef {
        let Self { hash, size, entries, removed, .. } = *self;
        SegmentRef { generation, hash, size, entries, removed }
    }
}

impl SegmentWriter {
    /// Begins a segment at `path`; what is there is replaced.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).attempt(|| format!("write {}", shown(path)))?;
        let compressor =
            zstd::bulk::Compressor::new(LEVEL).map_err(|cause| Error::bug("set up zstd").with_source(cause))?;
        let mut writer = Self {
            path: path.to_owned(),
            out: BufWriter::with_capacity(256 << 10, file),
            hasher: blake3::Hasher::new(),
            size: 0,
            compressor,
            pages: PageBuilder::of_mirror(*CUT_KEY),
            is_filling: false,
            removed: Removed::default(),
            first: None,
            items: 0,
            last: None,
            table: Vec::new(),
            frames: 0,
            counts: Counts::default(),
        };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    /// There is this entry: new, or in place of an older one.
    ///
    /// # Errors
    /// `Bug` for a path that is not after that of the change before, `Invalid` for an entry that is too large, those of the disk.
    pub fn put(&mut self, entry: &Entry) -> Result<()> {
        self.begin(&entry.path)?;
        self.counts.entries += 1;
        if let Node::File(file) = &entry.node {
            self.counts.files += 1;
            if matches!(file.content, Content::Object(_)) {
                // Sizes are claims: the sum of all may not fit.
                self.counts.bytes = self.counts.bytes.saturating_add(file.size);
            }
        }
        self.is_filling = true;
        if let Some(page) = self.pages.push(entry)? {
            self.is_filling = false;
            self.end_frame(Some(&page))?;
        }
        Ok(())
    }

    /// There is nothing at `path` any more. What was below it has to be removed too, path by path.
    ///
    /// # Errors
    /// As [`SegmentWriter::put`].
    pub fn remove(&mut self, path: &TreePath) -> Result<()> {
        self.begin(path)?;
        self.counts.removed += 1;
        let (bytes, removed) = (path.as_bytes(), &mut self.removed);
        let shared = removed.last.iter().zip(bytes).take_while(|(left, right)| left == right).count();
        put_len(&mut removed.bytes, shared);
        put_bytes(&mut removed.bytes, bytes.get(shared..).unwrap_or_default());
        removed.count += 1;
        removed.last.clear();
        removed.last.extend_from_slice(bytes);
        if removed.bytes.len() >= REMOVED_FULL {
            self.end_page()?;
        }
        Ok(())
    }

    /// Writes what is left and the table of frames.
    pub fn finish(mut self) -> Result<Written> {
        self.end_page()?;
        self.write(&[0; super::FRAME_HEAD])?;
        let footer_at = self.size;
        let mut footer = Vec::with_capacity(self.table.len() + 32);
        put_varint(&mut footer, self.counts.entries);
        put_varint(&mut footer, self.counts.removed);
        put_varint(&mut footer, self.frames);
        footer.append(&mut self.table);
        self.write_frame(&footer)?;
        self.write(&footer_at.to_le_bytes())?;
        self.write(END)?;
        self.out.flush().attempt(|| format!("write {}", shown(&self.path)))?;
        let Counts { entries, removed, files, bytes } = self.counts;
        let hash = ObjectHash::new(*self.hasher.finalize().as_bytes());
        Ok(Written { path: self.path, hash, size: self.size, entries, removed, files, bytes })
    }

    fn begin(&mut self, path: &TreePath) -> Result<()> {
        let bytes = path.as_bytes();
        if self.last.as_deref().is_some_and(|last| compare(last, bytes) != Ordering::Less) {
            return Err(Error::bug(format!("{path} is not in catalogue order")));
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(bytes);
        if self.first.is_none() {
            self.first = Some(bytes.to_vec());
        }
        self.items += 1;
        Ok(())
    }

    /// Ends the frame before its page is full.
    fn end_page(&mut self) -> Result<()> {
        let page = if std::mem::take(&mut self.is_filling) {
            std::mem::replace(&mut self.pages, PageBuilder::of_mirror(*CUT_KEY)).finish()
        } else {
            None
        };
        if page.is_none() && self.removed.count == 0 {
            return Ok(());
        }
        self.end_frame(page.as_ref())
    }

    fn end_frame(&mut self, page: Option<&LeafPage>) -> Result<()> {
        let page = page.map_or(&[][..], |page| page.bytes.as_slice());
        let mut raw = Vec::with_capacity(16 + self.removed.bytes.len() + page.len());
        put_varint(&mut raw, self.removed.count);
        raw.append(&mut self.removed.bytes);
        raw.extend_from_slice(page);
        self.removed = Removed::default();
        let stored = self.write_frame(&raw)?;
        put_len(&mut self.table, stored);
        put_varint(&mut self.table, std::mem::take(&mut self.items));
        put_bytes(&mut self.table, &self.first.take().unwrap_or_default());
        self.frames += 1;
        Ok(())
    }

    /// Returns the length of the frame without its head.
    fn write_frame(&mut self, raw: &[u8]) -> Result<usize> {
        if raw.len() > FRAME_MAX {
            return Err(Error::invalid(format!("{}: a frame of {} bytes", shown(&self.path), raw.len())));
        }
        let stored =
            self.compressor.compress(raw).map_err(|cause| Error::bug("compress a frame").with_source(cause))?;
        self.write(&frame_len(stored.len())?)?;
        self.write(&frame_len(raw.len())?)?;
        self.write(&stored)?;
        Ok(stored.len())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.out.write_all(bytes).attempt(|| format!("write {}", shown(&self.path)))
    }
}

impl std::fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentWriter({}, {:?})", shown(&self.path), self.counts)
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
