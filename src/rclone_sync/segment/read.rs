//! Segments, the reading side. Bytes may come from a stranger: every length is bounded before anything is allocated.

use std::cmp::Ordering;
use std::path::Path;

use super::source::Source;
use super::{Change, END, FRAME_HEAD, FRAME_MAX, MAGIC, REMOVED_MAX, REMOVED_PATHS_MAX, SegmentRef, TRAILER};
use crate::catalog::wire::Reader;
use crate::catalog::{Joined, Pathed, decode_mirror_leaf, merge_join};
use crate::error::{Attempt, Error, Result};
use crate::path::{TreePath, compare};
use crate::rclone_sync::layout::{Places, segment_key};

/// The changes of a segment, in order. Ends after the first error. The last thing it does is to compare hash, size and counts with what the root says:
/// what came before is only certain once the stream has ended without an error.
pub struct SegmentReader {
    segment: SegmentRef,
    source: Source,
    hasher: blake3::Hasher,
    /// Bytes read so far.
    at: u64,
    items: std::vec::IntoIter<Change>,
    last: Option<TreePath>,
    entries: u64,
    removed: u64,
    is_over: bool,
}

impl SegmentReader {
    /// Reads a local copy.
    pub fn of_file(path: &Path, segment: &SegmentRef) -> Result<Self> {
        Ok(Self::new(Source::file(path)?, segment))
    }

    /// Reads the object in the control area, by ranges of `window` bytes, two on their way while one is used. Makes no request yet.
    pub fn of_object(places: &Places, segment: &SegmentRef, window: u64) -> Self {
        Self::new(Source::object(places, segment_key(&segment.hash), segment.size, (window, 2)), segment)
    }

    fn new(source: Source, segment: &SegmentRef) -> Self {
        Self {
            segment: segment.clone(),
            source,
            hasher: blake3::Hasher::new(),
            at: 0,
            items: Vec::new().into_iter(),
            last: None,
            entries: 0,
            removed: 0,
            is_over: false,
        }
    }

    fn try_next(&mut self) -> Result<Option<Change>> {
        loop {
            if let Some(change) = self.items.next() {
                return Ok(Some(change));
            }
            if self.at == 0 && self.bytes(MAGIC.len())? != MAGIC {
                return Err(Error::corrupt("it is no segment of a manifest, or one of a later format"));
            }
            let Some(raw) = self.frame()? else {
                self.end()?;
                return Ok(None);
            };
            let changes = decode_frame(&raw)?;
            self.check(&changes)?;
            self.items = changes.into_iter();
        }
    }

    /// The frame comes after the one before, and no more comes than was announced.
    fn check(&mut self, changes: &[Change]) -> Result<()> {
        if let (Some(last), Some(first)) = (&self.last, changes.first())
            && last >= first.path()
        {
            return Err(Error::corrupt(format!("{} is not in catalogue order", first.path())));
        }
        for change in changes {
            match change {
                Change::Put(_) => self.entries += 1,
                Change::Remove(_) => self.removed += 1,
            }
        }
        if self.entries > self.segment.entries || self.removed > self.segment.removed {
            return Err(Error::corrupt("it has more entries than the root says"));
        }
        if let Some(last) = changes.last() {
            self.last = Some(last.path().clone());
        }
        Ok(())
    }

