//! Compares a file on disk with what the snapshot says of it, piece by piece, by the ids of the pieces: nothing is
//! fetched but chunk lists.

use crate::catalog::{BlobRef, Content, FileNode};

use crate::error::Result;
use crate::id::ContentHash;
use crate::limits::BLOB_MAX;
use crate::repo::BlobKind;
use crate::volume::TargetReader;

use super::context::Restore;
use super::layout::{Cursor, Run, holes};

/// What the local file has of one piece of content.
pub(super) enum Piece {
    /// A chunk, where its content starts, and whether the file has it.
    Chunk { blob: BlobRef, at: Cursor, same: bool },
    /// A hole of the snapshot's file, and whether the local file has zeros there.
    Hole { run: Run, same: bool },
}

/// Whether the whole file is as the snapshot says.
pub(super) fn is_same(restore: &Restore<'_>, local: &TargetReader, node: &FileNode) -> Result<bool> {
    if local.stat().size != node.size {
        return Ok(false);
    }
    if let Content::Bundle { hash, .. } = &node.content {
        return Ok(has_content(restore, local, node, hash)? && has_holes(restore, local, node)?);
    }
    let mut same = true;
    compare(restore, local, node, &mut |piece| {
        let (Piece::Chunk { same: here, .. } | Piece::Hole { same: here, .. }) = piece;
        same &= here;
        Ok(same)
    })?;
    Ok(same)
}

/// Whether a small file has this content. Bundled content is shorter than a blob.
fn has_content(restore: &Restore<'_>, local: &TargetReader, node: &FileNode, hash: &ContentHash) -> Result<bool> {
    let len = node.content_len().and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= BLOB_MAX);
    let Some(len) = len else { return Ok(false) };
    let mut buffer = Vec::new();
    Ok(read_content(local, node, Cursor::default(), len, &mut buffer)?
        && restore.session.repo().keys().content_hash(&buffer) == *hash)
}

fn has_holes(restore: &Restore<'_>, local: &TargetReader, node: &FileNode) -> Result<bool> {
    for run in holes(node) {
        restore.check()?;
        if !local.is_zero(run.offset, run.len)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Hands every piece of a file in chunks to `take`, first the holes, until it answers `false`.
pub(super) fn compare(
    restore: &Restore<'_>,
    local: &TargetReader,
    node: &FileNode,
    take: &mut dyn FnMut(Piece) -> Result<bool>,
) -> Result<()> {
    for run in holes(node) {
        restore.check()?;
        // Beyond its end a file is made longer by a hole anyway.
        let inside = local.stat().size.min(run.offset.saturating_add(run.len)).saturating_sub(run.offset);
        let same = local.is_zero(run.offset, inside)?;
        if !take(Piece::Hole { run, same })? {
            return Ok(());
        }
    }
    let mut cursor = Cursor::default();
    let mut buffer = Vec::new();
    for blob in restore.session.reader().chunks(node)? {
        restore.check()?;
        let blob = blob?;
        let len = usize::try_from(blob.raw_len).unwrap_or(usize::MAX);
        let same = read_content(local, node, cursor, len, &mut buffer)?
            && restore.session.repo().keys().blob_id(BlobKind::Data, &buffer) == blob.id;
        let at = cursor;
        cursor.skip(node, u64::from(blob.raw_len));
        if !take(Piece::Chunk { blob, at, same })? {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads `len` bytes of content into `buffer`; `false` when the file is too short.
fn read_content(
    local: &TargetReader,
    node: &FileNode,
    mut at: Cursor,
    len: usize,
    buffer: &mut Vec<u8>,
) -> Result<bool> {
    buffer.resize(len, 0);
    let mut rest = buffer.as_mut_slice();
    while !rest.is_empty() {
        let Some(run) = at.next(node, u64::try_from(rest.len()).unwrap_or(u64::MAX)) else { return Ok(false) };
        let count = usize::try_from(run.len).unwrap_or(usize::MAX);
        let Some((piece, tail)) = rest.split_at_mut_checked(count) else { return Ok(false) };
        if local.read_full_at(piece, run.offset)? < piece.len() {
            return Ok(false);
        }
        rest = tail;
    }
    Ok(true)
}
