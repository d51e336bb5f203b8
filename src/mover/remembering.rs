//! What a job remembers of its repository from one run to the next: in a file on a volume that stays, or by whoever started it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::job::CACHE_DIR;
use super::run::Run;
use crate::environment::Environment;
use crate::path::escape;
use crate::pins::{PinFile, Remembered};
use crate::repo::{Memory, Pins, Repository, Stance};

/// Sources that whoever started the job keeps for it: its own is among those that were opened or written last.
const SOURCES_MAX: usize = 64;

/// Where what was seen is kept.
pub(super) enum Keeper<'a> {
    /// On this machine.
    File(PinFile),
    /// With whoever started the job.
    Starter(&'a Mutex<Option<Remembered>>),
}

impl Run<'_> {
    /// Holds the sessions of a repository that was just opened to what was seen of it before.
    pub(super) fn follow(&self, repository: Repository) -> Repository {
        let (id, location) = (repository.id(), &self.job.location);
        let (keeper, pins, way_out) = match (self.remembered, &self.job.memory) {
            (Some(starter), _) => {
                let before = starter.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let pins = before.and_then(|before| before.of(id, location));
                let way_out =
                    "stop the scheduler, take `remembered` of this resource out of status.json, and start it again";
                (Keeper::Starter(starter), pins, way_out.to_owned())
            }
            (None, Some(holder)) => {
                let file = PinFile::new(holder, id, location);
                let kept = file.read();
                if let Some(damage) = kept.damage {
                    self.log.say(&format!("warning: {}; going on as if nothing were remembered", damage.chain()));
                }
                let way_out = format!("delete {}", escape(file.path().as_os_str().as_encoded_bytes()));
                (Keeper::File(file), kept.pins, way_out)
            }
            (None, None) => return repository,
        };
        let way_out = format!("find out why first; if the store was put back on purpose, {way_out}");
        let memory = Arc::new(Memory::new(pins, Stance::Refuse(way_out)));
        let (_, memory) = self.memory.get_or_init(|| (keeper, memory));
        repository.remembered_by(Arc::clone(memory))
    }

    /// Keeps what this job saw. That there is no place for it is no failure: most pods have none.
    pub(super) fn keep_pins(&self) {
        match self.memory.get() {
            Some((Keeper::File(file), memory)) => drop(file.keep(memory, &self.runtime)),
            Some((Keeper::Starter(starter), memory)) if memory.has_seen() => {
                let Some(repository) = self.repository.get() else { return };
                let (id, location) = (repository.id(), &self.job.location);
                let mut kept = starter.lock().unwrap_or_else(PoisonError::into_inner);
                let before = kept.take().and_then(|before| before.of(id, location));
                let pins: Pins = memory.after(before.unwrap_or_default()).bounded(SOURCES_MAX);
                *kept = Some(Remembered::new(id, location, pins));
            }
            Some((Keeper::Starter(_), _)) | None => {}
        }
    }
}

/// The directory for what is to outlive a pod: the one that is named, else the cache volume that `VolSync` mounts. It is not made: a directory that
/// is not there is no volume.
pub(super) fn holder(environment: &Environment) -> Option<PathBuf> {
    let path = |name: &str| environment.raw(name).map(PathBuf::from);
    let cache = || path(CACHE_DIR).filter(|cache| cache.is_dir()).map(|cache| cache.join("volvault"));
    path("VOLVAULT_STATE_DIR").or_else(cache)
}
