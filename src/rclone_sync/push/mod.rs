//! Makes mirrors like a directory: one read of the source, any number of destinations.
//!
//! For each destination: one request shows whether its last generation is still the one that this machine knows; the source is walked beside that
//! generation; what differs is read and sent; a new root is published; what is not needed any more is deleted. Nothing is written when nothing
//! differs, and nothing is deleted before the new generation stands. Spec: `docs/mirror.md`.

mod big;
mod budget;
mod compare;
mod copies;
mod delta;
mod hold;
mod holes;
mod last;
mod listed;
mod moved;
mod one;
mod options;
mod packs;
mod parts;
mod pipeline;
mod plan;
mod publish;
mod read;
mod report;
mod reread;
mod send;
mod shared;
mod standing;
mod survey;
mod sweep;
mod together;

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;

pub use options::{Keep, PushOptions};
pub use report::{DestinationReport, PushReport, Pushed};

use crate::error::{Error, ErrorKind, Result};
use crate::events::Watch;
use crate::path::escape;

use super::destination::Destination;
use super::overlap::{check_destinations, overlaps_mirror};
use shared::Shared;

/// Pushes `source` to all destinations, each by threads of its own: one that is slow or dead stops no other. Files that cannot be read are told
/// to `watch` and counted; the mirrors keep their last state of them.
///
/// # Errors
/// `NotFound` or `Invalid` for a source that is no directory, `Invalid` for no destination or one that lies in the source. What fails at one
/// destination stands in its report.
pub fn push(
    source: &Path,
    destinations: &[Destination],
    options: &PushOptions,
    watch: &Watch<'_>,
) -> Result<PushReport> {
    let source = check(source, destinations)?;
    let shared = Shared::new(&source, destinations, options, watch);
    let _lock = shared.lock_source()?;
    shared.check_pull()?;
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> = destinations
            .iter()
            .map(|destination| (destination, scope.spawn(|| one::push_to(&shared, destination))))
            .collect();
        let join = |(destination, thread): (&Destination, std::thread::ScopedJoinHandle<'_, DestinationReport>)| {
            thread.join().unwrap_or_else(|_| DestinationReport {
                name: destination.name.clone(),
                before: None,
                result: Err(Error::bug("the thread of this destination panicked")),
                tally: super::tally::Tally::default(),
                requests: crate::storage::RequestCounts::default(),
                held: 0,
            })
        };
        threads.into_iter().map(join).collect()
    });
    watch.progress.scan_finished.store(true, Ordering::Relaxed);
    let bytes_read = shared.read.load(Ordering::Relaxed) + shared.together.read();
    Ok(PushReport { destinations: reports, problems: shared.problems.load(Ordering::Relaxed), bytes_read })
}

/// A source of which nothing can be seen may be full or empty, and is not pushed as either.
fn unreadable(source: &Path) -> Error {
    let shown = escape(source.as_os_str().as_bytes());
    Error::new(ErrorKind::Refused, format!("the source {shown} cannot be read; the mirror is left as it is"))
        .with_hint("push as a user who may list it, and see that its disk is mounted and whole")
}

/// The source by its full path.
fn check(source: &Path, destinations: &[Destination]) -> Result<std::path::PathBuf> {
    let shown = escape(source.as_os_str().as_bytes());
    let full = source.canonicalize().map_err(|cause| match crate::error::kind_of_io(&cause) {
        ErrorKind::Denied => unreadable(source).with_source(cause),
        kind => Error::new(kind, format!("open the source {shown}")).with_source(cause),
    })?;
    if !full.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, format!("the source {shown} is not a directory")));
    }
    if destinations.is_empty() {
        return Err(Error::invalid("nowhere to push to").with_hint("name at least one destination"));
    }
    for destination in destinations {
        if overlaps_mirror(&full, &destination.places) {
            let text = format!("the source and the destination {} lie in each other", destination.name);
            return Err(Error::invalid(text).with_hint("push to a place that is apart from the source"));
        }
    }
    check_destinations(destinations)?;
    Ok(full)
}
