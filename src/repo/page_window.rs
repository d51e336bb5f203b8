//! Reads catalogue pages that lie side by side with few large requests.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::catalog::{ChildRef, InnerPage};
use crate::crypto::{BlobKind, ObjectKind, Opener};
use crate::error::Result;
use crate::id::PackRef;

use super::pack::{PackEntry, open_blob, pack_key};
use super::reader::Reader;

/// Sealed bytes of pages read at once: the catalogue of some 400,000 files.
const WINDOW: u64 = 12 << 20;

/// A piece of a tree pack, kept from one batch of pages to the next.
pub(super) struct PageWindow<'s> {
    reader: Reader<'s>,
    /// Packs and spans of the pages that the root names, in order.
    spans: Vec<(PackRef, Range<u64>)>,
    held: Mutex<Option<Held>>,
}

struct Held {
    pack: PackRef,
    start: u64,
    bytes: Bytes,
}

impl<'s> PageWindow<'s> {
    pub(super) fn new(reader: Reader<'s>, root: &InnerPage) -> Self {
        let spans = root
            .children
            .iter()
            .filter_map(|child| child.hint.map(|place| (place.pack, span(place.offset, place.stored_len))))
            .collect();
        Self { reader, spans, held: Mutex::new(None) }
    }

    /// The plaintexts of `children`. Pages that the window does not give are fetched one by one, with all fallbacks.
    pub(super) fn pages(&self, children: &[ChildRef]) -> Result<Vec<Vec<u8>>> {
        let mut pages = Vec::with_capacity(children.len());
        let mut missing = Vec::new();
        for child in children {
            let page = self.page(child);
            if page.is_none() {
                missing.push(child.clone());
            }
            pages.push(page);
        }
        let mut fetched = self.reader.pages(&missing)?.into_iter();
        Ok(pages.into_iter().map(|page| page.or_else(|| fetched.next()).unwrap_or_default()).collect())
    }

    /// A page from the window, which is moved when the page lies outside. `None` when anything about it is odd.
    fn page(&self, child: &ChildRef) -> Option<Vec<u8>> {
        let place = child.hint?;
        let want = span(place.offset, place.stored_len);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |held: &Held| {
            held.pack == place.pack && held.start <= want.start && want.end <= held.start + held.bytes.len() as u64
        };
        if !held.as_ref().is_some_and(holds) {
            *held = self.read(place.pack, &want);
        }
        let held = held.as_ref().filter(|held| holds(held))?;
        let start = usize::try_from(want.start - held.start).ok()?;
        let mut sealed = held.bytes.get(start..start + place.stored_len as usize)?.to_vec();
        let keys = self.reader.session().repo().keys();
        let opener = Opener::for_pack(keys, ObjectKind::TreePack, &place.pack);
        let entry = PackEntry {
            id: child.id,
            offset: place.offset,
            stored_len: place.stored_len,
            raw_len: child.raw_len,
            codec: place.codec,
        };
        open_blob(keys, BlobKind::Tree, &opener, &entry, &mut sealed).ok()
    }

    fn read(&self, pack: PackRef, want: &Range<u64>) -> Option<Held> {
        let repo = self.reader.session().repo();
        let gap = repo.limits().read_gap.bytes();
        let mut end = want.end;
        let mut spans: Vec<&Range<u64>> = self
            .spans
            .iter()
            .filter(|(other, span)| *other == pack && span.start >= want.start)
            .map(|(_, span)| span)
            .collect();
        spans.sort_by_key(|span| span.start);
        for span in spans {
            if span.start > end + gap || span.end - want.start > WINDOW {
                break;
            }
            end = end.max(span.end);
        }
        let io = repo.io();
        let bytes = io.block(io.store.get_range(&pack_key(&pack.name), want.start..end)).ok()?;
        Some(Held { pack, start: want.start, bytes })
    }
}

fn span(offset: u32, len: u32) -> Range<u64> {
    u64::from(offset)..u64::from(offset) + u64::from(len)
}
