//! JSON of `mirror`: our messages, with rclone's numbers under rclone's names.

use std::time::Duration;

use serde::Serialize;

use super::is_zero;
use crate::cli::output::mirror::speed;
use crate::rclone_sync::Tally;
use crate::storage::RequestCounts;

/// rclone's `stats`, as its JSON log and its remote control have them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stats {
    bytes: u64,
    checks: u64,
    deleted_dirs: u64,
    deletes: u64,
    elapsed_time: f64,
    errors: u64,
    listed: u64,
    renames: u64,
    server_side_copies: u64,
    server_side_copy_bytes: u64,
    speed: u64,
    total_bytes: u64,
    total_checks: u64,
    total_transfers: u64,
    transfers: u64,
    /// Entries of which only owner, mode, times or attributes changed; rclone has no number for them.
    metadata_updates: u64,
}

impl Stats {
    /// The numbers of a run that took so long.
    pub(crate) fn new(tally: &Tally, elapsed: Duration) -> Self {
        Self {
            bytes: tally.bytes,
            checks: tally.checks,
            deleted_dirs: tally.deleted_dirs,
            deletes: tally.deleted_files,
            elapsed_time: elapsed.as_secs_f64(),
            errors: tally.errors,
            listed: tally.listed,
            renames: tally.renamed,
            server_side_copies: tally.server_side_copies,
            server_side_copy_bytes: tally.server_side_copy_bytes,
            speed: speed(tally.bytes, elapsed),
            total_bytes: tally.bytes_total,
            total_checks: tally.checks_total,
            total_transfers: tally.transfers_total,
            transfers: tally.transfers,
            metadata_updates: tally.metadata_updates,
        }
    }
}

/// `status`: how far a push or a pull is.
#[derive(Debug, Serialize)]
pub(crate) struct MirrorStatus {
    pub(crate) message_type: &'static str,
    pub(crate) seconds_elapsed: u64,
    pub(crate) percent_done: f64,
    pub(crate) total_transfers: u64,
    pub(crate) transfers: u64,
    pub(crate) total_bytes: u64,
    pub(crate) bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) error_count: u64,
}

/// `destination`: what came of one destination of a push.
#[derive(Debug, Serialize)]
pub(crate) struct DestinationResult<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) name: &'a str,
    /// `unchanged`, `published`, `planned` or `failed`.
    pub(crate) status: &'static str,
    pub(crate) exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
    pub(crate) requests: RequestCounts,
    /// What a dry run says that the push would take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) planned: Option<Planned>,
    pub(crate) stats: Stats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// What a push or a pull would take: requests, about, and bytes, at most.
#[derive(Debug, Serialize)]
pub(crate) struct Planned {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
}

/// `summary` of a push.
#[derive(Debug, Serialize)]
pub(crate) struct PushSummary {
    pub(crate) message_type: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) dry_run: bool,
    pub(crate) destinations: usize,
    pub(crate) succeeded: usize,
    pub(crate) quorum: usize,
    pub(crate) problems: u64,
    pub(crate) stats: Stats,
}

/// `summary` of a pull.
#[derive(Debug, Serialize)]
pub(crate) struct PullSummary {
    pub(crate) message_type: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) dry_run: bool,
    /// `unchanged`, `applied` or `planned`.
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<u64>,
    pub(crate) generation: u64,
    /// The mirror is at an earlier generation than at the last pull, although none was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) went_back: bool,
    /// Whether a pull that was interrupted was finished first.
    pub(crate) finished_first: bool,
    /// What could not be set for lack of privileges.
    pub(crate) not_set: u64,
    pub(crate) problems: u64,
    pub(crate) requests: RequestCounts,
    /// What a dry run says that the files would take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) planned: Option<Planned>,
    pub(crate) stats: Stats,
}

/// `summary` of a run that failed as a whole.
#[derive(Debug, Serialize)]
pub(crate) struct FailedSummary<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) exit_code: u8,
    /// `failed`.
    pub(crate) status: &'static str,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<&'a str>,
}
