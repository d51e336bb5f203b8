//! Takes away what is remembered of mirrors that no run has asked for in a quarter of a year: a target that moved, a mirror that was given up. It is
//! only room that is won, so a failure is nothing to speak of, and the next run tries again.
//!
//! A run may be about to open what is to go. So there is a **gate**, a file beside the directories: a run holds it, with others, from before it makes
//! its directory until it has that directory's lock; a sweep holds it alone while it takes the locks of directories and moves them aside. Hence nobody
//! waits for the lock of a directory that goes, and nobody is left with a lock in one that is gone. Order: lock, move aside, remove; what a kill leaves
//! aside goes with the next sweep.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW};

/// The file beside the directories that orders runs that begin, and sweeps.
const GATE: &str = "gate";
/// Names of directories that were moved aside begin so.
const ASIDE: &str = "gone-";
/// Unused for so long, a state goes. A job that runs each quarter keeps its own; what is lost otherwise is one read of the manifest.
pub(super) const UNUSED_MAX: Duration = Duration::from_hours(92 * 24);
/// As many go with one run at most, so that none is slow for it.
const AT_ONCE: usize = 100;

/// Held by a run until it has the lock of its directory. Waits for a sweep that is moving directories, which takes a few system calls. None where
/// nothing can be written beside the directories, or nothing locked: nothing can be moved there either.
pub(super) fn enter(holder: &Path) -> std::io::Result<Option<File>> {
    let gate = match open_gate(holder) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            return Ok(None);
        }
        gate => gate?,
    };
    let locked = rustix::io::retry_on_intr(|| rustix::fs::flock(&gate, FlockOperation::LockShared));
    Ok(locked.is_ok().then_some(gate))
}

/// Notes that a run has the directory now.
pub(super) fn touch(lock: &File) -> rustix::io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    rustix::fs::futimens(lock, &Timestamps { last_access: now, last_modification: now })
}

/// What a sweep goes by.
pub(super) struct Rules<'a> {
    /// The name of the lock in each directory.
    pub(super) lock: &'a str,
    /// Whether a name in such a directory is one of ours. A directory with anything else in it stays.
    pub(super) is_ours: fn(&OsStr) -> bool,
    /// What no run has touched for so long goes.
    pub(super) unused: Duration,
}

/// Removes the directories below `holder` that no run uses, and none has for long. "Now" is the time of `own`, which was touched a moment ago: by the
/// same clock as theirs.
pub(super) fn sweep(holder: &Path, own: &File, rules: &Rules<'_>) -> std::io::Result<()> {
    let Some(before) = own.metadata()?.modified()?.checked_sub(rules.unused) else { return Ok(()) };
    let (mut old, mut aside) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(holder)?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match name.to_str() {
            Some(name) if is_directory && name.strip_prefix(ASIDE).is_some_and(is_state) => aside.push(path),
            Some(name) if is_directory && is_state(name) => {
                let lock = fs::symlink_metadata(path.join(rules.lock));
                let is_old = lock.and_then(|lock| lock.modified()).is_ok_and(|time| time < before);
                if is_old {
                    old.push(path);
                }
            }
            _ => {}
        }
    }
    if !old.is_empty() {
        let gate = open_gate(holder)?;
        // Somebody is just beginning: another time.
        rustix::fs::flock(&gate, FlockOperation::NonBlockingLockExclusive)?;
        aside.extend(old.iter().filter_map(|path| move_aside(path, rules, before)).take(AT_ONCE));
        leave(&gate);
    }
    // One that cannot be removed does not keep the others.
    aside.iter().map(fs::remove_dir_all).fold(Ok(()), std::io::Result::and)
}

/// Moves a directory out of everybody's way, if nobody has it, it is still old, and nothing else lies in it.
fn move_aside(path: &Path, rules: &Rules<'_>, before: SystemTime) -> Option<PathBuf> {
    let aside = path.with_file_name(format!("{ASIDE}{}", path.file_name()?.to_str()?));
    let lock = File::open(path.join(rules.lock)).ok()?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    let may_go = || {
        let is_old = lock.metadata()?.modified()? < before;
        let names = fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
        Ok::<bool, std::io::Error>(is_old && names.iter().all(|entry| (rules.is_ours)(&entry.file_name())))
    };
    let moved = may_go().is_ok_and(|may| may && rustix::fs::renameat(CWD, path, CWD, &aside).is_ok());
    // Nobody can come to it any more, and one that stays is free.
    leave(&lock);
    moved.then_some(aside)
}

