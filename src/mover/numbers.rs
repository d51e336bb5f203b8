//! What a job did, in numbers: for whoever runs it and keeps count.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::storage::RequestCounts;

/// What a job did, as far as it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Numbers {
    /// Files of the volume, as the job saw it.
    pub files: u64,
    /// Bytes of content of those.
    pub bytes: u64,
    /// Files that were saved anew, restored, sent or fetched.
    pub changed: u64,
    /// Bytes of content of those.
    pub moved: u64,
    /// Files that were deleted.
    pub deleted: u64,
    /// What the store was asked.
    pub requests: RequestCounts,
    /// Snapshots of this source after the job.
    pub snapshots: Option<u64>,
    /// When the newest complete snapshot of this source was made. Mirrors have none: their generation stays for as long as nothing changes.
    pub newest: Option<DateTime<Utc>>,
    /// When a check last read a part of the repository's data, and noted it.
    pub verified: Option<DateTime<Utc>>,
    /// Whether the job's prune was left for another time; none where it made none.
    pub prune_refused: Option<bool>,
}
