//! Publishes a generation. Order of writes: whatever the new generation names is stored before (by the jobs); the delta; the base, if one
//! is due; the swap of the root, which is the moment; its copy in the history, which so holds only what was published; and then what nobody needs any
//! more is deleted. A push that is cut off before the swap has published nothing, and one that is cut off after it has left only objects that
//! the next push deletes: the claim says so.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::catalog::Entry;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::storage::{Attributes, Condition, Location, Patience, Pin, Store};

use super::super::destination::Destination;
use super::super::facl::{FACL, HEAD, MARK, Record};
use super::super::key::path_of_key;
use super::super::layout::{LINK_END, ROOT, root_key};
use super::super::manifest::store_segment;
use super::super::merge::{Entries, Merge};
use super::super::root::{Flags, ROOT_MAX, Root};
use super::super::segment::{SegmentReader, SegmentRef, SegmentWriter, Written};
use super::budget::Budget;
use super::delta::part_size;
use super::hold::Hold;
use super::last::{Base, Last};
use super::options::PushOptions;
use super::parts::Outgoing;
use super::pipeline::Delta;
use super::shared::Shared;

/// Keys deleted by one request, where the store can.
const DELETES: usize = 1000;
/// Attempts for them.
const DELETE_TRIES: u32 = 4;

/// Bytes of a file of our own that are read at once.
const COPY: usize = 256 << 10;

/// What was published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) root: Root,
    pub(super) text: Vec<u8>,
    pub(super) pin: Pin,
    /// All entries, if a file of them was made.
    pub(super) manifest: Option<Written>,
}

/// What is published, and by whom.
pub(super) struct Publishing<'a> {
    pub(super) destination: &'a Destination,
    pub(super) options: &'a PushOptions,
    pub(super) hold: &'a Hold<'a>,
    pub(super) base: &'a Base,
    /// When the source was begun to be read.
    pub(super) begin: DateTime<Utc>,
    pub(super) budget: Budget<'a>,
}

