//! The last generation of a destination: its root, and all its entries in a local file.

use std::path::{Path, PathBuf};

use crate::error::{Attempt, ErrorKind, Result};
use crate::storage::Pin;

use super::super::destination::{Destination, Means};
use super::super::layout::ROOT;
use super::super::manifest::{entries, entries_onto};
use super::super::merge::Merge;
use super::super::root::{ROOT_MAX, Root};
use super::super::segment::{SegmentReader, SegmentRef, SegmentWriter, Written};
use super::super::state::State;
use super::survey::OldEntries;

/// What is remembered of a destination between runs, and where this run may write files of its own.
#[derive(Debug)]
pub(super) struct Memory {
    state: Option<State>,
    dir: PathBuf,
    /// Made for this run, and gone with it.
    is_ours: bool,
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

/// What a look at the root has shown.
#[derive(Debug)]
pub(super) struct Look {
    /// The last generation; none in a new mirror.
    pub(super) last: Option<Last>,
    /// The root is the one that this machine saw at the end of its last push.
    pub(super) is_known: bool,
    /// A push of this machine was cut off after its first write: what is stored may not be what the last generation says.
    pub(super) is_in_doubt: bool,
}

impl Memory {
    pub(super) fn open(destination: &Destination, source: &Path, means: &Means) -> Result<Self> {
        let key = format!("{}\n{}", destination.places.data.place(), source.display());
        if let Some(holder) = &destination.state {
            let state = State::open(holder, &key)?;
            let dir = state.scratch().parent().map(Path::to_owned).unwrap_or_default();
            return Ok(Self { state: Some(state), dir, is_ours: false });
        }
        let name = blake3::hash(format!("{}\n{}\n{key}", means.id, destination.name).as_bytes()).to_hex();
        let dir = means.scratch.join(format!("volvault-push-{}", name.get(..16).unwrap_or_default()));
        std::fs::create_dir_all(&dir).attempt(|| format!("make {}", dir.display()))?;
        Ok(Self { state: None, dir, is_ours: true })
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

    /// One request when nothing was published since; else the manifest is fetched, too.
    pub(super) fn look(&mut self, destination: &Destination) -> Result<Look> {
        let places = &destination.places;
        let seen = self.state.as_ref().and_then(State::kept).map(|kept| (kept.pin.clone(), kept.clone()));
        if let Some((pin, kept)) = seen.as_ref().filter(|(pin, _)| pin.etag.is_some())
            && places.block(places.control.get_if_changed(ROOT, ROOT_MAX, pin))?.is_none()
        {
            let last = self.kept_last(kept.text.clone(), pin.clone())?;
            return Ok(Look { last, is_known: true, is_in_doubt: false });
        }
        // A push that was cut off has taken the pin away, be it before or after it published.
        let is_in_doubt = seen.as_ref().is_some_and(|(pin, _)| *pin == Pin::default());
        let (text, pin) = match places.block(places.control.get_with_pin(ROOT, ROOT_MAX)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Look { last: None, is_known: false, is_in_doubt });
            }
            answer => answer.attempt(|| format!("look at the mirror {}", places.data.location()))?,
        };
        let is_same = seen.is_some_and(|(_, kept)| kept.text == text.as_ref());
        let last = match if is_same { self.kept_last(text.to_vec(), pin.clone())? } else { None } {
            Some(last) => last,
            None => self.fetch(destination, &text, pin, is_in_doubt)?,
        };
        Ok(Look { last: Some(last), is_known: false, is_in_doubt })
    }

    fn kept_last(&self, text: Vec<u8>, pin: Pin) -> Result<Option<Last>> {
        let Some(state) = &self.state else { return Ok(None) };
        let (Some(kept), Some(path)) = (state.kept(), state.manifest_file()) else { return Ok(None) };
        Ok(Some(Last { root: Root::decode(&text)?, text, pin, path, segment: kept.manifest.clone() }))
    }

    fn fetch(&mut self, destination: &Destination, text: &[u8], pin: Pin, is_in_doubt: bool) -> Result<Last> {
        let places = &destination.places;
        let root = Root::decode(text)?;
        let near = self.state.as_ref().and_then(|state| Some((state.manifest()?.ok()?, state.kept()?.root.clone())));
        let mut entries = near
            .and_then(|(local, seen)| entries_onto(places, &root, local, &seen))
            .unwrap_or_else(|| entries(places, &root));
        let path = self.file("last");
        let mut writer = SegmentWriter::create(&path)?;
        entries.try_for_each(|entry| writer.put(&entry?))?;
        let written = writer.finish()?;
        let segment = written.at(root.generation);
        if self.state.is_none() {
            return Ok(Last { root, text: text.to_vec(), pin, path, segment });
        }
        // The pin comes when this push has come to its end: until then nobody has looked whether the one behind this root did.
        let unseen = Pin { etag: None, version: Some("fetched".to_owned()) };
        self.save(text, &if is_in_doubt { Pin::default() } else { unseen }, &written)?;
        self.kept_last(text.to_vec(), pin)?.ok_or_else(|| crate::error::Error::bug("the state that was just saved"))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.is_ours {
            // Best effort: it lies where temporary files do.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
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
