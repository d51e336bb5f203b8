//! Windows: content that is fetched together. One blob often serves many files.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Sender;

use crate::catalog::BlobRef;

use crate::error::{Error, Result};
use crate::id::BlobId;
use crate::repo::{BlobKind, Wanted};

use super::write::Use;

/// Places that the blobs of a window go to, at most. About 450 bytes each are held for them, in four windows: one that is
/// filled, one that waits, two that are fetched.
const USES_MAX: usize = 8 << 10;

/// Blobs to fetch, each once, and where each goes.
#[derive(Default)]
pub(super) struct Window<'r> {
    pub(super) wanted: Vec<Wanted>,
    pub(super) uses: Vec<Vec<Use<'r>>>,
    numbers: HashMap<BlobId, usize>,
    bytes: u64,
    count: usize,
}

/// Takes what is to be written, from any thread, and sends it off in windows.
pub(super) struct Windows<'r> {
    sender: Sender<Window<'r>>,
    open: Mutex<Window<'r>>,
    bytes_max: u64,
}

impl<'r> Window<'r> {
    fn has_room_for(&self, blob: &BlobRef, bytes_max: u64) -> bool {
        let is_known = self.numbers.contains_key(&blob.id);
        self.count < USES_MAX
            && (is_known || self.wanted.is_empty() || self.bytes + u64::from(blob.raw_len) <= bytes_max)
    }

    fn add(&mut self, blob: BlobRef, place: Use<'r>) {
        let next = self.wanted.len();
        let number = *self.numbers.entry(blob.id).or_insert(next);
        if number == next {
            self.wanted.push(Wanted { kind: BlobKind::Data, blob, place: None });
            self.uses.push(Vec::new());
            self.bytes += u64::from(blob.raw_len);
        }
        if let Some(uses) = self.uses.get_mut(number) {
            uses.push(place);
        }
        self.count += 1;
    }
}

impl<'r> Windows<'r> {
    /// Windows of `bytes_max` plaintext each, or one blob.
    pub(super) fn new(sender: Sender<Window<'r>>, bytes_max: u64) -> Self {
        Self { sender, open: Mutex::default(), bytes_max }
    }

    /// Queues one use of a blob; waits when enough windows are under way.
    pub(super) fn push(&self, blob: BlobRef, place: Use<'r>) -> Result<()> {
        // Sending under the lock holds the others back too: nobody gets ahead of the bound.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.has_room_for(&blob, self.bytes_max) {
            self.send(std::mem::take(&mut *open))?;
        }
        open.add(blob, place);
        Ok(())
    }

    /// Sends what is left.
    pub(super) fn finish(self) -> Result<()> {
        let open = self.open.into_inner().unwrap_or_else(PoisonError::into_inner);
        if open.wanted.is_empty() {
            return Ok(());
        }
        self.sender.send(open).map_err(|_| Error::bug("nobody fetches any more"))
    }

    fn send(&self, window: Window<'r>) -> Result<()> {
        self.sender.send(window).map_err(|_| Error::bug("nobody fetches any more"))
    }
}
