//! One pass over the generation beside the target, in catalogue order: what has to be fetched, made, changed and removed. Changes
//! nothing but the plan.
//!
//! Memory: a page of each layer of the manifest, what the walk reads ahead, and what [`Links`] holds.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::catalog::{Content, Entry, Joined, Node, Pathed, Timestamp, merge_join};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::{Action, Progress};
use crate::path::TreePath;
use crate::volume::rules::RuleOptions;
use crate::volume::{EntryKind, Found, Rules, Source, WalkItem, WalkOptions, walk};

use super::content::is_packed;
use super::context::{Pull, mark};
use super::leaving::Leaving;
use super::links::{Links, Role};
use super::plan::PlanWriter;
use super::seen::{Seen, SeenWriter, Stamp};
use super::stage::{Plan, STAGE};
use super::verdict::{Local, Verdict, is_left, judge};

/// What file systems keep for themselves at the top of a volume.
const LOST_AND_FOUND: &str = "lost+found";

/// The entries of a generation, in catalogue order.
pub(super) type Entries<'e> = Box<dyn Iterator<Item = Result<Entry>> + 'e>;

/// What a survey came to.
#[derive(Debug)]
pub(super) struct Surveyed {
    /// What is to be done; none in a dry run, and when nothing is.
    pub(super) plan: Option<Plan>,
    /// Something is to be done.
    pub(super) has_changes: bool,
    /// The root of the mirror, whose metadata is set last of all.
    pub(super) root: Option<Entry>,
    /// Local entries that are none of the mirror and stay.
    pub(super) extras: u64,
    /// Local files that go away or are replaced.
    pub(super) leaving: Leaving,
}

/// See the module.
pub(super) struct Survey<'p, 'a> {
    pull: &'p Pull<'a>,
    plan: PlanWriter<'p>,
    links: Links,
    /// The device of the target, and a directory of it that another file system is mounted on.
    device: Option<u64>,
    mounted: Option<TreePath>,
    /// A local directory that makes room for something else.
    replaced: Option<TreePath>,
    /// Entries of the mirror, and local ones, the roots aside.
    present: u64,
    standing: u64,
    removed_files: u64,
    root: Option<Entry>,
    /// Takes what is seen and stays as it is.
    notes: Option<SeenWriter>,
    start: Timestamp,
    extras: u64,
    leaving: Leaving,
}

impl Pathed for Local {
    fn path(&self) -> &TreePath {
        &self.found.path
    }
}

/// What earlier pulls have seen of the target, and what this one sees.
#[derive(Default)]
pub(super) struct Sight {
    /// What may be relied on.
    pub(super) before: Option<Seen>,
    /// Where what stays as it is goes.
    pub(super) now: Option<SeenWriter>,
}

impl<'p, 'a> Survey<'p, 'a> {
    pub(super) fn new(pull: &'p Pull<'a>, plan: PlanWriter<'p>) -> Self {
        Self {
            pull,
            plan,
            links: Links::default(),
            device: None,
            mounted: None,
            replaced: None,
            present: 0,
            standing: 0,
            removed_files: 0,
            root: None,
            notes: None,
            start: pull.now(),
            extras: 0,
            leaving: Leaving::default(),
        }
    }

    /// Goes over both sides and writes the plan.
    ///
    /// # Errors
    /// `Refused` when a guard says that this cannot be meant.
    pub(super) fn run(&mut self, entries: Entries<'_>, sight: Sight) -> Result<()> {
        let pull = self.pull;
        let mut before = sight.before;
        self.notes = sight.now;
        if pull.target_exists() {
            look(pull, |batches| {
                let local = batches.flatten().filter_map(|item| match item {
                    WalkItem::Found(found) => {
                        let mark = before.as_mut().and_then(|before| before.at(&found.path));
                        let bare = mark.is_some_and(|mark| mark.bare && mark.stamp == Some(Stamp::of(&found.stat)));
                        Some(Ok(Local { found, bare }))
                    }
                    // Nothing is removed then: what is in it may be in the mirror under another name.
                    WalkItem::Problem { path, error } => pull.problem(&path, error).err().map(Err),
                    // Nobody can have pushed one; those that are here belong to programs that run.
                    WalkItem::Socket { .. } => None,
                });
                self.join(entries, local)
            })??;
        } else {
            self.join(entries, std::iter::empty())?;
        }
        // A walk that was asked to stop ends early.
        pull.check()?;
        self.guard()
    }

