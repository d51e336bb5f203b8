//! The volume itself: whether there is anything in it, and that what was written to it stays.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Attempt, Result};
use crate::path::escape;

/// What file systems make at their root, and what is neither saved nor deleted.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// Whether the directory holds anything but `lost+found`.
pub(super) fn is_empty(data: &Path) -> Result<bool> {
    let said = || format!("look into {}", escape(data.as_os_str().as_encoded_bytes()));
    for entry in std::fs::read_dir(data).attempt(said)? {
        if entry.attempt(said)?.file_name() != OsStr::new(LOST_AND_FOUND) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns when the file system has on its disk what was written to it: the operator takes a snapshot of the volume next.
pub(super) fn sync(data: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = rustix::fs::open(data, flags, Mode::empty()).and_then(rustix::fs::syncfs);
    synced
        .map_err(std::io::Error::from)
        .attempt(|| format!("sync the file system of {}", escape(data.as_os_str().as_encoded_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_found_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_empty(dir.path()).unwrap());
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert!(is_empty(dir.path()).unwrap());
        std::fs::create_dir(dir.path().join(".hidden")).unwrap();
        assert!(!is_empty(dir.path()).unwrap());
        assert!(is_empty(&dir.path().join("missing")).is_err());
        sync(dir.path()).unwrap();
    }
}
