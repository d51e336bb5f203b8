//! Marking with what earlier prunes noted: what a noted page names is used as if the page had been read.
//!
//! Snapshots, inner pages and lists of lists are looked up at once. Leaf pages and lists wait until all that names them is known; then their marks are read, one object after
//! another. What is noted of a page counts only if the index knows all that it names: else the page is read, and it is said what is missing.
//!
//! A few pages are read although they are noted, others in each prune, and compared with their marks. If one is not as it was noted, nothing that was noted counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::events::Progress;
use crate::repo::{Form, Half, Key, Mark, Rank, SnapshotName, half_of};

use super::mark::{LookedUp, Lost, Marker, Page, PageKind};
use super::usage::Marked;

/// Pages of which more is known than their names, 170 bytes each, that wait for their marks; more are read.
const TOLD_MAX: usize = 16_384;
/// Noted pages that a prune reads all the same, at most.
const AUDITED_MAX: usize = 32;
/// One of so many noted pages is read all the same, of those that could be.
const AUDITED_OF: u64 = 64;

/// Leaf pages and lists that wait for their marks, with where they lie if that is known.
#[derive(Default)]
pub(super) struct Waiting {
    leaves: HashMap<Half, Option<Box<Page>>>,
    lists: HashMap<Half, Option<Box<Page>>>,
    /// How many are known by more than their names.
    told: usize,
    /// Whether the marks were read: what comes now has to be read itself.
    is_over: bool,
}

/// The marks with which pages are compared that are read all the same.
#[derive(Default)]
pub(super) struct Audit {
    expected: Mutex<HashMap<Half, Mark>>,
    count: usize,
    is_wrong: AtomicBool,
}

impl Waiting {
    fn of(&mut self, rank: Rank) -> &mut HashMap<Half, Option<Box<Page>>> {
        if rank == Rank::List { &mut self.lists } else { &mut self.leaves }
    }

    /// Where a page lies that may be waiting without that.
    pub(super) fn tell(&mut self, page: Page) {
        let half = page.half();
        let rank = if matches!(page.kind, PageKind::List) { Rank::List } else { Rank::Leaf };
        if let Some(unknown) = self.of(rank).get_mut(&half).filter(|page| page.is_none()) {
            *unknown = Some(Box::new(page));
        }
    }
}

impl Audit {
    /// Compares what was read with what was noted of it. Whether it was noted.
    fn compare(&self, mark: &Mark) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&mark.id);
        let is_wrong = expected.as_ref().is_some_and(|expected| expected != mark);
        self.is_wrong.fetch_or(is_wrong, Ordering::Relaxed);
        expected.is_some()
    }

    fn expect(&mut self, mark: &Mark) {
        self.count += 1;
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).insert(mark.id, mark.clone());
    }

    /// Whether all was as noted.
    pub(super) fn holds(&self) -> bool {
        !self.is_wrong.load(Ordering::Relaxed)
    }
}

