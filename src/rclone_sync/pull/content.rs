//! The content of one file: from the local file, if that has it, else by ranges of the pinned object; hashed on its way to the
//! stage. What lies in the stage under its own name was verified once.

use std::sync::Arc;

use crate::catalog::{Content, Entry, FileNode, Node, ObjectAt, StoredObject};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::{Action, Progress};
use crate::volume::{EntryKind, Replace, TargetFile, TargetReader};

use super::super::layout::pack_key;
use super::super::proof::Proof;
use super::delta;
use super::download::{Download, gone, wrong};
use super::fetch::{Fetch, IN_FLIGHT};
use super::spans::whole_file;
use super::stage::Stage;
use super::verdict::{holds, object_of};

/// Brings the content of `entry` into the stage, unless it is there.
///
/// # Errors
/// `Changed` when the object is not the one that the generation names.
pub(super) fn bring(fetch: &Fetch<'_, '_>, entry: &Entry) -> Result<()> {
    let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else {
        return Err(Error::bug("content of something that has none"));
    };
    if is_staged(fetch, entry, node, object)? {
        return Ok(());
    }
    let file = fetch.pull.target()?.create_file(&Stage::content(entry, object)?, Replace::Anything)?;
    let said = || format!("fetch {}", entry.path);
    let download = Download { fetch, entry, node, object, file: &file };
    if !take_local(fetch, entry, &file)? && !take_renamed(fetch, entry, &file)? {
        if !delta::take(&download).attempt(said)? {
            download.whole().attempt(said)?;
        }
        fetch.pull.tally(|tally| tally.transfers += 1);
    }
    fetch.pull.describe_new(&file, entry);
    fetch.pull.item(Action::New, &entry.path, node.size);
    Ok(())
}

/// Whether the content of a small file needs no request: it is in the stage, or in the target.
pub(super) fn is_there(fetch: &Fetch<'_, '_>, entry: &Entry) -> Result<bool> {
    let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else { return Ok(false) };
    if is_staged(fetch, entry, node, object)? {
        return Ok(true);
    }
    if !is_likely_here(fetch, entry, node)? && fetch.leaving.like(entry).is_empty() {
        return Ok(false);
    }
    let file = fetch.pull.target()?.create_file(&Stage::content(entry, object)?, Replace::Anything)?;
    let taken = take_local(fetch, entry, &file)? || take_renamed(fetch, entry, &file)?;
    if taken {
        fetch.pull.describe_new(&file, entry);
        fetch.pull.item(Action::New, &entry.path, node.size);
    }
    Ok(taken)
}

/// Copies the local file, if that has the content: it is made anew only because it must not share its inode.
fn take_local(fetch: &Fetch<'_, '_>, entry: &Entry, file: &TargetFile) -> Result<bool> {
    let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else { return Ok(false) };
    if !is_likely_here(fetch, entry, node)? || !holds(fetch.pull, &entry.path, object)? {
        return Ok(false);
    }
    let local = fetch.pull.target()?.read_file(&entry.path)?;
    copy(node, &local, file)?;
    Ok(true)
}

/// Copies the data of a local file of the same content; its holes are holes in the copy.
fn copy(node: &FileNode, local: &TargetReader, file: &TargetFile) -> Result<()> {
    for piece in whole_file(node) {
        file.copy_from(local, piece.offset, piece.offset, piece.len)?;
    }
    file.set_len(node.size)
}

/// Copies a local file of another name that goes away, if it has the content. It is the copy that is compared: the file may be written to.
fn take_renamed(fetch: &Fetch<'_, '_>, entry: &Entry, file: &TargetFile) -> Result<bool> {
    let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else { return Ok(false) };
    for path in fetch.leaving.like(entry) {
        let Ok(local) = fetch.pull.target()?.read_file(path) else { continue };
        if local.stat().size != node.size {
            continue;
        }
        if copy(node, &local, file).is_ok() && holds(fetch.pull, &Stage::content(entry, object)?, object)? {
            fetch.pull.tally(|tally| {
                tally.renamed += 1;
                tally.transfers_total = tally.transfers_total.saturating_sub(1);
                tally.bytes_total = tally.bytes_total.saturating_sub(node.size);
            });
            return Ok(true);
        }
        file.set_len(0)?;
    }
    Ok(false)
}

fn is_likely_here(fetch: &Fetch<'_, '_>, entry: &Entry, node: &FileNode) -> Result<bool> {
    Ok(fetch.pull.target()?.stat(&entry.path)?.is_some_and(|stat| {
        stat.kind == EntryKind::File && stat.size == node.size && stat.mtime == entry.meta.mtime && stat.nlink > 1
    }))
}

/// Whether an earlier run, or an earlier round, has brought it. What a machine that lost its power left may be anything.
fn is_staged(fetch: &Fetch<'_, '_>, entry: &Entry, node: &FileNode, object: &StoredObject) -> Result<bool> {
    let (target, place) = (fetch.pull.target()?, Stage::content(entry, object)?);
    let Some(stat) = target.stat(&place)?.filter(|stat| stat.size == node.size) else { return Ok(false) };
    if !holds(fetch.pull, &place, object)? {
        return Ok(false);
    }
    // It may have been given the attributes of an entry of that time.
    fetch.pull.set_metadata(&place, &entry.meta, &stat)?;
    Ok(true)
}

