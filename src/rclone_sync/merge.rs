//! Puts a base and deltas together: of what they say of one path, the newest counts.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::root::{Root, WAY_OUT};
use super::segment::{Change, SegmentReader};
use crate::catalog::{Entry, Node, Pathed as _};
use crate::error::{Error, ErrorKind, Result};
use crate::path::TreePath;

/// Changes of several layers in catalogue order, one for each path. In memory are a page of each layer and one change. Ends after the first error.
pub struct Merge {
    layers: Vec<Box<dyn Iterator<Item = Result<Change>> + Send>>,
    heads: BinaryHeap<Head>,
    is_open: bool,
}

/// The next change of a layer.
struct Head {
    change: Change,
    layer: usize,
}

impl Ord for Head {
    /// The heap gives the greatest: the smallest path, and of those the newest layer.
    fn cmp(&self, other: &Self) -> Ordering {
        other.change.path().cmp(self.change.path()).then(self.layer.cmp(&other.layer))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Merge {
    /// Layers from the oldest to the newest.
    pub fn of(layers: Vec<SegmentReader>) -> Self {
        Self::new(layers.into_iter().map(|layer| Box::new(layer) as Box<_>).collect())
    }

    /// Layers of any origin, each in catalogue order, from the oldest to the newest.
    pub fn new(layers: Vec<Box<dyn Iterator<Item = Result<Change>> + Send>>) -> Self {
        Self { layers, heads: BinaryHeap::new(), is_open: false }
    }

    /// What is there in the end.
    pub fn entries(self) -> Entries {
        Entries { changes: self, directories: Vec::new(), seen: 0, expected: None, is_over: false }
    }

    /// As [`Merge::entries`], for all layers of `root`: as many entries as it says, or the stream ends with an error.
    pub(super) fn entries_of(self, root: &Root) -> Entries {
        Entries { expected: Some(root.totals.entries), ..self.entries() }
    }

    fn try_next(&mut self) -> Result<Option<Change>> {
        if !self.is_open {
            self.is_open = true;
            for layer in 0..self.layers.len() {
                if let Some(change) = self.pull(layer)? {
                    self.heads.push(Head { change, layer });
                }
            }
        }
        let Some(newest) = self.take()? else { return Ok(None) };
        while self.heads.peek().is_some_and(|head| head.change.path() == newest.path()) {
            self.take()?;
        }
        Ok(Some(newest))
    }

    /// The first head; the next of its layer takes its place.
    fn take(&mut self) -> Result<Option<Change>> {
        let Some(layer) = self.heads.peek().map(|head| head.layer) else { return Ok(None) };
        let next = self.pull(layer)?;
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        Ok(Some(match next {
            Some(next) if next.path() <= head.change.path() => {
                return Err(Error::bug(format!("{} is not in catalogue order", next.path())));
            }
            Some(next) => std::mem::replace(&mut head.change, next),
            None => PeekMut::pop(head).change,
        }))
    }

    fn pull(&mut self, layer: usize) -> Result<Option<Change>> {
        self.layers.get_mut(layer).and_then(Iterator::next).transpose()
    }
}

impl Iterator for Merge {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.try_next();
        if !matches!(next, Ok(Some(_))) {
            (self.layers, self.heads) = (Vec::new(), BinaryHeap::new());
        }
        next.transpose()
    }
}

/// The entries of one generation: what a [`Merge`] leaves, checked to be a tree. Ends after the first error.
pub struct Entries {
    changes: Merge,
    /// The directories that the last entry lies in, and itself if it is one.
    directories: Vec<TreePath>,
    seen: u64,
    expected: Option<u64>,
    is_over: bool,
}

impl Entries {
    fn try_next(&mut self) -> Result<Option<Entry>> {
        loop {
            let Some(change) = self.changes.next().transpose()? else {
                return match self.expected {
                    Some(expected) if expected != self.seen => Err(Error::corrupt(format!(
                        "the manifest has {} entries where its root says {expected}",
                        self.seen
                    ))),
                    _ => Ok(None),
                };
            };
            if let Some(entry) = change.into_entry() {
                self.seen += 1;
                self.check(&entry)?;
                return Ok(Some(entry));
            }
        }
    }

    /// What is damaged in the mirror itself can only be made anew.
    fn with_way_out(&self, error: Error) -> Error {
        let is_damage = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) && self.expected.is_some();
        if is_damage && error.hint().is_none() { error.with_hint(WAY_OUT) } else { error }
    }

    /// Whatever lies below something lies below a directory: a reader may make directories as they come.
    fn check(&mut self, entry: &Entry) -> Result<()> {
        while self.directories.pop_if(|directory| !entry.path.starts_with(directory)).is_some() {}
        let parent = entry.path.parent();
        let is_held = match (&parent, self.directories.last()) {
            // The root itself, and what lies in it: it need not have an entry.
            (None, _) => true,
            (Some(parent), None) => parent.is_root(),
            (Some(parent), Some(directory)) => parent == directory,
        };
        if !is_held {
            return Err(Error::corrupt(format!("{} lies in no directory of the manifest", entry.path)));
        }
        if entry.node == Node::Directory {
            self.directories.push(entry.path.clone());
        }
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.try_next();
        self.is_over = !matches!(next, Ok(Some(_)));
        next.map_err(|error| self.with_way_out(error)).transpose()
    }
}
