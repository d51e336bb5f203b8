//! What a restore is asked to do.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::path::TreePath;
use crate::repo::{Snapshot, Status};
use crate::volume::rules::Selection;

/// What happens to a file that stands in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Its content is compared, and what differs is written.
    #[default]
    Always,
    /// As always, but a file whose size and modification time are as recorded is not read.
    IfChanged,
    /// Only a file that is older than the snapshot's is touched.
    IfNewer,
    /// It stays as it is.
    Never,
}

/// What a restore is asked to do.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, one for each option of the command")]
pub struct RestoreOptions {
    /// The directory to restore into; created when it does not exist.
    pub target: PathBuf,
    /// Which entries; patterns see paths as they will be below the target, with `/` before them.
    pub selection: Selection,
    /// Only what lies below this path of the snapshot, which becomes the target itself. A file is restored under its name.
    pub subfolder: Option<TreePath>,
    /// What happens to existing files.
    pub overwrite: Overwrite,
    /// Remove what the snapshot does not hold, in restored directories, within the selection; done last, and only when
    /// nothing failed. Also permits that a directory with content makes room for a file.
    pub delete: bool,
    /// Change nothing; events and counts say what would be done.
    pub dry_run: bool,
    /// Make holes of zeros also where the source had none.
    pub sparse: bool,
    /// Read everything back in the end and compare.
    pub verify: bool,
    /// Set owners by the recorded names where this machine knows them.
    pub ownership_by_name: bool,
    /// `Some(false)`: leave ownership to whoever runs this, make no device nodes. Otherwise both are tried, and what the
    /// system refuses is counted.
    pub privileged: Option<bool>,
    /// Which extended attributes, by name.
    pub xattrs: Selection,
}

impl RestoreOptions {
    /// A restore of everything into `target`.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            selection: Selection::all(),
            subfolder: None,
            overwrite: Overwrite::default(),
            delete: false,
            dry_run: false,
            sparse: false,
            verify: false,
            ownership_by_name: false,
            privileged: None,
            xattrs: Selection::all(),
        }
    }

    /// # Errors
    /// `Invalid` when more would be deleted than anybody can mean: everything on the machine that is not in the snapshot,
    /// or what an interrupted backup did not come to.
    pub(super) fn check(&self, snapshot: &Snapshot) -> Result<()> {
        if self.delete && snapshot.status == Status::Partial {
            return Err(Error::invalid("deleting what a partial snapshot does not hold")
                .with_hint("restore without deleting, or from a complete snapshot"));
        }
        let resolved = std::fs::canonicalize(&self.target);
        if self.delete && self.selection.is_all() && resolved.is_ok_and(|path| path.parent().is_none()) {
            return Err(Error::invalid("deleting in the target / needs include or exclude patterns")
                .with_hint("give another target, or patterns that say what may be deleted"));
        }
        Ok(())
    }
}
