//! Big files that several destinations need are read once: what one of them has read, the others find in memory.
//!
//! Each destination reads at its own pace. One that is ahead waits for those that are behind, within [`Together::may_wait`]; one that falls behind
//! nevertheless reads the file itself, which costs time of the disk and nothing else. Bound: [`WINDOW`] bytes for a file, [`TOTAL`] for all.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::SharedClock;
use crate::error::Result;
use crate::path::TreePath;
use crate::volume::{ReadRate, SourceFile, Stat};

use super::super::memory::zeros;
use super::shared::lock;

/// Bytes kept of one file for those that are behind: a part.
const WINDOW: usize = 8 << 20;
/// Bytes kept of all files.
const TOTAL: usize = 16 << 20;
/// Files that are counted before one: more than are read at once.
const BEFORE_MAX: usize = 64;
/// Bytes read at once.
const PIECE: usize = 1 << 20;
/// Between two looks whether the others have come on.
const LOOK: Duration = Duration::from_millis(20);
/// Beside what is allowed at once, a run may spend this part of its time on waiting for the slower destinations.
const WAITING_PART: u32 = 5;

/// See the module.
pub(super) struct Together {
    clock: SharedClock,
    begun: Duration,
    /// How long the faster destinations wait at once, in all.
    allowance: Duration,
    inner: Mutex<Inner>,
    moved: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Destinations that do not know yet what they need.
    planning: usize,
    /// How many destinations will read a file, and have not begun.
    wanted: HashMap<TreePath, usize>,
    files: HashMap<TreePath, File>,
    /// Bytes kept of all files.
    kept: usize,
    waited: Duration,
    read: u64,
    next_reader: u64,
}

/// A file that is being read.
struct File {
    stat: Stat,
    /// Where in the file the first piece starts.
    start: u64,
    pieces: VecDeque<Bytes>,
    len: usize,
    /// Somebody is about to add a piece.
    is_growing: bool,
    readers: HashMap<u64, u64>,
}

/// The big files that one destination needs and has not begun to read.
pub(super) struct Wants<'a> {
    together: &'a Together,
    paths: Mutex<BTreeSet<TreePath>>,
}

/// A file as one destination reads it.
pub(super) struct Reader<'a> {
    together: &'a Together,
    own: &'a SourceFile,
    path: &'a TreePath,
    number: Option<u64>,
    at: u64,
    piece: Bytes,
    rate: Option<&'a ReadRate<'a>>,
}

impl Together {
    pub(super) fn new(clock: SharedClock, allowance: Duration, destinations: usize) -> Self {
        let inner = Inner { planning: destinations, ..Inner::default() };
        let begun = clock.elapsed();
        Self { clock, begun, allowance, inner: Mutex::new(inner), moved: Condvar::new() }
    }

    /// A destination knows what it needs, or needs nothing.
    pub(super) fn planned(&self) {
        let mut inner = lock(&self.inner);
        inner.planning = inner.planning.saturating_sub(1);
        self.moved.notify_all();
    }

    /// A destination will read these.
    pub(super) fn want(&self, paths: BTreeSet<TreePath>) -> Wants<'_> {
        let mut inner = lock(&self.inner);
        for path in &paths {
            *inner.wanted.entry(path.clone()).or_default() += 1;
        }
        Wants { together: self, paths: Mutex::new(paths) }
    }

    /// Bytes of big files that were taken from the disk.
    pub(super) fn read(&self) -> u64 {
        lock(&self.inner).read
    }

    /// Joins whoever reads the file, or begins.
    pub(super) fn reader<'a>(&'a self, path: &'a TreePath, own: &'a SourceFile, wants: &Wants<'_>) -> Reader<'a> {
        let mut inner = lock(&self.inner);
        let is_first = lock(&wants.paths).remove(path);
        if is_first {
            inner.arrive(path);
        }
        let is_shared = inner.files.contains_key(path) || inner.wanted.contains_key(path) || inner.planning > 0;
        let mut number = None;
        if is_shared {
            let file = inner.files.entry(path.clone()).or_insert_with(|| File::new(own.stat()));
            // Of another state of the file nothing can be used.
            if file.stat.same_content(own.stat()) {
                let next = inner.next_reader;
                inner.next_reader += 1;
                if let Some(file) = inner.files.get_mut(path) {
                    file.readers.insert(next, 0);
                }
                number = Some(next);
            }
        }
        self.moved.notify_all();
        Reader { together: self, own, path, number, at: 0, piece: Bytes::new(), rate: None }
    }

    /// Waits until somebody has moved, or a moment.
    fn wait<'i>(&self, inner: MutexGuard<'i, Inner>) -> MutexGuard<'i, Inner> {
        let before = self.clock.elapsed();
        let (mut inner, _) = self.moved.wait_timeout(inner, LOOK).unwrap_or_else(PoisonError::into_inner);
        inner.waited += self.clock.elapsed().saturating_sub(before);
        inner
    }

    /// Whether the faster destinations may still wait for the others.
    fn may_wait(&self, inner: &Inner) -> bool {
        let elapsed = self.clock.elapsed().saturating_sub(self.begun);
        inner.waited < self.allowance + elapsed / WAITING_PART
    }
}

