//! Marking with what earlier prunes noted: what a noted page names is used as if the page had been read.
//!
//! What names others comes before them: snapshots, then pages from the highest level down to leaves, then lists of lists, then lists of
//! chunks. Of each rank it is known what is needed before its marks are read, one object after another. What is noted of a page counts only if
//! the index knows all that it names: else the page is read, and it is said what is missing. A page that is known by its name only, from a mark,
//! and has no mark itself cannot be read: then nothing that was noted counts.
//!
//! One snapshot and a few pages of each rank are read although they are noted, others in each prune, and compared with their marks. If one is not
//! as it was noted, nothing that was noted counts either.
//!
//! Memory: 40 bytes for each page or list of one level that is noted, and 200 for up to `TOLD_MAX` of which more is known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::id::SessionId;
use crate::repo::{Form, Half, Key, Mark, Rank, SnapshotName, half_of};

use super::mark::{Lost, Marker, Page, PageKind};
use super::notes::Notes;
use super::usage::Marked;

/// Pages of which more is known than their names that wait for their marks; more are read.
const TOLD_MAX: usize = 16_384;
/// Noted pages of a rank that a prune reads all the same.
const AUDITED: usize = 4;

/// A page of which more is known than its name, by the order in which they came, which is mostly that in which they lie.
type Told = (usize, Box<Page>);

/// Pages and lists that wait for their marks.
#[derive(Default)]
pub(super) struct Waiting {
    pages: BTreeMap<Rank, HashMap<Half, Option<Told>>>,
    told: usize,
    /// The last rank whose marks were read: what comes of it now has to be read itself.
    over: Option<Rank>,
}

/// The marks with which pages are compared that are read all the same.
#[derive(Default)]
pub(super) struct Audit {
    expected: Mutex<HashMap<Half, Mark>>,
    is_wrong: AtomicBool,
}

impl Waiting {
    fn add(&mut self, rank: Rank, half: Half, page: Option<Page>) {
        let told = page.map(|page| (self.told, Box::new(page)));
        self.told += usize::from(told.is_some());
        self.pages.entry(rank).or_default().insert(half, told);
    }

    /// Where a page lies that may be waiting without that.
    pub(super) fn tell(&mut self, page: Page) {
        let (half, rank) = (page.half(), rank_of(&page));
        let is_untold = self.pages.get(&rank).and_then(|waiting| waiting.get(&half)).is_some_and(Option::is_none);
        if is_untold && self.told < TOLD_MAX {
            self.add(rank, half, Some(page));
        }
    }

    fn begin(&mut self, rank: Rank) -> HashMap<Half, Option<Told>> {
        self.over = Some(rank);
        self.pages.remove(&rank).unwrap_or_default()
    }

    fn has_room(&self, rank: Rank) -> bool {
        self.told < TOLD_MAX && self.over.is_none_or(|over| over < rank)
    }
}

