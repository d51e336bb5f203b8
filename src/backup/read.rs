//! The threads that read: metadata, links, attributes, small files whole, large files cut into chunks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::catalog::{BlobRef, Content, Entry, Extent, FileNode, LinkGroup, Metadata, Node, StoredPage, store_chunks};
use crate::chunker::Chunker;

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Progress, Stop};
use crate::id::ContentHash;
use crate::limits::BUNDLED_BELOW;
use crate::repo::{BlobKind, BlobWriter, KeyRing};
use crate::volume::{EntryKind, Found, OwnerNames, ReadRate, SourceFile};

use super::matching::{Change, Item, Subject};
use super::seal::{Holds, Promise, Sealer};

/// Chunks of one file that are being sealed while the next ones are read.
const CHUNKS_AHEAD: usize = 8;
/// Extents kept of one sparse file; a file with more is saved as if it had no holes (a catalogue record has a bound).
const EXTENTS_KEPT: usize = 50_000;

/// Neighbouring items on their way through a reader, in walk order.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) items: Vec<Item>,
}

/// What came of a job.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) number: u64,
    pub(super) items: Vec<DoneItem>,
    /// Content of the small files, one after the other.
    pub(super) data: Vec<u8>,
}

/// What came of one item.
#[derive(Debug)]
pub(super) enum DoneItem {
    /// An entry as it goes into the catalogue.
    Entry {
        entry: Entry,
        change: Change,
        /// The latest pack of this run that has content of it; 0 for none.
        pack: u64,
    },
    /// An entry that still needs a place in a bundle for its content.
    Small {
        entry: Entry,
        change: Change,
        data: Range<usize>,
        hash: ContentHash,
    },
    /// Something to tell: the text names the file. A problem counts, a note does not.
    Problem {
        item: String,
        during: &'static str,
        error: Error,
    },
    Note {
        text: String,
    },
    /// The first name of a hard-link group was not saved as what the walk saw; the other names have no content without it.
    Lost(LinkGroup),
}

/// What a reader needs.
pub(super) struct Reading<'a> {
    pub(super) names: &'a OwnerNames,
    pub(super) keys: &'a KeyRing,
    pub(super) chunker: &'a Chunker,
    pub(super) writer: &'a BlobWriter<'a>,
    pub(super) sealer: Sealer,
    pub(super) stop: &'a Stop,
    pub(super) progress: &'a Progress,
    pub(super) pace: &'a ReadRate<'a>,
    /// Memory for cutting, kept from file to file.
    pub(super) buffer: RefCell<Vec<u8>>,
}

