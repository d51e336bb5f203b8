//! The last generation of a destination: its root, and all its entries in a local file.

use std::path::{Path, PathBuf};

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::id::ObjectHash;
use crate::storage::{Location, Pin};

use super::super::destination::{Destination, Means};
use super::super::layout::{Places, ROOT, ROOTS};
use super::super::manifest::{entries, entries_onto};
use super::super::merge::{Entries, Merge};
use super::super::root::{ROOT_MAX, Root};
use super::super::scratch::Scratch;
use super::super::segment::{SegmentReader, SegmentRef, SegmentWriter, Written};
use super::super::state::State;
use super::survey::OldEntries;

/// What is remembered of a destination between runs, and where this run may write files of its own.
#[derive(Debug)]
pub(super) struct Memory {
    state: Option<State>,
    dir: PathBuf,
    /// That directory, if it was made for this run: then it is gone with it.
    _scratch: Option<Scratch>,
}

/// The last generation.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) root: Root,
    pub(super) text: Vec<u8>,
    pub(super) pin: Pin,
    /// All its entries.
    path: PathBuf,
    segment: SegmentRef,
}

/// A root, or a manifest, that nobody can read any more.
#[derive(Debug, Clone)]
pub(super) struct Ruins {
    /// The root as it was read: it is replaced only if it is still that one.
    pub(super) pin: Pin,
    /// BLAKE3 of its text.
    pub(super) parent: ObjectHash,
    /// The number of the generation that takes its place.
    pub(super) next: u64,
}

/// What a push finds at its destination, and builds upon.
#[derive(Debug, Clone)]
pub(super) enum Base {
    /// A new mirror.
    Nothing,
    /// Everything is made anew from the source and a listing.
    Ruins(Ruins),
    Last(Box<Last>),
}

impl Base {
    pub(super) fn last(&self) -> Option<&Last> {
        match self {
            Self::Last(last) => Some(last),
            Self::Nothing | Self::Ruins(_) => None,
        }
    }

    /// The root that is there.
    pub(super) fn pin(&self) -> Option<&Pin> {
        match self {
            Self::Nothing => None,
            Self::Ruins(ruins) => Some(&ruins.pin),
            Self::Last(last) => Some(&last.pin),
        }
    }

    /// The number of the next generation.
    pub(super) fn next(&self) -> u64 {
        match self {
            Self::Nothing => 1,
            Self::Ruins(ruins) => ruins.next,
            Self::Last(last) => last.root.generation + 1,
        }
    }
}

/// What a look at the root has shown.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) base: Base,
    /// The root is the one that this machine saw at the end of its last push.
    pub(super) is_known: bool,
    /// A push of this machine was cut off after its first write: what is stored may not be what the last generation says.
    pub(super) is_in_doubt: bool,
}

impl Memory {
    /// Where nothing can be kept nothing is remembered, and why is told: what is kept saves work and no more.
    ///
    /// # Errors
    /// `Unavailable` while another run has the state.
    pub(super) fn open(
        destination: &Destination,
        source: &Path,
        means: &Means,
        tell: impl FnOnce(&Error),
    ) -> Result<Self> {
        let key = format!("{}\n{}", destination.places.data.place(), source.display());
        if let Some(holder) = &destination.state {
            match State::open(holder, &key) {
                Ok(state) => {
                    let dir = state.scratch().parent().map(Path::to_owned).unwrap_or_default();
                    return Ok(Self { state: Some(state), dir, _scratch: None });
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => tell(&error),
            }
        }
        let name = blake3::hash(format!("{}\n{}\n{key}", means.id, destination.name).as_bytes()).to_hex();
        let label = format!("volvault-push-{}", name.get(..16).unwrap_or_default());
        let scratch = Scratch::make(&means.scratch, &label)?;
        Ok(Self { state: None, dir: scratch.path().to_owned(), _scratch: Some(scratch) })
    }

    /// The name of a file of this run.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}-{}", std::process::id()))
    }

    /// What the store was found to be able to do.
    pub(super) fn abilities(&self) -> Option<&serde_json::Value> {
        self.state.as_ref().and_then(State::abilities)
    }

