//! Marks: what a prune noted of the pages that it read, so that the next one need not read them again. Spec: `docs/format.md` section 11.
//!
//! A mark says which blobs a page names. Pages and snapshots never change, so a mark of one is true for ever, whoever wrote it and whatever became of the
//! rest: any of these objects may be missing, and there may be several marks of a page. What has none is read.
//!
//! Memory: an object is at most 1 MiB; four are read at once.

use futures::future::join_all;

use crate::catalog::wire::{Reader, put_len};
use crate::crypto::{HEADER_LEN, ObjectKind, ObjectWriter, Opener, Part};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;
use crate::limits::OBJECT_MAX;

use super::repository::Io;
use super::session::Session;
use super::snapshot_names::SnapshotName;

pub(super) const PREFIX: &str = "state/marks/";
/// The first byte of an object's content.
const LAYOUT: u8 = 1;
/// Objects that are in memory at once.
const READ_AT_ONCE: usize = 4;
/// The bit of `form` that says that a snapshot names the one before it.
const HAS_PREV: u8 = 0x80;
const SNAPSHOT: u8 = 0x40;
const LIST: u8 = 0x20;
/// The bits of `form` that hold the level of a page, or the depth of a list.
const LEVEL: u8 = 0x0f;

/// The first half of the id of a page, or of the hash of a snapshot's key: no two have the same.
pub type Half = [u8; 16];
/// The first bytes of a blob's id, by which a prune tells blobs apart.
pub type Key = [u8; 6];

/// Which objects a mark lies in. Marks of what names pages are needed all at once, the others one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Snapshots, inner pages, and lists of lists.
    Branch = 0,
    /// Leaf pages.
    Leaf = 1,
    /// Lists of chunks.
    List = 2,
}

/// What is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A snapshot whose root is a page of this level, and the snapshot before it.
    Snapshot(u8, Option<SessionId>),
    /// A page of this level; 0 is a leaf.
    Page(u8),
    /// A chunk list of this depth.
    List(u8),
}

/// What a page, a list or a snapshot names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of which.
    pub id: Half,
    /// What that is.
    pub form: Form,
    /// The data blobs that it names.
    pub keys: Vec<Key>,
    /// The pages or lists that it names.
    pub below: Vec<Half>,
}

/// An object that holds marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarksObject {
    /// Its key.
    pub key: String,
    /// Of which marks.
    pub rank: Rank,
    /// Its length in bytes.
    pub size: u64,
}

