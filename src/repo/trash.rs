//! What a repair takes out of the repository goes to `trash/<time>-<chance>/`, under its old key: nothing is deleted that is not there.
//!
//! No command reads the trash; whoever has seen that all is well deletes it with any tool of the store (`docs/repair.md`).

use tokio::runtime::Handle;

use crate::clock::SharedClock;
use crate::crypto::{SystemEntropy, random};
use crate::error::{ErrorKind, Result};
use crate::limits::PACK_MAX;
use crate::storage::Store;

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct Trash {
    store: Store,
    runtime: Handle,
    folder: String,
}

impl Trash {
    /// A folder that nobody else uses; nothing is written yet.
    pub fn new(store: &Store, runtime: &Handle, clock: &SharedClock) -> Result<Self> {
        let chance: [u8; 4] = random(&SystemEntropy)?;
        let time = clock.now().to_utc().format("%Y%m%dT%H%M%SZ");
        let folder = format!("trash/{time}-{}/", hex::encode(chance));
        Ok(Self { store: store.clone(), runtime: runtime.clone(), folder })
    }

    /// Where this run's objects go.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Copies the object at `key`, which stays; says whether there is one.
    pub fn keep(&self, key: &str) -> Result<bool> {
        let said = |error: crate::error::Error| error.within(format!("keep {key} before it is changed"));
        // Read and stored, not copied by the store: there are servers that take a copy for the storing of an empty object.
        let bytes = match self.runtime.block_on(self.store.get(key, PACK_MAX)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            bytes => bytes.map_err(said)?,
        };
        self.runtime.block_on(self.store.put(&format!("{}{key}", self.folder), bytes)).map_err(said)?;
        Ok(true)
    }

    /// Moves the object at `key` away: copied first, then deleted. Says whether there was one; another run may have been faster.
    pub fn take(&self, key: &str) -> Result<bool> {
        if !self.keep(key)? {
            return Ok(false);
        }
        let deleted = self.runtime.block_on(self.store.delete(key));
        deleted.map_err(|error| error.within(format!("remove {key}, of which {} has a copy", self.folder)))?;
        Ok(true)
    }
}
