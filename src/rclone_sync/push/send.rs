//! Does one job of a push: reads what differs, sends it if it must be sent, and says what the new generation has there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::catalog::{Content, Entry, FileNode, LinkGroup, Metadata, Node, ObjectAt, StoredObject, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Action, Event, Progress};
use crate::id::ObjectHash;
use crate::storage::{Attributes, Condition, Location, Pin};
use crate::volume::{EntryKind, Found};

use super::super::destination::Destination;
use super::super::key::{QUOTE, key_of};
use super::super::layout::LINK_END;
use super::super::segment::Change;
use super::super::tally::Tally;
use super::budget::Budget;
use super::compare::{Link, keeps_time};
use super::copies::Linked;
use super::hold::Hold;
use super::moved::Moved;
use super::packs::PackRule;
use super::pipeline::Done;
use super::read::{BIG_FROM, FileRead, SmallFile, describe, metadata, mtime_header};
use super::shared::Shared;
use super::standing::There;
use super::survey::{Difference, What};
use super::together::Wants;

/// Attempts to replace an object that is another one each time that it is looked at.
const TRIES: u32 = 4;

/// What all jobs of one destination share.
pub(super) struct Sender<'a> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) destination: &'a Destination,
    pub(super) hold: &'a Hold<'a>,
    pub(super) moved: &'a Moved,
    packing: PackRule<'a>,
    pub(super) wants: Wants<'a>,
    pub(super) sent: Sent,
    pub(super) budget: Budget<'a>,
    /// First names of files that have several, as they were pushed.
    pub(super) linked: Mutex<HashMap<LinkGroup, Linked>>,
    /// Whether the tags of this store have proved to be MD5 sums.
    md5_tags: AtomicBool,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Sent {
    files: AtomicU64,
    bytes: AtomicU64,
    renamed: AtomicU64,
    copies: AtomicU64,
    copied_bytes: AtomicU64,
    described: AtomicU64,
    errors: AtomicU64,
}

/// What is to be at the key of a file before it is written.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    Nothing,
    This(Pin),
    Anything,
}

