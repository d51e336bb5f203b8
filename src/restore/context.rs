//! One restore under way: what all its parts share, and how a failure ends it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::catalog::{Entry, LinkGroup};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Action, Event, Progress, Watch};
use crate::path::TreePath;
use crate::repo::{Session, Snapshot};
use crate::volume::rules::Selection;
use crate::volume::{Apply, MetadataOutcome, OwnerNames, Ownership, Stat, Target, is_hopeless};

use super::options::{Overwrite, RestoreOptions};
use super::steps::Steps;
use super::tally::Tally;

type OwnFilter = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

pub(super) struct Restore<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) options: &'a RestoreOptions,
    pub(super) watch: &'a Watch<'a>,
    pub(super) tally: Tally,
    /// `None` in a dry run into a directory that does not exist.
    target: Option<Target>,
    names: Option<OwnerNames>,
    xattr_filter: Option<OwnFilter>,
    halted: AtomicBool,
    first_failure: Mutex<Option<Error>>,
    failed_dirs: Mutex<HashSet<TreePath>>,
    failed_groups: Mutex<HashSet<LinkGroup>>,
    /// Hashes of the paths that verification passes over; 8 bytes each, kept only when there will be a verification.
    not_ours: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl<'a> Restore<'a> {
    pub(super) fn new(
        session: &'a Session<'a>,
        snapshot: &'a Snapshot,
        options: &'a RestoreOptions,
        watch: &'a Watch<'a>,
    ) -> Result<Self> {
        let target = match Target::open(&options.target, !options.dry_run) {
            Ok(target) => Some(target.remove_trees(options.delete)),
            Err(error) if options.dry_run && error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            session,
            snapshot,
            options,
            watch,
            tally: Tally::default(),
            target,
            names: options.ownership_by_name.then(OwnerNames::load),
            xattr_filter: xattr_filter(&options.xattrs),
            halted: AtomicBool::new(false),
            first_failure: Mutex::default(),
            failed_dirs: Mutex::default(),
            failed_groups: Mutex::default(),
            not_ours: Mutex::default(),
            hasher: RandomState::new(),
        })
    }

    /// A walk over the part of the snapshot that is restored.
    pub(super) fn steps(&self) -> Steps<'a> {
        let base = self.options.subfolder.clone().unwrap_or_default();
        let entries = self.session.reader().tree(&self.snapshot.root, self.options.subfolder.as_ref());
        Steps::new(entries, base, &self.options.selection)
    }

    /// The target, to be changed.
    pub(super) fn target(&self) -> Result<&Target> {
        let target = self.target.as_ref().filter(|_| !self.options.dry_run);
        target.ok_or_else(|| Error::bug("a dry run changes nothing"))
    }

    /// The target, to be looked at; `None` when there is none yet.
    pub(super) fn existing_target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// What stands at `path`.
    pub(super) fn stat(&self, path: &TreePath) -> Result<Option<Stat>> {
        self.target.as_ref().map_or(Ok(None), |target| target.stat(path))
    }

    /// How metadata is set.
    pub(super) fn apply(&self) -> Apply<'_> {
        let ownership = match &self.names {
            _ if self.options.privileged == Some(false) => Ownership::Leave,
            Some(names) => Ownership::Names(names),
            None => Ownership::Ids,
        };
        Apply { ownership, xattr_filter: self.xattr_filter.as_deref().map(|filter| filter as _) }
    }

    /// Counts what could not be set. An error that comes out of here concerns one entry only, also where it says that the
    /// disk is full: ext4 says that of an attribute that is larger than a block.
    pub(super) fn note_metadata(&self, outcome: Result<MetadataOutcome>) -> Result<()> {
        let outcome = outcome.map_err(|error| error.repeat())?;
        self.tally.metadata(&outcome);
        Ok(())
    }

    /// Whether the options let what stands at a path stay as it is.
    pub(super) fn leaves_alone(&self, existing: &Stat, entry: &Entry) -> bool {
        match self.options.overwrite {
            Overwrite::Always | Overwrite::IfChanged => false,
            Overwrite::IfNewer => entry.meta.mtime <= existing.mtime,
            Overwrite::Never => true,
        }
    }

    /// An entry enters the plan.
    pub(super) fn planned(&self, bytes: u64) {
        Progress::add(&self.watch.progress.files_total, 1);
        self.planned_content(bytes);
    }

    /// Content enters the plan.
    pub(super) fn planned_content(&self, bytes: u64) {
        Progress::add(&self.watch.progress.bytes_total, bytes);
    }

    /// Content was written, or would be.
    pub(super) fn wrote(&self, bytes: u64) {
        self.tally.bytes_restored(bytes);
        Progress::add(&self.watch.progress.bytes_done, bytes);
    }

    /// Content was there already.
    pub(super) fn kept(&self, bytes: u64) {
        self.tally.bytes_skipped(bytes);
        Progress::add(&self.watch.progress.bytes_done, bytes);
    }

    /// An entry is done.
    pub(super) fn done(&self, path: &TreePath, action: Action, size: u64) {
        self.tally.file(action);
        if action != Action::Deleted {
            Progress::add(&self.watch.progress.files_done, 1);
        }
        if self.watch.observer.wants_items() {
            self.watch.observer.on(&Event::Item { action, path, size });
        }
    }

    /// An entry stays as it is because the options say so: it is not verified either.
    pub(super) fn skipped(&self, path: &TreePath, size: u64) {
        self.kept(size);
        self.done(path, Action::Skipped, size);
        self.pass_over(path);
    }

    /// Verification will not look at `path`.
    fn pass_over(&self, path: &TreePath) {
        if self.options.verify {
            lock(&self.not_ours).insert(self.hasher.hash_one(path));
        }
    }

    /// Whether `path` failed or was left alone.
    pub(super) fn is_passed_over(&self, path: &TreePath) -> bool {
        lock(&self.not_ours).contains(&self.hasher.hash_one(path))
    }

    /// An entry failed. The run goes on, unless no other entry could fare better.
    pub(super) fn fail(&self, entry: &Entry, error: Error) -> Result<()> {
        match entry.link {
            Some(group) => self.fail_group(group, &entry.path, error),
            None => self.problem(&entry.path, error),
        }
    }

    /// The first name of a hard-linked inode failed: the others will not be linked to what may stand there.
    pub(super) fn fail_group(&self, group: LinkGroup, path: &TreePath, error: Error) -> Result<()> {
        lock(&self.failed_groups).insert(group);
        self.problem(path, error)
    }

    /// As [`Restore::fail`], where there is no entry at hand.
    pub(super) fn problem(&self, path: &TreePath, error: Error) -> Result<()> {
        if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Unavailable) {
            return Err(error);
        }
        if is_hopeless(&error) {
            return Err(error.with_hint(
                "make room in the target, or make it writable, and run the same restore again: it goes on from here",
            ));
        }
        self.tally.problem();
        self.pass_over(path);
        self.watch.problem("restore", &path.display(), &error);
        Ok(())
    }

    pub(super) fn has_failed(&self, group: &LinkGroup) -> bool {
        lock(&self.failed_groups).contains(group)
    }

    /// A directory could not be made: what lies in it is passed over.
    pub(super) fn fail_dir(&self, path: &TreePath, error: Error) -> Result<()> {
        lock(&self.failed_dirs).insert(path.clone());
        self.problem(path, error.with_hint("what lies in it was not restored either"))
    }

    pub(super) fn is_failed_dir(&self, path: &TreePath) -> bool {
        lock(&self.failed_dirs).contains(path)
    }

    /// # Errors
    /// `Interrupted` when the user asked to stop, or another thread's failure ended the run.
    pub(super) fn check(&self) -> Result<()> {
        if self.watch.stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "the restore was interrupted")
                .with_hint("run it again: what is restored already is not written again"));
        }
        if self.halted.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "the restore failed elsewhere"));
        }
        Ok(())
    }

    /// Ends the run; the first error that is given here is the one it ends with.
    pub(super) fn halt(&self, error: Error) {
        lock(&self.first_failure).get_or_insert(error);
        self.halted.store(true, Ordering::Relaxed);
    }

    /// The error that ended the run, if one did.
    pub(super) fn outcome(&self) -> Result<()> {
        lock(&self.first_failure).take().map_or(Ok(()), Err)
    }
}

fn xattr_filter(selection: &Selection) -> Option<OwnFilter> {
    if selection.is_all() {
        return None;
    }
    let selection = selection.clone();
    Some(Box::new(move |name| TreePath::parse(name).is_ok_and(|name| selection.selects(&name))))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
