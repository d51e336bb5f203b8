//! Mirror mode: a directory and a prefix of plain objects are made alike, in either direction, for any number of places.
//!
//! One generation at a time is published, by the swap of one small object, the root; a reader gets exactly one generation or an error, never a mix.
//! This room never knows of repositories. Layout and protocol: `docs/mirror.md`.

pub mod adopt;
pub mod amounts;
mod author;
pub mod blocks;
pub mod bwlimit;
pub mod claim;
mod destination;
pub mod diff;
pub mod facl;
pub mod filter;
mod idle;
mod includes;
pub mod key;
pub mod layout;
pub mod look;
pub mod manifest;
mod memory;
mod merge;
mod overlap;
mod plain;
mod proof;
pub mod pull;
pub mod push;
pub mod rclone_conf;
pub mod root;
mod scratch;
pub mod segment;
pub mod state;
mod tally;
pub mod verify;
mod waiting;
pub mod words;

pub use author::Author;
pub use destination::{Destination, Means};
pub use includes::{Everything, Includes};
pub use layout::Places;
pub use merge::{Entries, Merge};
pub use plain::pull_plain;
pub use root::{Flags, Pusher, Root, Totals};
pub use segment::{Change, SegmentReader, SegmentRef, SegmentWriter, Written};
pub use state::{Kept, State};
pub use tally::Tally;