/// A file whose content is to be at its key.
pub(super) struct Wanted<'a> {
    pub(super) found: &'a Found,
    pub(super) link: Option<Link>,
    /// What it was in the last generation, if it may still be that.
    pub(super) kept: Option<&'a FileNode>,
    /// The object of the last generation at this key, if it is still there, and its size.
    pub(super) base: Option<(&'a Arc<StoredObject>, u64)>,
    pub(super) expected: Expected,
    pub(super) there: &'a There,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        (shared, wants): (&'a Shared<'a>, Wants<'a>),
        (destination, budget): (&'a Destination, Budget<'a>),
        hold: &'a Hold<'a>,
        (moved, packing): (&'a Moved, PackRule<'a>),
    ) -> Self {
        Self {
            shared,
            destination,
            hold,
            moved,
            packing,
            wants,
            sent: Sent::default(),
            budget,
            linked: Mutex::default(),
            md5_tags: AtomicBool::new(false),
        }
    }

    /// Does a job. Fails only when the destination does.
    pub(super) fn work(&self, difference: Difference) -> Result<Done> {
        if self.shared.watch.stop.requested() {
            return Err(interrupted());
        }
        let Difference { what, old, gone, there, displaced } = difference;
        let mut body = None;
        let entry = match &what {
            What::Remove => {
                let Some(old) = old else { return Err(Error::bug("what is removed was there")) };
                self.item(Action::Deleted, &old);
                let change = Some(Change::Remove(old.path.clone()));
                return Ok(Done { change, old: Some(old), gone, ..Done::default() });
            }
            What::Describe { found, link, kept } => self.described(found, *link, kept.as_ref(), old.as_deref()),
            What::Read { found, link, kept } if found.stat.kind == EntryKind::File => {
                let expected = expected(old.as_deref(), &there, gone.is_some());
                let is_rotten = self.is_rotten(found, kept.as_ref())?;
                // What is in doubt is neither kept, nor taken for what its tag says, nor made part of anything.
                let is_sound = !is_rotten && (kept.is_some() || !self.rereads());
                let base = old.as_deref().filter(|_| !displaced && gone.is_none() && is_sound).and_then(base);
                let (kept, there) = if is_rotten { (None, &There::AsNamed) } else { (kept.as_ref(), &there) };
                self.file(&Wanted { found, link: *link, kept, base, expected, there }, &mut body)
            }
            What::Read { found, link, .. } => self.symlink(found, *link, old.as_deref(), &there),
        };
        let (found, link) = match &what {
            What::Describe { found, link, .. } | What::Read { found, link, .. } => (found, *link),
            What::Remove => return Err(Error::bug("a removal has no entry")),
        };
        let lost = link.filter(|link| link.first).map(|link| link.group);
        match entry {
            Ok(Some(entry)) => {
                self.remember(found, link, &entry);
                Ok(Done { gone, ..self.done(entry, old, body) })
            }
            Ok(None) => Ok(self.failed(lost, old.filter(|_| displaced))),
            // A name or a file that this store does not take; everything else says something about the store.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.shared.problem("push", &format!("{} to {}", found.display(), self.destination.name), &error);
                Ok(self.failed(lost, old.filter(|_| displaced)))
            }
            Err(error) => Err(error),
        }
    }

    /// The old entry stays, unless what it names is not in the store any more: nobody could ever read it.
    fn failed(&self, lost: Option<LinkGroup>, unreadable: Option<Box<Entry>>) -> Done {
        self.sent.errors.fetch_add(1, Ordering::Relaxed);
        let change = unreadable.as_ref().map(|old| Change::Remove(old.path.clone()));
        Done { lost, change, old: unreadable, ..Done::default() }
    }

    /// `body` is the content, if it is to be packed: then the entry is another one even if the file is the same.
    fn done(&self, entry: Entry, old: Option<Box<Entry>>, body: Option<Bytes>) -> Done {
        match old.as_deref() {
            Some(old) if body.is_none() && is_same(old, &entry) => return Done::default(),
            Some(old) if is_same_content(old, &entry) => self.count_described(),
            Some(_) => self.item(Action::Modified, &entry),
            None => self.item(Action::New, &entry),
        }
        Done { change: Some(Change::Put(Box::new(entry))), old, body, ..Done::default() }
    }

    fn count_described(&self) {
        self.sent.described.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells of a file or a link: what has no content of its own is told of by nobody.
    fn item(&self, action: Action, entry: &Entry) {
        let watch = self.shared.watch;
        let size = match &entry.node {
            Node::File(file) => file.size,
            Node::Symlink { .. } => 0,
            Node::Directory | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => return,
        };
        if watch.observer.wants_items() {
            watch.observer.on(&Event::Item { action, path: &entry.path, size });
        }
    }

    fn described(
        &self,
        found: &Found,
        link: Option<Link>,
        kept: Option<&FileNode>,
        old: Option<&Entry>,
    ) -> Result<Option<Entry>> {
        let mut entry = if found.stat.kind == EntryKind::File {
            let Some(kept) = kept else { return Err(Error::bug("a file is described without its content")) };
            let mut meta = metadata(self.shared, found);
            if let Some(old) = old.filter(|_| keeps_time(self.shared.options, found.stat.kind)) {
                (meta.mtime, meta.ctime) = (old.meta.mtime, old.meta.mtime);
            }
            Entry { path: found.path.clone(), meta, node: Node::File(kept.clone()), link: None }
        } else {
            let Some(entry) = describe(self.shared, found) else { return Ok(None) };
            entry
        };
        entry.link = link.map(|link| link.group);
        Ok(Some(entry))
    }

    /// A link is an object of rclone's: its target under the key with an ending.
    fn symlink(&self, found: &Found, link: Option<Link>, old: Option<&Entry>, there: &There) -> Result<Option<Entry>> {
        let Some(mut entry) = describe(self.shared, found) else { return Ok(None) };
        entry.link = link.map(|link| link.group);
        let Node::Symlink { target } = &entry.node else { return Err(Error::bug("a link is described as a link")) };
        let is_there = *there == There::AsNamed && old.is_some_and(|old| old.node == entry.node);
        // A file of that name has the object for itself, and a directory the place for it; the link is in the manifest all the same.
        if !is_there && !self.shared.has_object(&found.path, LINK_END) {
            let key = key_of(&found.path) + LINK_END;
            let bytes = Bytes::copy_from_slice(target);
            self.put(&key, &bytes, &link_attributes(entry.meta.mtime), Expected::Anything)?;
        }
        Ok(Some(entry))
    }

    /// A regular file. None if it could not be read, which was told. `body` becomes what is to be packed.
    fn file(&self, wanted: &Wanted<'_>, body: &mut Option<Bytes>) -> Result<Option<Entry>> {
        if let Some(entry) = self.further_name(wanted)? {
            return Ok(Some(entry));
        }
        if wanted.found.stat.size >= BIG_FROM {
            return self.big(wanted);
        }
        let held = self.budget.hold(wanted.found.stat.size)?;
        match self.shared.read(wanted.found) {
            FileRead::Small(small) => {
                let entry = self.small(wanted, &small)?;
                *body = self.packing.wants(&entry.node, wanted.link).then(|| small.bytes.clone());
                Ok(Some(entry))
            }
            FileRead::Big => {
                // Whoever waits for room must have none.
                drop(held);
                self.big(wanted)
            }
            FileRead::Failed => Ok(None),
        }
    }

    fn small(&self, wanted: &Wanted<'_>, small: &SmallFile) -> Result<Entry> {
        let key = key_of(&wanted.found.path);
        let size = small.bytes.len() as u64;
        let content = match wanted.kept.map(|kept| (kept.size, &kept.content)) {
            // Only the time is another one, or the user wanted to be sure.
            Some((_, Content::Object(object))) if object.hash == Some(small.hash) => {
                Content::Object(Arc::clone(object))
            }
            // Another tool stored it, and now its hash is known.
            Some((_, Content::Object(object))) if object.hash.is_none() && pin_of(object).md5() == Some(small.md5) => {
                Content::Object(Arc::new(StoredObject { hash: Some(small.hash), ..StoredObject::clone(object) }))
            }
            Some((0, Content::Empty)) if size == 0 => Content::Empty,
            _ => {
                let pin = self.settle_small(&key, wanted, small)?;
                let object = stored(&self.destination.name, small.hash, &pin, false)?;
                if size == 0 { Content::Empty } else { Content::Object(Arc::new(object)) }
            }
        };
        let file = FileNode { size, content, extents: small.extents.clone(), incomplete: false };
        let link = wanted.link.map(|link| link.group);
        Ok(Entry { path: wanted.found.path.clone(), meta: small.meta.clone(), node: Node::File(file), link })
    }

    /// Sees to it that the file is at its key, by the cheapest way.
    fn settle_small(&self, key: &str, wanted: &Wanted<'_>, small: &SmallFile) -> Result<Pin> {
        let size = small.bytes.len() as u64;
        if let Some(pin) = self.is_there(key, wanted, small)? {
            return Ok(pin);
        }
        if let Some(pin) = self.rename(key, &small.hash, &attributes_of(&small.meta), (small.meta.mtime, size))? {
            return Ok(pin);
        }
        let mut pin = self.put(key, &small.bytes, &attributes_of(&small.meta), wanted.expected.clone())?;
        if self.is_damaged(&pin, small) {
            pin = self.put(key, &small.bytes, &attributes_of(&small.meta), Expected::This(pin))?;
            if self.is_damaged(&pin, small) {
                let text = format!("store {key} in {}", self.destination.places.data.location());
                return Err(Error::corrupt(text).with_source("its ETag is not the MD5 of what was sent, twice"));
            }
        }
        self.count(size);
        Ok(pin)
    }

    /// Whether a push that was cut off, or another tool, has brought the file already.
    fn is_there(&self, key: &str, wanted: &Wanted<'_>, small: &SmallFile) -> Result<Option<Pin>> {
        let There::Listed(stood) = wanted.there else { return Ok(None) };
        if stood.size != small.bytes.len() as u64 {
            return Ok(None);
        }
        let places = &self.destination.places;
        let pin = match stood.pin.etag {
            Some(_) => Some(stood.pin.clone()),
            // Some stores list no tags.
            None => places.block(places.data.info(key))?.map(|(info, _)| info.pin),
        };
        Ok(pin.filter(|pin| pin.md5() == Some(small.md5)))
    }

    /// A file was sent.
    pub(super) fn count(&self, bytes: u64) {
        self.sent.files.fetch_add(1, Ordering::Relaxed);
        self.sent.bytes.fetch_add(bytes, Ordering::Relaxed);
        Progress::add(&self.shared.watch.progress.bytes_done, bytes);
    }

    /// A tag that is no MD5 means nothing, unless the others of this store are.
    fn is_damaged(&self, pin: &Pin, small: &SmallFile) -> bool {
        match pin.md5() {
            Some(md5) if md5 == small.md5 => {
                self.md5_tags.store(true, Ordering::Relaxed);
                false
            }
            Some(_) => self.md5_tags.load(Ordering::Relaxed),
            None => false,
        }
    }

    /// Stores an object in place of what is expected there. If it is something else, that is looked at, and replaced all the same: the claim keeps
    /// other pushers away, so it was left by a push that was cut off, or by another tool.
    pub(super) fn put(&self, key: &str, bytes: &Bytes, attributes: &Attributes, mut expected: Expected) -> Result<Pin> {
        let places = &self.destination.places;
        let mut tries = 0;
        loop {
            let condition = self.hold.ensure()?.allow(expected.condition());
            let put = places.data.put_with(key, bytes.clone(), attributes, condition);
            match places.block(put) {
                Err(error) if error.kind() == ErrorKind::Changed && tries < TRIES => {
                    tries += 1;
                    expected = self.look_at(key)?;
                }
                answer => return answer.and_then(|pin| self.is_under_its_key(key).map(|()| pin)),
            }
        }
    }

    /// Some servers keep names with characters that nobody can see under others: nobody could ever read what the generation names. So they are asked. One that
    /// remembers for a while what it was sent answers wrongly: `verify` finds it later.
    pub(super) fn is_under_its_key(&self, key: &str) -> Result<()> {
        let is_odd = key.chars().any(|char| char.is_control() || char == QUOTE);
        let places = &self.destination.places;
        let is_directory = matches!(places.data.location(), Location::Local(_));
        if !is_odd || is_directory || places.block(places.data.info(key))?.is_some() {
            return Ok(());
        }
        Err(Error::invalid("the store keeps it under another name").with_hint("rename the file, or leave it out"))
    }

    /// What is at a key where something else was expected. If somebody took us for dead, it is his, and we are told here.
    pub(super) fn look_at(&self, key: &str) -> Result<Expected> {
        self.hold.check()?;
        let places = &self.destination.places;
        Ok(match places.block(places.data.info(key))? {
            Some((info, _)) => Expected::This(info.pin),
            None => Expected::Nothing,
        })
    }

    /// A file was renamed by a copy.
    pub(super) fn count_renamed(&self) {
        self.sent.renamed.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that the store copied by itself.
    pub(super) fn count_copied(&self, bytes: u64) {
        self.sent.copies.fetch_add(1, Ordering::Relaxed);
        self.sent.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counts of the second pass, for the report.
    pub(super) fn tally(&self, tally: &mut Tally) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tally.transfers += read(&self.sent.files);
        tally.bytes += read(&self.sent.bytes);
        tally.renamed += read(&self.sent.renamed);
        tally.server_side_copies += read(&self.sent.copies);
        tally.server_side_copy_bytes += read(&self.sent.copied_bytes);
        tally.metadata_updates += read(&self.sent.described);
        tally.errors += read(&self.sent.errors);
    }
}

impl Expected {
    /// What a write demands.
    pub(super) fn condition(&self) -> Condition<'_> {
        match self {
            Self::Nothing => Condition::New,
            Self::This(pin) => Condition::Match(pin),
            Self::Anything => Condition::Any,
        }
    }
}

