//! One object, or parts of it, on their way into a file.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::catalog::{Entry, Extent, FileNode, ObjectAt, StoredObject};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Progress;
use crate::id::ObjectHash;
use crate::storage::Pin;
use crate::volume::TargetFile;

use super::super::key::key_of;
use super::super::layout::{pack_key, staged_key};
use super::super::proof::Proof;
use super::fetch::{Fetch, IN_FLIGHT};
use super::spans::{Span, spans, whole_file};

/// Zeros that are hashed at once for a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Bytes of a hole that are hashed between two looks whether to stop.
const STRETCH: u64 = 64 << 20;

/// One object on its way into a file.
pub(super) struct Download<'d, 'f, 'a> {
    pub(super) fetch: &'d Fetch<'f, 'a>,
    pub(super) entry: &'d Entry,
    pub(super) node: &'d FileNode,
    pub(super) object: &'d StoredObject,
    pub(super) file: &'d TargetFile,
}

/// A range that was asked for. The permit is given back when its bytes are written.
type Coming = (Span, JoinHandle<Result<(Bytes, OwnedSemaphorePermit)>>);

impl Download<'_, '_, '_> {
    /// Brings all of it, hashed as it comes.
    pub(super) fn whole(&self) -> Result<()> {
        let (mut proof, mut end) = (Proof::of(self.object), 0);
        self.pour(whole_file(self.node), &mut |span, bytes| {
            self.zeros(&mut proof, span.range.start.saturating_sub(end))?;
            proof.update(bytes);
            end = span.range.end;
            Ok(())
        })?;
        self.zeros(&mut proof, self.node.size.saturating_sub(end))?;
        self.file.set_len(self.node.size)?;
        // Without a proof the pin and the size of each range have to do.
        if proof.finish() == Some(false) { Err(wrong()) } else { Ok(()) }
    }

    /// Brings these pieces. One range is on its way while the one before is written.
    pub(super) fn pour(
        &self,
        pieces: impl Iterator<Item = Extent>,
        each: &mut dyn FnMut(&Span, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut spans = spans(pieces);
        let mut coming = spans.next().map(|span| self.ask(span)).transpose()?;
        while let Some((span, mut handle)) = coming.take() {
            self.fetch.pull.check()?;
            coming = spans.next().map(|span| self.ask(span)).transpose()?;
            let answer = self.fetch.pull.places.block(self.fetch.pull.unless_stopped(&mut handle));
            let answer = answer.inspect_err(|_| {
                // What nobody waits for any more need not come.
                handle.abort();
                if let Some((_, next)) = &coming {
                    next.abort();
                }
            })?;
            let answer = answer.map_err(|cause| Error::bug("a read was abandoned").with_source(cause));
            let (bytes, permit) = answer.and_then(|answer| answer)?;
            each(&span, &bytes)?;
            self.write(&span, &bytes)?;
            drop(permit);
            self.fetch.pull.tally(|tally| tally.bytes += span.len());
            Progress::add(&self.fetch.pull.watch.progress.bytes_done, span.len());
        }
        Ok(())
    }

    fn ask(&self, span: Span) -> Result<Coming> {
        let places = self.fetch.pull.places;
        let (key, start, pin) = self.place();
        let store = match self.object.at {
            ObjectAt::Plain => places.data.clone(),
            ObjectAt::Staged | ObjectAt::Packed { .. } => places.control.clone(),
        };
        let Range { start: from, end } = span.range.clone();
        let beyond = || Error::corrupt("a file reaches beyond its pack");
        let range = start.checked_add(from).ok_or_else(beyond)?..start.checked_add(end).ok_or_else(beyond)?;
        let (room, size) = (Arc::clone(&self.fetch.room), self.node.size);
        let permits = u32::try_from(span.len()).unwrap_or(u32::MAX).min(IN_FLIGHT);
        let handle = places.runtime().spawn(async move {
            let permit = room.acquire_many_owned(permits).await;
            let permit = permit.map_err(|cause| Error::bug("no room for a read").with_source(cause))?;
            let bytes = match pin {
                Some(pin) => store.get_pinned(&key, range, size, &pin).await?,
                // Its name is its content: there is no other object of that name.
                None => store.get_range(&key, range).await.map_err(gone)?,
            };
            Ok((bytes, permit))
        });
        Ok((span, handle))
    }

    /// Key, where in the object the file starts, and the pin of an object that can change.
    fn place(&self) -> (String, u64, Option<Pin>) {
        match &self.object.at {
            ObjectAt::Plain => {
                let (etag, version) = (&self.object.etag, &self.object.version);
                let pin = Pin { etag: Some(etag.to_string()), version: version.as_ref().map(ToString::to_string) };
                (key_of(&self.entry.path), 0, Some(pin))
            }
            ObjectAt::Staged => (staged_key(&self.object.hash.unwrap_or(ObjectHash::new([0; 32]))), 0, None),
            ObjectAt::Packed { pack, offset } => (pack_key(pack), *offset, None),
        }
    }

    /// Writes the pieces of a span; what lies between them is not written.
    fn write(&self, span: &Span, bytes: &[u8]) -> Result<()> {
        for Extent { offset, len } in &span.pieces {
            let start = usize::try_from(offset.saturating_sub(span.range.start)).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(*len).unwrap_or(usize::MAX));
            let piece = bytes.get(start..end).ok_or_else(|| Error::bug("a span has too few bytes"))?;
            self.file.write_all_at(piece, *offset)?;
        }
        Ok(())
    }

    /// Hashes a hole.
    fn zeros(&self, proof: &mut Proof, mut count: u64) -> Result<()> {
        while count > 0 {
            self.fetch.pull.check()?;
            let mut stretch = count.min(STRETCH);
            count -= stretch;
            while stretch > 0 {
                let piece = usize::try_from(stretch).unwrap_or(usize::MAX).min(ZEROS.len());
                proof.update(ZEROS.get(..piece).unwrap_or_default());
                stretch -= u64::try_from(piece).unwrap_or(u64::MAX);
            }
        }
        Ok(())
    }
}

/// What is not there any more belonged to a generation before the one that there is now.
pub(super) fn gone(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => {
            Error::new(ErrorKind::Changed, "an object of this generation is gone").with_source(error)
        }
        _ => error,
    }
}

pub(super) fn wrong() -> Error {
    Error::corrupt("the object has not the content that the mirror says").with_hint(
        "`volvault mirror push --relist --checksum` from the source reads all objects, and sends such ones again; `volvault mirror verify --read` names them",
    )
}
