//! From settings to an open repository: the store, the credential, and the repository that is used when none was named.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::App;
use super::password::{self, Terminal};
use super::settings::{CredentialSource, DefaultPlace, Place};
use crate::chunker;
use crate::environment::host_name;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::path::escape;
use crate::repo::{InitOptions, OpenOptions, Repository, SystemEntropy};
use crate::secret::Credential;
use crate::storage::{Location, Store};
use crate::volume::OwnerNames;
use crate::volume::durable::{Publish, publish};

/// Longest file that holds a location.
const LOCATION_MAX: usize = 64 << 10;

impl App<'_> {
    /// Opens the repository.
    ///
    /// # Errors
    /// `NoRepository`, `WrongKey`, and what the store says.
    pub(super) fn open(&self) -> Result<Repository> {
        self.open_with(self.limits())
    }

    /// Opens the repository with other bounds than the settings make.
    pub(super) fn open_with(&self, limits: Limits) -> Result<Repository> {
        let (repository, location) = self.open_unpinned(limits)?;
        Ok(self.follow(repository, &location))
    }

    /// Opens the repository without holding it to what earlier runs saw.
    pub(super) fn open_unpinned(&self, limits: Limits) -> Result<(Repository, Location)> {
        let location = self.location()?;
        let credential = self.credential(&location)?;
        let repository = Repository::open(self.connect(&location)?, &credential, self.open_options(limits))?;
        self.tell_place();
        Ok((repository, location))
    }

    /// Opens the repository; the default one is made if it is not there.
    pub(super) fn open_or_make(&self, limits: Limits) -> Result<Repository> {
        match &self.settings.place {
            Place::Default(place) if !is_made(place) => {
                match self.make(chunker::Params::default()) {
                    // Another process was faster, or an earlier one was interrupted in between.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => self.open_with(limits),
                    Err(error) => Err(error),
                    Ok(made) => {
                        drop(made);
                        self.console.say("no repository was given, so one was made; keep a copy of its key: without it the data is lost");
                        self.open_with(limits)
                    }
                }
            }
            Place::Default(_) | Place::Given(_) | Place::File(_) | Place::Nowhere => self.open_with(limits),
        }
    }

    /// Makes the repository, and for the default one a key.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one.
    pub(super) fn make(&self, chunker: chunker::Params) -> Result<Repository> {
        let location = self.location()?;
        let store = self.connect(&location)?;
        let credential = match (&self.settings.place, &self.settings.credential) {
            (Place::Default(place), CredentialSource::Unset) => {
                if !place.key.exists() {
                    // Beside the key, and with it all directories above them: durable, before the key is needed.
                    self.runtime.block_on(store.ensure_container())?;
                    make_key(&place.key)?;
                }
                password::key_file(&place.key)?
            }
            (_, source) => password::fetch_new(source, &Terminal)?,
        };
        let init = InitOptions { credential, chunker, kdf: None, label: String::new() };
        Repository::init(store, &init, self.open_options(self.limits()))
    }

    /// Says where the default repository and its key are, so that nobody has to search for them after a disaster.
    pub(super) fn tell_place(&self) {
        let quiet = self.settings.output.quiet || self.settings.output.json;
        if let (Place::Default(place), false) = (&self.settings.place, quiet) {
            let key = match &self.settings.credential {
                CredentialSource::Unset => {
                    format!(", key {}", shown(&place.key))
                }
                _ => String::new(),
            };
            self.console.warn(&format!("using repository {}{key}", shown(&place.repository)));
        }
    }

    /// Where the repository is.
    ///
    /// # Errors
    /// What reading the file gives rise to, `Invalid` for what is no location.
    pub(super) fn location(&self) -> Result<Location> {
        match &self.settings.place {
            Place::Given(location) => Ok(location.clone()),
            Place::Default(place) => Ok(Location::Local(place.repository.clone())),
            Place::Nowhere => Err(Error::bug("a command without a repository asks for it")),
            Place::File(path) => {
                let said = || format!("read the repository's location from {}", shown(path));
                let text = std::fs::read_to_string(path).attempt(said)?;
                if text.len() > LOCATION_MAX {
                    return Err(Error::invalid(said()));
                }
                text.lines().next().unwrap_or_default().trim().parse().map_err(|error: Error| error.within(said()))
            }
        }
    }

    pub(super) fn connect(&self, location: &Location) -> Result<Store> {
        let store = self.runtime.block_on(Store::connect(location, &self.settings.store, self.clock.clone()))?;
        // Kept for the count of requests; a command opens one store.
        let _ = self.store.set(store.clone());
        Ok(store)
    }

    fn credential(&self, location: &Location) -> Result<Credential> {
        match (&self.settings.place, &self.settings.credential) {
            (Place::Default(place), CredentialSource::Unset) => {
                if place.key.exists() {
                    return password::key_file(&place.key);
                }
                if is_made(place) {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("the key of the repository at {location} is missing"),
                    )
                    .with_hint(format!("put it back at {}, or give another one with --key-file", shown(&place.key))));
                }
                Err(Error::new(
                    ErrorKind::NoRepository,
                    format!("no repository is given. Is there a repository at the following location?\n{location}"),
                )
                .with_hint("give one with -r or VOLVAULT_REPOSITORY, or run `volvault init` to make one there"))
            }
            (_, source) => password::fetch(source, &Terminal),
        }
    }

    /// Bounds as the settings make them.
    pub(super) fn limits(&self) -> Limits {
        let limits = Limits::default();
        Limits { pack_size: self.settings.pack_size.unwrap_or(limits.pack_size), ..limits }
    }

    fn open_options(&self, limits: Limits) -> OpenOptions {
        OpenOptions {
            limits,
            compression: self.settings.compression,
            extra_verify: self.settings.extra_verify,
            clock: self.clock.clone(),
            entropy: SystemEntropy::new(),
            runtime: self.runtime.clone(),
            host: host_name(),
            user: self.user_name(),
        }
    }

    fn user_name(&self) -> String {
        if let Some(name) = ["USER", "LOGNAME"].iter().find_map(|name| self.environment.raw(name)) {
            return name.to_string_lossy().into_owned();
        }
        let uid = rustix::process::getuid().as_raw();
        // A pod's user often has no name at all.
        OwnerNames::load().user(uid).map_or_else(|| uid.to_string(), |name| String::from_utf8_lossy(&name).into_owned())
    }
}

fn is_made(place: &DefaultPlace) -> bool {
    place.repository.join("config").exists()
}

/// Writes a new key where only its owner reads it. A key that is there already stays.
fn make_key(path: &Path) -> Result<()> {
    let said = || format!("make the key {}", shown(path));
    let directory = path.parent().ok_or_else(|| Error::bug("a key without a directory"))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).attempt(said)?;
    let mut key = Zeroizing::new([0u8; 32]);
    getrandom::fill(key.as_mut_slice())
        .map_err(|error| Error::new(ErrorKind::Local, said()).with_source(error.to_string()))?;
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(key.as_slice()))));
    match publish(path, text.as_bytes(), Publish::CreateNew) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.attempt(said),
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_key_is_its_owners_alone_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volvault/key");
        make_key(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let key = std::fs::read(&path).unwrap();
        assert!(password::key_file(&path).is_ok());
        make_key(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), key);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
