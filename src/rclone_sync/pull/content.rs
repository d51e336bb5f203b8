//! The content of one file: from the local file, if that has it, else by ranges of the pinned object; hashed on its way to the
//! stage. What lies in the stage under its own name was verified once.

use std::ops::Range;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::catalog::{Entry, Extent, FileNode, Node, ObjectAt, StoredObject};
use crate::error::{Attempt, Error, Result};
use crate::events::{Action, Progress};
use crate::storage::Pin;
use crate::volume::{EntryKind, Replace, TargetFile};

use super::super::key::key_of;
use super::super::layout::{pack_key, staged_key};
use super::fetch::Fetch;
use super::spans::{Span, spans};
use super::stage::Stage;
use super::verdict::{holds, object_of};

/// Zeros that are hashed at once for a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Brings the content of `entry` into the stage, unless it is there.
///
/// # Errors
/// `Changed` when the object is not the one that the generation names.
pub(super) fn bring(fetch: &Fetch<'_, '_>, entry: &Entry) -> Result<()> {
    let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else {
        return Err(Error::bug("content of something that has none"));
    };
    let target = fetch.pull.target()?;
    let place = Stage::content(entry, object)?;
    if target.stat(&place)?.is_some_and(|stat| stat.size == node.size) && holds(fetch.pull, &place, object)? {
        return Ok(());
    }
    let new = fetch.new_thing()?;
    let file = target.create_file(&new, Replace::Anything)?;
    let said = || format!("fetch {}", entry.path);
    if !take_local(fetch, entry, &file)? {
        Download { fetch, entry, node, object, file: &file }.run().attempt(said)?;
        fetch.pull.tally(|tally| tally.transfers += 1);
    }
    drop(file);
    target.rename(&new, &place)?;
    fetch.pull.item(Action::New, &entry.path, node.size);
    Ok(())
}

/// Copies the local file, if that has the content: it is made anew only because it must not share its inode.
fn take_local(fetch: &Fetch<'_, '_>, entry: &Entry, file: &TargetFile) -> Result<bool> {
    let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else { return Ok(false) };
    let target = fetch.pull.target()?;
    let likely = target.stat(&entry.path)?.is_some_and(|stat| {
        stat.kind == EntryKind::File && stat.size == node.size && stat.mtime == entry.meta.mtime && stat.nlink > 1
    });
    if !likely || !holds(fetch.pull, &entry.path, object)? {
        return Ok(false);
    }
    let local = target.read_file(&entry.path)?;
    file.copy_from(&local, 0, 0, node.size)?;
    Ok(true)
}

/// One object on its way into a file.
struct Download<'d, 'f, 'a> {
    fetch: &'d Fetch<'f, 'a>,
    entry: &'d Entry,
    node: &'d FileNode,
    object: &'d StoredObject,
    file: &'d TargetFile,
}

/// A range that was asked for. The permit is given back when its bytes are written.
type Coming = (Span, JoinHandle<Result<(Bytes, OwnedSemaphorePermit)>>);

impl Download<'_, '_, '_> {
    /// One range is on its way while the one before is written.
    fn run(&self) -> Result<()> {
        let mut spans = spans(self.node);
        let mut hasher = blake3::Hasher::new();
        let mut end = 0;
        let mut coming = spans.next().map(|span| self.ask(span)).transpose()?;
        while let Some((span, handle)) = coming.take() {
            self.fetch.pull.check()?;
            coming = spans.next().map(|span| self.ask(span)).transpose()?;
            let answer = self.fetch.pull.places.block(handle);
            let (bytes, permit) = answer
                .map_err(|cause| Error::bug("a read was abandoned").with_source(cause))
                .and_then(|answer| answer)?;
            zeros(&mut hasher, span.range.start.saturating_sub(end));
            hasher.update(&bytes);
            end = span.range.end;
            self.write(&span, &bytes)?;
            drop(permit);
            self.fetch.pull.tally(|tally| tally.bytes += span.len());
            Progress::add(&self.fetch.pull.watch.progress.bytes_done, span.len());
        }
        zeros(&mut hasher, self.node.size.saturating_sub(end));
        self.file.set_len(self.node.size)?;
        if hasher.finalize().as_bytes() == self.object.hash.as_bytes() {
            Ok(())
        } else {
            Err(Error::corrupt("the object has not the content that the mirror says")
                .with_hint("verify the mirror, and push again"))
        }
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
        let (room, size) = (std::sync::Arc::clone(&self.fetch.room), self.node.size);
        let permits = u32::try_from(span.len()).unwrap_or(u32::MAX).min(super::fetch::IN_FLIGHT);
        let handle = places.runtime().spawn(async move {
            let permit = room.acquire_many_owned(permits).await;
            let permit = permit.map_err(|cause| Error::bug("no room for a read").with_source(cause))?;
            let bytes = match pin {
                Some(pin) => store.get_pinned(&key, range, size, &pin).await?,
                // Its name is its content: there is no other object of that name.
                None => store.get_range(&key, range).await?,
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
            ObjectAt::Staged => (staged_key(&self.object.hash), 0, None),
            ObjectAt::Packed { pack, offset } => (pack_key(pack), *offset, None),
        }
    }

    /// Writes the data of a span; what lies in holes is not written.
    fn write(&self, span: &Span, bytes: &[u8]) -> Result<()> {
        for Extent { offset, len } in &span.pieces {
            let start = usize::try_from(offset.saturating_sub(span.range.start)).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(*len).unwrap_or(usize::MAX));
            let piece = bytes.get(start..end).ok_or_else(|| Error::bug("a span has too few bytes"))?;
            self.file.write_all_at(piece, *offset)?;
        }
        Ok(())
    }
}

fn zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    while count > 0 {
        let piece = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(ZEROS.get(..piece).unwrap_or_default());
        count -= u64::try_from(piece).unwrap_or(u64::MAX);
    }
}
