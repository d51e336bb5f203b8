//! Marks what snapshots need. Every distinct catalogue page is read once, and of a leaf page only its table of blobs. What an earlier prune noted of
//! a page is as good as the page: see `noted`.
//!
//! Costs a read of all catalogue pages that the snapshots have between them and that no prune has read before, and of a few others: all of them are a
//! twentieth to a fiftieth of what the data takes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::catalog::{BlobRef, ChildRef, ChunkList, InnerPage, leaf_blobs};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Progress, Watch};
use crate::id::{BlobId, SessionId};
use crate::repo::{BlobKind, Form, Half, Mark, Session, Snapshot, SnapshotName, Wanted, half_of};

use super::noted::{Audit, Waiting};
use super::notes::Notes;
use super::usage::{Marked, Usage, key};

/// Snapshots whose roots are in memory at once: about 50 KiB each at most.
const SNAPSHOTS_AT_ONCE: usize = 64;
/// Pages that one fetch is asked for.
const PAGES_AT_ONCE: usize = 1024;

/// A blob of the catalogue that is to be read.
pub(super) struct Page {
    blob: Wanted,
    pub(super) kind: PageKind,
    /// The first snapshot that was found to need it.
    snapshot: SessionId,
}

impl Page {
    pub(super) fn half(&self) -> Half {
        half(&self.blob.blob.id)
    }
}

#[derive(Clone, Copy)]
pub(super) enum PageKind {
    /// A page of this level; 0 is a leaf.
    Level(u8),
    /// What an entry names beside chunks, or another list does.
    List,
}

/// Something that a snapshot needs and that is not there.
pub(super) type Lost = (SessionId, Error);

/// What marking showed.
pub(super) struct Looked {
    /// Halves of the ids of all pages of sound snapshots.
    pub(super) seen: HashSet<Half>,
    /// Snapshots that were listed and are not there: forgotten since. A write that lands late may bring one back.
    pub(super) vanished: HashSet<SessionId>,
    /// What sound snapshots need and that is not there, by snapshot: the first of each batch.
    pub(super) lost: Vec<Lost>,
    /// Snapshots that are marked as suspect, and whether all that they need is there.
    pub(super) suspect: Vec<(SessionId, bool)>,
    /// Each snapshot, and the one of the same source that was there before it.
    pub(super) chain: Vec<(SessionId, SessionId)>,
}

/// What marking is done with.
pub(super) struct Marker<'m> {
    pub(super) session: &'m Session<'m>,
    pub(super) usage: &'m Usage,
    pub(super) watch: &'m Watch<'m>,
    /// Half the ids of pages and lists that were read or are to be.
    pub(super) seen: HashSet<Half>,
    /// Snapshots that were listed and are not there.
    vanished: HashSet<SessionId>,
    /// Each snapshot that was read, and the one before it.
    pub(super) chain: Vec<(SessionId, SessionId)>,
    /// Hears of each blob that had not been used before.
    fresh: &'m (dyn Fn(&BlobId) + Sync),
    /// What earlier prunes noted, and what this one does; `None`: every page is read, and nothing is noted.
    pub(super) notes: Option<&'m Notes<'m>>,
    /// Pages that may have been noted.
    pub(super) waiting: Waiting,
    pub(super) audit: Audit,
}

impl<'m> Marker<'m> {
    pub(super) fn new(
        session: &'m Session<'m>,
        usage: &'m Usage,
        watch: &'m Watch<'m>,
        fresh: &'m (dyn Fn(&BlobId) + Sync),
    ) -> Self {
        Self {
            session,
            usage,
            watch,
            seen: HashSet::new(),
            vanished: HashSet::new(),
            chain: Vec::new(),
            fresh,
            notes: None,
            waiting: Waiting::default(),
            audit: Audit::default(),
        }
    }

    /// The same, but pages that were noted need not be read, and those that are read are noted.
    pub(super) fn noting(self, notes: &'m Notes<'m>) -> Self {
        Self { notes: Some(notes), ..self }
    }

    /// The same, but pages that were read before are not read again.
    pub(super) fn knowing(self, seen: HashSet<Half>) -> Self {
        Self { seen, ..self }
    }

    /// Marks what these snapshots need: those that are marked as suspect last, and each for itself. Pages that one of them needs may be lost, and what
    /// they name is then not marked: neither the next snapshot that has them nor one that comes while this prune waits, with such a page stored anew,
    /// must take them for read.
    ///
    /// # Errors
    /// When a snapshot cannot be read, so that nobody knows what it needs; `Unavailable` when the index shows less than a moment before.
    pub(super) fn look(mut self, snapshots: &[&SnapshotName]) -> Result<Looked> {
        let is_suspect = |name: &&&SnapshotName| self.session.listing().suspect.contains(&name.id);
        let (suspects, sound): (Vec<&SnapshotName>, Vec<&SnapshotName>) = snapshots.iter().partition(is_suspect);
        let lost = self.mark(&sound)?;
        let Self { session, usage, watch, seen, mut vanished, mut chain, fresh, .. } = self;
        let mut suspect = Vec::new();
        for name in suspects {
            let mut marker = Marker::new(session, usage, watch, fresh).knowing(seen.clone());
            suspect.push((name.id, marker.mark(&[name])?.is_empty()));
            vanished.extend(marker.vanished);
            chain.extend(marker.chain);
        }
        Ok(Looked { seen, vanished, lost, suspect, chain })
    }

