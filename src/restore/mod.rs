//! Restore: a snapshot back into a tree.
//!
//! Three walks over the catalogue, none of which holds the tree in memory. The first makes directories, looks at what
//! stands in the target and queues the content that is missing, in windows of bounded size that are fetched and written
//! while it goes on. The second makes hard links. The third leaves each directory after all that is in it: removes
//! what the snapshot does not hold, if asked to, and sets the directory's metadata.
//!
//! What it must never do: write outside the target, whatever the snapshot says; leave a file that looks finished and is
//! not; delete anything unless everything was restored. The names and the order of entries are checked by `catalog`, links
//! in the target are never followed by `volume`; that an entry lies in a directory of the same snapshot is checked here.

mod big_file;
mod compare;
mod context;
mod delete;
mod fetch;
mod finish;
mod layout;
mod links;
mod options;
mod parallel;
mod plan;
mod special;
mod steps;
mod survey;
mod tally;
mod update;
mod verify;
mod window;
mod write;

pub use options::{Overwrite, RestoreOptions};
pub use tally::RestoreReport;

pub use crate::volume::NotSet;

use crate::error::Result;
use crate::events::{Event, Watch};
use crate::repo::{Session, Snapshot};

use context::Restore;

/// Restores what `options` select of `snapshot`. Single entries that fail are reported to `watch` and counted; the run
/// goes on.
///
/// Memory: at most `Limits::read_window` of sealed bytes, and a blob for each worker; the catalogue pages read ahead
/// (about 16 MiB); about 20 MiB of queued entries; and, for each hard-linked inode, the path of its first name and 50 bytes.
///
/// # Errors
/// `Interrupted` when asked to stop: a second run completes what this one left. `Local` when the target is full or
/// read-only, and errors of the store: then nothing more could be restored. `Invalid` for options that make no sense.
pub fn run(
    session: &Session<'_>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    watch: &Watch<'_>,
) -> Result<RestoreReport> {
    options.check(snapshot)?;
    let restore = Restore::new(session, snapshot, options, watch)?;
    let groups = plan::restore_content(&restore)?;
    links::restore_links(&restore, &groups)?;
    finish::finish_directories(&restore)?;
    if options.verify && !options.dry_run {
        verify::verify(&restore, &groups)?;
    }
    restore.report_not_set();
    Ok(restore.tally.report(watch))
}

impl Restore<'_> {
    /// What lack of privilege prevented is said once, not for each file.
    fn report_not_set(&self) {
        if let Some(text) = self.tally.not_set().sentence() {
            self.watch.observer.on(&Event::Note { text: &text });
        }
    }
}
