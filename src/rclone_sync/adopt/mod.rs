//! Makes the first generation of a prefix that rclone or other tools wrote, without moving its data: the objects are listed, and the manifest is
//! published beside them. It names each file by its `ETag` and its size; its BLAKE3 becomes known when somebody reads it: on request here
//! ([`AdoptOptions::read`]), or a push that compares.
//!
//! What listings do not say comes from where it is: the time of a file from the object's metadata (a request each, unless the time
//! of storing will do), owners, modes and ACLs from `permissions.facl` if the prefix has one. A push from the tree itself needs no
//! adoption: it compares MD5 sums with the listing and sends what differs.
//!
//! Objects come in the order of their keys, which is not that of the catalogue: runs of them are sorted in memory, written to local
//! files and merged. Order of writes: the manifest, the copy of the root in the history, the root. A run that is cut off before
//! the root has changed nothing that anybody reads. No object of the prefix is written or deleted, so no claim is taken: a root that
//! somebody else has published meanwhile is not replaced.

mod beside;
mod object;
mod runs;
#[cfg(test)]
mod tests;
mod tree;

use std::io::{BufReader, Write};
use std::path::Path;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use md5::Digest as _;

use self::beside::Beside;
use self::object::{Adopted, Reading};
use self::runs::Runs;
use super::destination::{Destination, Means};
use super::facl::{FACL, Records};
use super::layout::{CONTROL, LINK_END, PUSH, ROOT, root_key};
use super::manifest::store_segment;
use super::root::{Flags, Pusher, Root, Totals, UNHASHED};
use super::scratch::Scratch;
use super::segment::{SegmentWriter, Written};
use crate::catalog::{Entry, Metadata, Node, Timestamp};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::{Progress, Watch};
use crate::path::TreePath;
use crate::storage::{Attributes, Condition, ObjectInfo};
use crate::volume::EntryKind;

/// Requests beside those for the objects: looks for a mirror and for permissions, a sample, the manifest and the root.
const FIXED_REQUESTS: u64 = 8;
/// Largest object that is read to see whether tags are MD5 sums.
const SAMPLE_MAX: u64 = 1 << 20;
/// Bytes of an object in memory at once, for each transfer.
const PIECE: u64 = 8 << 20;

/// Where the times of files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// From the metadata that rclone stores: one request more for each object.
    Metadata,
    /// The time at which the object was stored, as the listing has it.
    Stored,
}

/// How a prefix is adopted.
#[derive(Debug, Clone)]
pub struct AdoptOptions {
    /// What the run has from outside.
    pub means: Means,
    /// Read every object, so that its BLAKE3 is known.
    pub read: bool,
    /// Where times come from.
    pub times: Times,
    /// Owner and group of what nothing else is said of.
    pub owner: (u32, u32),
    /// Objects read at once.
    pub transfers: usize,
}

impl AdoptOptions {
    /// The defaults: times as rclone stored them, everything belongs to root.
    pub fn new(means: Means) -> Self {
        Self { means, read: false, times: Times::Metadata, owner: (0, 0), transfers: 16 }
    }
}

/// What was adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdoptReport {
    /// Entries of the generation, directories among them.
    pub entries: u64,
    /// Files.
    pub files: u64,
    /// Symbolic links.
    pub links: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that are no part of it, told as problems: keys that no file can have, files below files, second objects of a path.
    pub left_out: u64,
    /// Whether owners, modes and ACLs came from `permissions.facl`.
    pub facl: bool,
}

/// Publishes generation 1 of a mirror that has objects but no manifest.
///
/// # Errors
/// `Invalid` for a mirror that has a manifest already, `Changed` when an object is written meanwhile, those of the store and of
/// local files.
pub fn adopt(mirror: &Destination, options: &AdoptOptions, watch: &Watch<'_>) -> Result<AdoptReport> {
    let location = mirror.places.data.location();
    Adoption { mirror, options, beside: None, watch }.run().attempt(|| format!("adopt {location}"))
}