impl Publishing<'_> {
    /// See the module. `keeps` says that a file of all entries is wanted in any case.
    pub(super) fn publish(&self, delta: &Delta, keeps: bool) -> Result<Published> {
        self.hold.ensure()?;
        let places = &self.destination.places;
        store_segment(places, &delta.written)?;
        // Not the time of the swap: what the source changed after this may not be in the generation.
        let begin = self.begin;
        let (mut root, manifest) = match self.base {
            Base::Nothing | Base::Ruins(_) => {
                let base = delta.written.at(self.base.next());
                (Root::first(base, self.hold.pusher(), begin, delta.totals), Some(delta.written.clone()))
            }
            Base::Last(last) => {
                let generation = last.root.generation + 1;
                let wants_base = last.root.wants_base(delta.written.size);
                let manifest = (wants_base || keeps).then(|| self.merge(last, &delta.written)).transpose()?;
                if manifest.as_ref().is_some_and(|manifest| manifest.entries != delta.totals.entries) {
                    // No reader would ever take such a generation.
                    return Err(Error::bug("the entries of the new generation are not as many as were counted"));
                }
                let base = manifest.as_ref().filter(|_| wants_base);
                base.map_or(Ok(()), |base| store_segment(places, base))?;
                let base: Option<SegmentRef> = base.map(|base| base.at(generation));
                (last.root.next(&last.text, delta.written.at(generation), base)?, manifest)
            }
        };
        if let Base::Ruins(ruins) = self.base {
            root.parent = Some(ruins.parent);
        }
        root.pusher = self.hold.pusher();
        root.time = begin;
        root.totals = delta.totals;
        let packs = self.options.pack_small.is_some() || self.base.last().is_some_and(|last| last.root.flags.packs);
        root.flags = Flags { facl: self.options.facl, packs };
        let text = root.encode()?;
        let pin = self.swap(&text)?;
        let (key, bytes) = (root_key(root.generation), Bytes::from(text.clone()));
        places.block(places.control.put_with(&key, bytes, &root_attributes(), Condition::Any))?;
        Ok(Published { root, text, pin, manifest })
    }

    /// All entries of the generation that was published, without the store.
    pub(super) fn entries(&self, delta: &Delta, published: &Published) -> Result<Entries> {
        let generation = published.root.generation;
        let of = |written: &Written| SegmentReader::of_file(&written.path, &written.at(generation));
        Ok(Merge::of(match (&published.manifest, self.base.last()) {
            (Some(manifest), _) => vec![of(manifest)?],
            (None, Some(last)) => vec![last.reader()?, of(&delta.written)?],
            (None, None) => vec![of(&delta.written)?],
        })
        .entries())
    }

    /// All entries of the new generation, in a local file.
    fn merge(&self, last: &Last, delta: &Written) -> Result<Written> {
        let delta = SegmentReader::of_file(&delta.path, &delta.at(last.root.generation + 1))?;
        let path = self.hold.memory(|memory| Ok(memory.file("next")))?;
        let mut writer = SegmentWriter::create(&path)?;
        for entry in Merge::of(vec![last.reader()?, delta]).entries() {
            writer.put(&entry?)?;
        }
        writer.finish()
    }

    /// The moment of publication.
    fn swap(&self, text: &[u8]) -> Result<Pin> {
        let places = &self.destination.places;
        let attributes = root_attributes();
        let wanted = self.base.pin().map_or(Condition::New, Condition::Match);
        let condition = self.hold.ensure()?.allow(wanted);
        if condition == Condition::Any {
            self.hold.check()?;
        }
        match places.block(places.control.put_with(ROOT, Bytes::copy_from_slice(text), &attributes, condition)) {
            Err(error) if error.kind() == ErrorKind::Changed => Err(overtaken().with_source(error)),
            Err(error) => match places.block(places.control.get_with_pin(ROOT, ROOT_MAX)) {
                // The answer was lost, and the root is ours: it is published.
                Ok((there, pin)) if there == text => Ok(pin),
                _ => Err(error),
            },
            answer => answer,
        }
    }

    /// Writes `permissions.facl` for movers that know nothing of manifests. It is in no manifest, and no pull of ours reads it.
    /// [`MARK`] and [`HEAD`] say that it is ours.
    pub(super) fn write_permissions(
        &self,
        entries: impl Iterator<Item = Result<Entry>>,
        generation: u64,
    ) -> Result<()> {
        let path = self.hold.memory(|memory| Ok(memory.file("facl")))?;
        let said = || format!("write {}", path.display());
        let mut file = BufWriter::new(File::create(&path).attempt(said)?);
        writeln!(file, "{HEAD}{generation}").attempt(said)?;
        for entry in entries {
            if let Some(record) = Record::of(&entry?)? {
                record.write("data", &mut file).attempt(said)?;
            }
        }
        let size =
            file.into_inner().map_err(std::io::IntoInnerError::into_error).attempt(said)?.metadata().attempt(said)?;
        self.hold.ensure()?;
        let places = &self.destination.places;
        let more = vec![(MARK.to_owned(), generation.to_string())];
        let attributes = Attributes { more, ..Attributes::default() };
        let mut file = File::open(&path).attempt(said)?;
        let mut buffer = vec![0; COPY];
        let sizes = (size.len(), part_size(size.len()));
        let mut out = Outgoing::begin(places, &self.budget, (FACL, &attributes), sizes)?;
        loop {
            let read = file.read(&mut buffer).attempt(said)?;
            match buffer.get(..read) {
                None | Some([]) => break,
                Some(bytes) => out.add(bytes)?,
            }
        }
        out.finish(Condition::Any).map(drop)
    }

    /// Deletes the objects of entries that went. A link and a file may have had the same key in turn: whoever is there now keeps it.
    pub(super) fn delete_gone<'k>(&self, keys: impl Iterator<Item = &'k String>, shared: &Shared<'_>) -> Result<()> {
        let is_taken = |key: &String| {
            let Some(link) = key.strip_suffix(LINK_END) else { return false };
            let is_there = |key: &str, is_wanted: fn(&std::fs::Metadata) -> bool| {
                let path = path_of_key(key).map(|path| shared.source.join(path.as_os_str()));
                path.is_ok_and(|path| std::fs::symlink_metadata(path).is_ok_and(|meta| is_wanted(&meta)))
            };
            is_there(key, std::fs::Metadata::is_file) || is_there(link, std::fs::Metadata::is_symlink)
        };
        self.delete(keys.filter(|key| !is_taken(key)))
    }

    /// Deletes what the new generation does not name. What stays is found by the next push.
    pub(super) fn delete<'k>(&self, keys: impl IntoIterator<Item = &'k String>) -> Result<()> {
        self.delete_from(&self.destination.places.data, keys)
    }

    /// Somebody who took us for dead may need what we delete. So the claim is looked at before each attempt, and no attempt lasts longer than
    /// the claim would live without us.
    pub(super) fn delete_from<'k>(&self, store: &Store, keys: impl IntoIterator<Item = &'k String>) -> Result<()> {
        let places = &self.destination.places;
        // A call to the kernel cannot be taken back, and is not repeated either.
        let is_local = matches!(store.location(), Location::Local(_));
        let store = if is_local { store.clone() } else { store.in_own_lane(short_patience()) };
        let mut keys = keys.into_iter().cloned().peekable();
        while keys.peek().is_some() {
            let some: Vec<String> = keys.by_ref().take(DELETES).collect();
            for tries in 1.. {
                self.hold.ensure()?;
                match places.block(store.delete_many(some.clone())) {
                    Err(error) if error.kind() == ErrorKind::Unavailable && tries < DELETE_TRIES => {}
                    outcome => {
                        outcome?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a root is stored with: caches must not keep it.
pub(super) fn root_attributes() -> Attributes {
    Attributes { content_type: Some("application/json".to_owned()), no_cache: true, ..Attributes::default() }
}

/// Less than 20 seconds in all: a claim that was fresh before is not dead after it.
fn short_patience() -> Patience {
    Patience { answer: Duration::from_secs(15), total: Duration::from_secs(4), ..Patience::default() }
}

fn overtaken() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "another push has published this mirror meanwhile; nothing of ours was published",
    )
    .with_hint("only one source should push to a mirror; run the push again")
}
