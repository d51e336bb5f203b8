//! Directories that a run makes to have a place to write to. A run that fails before anything lies in them takes them back: a target that appears
//! although there is no mirror looks like one that was pulled.

use std::path::{Path, PathBuf};

/// Directories that this run made, and nobody before it: the highest first.
#[derive(Debug, Default)]
pub(super) struct Made(Vec<PathBuf>);

impl Made {
    /// Makes the directory at `path`, and those above it that are missing. What cannot be made is told by whoever opens it.
    pub(super) fn for_run(path: &Path) -> Self {
        let mut missing: Vec<&Path> = path
            .ancestors()
            .take_while(|at| !at.as_os_str().is_empty() && std::fs::symlink_metadata(at).is_err())
            .collect();
        missing.reverse();
        // One that is there by now was made by somebody else, and is theirs.
        let made = missing.into_iter().filter(|at| std::fs::create_dir(at).is_ok());
        Self(made.map(Path::to_path_buf).collect())
    }

    /// Removes those in which nothing lies.
    pub(super) fn take_back(self) {
        for directory in self.0.iter().rev() {
            if std::fs::remove_dir(directory).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_and_what_holds_something_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("before")).unwrap();
        Made::for_run(&at("before")).take_back();
        assert!(at("before").is_dir());
        Made::for_run(&at("before/a/b")).take_back();
        assert!(at("before").is_dir() && !at("before/a").exists());
        let made = Made::for_run(&at("new/a/b"));
        assert!(at("new/a/b").is_dir());
        std::fs::create_dir(at("new/other")).unwrap();
        made.take_back();
        assert!(at("new/other").is_dir() && !at("new/a").exists());
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        assert!(Made::for_run(&at("link")).0.is_empty(), "a link that leads nowhere is the user's");
    }
}
