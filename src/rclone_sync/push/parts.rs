//! Sends a file in parts, several of which are on their way while the next is read: as many as the budget has room for.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::storage::{Attributes, Condition, PartUpload, Pin};

use super::super::layout::Places;
use super::super::memory::buffer;
use super::budget::{Budget, Held};

/// Parts of one file on their way: as many as the budget of a single destination has room for.
const AHEAD: usize = 8;

/// An upload under way. Parts go out in order; dropping it without [`Outgoing::finish`] gives it up.
pub(super) struct Outgoing<'a> {
    places: &'a Places,
    budget: &'a Budget<'a>,
    upload: Option<Arc<PartUpload>>,
    part_size: usize,
    /// Bytes that are still to be a part.
    left: u64,
    filling: Option<(Vec<u8>, Held)>,
    number: u32,
    coming: VecDeque<JoinHandle<Result<()>>>,
    sent: u64,
}

impl<'a> Outgoing<'a> {
    pub(super) fn begin(
        places: &'a Places,
        budget: &'a Budget<'a>,
        (key, attributes): (&str, &Attributes),
        (size, part_size): (u64, u64),
    ) -> Result<Self> {
        let upload = places.block(places.data.upload(key, attributes, size))?;
        let part_size = usize::try_from(part_size).map_err(|_| Error::bug("the size of a part"))?;
        let (upload, coming) = (Some(Arc::new(upload)), VecDeque::new());
        Ok(Self { places, budget, upload, part_size, left: size, filling: None, number: 0, coming, sent: 0 })
    }

    /// Adds bytes of the file, in order; waits while there is no room for another part.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.filling.is_none() {
                let len = usize::try_from(self.left).unwrap_or(usize::MAX).clamp(1, self.part_size);
                let held = self.budget.hold(len as u64)?;
                self.filling = Some((buffer(len), held));
            }
            let Some((buffer, _)) = &mut self.filling else { return Ok(()) };
            let (head, rest) = bytes.split_at(bytes.len().min(self.part_size - buffer.len()));
            buffer.extend_from_slice(head);
            bytes = rest;
            if buffer.len() == self.part_size {
                self.end_part()?;
            }
        }
        Ok(())
    }

    /// Ends the part that is being filled, however short it is.
    pub(super) fn end_part(&mut self) -> Result<()> {
        let Some((buffer, held)) = self.filling.take() else { return Ok(()) };
        let upload = Arc::clone(self.upload()?);
        self.number += 1;
        self.sent += buffer.len() as u64;
        self.left = self.left.saturating_sub(buffer.len() as u64);
        let (number, bytes) = (self.number, Bytes::from(buffer));
        self.coming.push_back(self.places.runtime().spawn(async move {
            let sent = upload.part(number, bytes).await;
            drop(held);
            sent
        }));
        while self.coming.len() > AHEAD {
            self.settle_one()?;
        }
        Ok(())
    }

    /// Makes the next part of bytes that the store has. The error leaves the number free for the same bytes, sent.
    pub(super) fn copy(&mut self, source: &str, range: std::ops::Range<u64>, pin: &Pin) -> Result<()> {
        let upload = Arc::clone(self.upload()?);
        self.places.block(upload.copy(self.number + 1, source, range.clone(), pin))?;
        self.number += 1;
        self.left = self.left.saturating_sub(range.end.saturating_sub(range.start));
        Ok(())
    }

    /// Waits for all parts and puts them together. Says how many bytes were sent, too.
    pub(super) fn finish(mut self, condition: Condition<'_>) -> Result<(Pin, u64)> {
        self.end_part()?;
        while !self.coming.is_empty() {
            self.settle_one()?;
        }
        let upload = self.upload.take().and_then(Arc::into_inner).ok_or_else(|| Error::bug("an upload in use"))?;
        Ok((self.places.block(upload.finish(condition))?, self.sent))
    }

    fn upload(&self) -> Result<&Arc<PartUpload>> {
        self.upload.as_ref().ok_or_else(|| Error::bug("an upload that is over"))
    }

    fn settle_one(&mut self) -> Result<()> {
        // It stays among those that are given up when the run is to stop meanwhile.
        let Some(oldest) = self.coming.front_mut() else { return Ok(()) };
        let sent = self.places.block(self.budget.unless_stopped(oldest))?;
        self.coming.pop_front();
        sent.map_err(|cause| Error::bug("a part was abandoned").with_source(cause))?
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        for part in self.coming.drain(..) {
            part.abort();
            let _ = self.places.block(part);
        }
        // Best effort: what stays is taken by the store's rule for unfinished uploads.
        if let Some(upload) = self.upload.take().and_then(Arc::into_inner) {
            let _ = self.places.block(upload.abort());
        }
    }
}
