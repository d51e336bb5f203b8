//! restic's JSON, as types: names, order and what is left out when empty are part of what wrappers rely on.
//!
//! Members that restic does not have (`status` of a snapshot, `requests`) come last and are left out when there is
//! nothing to say.

pub(crate) mod mirror;
mod prune;

use serde::Serialize;

use crate::maintenance::{self, Coverage, StoreChecksums};
use crate::path::TreePath;
use crate::repo::{Snapshot, Status, Summary};
use crate::retention;
use crate::storage::RequestCounts;

pub(crate) use prune::PruneSummary;

/// One line of JSON. What is printed here cannot fail to become JSON: no maps with odd keys, no foreign numbers.
pub(crate) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .unwrap_or_else(|error| format!("{{\"message_type\":\"error\",\"message\":\"{error}\"}}"))
}

/// The path as JSON holds it: from the root, unescaped, with the replacement character for what is not UTF-8.
pub(crate) fn path(path: &TreePath) -> String {
    format!("/{}", String::from_utf8_lossy(path.as_bytes()))
}

/// Whether a number says nothing.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `status` of a backup.
#[derive(Debug, Default, Serialize)]
pub(crate) struct BackupStatus {
    pub(crate) message_type: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) seconds_elapsed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) seconds_remaining: u64,
    pub(crate) percent_done: f64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) total_files: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) files_done: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) bytes_done: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) error_count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) current_files: Vec<String>,
}

/// `status` of a restore.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RestoreStatus {
    pub(crate) message_type: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) seconds_elapsed: u64,
    pub(crate) percent_done: f64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) total_files: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) files_restored: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) bytes_restored: u64,
}

/// `verbose_status` of a backup: one entry.
#[derive(Debug, Serialize)]
pub(crate) struct BackupItem<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) action: &'a str,
    pub(crate) item: &'a str,
    pub(crate) duration: f64,
    pub(crate) data_size: u64,
    pub(crate) data_size_in_repo: u64,
    pub(crate) metadata_size: u64,
    pub(crate) metadata_size_in_repo: u64,
    pub(crate) total_files: u64,
}

/// `verbose_status` of a restore: one entry.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreItem<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) action: &'a str,
    pub(crate) item: &'a str,
    pub(crate) size: u64,
}

/// `error` beside an item: backup and restore.
#[derive(Debug, Serialize)]
pub(crate) struct ItemError<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) error: Message<'a>,
    pub(crate) during: &'a str,
    pub(crate) item: &'a str,
}

/// The sentence of an error.
#[derive(Debug, Serialize)]
pub(crate) struct Message<'a> {
    pub(crate) message: &'a str,
}

/// `error` without an item: check and everything else.
#[derive(Debug, Serialize)]
pub(crate) struct PlainError<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) message: &'a str,
}

/// The last line of a failure.
#[derive(Debug, Serialize)]
pub(crate) struct ExitError<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) code: u8,
    pub(crate) message: &'a str,
}

/// The requests to the store, of any command.
#[derive(Debug, Serialize)]
pub(crate) struct Requests {
    pub(crate) message_type: &'static str,
    pub(crate) requests: RequestCounts,
}

/// `summary` of a backup.
#[derive(Debug, Serialize)]
pub(crate) struct BackupSummary<'a> {
    pub(crate) message_type: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dry_run: bool,
    pub(crate) files_new: u64,
    pub(crate) files_changed: u64,
    pub(crate) files_unmodified: u64,
    pub(crate) dirs_new: u64,
    pub(crate) dirs_changed: u64,
    pub(crate) dirs_unmodified: u64,
    pub(crate) data_blobs: u64,
    pub(crate) tree_blobs: u64,
    pub(crate) data_added: u64,
    pub(crate) data_added_packed: u64,
    pub(crate) total_files_processed: u64,
    pub(crate) total_bytes_processed: u64,
    pub(crate) total_duration: f64,
    pub(crate) backup_start: &'a str,
    pub(crate) backup_end: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_id: Option<String>,
    /// `partial` when the run was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<RequestCounts>,
}

impl<'a> BackupSummary<'a> {
    /// The counters of a run, without what only the command knows.
    pub(crate) fn new(summary: &'a Summary) -> Self {
        Self {
            message_type: "summary",
            dry_run: false,
            files_new: summary.files_new,
            files_changed: summary.files_changed,
            files_unmodified: summary.files_unmodified,
            dirs_new: summary.dirs_new,
            dirs_changed: summary.dirs_changed,
            dirs_unmodified: summary.dirs_unmodified,
            data_blobs: summary.data_blobs,
            tree_blobs: summary.tree_blobs,
            data_added: summary.data_added,
            data_added_packed: summary.data_added_packed,
            total_files_processed: summary.total_files_processed,
            total_bytes_processed: summary.total_bytes_processed,
            total_duration: 0.0,
            backup_start: &summary.backup_start,
            backup_end: &summary.backup_end,
            snapshot_id: None,
            status: None,
            requests: None,
        }
    }
}

/// `summary` of a restore.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RestoreSummary {
    pub(crate) message_type: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) seconds_elapsed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) total_files: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) files_restored: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) files_skipped: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) files_deleted: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) bytes_restored: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) bytes_skipped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<RequestCounts>,
}

/// `summary` of a check. `broken_packs` of a sound repository is `null`, as Go writes an empty list.
#[derive(Debug, Serialize)]
pub(crate) struct CheckSummary<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) num_errors: u64,
    pub(crate) broken_packs: Option<&'a Vec<String>>,
    pub(crate) suggest_repair_index: bool,
    pub(crate) suggest_prune: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) coverage: Option<&'a Coverage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checksums: Option<&'a StoreChecksums>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<RequestCounts>,
}

