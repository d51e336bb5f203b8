//! What a run moved, compared and removed: the numbers behind rclone's block of statistics.

use std::ops::AddAssign;

/// Counts of one run; push has one for each destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files whose content was moved over the net.
    pub transfers: u64,
    /// Files whose content was to be moved.
    pub transfers_total: u64,
    /// Bytes of content that were moved over the net.
    pub bytes: u64,
    /// Bytes of content that were to be moved.
    pub bytes_total: u64,
    /// Entries compared with what is on the other side.
    pub checks: u64,
    /// Entries to be compared.
    pub checks_total: u64,
    /// Entries walked.
    pub listed: u64,
    /// Files and links removed.
    pub deleted_files: u64,
    /// Directories removed.
    pub deleted_dirs: u64,
    /// Bytes of the files removed.
    pub deleted_bytes: u64,
    /// Files found under another name and moved there without being sent.
    pub renamed: u64,
    /// Copies that the store made by itself.
    pub server_side_copies: u64,
    /// Their bytes.
    pub server_side_copy_bytes: u64,
    /// Entries of which only the metadata differed.
    pub metadata_updates: u64,
    /// Files that could not be moved.
    pub errors: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.transfers += other.transfers;
        self.transfers_total += other.transfers_total;
        self.bytes += other.bytes;
        self.bytes_total += other.bytes_total;
        self.checks += other.checks;
        self.checks_total += other.checks_total;
        self.listed += other.listed;
        self.deleted_files += other.deleted_files;
        self.deleted_dirs += other.deleted_dirs;
        self.deleted_bytes += other.deleted_bytes;
        self.renamed += other.renamed;
        self.server_side_copies += other.server_side_copies;
        self.server_side_copy_bytes += other.server_side_copy_bytes;
        self.metadata_updates += other.metadata_updates;
        self.errors += other.errors;
    }
}