/// The user asked to stop.
pub(super) fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted before the end; nothing was published")
}

/// The object that a file had in the last generation.
fn base(old: &Entry) -> Option<(&Arc<StoredObject>, u64)> {
    match &old.node {
        Node::File(FileNode { size, content: Content::Object(object), .. }) => Some((object, *size)),
        _ => None,
    }
}

/// What is at the key of a file, as far as anybody knows.
fn expected(old: Option<&Entry>, there: &There, is_elsewhere: bool) -> Expected {
    match (there, old.map(|old| &old.node)) {
        (There::Listed(stood), _) if stood.pin.etag.is_none() => Expected::Anything,
        (There::Listed(stood), _) => Expected::This(stood.pin.clone()),
        (There::AsNamed, Some(_)) if is_elsewhere => Expected::Nothing,
        (There::AsNamed, Some(Node::File(FileNode { content: Content::Object(object), .. }))) => {
            Expected::This(pin_of(object))
        }
        // Empty files have objects that nobody has pinned.
        (There::AsNamed, Some(Node::File(_))) => Expected::Anything,
        (There::Missing | There::AsNamed, _) => Expected::Nothing,
    }
}

pub(super) fn pin_of(object: &StoredObject) -> Pin {
    Pin { etag: Some(object.etag.to_string()), version: object.version.as_deref().map(str::to_owned) }
}