impl Reading<'_> {
    /// Does a job. Fails only when storing fails: what is wrong with a file is said in its place.
    pub(super) fn job(&self, job: Job) -> Result<Done> {
        let mut done = Done { number: job.number, items: Vec::with_capacity(job.items.len()), data: Vec::new() };
        for item in job.items {
            self.item(item, &mut done)?;
        }
        Ok(done)
    }

    fn item(&self, item: Item, done: &mut Done) -> Result<()> {
        match item {
            Item::Keep(entry) => done.items.push(DoneItem::Entry { entry, change: Change::Unchanged, pack: 0 }),
            Item::Problem { path, error } => {
                done.items.push(DoneItem::Problem { item: path.display(), during: "scan", error });
            }
            Item::Socket { path } => {
                done.items.push(DoneItem::Note { text: format!("{path} is a socket, which is not saved") });
            }
            Item::Describe { subject, content } => self.describe(&subject, content, done),
            Item::Small { subject, old } => return self.small(&subject, old.as_ref(), done),
            Item::Large { subject } => return self.large(&subject, done),
        }
        Ok(())
    }

    /// An entry without content, or with content that was not read.
    fn describe(&self, subject: &Subject, content: Option<FileNode>, done: &mut Done) {
        let found = &subject.found;
        let (meta, problem) = found.metadata(self.names);
        let node = match found.stat.kind {
            EntryKind::Directory => Node::Directory,
            EntryKind::File => Node::File(content.unwrap_or(FileNode {
                size: found.stat.size,
                content: Content::Empty,
                extents: None,
                incomplete: false,
            })),
            EntryKind::Symlink => match found.link_target() {
                Ok(target) => Node::Symlink { target },
                Err(error) => return done.problem(found, error),
            },
            EntryKind::Fifo => Node::Fifo,
            EntryKind::CharDevice => Node::CharDevice { major: found.stat.rdev.0, minor: found.stat.rdev.1 },
            EntryKind::BlockDevice => Node::BlockDevice { major: found.stat.rdev.0, minor: found.stat.rdev.1 },
            EntryKind::Socket => return,
        };
        if let Some(error) = problem {
            done.problem(found, error);
        }
        done.entry(subject, meta, node, subject.change);
    }

    fn small(&self, subject: &Subject, old: Option<&FileNode>, done: &mut Done) -> Result<()> {
        let found = &subject.found;
        let start = done.data.len();
        let limit = usize::try_from(BUNDLED_BELOW).unwrap_or(usize::MAX);
        let mut read = match found.read_small(limit, &mut done.data) {
            Ok(read) => read,
            Err(error) => {
                done.data.truncate(start);
                done.problem(found, error);
                done.lost(subject);
                return Ok(());
            }
        };
        self.pace.read(read.len as u64);
        if read.stat.inode != found.stat.inode {
            done.lost(subject);
        }
        if read.stat.size >= BUNDLED_BELOW {
            done.data.truncate(start);
            return self.large(subject, done);
        }
        if read.changed {
            done.problem(found, changed(found));
        }
        if let Some(error) = read.xattr_problem.take() {
            done.problem(found, error);
        }
        let meta = self.names.metadata(&read.stat, Arc::clone(&read.xattrs));
        let data = start..start + read.len;
        let content = done.data.get(data.clone()).unwrap_or_default();
        let mut file = FileNode { size: read.len as u64, content: Content::Empty, extents: None, incomplete: false };
        if content.is_empty() {
            done.entry(subject, meta, Node::File(file), subject.change);
            return Ok(());
        }
        let hash = self.keys.content_hash(content);
        match old.map(|old| &old.content) {
            // Only the inode changed: the content stays where it is.
            Some(Content::Bundle { hash: old_hash, .. }) if *old_hash == hash => {
                file.content = old.map_or(Content::Empty, |old| old.content.clone());
                done.data.truncate(start);
                done.entry(subject, meta, Node::File(file), Change::Unchanged);
            }
            _ => {
                let entry = Entry { path: found.path.clone(), meta, node: Node::File(file), link: subject.link };
                done.items.push(DoneItem::Small { entry, change: subject.change, data, hash });
            }
        }
        Ok(())
    }

    fn large(&self, subject: &Subject, done: &mut Done) -> Result<()> {
        let found = &subject.found;
        let mut source = match found.open() {
            Ok(source) => source,
            Err(error) => {
                done.problem(found, error);
                done.lost(subject);
                return Ok(());
            }
        };
        if source.stat().inode != found.stat.inode {
            done.lost(subject);
        }
        let (xattrs, problem) = source.xattrs();
        if let Some(error) = problem {
            done.problem(found, error);
        }
        let extents = match source.extents() {
            Ok(extents) => extents.filter(|extents| extents.len() <= EXTENTS_KEPT),
            Err(error) => {
                done.problem(found, error);
                None
            }
        };
        let mut spans = Spans::new(extents.as_deref(), source.stat().size);
        let before = source.stat().clone();
        let mut cutting = Cutting { reading: self, chunks: Vec::new(), pack: 0, ahead: VecDeque::new() };
        let (read, failure) = cutting.run(before.size, &mut |buffer| spans.read(&mut source, buffer))?;
        if self.stop.requested() {
            // Half a file is none; its chunks are stored, and the next run finds them.
            done.lost(subject);
            return Ok(());
        }
        let (content, pack) = cutting.finish()?;
        let after = source.stat_now().unwrap_or_else(|_| before.clone());
        let expected = extents.as_ref().map_or(before.size, |extents| extents.iter().map(|extent| extent.len).sum());
        let whole = failure.is_none() && read == expected;
        let mut file = FileNode { size: before.size, content, extents, incomplete: !whole };
        if !whole {
            // Holes and data no longer fit together: what was read stands for itself.
            file.size = read;
            file.extents = None;
        }
        match failure {
            Some(error) => done.problem(found, error),
            None if !whole || !before.same_content(&after) => done.problem(found, changed(found)),
            None => {}
        }
        let meta = self.names.metadata(&before, xattrs);
        let entry = Entry { path: found.path.clone(), meta, node: Node::File(file), link: subject.link };
        done.items.push(DoneItem::Entry { entry, change: subject.change, pack });
        Ok(())
    }

    /// Cuts and stores a stream of which nothing but the bytes is known.
    pub(super) fn stream(&self, read: &mut dyn FnMut(&mut [u8]) -> Result<usize>) -> Result<(Content, u64)> {
        let mut cutting = Cutting { reading: self, chunks: Vec::new(), pack: 0, ahead: VecDeque::new() };
        let (len, failure) = cutting.run(u64::MAX, read)?;
        failure.map_or(Ok(()), Err)?;
        Ok((cutting.finish()?.0, len))
    }
}

impl Done {
    fn problem(&mut self, found: &Found, error: Error) {
        self.items.push(DoneItem::Problem { item: found.display(), during: "archival", error });
    }

    fn lost(&mut self, subject: &Subject) {
        self.items.extend(subject.link.map(DoneItem::Lost));
    }

