//! What a push says that it did.

use crate::error::Result;
use crate::storage::RequestCounts;

use super::super::tally::Tally;

/// What a push did, destination by destination.
#[derive(Debug)]
pub struct PushReport {
    /// In the order in which they were named.
    pub destinations: Vec<DestinationReport>,
    /// Files and directories of the source that could not be read; each was told to the observer.
    pub problems: u64,
    /// Bytes of files that were read from the source, for all destinations together.
    pub bytes_read: u64,
}

/// What became of one destination.
#[derive(Debug)]
pub struct DestinationReport {
    /// What the user calls it.
    pub name: String,
    /// The generation that was there before; none for a new mirror, and when that could not be found out.
    pub before: Option<u64>,
    /// How it ended.
    pub result: Result<Pushed>,
    /// Counts.
    pub tally: Tally,
    /// Requests sent to it by this run.
    pub requests: RequestCounts,
    /// Bytes of files that were in memory at once on their way to it, at most.
    pub held: u64,
}

/// How a push to one destination ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The mirror had everything already.
    Unchanged {
        /// Its generation.
        generation: u64,
    },
    /// A new generation stands.
    Published {
        /// Its number.
        generation: u64,
    },
    /// A dry run: nothing was written.
    Planned {
        /// The number that the generation would have.
        generation: u64,
        /// About so many requests would be sent.
        requests: u64,
        /// About so many bytes of content would be sent.
        bytes: u64,
    },
}
