//! One pull under way: what all its parts share.

use std::path::Path;

use crate::catalog::{Entry, Metadata};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Action, Event, Progress, Stop, Watch};
use crate::path::TreePath;
use crate::volume::{Apply, EntryKind, MetadataOutcome, Ownership, Rights, Stat, Target, XattrFilter, is_hopeless};

use super::super::{Places, Tally};
use super::options::{Attributes, PullOptions};
use super::report::Counts;

/// What every part of a pull knows.
pub(super) struct Pull<'a> {
    pub(super) places: &'a Places,
    pub(super) options: &'a PullOptions,
    pub(super) watch: &'a Watch<'a>,
    /// None in a dry run into a directory that does not exist.
    target: Option<&'a Target>,
    pub(super) counts: Counts,
    rights: Rights,
}

impl<'a> Pull<'a> {
    pub(super) fn new(
        places: &'a Places,
        target: Option<&'a Target>,
        options: &'a PullOptions,
        watch: &'a Watch<'a>,
    ) -> Self {
        Self { places, options, watch, target, counts: Counts::default(), rights: Rights::mine() }
    }

    /// The target; every part that comes upon a local entry may ask for it.
    pub(super) fn target(&self) -> Result<&'a Target> {
        self.target.ok_or_else(|| Error::bug("there is no target to look at"))
    }

    pub(super) fn target_exists(&self) -> bool {
        self.target.is_some()
    }

    /// # Errors
    /// `Interrupted` when the user asked to stop.
    pub(super) fn check(&self) -> Result<()> {
        check(self.watch.stop)
    }

    /// One entry failed. The run goes on, unless no other entry could fare better.
    pub(super) fn problem(&self, path: &TreePath, error: Error) -> Result<()> {
        if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Unavailable | ErrorKind::Changed) {
            return Err(error);
        }
        if is_hopeless(&error) {
            return Err(error.with_hint(
                "make room in the target, or make it writable, and run the same pull again: it goes on from here",
            ));
        }
        self.counts.problem();
        self.watch.problem("pull", &path.display(), &error);
        Ok(())
    }

    /// Tells what became of an entry.
    pub(super) fn item(&self, action: Action, path: &TreePath, size: u64) {
        if action != Action::Deleted {
            Progress::add(&self.watch.progress.files_done, 1);
        }
        if self.watch.observer.wants_items() {
            self.watch.observer.on(&Event::Item { action, path, size });
        }
    }

    pub(super) fn note(&self, text: &str) {
        self.watch.observer.on(&Event::Note { text });
    }

    pub(super) fn tally(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.counts.tally());
    }

    /// Whether what stands at `path` has the metadata that an entry is to have, as far as this process can give it. What it
    /// cannot is counted here, and nowhere else.
    pub(super) fn has_metadata(&self, entry: &Entry, stat: &Stat) -> Result<bool> {
        let (wanted, left_out) = self.rights.attainable(&entry.meta, stat.kind, (stat.uid, stat.gid));
        self.counts.metadata(&left_out);
        self.target()?.has_metadata(&entry.path, stat, &wanted, &self.how())
    }

    /// Counts what a new entry cannot be given.
    pub(super) fn foresee(&self, entry: &Entry) {
        let (_, left_out) = self.rights.attainable(&entry.meta, EntryKind::of(&entry.node), owner_of_new());
        self.counts.metadata(&left_out);
    }

    /// Gives what stands at `path` the metadata `wanted`, unless it has it.
    pub(super) fn set_metadata(&self, path: &TreePath, wanted: &Metadata, stat: &Stat) -> Result<bool> {
        let (wanted, _) = self.rights.attainable(wanted, stat.kind, (stat.uid, stat.gid));
        if self.target()?.has_metadata(path, stat, &wanted, &self.how())? {
            return Ok(false);
        }
        let outcome = self.target()?.set_metadata(path, stat.kind, &wanted, &self.how());
        self.note_metadata(outcome)?;
        Ok(true)
    }

    /// An error that comes out of here concerns one entry only, also where it says that the disk is full: ext4 says that of an
    /// attribute that is larger than a block.
    fn note_metadata(&self, outcome: Result<MetadataOutcome>) -> Result<()> {
        self.counts.metadata(&outcome.map_err(|error| error.repeat())?);
        Ok(())
    }

    pub(super) fn may_make_devices(&self) -> bool {
        self.rights.mknod
    }

    fn how(&self) -> Apply<'static> {
        let ownership = if self.rights.chown { Ownership::Ids } else { Ownership::Leave };
        let xattr_filter: Option<&'static XattrFilter> = match self.options.attributes {
            Attributes::All => None,
            Attributes::Acls => Some(&is_acl),
            Attributes::Leave => Some(&|_| false),
        };
        Apply { ownership, xattr_filter }
    }
}

fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

fn owner_of_new() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// # Errors
/// `Interrupted` when the user asked to stop.
pub(super) fn check(stop: &Stop) -> Result<()> {
    if stop.requested() {
        return Err(Error::new(ErrorKind::Interrupted, "the pull was interrupted")
            .with_hint("run it again: what it had fetched is not fetched again"));
    }
    Ok(())
}

/// Whether one path is the other or lies within it. Links are followed as far as the paths exist.
pub(super) fn overlap(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    match (real(one), real(other)) {
        (Ok(one), Ok(other)) => one.starts_with(&other) || other.starts_with(&one),
        _ => false,
    }
}
