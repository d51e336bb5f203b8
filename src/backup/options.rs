//! What a backup is asked to do, and what it says it did.

use std::sync::Arc;

use chrono::{DateTime, FixedOffset};

use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::repo::{Snapshot, Status, Summary};
use crate::size::ByteSize;
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

/// When a run writes no snapshot because nothing differs from its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skip {
    /// Never: a snapshot also says when the volume was looked at.
    #[default]
    Never,
    /// When files could not be read: whoever runs a failed job again and again would get a snapshot each time.
    Failing,
    /// Always.
    Unchanged,
}

/// What to save and how.
#[derive(Clone, Debug)]
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
    /// Bytes of files read per second at most, on average.
    pub read_rate: Option<ByteSize>,
    /// Do everything but store.
    pub dry_run: bool,
    /// When to write no snapshot although all was done.
    pub skip: Skip,
}

/// Room in a snapshot for the texts that it is given. Besides them it has the root of its catalogue and the names of sparse bundles, 400 KiB
/// at most; no snapshot is larger than [`crate::limits::OBJECT_MAX`].
const TEXTS_MAX: usize = 512 << 10;

impl BackupOptions {
    /// Whether the snapshot will have room for the paths, patterns and tags: to be known before anything is read.
    pub(super) fn check_room(&self) -> Result<()> {
        let paths: usize = self.paths.iter().map(|path| stored_len(path)).sum();
        let others: usize = self.excludes.iter().chain(&self.tags).map(|text| stored_len(text.as_bytes())).sum();
        if paths + others <= TEXTS_MAX {
            return Ok(());
        }
        let (paths, others, room) = (size(paths), size(others), size(TEXTS_MAX));
        let count = self.paths.len();
        Err(Error::invalid(format!(
            "a snapshot names the paths it was given: these {count} take {paths}, excludes and tags {others}, and it has room for {room}"
        ))
        .with_hint("name directories above them and leave out the rest by --exclude or --exclude-file, or make several backups"))
    }
}

/// What a path or another text takes in a snapshot, which is JSON: text where it is UTF-8, else hexadecimal digits.
fn stored_len(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Ok(text) => serde_json::to_string(text).map_or(0, |json| json.len()) + 1,
        Err(_) => 2 * text.len() + 12,
    }
}

fn size(bytes: usize) -> ByteSize {
    ByteSize(bytes as u64)
}

/// What a backup did.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The snapshot; `None` after a dry run, or when nothing had changed and none was wanted.
    pub snapshot: Option<SessionId>,
    /// The same as it was stored.
    pub stored: Option<Box<Snapshot>>,
    /// Whether it is all.
    pub status: Status,
    /// Counts.
    pub summary: Summary,
    /// Files and directories that could not be saved as they are.
    pub problems: u64,
    /// What it was compared with.
    pub parent: Option<SessionId>,
}