impl Audit {
    /// Compares what was read with what was noted of it. Whether it was noted.
    fn compare(&self, mark: &Mark) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&mark.id);
        let named = |mark: &Mark| mark.named().collect::<HashSet<Key>>();
        let is_right = |expected: &Mark| expected.form == mark.form && named(expected) == named(mark);
        self.is_wrong.fetch_or(!expected.as_ref().is_none_or(is_right), Ordering::Relaxed);
        expected.is_some()
    }

    fn expect(&self, mark: &Mark) {
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

    /// Marks what noted snapshots need. Returns those that have to be read: what is not noted, and one that is.
    pub(super) fn take_snapshots(&mut self, names: &[&SnapshotName]) -> Result<Vec<SnapshotName>> {
        let Some(notes) = self.notes else { return Ok(names.iter().map(|name| (*name).clone()).collect()) };
        let mut unread: HashMap<Half, SessionId> = names.iter().map(|name| (half_of(name), name.id)).collect();
        let audited = unread.keys().copied().min_by_key(|half| self.chance(half));
        notes.each(Rank::SNAPSHOT, &mut |mark| {
            let (Some(id), Form::Snapshot(_, prev)) = (unread.remove(&mark.id), mark.form) else { return false };
            self.follow(mark, None);
            if Some(mark.id) == audited {
                self.audit.expect(mark);
                unread.insert(mark.id, id);
            } else {
                self.chain.extend(prev.map(|prev| (id, prev)));
            }
            true
        })?;
        Ok(names.iter().filter(|name| unread.contains_key(&half_of(name))).map(|name| (*name).clone()).collect())
    }

    /// What has to be read of a page that was not seen before; `None` when it may be noted.
    pub(super) fn look_up(&mut self, page: Page) -> Option<Page> {
        let (Some(notes), rank) = (self.notes, rank_of(&page)) else { return Some(page) };
        let is_noted = match page.kind {
            PageKind::Level(_) => notes.has(std::iter::once(rank)),
            PageKind::List => notes.has(Rank::of_lists()),
        };
        if !is_noted || !self.waiting.has_room(rank) {
            return Some(page);
        }
        self.waiting.add(rank, page.half(), Some(page));
        None
    }

    /// What a noted page names is needed. What is of the rank that is being read now goes to `waiting`.
    fn follow(&mut self, mark: &Mark, waiting: Option<&mut HashMap<Half, Option<Told>>>) {
        let rank = match mark.form {
            Form::Snapshot(level, _) | Form::Page(level) if level > 0 => Form::Page(level - 1).rank(),
            Form::Snapshot(..) | Form::Page(_) | Form::List(_) => rank_of_lists(),
        };
        let new: Vec<Half> = mark.below.iter().filter(|half| self.seen.insert(**half)).copied().collect();
        match waiting {
            Some(waiting) if matches!(mark.form, Form::List(_)) => {
                waiting.extend(new.into_iter().map(|half| (half, None)));
            }
            _ => {
                for half in new {
                    self.waiting.add(rank, half, None);
                }
            }
        }
    }

    /// Reads the marks of what waits for them, and the pages that have none. False when what was noted does not fit.
    pub(super) fn take_noted(&mut self, lost: &mut Vec<Lost>) -> Result<bool> {
        let Some(notes) = self.notes else { return Ok(true) };
        for rank in Rank::of_pages() {
            if !self.take((notes, rank), std::iter::once(rank), lost)? {
                return Ok(false);
            }
        }
        let fits = self.take((notes, rank_of_lists()), Rank::of_lists(), lost)?;
        Ok(fits && self.waiting.pages.is_empty())
    }

    /// The same for pages of one level, or for all lists.
    fn take(
        &mut self,
        (notes, of): (&Notes<'_>, Rank),
        ranks: impl Iterator<Item = Rank>,
        lost: &mut Vec<Lost>,
    ) -> Result<bool> {
        self.go_on()?;
        let mut waiting = self.waiting.begin(of);
        let audited = self.audited(&waiting);
        let mut to_read: Vec<Told> = Vec::new();
        for rank in ranks {
            if waiting.is_empty() {
                notes.drop_rank(rank);
                continue;
            }
            notes.each(rank, &mut |mark| {
                let Some(page) = waiting.remove(&mark.id) else { return false };
                if !self.uses_all(mark) {
                    waiting.insert(mark.id, page);
                    return false;
                }
                self.follow(mark, Some(&mut waiting));
                if audited.contains(&mark.id) {
                    self.audit.expect(mark);
                    to_read.extend(page);
                }
                true
            })?;
        }
        for page in waiting.into_values() {
            let Some(page) = page else { return Ok(false) };
            to_read.push(page);
        }
        // Neighbours are read together.
        to_read.sort_unstable_by_key(|(number, _)| *number);
        self.read_all(to_read.into_iter().map(|(_, page)| *page).collect(), lost)?;
        Ok(true)
    }

    /// Marks the page and what it names. False when the index does not know all of it.
    fn uses_all(&self, mark: &Mark) -> bool {
        let keys = std::iter::once(key(&mark.id)).chain(mark.keys.iter().copied());
        let missing = keys.filter(|key| self.usage.mark_key(*key) == Marked::Missing);
        missing.count() == 0
    }

    /// Those that are read all the same, if they are noted.
    fn audited(&self, waiting: &HashMap<Half, Option<Told>>) -> HashSet<Half> {
        let told = waiting.iter().filter(|(_, page)| page.is_some());
        let mut by_chance: Vec<(u64, Half)> = told.map(|(half, _)| (self.chance(half), *half)).collect();
        by_chance.sort_unstable();
        by_chance.into_iter().take(AUDITED).map(|(_, half)| half).collect()
    }

    /// Another number in each prune.
    fn chance(&self, half: &Half) -> u64 {
        let [a, b] = [half, self.session.id().as_bytes()].map(|bytes| bytes.last_chunk().copied().unwrap_or_default());
        u64::from_le_bytes(a) ^ u64::from_le_bytes(b)
    }
}

/// Under which rank a page waits. Of lists nobody knows the depth before they are read, so they all wait together.
fn rank_of(page: &Page) -> Rank {
    match page.kind {
        PageKind::Level(level) => Form::Page(level).rank(),
        PageKind::List => rank_of_lists(),
    }
}

fn rank_of_lists() -> Rank {
    Form::List(0).rank()
}

fn key(half: &Half) -> Key {
    half.first_chunk().copied().unwrap_or_default()
}
