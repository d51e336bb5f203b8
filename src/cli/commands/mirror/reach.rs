//! From the words for a mirror to its stores.

use std::ffi::OsStr;
use std::path::Path;

use crate::cli::App;
use crate::cli::settings::RemoteSettings;
use crate::environment::host_name;
use crate::error::{Attempt, Error, Result};
use crate::path::escape;
use crate::rclone_sync::bwlimit;
use crate::rclone_sync::rclone_conf::Remotes;
use crate::rclone_sync::{Destination, Means, Places};
use crate::storage::{Location, StoreOptions};
use crate::volume::durable::{Publish, publish};

/// What a run calls itself in the mirrors that it writes.
const PROGRAM: &str = concat!("volvault ", env!("CARGO_PKG_VERSION"));

/// Finds mirrors by their names.
pub(super) struct Reach<'a> {
    app: &'a App<'a>,
    settings: &'a RemoteSettings,
    /// How stores are reached unless a remote says otherwise.
    store: StoreOptions,
    /// rclone's remotes.
    remotes: Remotes,
}

impl<'a> Reach<'a> {
    /// As the settings say.
    ///
    /// # Errors
    /// Those of rclone's configuration file.
    pub(super) fn new(app: &'a App<'a>, settings: &'a RemoteSettings) -> Result<Self> {
        Self::limited(app, settings, None)
    }

    /// The same; all stores together keep to the bandwidth that rclone's `--bwlimit` describes.
    ///
    /// # Errors
    /// The same, and `Invalid` for what describes none.
    pub(super) fn limited(app: &'a App<'a>, settings: &'a RemoteSettings, limit: Option<&str>) -> Result<Self> {
        let mut store = app.settings.store.clone();
        store.bandwidth = limit.map(|text| bwlimit::follow(text, app.clock.clone(), &app.runtime)).transpose()?;
        let remotes = Remotes::read(&configuration(settings)?, &app.environment.for_store())?;
        Ok(Self { app, settings, store, remotes })
    }

    /// Where a location is, and how it is reached.
    ///
    /// # Errors
    /// `Invalid` for what is none.
    pub(super) fn locate(&self, text: &OsStr) -> Result<(Location, StoreOptions)> {
        let Some(words) = text.to_str() else { return Ok((Location::Local(text.into()), self.store.clone())) };
        if words.trim().is_empty() {
            return Err(Error::invalid("a location is empty"));
        }
        // URLs and restic's forms with one in them are never remotes, whatever remotes are called.
        let is_url = words
            .split_once(':')
            .is_some_and(|(_, rest)| ["//", "http:", "https:"].iter().any(|start| rest.starts_with(start)));
        if let Some(remote) = if is_url { None } else { self.remotes.resolve(words, &self.store)? } {
            for said in &remote.ignored {
                self.app.console.warn(&format!("note: {said}"));
            }
            return Ok((remote.location, remote.options));
        }
        let location: Location = words.parse()?;
        Ok((location, self.store.clone()))
    }

    /// The mirror there. No request is made.
    pub(super) fn places(&self, text: &OsStr) -> Result<Places> {
        let (location, options) = self.locate(text)?;
        // What is remembered of a directory must not depend on where a run was started.
        let location = match location {
            Location::Local(path) => {
                Location::Local(std::path::absolute(&path).attempt(|| format!("find {}", path.display()))?)
            }
            other @ (Location::S3 { .. } | Location::Gcs { .. } | Location::Azure { .. } | Location::Memory) => other,
        };
        self.connect(&location, &options)
    }

    /// The mirror there, for a run.
    pub(super) fn destination(&self, text: &OsStr) -> Result<Destination> {
        let places = self.places(text)?;
        let name = escape(text.as_encoded_bytes());
        Ok(Destination { name, places, state: self.settings.state.clone() })
    }

    /// Both stores of a mirror.
    pub(super) fn connect(&self, location: &Location, options: &StoreOptions) -> Result<Places> {
        let connected = Places::connect(location, options, self.app.clock.clone());
        self.app.runtime.block_on(connected).attempt(|| format!("reach the mirror at {location}"))
    }
}

/// The content of rclone's configuration file; empty when there is none and none was asked for.
fn configuration(settings: &RemoteSettings) -> Result<Vec<u8>> {
    let Some(path) = &settings.rclone_config else { return Ok(Vec::new()) };
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !settings.is_named => Ok(Vec::new()),
        read => read.attempt(|| format!("read the rclone configuration {}", path.display())),
    }
}

/// What every run has from outside.
pub(super) fn means(app: &App<'_>, settings: &RemoteSettings) -> Result<Means> {
    Ok(Means {
        clock: app.clock.clone(),
        host: host_name(),
        program: PROGRAM.to_owned(),
        id: settings.state.as_deref().map_or_else(random, kept_id)?,
        scratch: std::env::temp_dir(),
    })
}

/// Sixteen random bytes as digits.
pub(super) fn random() -> Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::bug("get random bytes").with_source(error.to_string()))?;
    Ok(hex::encode(bytes))
}

/// The id that goes with what this machine remembers; a new one the first time. Where nothing can be kept it is another one each time, which costs
/// a push that another pusher's work is looked at anew, and nothing else.
fn kept_id(state: &Path) -> Result<String> {
    let file = state.join("id");
    let kept = || std::fs::read_to_string(&file).ok().filter(|id| id.len() == 32 && hex::decode(id).is_ok());
    if let Some(id) = kept() {
        return Ok(id);
    }
    let id = random()?;
    let made = std::fs::create_dir_all(state).is_ok() && publish(&file, id.as_bytes(), Publish::Replace).is_ok();
    // Of two that are the first at once, the later one counts.
    Ok(kept().filter(|_| made).unwrap_or(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pusher_keeps_its_id_with_its_state() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        let id = kept_id(&state).unwrap();
        assert_eq!((id.len(), kept_id(&state).unwrap()), (32, id.clone()));
        assert_ne!(kept_id(&dir.path().join("c")).unwrap(), id);
        assert_ne!(random().unwrap(), id);
    }
}
