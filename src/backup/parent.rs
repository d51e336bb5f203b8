//! The snapshot that a backup compares with, read alongside the walk.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::catalog::{Entry, InnerPage, Place, StoredPage};
use crate::error::{Error, Result};
use crate::id::{BlobId, SessionId};
use crate::path::TreePath;
use crate::repo::{Selector, Session, Snapshot, SnapshotFilter, Status};

use super::options::{BackupOptions, ParentChoice};

/// The newest complete snapshot of the source, and the partial one of a run that was interrupted after it.
#[derive(Debug, Default)]
pub(super) struct Parent {
    complete: Option<Snapshot>,
    partial: Option<Snapshot>,
    /// Newest snapshot of the source, whatever it is, and how many there were before.
    newest: Option<(SessionId, u64)>,
}

impl Parent {
    /// Costs one GET, and one more for each partial snapshot that came after the last complete one.
    pub(super) fn choose(session: &Session<'_>, options: &BackupOptions) -> Result<Self> {
        let keys = session.repo().keys();
        let source = keys.source_id(options.host.as_bytes(), &options.paths);
        let mut parent = Self::default();
        if let ParentChoice::Snapshot(prefix) = &options.parent {
            let named = session.find(&Selector::parse(prefix), &SnapshotFilter::default())?;
            // What a prune marked may lack content: nothing is taken over from it.
            parent.complete = Some(named).filter(|snapshot| !session.listing().suspect.contains(&snapshot.id));
        }
        for name in session.snapshots().iter().filter(|name| name.source == source) {
            if parent.newest.is_some() && options.parent != ParentChoice::Auto {
                break;
            }
            let late = options.time.is_some_and(|time| name.time > time);
            let Ok(snapshot) = session.load(name) else { continue };
            if parent.newest.is_none() {
                parent.newest = Some((snapshot.id, snapshot.seq));
            }
            if late || options.parent != ParentChoice::Auto || session.listing().suspect.contains(&snapshot.id) {
                continue;
            }
            match snapshot.status {
                Status::Complete => {
                    parent.complete = Some(snapshot);
                    break;
                }
                Status::Partial if parent.partial.is_none() => parent.partial = Some(snapshot),
                Status::Partial => {}
            }
        }
        Ok(parent)
    }

    /// The snapshot to name as parent.
    pub(super) fn id(&self) -> Option<SessionId> {
        self.complete.as_ref().or(self.partial.as_ref()).map(|snapshot| snapshot.id)
    }

    pub(super) const fn newest(&self) -> Option<(SessionId, u64)> {
        self.newest
    }

    /// Root of the complete parent, when nothing but it is compared with.
    pub(super) fn only_root(&self) -> Option<&InnerPage> {
        if self.partial.is_some() { None } else { self.complete.as_ref().map(|snapshot| &snapshot.root) }
    }

    fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.partial.iter().chain(&self.complete)
    }

    /// Bundles whose files are to be bundled anew.
    pub(super) fn sparse(&self) -> HashSet<BlobId> {
        self.snapshots().flat_map(|snapshot| snapshot.sparse.iter().copied()).collect()
    }

    /// A cursor over the parent's entries. `pages` learns where its pages lie.
    pub(super) fn cursor<'s>(&self, session: &'s Session<'s>, pages: &'s KnownPages) -> Cursor<'s> {
        let sides = self.snapshots().map(|snapshot| {
            pages.learn(&snapshot.root);
            Side {
                entries: Box::new(session.reader().tree_noting(&snapshot.root, None, move |page| pages.learn(page))),
                next: None,
                ended: false,
            }
        });
        Cursor { pages, sides: sides.collect(), failed: None }
    }
}

/// Catalogue pages of the parent, so that pages that come out the same need neither the index nor the store.
#[derive(Debug, Default)]
pub(super) struct KnownPages {
    places: Mutex<HashMap<BlobId, Option<Place>>>,
    distrusted: AtomicBool,
}

impl KnownPages {
    fn learn(&self, page: &InnerPage) {
        let mut known = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(page.children.iter().map(|child| (child.id, child.hint)));
    }

    /// From here on no page of the parent is taken for readable.
    pub(super) fn distrust(&self) {
        self.distrusted.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::SeqCst)
    }

    /// The page as it is stored, if the parent has it.
    pub(super) fn get(&self, id: BlobId, raw_len: u32) -> Option<StoredPage> {
        let place = self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        place.map(|place| StoredPage { id, raw_len, place })
    }
}

struct Side<'s> {
    entries: Box<dyn Iterator<Item = Result<Entry>> + Send + 's>,
    next: Option<Entry>,
    ended: bool,
}

impl Side<'_> {
    /// The entry at `path`, passing over what comes before it.
    fn at(&mut self, path: &TreePath) -> Result<Option<Entry>> {
        loop {
            match &self.next {
                Some(entry) if entry.path == *path => return Ok(self.next.take()),
                Some(entry) if entry.path > *path => return Ok(None),
                Some(_) | None => {}
            }
            if self.ended {
                return Ok(None);
            }
            self.next = self.entries.next().transpose()?;
            self.ended = self.next.is_none();
        }
    }
}

/// Goes through the parent in catalogue order, as far as it is asked.
pub(super) struct Cursor<'s> {
    pages: &'s KnownPages,
    sides: Vec<Side<'s>>,
    failed: Option<Error>,
}

impl Cursor<'_> {
    /// The parent's entry at `path`; paths must ascend. The newer snapshot counts where both have one. A parent that cannot be read
    /// is no reason to fail: from there on everything is read anew.
    pub(super) fn at(&mut self, path: &TreePath) -> Option<Entry> {
        let mut found = None;
        for side in &mut self.sides {
            match side.at(path) {
                Ok(entry) => found = found.or(entry),
                Err(error) => {
                    self.pages.distrust();
                    side.ended = true;
                    side.next = None;
                    self.failed.get_or_insert(error);
                }
            }
        }
        found
    }

    /// Why the parent could not be read to its end.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }
}
