//! What a pull is asked to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Everything, Includes, Means};

/// Which extended attributes a pull makes those of the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// All: what the mirror does not have is removed.
    All,
    /// POSIX ACLs; others stay as they are.
    Acls,
    /// None.
    Leave,
}

/// How a pull is done. The names are those of rclone's options.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent switch of the command line")]
pub struct PullOptions {
    /// What the run has from outside.
    pub means: Means,
    /// What is pulled. Nothing else is touched, unless [`PullOptions::delete_excluded`] says so.
    pub filter: Arc<dyn Includes>,
    /// Read every local file of the right size and compare its content, whatever its time says.
    pub checksum: bool,
    /// Leave local files of the right size as they are.
    pub size_only: bool,
    /// Leave local files that are newer.
    pub update: bool,
    /// Leave all local files.
    pub ignore_existing: bool,
    /// Remove local files that the filter leaves out.
    pub delete_excluded: bool,
    /// Refuse to remove more files than this.
    pub max_delete: Option<u64>,
    /// Small files on their way at once; the store's own limit adapts below. Of large files there are fewer.
    pub transfers: usize,
    /// Threads that list the target.
    pub checkers: usize,
    /// Leave what lies on file systems that are mounted below the target.
    pub one_file_system: bool,
    /// Say what would be done.
    pub dry_run: bool,
    /// Where local files go that are replaced or removed: a directory on the same file system, outside of the target.
    pub backup_dir: Option<PathBuf>,
    /// Let an empty mirror empty the target.
    pub allow_empty: bool,
    /// How long to wait for a push that is under way, when files of its generation are needed.
    pub wait: Duration,
    /// Do not look at the target when the mirror has not changed since the last pull.
    pub trust_target: bool,
    /// What lack of privilege prevents is an error.
    pub strict: bool,
    /// Which extended attributes are set and removed.
    pub attributes: Attributes,
    /// An earlier generation instead of the newest.
    pub generation: Option<u64>,
}

impl PullOptions {
    /// The defaults: the target becomes what the newest generation is; nothing is refused but an empty mirror.
    pub fn new(means: Means) -> Self {
        Self {
            means,
            filter: Arc::new(Everything),
            checksum: false,
            size_only: false,
            update: false,
            ignore_existing: false,
            delete_excluded: false,
            max_delete: None,
            // A file of a few KiB costs a round trip and hardly anything else: 2,000 of them at 40 ms take 1.25 s with 64 at once.
            transfers: 128,
            checkers: 4,
            one_file_system: false,
            dry_run: false,
            backup_dir: None,
            allow_empty: false,
            wait: Duration::from_mins(5),
            trust_target: false,
            strict: false,
            attributes: Attributes::All,
            generation: None,
        }
    }
}
