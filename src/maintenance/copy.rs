//! Copies snapshots into another repository, without their sources.
//!
//! Ids, content hashes and page cuts depend on a repository's key, so everything is opened here and identified, sealed and packed anew there; a
//! bundle stays a bundle and a chunk a chunk. What was copied once, and what the other repository has anyway, is not stored again.
//!
//! Order: as for a backup, blobs, index, snapshot. A snapshot that is there already ([`There`] says which one is) is passed over, so a second run
//! goes on where the first one was stopped. Memory: 80 bytes for each blob and small file that was copied, up to `KNOWN_MAX`; and of each snapshot that was
//! copied ever what stands in it but for `known` and `sparse`, a few kilobytes: its root is most of that.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::catalog::{BlobRef, Content, Entry, FileNode, Node, StoredObject, StoredPage, TreeWriter, store_chunks};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Progress, Watch};
use crate::id::{BlobId, ContentHash, SessionId};
use crate::repo::{BlobKind, BlobWriter, Repository, Selector, Session, Snapshot, SnapshotFilter, Unreadable, Wanted};

use super::there::There;

/// Entries whose content is fetched together: their metadata takes a few megabytes.
const ENTRIES_AT_ONCE: usize = 8192;
/// Blobs that are fetched together.
const BLOBS_AT_ONCE: usize = 512;
/// Blobs, and small files, that are remembered; when there are more, they are read again.
const KNOWN_MAX: usize = 2_000_000;

/// What a copy did.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// Each snapshot that was copied, with its id in the other repository.
    pub copied: Vec<(Snapshot, SessionId)>,
    /// Those that were there already.
    pub skipped: Vec<Snapshot>,
    /// Those that cannot be read.
    pub unreadable: Unreadable,
    /// Those of which something is lost, and what.
    pub failed: Vec<(Snapshot, Error)>,
}

/// What is known of content that was copied.
#[derive(Default)]
struct Known {
    /// By the id there was, the blob that is there now.
    blobs: HashMap<BlobId, BlobRef>,
    /// By the hash that a small file had, the hash that it has now.
    hashes: HashMap<ContentHash, ContentHash>,
}

/// One snapshot on its way.
struct Copying<'c> {
    from: &'c Session<'c>,
    to: &'c Session<'c>,
    writer: &'c BlobWriter<'c>,
    known: &'c mut Known,
    /// Blobs of which it is sure that this session may refer to them.
    sure: HashSet<BlobId>,
    watch: &'c Watch<'c>,
    tree: TreeWriter,
}

/// A small file in a bundle: its old hash, and where it lies.
type Part = (ContentHash, usize, usize);

/// Copies the snapshots `chosen`, or all that `filter` means, oldest first. `tell` hears of each when it is done.
///
/// # Errors
/// Errors of both stores; `Interrupted`. A snapshot that has lost content stands in the report, and the others are copied.
pub fn copy(
    from: &Repository,
    to: &Repository,
    (chosen, filter): (&[Selector], &SnapshotFilter),
    watch: &Watch<'_>,
    tell: &mut dyn FnMut(&Snapshot, Option<SessionId>),
) -> Result<CopyReport> {
    if from.id() == to.id() {
        return Err(Error::invalid("both places hold the same repository")
            .with_hint("copy its objects with any tool for files"));
    }
    let session = from.read_session()?;
    let outcome = run((&session, to), (chosen, filter), watch, tell);
    session.end(if outcome.is_ok() { "done" } else { "failed" });
    outcome
}

fn run(
    (from, to): (&Session<'_>, &Repository),
    (chosen, filter): (&[Selector], &SnapshotFilter),
    watch: &Watch<'_>,
    tell: &mut dyn FnMut(&Snapshot, Option<SessionId>),
) -> Result<CopyReport> {
    let (mut snapshots, unreadable) = if chosen.is_empty() {
        from.load_all(filter)?
    } else {
        (chosen.iter().map(|chosen| from.find(chosen, filter)).collect::<Result<_>>()?, Unreadable::new())
    };
    snapshots.sort_by_key(|snapshot| snapshot.time);
    let session = to.observe()?;
    let mut there = There::look(&session)?;
    let mut report = CopyReport { unreadable, ..CopyReport::default() };
    let mut known = Known::default();
    for snapshot in snapshots {
        if there.holds(from, &snapshot, watch)? {
            tell(&snapshot, None);
            report.skipped.push(snapshot);
            continue;
        }
        let id = match one(from, to, &snapshot, (&mut known, watch)) {
            // What is lost here must not keep the others back.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                report.failed.push((snapshot, error));
                continue;
            }
            id => id?,
        };
        there.add(from, &snapshot);
        tell(&snapshot, Some(id));
        report.copied.push((snapshot, id));
    }
    Ok(report)
}

