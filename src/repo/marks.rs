//! Marks: what a prune noted of the pages that it read, so that the next one need not read them again. Spec: `docs/format.md` section 11.
//!
//! A mark says which blobs a page names. Pages and snapshots never change, so a mark of one is true for ever, whoever wrote it and whatever became of the
//! rest: any of these objects may be missing, and there may be several marks of a page.
//!
//! Memory: an object is at most 1 MiB, and usually half of that; four are read at once.

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
/// The highest level of a page, and the greatest depth of a list.
const LEVEL_MAX: u8 = 8;
const DEPTH_MAX: u8 = 4;

/// The first half of the id of a page, or of the hash of a snapshot's key: no two have the same.
pub type Half = [u8; 16];
/// The first bytes of a blob's id, by which a prune tells blobs apart.
pub type Key = [u8; 6];

/// Which objects a mark lies in. What names others has a lower rank than these, so who reads the objects by rank knows what is needed before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u8);

impl Rank {
    /// Snapshots.
    pub const SNAPSHOT: Self = Self(0);
    const LEAF: u8 = 9;
    const CHUNKS: u8 = 15;

    /// Pages of each level, the highest first.
    pub fn of_pages() -> impl Iterator<Item = Self> {
        (1..=Self::LEAF).map(Self)
    }

    /// Chunk lists of each depth, the greatest first.
    pub fn of_lists() -> impl Iterator<Item = Self> {
        (Self::LEAF + 1..=Self::CHUNKS).map(Self)
    }
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

impl Form {
    /// Where marks of this form belong.
    pub const fn rank(self) -> Rank {
        match self {
            Self::Snapshot(..) => Rank::SNAPSHOT,
            Self::Page(level) => Rank(Rank::LEAF.saturating_sub(level)),
            Self::List(depth) => Rank(Rank::CHUNKS.saturating_sub(depth)),
        }
    }

    const fn is_known(self) -> bool {
        match self {
            Self::Snapshot(level, _) => level > 0 && level <= LEVEL_MAX,
            Self::Page(level) => level <= LEVEL_MAX,
            Self::List(depth) => depth <= DEPTH_MAX,
        }
    }
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

/// Hears what an object holds, or why that cannot be told.
pub type TakeMarks<'t> = dyn FnMut(&MarksObject, Result<Vec<Mark>>) -> Result<()> + 't;

impl Mark {
    /// Where it belongs.
    pub const fn rank(&self) -> Rank {
        self.form.rank()
    }

    /// What it names, as a prune tells blobs apart: of the pages and lists the first bytes.
    pub fn named(&self) -> impl Iterator<Item = Key> {
        let below = self.below.iter().map(|half| half.first_chunk().copied().unwrap_or_default());
        self.keys.iter().copied().chain(below)
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
        let has_keys = matches!(form, Form::Page(0) | Form::List(0));
        let keys = reader.count(size_of::<Key>(), "keys")?;
        if !form.is_known() || keys > 0 && !has_keys {
            return Err(Error::corrupt("a mark that no page has"));
        }
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
    let rank = parts.next()?.parse::<u8>().ok().filter(|rank| *rank <= Rank::CHUNKS)?;
    parts.next()?.parse::<u32>().ok()?;
    parts.next().is_none().then_some(Rank(rank))
}

impl Session<'_> {
    /// Reads these objects, and hands what each holds to `each`, in their order; an error for one that is gone, damaged, or of another layout. One GET each.
    ///
    /// # Errors
    /// Those of the store, and those of `each`.
    pub fn read_marks(&self, objects: &[MarksObject], each: &mut TakeMarks<'_>) -> Result<()> {
        let io = self.repo().io();
        for objects in objects.chunks(READ_AT_ONCE) {
            let fetched = io.block(join_all(objects.iter().map(|object| io.store.get(&object.key, OBJECT_MAX))));
            for (object, bytes) in objects.iter().zip(fetched) {
                match bytes.and_then(|bytes| open(io, &object.key, &bytes)) {
                    Err(error) if !is_lost(&error) => return Err(error.within("read the marks of earlier prunes")),
                    marks => each(object, marks)?,
                }
            }
        }
        Ok(())
    }

