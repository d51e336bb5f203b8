//! What earlier prunes noted of the pages that they read, and what this one notes: `state/marks/`.
//!
//! A mark follows from a page that never changes, so it can be missing or stand there twice, but not be out of date.
//!
//! Order: marks are stored as pages are read, before the prune knows what to do, and the objects that they replace are deleted last. Nothing
//! depends on either. Marks that turn out to be wrong are deleted before anything is condemned.
//!
//! Memory: half a mebibyte for each rank that is written, of which an ordinary repository has three or four; four objects that are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{ErrorKind, Result};
use crate::repo::{Mark, MarksObject, Rank, Session};

/// Bytes of marks in an object.
const OBJECT_LEN: usize = 512 << 10;
/// So many objects of a rank that are smaller than half of that may lie about before they are written anew.
const SMALL_MAX: usize = 8;

/// What was noted, and what is to be.
pub(super) struct Notes<'n> {
    session: &'n Session<'n>,
    objects: BTreeMap<Rank, Vec<MarksObject>>,
    is_dry: bool,
    /// Whether something did not fit, so that nothing that was noted before counts.
    is_distrusted: AtomicBool,
    writer: Mutex<Writer>,
}

/// Writes marks.
struct Writer {
    /// Not in a dry run, nor once a write has failed.
    writes: bool,
    buffers: BTreeMap<Rank, Vec<u8>>,
    /// Objects that were stored.
    stored: Vec<String>,
    /// How many were stored, with those that were deleted again: no name is used twice.
    count: u32,
    /// Objects that are not needed any more.
    replaced: BTreeSet<String>,
    /// Objects that another version of the program wrote.
    foreign: BTreeSet<String>,
}

impl<'n> Notes<'n> {
    /// What is there. With `is_dry`, nothing will be written.
    pub(super) fn new(session: &'n Session<'n>, is_dry: bool) -> Self {
        let mut objects: BTreeMap<Rank, Vec<MarksObject>> = BTreeMap::new();
        for object in &session.listing().marks {
            objects.entry(object.rank).or_default().push(object.clone());
        }
        let writer = Writer {
            writes: !is_dry,
            buffers: BTreeMap::new(),
            stored: Vec::new(),
            count: 0,
            replaced: BTreeSet::new(),
            foreign: BTreeSet::new(),
        };
        Self { session, objects, is_dry, is_distrusted: AtomicBool::new(false), writer: Mutex::new(writer) }
    }

    /// From here on nothing counts that was noted before, and what this prune has noted goes, too: some of it may have been taken over. The prune
    /// reads everything, and notes it anew. All of it is deleted at once: a later prune may not find out that it is wrong.
    ///
    /// # Errors
    /// When that cannot be deleted. Nothing may be removed then.
    pub(super) fn distrust(&self) -> Result<()> {
        self.is_distrusted.store(true, Ordering::Relaxed);
        let mut writer = self.writer();
        writer.buffers.clear();
        writer.replaced.clear();
        let mut wrong = std::mem::take(&mut writer.stored);
        if self.is_dry {
            return Ok(());
        }
        wrong.extend(self.objects.values().flatten().map(|object| object.key.clone()));
        wrong.retain(|key| !writer.foreign.contains(key));
        self.session.remove_records(wrong)
    }

    /// Whether there are marks of one of these ranks.
    pub(super) fn has(&self, mut ranks: impl Iterator<Item = Rank>) -> bool {
        !self.is_distrusted.load(Ordering::Relaxed) && ranks.any(|rank| self.objects.contains_key(&rank))
    }

    /// Hands all marks of a rank to `take`, which says whether it needed them. Objects whose marks are mostly not needed any more, and small ones once there
    /// are many, are written anew, with what was needed of them.
    pub(super) fn each(&self, rank: Rank, take: &mut dyn FnMut(&Mark) -> bool) -> Result<()> {
        if !self.has(std::iter::once(rank)) {
            return Ok(());
        }
        let objects = self.of(rank);
        let merges = objects.iter().filter(|object| is_small(object)).count() > SMALL_MAX;
        self.session.read_marks(objects, &mut |object, marks| {
            let marks = match marks {
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    self.writer().foreign.insert(object.key.clone());
                    return Ok(());
                }
                marks => marks.unwrap_or_default(),
            };
            let all = marks.len();
            let used: Vec<Mark> = marks.into_iter().filter(|mark| take(mark)).collect();
            if used.is_empty() || used.len() * 2 < all || merges && is_small(object) {
                let mut writer = self.writer();
                for mark in &used {
                    writer.add(self.session, mark);
                }
                writer.replaced.insert(object.key.clone());
            }
            Ok(())
        })
    }

    /// What is marked in this rank is not needed any more.
    pub(super) fn drop_rank(&self, rank: Rank) {
        self.writer().replaced.extend(self.of(rank).iter().map(|object| object.key.clone()));
    }

    fn of(&self, rank: Rank) -> &[MarksObject] {
        self.objects.get(&rank).map_or(&[], Vec::as_slice)
    }

    /// Notes what a page, a list or a snapshot names. May be called from several threads; a failure is none, but ends the noting.
    pub(super) fn note(&self, mark: &Mark) {
        self.writer().add(self.session, mark);
    }

    /// Stores what is left, and if the prune `is_complete`, deletes the objects that are not needed any more.
    pub(super) fn finish(self, is_complete: bool) {
        let mut writer = self.writer();
        // What names others goes last: who finds it finds these.
        let ranks: Vec<Rank> = writer.buffers.keys().rev().copied().collect();
        for rank in ranks {
            writer.flush(self.session, rank);
        }
        if writer.writes && is_complete {
            let foreign = std::mem::take(&mut writer.foreign);
            let replaced = std::mem::take(&mut writer.replaced).into_iter().filter(|key| !foreign.contains(key));
            // Best effort: a mark too many is true, too.
            let _ = self.session.remove_records(replaced.collect());
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn is_small(object: &MarksObject) -> bool {
    object.size < OBJECT_LEN as u64 / 2
}

impl Writer {
    fn add(&mut self, session: &Session<'_>, mark: &Mark) {
        if !self.writes {
            return;
        }
        let rank = mark.rank();
        let buffer = self.buffers.entry(rank).or_default();
        let before = buffer.len();
        mark.encode(buffer);
        if before > 0 && buffer.len() > OBJECT_LEN {
            // What was there before goes out; a mark that is longer than that goes alone.
            let last = buffer.split_off(before);
            self.flush(session, rank);
            self.buffers.insert(rank, last);
        }
    }

    fn flush(&mut self, session: &Session<'_>, rank: Rank) {
        let Some(buffer) = self.buffers.remove(&rank).filter(|_| self.writes) else { return };
        match session.store_marks(rank, self.count, &buffer) {
            Ok(key) => {
                self.stored.push(key);
                self.count += 1;
            }
            // A store that is full must not keep a prune from making room.
            Err(_) => self.writes = false,
        }
    }
}