fn one(
    from: &Session<'_>,
    to: &Repository,
    snapshot: &Snapshot,
    (known, watch): (&mut Known, &Watch<'_>),
) -> Result<SessionId> {
    let session = to.write_session()?;
    let outcome = copy_into(from, &session, snapshot, (known, watch));
    if outcome.is_err() {
        session.end("failed");
    }
    outcome.map_err(|error| error.within(format!("copy snapshot {}", snapshot.id.short())))
}

fn copy_into(
    from: &Session<'_>,
    session: &Session<'_>,
    snapshot: &Snapshot,
    (known, watch): (&mut Known, &Watch<'_>),
) -> Result<SessionId> {
    let writer = BlobWriter::new(session, false);
    let tree = TreeWriter::new(session.repo().keys().page_cut());
    let mut copying = Copying { from, to: session, writer: &writer, known, sure: HashSet::new(), watch, tree };
    let mut entries = Vec::new();
    for entry in from.reader().tree(&snapshot.root, None) {
        entries.push(entry?);
        if entries.len() == ENTRIES_AT_ONCE {
            copying.entries(std::mem::take(&mut entries))?;
        }
    }
    copying.entries(entries)?;
    let mut root = copying.tree.finish(&mut |page| store(&writer, page))?;
    writer.finish()?;
    root.fill_hints(&|id| writer.place(&id));
    let newest = newest(session, snapshot);
    let new = Snapshot {
        id: session.id(),
        parent: None,
        original: Some(snapshot.first()),
        root,
        seq: newest.as_ref().map_or(0, |newest| newest.seq + 1),
        prev: newest.map(|newest| newest.id),
        // Their ids are those of the other key; a later backup finds out anew.
        sparse: Vec::new(),
        known: Vec::new(),
        ..snapshot.clone()
    };
    let _ = session.compact_index();
    session.publish(&new)?;
    session.sweep_ended();
    Ok(new.id)
}

/// The newest snapshot of this source that is there.
fn newest(session: &Session<'_>, snapshot: &Snapshot) -> Option<Snapshot> {
    let source = snapshot.source(session.repo().keys());
    // One that cannot be read, or was forgotten meanwhile, is no reason to fail.
    let mut of_source = session.snapshots().iter().filter(|name| name.source == source);
    of_source.find_map(|name| session.load(name).ok())
}

fn store(writer: &BlobWriter<'_>, page: &[u8]) -> Result<StoredPage> {
    let stored = writer.put(BlobKind::Tree, page)?;
    Ok(StoredPage { id: stored.blob.id, raw_len: stored.blob.raw_len, place: None })
}

/// # Errors
/// `Interrupted` when the copy was asked to stop.
pub(super) fn go_on(watch: &Watch<'_>) -> Result<()> {
    if watch.stop.requested() {
        return Err(Error::new(ErrorKind::Interrupted, "the copy was interrupted; a second run goes on from here"));
    }
    Ok(())
}

impl Copying<'_> {
    /// Copies the content of these entries, then writes them.
    fn entries(&mut self, entries: Vec<Entry>) -> Result<()> {
        if self.known.blobs.len() + self.known.hashes.len() > KNOWN_MAX {
            *self.known = Known::default();
            self.sure.clear();
        }
        let (mut blobs, mut parts): (Vec<BlobRef>, HashMap<BlobId, Vec<Part>>) = (Vec::new(), HashMap::new());
        for entry in &entries {
            let Node::File(file) = &entry.node else { continue };
            match &file.content {
                Content::Empty | Content::Lists { .. } => {}
                Content::Object(_) => return Err(StoredObject::misplaced()),
                Content::Chunks(chunks) => blobs.extend(chunks),
                Content::Bundle { blob, offset, hash } => {
                    let len = usize::try_from(file.content_len().unwrap_or(0)).unwrap_or(usize::MAX);
                    if !self.known.hashes.contains_key(hash) {
                        parts.entry(blob.id).or_default().push((*hash, *offset as usize, len));
                    }
                    blobs.push(*blob);
                }
            }
        }
        self.bring(&blobs, &parts)?;
        for mut entry in entries {
            if let Node::File(file) = &mut entry.node {
                file.content = self.content(file)?;
                Progress::add(&self.watch.progress.files_done, 1);
                Progress::add(&self.watch.progress.bytes_done, file.size);
            }
            let writer = self.writer;
            self.tree.push(&entry, &mut |page| store(writer, page))?;
        }
        Ok(())
    }

    /// Makes sure that all these blobs, and the hashes of these parts of them, are known.
    fn bring(&mut self, blobs: &[BlobRef], parts: &HashMap<BlobId, Vec<Part>>) -> Result<()> {
        let mut asked = HashSet::new();
        let mut wanted = Vec::new();
        for blob in blobs {
            if !asked.insert(blob.id) || (self.is_there(blob)? && !parts.contains_key(&blob.id)) {
                continue;
            }
            wanted.push(Wanted { kind: BlobKind::Data, blob: *blob, place: None });
        }
        for wanted in wanted.chunks(BLOBS_AT_ONCE) {
            go_on(self.watch)?;
            self.fetch(wanted, parts)?;
        }
        Ok(())
    }

    /// Whether this session may refer to the copy of a blob.
    fn is_there(&mut self, blob: &BlobRef) -> Result<bool> {
        if self.sure.contains(&blob.id) {
            return Ok(true);
        }
        let Some(copy) = self.known.blobs.get(&blob.id) else { return Ok(false) };
        let is_there = self.writer.holds(BlobKind::Data, &copy.id)?;
        if is_there {
            self.sure.insert(blob.id);
        }
        Ok(is_there)
    }

    fn fetch(&mut self, wanted: &[Wanted], parts: &HashMap<BlobId, Vec<Part>>) -> Result<()> {
        let (writer, keys) = (self.writer, self.to.repo().keys());
        let found: Mutex<Known> = Mutex::default();
        self.from.reader().fetch(wanted, &|number, plain| {
            let plain = plain?;
            let Some(want) = wanted.get(number) else { return Ok(()) };
            let copy = writer.put(BlobKind::Data, &plain)?.blob;
            let mut hashes = Vec::new();
            for (old, offset, len) in parts.get(&want.blob.id).into_iter().flatten() {
                let content = offset.checked_add(*len).and_then(|end| plain.get(*offset..end));
                let content = content
                    .ok_or_else(|| Error::corrupt(format!("bundle {} ends before a file in it", want.blob.id)))?;
                hashes.push((*old, keys.content_hash(content)));
            }
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.blobs.insert(want.blob.id, copy);
            found.hashes.extend(hashes);
            Ok(())
        })?;
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.sure.extend(found.blobs.keys());
        self.known.blobs.extend(found.blobs);
        self.known.hashes.extend(found.hashes);
        Ok(())
    }

    /// The content of a file as it is there.
    fn content(&mut self, file: &FileNode) -> Result<Content> {
        let chunks = match &file.content {
            Content::Empty => return Ok(Content::Empty),
            Content::Object(_) => return Err(StoredObject::misplaced()),
            Content::Bundle { blob, offset, hash } => {
                let hash = self.known.hashes.get(hash).copied().ok_or_else(|| Error::bug("a file was not copied"))?;
                return Ok(Content::Bundle { blob: self.copy_of(blob)?, offset: *offset, hash });
            }
            Content::Chunks(chunks) => chunks.iter().map(|chunk| self.copy_of(chunk)).collect::<Result<Vec<_>>>()?,
            Content::Lists { .. } => self.long(file)?,
        };
        let writer = self.writer;
        store_chunks(chunks, &mut |list| store(writer, list))
    }

    /// The chunks of a big file, some at a time.
    fn long(&mut self, file: &FileNode) -> Result<Vec<BlobRef>> {
        let mut copies = Vec::new();
        let mut batch = Vec::with_capacity(BLOBS_AT_ONCE);
        let mut chunks = self.from.reader().chunks(file)?;
        loop {
            let chunk = chunks.next().transpose()?;
            let is_end = chunk.is_none();
            batch.extend(chunk);
            if batch.len() == BLOBS_AT_ONCE || (is_end && !batch.is_empty()) {
                self.bring(&batch, &HashMap::new())?;
                for chunk in batch.drain(..) {
                    copies.push(self.copy_of(&chunk)?);
                }
            }
            if is_end {
                return Ok(copies);
            }
        }
    }

    fn copy_of(&self, blob: &BlobRef) -> Result<BlobRef> {
        self.known.blobs.get(&blob.id).copied().ok_or_else(|| Error::bug(format!("blob {} was not copied", blob.id)))
    }
}
