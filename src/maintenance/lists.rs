//! Chunk lists of big files. Lists that files and snapshots share are read once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::catalog::{BlobRef, ChunkList};
use crate::error::{Error, Result};
use crate::id::{BlobId, SessionId};
use crate::path::TreePath;

use super::blobs::Blobs;
use super::trees::{fetch_all, file_error, locate};
use super::{Context, is_damage};

/// Lists that one fetch is asked for.
const LISTS_AT_ONCE: usize = 256;
/// Lists that are remembered as read, some 48 bytes each: the chunks of a petabyte.
const KNOWN_MAX: usize = 2_000_000;

/// A file whose chunks stand in lists.
pub(super) struct BigFile {
    pub(super) snapshot: SessionId,
    pub(super) path: TreePath,
    /// Depth of the lists.
    pub(super) depth: u8,
    pub(super) lists: Vec<BlobRef>,
    /// Bytes of its content.
    pub(super) len: u64,
}

/// Half an id: enough to tell lists apart.
type Short = [u8; 16];

/// What a list turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    depth: u8,
    raw_len: u32,
    /// Bytes of file content below it.
    len: u64,
}

/// A list that is named: by a file, which knows its plaintext's length (else 0), or by a list, which knows the content's (else 0).
#[derive(Clone, Copy)]
struct Named {
    blob: BlobRef,
    depth: u8,
    len: u64,
    /// Number of the file among those being checked.
    file: usize,
}

pub(super) struct Lists<'c> {
    context: &'c Context<'c>,
    blobs: &'c Blobs,
    known: HashMap<Short, Known>,
}

/// What reading some lists brought.
#[derive(Default)]
struct Read {
    known: HashMap<Short, Known>,
    named: Vec<Named>,
}

/// What one list is, what it names in turn, and what is wrong with it or its chunks.
#[derive(Default)]
struct Looked {
    known: Option<Known>,
    named: Vec<Named>,
    flaw: Option<Error>,
}

impl<'c> Lists<'c> {
    pub(super) fn new(context: &'c Context<'c>, blobs: &'c Blobs) -> Self {
        Self { context, blobs, known: HashMap::new() }
    }

