//! Snapshots and their catalogues: every page that any snapshot names is read once, and every blob that its entries name is looked
//! up in the index.
//!
//! Pages are shared between snapshots, so the work is that of the distinct ones. A page counts as seen together with what its parent
//! says of it and with the path that the next page begins with: then its order need not be checked again either.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::catalog::{BlobRef, ChildRef, Content, Entry, InnerPage, Node, StoredObject, decode_leaf};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Progress;
use crate::id::SessionId;
use crate::path::TreePath;
use crate::repo::{BlobKind, Snapshot, SnapshotName, Wanted};

use super::blobs::Blobs;
use super::lists::{BigFile, Lists};
use super::{Context, is_damage};

/// Snapshots whose roots are in memory at once: about 50 KiB each at most.
const SNAPSHOTS_AT_ONCE: usize = 64;
/// Pages that one fetch is asked for.
const PAGES_AT_ONCE: usize = 512;
/// Pages that are remembered as seen; beyond that they are checked again where they are shared.
const SEEN_MAX: usize = 4_000_000;

/// A page to be read.
struct Page {
    child: ChildRef,
    /// 0 for a leaf.
    level: u8,
    /// Path that the entries must stay below: that of the page behind.
    until: Option<TreePath>,
    /// The first snapshot that was found to have it.
    snapshot: SessionId,
}

struct Trees<'c> {
    context: &'c Context<'c>,
    blobs: &'c Blobs,
    seen: HashSet<[u8; 16]>,
}

/// What reading a batch of pages brought.
#[derive(Default)]
struct Below {
    pages: Vec<Page>,
    files: Vec<BigFile>,
}

/// Checks all snapshots.
pub(super) fn run(context: &Context<'_>, blobs: &Blobs) -> Result<()> {
    let mut trees = Trees { context, blobs, seen: HashSet::new() };
    let mut lists = Lists::new(context, blobs);
    let listing = context.session.listing();
    for names in listing.snapshots.chunks(SNAPSHOTS_AT_ONCE) {
        let mut stack = Vec::new();
        for (name, snapshot) in names.iter().zip(context.session.load_each(names)) {
            match snapshot {
                Ok(snapshot) => trees.take_root(name, &snapshot, &mut stack),
                Err(error) => unreadable(context, name, error)?,
            }
        }
        while !stack.is_empty() {
            context.go_on()?;
            let batch = stack.split_off(stack.len().saturating_sub(PAGES_AT_ONCE));
            let below = trees.read(&batch)?;
            trees.push_unseen(below.pages, &mut stack);
            lists.check(&below.files)?;
        }
    }
    Ok(())
}

fn unreadable(context: &Context<'_>, name: &SnapshotName, error: Error) -> Result<()> {
    if !is_damage(&error) {
        return Err(error);
    }
    let gone = error.kind() == ErrorKind::NotFound && {
        let now = context.session.repo().listing()?;
        !now.snapshots.iter().any(|listed| listed == name)
    };
    if gone {
        context.findings.note(format!("snapshot {} was removed while the check ran", name.id.short()));
    } else {
        context.findings.error(&name.key(), &error);
    }
    Ok(())
}

