//! The user's files: read in catalogue order, written below one directory and never outside of it.
//!
//! Reading: [`walk()`] yields [`Found`] entries at one system call each; [`Found`] then opens, reads and describes what the caller
//! wants to know more of. Writing: a [`Target`] is an open directory, and everything is done relative to handles below it.
//! No link is ever followed, on neither side, except in the paths that the user names: an entry that is replaced by a
//! link while we work is an error or is replaced in turn, its target is never read and never touched.
//!
//! Nothing here knows of repositories or mirrors. Linux only.

mod ahead;
mod apply;
pub mod durable;
mod found;
mod listing;
mod not_set;
mod owners;
mod parents;
pub mod pattern;
mod read_rate;
mod resolve;
mod rights;
pub mod rules;
mod source_file;
mod sources;
mod sparse;
mod stat;
mod target;
mod target_file;
mod target_look;
mod target_nodes;
mod target_stage;
mod visit;
mod walk;
mod xattrs;

pub use apply::{Apply, MetadataOutcome, Ownership, XattrFilter};
pub use found::{Found, SourceRoot};
pub use not_set::NotSet;
pub use owners::OwnerNames;
pub use read_rate::ReadRate;
pub use resolve::{is_elsewhere, is_hopeless};
pub use rights::Rights;
pub use rules::Rules;
pub use source_file::{SmallRead, SourceFile};
pub use sources::{Source, merge, sources_from_args};
pub use stat::{EntryKind, Stat};
pub use target::{Made, Replace, Target};
pub use target_file::TargetFile;
pub use target_look::{TargetReader, has_basics};
pub use target_stage::{DirHandle, TargetLock};
pub use walk::{AHEAD_MAX, WalkItem, WalkOptions, walk};