impl Inner {
    fn arrive(&mut self, path: &TreePath) {
        if let Some(count) = self.wanted.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                self.wanted.remove(path);
            }
        }
    }

    /// Whether somebody will need the bytes of `path` before `end`.
    fn is_needed(&self, path: &TreePath, end: u64) -> bool {
        let behind = self.files.get(path).is_some_and(|file| file.readers.values().any(|at| *at < end));
        behind || self.is_expected(path)
    }

    /// Whether somebody may begin to read it.
    fn is_expected(&self, path: &TreePath) -> bool {
        self.planning > 0 || self.wanted.contains_key(path)
    }

    /// Drops the first piece of a file.
    fn drop_first(&mut self, path: &TreePath) {
        let Some(file) = self.files.get_mut(path) else { return };
        let Some(piece) = file.pieces.pop_front() else { return };
        file.start += piece.len() as u64;
        file.len -= piece.len();
        self.kept -= piece.len();
    }

    /// Drops what everybody has.
    fn prune(&mut self, path: &TreePath) {
        while let Some(end) = self.files.get(path).and_then(File::first_end)
            && !self.is_needed(path, end)
        {
            self.drop_first(path);
        }
    }

    fn is_full(&self, path: &TreePath) -> bool {
        let len = self.files.get(path).map_or(0, |file| file.len);
        len + PIECE > WINDOW || self.kept + PIECE > TOTAL
    }

    /// A piece was read; it is kept if there is room.
    fn add(&mut self, path: &TreePath, at: u64, piece: &Bytes) {
        while self.is_full(path) && self.files.get(path).is_some_and(|file| !file.pieces.is_empty()) {
            self.drop_first(path);
        }
        let is_full = self.is_full(path);
        let Some(file) = self.files.get_mut(path) else { return };
        if is_full || at != file.start + file.len as u64 {
            (file.start, file.len) = (at + piece.len() as u64, 0);
            let dropped: usize = file.pieces.drain(..).map(|piece| piece.len()).sum();
            self.kept -= dropped;
            return;
        }
        file.pieces.push_back(piece.clone());
        file.len += piece.len();
        self.kept += piece.len();
    }
}

impl File {
    fn new(stat: &Stat) -> Self {
        let (pieces, readers) = (VecDeque::new(), HashMap::new());
        Self { stat: stat.clone(), start: 0, pieces, len: 0, is_growing: false, readers }
    }

    fn first_end(&self) -> Option<u64> {
        self.pieces.front().map(|piece| self.start + piece.len() as u64)
    }

    /// What is kept from `at` on, to the end of a piece.
    fn from(&self, at: u64) -> Option<Bytes> {
        let mut start = self.start;
        for piece in &self.pieces {
            let end = start + piece.len() as u64;
            if (start..end).contains(&at) {
                return usize::try_from(at - start).ok().map(|skip| piece.slice(skip..));
            }
            start = end;
        }
        None
    }
}

impl<'a> Reader<'a> {
    /// What it takes from the disk keeps this rate.
    pub(super) fn at_rate(mut self, rate: &'a ReadRate<'a>) -> Self {
        self.rate = Some(rate);
        self
    }