    /// Stores encoded marks of one rank: one PUT. `number` tells objects of this session apart. Returns the object's key.
    ///
    /// # Errors
    /// `Bug` when they are longer than an object may be, and those of the store.
    pub fn store_marks(&self, rank: Rank, number: u32, marks: &[u8]) -> Result<String> {
        let io = self.repo().io();
        let key = format!("{PREFIX}{}-{}-{number}", self.id(), rank.0);
        let mut writer = ObjectWriter::new(&io.keys, ObjectKind::Marks, HEADER_LEN + marks.len() + 64)?;
        let content = [&[LAYOUT], marks].concat();
        writer.append(&Part::Small { key: &key }, &content)?;
        let sealed = writer.finish();
        if sealed.bytes.len() as u64 > OBJECT_MAX {
            return Err(Error::bug("marks that are longer than an object may be"));
        }
        io.block(io.store.put(&key, sealed.bytes.into()))?;
        Ok(key)
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
        let rank = key.strip_prefix(PREFIX).and_then(rank_of);
        decode_all(&opener.open(&Part::Small { key }, HEADER_LEN as u64, sealed)?, rank)
    };
    open().map_err(|error| error.within(format!("open {key}")))
}

/// Marks of this rank; with `None`, of any.
fn decode_all(content: &[u8], rank: Option<Rank>) -> Result<Vec<Mark>> {
    let mut reader = Reader::new(content);
    if reader.u8()? != LAYOUT {
        return Err(Error::new(ErrorKind::Unsupported, "marks of another layout"));
    }
    let mut marks = Vec::new();
    while !reader.is_empty() {
        let mark = Mark::decode(&mut reader)?;
        if rank.is_some_and(|rank| rank != mark.rank()) {
            return Err(Error::corrupt("a mark that belongs elsewhere"));
        }
        marks.push(mark);
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
            (1u8..=8, prev).prop_map(|(level, prev)| Form::Snapshot(level, prev)),
            (0u8..=8).prop_map(Form::Page),
            (0u8..=4).prop_map(Form::List),
        ]
    }

    fn mark() -> impl Strategy<Value = Mark> {
        let keys = prop::collection::vec(any::<Key>(), 0..40);
        let below = prop::collection::vec(any::<Half>(), 0..40);
        (any::<Half>(), form(), keys, below).prop_map(|(id, form, keys, below)| {
            let keys = if matches!(form, Form::Page(0) | Form::List(0)) { keys } else { Vec::new() };
            Mark { id, form, keys, below }
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(marks in prop::collection::vec(mark(), 0..12)) {
            let mut content = vec![LAYOUT];
            for mark in &marks {
                mark.encode(&mut content);
            }
            prop_assert_eq!(decode_all(&content, None).unwrap(), marks);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300, one in mark()) {
            let _ = decode_all(&bytes, None);
            let mut content = vec![LAYOUT];
            one.encode(&mut content);
            let cut = cut.min(content.len() - 1);
            // A mark that is cut off is none, wherever it is cut.
            prop_assert_eq!(decode_all(&content[..cut], None).is_ok(), cut == 1);
        }
    }

    #[test]
    fn what_names_others_comes_before_them() {
        let ranks: Vec<Rank> = [Rank::SNAPSHOT].into_iter().chain(Rank::of_pages()).chain(Rank::of_lists()).collect();
        assert!(ranks.is_sorted());
        let pages = (0..=LEVEL_MAX).rev().map(|level| Form::Page(level).rank());
        assert_eq!(pages.collect::<Vec<_>>(), Rank::of_pages().collect::<Vec<_>>());
        let lists: Vec<Rank> = (0..=DEPTH_MAX).rev().map(|depth| Form::List(depth).rank()).collect();
        assert!(lists.is_sorted() && lists.iter().all(|rank| Rank::of_lists().any(|other| other == *rank)));
    }

    #[test]
    fn a_mark_among_those_of_another_rank_or_with_keys_that_it_cannot_have_is_refused() {
        let mut content = vec![LAYOUT];
        Mark { id: [1; 16], form: Form::Page(0), keys: vec![[2; 6]], below: Vec::new() }.encode(&mut content);
        assert!(decode_all(&content, Some(Form::Page(0).rank())).is_ok());
        assert!(decode_all(&content, Some(Form::Page(1).rank())).is_err());
        let mut content = vec![LAYOUT];
        Mark { id: [1; 16], form: Form::Page(1), keys: vec![[2; 6]], below: Vec::new() }.encode(&mut content);
        assert!(decode_all(&content, None).is_err());
    }

    #[test]
    fn only_our_names_are_read() {
        let session = SessionId::new([7; 16]);
        assert_eq!(rank_of(&format!("{session}-0-0")), Some(Rank::SNAPSHOT));
        assert_eq!(rank_of(&format!("{session}-15-17")), Some(Form::List(0).rank()));
        for name in ["", "x-0-0", &format!("{session}-16-0"), &format!("{session}-1"), &format!("{session}-1-2-3")] {
            assert_eq!(rank_of(name), None, "{name}");
        }
    }
}
