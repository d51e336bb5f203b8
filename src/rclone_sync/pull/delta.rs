//! A big file of which only a part is fetched: the blocks that the local file has, wherever they are in it, are copied from there.
//!
//! Memory: a block list of at most 20 MiB, that of the local file, and a table of it; for one file at a time.

use std::io::{Error as IoError, Read};
use std::sync::PoisonError;

use crate::catalog::Extent;
use crate::error::{ErrorKind, Result};
use crate::volume::{EntryKind, TargetReader};

use super::super::blocks::{BLOCKS_OBJECT_MAX, BlockList, FILE_MIN, Known, Run, cut};
use super::super::layout::blocks_key;
use super::super::proof::Proof;
use super::download::Download;
use super::spans::clip;

/// Read at once when the finished file is hashed.
const PIECE: usize = 256 << 10;

/// Puts the file together from the local one and the store. `false` when that cannot be done, or does not lead to the content: the
/// file is then to be fetched as a whole.
pub(super) fn take(download: &Download<'_, '_, '_>) -> Result<bool> {
    let pull = download.fetch.pull;
    if !download.object.blocks || download.node.size < FILE_MIN {
        return Ok(false);
    }
    let target = pull.target()?;
    let Some(stat) = target.stat(&download.entry.path)? else { return Ok(false) };
    if stat.kind != EntryKind::File || stat.size == 0 {
        return Ok(false);
    }
    // The lists of one file at a time are in memory.
    let _turn = download.fetch.lists.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(wanted) = list(download)? else { return Ok(false) };
    let Ok(local) = target.read_file(&download.entry.path) else { return Ok(false) };
    let mut stream = Stream { local: &local, at: 0 };
    let Ok(known) = cut(&mut stream, wanted.average(), &mut |_, _, _| pull.check()) else {
        pull.check()?;
        return Ok(false);
    };
    let runs = wanted.against(&Known::of(&known.list));
    drop((wanted, known));
    if copy(download, &local, &runs).is_err() {
        // Somebody made the local file shorter meanwhile.
        pull.check()?;
        download.file.set_len(0)?;
        return Ok(false);
    }
    let missing = runs.iter().filter(|run| run.old.is_none()).map(|run| Extent { offset: run.at, len: run.len });
    download.pour(missing.flat_map(|piece| clip(download.node, piece)), &mut |_, _| Ok(()))?;
    download.file.set_len(download.node.size)?;
    if has_content(download)? {
        return Ok(true);
    }
    // Somebody wrote into the local file meanwhile.
    download.file.set_len(0)?;
    Ok(false)
}

/// The block list of the content that is wanted. Without it the file is fetched as a whole.
fn list(download: &Download<'_, '_, '_>) -> Result<Option<BlockList>> {
    let Some(hash) = &download.object.hash else { return Ok(None) };
    let (places, key) = (download.fetch.pull.places, blocks_key(hash));
    match places.block(places.control.get(&key, BLOCKS_OBJECT_MAX)) {
        Ok(bytes) => Ok(BlockList::decode(&bytes, download.node.size).ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
        Err(error) => Err(error),
    }
}

fn copy(download: &Download<'_, '_, '_>, local: &TargetReader, runs: &[Run]) -> Result<()> {
    for run in runs {
        let Some(old) = run.old else { continue };
        for piece in clip(download.node, Extent { offset: run.at, len: run.len }) {
            download.fetch.pull.check()?;
            let from = old.saturating_add(piece.offset.saturating_sub(run.at));
            download.file.copy_from(local, from, piece.offset, piece.len)?;
        }
    }
    Ok(())
}

fn has_content(download: &Download<'_, '_, '_>) -> Result<bool> {
    let (mut proof, mut buffer, mut at) = (Proof::of(download.object), vec![0; PIECE], 0);
    loop {
        download.fetch.pull.check()?;
        let count = download.file.read_at(&mut buffer, at)?;
        if count == 0 {
            return Ok(at == download.node.size && proof.finish() == Some(true));
        }
        proof.update(buffer.get(..count).unwrap_or_default());
        at += u64::try_from(count).unwrap_or(u64::MAX);
    }
}

/// The local file as a stream.
struct Stream<'l> {
    local: &'l TargetReader,
    at: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.local.read_full_at(buffer, self.at).map_err(IoError::other)?;
        self.at += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(count)
    }
}