    pub(super) fn set_abilities(&mut self, abilities: serde_json::Value) -> Result<()> {
        self.state.as_mut().map_or(Ok(()), |state| state.set_abilities(abilities))
    }

    /// Before the first write: should this run be cut off, the next one reads the root anew and looks for what it left.
    pub(super) fn doubt(&mut self) -> Result<()> {
        self.state.as_mut().map_or(Ok(()), |state| state.seen_again(&Pin::default()))
    }

    /// Whatever is remembered may be damaged.
    pub(super) fn forget(&mut self) -> Result<bool> {
        let Some(state) = &mut self.state else { return Ok(false) };
        let had = state.kept().is_some();
        state.forget()?;
        Ok(had)
    }

    /// Remembers a generation, all of whose entries are in `manifest`.
    pub(super) fn save(&mut self, text: &[u8], pin: &Pin, manifest: &Written) -> Result<()> {
        self.state.as_mut().map_or(Ok(()), |state| state.save(text, pin, manifest))
    }

    /// Remembers the root that was seen, which is that of the generation in memory.
    pub(super) fn trust(&mut self, last: &Last) -> Result<()> {
        // The pin that was there all the time is not written: another run may have taken it away, and for a reason.
        match &mut self.state {
            Some(state) if state.kept().is_some_and(|kept| kept.pin != last.pin) => state.seen_again(&last.pin),
            _ => Ok(()),
        }
    }

    pub(super) fn keeps(&self) -> bool {
        self.state.is_some()
    }

    /// One request when nothing was published since; else the manifest is fetched, too. `anew`: all of it, whatever is remembered; and what cannot be read
    /// is no error, but is to be replaced.
    ///
    /// # Errors
    /// `Refused` when the directory of a mirror is gone, or what was in it, unless `anew`: its disk may not be mounted.
    pub(super) fn look(&mut self, destination: &Destination, anew: bool) -> Result<Look> {
        let look = self.look_at_root(destination, anew)?;
        match look.base.last() {
            Some(last) if !anew && lacks_files(&destination.places, last) => is_gone(&destination.places)?,
            Some(_) | None => {}
        }
        Ok(look)
    }