/// Gives a lock back. Closing would not do it while a program that is just being started by another thread still has the handle.
pub(super) fn leave(lock: &File) {
    let _ = rustix::fs::flock(lock, FlockOperation::Unlock);
}

/// Whether a name is that of a state: 32 hex digits.
fn is_state(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// For reading and writing: NFS locks with others only what is open for reading, and alone only what is open for writing. Of another user's gate
/// reading is enough.
fn open_gate(holder: &Path) -> std::io::Result<File> {
    let path = holder.join(GATE);
    match File::options().read(true).write(true).create(true).truncate(false).open(&path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && path.exists() => File::open(&path),
        gate => gate,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const RULES: Rules<'_> = Rules { lock: "lock", is_ours: |name| name != "photo", unused: UNUSED_MAX };

    /// A state of that name, whose lock was touched so long ago.
    fn state(holder: &Path, name: char, ago: Duration) -> PathBuf {
        let path = holder.join(String::from(name).repeat(32));
        fs::create_dir(&path).expect("made");
        let lock = File::create(path.join("lock")).expect("a lock");
        lock.set_modified(lock.metadata().expect("seen").modified().expect("a time") - ago).expect("set");
        fs::create_dir(path.join("scratch")).expect("made");
        File::create(path.join("scratch/left")).expect("a file");
        path
    }

    fn names(holder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(holder).expect("listed");
        entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_no_run_has_asked_for_in_a_quarter_of_a_year_goes_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let holder = dir.path();
        let own = state(holder, 'a', Duration::ZERO);
        state(holder, 'b', 93 * DAY);
        state(holder, 'c', 91 * DAY);
        let used = File::open(state(holder, 'd', 93 * DAY).join("lock")).expect("opened");
        rustix::fs::flock(&used, FlockOperation::NonBlockingLockExclusive).expect("locked");
        File::create(state(holder, 'e', 93 * DAY).join("photo")).expect("a file");
        state(holder, 'x', 93 * DAY);
        fs::remove_file(state(holder, 'f', 93 * DAY).join("lock")).expect("removed");
        let elsewhere = tempfile::tempdir().expect("a directory");
        let foreign = state(elsewhere.path(), '1', 93 * DAY);
        std::os::unix::fs::symlink(&foreign, holder.join("1".repeat(32))).expect("linked");
        fs::create_dir_all(holder.join(format!("{ASIDE}{}/scratch", "2".repeat(32)))).expect("left by a kill");
        fs::create_dir(holder.join(format!("{ASIDE}fishing"))).expect("made");
        let mut expected = names(holder);
        let lock = File::open(own.join("lock")).expect("opened");
        sweep(holder, &lock, &RULES).expect("swept");
        expected.retain(|name| *name != "b".repeat(32) && !name.ends_with("22"));
        expected.insert(GATE.to_owned());
        assert_eq!(names(holder), expected);
        assert!(foreign.join("scratch/left").exists());
        leave(&used);
        sweep(holder, &lock, &RULES).expect("swept");
        assert!(!holder.join("d".repeat(32)).exists(), "nobody has it any more");
    }

    #[test]
    fn nothing_goes_while_somebody_begins() {
        let dir = tempfile::tempdir().expect("a directory");
        let own = state(dir.path(), 'a', Duration::ZERO);
        let old = state(dir.path(), 'b', 93 * DAY);
        let lock = File::open(own.join("lock")).expect("opened");
        let gate = enter(dir.path()).expect("entered").expect("a gate");
        sweep(dir.path(), &lock, &RULES).expect_err("another time");
        assert!(old.exists());
        leave(&gate);
        sweep(dir.path(), &lock, &RULES).expect("swept");
        assert!(!old.exists());
    }
}
