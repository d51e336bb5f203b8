//! What earlier prunes noted of the pages that they read, and what this one notes: `state/marks/`.
//!
//! A mark is a function of a page that never changes, so it can be missing or stand there twice, but not be out of date. Whatever does not fit (an object that is damaged, a
//! page that is marked but whose parts are not, a key that the index does not know) makes the prune read the pages themselves.
//!
//! Order: marks are stored as pages are read, before the prune knows what to do, and the objects that they replace are deleted last. Nothing depends on either.
//!
//! Memory: the marks of snapshots and of what names pages, 16 bytes for each leaf page and list; 4 MiB of objects being read or written.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::repo::{Half, Mark, MarksObject, Rank, Session};

/// Bytes of marks in an object.
const OBJECT_LEN: usize = 512 << 10;
/// So many objects of a rank that are smaller than half of that may lie about before they are written anew.
const SMALL_MAX: usize = 8;

/// What was noted, and what is to be.
pub(super) struct Notes<'n> {
    session: &'n Session<'n>,
    /// Marks of snapshots, inner pages and lists of lists, each with whether it was used.
    branches: HashMap<Half, (Mark, AtomicBool)>,
    /// The objects of each rank.
    objects: [Vec<MarksObject>; 3],
    /// Whether something did not fit, so that nothing of this counts.
    is_distrusted: AtomicBool,
    writer: Mutex<Writer>,
}

/// Writes marks.
struct Writer {
    /// Not in a dry run, nor once a write has failed.
    writes: bool,
    buffers: [Vec<u8>; 3],
    count: u32,
    /// Objects that are not needed any more.
    replaced: Vec<String>,
}

impl<'n> Notes<'n> {
    /// Reads the marks of what names pages. With `is_dry`, writes nothing.
    pub(super) fn open(session: &'n Session<'n>, is_dry: bool) -> Result<Self> {
        let mut objects = [const { Vec::new() }; 3];
        for object in &session.listing().marks {
            if let Some(of_rank) = objects.get_mut(object.rank as usize) {
                of_rank.push(object.clone());
            }
        }
        let writer = Writer { writes: !is_dry, buffers: [const { Vec::new() }; 3], count: 0, replaced: Vec::new() };
        let (mut branches, mut is_damaged) = (HashMap::new(), false);
        session.read_marks(objects.first().map_or(&[], Vec::as_slice), &mut |_, marks| {
            is_damaged |= marks.is_none();
            branches.extend(marks.into_iter().flatten().map(|mark| (mark.id, (mark, AtomicBool::new(false)))));
            Ok(())
        })?;
        let is_distrusted = AtomicBool::new(is_damaged);
        Ok(Self { session, branches, objects, is_distrusted, writer: Mutex::new(writer) })
    }

    /// From here on nothing counts that was noted before: the prune reads everything, and notes it anew.
    pub(super) fn distrust(&self) {
        self.is_distrusted.store(true, Ordering::Relaxed);
    }

    fn is_distrusted(&self) -> bool {
        self.is_distrusted.load(Ordering::Relaxed)
    }

    /// The mark of a snapshot, an inner page or a list of lists.
    pub(super) fn branch(&self, id: Half) -> Option<&Mark> {
        let (mark, is_used) = self.branches.get(&id).filter(|_| !self.is_distrusted())?;
        is_used.store(true, Ordering::Relaxed);
        Some(mark)
    }

    /// Whether there are marks of this rank.
    pub(super) fn has(&self, rank: Rank) -> bool {
        !self.is_distrusted() && !self.of(rank).is_empty()
    }

    fn of(&self, rank: Rank) -> &[MarksObject] {
        self.objects.get(rank as usize).map_or(&[], Vec::as_slice)
    }

    /// Hands all marks of a rank to `take`, which says whether it needed them. Objects whose marks are mostly not needed any more, and small ones once there
    /// are many, are written anew, with what was needed of them.
    pub(super) fn each(&self, rank: Rank, take: &mut dyn FnMut(&Mark) -> bool) -> Result<()> {
        let merges = has_many_small(self.of(rank));
        self.session.read_marks(self.of(rank), &mut |object, marks| {
            let marks = marks.unwrap_or_default();
            let all = marks.len();
            let used: Vec<Mark> = marks.into_iter().filter(|mark| take(mark)).collect();
            if used.is_empty() || used.len() * 2 < all || merges && is_small(object) {
                let mut writer = self.writer();
                used.iter().for_each(|mark| writer.add(self.session, mark));
                writer.replaced.push(object.key.clone());
            }
            Ok(())
        })
    }

    /// Notes what a page, a list or a snapshot names. May be called from several threads; a failure is none, but ends the noting.
    pub(super) fn note(&self, mark: &Mark) {
        self.writer().add(self.session, mark);
    }

    /// Stores what is left, then deletes the objects that are not needed any more.
    pub(super) fn finish(self) {
        let used = self.branches.values().filter(|(_, is_used)| is_used.load(Ordering::Relaxed));
        let mut writer = self.writer();
        if self.is_distrusted() {
            writer.replaced = self.objects.iter().flatten().map(|object| object.key.clone()).collect();
        } else if has_many_small(self.of(Rank::Branch)) || used.clone().count() * 2 < self.branches.len() {
            used.for_each(|(mark, _)| writer.add(self.session, mark));
            writer.replaced.extend(self.of(Rank::Branch).iter().map(|object| object.key.clone()));
        }
        for rank in [Rank::Branch, Rank::Leaf, Rank::List] {
            writer.flush(self.session, rank);
        }
        if writer.writes {
            // Best effort: a mark too many is true, too.
            let _ = self.session.remove_records(std::mem::take(&mut writer.replaced));
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_many_small(objects: &[MarksObject]) -> bool {
    objects.iter().filter(|object| is_small(object)).count() > SMALL_MAX
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
        let Some(buffer) = self.buffers.get_mut(rank as usize) else { return };
        let before = buffer.len();
        mark.encode(buffer);
        if buffer.len() <= OBJECT_LEN {
            return;
        }
        // What was there before goes out; a mark that is longer than that goes alone.
        let last = buffer.split_off(before);
        self.flush(session, rank);
        if let Some(buffer) = self.buffers.get_mut(rank as usize) {
            *buffer = last;
        }
    }

    fn flush(&mut self, session: &Session<'_>, rank: Rank) {
        let Some(buffer) = self.buffers.get_mut(rank as usize).map(std::mem::take) else { return };
        if self.writes && !buffer.is_empty() {
            // A store that is full must not keep a prune from making room.
            self.writes = session.store_marks(rank, self.count, &buffer).is_ok();
            self.count += 1;
        }
    }
}
