//! Whether something changed in a volume: `inotify` on all its directories, asked now and then and never waited for.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::error::{Attempt, Error, ErrorKind, Result};

/// Directories of one volume; the system's own limit is often lower.
const DIRECTORIES_MAX: usize = 500_000;

/// What changes a volume; reading it does not.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// A volume that is watched.
#[derive(Debug)]
pub(super) struct Watcher {
    root: PathBuf,
    inotify: OwnedFd,
    directories: HashMap<i32, PathBuf>,
}

impl Watcher {
    /// Watches everything below `root`.
    ///
    /// # Errors
    /// When the root cannot be read, and when the system allows no more watches.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(std::io::Error::from);
        let inotify = inotify.attempt(|| "watch for changes".to_owned())?;
        // A volume may be named by a link; below it no link is followed, as no backup follows one.
        let root = root.canonicalize().attempt(|| format!("watch {}", root.display()))?;
        let mut watcher = Self { root: root.clone(), inotify, directories: HashMap::new() };
        watcher.add(&root)?;
        Ok(watcher)
    }

    /// Whether something changed since the last time.
    ///
    /// # Errors
    /// When the system says so, or a new directory cannot be watched.
    pub(super) fn changed(&mut self) -> Result<bool> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 << 10];
        let (mut changed, mut lost, mut new) = (false, false, Vec::new());
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => {
                    return Err(std::io::Error::from(error)).attempt(|| format!("watch {}", self.root.display()));
                }
            };
            let what = event.events();
            if what.contains(ReadFlags::IGNORED) {
                self.directories.remove(&event.wd());
                continue;
            }
            changed = true;
            lost |= what.contains(ReadFlags::QUEUE_OVERFLOW);
            let is_new = what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) && what.contains(ReadFlags::ISDIR);
            if let (true, Some(name), Some(parent)) = (is_new, event.file_name(), self.directories.get(&event.wd())) {
                use std::os::unix::ffi::OsStrExt as _;
                new.push(parent.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
        }
        if lost {
            // What was missed may have been new directories.
            new = vec![self.root.clone()];
        }
        new.iter().try_for_each(|directory| self.add(directory))?;
        Ok(changed)
    }

    /// Watches a directory, then what is in it: what comes in between is seen twice and not missed.
    fn add(&mut self, directory: &Path) -> Result<()> {
        let mut left = vec![directory.to_owned()];
        while let Some(directory) = left.pop() {
            match inotify::add_watch(&self.inotify, &directory, CHANGES) {
                Ok(number) => drop(self.directories.insert(number, directory.clone())),
                // Gone again, or no directory any more, or not for our eyes: a backup will say so.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) if directory != self.root => continue,
                Err(Errno::NOSPC) => return Err(full(&self.root)),
                Err(error) => {
                    return Err(std::io::Error::from(error)).attempt(|| format!("watch {}", directory.display()));
                }
            }
            if self.directories.len() > DIRECTORIES_MAX {
                return Err(full(&self.root));
            }
            let Ok(entries) = std::fs::read_dir(&directory) else { continue };
            let inner = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            left.extend(inner.map(|entry| entry.path()));
        }
        Ok(())
    }
}

fn full(root: &Path) -> Error {
    Error::new(ErrorKind::Local, format!("{} has more directories than can be watched", root.display()))
        .with_hint("raise fs.inotify.max_user_watches: sysctl fs.inotify.max_user_watches=1048576")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files change as any program changes them")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn changes_are_seen_at_any_depth_also_in_directories_that_are_new() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "1").unwrap();
        let mut watcher = Watcher::new(dir.path()).unwrap();
        assert!(!watcher.changed().unwrap());
        assert_eq!(fs::read_to_string(at("a/b/file")).unwrap(), "1");
        assert!(fs::read_dir(at("a")).unwrap().count() == 1 && !watcher.changed().unwrap(), "reading is no change");
        let mut change = |what: &str, act: &dyn Fn()| {
            act();
            assert!(watcher.changed().unwrap(), "{what}");
            assert!(!watcher.changed().unwrap(), "{what}: once");
        };
        change("content", &|| fs::write(at("a/b/file"), "2").unwrap());
        change("a new directory with something in it", &|| {
            fs::create_dir_all(at("c/d/e")).unwrap();
            fs::write(at("c/d/e/file"), "3").unwrap();
        });
        change("in the new directory", &|| fs::write(at("c/d/e/file"), "4").unwrap());
        change("a directory moved away", &|| fs::rename(at("c"), at("a/c")).unwrap());
        change("in the moved directory", &|| fs::write(at("a/c/d/e/file"), "5").unwrap());
        change("a file less", &|| fs::remove_file(at("a/b/file")).unwrap());
        assert!(Watcher::new(&at("missing")).is_err());
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let mut watcher = Watcher::new(&at("link")).unwrap();
        fs::write(at("a/b/file"), "6").unwrap();
        assert!(watcher.changed().unwrap(), "a volume that is named by a link");
    }
}