    /// Whether [`Survey::find_heads`] has to go over the entries again.
    pub(super) fn wants_heads(&self) -> bool {
        self.links.any_wanted()
    }

    /// Finds the files that get further names and are not in the plan.
    pub(super) fn find_heads(&mut self, entries: Entries<'_>) -> Result<()> {
        for entry in entries {
            let entry = entry?;
            if self.covers(&entry) && self.links.is_wanted(&entry) {
                self.plan.head(&entry)?;
            }
        }
        Ok(())
    }

    /// What was seen and stays, if it is to be kept.
    pub(super) fn notes(&mut self) -> Option<SeenWriter> {
        self.notes.take()
    }

    /// The plan, if there is anything to do, and the root of the mirror.
    pub(super) fn finish(self, generation: u64) -> Result<Surveyed> {
        let has_changes = self.plan.has_changes();
        let mut plan = self.plan.finish(generation)?;
        if let Some(plan) = &mut plan {
            plan.removes = self.pull.counts.problems() == 0;
            plan.backup.clone_from(&self.pull.options.backup_dir);
            plan.rules = self.pull.rules();
        }
        Ok(Surveyed { plan, has_changes, root: self.root, extras: self.extras, leaving: self.leaving })
    }

    fn join(&mut self, entries: Entries<'_>, local: impl Iterator<Item = Result<Local>>) -> Result<()> {
        for joined in merge_join(entries, local) {
            self.pull.check()?;
            let joined = joined?;
            self.plan.go_to(joined.path());
            match joined {
                Joined::Left(entry) => self.entry(entry, None)?,
                Joined::Both(entry, local) => self.entry(entry, Some(&local))?,
                Joined::Right(local) => self.extra(&local.found)?,
            }
        }
        Ok(())
    }

    fn covers(&self, entry: &Entry) -> bool {
        let elsewhere = self.mounted.as_ref().is_some_and(|mounted| entry.path.starts_with(mounted));
        !is_reserved(&entry.path)
            && !elsewhere
            && (entry.path.is_root() || self.pull.options.filter.includes_entry(entry))
    }

    /// Something of the target stays as it is.
    fn note(&mut self, found: &Found, bare: bool) -> Result<()> {
        let Some(notes) = &mut self.notes else { return Ok(()) };
        notes.put(found.path.as_bytes(), mark(&found.stat, bare, self.start))
    }

    fn entry(&mut self, mut entry: Entry, local: Option<&Local>) -> Result<()> {
        let pull = self.pull;
        if let Some(local) = local {
            self.see(&local.found);
            pull.tally(|tally| tally.checks += 1);
        }
        self.present += u64::from(!entry.path.is_root());
        if !self.covers(&entry) {
            return self.pass_over(entry, local);
        }
        if matches!(entry.node, Node::Directory) {
            return self.directory(entry, local);
        }
        if local.is_some_and(|local| local.found.stat.kind == EntryKind::Directory) {
            self.replaced = Some(entry.path.clone());
        }
        match self.links.meet(&mut entry) {
            Ok(Role::First) => self.first(&entry, local),
            Ok(Role::Further { kept }) => self.further(&entry, local, kept),
            Err(error) => Err(error.within(format!("the manifest at {}", entry.path))),
        }
    }

    fn pass_over(&mut self, entry: Entry, local: Option<&Local>) -> Result<()> {
        self.links.pass_over(&entry);
        let local = local.map(|local| &local.found);
        let gone = local.filter(|found| found.stat.kind != EntryKind::Directory && !is_reserved(&entry.path));
        if let Some(found) = gone.filter(|found| self.goes_with_excluded(found)) {
            return self.remove(found);
        }
        if let Some(found) = local {
            self.note(found, false)?;
        }
        // It is made when something below it is covered.
        if matches!(entry.node, Node::Directory) { self.plan.enter(entry, false) } else { Ok(()) }
    }

