//! Repairs: the index from packs, what is whole in damaged packs, snapshots that lack content, and anything from another copy.
//!
//! Each first makes a plan, which can be printed, and carries it out only when it is told to. A repair writes new objects, then what points to
//! them, then moves aside what they replace: nothing is deleted that does not lie in the trash. Stopped at any point, it leaves a repository that is
//! no worse, and a second run goes on from there.

mod heal;
mod hints;
mod index;
mod packs;
mod remains;
mod segments;
mod snapshots;
mod survivors;

pub use heal::{Heal, heal};
pub use index::{RepairIndex, repair_index};
pub use packs::repair_packs;
pub use snapshots::{RepairSnapshots, repair_snapshots};

use std::sync::PoisonError;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Watch};

/// The tag of snapshots that hold what is left of damaged ones, as restic has it.
pub(super) const REPAIRED: &str = "repaired";

/// Whether a plan is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is only printed.
    #[default]
    Plan,
    /// It is carried out.
    Apply,
}

/// What a repair is going to do, or did, in sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// Whether it was done.
    pub applied: bool,
    /// Each thing to do; none: there is nothing to repair.
    pub steps: Vec<String>,
    /// What cannot be brought back by this.
    pub lost: Vec<String>,
    /// What is lost of snapshots, and marked in those that take their place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marked: Vec<String>,
    /// What is worth knowing beside that.
    pub notes: Vec<String>,
    /// Where what was taken out lies now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trash: Option<String>,
}

/// Begins a step that a display can name.
///
/// # Errors
/// `Interrupted` when the run was asked to stop.
fn begin(watch: &Watch<'_>, step: &str) -> Result<()> {
    *watch.progress.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(step.to_owned());
    go_on(watch)
}

fn go_on(watch: &Watch<'_>) -> Result<()> {
    if watch.stop.requested() {
        return Err(Error::new(ErrorKind::Interrupted, "the repair was interrupted; a second run goes on from here"));
    }
    Ok(())
}

fn note(watch: &Watch<'_>, report: &mut RepairReport, text: String) {
    watch.observer.on(&Event::Note { text: &text });
    report.notes.push(text);
}
