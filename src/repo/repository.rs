//! Making and opening a repository.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::chunker::{self, Chunker};
use crate::clock::SharedClock;
use crate::crypto::{KdfParams, KeyRing, MasterKey, SharedEntropy, Slot, random};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RepoId;
use crate::limits::{Limits, OBJECT_MAX};
use crate::secret::Credential;
use crate::storage::Store;

use super::codec::Compression;
use super::config::{self, Config, Features};
use super::listing::Listing;
use super::pins::Memory;
use super::session::Session;
use super::session_record::SessionKind;
use super::{slots, turn};

/// What a run brings along to open a repository.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bounds.
    pub limits: Limits,
    /// Compression of what this run stores.
    pub compression: Compression,
    /// Whether each compressed blob is decompressed and compared before it is stored.
    pub extra_verify: bool,
    /// Time.
    pub clock: SharedClock,
    /// Random bytes for keys, salts and ids: the operating system's, but where a simulation has to be repeated.
    pub entropy: SharedEntropy,
    /// Where requests run. The repository's methods block on it: they are for plain threads.
    pub runtime: Handle,
    /// Host name, for session records and key slots.
    pub host: String,
    /// User name, likewise.
    pub user: String,
}

/// What is fixed when a repository is made.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// What will open it.
    pub credential: Credential,
    /// How files are cut.
    pub chunker: chunker::Params,
    /// Cost of the password hash; `None` calibrates it to about a second.
    pub kdf: Option<KdfParams>,
    /// A text for people in the key slot.
    pub label: String,
}

/// The store with its keys, and a way to wait for it.
#[derive(Clone, Debug)]
pub(super) struct Io {
    pub(super) store: Store,
    pub(super) runtime: Handle,
    pub(super) keys: KeyRing,
}