    /// Marks what these snapshots need. Returns what is not there, by snapshot: the first of each batch.
    fn mark(&mut self, snapshots: &[&SnapshotName]) -> Result<Vec<Lost>> {
        if let Some(lost) = self.pass(snapshots)? {
            return Ok(lost);
        }
        let text = "what earlier prunes noted of catalogue pages does not fit: reading all of them";
        self.watch.observer.on(&Event::Note { text });
        self.start_again()?;
        self.pass(snapshots)?.ok_or_else(|| Error::bug("marks that nobody trusts did not fit"))
    }

    /// `None` when what was noted does not fit, so that it may not be relied on.
    fn pass(&mut self, snapshots: &[&SnapshotName]) -> Result<Option<Vec<Lost>>> {
        let mut lost = Vec::new();
        for names in self.take_snapshots(snapshots)?.chunks(SNAPSHOTS_AT_ONCE) {
            let mut stack = Vec::new();
            for (name, snapshot) in names.iter().zip(self.session.load_each(names)) {
                match snapshot {
                    Ok(snapshot) => {
                        self.chain.extend(snapshot.prev.map(|prev| (name.id, prev)));
                        self.note(&mark_of(name, &snapshot));
                        let pages = children(&snapshot.root, name.id);
                        self.push(pages, &mut stack);
                    }
                    // Forgotten since it was listed. A listing that lies shows when it is repeated, before anything is removed.
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        self.vanished.insert(name.id);
                    }
                    Err(error) => return Err(unreadable(name, error)),
                }
            }
            self.read_all(stack, &mut lost)?;
        }
        let fits = self.take_noted(&mut lost)? && self.audit.holds();
        Ok(fits.then_some(lost))
    }

    /// Reads these pages and what they name, but for what may be noted.
    pub(super) fn read_all(&mut self, mut stack: Vec<Page>, lost: &mut Vec<Lost>) -> Result<()> {
        Progress::add(&self.watch.progress.files_total, stack.len() as u64);
        while !stack.is_empty() {
            self.go_on()?;
            let batch = stack.split_off(stack.len().saturating_sub(PAGES_AT_ONCE));
            let below = self.read(&batch, lost)?;
            let known = stack.len();
            self.push(below, &mut stack);
            Progress::add(&self.watch.progress.files_total, (stack.len() - known) as u64);
        }
        Ok(())
    }

    fn start_again(&mut self) -> Result<()> {
        if let Some(notes) = self.notes {
            notes.distrust()?;
        }
        self.usage.unmark();
        (self.seen, self.waiting, self.audit) = (HashSet::new(), Waiting::default(), Audit::default());
        self.vanished.clear();
        self.chain.clear();
        Ok(())
    }

    pub(super) fn go_on(&self) -> Result<()> {
        if self.watch.stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "the prune was interrupted; nothing was removed"));
        }
        Ok(())
    }

    /// Puts pages on the stack that were not seen before and cannot be noted.
    fn push(&mut self, pages: Vec<Page>, stack: &mut Vec<Page>) {
        for page in pages {
            if self.seen.insert(page.half()) {
                stack.extend(self.look_up(page));
            } else {
                self.waiting.tell(page);
            }
        }
    }

    /// Reads pages and lists, marks them and what they name, and returns those that they name in turn.
    fn read(&self, batch: &[Page], lost: &mut Vec<Lost>) -> Result<Vec<Page>> {
        let found = Mutex::new((Vec::new(), Vec::new()));
        let mut readable = Vec::with_capacity(batch.len());
        for page in batch {
            match self.found(&page.blob.blob.id) {
                Marked::Missing => lost.push((page.snapshot, missing(&page.blob.blob.id))),
                // What it was taken for stands in the mark of the page that names it.
                _ if !self.is_list_after_all(page)? => self.note(&not_a_list(page)),
                _ => readable.push(page),
            }
        }
        let wanted: Vec<Wanted> = readable.iter().map(|page| page.blob).collect();
        let outcome = self.session.reader().fetch(&wanted, &|number, plain| {
            let Some(page) = readable.get(number) else { return Ok(()) };
            let mut mine = Vec::new();
            let outcome = match plain {
                Ok(plain) => self.page(page, &plain, &mut mine),
                Err(error) if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => return Err(error),
                Err(error) => {
                    self.is_still_indexed(page)?;
                    Err(error)
                }
            };
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.0.append(&mut mine);
            if let Err(error) = outcome {
                found.1.push((page.snapshot, error));
            }
            Ok(())
        });
        Progress::add(&self.watch.progress.files_done, batch.len() as u64);
        let (pages, mut failed) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        lost.append(&mut failed);
        outcome?;
        Ok(pages)
    }

    /// A blob that entries name is taken for a chunk list where the first bytes of its id are those of one; the whole id decides.
    fn is_list_after_all(&self, page: &Page) -> Result<bool> {
        match page.kind {
            PageKind::Level(_) => Ok(true),
            PageKind::List if self.has_place(BlobKind::Tree, page)? => Ok(true),
            PageKind::List if self.has_place(BlobKind::Data, page)? => Ok(false),
            PageKind::List => Err(hidden(page)),
        }
    }

    fn has_place(&self, kind: BlobKind, page: &Page) -> Result<bool> {
        Ok(!self.session.places(kind, &page.blob.blob.id)?.is_empty())
    }

    /// The table of places was made from a listing of its own. What stands there and not in the index that is read now is not lost: one of the listings
    /// lied, and to go on would take what the page names for unused.
    fn is_still_indexed(&self, page: &Page) -> Result<()> {
        if self.has_place(BlobKind::Tree, page)? { Ok(()) } else { Err(hidden(page)) }
    }

    fn page(&self, page: &Page, plain: &[u8], into: &mut Vec<Page>) -> Result<()> {
        let mut mark = Mark { id: page.half(), form: Form::Page(0), keys: Vec::new(), below: Vec::new() };
        match page.kind {
            PageKind::Level(0) => self.blobs(leaf_blobs(plain)?.iter().map(|blob| &blob.id), page, &mut mark, into)?,
            PageKind::Level(level) => {
                let pages = children(&InnerPage::decode(plain)?, page.snapshot);
                (mark.form, mark.below) = (Form::Page(level), pages.iter().map(Page::half).collect());
                into.extend(pages);
            }
            PageKind::List => {
                let list = ChunkList::decode(plain)?;
                mark.form = Form::List(list.depth);
                if list.depth > 0 {
                    mark.below = list.chunks.iter().map(|item| half(&item.id)).collect();
                    into.extend(list.chunks.iter().map(|item| list_page(item.id, page.snapshot)));
                } else {
                    self.blobs(list.chunks.iter().map(|item| &item.id), page, &mut mark, into)?;
                }
            }
        }
        self.note(&mark);
        Ok(())
    }

    /// What is lost changes nothing about the rest: a snapshot that is marked as suspect keeps what there is of it.
    fn blobs<'b>(
        &self,
        ids: impl Iterator<Item = &'b BlobId>,
        page: &Page,
        mark: &mut Mark,
        into: &mut Vec<Page>,
    ) -> Result<()> {
        let mut outcome = Ok(());
        for id in ids {
            match self.found(id) {
                Marked::Missing => outcome = outcome.and(Err(missing(id))),
                Marked::First | Marked::Again if self.usage.may_be_list(id) => {
                    mark.below.push(half(id));
                    into.push(list_page(*id, page.snapshot));
                }
                Marked::First | Marked::Again => mark.keys.push(key(id)),
            }
        }
        outcome
    }

    fn found(&self, id: &BlobId) -> Marked {
        let marked = self.usage.mark(id);
        if marked == Marked::First {
            (self.fresh)(id);
        }
        marked
    }
}