/// The same for a mirror that is about to be pulled into `target`: files that are there already, by their MD5, are not read from the store, and what
/// nobody has written down is taken from there.
///
/// # Errors
/// As [`adopt`]; `NotFound` when nothing is there.
pub(super) fn adopt_beside(
    mirror: &Destination,
    options: &AdoptOptions,
    target: &Path,
    watch: &Watch<'_>,
) -> Result<AdoptReport> {
    let run = |options: &AdoptOptions| Adoption { mirror, options, beside: Some(Beside::open(target)?), watch }.run();
    match run(options) {
        // Tags that are no MD5 sums prove nothing: what is not there already is read.
        Err(error) if error.kind() == ErrorKind::Unsupported && !options.read => {
            run(&AdoptOptions { read: true, ..options.clone() })
        }
        outcome => outcome,
    }
}

/// What an adoption would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Foreseen {
    /// Objects, and their bytes.
    pub objects: u64,
    /// See there.
    pub bytes: u64,
    /// Requests that it would take, about.
    pub requests: u64,
    /// Bytes that it would read, beside listings.
    pub read: u64,
}

/// What an adoption would take. One request for each thousand objects.
///
/// # Errors
/// Those of the store.
pub fn survey(mirror: &Destination, options: &AdoptOptions) -> Result<Foreseen> {
    let places = &mirror.places;
    let mut seen = Foreseen { requests: FIXED_REQUESTS, ..Foreseen::default() };
    let mut pages = places.data.list_objects("")?;
    while let Some(page) = places.block(pages.next())? {
        seen.requests += 1;
        for object in page {
            let is_read = options.read || object.key.ends_with(LINK_END) || object.key == FACL;
            seen.objects += 1;
            seen.bytes = seen.bytes.saturating_add(object.size);
            seen.requests += u64::from(options.times == Times::Metadata);
            if is_read {
                seen.requests += object.size.div_ceil(PIECE);
                seen.read = seen.read.saturating_add(object.size);
            }
        }
    }
    Ok(seen)
}

struct Adoption<'a> {
    mirror: &'a Destination,
    options: &'a AdoptOptions,
    beside: Option<Beside>,
    watch: &'a Watch<'a>,
}