impl Io {
    /// Waits for `future` on a plain thread.
    pub(super) fn block<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// An open repository. Its methods wait for the store and must not be called from asynchronous code.
#[derive(Debug)]
pub struct Repository {
    io: Io,
    config: Config,
    options: OpenOptions,
    chunker: Chunker,
    slot: String,
    memory: Option<Arc<Memory>>,
}

impl Repository {
    /// Makes a repository. Of several processes that do it at once, all end with the same one: always where the store honours create-only
    /// writes, elsewhere unless one of them stands still for seconds between two requests (`give_way`).
    ///
    /// # Errors
    /// `AlreadyExists` when there is one.
    pub fn init(store: Store, init: &InitOptions, options: OpenOptions) -> Result<Self> {
        options.runtime.block_on(store.ensure_container())?;
        match options.runtime.block_on(store.head(config::KEY)) {
            Ok(_) => return Err(exists(&store)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.within("look for a repository")),
        }
        if !options.runtime.block_on(store.list("state/snapshots/"))?.is_empty() {
            return Err(headless(&store));
        }
        let entropy = &*options.entropy;
        let keys = KeyRing::new(MasterKey::generate(entropy)?, RepoId::new(random(entropy)?));
        let keys = keys.drawing_from(options.entropy.clone());
        let io = Io { store, runtime: options.runtime.clone(), keys };
        let config = Config {
            format: 1,
            repo: io.keys.repo().to_hex(),
            created: options.clock.now().to_rfc3339(),
            features: Features::default(),
            chunker: init.chunker.clone(),
            program: program(),
        };
        // The slot first: whoever sees `config` must be able to open it.
        let slot = slots::seal(&io, &init.credential, init.kdf, &options, &init.label)?;
        let slot = slots::store(&io, &slot)?;
        if turn::give_way(&io, &slot)? {
            let _ = io.block(io.store.delete(&slots::key(&slot)));
            return Err(exists(&io.store));
        }
        let written = io.block(io.store.put_new(config::KEY, config.seal(&io.keys)?.into()));
        let current = io
            .block(io.store.get(config::KEY, OBJECT_MAX))
            .map_err(|error| error.within("read the new repository's config back"))?;
        if config::repo_id(&current)? != io.keys.repo() {
            // Another process was first; its repository stands, and our slot is of no use to anybody.
            let _ = io.block(io.store.delete(&slots::key(&slot)));
            return Err(exists(&io.store));
        }
        written.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })?;
        let chunker = Chunker::new(&config.chunker, io.keys.gear_table())?;
        Ok(Self { io, config, options, chunker, slot, memory: None })
    }

    /// Opens a repository: one GET of `config`, one LIST of the slots, a GET for each slot tried.
    ///
    /// # Errors
    /// `NoRepository` when there is none, `WrongKey` when no slot opens, `Corrupt` when none does and one is damaged.
    pub fn open(store: Store, credential: &Credential, options: OpenOptions) -> Result<Self> {
        let runtime = options.runtime.clone();
        let (bytes, listed) =
            runtime.block_on(async { tokio::join!(store.get(config::KEY, OBJECT_MAX), store.list(slots::PREFIX)) });
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.within("read config")),
            Err(error) => {
                let snapshots = runtime.block_on(store.list("state/snapshots/")).unwrap_or_default();
                return Err(if snapshots.is_empty() { no_repository(&store, &error) } else { headless(&store) });
            }
        };
        let repo = config::repo_id(&bytes)?;
        let (slot, master) = slots::open(&store, &runtime, repo, &listed?, credential)?;
        let io = Io { store, runtime, keys: KeyRing::new(master, repo).drawing_from(options.entropy.clone()) };
        let config = Config::open(&io.keys, &bytes)?;
        let chunker = Chunker::new(&config.chunker, io.keys.gear_table())?;
        Ok(Self { io, config, options, chunker, slot, memory: None })
    }

    /// The same repository, whose sessions from here on hold the store to what `memory` has of it, and add to that.
    #[must_use]
    pub fn remembered_by(self, memory: Arc<Memory>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    pub(super) fn memory(&self) -> Option<&Memory> {
        self.memory.as_deref()
    }

    /// The repository's id.
    pub fn id(&self) -> RepoId {
        self.io.keys.repo()
    }

    /// What was fixed when it was made.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The store it lies in.
    pub const fn store(&self) -> &Store {
        &self.io.store
    }

    /// Its keys.
    pub const fn keys(&self) -> &KeyRing {
        &self.io.keys
    }

    /// How it cuts files.
    pub const fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// Bounds of this run.
    pub const fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// Time.
    pub fn clock(&self) -> &SharedClock {
        &self.options.clock
    }

    /// What this run was opened with.
    pub const fn options(&self) -> &OpenOptions {
        &self.options
    }

    pub(super) const fn io(&self) -> &Io {
        &self.io
    }

    /// All key slots, by name, those that cannot be read too.
    pub fn slots(&self) -> Result<Vec<(String, Result<Slot>)>> {
        slots::all(&self.io)
    }

    /// Name of the slot that this run was opened with.
    pub fn current_slot(&self) -> &str {
        &self.slot
    }

    /// Adds a way to open the repository; returns the slot's name.
    pub fn add_slot(&self, credential: &Credential, kdf: Option<KdfParams>, label: &str) -> Result<String> {
        let slot = slots::seal(&self.io, credential, kdf, &self.options, label)?;
        slots::store(&self.io, &slot)
    }

    /// Removes the slot whose name starts with `prefix`; returns its name.
    ///
    /// # Errors
    /// `Invalid` for the slot in use or an ambiguous prefix, `NotFound` for an unknown one.
    pub fn remove_slot(&self, prefix: &str) -> Result<String> {
        slots::remove(&self.io, prefix, &self.slot)
    }

    /// Puts a slot for `credential` in the place of the one in use; returns its name, or `None` when `credential` is the old one, and
    /// nothing was changed. Order: the new slot is stored, the repository opened with it, and only then the old one removed: a stop
    /// anywhere leaves at least one that works.
    pub fn replace_slot(&self, credential: &Credential, kdf: Option<KdfParams>, label: &str) -> Result<Option<String>> {
        if slots::get(&self.io, &self.slot)?.open(credential)?.is_some() {
            return Ok(None);
        }
        let name = self.add_slot(credential, kdf, label)?;
        let reopened = Self::open(self.store().clone(), credential, self.options.clone())?;
        reopened.remove_slot(&self.slot)?;
        Ok(Some(name))
    }

    /// What lies in `state/`: one LIST for every 1,000 objects.
    pub fn listing(&self) -> Result<Listing> {
        Listing::read(&self.io)
    }

    /// Starts a session that reads. Without the right to write it goes unregistered.
    pub fn read_session(&self) -> Result<Session<'_>> {
        Session::start(self, Some(SessionKind::Read))
    }

    /// A session that nobody is told of: for a look at snapshots and for dry runs. A prune does not wait for it.
    pub fn observe(&self) -> Result<Session<'_>> {
        Session::start(self, None)
    }

    /// Starts a session that will write one snapshot.
    pub fn write_session(&self) -> Result<Session<'_>> {
        self.config.check_writable()?;
        Session::start(self, Some(SessionKind::Write))
    }

    /// Waits for that long.
    pub fn pause(&self, length: std::time::Duration) {
        self.io.block(async { tokio::time::sleep(length).await });
    }

    /// Starts a session that removes packs.
    pub fn maintain_session(&self) -> Result<Session<'_>> {
        self.config.check_maintainable()?;
        Session::start(self, Some(SessionKind::Maintain))
    }
}

/// Name and version of this program, as it stands in what it writes.
pub(super) fn program() -> String {
    concat!("volvault ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// A repository whose `config` is gone: making a new one in its place would bury the old one.
fn headless(store: &Store) -> Error {
    Error::corrupt(format!("there are snapshots at {} and no config: the repository is damaged", store.location()))
        .with_hint("put `config` back from a copy; a new repository needs another location")
}

fn exists(store: &Store) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("there is a repository at {} already", store.location()))
}

fn no_repository(store: &Store, cause: &Error) -> Error {
    let location = store.location();
    let text = format!(
        "there is no repository ({}). Is there a repository at the following location?\n{location}",
        cause.chain()
    );
    Error::new(ErrorKind::NoRepository, text).with_hint("run `volvault init` to make one there")
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "repository {} at {}", self.id().short(), self.io.store.location())
    }
}