fn half(id: &BlobId) -> Half {
    id.as_bytes().first_chunk().copied().unwrap_or_default()
}

fn not_a_list(page: &Page) -> Mark {
    Mark { id: page.half(), form: Form::List(0), keys: vec![key(&page.blob.blob.id)], below: Vec::new() }
}

fn mark_of(name: &SnapshotName, snapshot: &Snapshot) -> Mark {
    let below = snapshot.root.children.iter().map(|child| half(&child.id)).collect();
    Mark { id: half_of(name), form: Form::Snapshot(snapshot.root.level, snapshot.prev), keys: Vec::new(), below }
}

fn children(page: &InnerPage, snapshot: SessionId) -> Vec<Page> {
    let level = page.level.saturating_sub(1);
    let child = |child: &ChildRef| Page {
        blob: Wanted {
            kind: BlobKind::Tree,
            blob: BlobRef { id: child.id, raw_len: child.raw_len },
            place: child.hint,
        },
        kind: PageKind::Level(level),
        snapshot,
    };
    page.children.iter().map(child).collect()
}

fn list_page(id: BlobId, snapshot: SessionId) -> Page {
    let blob = Wanted { kind: BlobKind::Tree, blob: BlobRef { id, raw_len: 0 }, place: None };
    Page { blob, kind: PageKind::List, snapshot }
}

fn missing(id: &BlobId) -> Error {
    Error::corrupt(format!("blob {id} is in no pack that the index knows"))
}

fn hidden(page: &Page) -> Error {
    Error::new(ErrorKind::Changed, format!("the index did not show blob {} this time", page.blob.blob.id))
        .with_hint("nothing was removed; run it again. If it happens again, the store does not list all there is: run `volvault check`")
}

fn unreadable(name: &SnapshotName, error: Error) -> Error {
    error
        .within(format!("read snapshot {}, to know what it needs", name.id.short()))
        .with_hint("nothing was removed; run `volvault check`, and forget the snapshot if it cannot be healed")
}
