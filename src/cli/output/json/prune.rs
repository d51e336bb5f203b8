//! restic's JSON of `prune`, and what we add to it.

use serde::Serialize;

use crate::maintenance;
use crate::storage::RequestCounts;

/// `summary` of a prune: restic's members in restic's order, then ours.
#[derive(Debug, Serialize)]
pub(crate) struct PruneSummary {
    message_type: &'static str,
    blobs: PruneBlobs,
    bytes: PruneBytes,
    packfiles: PrunePackfiles,
    dry_run: bool,
    deleted_packs: u64,
    deleted_bytes: u64,
    copied_bytes: u64,
    pending_packs: u64,
    waits_for: u64,
    given_up: u64,
    incomplete_snapshots: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<RequestCounts>,
}

#[derive(Debug, Serialize)]
struct PruneBlobs {
    used: u64,
    duplicate: u64,
    unused: u64,
    total: u64,
    repack: u64,
    repack_remove: u64,
    remove: u64,
    remove_total: u64,
    remaining: u64,
}

#[derive(Debug, Serialize)]
struct PruneBytes {
    used: u64,
    duplicate: u64,
    unused: u64,
    unreferenced: u64,
    total: u64,
    repack: u64,
    repack_remove: u64,
    remove: u64,
    remove_total: u64,
    remaining: u64,
    remaining_unused: u64,
}

#[derive(Debug, Serialize)]
struct PrunePackfiles {
    unreferenced: u64,
    total: u64,
    keep: u64,
    repack: u64,
    remove: u64,
    remove_total: u64,
}

impl PruneSummary {
    pub(crate) fn new(report: &maintenance::PruneReport, requests: Option<RequestCounts>) -> Self {
        let plan = &report.plan;
        Self {
            message_type: "summary",
            blobs: PruneBlobs {
                used: plan.used.count,
                duplicate: plan.duplicate.count,
                unused: plan.unused.count,
                total: plan.used.count + plan.duplicate.count + plan.unused.count,
                repack: plan.repack.count,
                repack_remove: plan.repack_remove.count,
                remove: plan.remove.count,
                remove_total: plan.remove.count + plan.repack_remove.count,
                remaining: plan.remain.count,
            },
            bytes: PruneBytes {
                used: plan.used.bytes,
                duplicate: plan.duplicate.bytes,
                unused: plan.unused.bytes,
                unreferenced: plan.unreferenced_packs.bytes,
                total: plan.used.bytes + plan.duplicate.bytes + plan.unused.bytes + plan.unreferenced_packs.bytes,
                repack: plan.repack.bytes,
                repack_remove: plan.repack_remove.bytes,
                remove: plan.remove.bytes,
                remove_total: plan.freed(),
                remaining: plan.remain.bytes,
                remaining_unused: plan.remain_unused,
            },
            packfiles: PrunePackfiles {
                unreferenced: plan.unreferenced_packs.count,
                total: plan.keep_packs.count
                    + plan.remove_packs.count
                    + plan.repack_packs.count
                    + plan.unreferenced_packs.count,
                keep: plan.keep_packs.count,
                repack: plan.repack_packs.count,
                remove: plan.remove_packs.count,
                remove_total: plan.remove_packs.count + plan.repack_packs.count + plan.unreferenced_packs.count,
            },
            dry_run: report.dry_run,
            deleted_packs: report.deleted_packs.count,
            deleted_bytes: report.deleted_packs.bytes,
            copied_bytes: report.copied.bytes,
            pending_packs: report.pending_packs,
            waits_for: report.waits_for,
            given_up: report.given_up,
            incomplete_snapshots: report.incomplete_snapshots.clone(),
            requests,
        }
    }
}