impl Mark {
    /// Where it belongs.
    pub const fn rank(&self) -> Rank {
        match self.form {
            Form::Page(0) => Rank::Leaf,
            Form::List(0) => Rank::List,
            Form::Snapshot(..) | Form::Page(_) | Form::List(_) => Rank::Branch,
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id);
        match self.form {
            Form::Snapshot(level, None) => out.push(SNAPSHOT | level),
            Form::Snapshot(level, Some(prev)) => {
                out.push(HAS_PREV | SNAPSHOT | level);
                out.extend_from_slice(prev.as_bytes());
            }
            Form::Page(level) => out.push(level),
            Form::List(depth) => out.push(LIST | depth),
        }
        put_len(out, self.keys.len());
        put_len(out, self.below.len());
        out.extend_from_slice(self.keys.as_flattened());
        out.extend_from_slice(self.below.as_flattened());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let id = reader.array()?;
        let form = reader.u8()?;
        let level = form & LEVEL;
        let form = match form & !LEVEL {
            0 => Form::Page(level),
            LIST => Form::List(level),
            SNAPSHOT => Form::Snapshot(level, None),
            both if both == SNAPSHOT | HAS_PREV => Form::Snapshot(level, Some(SessionId::new(reader.array()?))),
            _ => return Err(Error::corrupt("a mark of an unknown form")),
        };
        let keys = reader.count(size_of::<Key>(), "keys")?;
        let below = reader.count(size_of::<Half>(), "pages")?;
        let keys = chunks(reader.take(keys * size_of::<Key>())?);
        let below = chunks(reader.take(below.saturating_mul(size_of::<Half>()))?);
        Ok(Self { id, form, keys, below })
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> Vec<[u8; N]> {
    bytes.as_chunks().0.to_vec()
}

/// Under which id a snapshot is marked. Its key holds the hash of its bytes.
pub fn half_of(snapshot: &SnapshotName) -> Half {
    blake3::hash(snapshot.key().as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Whether a name in `state/marks/` is one of ours: `<session>-<rank>-<number>`.
pub(super) fn rank_of(name: &str) -> Option<Rank> {
    let mut parts = name.split('-');
    parts.next()?.parse::<SessionId>().ok()?;
    let rank = match parts.next()? {
        "0" => Rank::Branch,
        "1" => Rank::Leaf,
        "2" => Rank::List,
        _ => return None,
    };
    parts.next()?.parse::<u32>().ok()?;
    parts.next().is_none().then_some(rank)
}

impl Session<'_> {
    /// Reads these objects, and hands what each holds to `each`, in their order: `None` for one that is gone or damaged. One GET each.
    ///
    /// # Errors
    /// Those of the store, and those of `each`.
    pub fn read_marks(
        &self,
        objects: &[MarksObject],
        each: &mut dyn FnMut(&MarksObject, Option<Vec<Mark>>) -> Result<()>,
    ) -> Result<()> {
        let io = self.repo().io();
        for objects in objects.chunks(READ_AT_ONCE) {
            let fetched = io.block(join_all(objects.iter().map(|object| io.store.get(&object.key, OBJECT_MAX))));
            for (object, bytes) in objects.iter().zip(fetched) {
                let marks = match bytes.and_then(|bytes| open(io, &object.key, &bytes)) {
                    Ok(marks) => Some(marks),
                    Err(error) if is_lost(&error) => None,
                    Err(error) => return Err(error.within("read the marks of earlier prunes")),
                };
                each(object, marks)?;
            }
        }
        Ok(())
    }

    /// Stores encoded marks of one rank: one PUT. `number` tells objects of this session apart.
    pub fn store_marks(&self, rank: Rank, number: u32, marks: &[u8]) -> Result<()> {
        let io = self.repo().io();
        let key = format!("{PREFIX}{}-{}-{number}", self.id(), rank as u8);
        let mut writer = ObjectWriter::new(&io.keys, ObjectKind::Marks, HEADER_LEN + marks.len() + 64)?;
        let content = [&[LAYOUT], marks].concat();
        writer.append(&Part::Small { key: &key }, &content)?;
        io.block(io.store.put(&key, writer.finish().bytes.into()))
    }
}

/// The marks in the object at `key`.
///
/// # Errors
/// `Corrupt` (or `Unsupported`), naming the object.
pub(super) fn open(io: &Io, key: &str, bytes: &[u8]) -> Result<Vec<Mark>> {
    let open = || -> Result<Vec<Mark>> {
        let opener = Opener::from_header(&io.keys, ObjectKind::Marks, bytes)?;
        let sealed = bytes.get(HEADER_LEN..).ok_or_else(|| Error::corrupt("object is shorter than its header"))?;
        decode_all(&opener.open(&Part::Small { key }, HEADER_LEN as u64, sealed)?)
    };
    open().map_err(|error| error.within(format!("open {key}")))
}

fn decode_all(content: &[u8]) -> Result<Vec<Mark>> {
    let mut reader = Reader::new(content);
    if reader.u8()? != LAYOUT {
        return Err(Error::new(ErrorKind::Unsupported, "marks of another layout"));
    }
    let mut marks = Vec::new();
    while !reader.is_empty() {
        marks.push(Mark::decode(&mut reader)?);
    }
    Ok(marks)
}

fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form() -> impl Strategy<Value = Form> {
        let prev = prop::option::of(any::<[u8; 16]>().prop_map(SessionId::new));
        prop_oneof![
            (0u8..16, prev).prop_map(|(level, prev)| Form::Snapshot(level, prev)),
            (0u8..16).prop_map(Form::Page),
            (0u8..16).prop_map(Form::List),
        ]
    }

    fn mark() -> impl Strategy<Value = Mark> {
        let keys = prop::collection::vec(any::<Key>(), 0..40);
        let below = prop::collection::vec(any::<Half>(), 0..40);
        (any::<Half>(), form(), keys, below).prop_map(|(id, form, keys, below)| Mark { id, form, keys, below })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(marks in prop::collection::vec(mark(), 0..12)) {
            let mut content = vec![LAYOUT];
            marks.iter().for_each(|mark| mark.encode(&mut content));
            prop_assert_eq!(decode_all(&content).unwrap(), marks);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300, one in mark()) {
            let _ = decode_all(&bytes);
            let mut content = vec![LAYOUT];
            one.encode(&mut content);
            let cut = cut.min(content.len() - 1);
            // A mark that is cut off is none, wherever it is cut.
            prop_assert_eq!(decode_all(&content[..cut]).is_ok(), cut == 1);
        }
    }

    #[test]
    fn only_our_names_are_read() {
        let session = SessionId::new([7; 16]);
        assert_eq!(rank_of(&format!("{session}-0-0")), Some(Rank::Branch));
        assert_eq!(rank_of(&format!("{session}-2-17")), Some(Rank::List));
        for name in ["", "x-0-0", &format!("{session}-3-0"), &format!("{session}-1"), &format!("{session}-1-2-3")] {
            assert_eq!(rank_of(name), None, "{name}");
        }
    }
}
