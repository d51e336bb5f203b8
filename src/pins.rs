//! Keeps on this machine what was seen of a repository, from one run to the next: a small file for each repository and place. What is in it and what
//! follows from it is the affair of [`Memory`]; why so: `docs/adr/0027-pins.md`.
//!
//! A copy of a repository has its id, and may well be older: so a file is about one repository at one place. No file is needed, and each may be deleted:
//! then the next run has nothing to compare with. Order of writes: read again, merged and replaced in one step, under a lock; so a kill leaves the old
//! file or the new one, and of several runs at once none takes back what another saw.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::id::RepoId;
use crate::path::escape;
use crate::repo::{Memory, Pins};
use crate::storage::Location;
use crate::volume::durable::{Publish, publish};

/// Sources that a file holds, at some 350 bytes each.
pub const SOURCES_MAX: usize = 1000;
/// Longest file that is read.
const FILE_MAX: u64 = 1 << 20;
/// The file that whoever changes another one holds a lock on. It is held for as long as a small file takes to be written.
const LOCK: &str = "lock";
/// How long one waits for it, and how often one looks: 2 s in all. Who holds it for longer stands still, and is not waited for.
const LOOKS: u32 = 100;
const LOOK: Duration = Duration::from_millis(20);

/// What was seen of one repository at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its id.
    pub repository: String,
    /// Where it lies.
    pub location: String,
    /// What was there.
    pub sources: Pins,
}

impl Remembered {
    /// What is remembered, if it is of this repository at this place.
    pub fn of(self, repository: RepoId, location: &Location) -> Option<Pins> {
        (self.repository == repository.to_hex() && self.location == place(location)).then_some(self.sources)
    }

    /// What is to be remembered of a repository from now on.
    pub fn new(repository: RepoId, location: &Location, sources: Pins) -> Self {
        Self { repository: repository.to_hex(), location: place(location), sources }
    }
}

/// The file of one repository at one place.
#[derive(Clone, Debug)]
pub struct PinFile {
    directory: PathBuf,
    path: PathBuf,
    repository: RepoId,
    location: Location,
}

/// What a file holds.
#[derive(Debug)]
pub struct Kept {
    /// What is remembered; none when nothing is known.
    pub pins: Option<Pins>,
    /// Why a file that is there says nothing.
    pub damage: Option<Error>,
}

impl PinFile {
    /// The file below `holder`, which need not be there.
    pub fn new(holder: &Path, repository: RepoId, location: &Location) -> Self {
        let directory = holder.join("pins");
        let hash = blake3::hash(place(location).as_bytes()).to_hex();
        let place: String = hash.chars().take(8).collect();
        let path = directory.join(format!("{repository}-{place}.json"));
        Self { directory, path, repository, location: location.clone() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it.
    pub fn read(&self) -> Kept {
        match self.load() {
            Ok(pins) => Kept { pins, damage: None },
            Err(error) => Kept { pins: None, damage: Some(error) },
        }
    }

    /// Adds what a run saw. Nothing is written when that is known already.
    ///
    /// # Errors
    /// When the file cannot be written: whoever has no place to remember anything goes on without.
    pub fn keep(&self, memory: &Memory, runtime: &Handle) -> Result<()> {
        if !memory.has_seen() {
            return Ok(());
        }
        let said = || format!("remember what was seen of the repository in {}", shown(&self.path));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).attempt(said)?;
        let _lock = self.lock(runtime).attempt(said)?;
        let kept = self.read().pins;
        let pins = memory.after(kept.clone().unwrap_or_default()).bounded(SOURCES_MAX);
        if kept.as_ref() == Some(&pins) {
            return Ok(());
        }
        let remembered = Remembered::new(self.repository, &self.location, pins);
        let mut bytes = serde_json::to_vec(&remembered).map_err(|error| Error::bug(said()).with_source(error))?;
        bytes.push(b'\n');
        publish(&self.path, &bytes, Publish::Replace).attempt(said)
    }

    fn load(&self) -> Result<Option<Pins>> {
        let said = || format!("read what is remembered of the repository from {}", shown(&self.path));
        let file = match File::open(&self.path) {
            Ok(file) => file,
            // Also where the way to it is closed: who cannot look there cannot have written there.
            Err(_) if std::fs::symlink_metadata(&self.path).is_err() => return Ok(None),
            Err(error) => return Err(error).attempt(said),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).attempt(said)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(Error::corrupt(said()).with_source("it is too long"));
        }
        let remembered: Remembered =
            serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(said()).with_source(error))?;
        match remembered.of(self.repository, &self.location) {
            Some(pins) => Ok(Some(pins)),
            None => Err(Error::corrupt(said()).with_source("it is about another repository")),
        }
    }

    fn lock(&self, runtime: &Handle) -> Result<File> {
        let path = self.directory.join(LOCK);
        let said = || format!("lock {}", shown(&path));
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).attempt(said)?;
        for _ in 0..LOOKS {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) => runtime.block_on(async { tokio::time::sleep(LOOK).await }),
                Err(error) => return Err(std::io::Error::from(error)).attempt(said),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, format!("{}: another process holds it", said())))
    }
}

/// A place by one name, however it was written.
fn place(location: &Location) -> String {
    match location {
        Location::Local(path) => {
            let real = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
            shown(&real.unwrap_or_else(|_| path.clone()))
        }
        Location::S3 { .. } | Location::Gcs { .. } | Location::Azure { .. } | Location::Memory => location.to_string(),
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Stance;

    fn file(holder: &Path, repository: u8, location: &str) -> PinFile {
        PinFile::new(holder, RepoId::new([repository; 16]), &location.parse().unwrap())
    }

    #[test]
    fn each_repository_and_each_place_has_a_file_of_its_own() {
        let holder = Path::new("/state");
        let one = file(holder, 1, "/srv/repository");
        assert_eq!(one.path(), file(holder, 1, "/srv/./repository").path());
        for (repository, location) in [(2, "/srv/repository"), (1, "/srv/copy"), (1, "s3:http://minio:9000/b/r")] {
            assert_ne!(one.path(), file(holder, repository, location).path());
        }
    }

    #[test]
    fn a_file_that_is_none_says_so_and_one_that_is_missing_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), 1, "/srv/repository");
        let kept = file.read();
        assert!(kept.pins.is_none() && kept.damage.is_none(), "{kept:?}");
        std::fs::create_dir(dir.path().join("pins")).unwrap();
        let right = Remembered::new(file.repository, &file.location, Pins::default());
        let whole = serde_json::to_string(&right).unwrap();
        let other = Remembered { location: "/elsewhere".to_owned(), ..right.clone() };
        let texts = ["", "{}", whole.get(1..).unwrap(), &serde_json::to_string(&other).unwrap(), &" ".repeat(2 << 20)];
        for text in texts {
            publish(file.path(), text.as_bytes(), Publish::Replace).unwrap();
            let kept = file.read();
            assert!(kept.pins.is_none() && kept.damage.is_some(), "{text:.80}");
        }
        publish(file.path(), whole.as_bytes(), Publish::Replace).unwrap();
        assert_eq!(file.read().pins, Some(Pins::default()));
    }

    #[test]
    fn a_run_that_saw_nothing_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let file = file(dir.path(), 1, "/srv/repository");
        file.keep(&Memory::new(None, Stance::Accept), runtime.handle()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