impl Adoption<'_> {
    fn run(&self) -> Result<AdoptReport> {
        self.refuse_a_mirror()?;
        let scratch = Scratch::make(&self.options.means.scratch, "volvault-adopt")?;
        let mut report = AdoptReport::default();
        let permissions = self.permissions(&scratch)?;
        report.facl = permissions.is_some();
        let objects = self.objects(&scratch, &mut report)?;
        let mut writer = SegmentWriter::create(&scratch.path().join("base"))?;
        let now = time_of(self.options.means.clock.now().to_utc());
        let directory = |path: &TreePath| self.describe(path, EntryKind::Directory, self.metadata(0o755, now));
        let mut tree = tree::Tree::new(Box::new(directory), permissions);
        if let Some(top) = tree.top()? {
            writer.put(&top)?;
        }
        let mut doubles = objects.added();
        for entry in objects.sorted()? {
            self.refuse_to_go_on()?;
            let entry = entry?;
            doubles = doubles.saturating_sub(1);
            report.links += u64::from(matches!(entry.node, Node::Symlink { .. }));
            if let Err((path, why)) = tree.put(entry, &mut |entry| writer.put(entry))? {
                report.left_out += 1;
                self.watch.problem("adopt", &path.display(), &why);
            }
        }
        if doubles > 0 {
            report.left_out += doubles;
            let why = Error::invalid(format!("{doubles} objects mean a file that another object means, too"));
            self.watch.problem("adopt", "files and links or markers of the same name", &why);
        }
        let written = writer.finish()?;
        if written.entries == 0 {
            return Err(self.nothing());
        }
        (report.entries, report.files, report.bytes) = (written.entries, written.files, written.bytes);
        self.publish(&written, report.facl)?;
        Ok(report)
    }

    fn nothing(&self) -> Error {
        if self.beside.is_none() {
            return Error::new(ErrorKind::NotFound, "there is nothing to adopt")
                .with_hint("look at the location with `rclone ls`; an empty mirror is made by a push");
        }
        let location = self.mirror.places.data.location();
        Error::new(ErrorKind::NotFound, format!("there is nothing to pull at {location}"))
            .with_hint("let the source push first; if it has pushed, it was to another place")
    }

    /// A directory or a bucket that nobody has made yet is as good as an empty one to whoever wants to pull.
    fn unless_missing(&self, error: Error) -> Error {
        match (error.kind(), &self.beside) {
            (ErrorKind::NotFound, Some(_)) => self.nothing().with_source(error),
            (_, _) => error,
        }
    }

    fn refuse_a_mirror(&self) -> Result<()> {
        let places = &self.mirror.places;
        if places.block(places.control.info(PUSH))?.is_some() {
            return Err(Error::new(ErrorKind::Unavailable, "a push is under way there, or one was cut off")
                .with_hint("let it end; if it was cut off, run it again: it adopts what is there by itself"));
        }
        match places.block(places.control.info(ROOT))? {
            None => Ok(()),
            Some(_) => Err(Error::invalid("it is a mirror already, with a manifest of its own")
                .with_hint("push to it or pull from it; nothing needs to be adopted")),
        }
    }

    fn refuse_to_go_on(&self) -> Result<()> {
        if self.watch.stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "stopped before anything was published"));
        }
        Ok(())
    }

    /// All objects, as entries in runs.
    fn objects(&self, scratch: &Scratch, report: &mut AdoptReport) -> Result<Runs> {
        let places = &self.mirror.places;
        let reading = Reading { places, options: self.options, adoption: self };
        let mut runs = Runs::new(scratch.path().join("objects"));
        let mut is_sampled = false;
        let mut pages = places.data.list_objects("")?;
        while let Some(page) = places.block(pages.next()).map_err(|error| self.unless_missing(error))? {
            let is_control = |key: &str| self.beside.is_some() && key.starts_with(CONTROL) && key.contains('/');
            let wanted = |object: &ObjectInfo| object.key != FACL && !is_control(&object.key);
            let page: Vec<ObjectInfo> = page.into_iter().filter(wanted).collect();
            Progress::add(&self.watch.progress.files_total, page.len() as u64);
            if self.options.read {
                Progress::add(&self.watch.progress.bytes_total, page.iter().map(|object| object.size).sum());
            } else if !std::mem::replace(&mut is_sampled, true) {
                self.sample(&page)?;
            }
            let read =
                stream::iter(page).map(|object| reading.adopt(object)).buffer_unordered(self.options.transfers.max(1));
            let read: Vec<Result<Adopted>> = places.block(read.collect());
            self.refuse_to_go_on()?;
            for adopted in read {
                match adopted? {
                    Adopted::Entry(entry) => runs.add(*entry)?,
                    Adopted::LeftOut { key, why } => {
                        report.left_out += 1;
                        self.watch.problem("adopt", &key, &why);
                    }
                }
            }
        }
        Ok(runs)
    }

    /// Whether a tag that looks like an MD5 is one: pulls will rely on it. Some stores give encrypted objects others.
    fn sample(&self, page: &[ObjectInfo]) -> Result<()> {
        let places = &self.mirror.places;
        let small = |object: &&ObjectInfo| (1..=SAMPLE_MAX).contains(&object.size) && object.pin.md5().is_some();
        let Some(object) = page.iter().filter(small).min_by_key(|object| object.size) else { return Ok(()) };
        let bytes = places.block(places.data.get_pinned(&object.key, 0..object.size, object.size, &object.pin))?;
        if object.pin.md5() == Some(md5::Md5::digest(&bytes).into()) {
            return Ok(());
        }
        let text = format!("the ETag of {} looks like an MD5 sum and is none", object.key);
        Err(Error::new(ErrorKind::Unsupported, text)
            .with_hint("adopt with --read: the files are known by their BLAKE3 then"))
    }

    /// What `permissions.facl` says, as directories with that metadata; none when there is no such object.
    fn permissions(&self, scratch: &Scratch) -> Result<Option<runs::Sorted>> {
        let places = &self.mirror.places;
        let Some((info, _)) = places.block(places.data.info(FACL))? else { return Ok(None) };
        let path = scratch.path().join(FACL);
        let said = || format!("write {}", path.display());
        let mut file = std::fs::File::create(&path).attempt(said)?;
        let mut at = 0;
        while at < info.size {
            self.refuse_to_go_on()?;
            let end = info.size.min(at + PIECE);
            let piece = places.block(places.data.get_pinned(FACL, at..end, info.size, &info.pin))?;
            file.write_all(&piece).attempt(said)?;
            at = end;
        }
        let file = std::fs::File::open(&path).attempt(|| format!("read {}", path.display()))?;
        let mut runs = Runs::new(scratch.path().join("permissions"));
        for record in Records::new(BufReader::new(file)) {
            let record = record?;
            let mut meta = self.metadata(0, Timestamp::default());
            record.apply(&mut meta);
            runs.add(Entry { path: record.path, meta, node: Node::Directory, link: None })?;
        }
        runs.sorted().map(Some)
    }

    /// What an entry has before anything is said of it.
    fn metadata(&self, mode: u16, mtime: Timestamp) -> Metadata {
        let (uid, gid) = self.options.owner;
        let xattrs = Vec::new().into();
        Metadata { mode, uid, gid, user: None, group: None, mtime, ctime: mtime, inode: 0, xattrs }
    }

    /// `meta` of an entry that is about to be adopted, with what a directory beside it knows better.
    fn describe(&self, path: &TreePath, kind: EntryKind, meta: Metadata) -> Metadata {
        match &self.beside {
            Some(beside) => beside.describe(path, kind, meta),
            None => meta,
        }
    }

    /// See the module for the order.
    fn publish(&self, written: &Written, facl: bool) -> Result<()> {
        let (places, means) = (&self.mirror.places, &self.options.means);
        places.block(places.control.ensure_container())?;
        store_segment(places, written)?;
        let pusher = Pusher { id: means.id.clone(), host: means.host.clone(), program: means.program.clone() };
        let totals = Totals { entries: written.entries, files: written.files, bytes: written.bytes };
        let mut root = Root::first(written.at(1), pusher, means.clock.now().to_utc(), totals);
        root.flags = Flags { facl, ..Flags::default() };
        if !self.options.read && written.bytes > 0 {
            root.features.push(UNHASHED.to_owned());
        }
        let text = Bytes::from(root.encode()?);
        let json = Attributes { content_type: Some("application/json".to_owned()), ..Attributes::default() };
        places.block(places.control.put_with(&root_key(1), text.clone(), &json, Condition::Any))?;
        let json = Attributes { no_cache: true, ..json };
        let swapped = places.block(places.control.put_with(ROOT, text.clone(), &json, Condition::New));
        match swapped {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.refuse_a_mirror()?;
                places.block(places.control.put_with(ROOT, text, &json, Condition::Any)).map(drop)
            }
            Err(error) if error.kind() == ErrorKind::Changed => {
                Err(Error::new(ErrorKind::Unavailable, "somebody else has published this mirror meanwhile")
                    .with_source(error))
            }
            swapped => swapped.map(drop),
        }
    }
}

/// A point in time as entries have it.
fn time_of(time: chrono::DateTime<chrono::Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().min(999_999_999) }
}

/// An object that cannot be part of the tree, and why.
type LeftOut = (TreePath, Error);
