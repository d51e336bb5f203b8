//! Big files: read once, cut into blocks, hashed and sent in parts, all in one pass; or, when the mirror has an older state of the file, read
//! once to find out what is new, and put together of the store's own bytes and those. Order of writes: the object, then its block list, which only
//! saves work; the manifest names both later.

use std::io::Read;
use std::sync::Arc;

use crate::catalog::{Content, Entry, Extent, FileNode, Node, StoredObject};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectHash;
use crate::storage::{Attributes, Condition, Pin};
use crate::volume::{SourceFile, Stat};

use super::super::blocks::{BLOCKS_OBJECT_MAX, Block, BlockList, Known, average_for, cut, cut_from};
use super::super::key::key_of;
use super::super::layout::blocks_key;
use super::super::memory::zeros;
use super::super::proof::Proof;
use super::delta::{Again, PIECE_MAX, Piece, part_size, pieces};
use super::holes::Holes;
use super::parts::Outgoing;
use super::read::{changed, steady};
use super::send::{Expected, Sender, Wanted, attributes, interrupted, pin_of, stored};
use super::together::Reader;

/// Attempts for a file that changes while it is read, and for an object that is another one each time.
const TRIES: u32 = 2;
/// Bytes read at once of a file that has no block list, or of a piece of one.
pub(super) const READ: usize = 256 << 10;

/// What one pass over a file found.
struct Passed {
    hash: ObjectHash,
    list: Option<BlockList>,
    /// Where its data lies, if it has holes.
    extents: Option<Vec<Extent>>,
}

/// How an attempt ended.
enum Attempt {
    Done(Content, Option<Vec<Extent>>),
    /// The file changed under us.
    Changed,
    /// The object at its key is another one than we were told.
    Replaced,
}

