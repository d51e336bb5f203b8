//! What this machine remembers of the repositories that its commands open: the file is read when one is opened, and written when the command ends.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::App;
use crate::environment::Environment;
use crate::error::Result;
use crate::pins::PinFile;
use crate::repo::{Memory, Repository, Stance};
use crate::storage::Location;

/// How a state is accepted that is older than the one that was seen before.
const WAY_OUT: &str = "do not use what is shown before you know why; if the repository was put back to an earlier state on purpose, \
                       run `volvault repo accept` with it";

/// The repositories of one command that are held to what is remembered of them. `copy` has two.
#[derive(Clone, Default)]
pub(super) struct Followed(Arc<Mutex<Vec<Opened>>>);

type Opened = (PinFile, Arc<Memory>);

impl App<'_> {
    /// Holds the sessions of a repository to what was seen of it before.
    pub(super) fn follow(&self, repository: Repository, location: &Location) -> Repository {
        let (followed, _) = self.followed(repository, location, Stance::Refuse(WAY_OUT.to_owned()));
        followed
    }

    /// The same with another stance; also what it is held to, if there is a place to remember anything.
    pub(super) fn followed(
        &self,
        repository: Repository,
        location: &Location,
        stance: Stance,
    ) -> (Repository, Option<Arc<Memory>>) {
        let Some(holder) = holder(self.environment) else {
            self.console
                .detail(1, "nothing is remembered of the repository: there is neither VOLVAULT_STATE_DIR nor HOME");
            return (repository, None);
        };
        let file = PinFile::new(&holder, repository.id(), location);
        let kept = file.read();
        if let Some(damage) = kept.damage {
            self.console.warn(&format!("warning: {}; going on as if nothing were remembered", damage.chain()));
        }
        let memory = Arc::new(Memory::new(kept.pins, stance));
        self.followed.0.lock().unwrap_or_else(PoisonError::into_inner).push((file, Arc::clone(&memory)));
        (repository.remembered_by(Arc::clone(&memory)), Some(memory))
    }

    /// Whether this machine could have remembered something of the repository that was opened, and does not.
    pub(super) fn is_new_here(&self) -> bool {
        let followed = self.followed.0.lock().unwrap_or_else(PoisonError::into_inner);
        followed.iter().all(|(_, memory)| memory.is_new())
    }

    /// Writes down what was seen.
    ///
    /// # Errors
    /// When there is a place for it that cannot be written.
    pub(super) fn keep_pins(&self) -> Result<()> {
        let followed = self.followed.0.lock().unwrap_or_else(PoisonError::into_inner);
        followed.iter().map(|(file, memory)| file.keep(memory, &self.runtime)).fold(Ok(()), Result::and)
    }

    /// The same at the end of a command, for which it is no failure that a pod has no place of its own.
    pub(super) fn keep_pins_if_possible(&self) {
        if let Err(error) = self.keep_pins() {
            self.console.detail(1, &error.chain());
        }
    }
}

/// The directory for what is to outlive a run.
fn holder(environment: &Environment) -> Option<PathBuf> {
    let path = |name: &str| environment.raw(name).map(PathBuf::from);
    let below = |base: PathBuf| base.join("volvault");
    let state = || path("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let home = || path("HOME").filter(|path| path.is_absolute()).map(|home| home.join(".local/state"));
    path("VOLVAULT_STATE_DIR").or_else(|| state().or_else(home).map(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_the_named_one_or_the_users() {
        let all = [("VOLVAULT_STATE_DIR", "/a"), ("XDG_STATE_HOME", "/b"), ("HOME", "/c")];
        for (variables, expected) in [
            (&all[..], Some("/a")),
            (&all[1..], Some("/b/volvault")),
            (&all[2..], Some("/c/.local/state/volvault")),
            (&[("XDG_STATE_HOME", "b"), ("HOME", "/c")], Some("/c/.local/state/volvault")),
            (&[("HOME", "")], None),
            (&[], None),
        ] {
            assert_eq!(holder(&variables.iter().copied().collect()), expected.map(PathBuf::from), "{variables:?}");
        }
    }
}