    /// An entry without content of this run.
    fn entry(&mut self, subject: &Subject, meta: Metadata, node: Node, change: Change) {
        let entry = Entry { path: subject.found.path.clone(), meta, node, link: subject.link };
        self.items.push(DoneItem::Entry { entry, change, pack: 0 });
    }
}

fn changed(found: &Found) -> Error {
    Error::new(ErrorKind::Local, format!("{} changed while it was read", found.display()))
        .with_hint("back up from a snapshot of the volume to get one state of it")
}

/// Cuts a stream and has the chunks sealed while it reads on.
struct Cutting<'a> {
    reading: &'a Reading<'a>,
    chunks: Vec<BlobRef>,
    /// The latest pack of this run that has a chunk of it.
    pack: u64,
    ahead: VecDeque<Promise>,
}

impl Cutting<'_> {
    /// Reads to the end, to a failure to read, or to a stop; returns the bytes read and the failure. `expected` is a guess at the length: a
    /// file of 100 KB needs no buffer of 4 MiB.
    fn run(&mut self, expected: u64, read: &mut dyn FnMut(&mut [u8]) -> Result<usize>) -> Result<(u64, Option<Error>)> {
        let chunker = self.reading.chunker;
        let most = 2 * chunker.max();
        let mut buffer = self.reading.buffer.borrow_mut();
        let wanted = usize::try_from(expected).unwrap_or(most).saturating_add(1).min(most);
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let (mut start, mut end, mut total) = (0usize, 0usize, 0u64);
        let (mut ended, mut failure) = (false, None);
        loop {
            while !ended && end - start < chunker.max() {
                if end == buffer.len() && start == 0 {
                    let longer = (2 * buffer.len()).min(most);
                    buffer.resize(longer, 0);
                } else if buffer.len() == most && most - end < chunker.max() / 2 {
                    buffer.copy_within(start..end, 0);
                    (start, end) = (0, end - start);
                }
                match read(buffer.get_mut(end..).unwrap_or_default()) {
                    Ok(0) => ended = true,
                    Ok(len) => {
                        self.reading.pace.read(len as u64);
                        end += len;
                    }
                    Err(error) => (ended, failure) = (true, Some(error)),
                }
            }
            if start == end || self.reading.stop.requested() {
                return Ok((total, failure));
            }
            let rest = buffer.get(start..end).unwrap_or_default();
            let chunk = rest.get(..chunker.cut(rest)).unwrap_or_default();
            Progress::add(&self.reading.progress.bytes_done, chunk.len() as u64);
            total += chunk.len() as u64;
            start += chunk.len();
            self.put(chunk)?;
        }
    }

    fn put(&mut self, chunk: &[u8]) -> Result<()> {
        while self.ahead.len() >= CHUNKS_AHEAD {
            self.settle_one()?;
        }
        self.ahead.push_back(self.reading.sealer.put(Holds::Chunk, chunk.to_vec())?);
        Ok(())
    }

    fn settle_one(&mut self) -> Result<()> {
        if let Some(promise) = self.ahead.pop_front() {
            let stored = promise.wait()?;
            self.pack = self.pack.max(stored.pack);
            self.chunks.push(stored.blob);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Content, u64)> {
        while !self.ahead.is_empty() {
            self.settle_one()?;
        }
        // Lists of chunks lie with the catalogue pages, which are sent whatever is given up.
        let content = store_chunks(self.chunks, &mut |list| {
            let stored = self.reading.writer.put(BlobKind::Tree, list)?;
            Ok(StoredPage { id: stored.blob.id, raw_len: stored.blob.raw_len, place: None })
        })?;
        Ok((content, self.pack))
    }
}

/// The data of a file, without its holes.
struct Spans {
    extents: VecDeque<Extent>,
    /// Read to the end of the file, wherever that is by now.
    to_the_end: bool,
}

impl Spans {
    fn new(extents: Option<&[Extent]>, size: u64) -> Self {
        match extents {
            Some(extents) => Self { extents: extents.iter().copied().collect(), to_the_end: false },
            None => Self { extents: VecDeque::from([Extent { offset: 0, len: size }]), to_the_end: true },
        }
    }

    fn read(&mut self, source: &mut SourceFile, buffer: &mut [u8]) -> Result<usize> {
        loop {
            if self.to_the_end {
                return source.read(buffer);
            }
            let Some(extent) = self.extents.front_mut() else { return Ok(0) };
            if extent.len == 0 {
                self.extents.pop_front();
                continue;
            }
            let most = usize::try_from(extent.len).unwrap_or(usize::MAX).min(buffer.len());
            let len = source.read_at(buffer.get_mut(..most).unwrap_or_default(), extent.offset)?;
            extent.offset += len as u64;
            extent.len -= len as u64;
            return Ok(len);
        }
    }
}
