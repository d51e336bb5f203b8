//! One pull under way: what all its parts share.

use std::time::Duration;

use crate::catalog::{Entry, Metadata, Node, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Action, Event, Progress, Stop, Watch};
use crate::path::TreePath;
use crate::volume::{
    Apply, EntryKind, MetadataOutcome, Ownership, Rights, Stat, Target, TargetFile, XattrFilter, has_basics,
    is_hopeless,
};

use super::super::waiting::unless_stopped;
use super::super::{Places, Tally};
use super::options::{Attributes, PullOptions};
use super::report::Counts;
use super::seen::{Mark, Stamp};

/// Longest time between two ticks of a kernel's clock, and some more: 100 ticks a second are the fewest.
const TICK: Duration = Duration::from_millis(15);
/// The same where times have whole seconds; FAT has even ones.
const COARSE: Duration = Duration::from_secs(3);

/// What every part of a pull knows.
pub(super) struct Pull<'a> {
    pub(super) places: &'a Places,
    pub(super) options: &'a PullOptions,
    pub(super) watch: &'a Watch<'a>,
    /// None in a dry run into a directory that does not exist.
    target: Option<&'a Target>,
    pub(super) counts: Counts,
    rights: Rights,
    /// User and group of what this process makes, where the directory does not say otherwise.
    owner_of_new: (u32, u32),
}

impl<'a> Pull<'a> {
    pub(super) fn new(
        places: &'a Places,
        target: Option<&'a Target>,
        options: &'a PullOptions,
        watch: &'a Watch<'a>,
    ) -> Self {
        Self {
            places,
            options,
            watch,
            target,
            counts: Counts::default(),
            rights: Rights::mine(),
            owner_of_new: owner_of_new(),
        }
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

    /// Waits for an answer, unless the user asks to stop.
    pub(super) async fn unless_stopped<T>(&self, future: impl Future<Output = T> + Unpin) -> Result<T> {
        unless_stopped(self.watch.stop, future).await.ok_or_else(interrupted)
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
    /// cannot is counted here, and nowhere else. What is `bare` is known to have no attributes.
    pub(super) fn has_metadata(&self, entry: &Entry, stat: &Stat, bare: bool) -> Result<bool> {
        let (wanted, left_out) = self.rights.attainable(&entry.meta, stat.kind, (stat.uid, stat.gid));
        self.counts.metadata(&left_out);
        if bare {
            return Ok(wanted.xattrs.is_empty() && has_basics(stat, &wanted, &self.how()));
        }
        self.target()?.has_metadata(&entry.path, stat, &wanted, &self.how())
    }

    /// Whether what stands at `path` is `entry`, with all its metadata, as far as that can be seen without reading its content; counts
    /// nothing.
    pub(super) fn is_as_made(&self, entry: &Entry, stat: &Stat) -> Result<bool> {
        let (wanted, _) = self.rights.attainable(&entry.meta, stat.kind, (stat.uid, stat.gid));
        let target = self.target()?;
        let stands = match &entry.node {
            Node::File(file) => stat.kind == EntryKind::File && stat.size == file.size,
            Node::Directory => stat.kind == EntryKind::Directory,
            node => target.has_special(&entry.path, node, stat)?,
        };
        Ok(stands && target.has_metadata(&entry.path, stat, &wanted, &self.how())?)
    }

    /// Whether an entry that stands as it should has no attributes.
    pub(super) fn is_bare(&self, entry: &Entry, stat: &Stat) -> bool {
        self.rights.attainable(&entry.meta, stat.kind, (stat.uid, stat.gid)).0.xattrs.is_empty()
    }

    /// The time, as file systems have it.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.options.means.clock.now();
        Timestamp { seconds: now.timestamp(), nanos: now.timestamp_subsec_nanos().min(999_999_999) }
    }

    /// Waits until a change that comes now has another time than all before.
    pub(super) fn pass_a_tick(&self) {
        self.places.block(async { tokio::time::sleep(TICK + Duration::from_millis(1)).await });
    }

    /// What decides, beside the generation, on how the target should be.
    pub(super) fn circumstances(&self) -> [u8; 32] {
        let PullOptions { delete_excluded, one_file_system, attributes, .. } = self.options;
        let (rights, owner) = (self.rights, self.owner_of_new);
        let text = format!("{rights:?} {owner:?} {delete_excluded} {one_file_system} {attributes:?}");
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// A digest of what this run was told that decides on what is replaced and removed, and where it goes; none if it is another one each time.
    pub(super) fn rules(&self) -> Option<String> {
        let PullOptions { filter, delete_excluded, update, ignore_existing, size_only, .. } = self.options;
        let PullOptions { max_delete, allow_empty, one_file_system, backup_dir, generation, .. } = self.options;
        let files = format!("{} {delete_excluded} {update} {ignore_existing} {size_only}", filter.words()?);
        let safety = format!("{max_delete:?} {allow_empty} {one_file_system} {backup_dir:?} {generation:?}");
        // A prefix that another tool wrote has its control area in memory, whose place is another than that of a mirror there, and always the same:
        // what was planned by a listing is carried on after a listing, and what was planned by a manifest after a manifest.
        let mirror = (self.places.data.place(), self.places.control.place());
        let text = format!("{mirror:?} {files} {safety} {:?}", self.options.attributes);
        Some(blake3::hash(text.as_bytes()).to_hex().to_string())
    }

    /// Counts what a new entry cannot be given.
    pub(super) fn foresee(&self, entry: &Entry) {
        let (_, left_out) = self.rights.attainable(&entry.meta, EntryKind::of(&entry.node), self.owner_of_new);
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

    /// Gives a file that was just made in the stage the metadata that it is to have there already, while it is open. What does not go
    /// well is found when it takes its place; so are attributes.
    pub(super) fn describe_new(&self, file: &TargetFile, entry: &Entry) {
        if entry.meta.xattrs.is_empty() {
            let (wanted, _) = self.rights.attainable(&entry.meta, EntryKind::File, self.owner_of_new);
            let _ = file.set_metadata(&wanted, &self.how());
        }
    }

    /// As [`Pull::set_metadata`], for a file of the stage, where nobody else can have given it attributes.
    pub(super) fn settle_metadata(&self, path: &TreePath, wanted: &Metadata, stat: &Stat) -> Result<bool> {
        let (attainable, _) = self.rights.attainable(wanted, stat.kind, (stat.uid, stat.gid));
        if self.target()?.has_metadata_as_made(path, stat, &attainable, &self.how())? {
            return Ok(false);
        }
        self.set_metadata(path, wanted, stat)
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

/// What was seen of an entry. Of one that was changed just now a later change might leave the same: file systems tell no times
/// that are closer together than a tick.
pub(super) fn mark(stat: &Stat, bare: bool, now: Timestamp) -> Mark {
    let grain = if stat.ctime.nanos == 0 { COARSE } else { TICK };
    let age = |then: Timestamp| {
        let seconds = i128::from(now.seconds) - i128::from(then.seconds);
        seconds * 1_000_000_000 + i128::from(now.nanos) - i128::from(then.nanos)
    };
    let is_sure = age(stat.ctime) > i128::try_from(grain.as_nanos()).unwrap_or(i128::MAX);
    Mark { stamp: is_sure.then(|| Stamp::of(stat)), bare }
}

fn owner_of_new() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// # Errors
/// `Interrupted` when the user asked to stop.
pub(super) fn check(stop: &Stop) -> Result<()> {
    if stop.requested() { Err(interrupted()) } else { Ok(()) }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "the pull was interrupted")
        .with_hint("run it again: what it had fetched is not fetched again")
}
