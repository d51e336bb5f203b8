//! What a prune is going to do, and what it did.

use serde::Serialize;

/// Numbers and bytes of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Their bytes in the repository.
    pub bytes: u64,
}

/// What is to be done. Blobs are counted by place: one that stands in two packs is two.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PrunePlan {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Blobs that a snapshot needs.
    pub used: Amount,
    /// Further copies of such blobs.
    pub duplicate: Amount,
    /// Blobs that no snapshot needs.
    pub unused: Amount,
    /// Packs that no index names: left by runs that were killed.
    pub unreferenced_packs: Amount,
    /// Packs that stay as they are.
    pub keep_packs: Amount,
    /// Packs that are removed as they are.
    pub remove_packs: Amount,
    /// Packs out of which something is copied before they are removed.
    pub repack_packs: Amount,
    /// Blobs that are copied.
    pub repack: Amount,
    /// Blobs that go with the packs that are rewritten.
    pub repack_remove: Amount,
    /// Blobs that go with the packs that are removed.
    pub remove: Amount,
    /// Blobs in packs afterwards.
    pub remain: Amount,
    /// Bytes among them that are unused.
    pub remain_unused: u64,
    /// Of the packs above, those that an earlier prune had condemned and not removed.
    pub adopted_packs: u64,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PruneReport {
    /// What was planned.
    pub plan: PrunePlan,
    /// Whether nothing but the plan was made.
    pub dry_run: bool,
    /// Packs that were deleted.
    pub deleted_packs: Amount,
    /// Blobs that were copied into new packs.
    pub copied: Amount,
    /// Packs that are condemned and wait for runs that began before; the next prune removes them.
    pub pending_packs: u64,
    /// How many runs that are.
    pub waits_for: u64,
    /// Packs that turned out to be needed after all, because of what others did meanwhile.
    pub spared_packs: u64,
    /// Runs that gave no sign of life and were not waited for.
    pub given_up: u64,
    /// Index segments that were rewritten.
    pub index_segments: u64,
    /// Snapshots that are marked as suspect and lack something.
    pub incomplete_snapshots: Vec<String>,
}

impl Amount {
    /// Counts one more of that many bytes.
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

impl PrunePlan {
    /// Bytes that the repository will have less.
    pub const fn freed(&self) -> u64 {
        self.remove.bytes + self.repack_remove.bytes + self.unreferenced_packs.bytes
    }

    /// Whether there is anything to do.
    pub const fn is_empty(&self) -> bool {
        self.remove_packs.count + self.repack_packs.count + self.unreferenced_packs.count == 0
    }
}
