//! What a backup is asked to do, and what it says it did.

use std::sync::Arc;

use chrono::{DateTime, FixedOffset};

use crate::id::SessionId;
use crate::repo::{Status, Summary};
use crate::volume::{Rules, Source};

/// What to compare with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ParentChoice {
    /// The newest snapshot of the same host and paths.
    #[default]
    Auto,
    /// None: everything is read (`--force`).
    None,
    /// The one whose id starts so.
    Snapshot(String),
}

/// What to save and how.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent switch of the command line")]
pub struct BackupOptions {
    /// What to save.
    pub sources: Vec<Source>,
    /// The absolute paths as the snapshot names them.
    pub paths: Vec<Vec<u8>>,
    /// What to leave out.
    pub rules: Arc<Rules>,
    /// Exclude patterns as given, for people.
    pub excludes: Vec<String>,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// Host of the snapshot.
    pub host: String,
    /// Time of the snapshot; `None` is now.
    pub time: Option<DateTime<FixedOffset>>,
    /// What to compare with.
    pub parent: ParentChoice,
    /// Trust size and modification time although the inode was changed later.
    pub ignore_ctime: bool,
    /// Trust them although the inode number differs.
    pub ignore_inode: bool,
    /// Do everything but store.
    pub dry_run: bool,
    /// Write no snapshot when nothing differs from the parent.
    pub skip_if_unchanged: bool,
}

/// What a backup did.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The snapshot; `None` after a dry run, or when nothing had changed and none was wanted.
    pub snapshot: Option<SessionId>,
    /// Whether it is all.
    pub status: Status,
    /// Counts.
    pub summary: Summary,
    /// Files and directories that could not be saved as they are.
    pub problems: u64,
    /// What it was compared with.
    pub parent: Option<SessionId>,
}