    fn bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        // Before the allocation: no more is ever held than the object has.
        let end = self.at.checked_add(len as u64).filter(|end| *end <= self.segment.size);
        let end = end.ok_or_else(|| Error::corrupt("a frame reaches beyond its end"))?;
        let mut bytes = vec![0; len];
        self.source.read(&mut bytes)?;
        self.hasher.update(&bytes);
        self.at = end;
        Ok(bytes)
    }

    /// The next frame, expanded; none at the mark that ends them.
    fn frame(&mut self) -> Result<Option<Vec<u8>>> {
        let head = self.bytes(FRAME_HEAD)?;
        let mut reader = Reader::new(&head);
        let (stored, raw) = (fixed(&mut reader)?, fixed(&mut reader)?);
        if stored == 0 && raw == 0 {
            return Ok(None);
        }
        if raw == 0 || raw > FRAME_MAX || stored > zstd::zstd_safe::compress_bound(FRAME_MAX) {
            return Err(Error::corrupt(format!("a frame of {stored} bytes that stands for {raw}")));
        }
        let stored = self.bytes(stored)?;
        let bytes = zstd::bulk::decompress(&stored, raw)
            .map_err(|cause| Error::corrupt("decompress a frame").with_source(cause))?;
        if bytes.len() != raw {
            return Err(Error::corrupt(format!("a frame has {} bytes where {raw} were announced", bytes.len())));
        }
        Ok(Some(bytes))
    }

    fn end(&mut self) -> Result<()> {
        let footer_at = self.at;
        self.frame()?.ok_or_else(|| Error::corrupt("it has no table of frames"))?;
        let trailer = self.bytes(TRAILER)?;
        let at = trailer.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        if at != Some(footer_at) || !trailer.ends_with(END) {
            return Err(Error::corrupt("its end is not that of a segment"));
        }
        if self.at != self.segment.size || self.hasher.finalize().as_bytes() != self.segment.hash.as_bytes() {
            return Err(Error::corrupt("its bytes are not those that the root names"));
        }
        if self.entries != self.segment.entries || self.removed != self.segment.removed {
            return Err(Error::corrupt("it does not have the entries that the root says"));
        }
        Ok(())
    }
}

impl Iterator for SegmentReader {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.try_next().attempt(|| format!("read segment {} of the manifest", self.segment.hash.short()));
        if !matches!(next, Ok(Some(_))) {
            self.is_over = true;
            self.items = Vec::new().into_iter();
        }
        next.transpose()
    }
}

impl std::fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentReader({:?}, at {})", self.segment, self.at)
    }
}

/// The changes of an expanded frame, in order.
fn decode_frame(raw: &[u8]) -> Result<Vec<Change>> {
    let mut reader = Reader::new(raw);
    let removed = removed_paths(&mut reader)?;
    let page = reader.take(reader.remaining())?;
    let entries = if page.is_empty() { Vec::new() } else { decode_mirror_leaf(page)? };
    if entries.is_empty() && removed.is_empty() {
        return Err(Error::corrupt("a frame without changes"));
    }
    let mut changes = Vec::with_capacity(entries.len() + removed.len());
    let removed = removed.into_iter().map(|path| Ok(Gone(path)));
    for joined in merge_join(entries.into_iter().map(Ok), removed) {
        match joined? {
            Joined::Left(entry) => changes.push(Change::Put(Box::new(entry))),
            Joined::Right(Gone(path)) => changes.push(Change::Remove(path)),
            Joined::Both(entry, _) => {
                return Err(Error::corrupt(format!("{} is put and removed", entry.path)));
            }
        }
    }
    Ok(changes)
}

struct Gone(TreePath);

impl Pathed for Gone {
    fn path(&self) -> &TreePath {
        &self.0
    }
}

fn removed_paths(reader: &mut Reader<'_>) -> Result<Vec<TreePath>> {
    let count = reader.count(2, "removed paths")?;
    if count > REMOVED_MAX {
        return Err(Error::corrupt(format!("{count} removed paths in a frame")));
    }
    let mut paths: Vec<TreePath> = Vec::new();
    let mut written_out = 0usize;
    for _ in 0..count {
        let before = paths.last().map(TreePath::as_bytes);
        let (shared, suffix) = (reader.usize("shared length of paths")?, reader.bytes()?);
        let (prefix, rest) = before
            .unwrap_or_default()
            .split_at_checked(shared)
            .ok_or_else(|| Error::corrupt("a removed path shares more than the path before it has"))?;
        if before.is_some() && compare(rest, suffix) != Ordering::Less {
            return Err(Error::corrupt("a removed path is not after the one before it"));
        }
        written_out += prefix.len() + suffix.len();
        if written_out > REMOVED_PATHS_MAX {
            return Err(Error::corrupt(format!(
                "the removed paths of a frame have more than {REMOVED_PATHS_MAX} bytes"
            )));
        }
        let path = TreePath::parse([prefix, suffix].concat());
        paths.push(path.map_err(|error| Error::corrupt("a removed path is not valid").with_source(error))?);
    }
    Ok(paths)
}

fn fixed(reader: &mut Reader<'_>) -> Result<usize> {
    usize::try_from(u32::from_le_bytes(reader.array()?)).map_err(|_| Error::corrupt("length of a frame"))
}
