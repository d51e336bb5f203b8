//! Pulls a prefix that has no manifest, or one that is not true any more, because rclone writes it. The store is only read.
//!
//! There is no generation to ask for, so one is made of a listing, in memory: [`adopt`](super::adopt) into a control area that nobody else sees, beside
//! the target, whose files need not be read again where their MD5 is that of the object. Then it is an ordinary pull: all objects are pinned, all of it
//! is staged before the target is touched. A pusher that replaces an object between the listing and the end makes it begin anew.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::adopt::{AdoptOptions, adopt_beside};
use super::destination::Destination;
use super::facl::FACL;
use super::includes::Includes;
use super::layout::Places;
use super::pull::{Attributes, PullOptions, PullReport, pull};
use crate::catalog::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Watch};
use crate::path::TreePath;
use crate::storage::{Location, Store, StoreOptions};
use crate::volume::EntryKind;

/// Listings that are made because objects were replaced meanwhile.
const ROUNDS: u32 = 4;
/// Objects read at once, each by pieces of 8 MiB.
const TRANSFERS_MAX: usize = 4;

/// Makes `target` what rclone has stored at `source`. Owners, modes and ACLs come from `permissions.facl`; without it they stay as they are, and files
/// that are new get those that rclone gives them. Links are left alone where the prefix has none: whoever pushes it does not push links.
///
/// # Errors
/// Those of [`pull`]; `NotFound` when there is nothing; `Unavailable` while somebody goes on replacing objects.
pub fn pull_plain(source: &Destination, target: &Path, options: &PullOptions, watch: &Watch<'_>) -> Result<PullReport> {
    let before = source.places.data.requests();
    for _ in 1..ROUNDS {
        match round(source, target, options, watch) {
            Err(error) if matches!(error.kind(), ErrorKind::Changed) => {
                let text = format!("objects were replaced while they were read: {}", error.chain());
                watch.observer.on(&Event::Note { text: &text });
            }
            outcome => return finish(outcome, source, &before),
        }
    }
    let outcome = round(source, target, options, watch).map_err(|error| match error.kind() {
        ErrorKind::Changed => Error::new(ErrorKind::Unavailable, "another program keeps replacing objects there")
            .with_source(error)
            .with_hint("try again when its push is over"),
        _ => error,
    });
    finish(outcome, source, &before)
}

fn finish(
    outcome: Result<PullReport>,
    source: &Destination,
    before: &crate::storage::RequestCounts,
) -> Result<PullReport> {
    let requests = source.places.data.requests().since(before);
    outcome.map(|report| PullReport { requests, ..report })
}

fn round(source: &Destination, target: &Path, options: &PullOptions, watch: &Watch<'_>) -> Result<PullReport> {
    let places = &source.places;
    let memory = StoreOptions::default();
    let control = places.block(Store::connect(&Location::Memory, &memory, options.means.clock.clone()))?;
    let own = Places::new(places.data.clone(), control, places.runtime().clone());
    let listed = Destination { name: source.name.clone(), places: own, state: None };
    let transfers = options.transfers.clamp(1, TRANSFERS_MAX);
    let adopting = AdoptOptions { transfers, ..AdoptOptions::new(options.means.clone()) };
    let report = adopt_beside(&listed, &adopting, target, watch)?;
    if report.left_out > 0 {
        // What is in the way of a file may hide one that is wanted: nothing may be removed for not being there.
        return Err(Error::invalid(format!("{} objects of the prefix cannot be files", report.left_out))
            .with_hint("remove them from the prefix, or push it with volvault"));
    }
    let attributes = if report.facl { Attributes::Acls } else { Attributes::Leave };
    if !report.facl {
        let text = format!("there is no {FACL}: owners and modes are not known");
        watch.observer.on(&Event::Note { text: &text });
    }
    let filter: Arc<dyn Includes> =
        if report.links > 0 { Arc::clone(&options.filter) } else { Arc::new(LeavesLinks(Arc::clone(&options.filter))) };
    // rclone's source compares by content, so a file of the same size and time may be another one.
    let checksum = !options.size_only;
    let options =
        PullOptions { attributes, filter, checksum, wait: Duration::ZERO, generation: None, ..options.clone() };
    pull(&listed, target, &options, watch).map_err(|error| match error.kind() {
        // Nothing comes of waiting for a newer root: there is none.
        ErrorKind::Unavailable if is_changed(&error) => {
            Error::new(ErrorKind::Changed, "an object of the listing").with_source(error)
        }
        _ => error,
    })
}

/// Whether the error came of an object that is another one now.
fn is_changed(error: &Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<Error>().is_some_and(|cause| cause.kind() == ErrorKind::Changed) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// A choice of files without links.
#[derive(Debug)]
struct LeavesLinks(Arc<dyn Includes>);

impl Includes for LeavesLinks {
    fn includes(&self, path: &TreePath, kind: EntryKind, size: u64, mtime: Timestamp) -> bool {
        kind != EntryKind::Symlink && self.0.includes(path, kind, size, mtime)
    }

    fn may_descend(&self, path: &TreePath) -> bool {
        self.0.may_descend(path)
    }

    /// Whoever pushes the prefix pushes no links: none is removed for not being in it, whatever else goes.
    fn reaches(&self, path: &TreePath, kind: EntryKind) -> bool {
        kind != EntryKind::Symlink && self.0.reaches(path, kind)
    }

    fn words(&self) -> Option<String> {
        Some(format!("{} without links", self.0.words()?))
    }
}