impl Trees<'_> {
    fn take_root(&mut self, name: &SnapshotName, snapshot: &Snapshot, stack: &mut Vec<Page>) {
        let context = self.context;
        context.findings.update(|report| report.snapshots += 1);
        if snapshot.source(context.session.repo().keys()) != name.source {
            let error = Error::corrupt(format!("snapshot {} lies among those of another source", snapshot.id.short()));
            context.findings.error(&name.key(), &error);
        }
        let mut pages = Vec::new();
        children(&snapshot.root, None, snapshot.id, &mut pages);
        self.push_unseen(pages, stack);
    }

    fn push_unseen(&mut self, pages: Vec<Page>, stack: &mut Vec<Page>) {
        for page in pages {
            if self.seen.len() >= SEEN_MAX {
                self.seen.clear();
            }
            if self.seen.insert(page.digest()) {
                Progress::add(&self.context.watch.progress.files_total, 1);
                stack.push(page);
            }
        }
    }

    /// Reads pages, checks what is in them, and returns what they name in turn.
    fn read(&self, pages: &[Page]) -> Result<Below> {
        let context = self.context;
        let mut wanted = Vec::with_capacity(pages.len());
        let mut asked = Vec::with_capacity(pages.len());
        for page in pages {
            let blob = BlobRef { id: page.child.id, raw_len: page.child.raw_len };
            let (want, flaw) = locate(context, self.blobs, &blob)?;
            if let Some(flaw) = flaw {
                page.error(context, &Error::corrupt(flaw));
            }
            // What the index lost may still lie where the parent says.
            let hinted = || page.child.hint.map(|place| Wanted { kind: BlobKind::Tree, blob, place: Some(place) });
            if let Some(want) = want.or_else(hinted) {
                wanted.push(want);
                asked.push(page);
            }
        }
        let below: Mutex<Below> = Mutex::default();
        let failed = fetch_all(context, &wanted, &|number, plain| {
            let Some(page) = asked.get(number) else { return Ok(()) };
            let mut mine = Below::default();
            let outcome = self.page(page, plain, &mut mine);
            let mut below = below.lock().unwrap_or_else(PoisonError::into_inner);
            below.pages.append(&mut mine.pages);
            below.files.append(&mut mine.files);
            match outcome {
                Err(error) if is_damage(&error) => page.error(context, &error),
                outcome => outcome?,
            }
            Ok(())
        })?;
        for (number, error) in failed {
            if let Some(page) = asked.get(number) {
                page.error(context, &error);
            }
        }
        Progress::add(&context.watch.progress.files_done, pages.len() as u64);
        Ok(below.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn page(&self, page: &Page, plain: &[u8], below: &mut Below) -> Result<()> {
        let until = page.until.as_ref();
        if page.level > 0 {
            let inner = InnerPage::decode(plain)?;
            let last = inner.children.last().map(|child| &child.first);
            if inner.level != page.level || (until.is_some() && last >= until) {
                return Err(misplaced());
            }
            page.expect(inner.entries(), inner.children.first().map(|child| &child.first))?;
            children(&inner, until, page.snapshot, &mut below.pages);
            return Ok(());
        }
        let entries = decode_leaf(plain)?;
        page.expect(entries.len() as u64, entries.first().map(|entry| &entry.path))?;
        let last = entries.last().map(|entry| &entry.path);
        if until.is_some() && last >= until {
            return Err(misplaced());
        }
        let after = entries.iter().skip(1).map(|entry| Some(&entry.path)).chain([until]);
        let mut sound = None;
        for (entry, next) in entries.iter().zip(after) {
            if !matches!(entry.node, Node::Directory) && next.is_some_and(|next| next.starts_with(&entry.path)) {
                page.file_error(self.context, entry, "something lies below it, and it is no directory");
            }
            self.entry(page, entry, &mut sound, below)?;
        }
        Ok(())
    }

    /// Looks up what an entry names. `sound` is the blob that was found last: neighbours share bundles.
    fn entry(&self, page: &Page, entry: &Entry, sound: &mut Option<BlobRef>, below: &mut Below) -> Result<()> {
        let Node::File(file) = &entry.node else { return Ok(()) };
        let blobs = match &file.content {
            Content::Empty => &[],
            Content::Object(_) => return Err(StoredObject::misplaced()),
            Content::Bundle { blob, .. } => std::slice::from_ref(blob),
            Content::Chunks(chunks) => chunks.as_slice(),
            Content::Lists { depth, lists } => {
                let len = file.content_len().ok_or_else(|| Error::corrupt("extents of a file"))?;
                below.files.push(BigFile {
                    snapshot: page.snapshot,
                    path: entry.path.clone(),
                    depth: *depth,
                    lists: lists.clone(),
                    len,
                });
                return Ok(());
            }
        };
        for blob in blobs {
            if sound.as_ref() == Some(blob) {
                continue;
            }
            match self.blobs.flaw(self.context.session, blob)? {
                None => *sound = Some(*blob),
                Some(flaw) => {
                    page.file_error(self.context, entry, &flaw);
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Page {
    /// What makes this page with its neighbourhood the same as another.
    fn digest(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.child.id.as_bytes()).update(&[self.level]);
        hasher.update(&self.child.raw_len.to_le_bytes()).update(&self.child.entries.to_le_bytes());
        hasher.update(&(self.child.first.as_bytes().len() as u64).to_le_bytes()).update(self.child.first.as_bytes());
        hasher
            .update(&[u8::from(self.until.is_some())])
            .update(self.until.as_ref().map_or(&[], |path| path.as_bytes()));
        hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }

    fn expect(&self, entries: u64, first: Option<&TreePath>) -> Result<()> {
        if entries != self.child.entries || first != Some(&self.child.first) {
            return Err(Error::corrupt("it is not the page that its parent describes"));
        }
        Ok(())
    }

    fn error(&self, context: &Context<'_>, error: &Error) {
        let item = format!("snapshot {}, catalogue page {}", self.snapshot.short(), self.child.id);
        context.findings.error(&item, error);
    }

    fn file_error(&self, context: &Context<'_>, entry: &Entry, flaw: &str) {
        file_error(context, self.snapshot, &entry.path, &Error::corrupt(flaw));
    }
}

pub(super) fn file_error(context: &Context<'_>, snapshot: SessionId, path: &TreePath, error: &Error) {
    context.findings.file_error(&format!("snapshot {}, file {}", snapshot.short(), path.display()), error);
}

fn misplaced() -> Error {
    Error::corrupt("the page is not before the one behind it, or not of its level")
}

/// The pages that an inner page names.
fn children(page: &InnerPage, until: Option<&TreePath>, snapshot: SessionId, into: &mut Vec<Page>) {
    let behind = page.children.iter().skip(1).map(|child| Some(&child.first)).chain([until]);
    into.extend(page.children.iter().zip(behind).map(|(child, until)| Page {
        child: child.clone(),
        level: page.level.saturating_sub(1),
        until: until.cloned(),
        snapshot,
    }));
}

/// How to fetch a tree blob by what the index says, and what is wrong with what was said of it. A length of 0 says nothing.
pub(super) fn locate(context: &Context<'_>, blobs: &Blobs, blob: &BlobRef) -> Result<(Option<Wanted>, Option<String>)> {
    let id = blob.id;
    let Some(found) = blobs.find(context.session, BlobKind::Tree, blob)? else {
        return Ok((None, Some(format!("blob {id} is in no pack that the index knows"))));
    };
    let indexed = BlobRef { id, raw_len: found.raw_len };
    let flaw = (blob.raw_len != 0 && found.raw_len != blob.raw_len)
        .then(|| format!("blob {id} has {} bytes in the index, not {}", found.raw_len, blob.raw_len));
    Ok((Some(Wanted { kind: BlobKind::Tree, blob: indexed, place: Some(found.place) }), flaw))
}

/// Fetches tree blobs and hands them to `deliver`; returns those that cannot be had, each with its own error.
pub(super) fn fetch_all(
    context: &Context<'_>,
    wanted: &[Wanted],
    deliver: &(dyn Fn(usize, &[u8]) -> Result<()> + Sync),
) -> Result<Vec<(usize, Error)>> {
    let failed = Mutex::new(Vec::new());
    let came = AtomicU64::new(0);
    let outcome = context.session.reader().fetch(wanted, &|number, plain| match plain {
        Ok(plain) => {
            came.fetch_add(1, Ordering::Relaxed);
            deliver(number, &plain)
        }
        Err(error) => {
            failed.lock().unwrap_or_else(PoisonError::into_inner).push((number, error));
            context.go_on()
        }
    });
    context.findings.update(|report| report.pages += came.into_inner());
    outcome?;
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(number, _)| *number);
    Ok(failed)
}
