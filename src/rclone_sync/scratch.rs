//! A directory for the files of one run, where nothing is remembered between runs.
//!
//! Runs for the same mirror may share a place for temporary files: two pods on one node that outlives them, two jobs of a scheduler. Process ids tell them
//! not apart, for each pod counts its own. So each run makes a directory that nobody else has, holds a lock on it, and removes those of runs that
//! were killed: the ones that nobody holds.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Attempt, Error, ErrorKind, Result};

/// Names that are tried: more runs than that at once are a mistake.
const NAMES: u32 = 1000;

/// See the module. It is gone with this value.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    _held: File,
}

impl Scratch {
    /// Makes a directory in `place`, with mode 0700: names of files are in it. `label` is its name but for a number.
    pub(super) fn make(place: &Path, label: &str) -> Result<Self> {
        let said = || format!("make a directory for temporary files in {}", place.display());
        fs::create_dir_all(place).attempt(said)?;
        for number in 0..NAMES {
            let path = place.join(format!("{label}-{number}"));
            // Made here and by nobody else: what others can foresee they can put links into.
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => remove_if_left(&path),
                made => {
                    made.attempt(said)?;
                    if let Some(held) = hold(&path) {
                        return Ok(Self { path, _held: held });
                    }
                }
            }
        }
        Err(Error::new(ErrorKind::Local, said()).with_hint("too many runs have theirs there"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: it lies where temporary files do.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// None if another run took it for one that was left, before it was held.
fn hold(path: &Path) -> Option<File> {
    let file = open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => None,
        // Where there are no locks nobody can tell what is left, and nobody removes it.
        Ok(()) | Err(_) => is_at(&file, path).then_some(file),
    }
}

fn remove_if_left(path: &Path) {
    let Some(file) = open(path) else { return };
    let is_ours = file.metadata().is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw());
    if is_ours && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && is_at(&file, path) {
        // Best effort: whoever cannot remove it takes another name.
        let _ = fs::remove_dir_all(path);
    }
}

/// The directory itself, and not what a link points to.
fn open(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from)
}

fn is_at(file: &File, path: &Path) -> bool {
    let known = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(there)) => known(held) == known(there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        use std::io::Write as _;
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn names(place: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn runs_at_once_have_a_directory_each_and_leave_nothing() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().join("not made yet");
        let (one, two) = (Scratch::make(&place, "push").unwrap(), Scratch::make(&place, "push").unwrap());
        assert_ne!(one.path(), two.path());
        write(&one.path().join("delta"), "one");
        write(&two.path().join("delta"), "two");
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
        assert_eq!(fs::read(two.path().join("delta")).unwrap(), b"two");
        drop(two);
        assert_eq!(names(&place), [""; 0]);
    }

    #[test]
    fn what_a_killed_run_left_goes_and_what_is_not_ours_stays() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let at_work = Scratch::make(place, "push").unwrap();
        fs::create_dir_all(place.join("push-1/left")).unwrap();
        fs::create_dir(place.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", place.join("push-2")).unwrap();
        let new = Scratch::make(place, "push").unwrap();
        assert_eq!(names(place), ["elsewhere", "push-0", "push-2", "push-3"], "{at_work:?} {new:?}");
    }

    #[test]
    fn many_that_begin_at_once_disturb_nobody() {
        let place = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let place = place.path();
                scope.spawn(move || {
                    for round in 0..100 {
                        let scratch = Scratch::make(place, "push").unwrap();
                        let (file, text) = (scratch.path().join("file"), format!("{thread} {round}"));
                        assert!(!file.exists());
                        write(&file, &text);
                        std::thread::yield_now();
                        assert_eq!(fs::read_to_string(&file).unwrap(), text);
                    }
                });
            }
        });
        assert_eq!(names(place.path()), [""; 0]);
    }
}
