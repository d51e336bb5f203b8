//! Pull: a generation of a mirror into a directory, all of it or nothing.
//!
//! A survey compares the generation with the target and writes a plan; the contents are fetched into a stage within the target, each
//! by a read that is pinned to the object of that generation; when everything is there and on the disk, the target is changed from
//! the stage alone. Until then the target is what it was; after that it becomes the new generation, if need be in the next run,
//! and without the store. Spec: `docs/mirror.md`.
//!
//! What it must never do: mix two generations; write outside of the target; remove anything unless everything else has succeeded.

mod apply;
mod content;
mod context;
mod delta;
mod download;
mod fetch;
mod install;
mod leaving;
mod links;
mod made;
mod options;
mod plan;
mod removal;
mod report;
mod run;
mod seen;
mod sight;
mod small;
mod source;
mod spans;
mod stage;
mod survey;
mod verdict;

pub use options::{Attributes, PullOptions};
pub use report::{PullReport, Pulled};

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Destination;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::Watch;
use crate::storage::RequestCounts;
use crate::volume::Target;

use super::overlap::{overlap, overlaps_mirror};
use context::Pull;
use made::Made;
use run::Run;
use source::Memory;
pub(super) use stage::TORN_IF;

/// Makes the directory `target` what a generation of the mirror is. Single entries that fail are reported to `watch` and counted;
/// nothing is removed then.
///
/// Memory: the bound on bytes under way (48 MiB); a few MiB for the walk and the pages of the manifest; about 130 bytes for each
/// inode with several names, and 150 for each local file that goes away, up to 65,536 of them.
///
/// # Errors
/// `Refused` by a guard, `NotFound` without a mirror, `Unavailable` while a push goes on for longer than one is to wait, or another
/// pull; `Interrupted` when asked to stop: a further run goes on from there. `Denied` with `strict`.
pub fn pull(source: &Destination, target: &Path, options: &PullOptions, watch: &Watch<'_>) -> Result<PullReport> {
    check_places(source, target, options)?;
    let (made, made_backup) = if options.dry_run {
        (Made::default(), Made::default())
    } else {
        (Made::for_run(target), options.backup_dir.as_deref().map(Made::for_run).unwrap_or_default())
    };
    let pulled = pull_opened(source, target, options, watch);
    if pulled.is_err() {
        made_backup.take_back();
        made.take_back();
    }
    pulled
}

fn pull_opened(source: &Destination, target: &Path, options: &PullOptions, watch: &Watch<'_>) -> Result<PullReport> {
    let opened = match Target::open(target, !options.dry_run) {
        Ok(opened) => Some(opened),
        Err(error) if options.dry_run && error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(backup) = &options.backup_dir {
        check_backup(backup, target, options)?;
    }
    let _lock = opened.as_ref().map(|opened| lock(opened, target)).transpose()?;
    let before = (source.places.data.requests(), source.places.control.requests());
    let pull = Pull::new(&source.places, opened.as_ref(), options, watch);
    let (memory, problem) = Memory::open(source, target, options);
    if let Some(error) = problem {
        pull.note(&format!("nothing is remembered of this mirror: {}", error.chain()));
    }
    let mut report = Run::new(&pull, memory).run()?;
    report.requests = sent(source, &before);
    match report.not_set.sentence() {
        Some(text) if options.strict => {
            return Err(
                Error::new(ErrorKind::Denied, text).with_hint("run with the rights that it takes, or without --strict")
            );
        }
        Some(text) => pull.note(&text),
        None => {}
    }
    Ok(report)
}

/// A mirror in a directory and the target are not one within the other.
fn check_places(source: &Destination, target: &Path, options: &PullOptions) -> Result<()> {
    if overlaps_mirror(target, &source.places) {
        return Err(Error::new(ErrorKind::Refused, format!("{} and {} overlap", source.name, target.display()))
            .with_hint("pull into a directory that is apart from the mirror"));
    }
    match &options.backup_dir {
        Some(backup) if overlap(backup, target) => {
            Err(Error::invalid(format!("--backup-dir {} and the target overlap", backup.display())))
        }
        Some(backup) if overlaps_mirror(backup, &source.places) => {
            Err(Error::invalid(format!("--backup-dir {} and the mirror overlap", backup.display())))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_backup(backup: &Path, target: &Path, options: &PullOptions) -> Result<()> {
    if options.dry_run {
        return Ok(());
    }
    let said = || format!("look at --backup-dir {}", backup.display());
    Target::open(backup, true).attempt(said)?;
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).attempt(said);
    if device(backup)? == device(target)? {
        return Ok(());
    }
    Err(Error::invalid(format!("--backup-dir {} is on another file system than the target", backup.display())))
}

fn lock(opened: &Target, target: &Path) -> Result<crate::volume::TargetLock> {
    opened.lock()?.ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, format!("another pull into {} is under way", target.display()))
            .with_hint("it ends by itself: try again later")
    })
}

/// The requests since `before`, to both halves of the mirror.
fn sent(source: &Destination, before: &(RequestCounts, RequestCounts)) -> RequestCounts {
    source.places.data.requests().since(&before.0).plus(&source.places.control.requests().since(&before.1))
}
