//! Where a mirror lies, and what a run needs to reach it.

use std::path::PathBuf;

use crate::clock::SharedClock;

use super::layout::Places;

/// A mirror: the one that a push writes, or that a pull reads.
#[derive(Clone, Debug)]
pub struct Destination {
    /// What the user calls it, for reports.
    pub name: String,
    /// Its objects.
    pub places: Places,
    /// The directory below which is remembered what was seen of it, if anything may be. One directory serves all mirrors.
    pub state: Option<PathBuf>,
}

/// What every run has from outside.
#[derive(Clone, Debug)]
pub struct Means {
    /// The time.
    pub clock: SharedClock,
    /// This machine, as the mirror names its pusher.
    pub host: String,
    /// This program and its version.
    pub program: String,
    /// This pusher, unlike any other: random.
    pub id: String,
    /// Where temporary files may lie, when nothing is remembered between runs.
    pub scratch: PathBuf,
}