impl Sender<'_> {
    /// A file that is too big to be held in memory. None if it could not be read, which was told.
    pub(super) fn big(&self, wanted: &Wanted<'_>) -> Result<Option<Entry>> {
        let mut expected = wanted.expected.clone();
        let mut was_changed = false;
        for _ in 0..=TRIES {
            let file = match wanted.found.open() {
                Ok(file) => file,
                Err(error) => {
                    self.wants.pass_over(&wanted.found.path);
                    return Ok(self.unreadable(wanted, &error));
                }
            };
            match self.try_big(wanted, &file, &expected) {
                Ok(Attempt::Done(content, extents)) => {
                    self.is_under_its_key(&key_of(&wanted.found.path))?;
                    return Ok(Some(self.big_entry(wanted, &file, (content, extents))));
                }
                Ok(Attempt::Changed) if was_changed => return Ok(self.unreadable(wanted, &changed(wanted.found))),
                Ok(Attempt::Changed) => was_changed = true,
                Ok(Attempt::Replaced) => expected = self.look_at(&key_of(&wanted.found.path))?,
                Err(failed) => {
                    // It may not have come to reading it.
                    self.wants.pass_over(&wanted.found.path);
                    return match failed {
                        Failed::Source(error) => Ok(self.unreadable(wanted, &error)),
                        Failed::Store(error) => Err(error),
                    };
                }
            }
        }
        let text = format!("store {} in {}", key_of(&wanted.found.path), self.destination.places.data.location());
        Err(Error::new(ErrorKind::Changed, text).with_source("somebody else writes it all the time"))
    }

    fn unreadable(&self, wanted: &Wanted<'_>, error: &Error) -> Option<Entry> {
        self.shared.problem("push", &wanted.found.display(), error);
        None
    }

    fn try_big(&self, wanted: &Wanted<'_>, file: &SourceFile, expected: &Expected) -> Result<Attempt, Failed> {
        let before = file.stat().clone();
        let may_be_there = wanted.base.is_some_and(|(object, _)| object.blocks) || !self.moved.is_empty();
        if wanted.kept.is_none() && !may_be_there {
            return self.send_whole(wanted, file, expected);
        }
        // What another tool stored is known by its MD5 only.
        let kept = wanted.kept.and_then(|kept| match &kept.content {
            Content::Object(object) => Some(object),
            Content::Empty | Content::Bundle { .. } | Content::Chunks(_) | Content::Lists { .. } => None,
        });
        let mut proof = kept.filter(|object| object.hash.is_none()).map(|object| Proof::of(object));
        let passed = self.pass(wanted, file, &mut |bytes| {
            if let Some(proof) = &mut proof {
                proof.update(bytes);
            }
            Ok(())
        })?;
        if !is_steady(file, &before)? {
            return Ok(Attempt::Changed);
        }
        if let Some(object) = kept {
            if object.hash == Some(passed.hash) {
                return Ok(Attempt::Done(Content::Object(Arc::clone(object)), passed.extents));
            }
            if proof.and_then(Proof::finish) == Some(true) {
                return self.settled(passed, &pin_of(object)).map_err(Failed::Store);
            }
        }
        let key = key_of(&wanted.found.path);
        let renamed = self
            .rename(&key, &passed.hash, &attributes_at(&before), (before.mtime, before.size))
            .map_err(Failed::Store)?;
        if let Some(pin) = renamed {
            return self.settled(passed, &pin).map_err(Failed::Store);
        }
        // Only now: a file that was read to be sure costs no request.
        let plan = self.base(wanted).map_err(Failed::Store)?.and_then(|(object, old)| {
            let list = passed.list.as_ref()?;
            Some((object, pieces(&list.against(&Known::of(&old)), before.size)?))
        });
        if let Some((object, plan)) = plan {
            return self.send_pieces(wanted, file, (expected, passed), (&object, &plan));
        }
        let file = wanted.found.open().map_err(Failed::Source)?;
        self.send_whole(wanted, &file, expected)
    }

    /// The object of the last generation and its blocks, if the store can make parts of it.
    fn base(&self, wanted: &Wanted<'_>) -> Result<Option<(Arc<StoredObject>, BlockList)>> {
        let Some((object, size)) = wanted.base.filter(|(object, _)| object.blocks) else { return Ok(None) };
        if !self.hold.copies()?.parts {
            return Ok(None);
        }
        let places = &self.destination.places;
        // A list that is gone or damaged saves no work, that is all.
        let Some(hash) = &object.hash else { return Ok(None) };
        let bytes = places.block(places.control.get(&blocks_key(hash), BLOCKS_OBJECT_MAX));
        let list = bytes.ok().and_then(|bytes| BlockList::decode(&bytes, size).ok());
        Ok(list.map(|list| (Arc::clone(object), list)))
    }

    /// Reads the file to its end; `each` gets its bytes in order.
    fn pass(
        &self,
        wanted: &Wanted<'_>,
        file: &SourceFile,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Failed>,
    ) -> Result<Passed, Failed> {
        let mut failed = None;
        let mut hear = |bytes: &[u8]| {
            if self.shared.watch.stop.requested() {
                failed = Some(Failed::Store(interrupted()));
            } else if let Err(error) = each(bytes) {
                failed = Some(error);
            }
            if failed.is_some() { Err(Error::bug("a pass that was ended")) } else { Ok(()) }
        };
        let size = file.stat().size;
        let taken = average_for(size).map_or(READ as u64, cut_from);
        let _reading = self.budget.read(&wanted.found.path, taken, &self.wants).map_err(Failed::Store)?;
        let mut reader = self.shared.together.reader(&wanted.found.path, file, &self.wants).at_rate(&self.shared.rate);
        let mut holes = Holes::new(file.extents().ok().flatten());
        let passed = match average_for(size) {
            Some(average) => cut(&mut reader, average, &mut |_, _, bytes| {
                holes.see(bytes);
                hear(bytes)
            })
            .map(|cut| (cut.hash, Some(cut.list))),
            None => read_all(&mut reader, &mut |bytes| {
                holes.see(bytes);
                hear(bytes)
            })
            .map(|hash| (hash, None)),
        };
        match (failed, passed) {
            (Some(failed), _) => Err(failed),
            (None, Err(error)) => Err(Failed::Source(error)),
            (None, Ok((hash, list))) => Ok(Passed { hash, list, extents: holes.finish() }),
        }
    }

    fn send_whole(&self, wanted: &Wanted<'_>, file: &SourceFile, expected: &Expected) -> Result<Attempt, Failed> {
        let (before, key) = (file.stat().clone(), key_of(&wanted.found.path));
        self.hold.ensure().map_err(Failed::Store)?;
        let attributes = attributes_at(&before);
        let sizes = (before.size, part_size(before.size));
        let places = &self.destination.places;
        let mut out = Outgoing::begin(places, &self.budget, (&key, &attributes), sizes).map_err(Failed::Store)?;
        let mut read = 0;
        let passed = self.pass(wanted, file, &mut |bytes| {
            read += bytes.len() as u64;
            // More than was announced: it has grown, and the attempt is over.
            if read > before.size { Ok(()) } else { out.add(bytes).map_err(Failed::Store) }
        })?;
        if read != before.size || !is_steady(file, &before)? {
            return Ok(Attempt::Changed);
        }
        self.finish(out, expected, passed)
    }

    fn send_pieces(
        &self,
        wanted: &Wanted<'_>,
        file: &SourceFile,
        (expected, passed): (&Expected, Passed),
        (object, plan): (&StoredObject, &[Piece]),
    ) -> Result<Attempt, Failed> {
        let (before, key) = (file.stat().clone(), key_of(&wanted.found.path));
        self.hold.ensure().map_err(Failed::Store)?;
        let attributes = attributes_at(&before);
        let places = &self.destination.places;
        let sizes = (before.size, PIECE_MAX);
        let mut out = Outgoing::begin(places, &self.budget, (&key, &attributes), sizes).map_err(Failed::Store)?;
        let pin = pin_of(object);
        for piece in plan {
            let copied = piece.old.map(|old| out.copy(&key, old..old + piece.len, &pin));
            match copied {
                Some(Ok(())) => self.count_copied(piece.len),
                Some(Err(error)) if error.kind() == ErrorKind::Changed => return Ok(Attempt::Replaced),
                Some(Err(error)) if error.kind() == ErrorKind::Unsupported => {
                    drop(out);
                    let file = wanted.found.open().map_err(Failed::Source)?;
                    return self.send_whole(wanted, &file, expected);
                }
                Some(Err(error)) => return Err(Failed::Store(error)),
                None => {
                    let blocks = passed.list.as_ref().map(BlockList::blocks).unwrap_or_default();
                    if !self.send_piece(file, piece, blocks, &mut out)? {
                        return Ok(Attempt::Changed);
                    }
                }
            }
        }
        if !is_steady(file, &before)? {
            return Ok(Attempt::Changed);
        }
        self.finish(out, expected, passed)
    }

    fn finish(&self, out: Outgoing<'_>, expected: &Expected, passed: Passed) -> Result<Attempt, Failed> {
        let abilities = self.hold.ensure().map_err(Failed::Store)?;
        let condition: Condition<'_> = abilities.allow(expected.condition());
        match out.finish(condition) {
            Ok((pin, sent)) => {
                self.count(sent);
                self.settled(passed, &pin).map_err(Failed::Store)
            }
            Err(error) if error.kind() == ErrorKind::Changed => Ok(Attempt::Replaced),
            Err(error) => Err(Failed::Store(error)),
        }
    }

    /// The object is there; its block list comes with it.
    fn settled(&self, passed: Passed, pin: &Pin) -> Result<Attempt> {
        let places = &self.destination.places;
        if let Some(list) = &passed.list {
            places.block(places.control.put(&blocks_key(&passed.hash), list.encode()?.into()))?;
        }
        let object = stored(&self.destination.name, passed.hash, pin, passed.list.is_some())?;
        Ok(Attempt::Done(Content::Object(Arc::new(object)), passed.extents))
    }

    fn big_entry(
        &self,
        wanted: &Wanted<'_>,
        file: &SourceFile,
        (content, extents): (Content, Option<Vec<Extent>>),
    ) -> Entry {
        let found = wanted.found;
        let (xattrs, problem) = file.xattrs();
        if let Some(error) = problem {
            self.shared.problem("push", &format!("{} (attributes)", found.display()), &error);
        }
        let meta = steady(self.shared.names.metadata(file.stat(), xattrs));
        let node = FileNode { size: file.stat().size, content, extents, incomplete: false };
        let link = wanted.link.map(|link| link.group);
        Entry { path: found.path.clone(), meta, node: Node::File(node), link }
    }

    /// Sends the bytes of a piece as one part. `false` if they are not those that were hashed: a writer need not leave a trace in the time of the file.
    fn send_piece(
        &self,
        file: &SourceFile,
        piece: &Piece,
        blocks: &[Block],
        out: &mut Outgoing<'_>,
    ) -> Result<bool, Failed> {
        let mut again = Again::of(piece, blocks);
        let mut buffer = zeros(READ);
        let mut left = piece.len;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(READ).min(READ);
            let read = file
                .read_at(buffer.get_mut(..most).unwrap_or_default(), piece.at + (piece.len - left))
                .map_err(Failed::Source)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            self.shared.rate.read(read as u64);
            if bytes.is_empty() || !again.see(bytes) {
                return Ok(false);
            }
            out.add(bytes).map_err(Failed::Store)?;
            left -= read as u64;
        }
        out.end_part().map_err(Failed::Store)?;
        Ok(true)
    }
}

/// Whose fault it is: the source's costs a file, the store's the push.
enum Failed {
    Source(Error),
    Store(Error),
}

fn is_steady(file: &SourceFile, before: &Stat) -> Result<bool, Failed> {
    file.stat_now().map(|now| before.same_content(&now)).map_err(Failed::Source)
}

/// A file that is too big for a block list.
fn read_all(file: &mut Reader<'_>, hear: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<ObjectHash> {
    let (mut buffer, mut hasher) = (zeros(READ), blake3::Hasher::new());
    loop {
        let read =
            file.read(&mut buffer).map_err(|cause| Error::new(ErrorKind::Local, "read it").with_source(cause))?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(ObjectHash::new(*hasher.finalize().as_bytes()));
        }
        hasher.update(bytes);
        hear(bytes)?;
    }
}

fn attributes_at(stat: &Stat) -> Attributes {
    attributes(stat.mtime, stat.mode, (stat.uid, stat.gid))
}
