//! Handles of the directories that are being written into, so that creating a file is a look-up of one name.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Result;

use super::resolve::{PASS, open_beneath};
use super::xattrs::Reach;

/// Handles held at once: a restore with some writers stays in few directories at a time, and a process has 1024 descriptors
/// by default.
const HELD_MAX: usize = 256;

/// A directory that entries are created in.
#[derive(Debug)]
pub(super) struct Parent {
    fd: OwnedFd,
    /// What is created in it gets an access control list that nobody asked for.
    pub(super) gives_acl: bool,
}

impl Parent {
    pub(super) fn new(fd: OwnedFd) -> Self {
        let acl = Reach::handle(fd.as_fd()).get(b"system.posix_acl_default");
        // Not to know is to look at each file.
        Self { gives_acl: !matches!(acl, Ok(None)), fd }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The handles of the directories used last.
#[derive(Debug, Default)]
pub(super) struct Parents(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    by_path: HashMap<Vec<u8>, (Arc<Parent>, u64)>,
    uses: u64,
}

impl Parents {
    /// The handle of the directory `path` below `root`.
    pub(super) fn get(&self, root: BorrowedFd<'_>, path: &[u8]) -> Result<Arc<Parent>> {
        if let Some(parent) = self.lock().find(path) {
            return Ok(parent);
        }
        let parent = Arc::new(Parent::new(open_beneath(root, path, PASS)?));
        let mut held = self.lock();
        if held.by_path.len() >= HELD_MAX {
            held.drop_older_half();
        }
        let uses = held.uses;
        held.by_path.insert(path.to_vec(), (Arc::clone(&parent), uses));
        Ok(parent)
    }

    /// Forgets `path` and what is below it, because something else will stand there.
    pub(super) fn forget(&self, path: &[u8]) {
        let below = |held: &[u8]| held.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        self.lock().by_path.retain(|held, _| !path.is_empty() && !below(held));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn find(&mut self, path: &[u8]) -> Option<Arc<Parent>> {
        self.uses += 1;
        let (parent, used) = self.by_path.get_mut(path)?;
        *used = self.uses;
        Some(Arc::clone(parent))
    }

    fn drop_older_half(&mut self) {
        let mut ages: Vec<u64> = self.by_path.values().map(|(_, used)| *used).collect();
        let middle = ages.len() / 2;
        let (_, limit, _) = ages.select_nth_unstable(middle);
        let limit = *limit;
        self.by_path.retain(|_, (_, used)| *used >= limit);
    }
}