/// Puts the content of a small file into the stage, all of it at once, if it is the one that the mirror says.
pub(super) fn put_whole(fetch: &Fetch<'_, '_>, entry: &Entry, content: &[u8]) -> Result<()> {
    let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else {
        return Err(Error::bug("content of something that has none"));
    };
    let mut proof = Proof::of(object);
    proof.update(content);
    if proof.finish() == Some(false) {
        return Err(wrong());
    }
    let file = fetch.pull.target()?.create_file(&Stage::content(entry, object)?, Replace::Anything)?;
    let mut len = 0;
    for piece in whole_file(node) {
        let start = usize::try_from(piece.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(piece.len).unwrap_or(usize::MAX));
        file.write_all_at(content.get(start..end).ok_or_else(wrong)?, piece.offset)?;
        len = piece.offset.saturating_add(piece.len);
    }
    // It ends in a hole.
    if len != node.size {
        file.set_len(node.size)?;
    }
    fetch.pull.describe_new(&file, entry);
    drop(file);
    fetch.pull.tally(|tally| {
        tally.transfers += 1;
        tally.bytes += node.size;
    });
    Progress::add(&fetch.pull.watch.progress.bytes_done, node.size);
    fetch.pull.item(Action::New, &entry.path, node.size);
    Ok(())
}

/// Brings files that lie close together in one pack, by one request. Where the pack is not what it should be, each has an object of its own.
pub(super) fn bring_packed(fetch: &Fetch<'_, '_>, entries: &[Entry]) -> Result<()> {
    match bring_from_pack(fetch, entries) {
        Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::Corrupt) => {
            entries.iter().try_for_each(|entry| bring(fetch, &plain(entry)))
        }
        outcome => outcome,
    }
}

fn plain(entry: &Entry) -> Entry {
    let mut plain = entry.clone();
    if let Node::File(FileNode { content: Content::Object(object), .. }) = &mut plain.node {
        *object = StoredObject { at: ObjectAt::Plain, ..StoredObject::clone(object) }.into();
    }
    plain
}

fn bring_from_pack(fetch: &Fetch<'_, '_>, entries: &[Entry]) -> Result<()> {
    let mut wanted = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(packed) = Packed::of(entry)
            && !is_staged(fetch, entry, packed.node, packed.object)?
        {
            wanted.push(packed);
        }
    }
    let (Some(first), Some(end)) = (wanted.first(), wanted.iter().map(|packed| packed.end).max()) else {
        return Ok(());
    };
    let (key, from) = (pack_key(&first.pack), first.start);
    let (places, room) = (fetch.pull.places, Arc::clone(&fetch.room));
    let permits = u32::try_from(end.saturating_sub(from)).unwrap_or(u32::MAX).min(IN_FLIGHT);
    let asked = Box::pin(async {
        let permit = room.acquire_many_owned(permits).await;
        let permit = permit.map_err(|cause| Error::bug("no room for a read").with_source(cause))?;
        Ok((places.control.get_range(&key, from..end).await.map_err(gone)?, permit))
    });
    let (bytes, _permit) = places.block(fetch.pull.unless_stopped(asked))??;
    for packed in wanted {
        let at = |offset: u64| usize::try_from(offset.saturating_sub(from)).unwrap_or(usize::MAX);
        let content =
            bytes.get(at(packed.start)..at(packed.end)).ok_or_else(|| Error::bug("a range has too few bytes"))?;
        put_whole(fetch, packed.entry, content).attempt(|| format!("fetch {}", packed.entry.path))?;
    }
    Ok(())
}

/// A small file that lies in a pack.
struct Packed<'e> {
    entry: &'e Entry,
    node: &'e FileNode,
    object: &'e StoredObject,
    pack: crate::id::ObjectHash,
    start: u64,
    end: u64,
}

impl<'e> Packed<'e> {
    fn of(entry: &'e Entry) -> Option<Self> {
        let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else { return None };
        let ObjectAt::Packed { pack, offset } = object.at else { return None };
        let end = offset.checked_add(node.size)?;
        Some(Self { entry, node, object, pack, start: offset, end })
    }
}

/// Whether the content lies in a pack, beside its own object.
pub(super) fn is_packed(entry: &Entry) -> bool {
    Packed::of(entry).is_some()
}

/// Whether `next` is so close behind the files of `batch` that one request brings all of them.
pub(super) fn goes_with(batch: &[Entry], next: &Entry) -> bool {
    let (Some(first), Some(last), Some(next)) =
        (batch.first().and_then(Packed::of), batch.last().and_then(Packed::of), Packed::of(next))
    else {
        return false;
    };
    next.pack == last.pack
        && next.start >= last.end
        && next.start - last.end <= super::spans::GAP_MAX
        && next.end - first.start <= super::spans::SPAN_MAX
}