    fn look_at_root(&mut self, destination: &Destination, anew: bool) -> Result<Look> {
        let places = &destination.places;
        let seen = self.state.as_ref().and_then(State::kept).map(|kept| (kept.pin.clone(), kept.clone()));
        if let Some((pin, kept)) = seen.as_ref().filter(|(pin, _)| pin.etag.is_some() && !anew) {
            match places.block(places.control.get_if_changed(ROOT, ROOT_MAX, pin)) {
                Ok(None) => {
                    let last = self.kept_last(kept.text.clone(), pin.clone())?;
                    return Ok(Look { base: last.map_or(Base::Nothing, of), is_known: true, is_in_doubt: false });
                }
                // Asked once more below.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                answer => answer.map(drop)?,
            }
        }
        // A push that was cut off has taken the pin away, be it before or after it published.
        let is_in_doubt = seen.as_ref().is_some_and(|(pin, _)| *pin == Pin::default());
        let said = || format!("look at the mirror {}", places.data.location());
        let (text, pin) = match places.block(places.control.get_with_pin(ROOT, ROOT_MAX)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Also where no pin is remembered: it is taken away by the first write of a push, which may not have come to its end.
                if seen.is_some() && !anew {
                    is_gone(places)?;
                }
                return Ok(Look { base: Base::Nothing, is_known: false, is_in_doubt });
            }
            answer => answer.attempt(said)?,
        };
        if anew {
            return Ok(Look { base: self.read_anew(places, &text, pin)?, is_known: false, is_in_doubt });
        }
        let is_same = seen.is_some_and(|(_, kept)| kept.text == text.as_ref());
        let last = match if is_same { self.kept_last(text.to_vec(), pin.clone())? } else { None } {
            Some(last) => last,
            None => self.fetch(places, (&text, pin), is_in_doubt).attempt(said)?,
        };
        Ok(Look { base: of(last), is_known: false, is_in_doubt })
    }

    /// Reads all that the store has, and believes nothing else.
    fn read_anew(&mut self, places: &Places, text: &[u8], pin: Pin) -> Result<Base> {
        let parent = ObjectHash::new(*blake3::hash(text).as_bytes());
        self.forget()?;
        let next = match Root::decode(text) {
            Ok(root) => match self.fetch(places, (text, pin.clone()), true) {
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => root.generation + 1,
                outcome => return outcome.map(of),
            },
            Err(error) if error.kind() == ErrorKind::Corrupt => next_free(places)?,
            Err(error) => return Err(error),
        };
        Ok(Base::Ruins(Ruins { pin, parent, next }))
    }

    fn kept_last(&self, text: Vec<u8>, pin: Pin) -> Result<Option<Last>> {
        let Some(state) = &self.state else { return Ok(None) };
        let (Some(kept), Some(path)) = (state.kept(), state.manifest_file()) else { return Ok(None) };
        Ok(Some(Last { root: Root::decode(&text)?, text, pin, path, segment: kept.manifest.clone() }))
    }

    fn fetch(&mut self, places: &Places, (text, pin): (&[u8], Pin), is_in_doubt: bool) -> Result<Last> {
        let root = Root::decode(text)?;
        let near = self.state.as_ref().and_then(|state| Some((state.manifest()?.ok()?, state.kept()?.root.clone())));
        let near = near.and_then(|(local, seen)| entries_onto(places, &root, local, &seen));
        let written = match near.map(|near| self.copy(near)) {
            // What is remembered may be damaged.
            None | Some(Err(_)) => self.copy(entries(places, &root))?,
            Some(Ok(written)) => written,
        };
        let segment = written.at(root.generation);
        if self.state.is_none() {
            return Ok(Last { root, text: text.to_vec(), pin, path: written.path, segment });
        }
        // The pin comes when this push has come to its end: until then nobody has looked whether the one behind this root did.
        let unseen = Pin { etag: None, version: Some("fetched".to_owned()) };
        self.save(text, &if is_in_doubt { Pin::default() } else { unseen }, &written)?;
        self.kept_last(text.to_vec(), pin)?.ok_or_else(|| Error::bug("the state that was just saved"))
    }

    /// Entries, in a local file.
    fn copy(&self, mut entries: Entries) -> Result<Written> {
        let mut writer = SegmentWriter::create(&self.file("last"))?;
        entries.try_for_each(|entry| writer.put(&entry?))?;
        writer.finish()
    }
}

/// The mirror that this machine knows is not there any more. One that was wiped begins anew. A directory may lie on a disk that is not mounted, and is
/// not made under the mount point unless the user says so.
fn is_gone(places: &Places) -> Result<()> {
    let Location::Local(path) = places.data.location() else { return Ok(()) };
    let text = format!("the mirror that was pushed to {} is not there any more", path.display());
    Err(Error::new(ErrorKind::Refused, text)
        .with_hint("if its disk is not mounted, mount it; to make the mirror anew, push with --relist"))
}

/// Whether a mirror in a directory has lost all its files although its control area, which lies beside it, is there.
fn lacks_files(places: &Places, last: &Last) -> bool {
    let Location::Local(path) = places.data.location() else { return false };
    match std::fs::read_dir(path) {
        Ok(mut names) => last.root.totals.files > 0 && names.next().is_none(),
        // What else cannot be listed is told by whoever writes there.
        Err(cause) => cause.kind() == std::io::ErrorKind::NotFound,
    }
}

fn of(last: Last) -> Base {
    Base::Last(Box::new(last))
}

/// A number above that of every generation that there is a record of: a root that cannot be read does not say its own.
fn next_free(places: &Places) -> Result<u64> {
    let listed = places.block(places.control.list(ROOTS))?;
    let newest = listed.iter().filter_map(|listed| listed.key.strip_prefix(ROOTS)?.parse::<u64>().ok()).max();
    Ok(newest.unwrap_or(0) + 1)
}

impl Last {
    /// All entries, in order.
    pub(super) fn entries(&self) -> Result<OldEntries> {
        Ok(Box::new(Merge::of(vec![self.reader()?]).entries()))
    }

    pub(super) fn reader(&self) -> Result<SegmentReader> {
        SegmentReader::of_file(&self.path, &self.segment)
    }
}