/// What `init` made.
#[derive(Debug, Serialize)]
pub(crate) struct Initialized<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) id: &'a str,
    pub(crate) repository: &'a str,
}

/// What `version` says, without the Go version that there is none of.
#[derive(Debug, Serialize)]
pub(crate) struct ProgramVersion {
    pub(crate) message_type: &'static str,
    pub(crate) version: &'static str,
    pub(crate) go_os: &'static str,
    pub(crate) go_arch: &'static str,
}

/// One key of `key list`.
#[derive(Debug, Serialize)]
pub(crate) struct KeyInfo {
    pub(crate) current: bool,
    pub(crate) id: String,
    #[serde(rename = "userName")]
    pub(crate) user_name: String,
    #[serde(rename = "hostName")]
    pub(crate) host_name: String,
    pub(crate) created: String,
    /// `argon2id` or `key32`.
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) label: String,
}

/// What `key add`, `key remove` and `key passwd` did: `added`, `removed`, `changed` (to this key) or `unchanged`.
#[derive(Debug, Serialize)]
pub(crate) struct KeyChange<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) action: &'static str,
    pub(crate) id: &'a str,
}

/// A snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotInfo<'a> {
    pub(crate) time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    /// Id of the root of its catalogue.
    pub(crate) tree: String,
    pub(crate) paths: Vec<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) hostname: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) username: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) uid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) gid: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) excludes: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) original: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) program_version: &'a str,
    pub(crate) summary: &'a Summary,
    pub(crate) id: String,
    pub(crate) short_id: String,
    /// `partial` when the run that wrote it was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'static str>,
}

impl<'a> SnapshotInfo<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, tree: String) -> Self {
        Self {
            time: snapshot.time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            parent: snapshot.parent.map(|id| id.to_hex()),
            tree,
            paths: snapshot.paths_shown(),
            hostname: &snapshot.host,
            username: &snapshot.user,
            uid: u64::from(snapshot.uid),
            gid: u64::from(snapshot.gid),
            excludes: &snapshot.excludes,
            tags: &snapshot.tags,
            original: snapshot.original.map(|id| id.to_hex()),
            program_version: &snapshot.program,
            summary: &snapshot.summary,
            id: snapshot.id.to_hex(),
            short_id: snapshot.id.short(),
            status: (snapshot.status == Status::Partial).then_some("partial"),
        }
    }
}

/// A snapshot as a message: the first line of `ls`.
#[derive(Debug, Serialize)]
pub(crate) struct Messaged<T> {
    #[serde(flatten)]
    pub(crate) value: T,
    pub(crate) message_type: &'static str,
    pub(crate) struct_type: &'static str,
}

/// A group of `snapshots --group-by`.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotGroup<'a> {
    pub(crate) group_key: GroupKey<'a>,
    pub(crate) snapshots: Vec<SnapshotInfo<'a>>,
}

/// What the snapshots of a group have in common.
#[derive(Debug, Serialize)]
pub(crate) struct GroupKey<'a> {
    pub(crate) hostname: &'a str,
    pub(crate) paths: Option<Vec<String>>,
    pub(crate) tags: Option<&'a [String]>,
}

impl<'a> GroupKey<'a> {
    pub(crate) fn new(key: &'a retention::GroupKey) -> Self {
        Self {
            hostname: key.host.as_deref().unwrap_or_default(),
            paths: key.paths.as_ref().map(|paths| shown(paths)),
            tags: key.tags.as_deref(),
        }
    }
}

fn shown(paths: &[Vec<u8>]) -> Vec<String> {
    paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

/// A group of `forget`.
#[derive(Debug, Serialize)]
pub(crate) struct ForgetGroup<'a> {
    tags: Option<&'a [String]>,
    host: &'a str,
    paths: Option<Vec<String>>,
    keep: Option<Vec<SnapshotInfo<'a>>>,
    remove: Option<Vec<SnapshotInfo<'a>>>,
    reasons: Option<Vec<Reason<'a>>>,
}

/// Why a snapshot stays.
#[derive(Debug, Serialize)]
struct Reason<'a> {
    snapshot: SnapshotInfo<'a>,
    matches: &'a [String],
}

impl<'a> ForgetGroup<'a> {
    /// `info` describes a snapshot. Empty lists are `null`, as in restic.
    pub(crate) fn new(group: &'a maintenance::ForgetGroup, info: &dyn Fn(&'a Snapshot) -> SnapshotInfo<'a>) -> Self {
        fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
            (!list.is_empty()).then_some(list)
        }
        let key = GroupKey::new(&group.key);
        let reason = |(snapshot, matches): &'a (Snapshot, Vec<String>)| Reason { snapshot: info(snapshot), matches };
        Self {
            tags: key.tags.filter(|tags| !tags.is_empty()),
            host: key.hostname,
            paths: key.paths,
            keep: filled(group.keep.iter().map(|(snapshot, _)| info(snapshot)).collect()),
            remove: filled(group.remove.iter().map(info).collect()),
            reasons: filled(group.keep.iter().map(reason).collect()),
        }
    }
}

/// An entry of `ls`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeInfo {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) path: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// The bits of Go's `os.FileMode`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) mode: u64,
    pub(crate) permissions: String,
    pub(crate) mtime: String,
    /// restic writes the mtime here unless it was told to save access times.
    pub(crate) atime: String,
    pub(crate) ctime: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) inode: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) linktarget: Option<String>,
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