    /// Checks that all chunks of these files are in the index and that they add up.
    pub(super) fn check(&mut self, files: &[BigFile]) -> Result<()> {
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let mut claims: Vec<Named> = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let named = |list: &BlobRef| Named { blob: *list, depth: file.depth, len: 0, file: number };
            claims.extend(file.lists.iter().map(named));
        }
        // Which file asked for a list first: what is wrong with the list was said of that one.
        let mut asked: HashMap<Short, usize> = HashMap::new();
        let mut stack = self.unread(&claims, &mut asked);
        while !stack.is_empty() {
            self.context.go_on()?;
            let batch = stack.split_off(stack.len().saturating_sub(LISTS_AT_ONCE));
            let read = self.read(&batch, files)?;
            self.known.extend(read.known);
            stack.extend(self.unread(&read.named, &mut asked));
            claims.extend(read.named);
        }
        let mut sums: Vec<Option<u64>> = vec![Some(0); files.len()];
        for (number, claim) in claims.iter().enumerate() {
            let Some(file) = files.get(claim.file) else { continue };
            let name = short(&claim.blob.id);
            let known = self.known.get(&name);
            let as_named = known.is_some_and(|known| claim.fits(known));
            let is_told = known.is_none() && asked.get(&name) == Some(&claim.file);
            if !as_named && !is_told {
                let id = claim.blob.id;
                let flaw = if known.is_some() { "is not the one that its parent describes" } else { "cannot be read" };
                file.error(self.context, &Error::corrupt(format!("chunk list {id} {flaw}")));
            }
            // The first claims are those of the files themselves.
            if number < files.iter().map(|file| file.lists.len()).sum()
                && let Some(sum) = sums.get_mut(claim.file)
            {
                *sum = known.filter(|_| as_named).and_then(|known| sum.and_then(|sum| sum.checked_add(known.len)));
            }
        }
        for (file, sum) in files.iter().zip(sums) {
            if let Some(sum) = sum.filter(|sum| *sum != file.len) {
                file.error(
                    self.context,
                    &Error::corrupt(format!("its chunks have {sum} bytes, the file {}", file.len)),
                );
            }
        }
        Ok(())
    }

    fn unread(&self, named: &[Named], asked: &mut HashMap<Short, usize>) -> Vec<Named> {
        let is_new = |named: &&Named| {
            let short = short(&named.blob.id);
            if self.known.contains_key(&short) || asked.contains_key(&short) {
                return false;
            }
            asked.insert(short, named.file);
            true
        };
        named.iter().filter(is_new).copied().collect()
    }

    fn read(&self, batch: &[Named], files: &[BigFile]) -> Result<Read> {
        let error = |named: &Named, error: &Error| {
            if let Some(file) = files.get(named.file) {
                file.error(self.context, error);
            }
        };
        let (mut wanted, mut sought) = (Vec::new(), Vec::new());
        for named in batch {
            let (want, flaw) = locate(self.context, self.blobs, &named.blob)?;
            if let Some(flaw) = flaw {
                error(named, &Error::corrupt(flaw));
            }
            if let Some(want) = want {
                wanted.push(want);
                sought.push(named);
            }
        }
        let read: Mutex<Read> = Mutex::default();
        let failed = fetch_all(self.context, &wanted, &|number, plain| {
            let Some(named) = sought.get(number) else { return Ok(()) };
            let mut looked = match self.look(named, plain) {
                Err(cause) if is_damage(&cause) => {
                    error(named, &cause);
                    return Ok(());
                }
                looked => looked?,
            };
            if let Some(flaw) = looked.flaw {
                error(named, &flaw);
            }
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            read.known.extend(looked.known.map(|known| (short(&named.blob.id), known)));
            read.named.append(&mut looked.named);
            Ok(())
        })?;
        for (number, cause) in failed {
            if let Some(named) = sought.get(number) {
                error(named, &cause.within(format!("chunk list {}", named.blob.id)));
            }
        }
        Ok(read.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decodes a list; looks up its chunks, or notes the lists that it names.
    fn look(&self, named: &Named, plain: &[u8]) -> Result<Looked> {
        let id = named.blob.id;
        let refused =
            |flaw: Error| Ok(Looked { flaw: Some(flaw.within(format!("chunk list {id}"))), ..Looked::default() });
        let list = match ChunkList::decode(plain) {
            Ok(list) => list,
            Err(flaw) => return refused(flaw),
        };
        let (Some(len), Ok(raw_len), false) = (list.len(), u32::try_from(plain.len()), list.is_empty()) else {
            return refused(Error::corrupt("not one that a writer makes"));
        };
        let mut looked = Looked { known: Some(Known { depth: list.depth, raw_len, len }), ..Looked::default() };
        for item in &list.chunks {
            if let Some(depth) = list.depth.checked_sub(1) {
                let blob = BlobRef { id: item.id, raw_len: 0 };
                looked.named.push(Named { blob, depth, len: item.len, file: named.file });
                continue;
            }
            let blob = BlobRef { id: item.id, raw_len: u32::try_from(item.len).unwrap_or(u32::MAX) };
            if let Some(flaw) = self.blobs.flaw(self.context.session, &blob)? {
                looked.flaw = Some(Error::corrupt(flaw));
                break;
            }
        }
        Ok(looked)
    }
}

impl Named {
    fn fits(&self, known: &Known) -> bool {
        known.depth == self.depth
            && (self.len == 0 || self.len == known.len)
            && (self.blob.raw_len == 0 || self.blob.raw_len == known.raw_len)
    }
}

impl BigFile {
    fn error(&self, context: &Context<'_>, error: &Error) {
        file_error(context, self.snapshot, &self.path, error);
    }
}

fn short(id: &BlobId) -> Short {
    id.as_bytes().first_chunk().copied().unwrap_or_default()
}