    /// The next bytes; none at the end of the file.
    fn next(&mut self) -> Result<Bytes> {
        let Some(number) = self.number else { return self.take() };
        let mut inner = lock(&self.together.inner);
        while let Some(file) = inner.files.get_mut(self.path) {
            let end = file.start + file.len as u64;
            if self.at < file.start {
                break;
            }
            if let Some(piece) = file.from(self.at) {
                self.at += piece.len() as u64;
                file.readers.insert(number, self.at);
                inner.prune(self.path);
                self.together.moved.notify_all();
                return Ok(piece);
            }
            let first_end = file.first_end().unwrap_or(end + 1);
            let is_behind = |(reader, at): (&u64, &u64)| *reader != number && *at < first_end;
            let others = file.readers.iter().any(is_behind);
            let must_wait = file.is_growing
                || (inner.is_full(self.path)
                    && (others || inner.is_expected(self.path))
                    && self.together.may_wait(&inner));
            if must_wait {
                inner = self.together.wait(inner);
                continue;
            }
            return self.grow(inner, number);
        }
        drop(inner);
        self.leave();
        self.take()
    }

    /// Reads the next piece for all.
    fn grow(&mut self, mut inner: MutexGuard<'_, Inner>, number: u64) -> Result<Bytes> {
        if let Some(file) = inner.files.get_mut(self.path) {
            file.is_growing = true;
        }
        drop(inner);
        let (from, taken) = (self.at, self.take());
        let mut inner = lock(&self.together.inner);
        if let Some(file) = inner.files.get_mut(self.path) {
            file.is_growing = false;
            file.readers.insert(number, self.at);
        }
        match &taken {
            Ok(piece) if !piece.is_empty() => inner.add(self.path, from, piece),
            // Those that will come find what is kept of the file only as long as it is being read.
            Ok(_) => {
                while inner.wanted.contains_key(self.path) && self.together.may_wait(&inner) {
                    inner = self.together.wait(inner);
                }
            }
            // The others try for themselves.
            Err(_) => {}
        }
        inner.prune(self.path);
        self.together.moved.notify_all();
        taken
    }

    /// Reads from the disk.
    fn take(&mut self) -> Result<Bytes> {
        let mut buffer = zeros(PIECE);
        let read = self.take_into(&mut buffer)?;
        buffer.truncate(read);
        Ok(buffer.into())
    }

    fn take_into(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.own.read_at(buffer, self.at)?;
        self.at += read as u64;
        lock(&self.together.inner).read += read as u64;
        if let Some(rate) = self.rate {
            rate.read(read as u64);
        }
        Ok(read)
    }

    fn leave(&mut self) {
        let Some(number) = self.number.take() else { return };
        let mut inner = lock(&self.together.inner);
        if let Some(file) = inner.files.get_mut(self.path) {
            file.readers.remove(&number);
            if file.readers.is_empty() {
                let len = file.len;
                inner.kept -= len;
                inner.files.remove(self.path);
            }
        }
        inner.prune(self.path);
        self.together.moved.notify_all();
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() && self.number.is_none() {
            return self.take_into(buffer).map_err(std::io::Error::other);
        }
        if self.piece.is_empty() {
            self.piece = self.next().map_err(std::io::Error::other)?;
        }
        let head = self.piece.split_to(buffer.len().min(self.piece.len()));
        if let Some(place) = buffer.get_mut(..head.len()) {
            place.copy_from_slice(&head);
        }
        Ok(head.len())
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Wants<'_> {
    /// How many files before this one are still to be read, beside `reading`.
    pub(super) fn before(&self, path: &TreePath, reading: &[TreePath]) -> usize {
        let paths = lock(&self.paths);
        // More than a few make no difference.
        paths.range(..path).filter(|path| !reading.contains(path)).take(BEFORE_MAX).count()
    }

    /// This destination will not read the file after all.
    pub(super) fn pass_over(&self, path: &TreePath) {
        if lock(&self.paths).remove(path) {
            let mut inner = lock(&self.together.inner);
            inner.arrive(path);
            self.together.moved.notify_all();
        }
    }
}

impl Drop for Wants<'_> {
    fn drop(&mut self) {
        let paths = std::mem::take(&mut *lock(&self.paths));
        let mut inner = lock(&self.together.inner);
        for path in paths {
            inner.arrive(&path);
            inner.prune(&path);
        }
        self.together.moved.notify_all();
    }
}