/// What stands beside the object of a link.
fn link_attributes(mtime: Timestamp) -> Attributes {
    Attributes { mtime: Some(mtime_header(mtime)), ..Attributes::default() }
}

/// What stands beside the object of a file: the time, and for `rclone --metadata` mode and owner, which are those of the day on which the object was
/// stored: no object is written because of them alone.
pub(super) fn attributes(mtime: Timestamp, mode: u16, (uid, gid): (u32, u32)) -> Attributes {
    let mode = format!("{:o}", 0o100_000 | u32::from(mode));
    let all = [("gid", gid.to_string()), ("mode", mode), ("uid", uid.to_string())];
    let all = all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Attributes { mtime: Some(mtime_header(mtime)), more: all, ..Attributes::default() }
}

pub(super) fn attributes_of(meta: &Metadata) -> Attributes {
    attributes(meta.mtime, meta.mode, (meta.uid, meta.gid))
}

pub(super) fn stored(destination: &str, hash: ObjectHash, pin: &Pin, blocks: bool) -> Result<StoredObject> {
    let Some(etag) = pin.etag.as_deref() else {
        let text = format!("{destination} gives objects no ETag, without which a mirror cannot be read safely");
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    let version = pin.version.as_deref().map(Into::into);
    Ok(StoredObject { hash: Some(hash), etag: etag.into(), version, at: ObjectAt::Plain, blocks })
}

/// Whether only the description is new.
fn is_same_content(old: &Entry, new: &Entry) -> bool {
    match (&old.node, &new.node) {
        (Node::File(old), Node::File(new)) => old.size == new.size && old.content == new.content,
        (old, new) => old == new,
    }
}

/// Whether two entries say the same; names of owners are this machine's and do not count.
fn is_same(old: &Entry, new: &Entry) -> bool {
    let (left, right) = (&old.meta, &new.meta);
    old.node == new.node
        && old.link == new.link
        && (left.mode, left.uid, left.gid, left.mtime) == (right.mode, right.uid, right.gid, right.mtime)
        && left.xattrs == right.xattrs
}