    fn directory(&mut self, entry: Entry, local: Option<&Local>) -> Result<()> {
        let pull = self.pull;
        if entry.path.is_root() {
            self.root = Some(entry.clone());
        }
        let planned = if let Some(local) = local.filter(|local| local.found.stat.kind == EntryKind::Directory) {
            let is_same = pull.has_metadata(&entry, &local.found.stat, local.bare)?;
            if is_same {
                self.note(&local.found, pull.is_bare(&entry, &local.found.stat))?;
            }
            !is_same
        } else {
            pull.foresee(&entry);
            true
        };
        if planned && local.is_some() {
            pull.tally(|tally| tally.metadata_updates += 1);
        }
        self.plan.enter(entry, planned)
    }

    fn first(&mut self, entry: &Entry, local: Option<&Local>) -> Result<()> {
        if lacks_content(entry) {
            return Err(Error::corrupt(format!("the manifest has {} without its content", entry.path)));
        }
        let mut verdict = judge(self.pull, entry, local)?;
        let local = local.map(|local| &local.found);
        if let (Verdict::Same | Verdict::Describe, Some(found)) = (verdict, local) {
            if self.links.may_keep(&found.stat) {
                self.links.keep(entry, &found.stat);
            } else {
                verdict = Verdict::anew(entry);
            }
        }
        match verdict {
            Verdict::Same => {
                local.map_or(Ok(()), |found| self.note(found, self.pull.is_bare(entry, &found.stat)))?;
                self.pull.item(Action::Unchanged, &entry.path, 0);
                Ok(())
            }
            Verdict::Leave => {
                if let Some(found) = local {
                    self.links.keep(entry, &found.stat);
                    self.note(found, false)?;
                }
                self.pull.item(Action::Skipped, &entry.path, 0);
                Ok(())
            }
            Verdict::Describe => {
                self.pull.tally(|tally| tally.metadata_updates += 1);
                self.plan.set(entry)
            }
            Verdict::Make => {
                self.foretell(entry, local, 0);
                self.plan.set(entry)
            }
            Verdict::Fetch => {
                let size = size_of(entry);
                self.foretell(entry, local, size);
                if let Some(found) = local {
                    self.leaving.add(found);
                }
                self.pull.counts.plan(size, is_packed(entry));
                self.pull.tally(|tally| {
                    tally.transfers_total += 1;
                    tally.bytes_total += size;
                });
                Progress::add(&self.pull.watch.progress.files_total, 1);
                Progress::add(&self.pull.watch.progress.bytes_total, size);
                self.plan.fetch(entry)
            }
        }
    }

    fn further(&mut self, entry: &Entry, local: Option<&Local>, kept: Option<(u64, u64)>) -> Result<()> {
        let local = local.map(|local| &local.found);
        let is_same = local.is_some_and(|found| kept == Some((found.stat.device, found.stat.inode)));
        let is_kept = |found: &Found| self.pull.options.ignore_existing || is_left(self.pull, entry, &found.stat);
        if is_same || local.is_some_and(is_kept) {
            local.map_or(Ok(()), |found| self.note(found, false))?;
            self.pull.item(Action::Unchanged, &entry.path, 0);
            return Ok(());
        }
        self.links.wants_head(entry, kept.is_none());
        self.foretell(entry, local, 0);
        self.plan.set(entry)
    }

    /// A dry run names what would be made.
    fn foretell(&self, entry: &Entry, local: Option<&Found>, size: u64) {
        if self.pull.options.dry_run {
            let action = if local.is_some() { Action::Modified } else { Action::New };
            self.pull.item(action, &entry.path, size);
        }
    }

