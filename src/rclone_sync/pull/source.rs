//! The mirror's side: which generation there is, its entries, and what is remembered of it.

use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use crate::catalog::Entry;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::storage::{Pin, Store};

use super::super::layout::{ROOT, root_key};
use super::super::root::ROOT_MAX;
use super::super::segment::{SegmentReader, SegmentWriter, Written};
use super::super::state::SEEN;
use super::super::{Destination, Merge, Places, Root, State, manifest};
use super::options::PullOptions;
use super::seen::{Seen, SeenWriter};
use super::survey::Entries;

/// A generation that the store has.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub(super) root: Root,
    text: Vec<u8>,
    pin: Pin,
}

/// The newest generation, if it is another than the one whose root was `seen`.
///
/// # Errors
/// `NotFound` when nothing was ever pushed there.
pub(super) fn newest(places: &Places, seen: Option<&Pin>) -> Result<Option<Generation>> {
    let answer = places.block(async {
        match seen {
            Some(pin) => places.control.get_if_changed(ROOT, ROOT_MAX, pin).await,
            None => places.control.get_with_pin(ROOT, ROOT_MAX).await.map(Some),
        }
    });
    match answer {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(no_mirror(&places.control, error)),
        Err(error) => Err(error),
        Ok(None) => Ok(None),
        Ok(Some((text, pin))) => Generation::read(&text, pin).map(Some),
    }
}

/// An earlier generation.
pub(super) fn numbered(places: &Places, number: u64) -> Result<Generation> {
    let said = || format!("read generation {number} of the mirror");
    let (text, pin) = places.block(places.control.get_with_pin(&root_key(number), ROOT_MAX)).attempt(said)?;
    let generation = Generation::read(&text, pin).attempt(said)?;
    if generation.root.generation == number {
        Ok(generation)
    } else {
        Err(Error::corrupt(said()).with_source("another generation stands at its name"))
    }
}

fn no_mirror(control: &Store, error: Error) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no mirror at {}", control.location()))
        .with_source(error)
        .with_hint("push to it first, or adopt what another program has put there")
}

impl Generation {
    fn read(text: &[u8], pin: Pin) -> Result<Self> {
        Ok(Self { root: Root::decode(text)?, text: text.to_vec(), pin })
    }

    pub(super) fn number(&self) -> u64 {
        self.root.generation
    }

    pub(super) fn pin(&self) -> &Pin {
        &self.pin
    }

    /// What no other generation has.
    pub(super) fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.text).as_bytes()
    }
}

/// What this machine remembers of the mirror. A pull without works, and fetches more.
pub(super) struct Memory {
    state: Option<State>,
}

impl Memory {
    /// What is remembered of this mirror and this target; with a state that cannot be had, nothing, and why.
    /// What is remembered was pulled with the same choice of files: with another one, the target may lack some. A choice by age is another
    /// one each time, and nothing is remembered of it.
    pub(super) fn open(source: &Destination, target: &Path, options: &PullOptions) -> (Self, Option<Error>) {
        let (Some(holder), Some(choice)) = (&source.state, choice(options)) else {
            return (Self { state: None }, None);
        };
        let target = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let key = format!("pull {} > {} ({})", source.places.control.place(), target.display(), choice);
        match State::open(holder, &key) {
            Ok(state) => (Self { state: Some(state) }, None),
            Err(error) => (Self { state: None }, Some(error)),
        }
    }

    /// The root that was seen last.
    pub(super) fn seen(&self) -> Option<Generation> {
        let kept = self.state.as_ref()?.kept()?;
        Some(Generation { root: kept.root.clone(), text: kept.text.clone(), pin: kept.pin.clone() })
    }

    /// The generation that was pulled last.
    pub(super) fn before(&self) -> Option<u64> {
        self.state.as_ref()?.kept().map(|kept| kept.root.generation)
    }

    /// All entries of `generation`: what is remembered, with the changes since; without memory the base and its changes.
    /// Nothing is certain before the last has come.
    pub(super) fn entries(&self, places: &Places, generation: &Generation) -> Entries<'static> {
        if let Some(state) = &self.state
            && let (Some(kept), Some(Ok(local))) = (state.kept(), state.manifest())
            && let Some(entries) = manifest::entries_onto(places, &generation.root, local, &kept.root)
        {
            return Box::new(entries);
        }
        Box::new(manifest::entries(places, &generation.root))
    }

    /// Whether what is remembered is this generation already.
    pub(super) fn has(&self, generation: &Generation) -> bool {
        self.state.as_ref().and_then(State::kept).is_some_and(|kept| kept.text == generation.text)
    }

    /// What was seen of the target under these circumstances.
    pub(super) fn sight(&self, circumstances: &[u8; 32]) -> Option<Seen> {
        let seen = Seen::open(&self.state.as_ref()?.file(SEEN))?;
        (seen.terms.circumstances == *circumstances).then_some(seen)
    }

    /// Where a run writes what it sees, in a file of its own.
    pub(super) fn notes(&self, name: &str) -> Result<Option<SeenWriter>> {
        self.state.as_ref().map(|state| SeenWriter::create(state.scratch_file(name))).transpose()
    }

    /// Keeps what was written there.
    pub(super) fn keep_sight(&mut self, written: &Path) -> Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        let moved = rustix::fs::renameat(CWD, written, CWD, state.file(SEEN)).map_err(std::io::Error::from);
        moved.attempt(|| "keep what was seen of the target".to_owned())
    }

    /// Where entries are copied to while they are read, to be remembered.
    pub(super) fn copy(&self) -> Result<Option<SegmentWriter>> {
        self.state.as_ref().map(|state| SegmentWriter::create(&state.scratch())).transpose()
    }

    /// Forgets the entries: they cannot be read.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.state.as_mut().map_or(Ok(()), State::forget)
    }

    /// Remembers a generation; `copy` holds all its entries.
    pub(super) fn save(&mut self, generation: &Generation, copy: Option<&Written>) -> Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        match copy {
            Some(written) => state.save(&generation.text, &generation.pin, written),
            None => state.seen_again(&generation.pin),
        }
    }
}

/// A digest of which files a pull is about, and which of them it leaves alone; none if they are others in each run.
fn choice(options: &PullOptions) -> Option<String> {
    let PullOptions { filter, update, ignore_existing, size_only, .. } = options;
    let text = format!("{} {update} {ignore_existing} {size_only}", filter.words()?);
    Some(blake3::hash(text.as_bytes()).to_hex().chars().take(16).collect())
}

/// Entries that are copied while they are read.
pub(super) struct Copied<'c> {
    pub(super) entries: Entries<'static>,
    pub(super) copy: Option<&'c mut SegmentWriter>,
}

impl Iterator for Copied<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        // A segment is gone because a newer root does not name it any more.
        let gone = |error: Error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::Changed, "read the manifest").with_source(error),
            _ => error,
        };
        let entry = self.entries.next()?;
        Some(entry.map_err(gone).and_then(|entry| {
            if let Some(copy) = &mut self.copy {
                copy.put(&entry)?;
            }
            Ok(entry)
        }))
    }
}

/// The entries of a copy that was finished.
pub(super) fn reread(copy: &Written, generation: u64) -> Result<Entries<'static>> {
    let path: PathBuf = copy.path.clone();
    Ok(Box::new(Merge::of(vec![SegmentReader::of_file(&path, &copy.at(generation))?]).entries()))
}
