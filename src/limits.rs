//! The bounds on everything, in one place, each with its reason.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::size::ByteSize;

/// Largest plaintext of one blob. Readers refuse more before they allocate. Four times the largest chunk.
pub const BLOB_MAX: usize = 8 << 20;

/// Largest pack. Readers refuse more.
pub const PACK_MAX: u64 = 256 << 20;

/// Largest sealed small object (config, snapshot, session record). Readers refuse more.
pub const OBJECT_MAX: u64 = 1 << 20;

/// Largest key slot file, and the most slots that are tried with one password: a store that plants
/// slots can make an opener spend at most 20 password hashes.
pub const SLOT_MAX: u64 = 4 << 10;
/// See [`SLOT_MAX`].
pub const SLOTS_TRIED: usize = 20;

/// Files below this size ride in bundles instead of being blobs of their own.
pub const BUNDLED_BELOW: u64 = 64 << 10;

/// Bounds that a run may set.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Size at which a pack is closed. Four packs and a third are in memory at once, and now and then one more that the store still holds on to: 12 MiB keep
    /// a backup below its 128 MiB, 16 MiB did not always.
    pub pack_size: ByteSize,
    /// Packs on their way to the store while others are filled; with 0 each is waited for.
    pub packs_in_flight: usize,
    /// Ranged reads on their way at once.
    pub reads_in_flight: usize,
    /// Sealed bytes that a restore or a check has under way at once.
    pub read_window: ByteSize,
    /// Plaintext bytes whose fetching is planned together: only the plan is in memory. Backups store neighbouring files side by side, but for
    /// some MiB at the edges, so that larger windows read less of a pack twice.
    pub restore_window: ByteSize,
    /// Ranges of one object closer than this are fetched as one: about what a link moves in one round trip.
    pub read_gap: ByteSize,
    /// Threads that hash, compress and seal, or open and write.
    pub workers: usize,
    /// Files read at once.
    pub readers: usize,
    /// New blobs after which an index segment is written: a checkpoint for a run that is killed, and the bound
    /// on what is held in memory (about 100 bytes each).
    pub index_flush_blobs: usize,
    /// Blobs that a check keeps in memory as a table (36 bytes each): an index of more is asked in the store, blob by blob.
    pub table_blobs: u64,
    /// Time after which an index segment is written anyway: what a run on a slow link has sent by then is not sent again.
    pub index_flush_after: Duration,
    /// Time after which a pack of catalogue pages is sent although it is not full: what a stopped run still has to send is the catalogue of a minute.
    pub pages_flush_after: Duration,
    /// Time that a run which was told to stop goes on sending what it has read. Then it has as long again for the catalogue, the index and
    /// the snapshot, before it is ended (`cli::signals`).
    pub send_after_stop: Duration,
    /// Time between two heartbeats of a session.
    pub heartbeat: Duration,
    /// Heartbeats a session writes at most (a month of them).
    pub heartbeats_max: u32,
}

/// Most files that are read at once: each needs a buffer and a handle.
const READERS_MAX: u32 = 64;

impl Limits {
    /// The size of packs that a user asked for, in MiB.
    ///
    /// # Errors
    /// `Invalid` when that is not between 1 and 128.
    pub fn pack_size_of(mib: u32) -> Result<ByteSize> {
        match mib {
            1..=128 => Ok(ByteSize::mib(u64::from(mib))),
            _ => Err(Error::invalid(format!("pack size {mib} MiB is not between 1 and 128"))),
        }
    }

    /// The number of files to read at once that a user asked for; 0 stands for what suits the machine, as restic has it.
    pub fn readers_of(count: u32) -> Option<usize> {
        usize::try_from(count.min(READERS_MAX)).ok().filter(|count| *count > 0)
    }

    /// The share of one of `count` fetches that run at once: threads and memory are theirs together.
    #[must_use]
    pub fn share(&self, count: u8) -> Self {
        let read_window = ByteSize(self.read_window.bytes() / u64::from(count.max(1)));
        let workers = self.workers.div_ceil(usize::from(count.max(1)));
        Self { read_window, workers, ..self.clone() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            pack_size: ByteSize::mib(12),
            packs_in_flight: 2,
            reads_in_flight: 16,
            read_window: ByteSize::mib(32),
            restore_window: ByteSize::mib(128),
            read_gap: ByteSize::kib(256),
            workers: cores.clamp(2, 16),
            readers: cores.clamp(2, 8),
            index_flush_blobs: 64 << 10,
            table_blobs: 10_000_000,
            index_flush_after: Duration::from_mins(5),
            pages_flush_after: Duration::from_mins(1),
            send_after_stop: Duration::from_secs(10),
            heartbeat: Duration::from_mins(15),
            heartbeats_max: 3000,
        }
    }
}