    /// Something that the mirror does not have.
    fn extra(&mut self, found: &Found) -> Result<()> {
        self.see(found);
        self.extras += 1;
        if found.path.is_root() || is_reserved(&found.path) || self.mounted.as_ref() == Some(&found.path) {
            return self.note(found, false);
        }
        let options = self.pull.options;
        let stat = &found.stat;
        if self.goes_with_excluded(found) || options.filter.includes(&found.path, stat.kind, stat.size, stat.mtime) {
            return self.remove(found);
        }
        match &self.replaced {
            Some(directory) if found.path.starts_with(directory) => {
                let text = format!("{} is to be replaced, and the filter keeps {} in it", directory, found.path);
                Err(Error::new(ErrorKind::Refused, text).with_hint("move it away, or give --delete-excluded"))
            }
            _ => self.note(found, false),
        }
    }

    fn goes_with_excluded(&self, found: &Found) -> bool {
        let options = self.pull.options;
        options.delete_excluded && options.filter.reaches(&found.path, found.stat.kind)
    }

    fn remove(&mut self, found: &Found) -> Result<()> {
        let is_dir = found.stat.kind == EntryKind::Directory;
        self.leaving.add(found);
        self.removed_files += u64::from(!is_dir);
        if self.pull.options.dry_run {
            self.pull.tally(|tally| {
                tally.deleted_files += u64::from(!is_dir);
                tally.deleted_dirs += u64::from(is_dir);
            });
            self.pull.item(Action::Deleted, &found.path, 0);
        }
        self.plan.remove(&found.path)
    }

    fn see(&mut self, found: &Found) {
        self.pull.tally(|tally| tally.listed += 1);
        self.standing += u64::from(!found.path.is_root());
        let device = *self.device.get_or_insert(found.stat.device);
        if self.pull.options.one_file_system && device != found.stat.device {
            self.mounted = Some(found.path.clone());
        }
    }

    fn guard(&self) -> Result<()> {
        let options = self.pull.options;
        if self.present == 0 && self.standing > 0 && !options.allow_empty {
            let text = "the mirror is empty and the target is not".to_owned();
            return Err(Error::new(ErrorKind::Refused, text).with_hint("--allow-empty empties the target"));
        }
        match options.max_delete.filter(|most| self.removed_files > *most) {
            Some(most) => {
                let text = format!("{} files would be removed, and --max-delete permits {most}", self.removed_files);
                Err(Error::new(ErrorKind::Refused, text).with_hint("look what --dry-run lists, then permit more"))
            }
            None => Ok(()),
        }
    }
}

/// Walks the target.
pub(super) fn look<R>(
    pull: &Pull<'_>,
    consume: impl FnOnce(&mut dyn Iterator<Item = Vec<WalkItem>>) -> R,
) -> Result<R> {
    let top = std::fs::canonicalize(pull.target()?.path()).attempt(|| "resolve the target".to_owned())?;
    let rules = Arc::new(rules(&top, pull.options.one_file_system)?);
    let options = WalkOptions { rules, threads: pull.options.checkers, attributes: false };
    let source = Source { at: TreePath::root(), path: top, explicit: true };
    Ok(walk(vec![source], &options, pull.watch.stop, consume))
}

/// The walk does not enter the stage and what belongs to the file system.
fn rules(top: &Path, one_file_system: bool) -> Result<Rules> {
    let mut pattern = Vec::new();
    for byte in top.as_os_str().as_bytes() {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    let exclude = |name: &str| [pattern.as_slice(), b"/", name.as_bytes()].concat();
    let excludes = vec![exclude(STAGE), exclude(LOST_AND_FOUND)];
    Rules::new(RuleOptions { excludes, one_file_system, ..RuleOptions::default() })
}

/// What no pull makes, changes or removes.
fn is_reserved(path: &TreePath) -> bool {
    let top = path.components().next();
    top == Some(STAGE.as_bytes()) || top == Some(LOST_AND_FOUND.as_bytes())
}

/// Whether a file has data and nobody knows which: it must not become a file of zeros.
fn lacks_content(entry: &Entry) -> bool {
    match &entry.node {
        Node::File(file) => matches!(file.content, Content::Empty) && file.content_len() != Some(0),
        _ => false,
    }
}

/// Bytes of content that come over the net.
pub(super) fn size_of(entry: &Entry) -> u64 {
    match &entry.node {
        Node::File(file) if !matches!(file.content, Content::Empty) => file.content_len().unwrap_or(file.size),
        _ => 0,
    }
}
