//! Reads trees and content through a session.

use std::sync::{Mutex, PoisonError};

use crate::catalog::{BlobRef, ChildRef, ChunkReader, FileNode, InnerPage, TreeReader};
use crate::crypto::BlobKind;
use crate::error::{Error, Result};
use crate::id::BlobId;
use crate::path::TreePath;

use super::fetch::{self, Deliver, Wanted};
use super::page_window::PageWindow;
use super::session::Session;

/// Reads what a session can see.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'s> {
    session: &'s Session<'s>,
    /// How many fetch beside each other.
    fetches: u8,
}

impl<'s> Reader<'s> {
    pub(super) const fn session(self) -> &'s Session<'s> {
        self.session
    }

    pub(super) const fn new(session: &'s Session<'s>) -> Self {
        Self { session, fetches: 1 }
    }

    /// One of `count` readers that fetch beside each other and share threads and memory.
    #[must_use]
    pub const fn one_of(self, count: u8) -> Self {
        Self { fetches: count, ..self }
    }

    /// The entries of a tree in catalogue order, or of what lies at and below `below`. Pages are read ahead: a tree whose root names
    /// its leaf pages and whose pages lie side by side costs one request for every 8 MiB of sealed pages.
    pub fn tree(self, root: &InnerPage, below: Option<&TreePath>) -> TreeReader<'s> {
        self.tree_noting(root, below, |_| ())
    }

    /// As [`Reader::tree`]; `note` is shown each inner page below the root before its children are fetched.
    pub fn tree_noting(
        self,
        root: &InnerPage,
        below: Option<&TreePath>,
        note: impl Fn(&InnerPage) + Send + 's,
    ) -> TreeReader<'s> {
        let window = PageWindow::new(self, root);
        let level = root.level;
        let fetch = Box::new(move |children: &[ChildRef]| {
            let pages = window.pages(children)?;
            if level > 1 {
                pages.iter().filter_map(|page| InnerPage::decode(page).ok()).for_each(|page| note(&page));
            }
            Ok(pages)
        });
        TreeReader::within(root.clone(), below.cloned().unwrap_or_default(), fetch)
    }

    /// The chunks of a file in order; its chunk lists are fetched as they are needed.
    pub fn chunks(self, file: &FileNode) -> Result<ChunkReader<'s>> {
        let len = file.content_len().ok_or_else(|| Error::corrupt("extents of a file"))?;
        ChunkReader::new(file.content.clone(), len, Box::new(move |ids: &[BlobId]| self.tree_blobs(ids)))
    }

    /// The plaintexts of catalogue pages, in the same order.
    pub fn pages(self, children: &[ChildRef]) -> Result<Vec<Vec<u8>>> {
        let wanted: Vec<Wanted> = children
            .iter()
            .map(|child| Wanted {
                kind: BlobKind::Tree,
                blob: BlobRef { id: child.id, raw_len: child.raw_len },
                place: child.hint,
            })
            .collect();
        self.collect(&wanted)
    }

    /// The plaintexts of tree blobs of which only the ids are known: chunk lists.
    pub fn tree_blobs(self, ids: &[BlobId]) -> Result<Vec<Vec<u8>>> {
        let wanted: Vec<Wanted> = ids
            .iter()
            .map(|id| Wanted { kind: BlobKind::Tree, blob: BlobRef { id: *id, raw_len: 0 }, place: None })
            .collect();
        self.collect(&wanted)
    }

    /// All wanted blobs in memory: for few.
    pub fn collect(self, wanted: &[Wanted]) -> Result<Vec<Vec<u8>>> {
        let plains: Mutex<Vec<Option<Vec<u8>>>> = Mutex::new(vec![None; wanted.len()]);
        self.fetch(wanted, &|number, plain| {
            let plain = plain?.into_owned();
            if let Some(slot) = plains.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
                *slot = Some(plain);
            }
            Ok(())
        })?;
        let plains = plains.into_inner().unwrap_or_else(PoisonError::into_inner);
        plains
            .into_iter()
            .map(|plain| plain.ok_or_else(|| Error::bug("a blob was neither delivered nor reported")))
            .collect()
    }

    /// Fetches blobs in any order, on several threads; each is verified before it is delivered. One that cannot be had does not
    /// keep the others back: its error (`Corrupt`, naming blob and pack) is delivered in its place.
    ///
    /// # Errors
    /// Errors of the store; errors of `deliver`.
    pub fn fetch(self, wanted: &[Wanted], deliver: &Deliver<'_>) -> Result<()> {
        fetch::fetch(self.session, &self.session.repo().limits().share(self.fetches), wanted, deliver)
    }
}
