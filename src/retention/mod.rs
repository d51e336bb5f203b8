//! Decides which snapshots stay and why, by restic's rules.
//!
//! Values in, values out: no store, no clock (`now` is an argument), no knowledge of what a snapshot holds. It never judges one group
//! by another, and a partial snapshot never counts for a rule. For users: `docs/retention.md`.

mod group;
mod judge;
mod policy;
mod span;

pub use group::{GroupKey, Grouping};
pub use judge::{Candidate, Standing, Verdict, judge};
pub use policy::{Count, Policy};
pub use span::Span;
