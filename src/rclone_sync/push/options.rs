//! What a push is asked to do.

use std::sync::Arc;
use std::time::Duration;

use super::super::claim::Pace;
use super::super::destination::Means;
use super::super::includes::{Everything, Includes};
use crate::size::ByteSize;

/// What is kept in the control area of earlier generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What the last so many generations name is kept: at least 1.
    pub generations: u64,
    /// And what a generation named so long ago: a pull may be under way.
    pub grace: Duration,
    /// Every so many generations the area is looked through: at least 1.
    pub every: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { generations: 10, grace: Duration::from_hours(24), every: 16 }
    }
}

/// How a push is done. The names are those of rclone's options.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent switch of the command line")]
pub struct PushOptions {
    /// What the run has from outside.
    pub means: Means,
    /// What is pushed.
    pub filter: Arc<dyn Includes>,
    /// Read every file of the same size and compare the content, whatever its time says.
    pub checksum: bool,
    /// Trust the size alone.
    pub size_only: bool,
    /// Leave files that are newer in the mirror.
    pub update: bool,
    /// Leave every file that is in the mirror.
    pub ignore_existing: bool,
    /// Refuse to remove more files than this.
    pub max_delete: Option<u64>,
    /// Files on their way at once to each destination.
    pub transfers: usize,
    /// Threads that list the source.
    pub checkers: usize,
    /// Say what would be done.
    pub dry_run: bool,
    /// Stay on the file system of the source.
    pub one_file_system: bool,
    /// Let an empty source empty the mirror.
    pub allow_empty: bool,
    /// Remove from the mirror what the filter leaves out.
    pub delete_excluded: bool,
    /// Write `permissions.facl`.
    pub facl: bool,
    /// Compare with a listing of the mirror, and mend what others have damaged.
    pub relist: bool,
    /// Put files of up to so many bytes into packs, too.
    pub pack_small: Option<u64>,
    /// What of earlier generations is kept.
    pub keep: Keep,
    /// Bytes read from the source in a second at most, for all destinations together.
    pub read_rate: Option<ByteSize>,
    /// How long faster destinations wait at once for slower ones, in all, so that big files are read once. Beside it they may do so for a fifth of the run.
    pub together: Duration,
    /// How fast the claim is kept and given up.
    pub pace: Pace,
}

impl PushOptions {
    /// The defaults: everything is pushed, nothing is refused but an empty source.
    pub fn new(means: Means) -> Self {
        Self {
            means,
            filter: Arc::new(Everything),
            checksum: false,
            size_only: false,
            update: false,
            ignore_existing: false,
            max_delete: None,
            transfers: 64,
            checkers: 4,
            dry_run: false,
            one_file_system: false,
            allow_empty: false,
            delete_excluded: false,
            facl: false,
            relist: false,
            pack_small: None,
            keep: Keep::default(),
            read_rate: None,
            together: Duration::from_secs(10),
            pace: Pace::default(),
        }
    }
}
