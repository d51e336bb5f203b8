//! Counts what snapshots hold, in restic's ways.

use std::collections::HashSet;

use crate::catalog::{
    BlobRef, ChildRef, ChunkList, Content, Entry, FileNode, InnerPage, LinkGroup, Node, StoredObject, decode_leaf,
};
use crate::error::{Error, Result};
use crate::events::{Silent, Watch};
use crate::repo::{BlobKind, Session, Snapshot};

use super::blobs::Blobs;
use super::report::Findings;
use super::{Context, structure};

/// Pages, and chunk lists, that one fetch is asked for.
const PAGES_AT_ONCE: usize = 64;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatsMode {
    /// What a restore of each snapshot writes.
    #[default]
    RestoreSize,
    /// Files of the same content once.
    FilesByContents,
    /// Blobs that any of the snapshots refers to, once each, with what they take in packs.
    RawData,
    /// As `RestoreSize`, and the blobs of each file.
    BlobsPerFile,
}

/// The counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Files, and for `RestoreSize` all other entries.
    pub files: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes: of content, for `RawData` as stored.
    pub size: u64,
    /// For `RawData`: bytes before compression.
    pub uncompressed: u64,
}

struct Counting<'c> {
    context: &'c Context<'c>,
    /// For `RawData`: where blobs lie.
    index: Option<&'c Blobs>,
    mode: StatsMode,
    stats: Stats,
    /// Half of each id, or of a hash of the content: enough to tell them apart.
    seen: HashSet<[u8; 16]>,
    /// Hard links of the snapshot that is being counted.
    links: HashSet<LinkGroup>,
}

/// Counts over these snapshots.
///
/// # Errors
/// `Corrupt` when a catalogue cannot be read; errors of the store; `Interrupted`.
pub fn stats(session: &Session<'_>, snapshots: &[Snapshot], mode: StatsMode, watch: &Watch<'_>) -> Result<Stats> {
    Ok(stats_of_each(session, &[snapshots], mode, watch)?.pop().unwrap_or_default())
}

/// Counts over each of these groups of snapshots. The index is read once.
///
/// # Errors
/// As [`stats`].
pub fn stats_of_each(
    session: &Session<'_>,
    groups: &[&[Snapshot]],
    mode: StatsMode,
    watch: &Watch<'_>,
) -> Result<Vec<Stats>> {
    let quiet = Watch { observer: &Silent, progress: watch.progress, stop: watch.stop };
    let context = Context { session, watch: &quiet, findings: Findings::new(&quiet) };
    let index = (mode == StatsMode::RawData).then(|| structure::index(&context)).transpose()?;
    let count = |snapshots: &&[Snapshot]| {
        let (stats, seen, links) = (Stats::default(), HashSet::new(), HashSet::new());
        let mut counting = Counting { context: &context, index: index.as_ref(), mode, stats, seen, links };
        for snapshot in *snapshots {
            counting.stats.snapshots += 1;
            counting.links.clear();
            counting.pages(&snapshot.root)?;
        }
        Ok(counting.stats)
    };
    groups.iter().map(count).collect()
}

impl Counting<'_> {
    fn pages(&mut self, page: &InnerPage) -> Result<()> {
        for children in page.children.chunks(PAGES_AT_ONCE) {
            self.context.go_on()?;
            let mut wanted: Vec<ChildRef> = Vec::new();
            for child in children {
                if self.mode != StatsMode::RawData
                    || self.blob(BlobKind::Tree, &BlobRef { id: child.id, raw_len: child.raw_len })?
                {
                    wanted.push(child.clone());
                }
            }
            for plain in self.context.session.reader().pages(&wanted)? {
                if page.level > 1 {
                    self.pages(&InnerPage::decode(&plain)?)?;
                    continue;
                }
                for entry in decode_leaf(&plain)? {
                    self.entry(&entry)?;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        if self.mode == StatsMode::RestoreSize {
            self.stats.files += 1;
        }
        let Node::File(file) = &entry.node else { return Ok(()) };
        match self.mode {
            StatsMode::RestoreSize => {
                if entry.link.is_none_or(|group| self.links.insert(group)) {
                    self.stats.size += file.size;
                }
            }
            StatsMode::FilesByContents => {
                let is_named_elsewhere =
                    matches!(file.content, Content::Empty) && file.size > 0 && entry.link.is_some();
                if !is_named_elsewhere && self.seen.insert(content_of(file)) {
                    self.stats.files += 1;
                    self.stats.size += file.size;
                }
            }
            StatsMode::BlobsPerFile => {
                self.stats.files += 1;
                self.stats.size += file.size;
                self.seen.clear();
                self.content(file)?;
            }
            StatsMode::RawData => self.content(file)?,
        }
        Ok(())
    }

    fn content(&mut self, file: &FileNode) -> Result<()> {
        match &file.content {
            Content::Empty => {}
            Content::Object(_) => return Err(StoredObject::misplaced()),
            Content::Bundle { blob, .. } => drop(self.blob(BlobKind::Data, blob)?),
            Content::Chunks(chunks) => {
                for chunk in chunks {
                    self.blob(BlobKind::Data, chunk)?;
                }
            }
            Content::Lists { depth, lists } => self.lists(*depth, lists)?,
        }
        Ok(())
    }

    fn lists(&mut self, depth: u8, lists: &[BlobRef]) -> Result<()> {
        for lists in lists.chunks(PAGES_AT_ONCE) {
            self.context.go_on()?;
            let mut wanted = Vec::new();
            for list in lists {
                if self.mode != StatsMode::RawData || self.blob(BlobKind::Tree, list)? {
                    wanted.push(list.id);
                }
            }
            for plain in self.context.session.reader().tree_blobs(&wanted)? {
                let list = ChunkList::decode(&plain)?;
                let raw_len = |len: u64| u32::try_from(len).unwrap_or(0);
                let named: Vec<BlobRef> =
                    list.chunks.iter().map(|item| BlobRef { id: item.id, raw_len: raw_len(item.len) }).collect();
                match depth.checked_sub(1) {
                    // The lengths that a list names are those of the content below.
                    Some(below) => self.lists(below, &named)?,
                    None => {
                        for blob in &named {
                            self.blob(BlobKind::Data, blob)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts a blob; says whether it is the first time.
    fn blob(&mut self, kind: BlobKind, blob: &BlobRef) -> Result<bool> {
        if !self.seen.insert(blob.id.as_bytes().first_chunk().copied().unwrap_or_default()) {
            return Ok(false);
        }
        self.stats.blobs += 1;
        if let Some(index) = self.index {
            let found = index.find(self.context.session, kind, blob)?.ok_or_else(|| {
                Error::corrupt(format!("blob {} is in no pack that the index knows", blob.id))
                    .with_hint("run `volvault check` to see what is affected")
            })?;
            self.stats.size += u64::from(found.place.stored_len);
            self.stats.uncompressed += u64::from(found.raw_len);
        }
        Ok(true)
    }
}

/// What is the same for files of the same content.
fn content_of(file: &FileNode) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file.size.to_le_bytes());
    for extent in file.extents.iter().flatten() {
        hasher.update(&extent.offset.to_le_bytes()).update(&extent.len.to_le_bytes());
    }
    match &file.content {
        Content::Empty => {}
        Content::Object(object) => drop(hasher.update(object.etag.as_bytes())),
        Content::Bundle { hash, .. } => drop(hasher.update(hash.as_bytes())),
        Content::Chunks(blobs) | Content::Lists { lists: blobs, .. } => {
            for blob in blobs {
                hasher.update(blob.id.as_bytes());
            }
        }
    }
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}