impl Marker<'_> {
    /// Notes what was read.
    pub(super) fn note(&self, mark: &Mark) {
        let is_noted = self.audit.compare(mark);
        if let Some(notes) = self.notes.filter(|_| !is_noted) {
            notes.note(mark);
        }
    }

    /// Those of the snapshots that have to be read; one of them is noted. `None` when what was noted does not fit.
    pub(super) fn not_noted(&mut self, names: &[&SnapshotName]) -> Option<Vec<SnapshotName>> {
        let audited = usize::try_from(self.chance(&Half::default())).unwrap_or(0) % names.len().max(1);
        let mut unknown = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let Some(mark) = self.notes.and_then(|notes| notes.branch(half_of(name))) else {
                unknown.push((*name).clone());
                continue;
            };
            if number == audited {
                self.audit.expect(mark);
                unknown.push((*name).clone());
                continue;
            }
            if let Form::Snapshot(_, Some(prev)) = mark.form {
                self.chain.push((name.id, prev));
            }
            if !self.follow(mark) {
                return None;
            }
        }
        Some(unknown)
    }

    /// What to do about a page that was not seen before.
    pub(super) fn look_up(&mut self, page: Page) -> LookedUp {
        let Some(notes) = self.notes else { return LookedUp::ToRead(page) };
        let half = page.half();
        if let Some(mark) = notes.branch(half) {
            if self.is_audited(&half) {
                self.audit.expect(mark);
                return LookedUp::ToRead(page);
            }
            if self.usage.mark_key(key(&half)) == Marked::Missing {
                return LookedUp::ToRead(page);
            }
            return if self.follow(mark) { LookedUp::Noted } else { LookedUp::Unfit };
        }
        let rank = match page.kind {
            PageKind::Level(0) => Rank::Leaf,
            PageKind::List => Rank::List,
            PageKind::Level(_) => return LookedUp::ToRead(page),
        };
        if !notes.has(rank) || self.waiting.is_over || self.waiting.told >= TOLD_MAX {
            return LookedUp::ToRead(page);
        }
        self.waiting.told += 1;
        self.waiting.of(rank).insert(half, Some(Box::new(page)));
        LookedUp::Noted
    }

    /// Uses what a mark names. False when something of that is not noted.
    fn follow(&mut self, mark: &Mark) -> bool {
        let Some(notes) = self.notes else { return false };
        let mut stack = vec![mark];
        while let Some(mark) = stack.pop() {
            for half in &mark.below {
                if !self.seen.insert(*half) {
                    continue;
                }
                let below = notes.branch(*half);
                match (mark.form, below) {
                    (Form::Snapshot(1, _) | Form::Page(1), None) => {
                        self.waiting.leaves.insert(*half, None);
                    }
                    (Form::Page(0) | Form::List(_), None) => {
                        self.waiting.lists.insert(*half, None);
                    }
                    (form, Some(below)) if is_below(below.form, form) => {
                        if self.usage.mark_key(key(half)) == Marked::Missing {
                            return false;
                        }
                        stack.push(below);
                    }
                    _ => return false,
                }
            }
        }
        true
    }

    /// Reads the marks of what waits for them, and the pages that have none. False when what was noted does not fit.
    pub(super) fn take_noted(&mut self, lost: &mut Vec<Lost>) -> Result<bool> {
        let Some(notes) = self.notes else { return Ok(true) };
        for rank in [Rank::Leaf, Rank::List] {
            // Leaf pages name lists, and only lists name lists.
            self.waiting.is_over = rank == Rank::List;
            let mut waiting = std::mem::take(self.waiting.of(rank));
            let (mut to_read, mut fits) = (Vec::new(), true);
            if !waiting.is_empty() {
                notes.each(rank, &mut |mark| {
                    let Some(page) = waiting.remove(&mark.id) else { return false };
                    if !self.uses_all(mark) {
                        waiting.insert(mark.id, page);
                        return false;
                    }
                    fits &= self.follow(mark);
                    Progress::add(&self.watch.progress.files_total, 1);
                    Progress::add(&self.watch.progress.files_done, 1);
                    if let Some(page) = page.filter(|_| self.is_audited(&mark.id)) {
                        self.audit.expect(mark);
                        to_read.push(*page);
                    }
                    true
                })?;
            }
            for page in waiting.into_values() {
                let Some(page) = page else { return Ok(false) };
                to_read.push(*page);
            }
            if !fits || !self.read_all(to_read, lost)? {
                return Ok(false);
            }
        }
        Ok(self.waiting.leaves.is_empty() && self.waiting.lists.is_empty())
    }

    /// Marks the page and what it names. False when the index does not know all of it.
    fn uses_all(&self, mark: &Mark) -> bool {
        let keys = std::iter::once(key(&mark.id)).chain(mark.keys.iter().copied());
        let missing = keys.filter(|key| self.usage.mark_key(*key) == Marked::Missing);
        missing.count() == 0
    }

    fn is_audited(&self, half: &Half) -> bool {
        let count = self.audit.count;
        count < AUDITED_MAX && (count < 2 || self.chance(half).is_multiple_of(AUDITED_OF))
    }

    /// Another number in each prune.
    fn chance(&self, half: &Half) -> u64 {
        let [a, b] = [half, self.session.id().as_bytes()].map(|bytes| bytes.last_chunk().copied().unwrap_or_default());
        u64::from_le_bytes(a) ^ u64::from_le_bytes(b)
    }
}

/// Whether what has this form may be named by what has that one.
fn is_below(below: Form, above: Form) -> bool {
    match (above, below) {
        (Form::Snapshot(level, _) | Form::Page(level), Form::Page(inner)) => {
            inner > 0 && inner.checked_add(1) == Some(level)
        }
        (Form::Page(0), Form::List(depth)) => depth > 0,
        (Form::List(above), Form::List(below)) => below > 0 && below.checked_add(1) == Some(above),
        _ => false,
    }
}

fn key(half: &Half) -> Key {
    half.first_chunk().copied().unwrap_or_default()
}
