//! Compares what the store holds with what the newest generation says: by listing, and on request byte by byte.
//!
//! Changes nothing. Memory: about 50 bytes a file, for the listing comes in another order than the manifest.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, stream};

use super::key::{key_of, path_of_key};
use super::layout::{LINK_END, Places, blocks_key};
use super::proof::Proof;
use super::root::Root;
use super::{look, manifest};
use crate::catalog::{Content, Entry, Node, StoredObject};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Progress, Watch};
use crate::path::escape;
use crate::storage::{ObjectInfo, Pin, Store};

/// Bytes of one request of a reading verification.
const RANGE: u64 = 8 << 20;
/// Files whose reading is planned together.
const BATCH: usize = 256;
/// The file that old pullers read permissions from.
const FACL: &str = "permissions.facl";
/// What problems are said to have happened during.
const DURING: &str = "verify";

/// How a mirror is verified.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Read all bytes and compare their hashes.
    pub read: bool,
    /// Files read at once.
    pub at_once: usize,
}

/// What a verification found. Every single finding was told to the observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// The generation.
    pub generation: u64,
    /// Objects that it needs.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were read and hashed.
    pub bytes_read: u64,
    /// Objects that are not there.
    pub missing: u64,
    /// Objects that are other ones than the generation says.
    pub changed: u64,
    /// Objects whose bytes are not those that were pushed.
    pub damaged: u64,
    /// Files whose BLAKE3 nobody knows yet, because another tool stored them: they are compared with their `ETag`.
    pub unhashed: u64,
    /// Objects that the generation does not know: harmless to pulls, seen by other tools.
    pub unknown: u64,
}

impl VerifyReport {
    /// Whether everything that the generation needs is there.
    pub fn is_whole(&self) -> bool {
        self.missing + self.changed + self.damaged == 0
    }
}

/// Verifies the newest generation.
///
/// # Errors
/// `NotFound` when there is no mirror; `Changed` when a push came in between, so that nothing can be said; `Corrupt` when the manifest
/// itself is damaged. Objects that are missing or damaged are counted, not errors.
pub fn verify(places: &Places, options: VerifyOptions, watch: &Watch<'_>) -> Result<VerifyReport> {
    let root = look::root(places, None)?;
    let mut check = Check { places, root: &root, watch, report: VerifyReport::default() };
    check.report.generation = root.generation;
    let mut expected = check.expected()?;
    check.listed(&mut expected)?;
    check.name_missing(&expected)?;
    if options.read {
        check.read(options.at_once.max(1))?;
    }
    if !check.report.is_whole() {
        check.still_published()?;
    }
    Ok(check.report)
}

/// What the listing is to show, by short hashes of keys.
struct Expected {
    objects: HashMap<u128, u64>,
    block_lists: HashSet<u128>,
}

struct Check<'a> {
    places: &'a Places,
    root: &'a Root,
    watch: &'a Watch<'a>,
    report: VerifyReport,
}

impl Check<'_> {
    /// Reads the manifest, all of it, which verifies it, too.
    fn expected(&mut self) -> Result<Expected> {
        let mut expected = Expected { objects: HashMap::new(), block_lists: HashSet::new() };
        for entry in manifest::entries(self.places, self.root) {
            let entry = entry?;
            self.go_on()?;
            let Some(needed) = Needed::of(&entry) else {
                self.has_no_link(&entry, &mut expected);
                continue;
            };
            self.report.objects += 1;
            self.report.bytes += needed.size;
            self.report.unhashed += u64::from(needed.object.is_some_and(|object| object.hash.is_none()));
            let print = fingerprint(needed.size, needed.object.map(|object| &*object.etag));
            expected.objects.insert(short(&needed.key), print);
            if let Some(object) = needed.object.filter(|object| object.blocks) {
                expected.block_lists.extend(object.hash.map(|hash| short(&blocks_key(&hash))));
            }
        }
        Progress::add(&self.watch.progress.files_total, self.report.objects);
        Ok(expected)
    }

    /// A directory takes the place of the object of a link, which then has none. The link came before it.
    fn has_no_link(&mut self, entry: &Entry, expected: &mut Expected) {
        if matches!(entry.node, Node::Directory)
            && entry.path.as_bytes().ends_with(LINK_END.as_bytes())
            && expected.objects.remove(&short(&key_of(&entry.path))).is_some()
        {
            self.report.objects -= 1;
        }
    }

    /// Takes what is there and right out of `expected`.
    fn listed(&mut self, expected: &mut Expected) -> Result<()> {
        let places = self.places;
        for_each_object(places, &places.data, "", &mut |info| {
            self.go_on()?;
            if self.is_ours(&info.key) {
                return Ok(());
            }
            Progress::add(&self.watch.progress.files_done, 1);
            let prints = [info.pin.etag.as_deref(), None].map(|etag| fingerprint(info.size, etag));
            match expected.objects.remove(&short(&info.key)) {
                Some(print) if prints.contains(&print) => {}
                Some(_) => {
                    self.report.changed += 1;
                    let sentence =
                        "the object was replaced since it was pushed: its size or its entity tag is another one";
                    self.watch.problem(DURING, &shown(&info.key), &Error::corrupt(sentence));
                }
                None => {
                    self.report.unknown += 1;
                    let text = format!("{}: not of this generation", shown(&info.key));
                    self.watch.observer.on(&Event::Note { text: &text });
                }
            }
            Ok(())
        })?;
        if expected.block_lists.is_empty() {
            return Ok(());
        }
        for_each_object(places, &places.control, "blocks/", &mut |info| {
            expected.block_lists.remove(&short(&info.key));
            self.go_on()
        })
    }

    /// Names what the listing did not show. Costs another reading of the manifest, only when something is missing.
    fn name_missing(&mut self, expected: &Expected) -> Result<()> {
        if expected.objects.is_empty() && expected.block_lists.is_empty() {
            return Ok(());
        }
        for entry in manifest::entries(self.places, self.root) {
            let entry = entry?;
            self.go_on()?;
            let Some(needed) = Needed::of(&entry) else { continue };
            let mut say = |sentence: &str| {
                self.report.missing += 1;
                self.watch.problem(DURING, &entry.path.display(), &Error::new(ErrorKind::NotFound, sentence));
            };
            if expected.objects.contains_key(&short(&needed.key)) {
                say("the object is missing");
            }
            let list = needed.object.filter(|object| object.blocks).and_then(|object| Some(blocks_key(&object.hash?)));
            if list.is_some_and(|key| expected.block_lists.contains(&short(&key))) {
                say("the block list of the file is missing");
            }
        }
        Ok(())
    }

    /// Reads every file, and compares its hash. Names of one file share their object's hash; the first is read.
    fn read(&mut self, at_once: usize) -> Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        for entry in manifest::entries(self.places, self.root) {
            let entry = entry?;
            if let Some(file) = Whole::of(&entry) {
                Progress::add(&self.watch.progress.bytes_total, file.size);
                batch.push(file);
            }
            if batch.len() == BATCH {
                self.read_batch(std::mem::take(&mut batch), at_once)?;
            }
        }
        self.read_batch(batch, at_once)
    }

    fn read_batch(&mut self, batch: Vec<Whole>, at_once: usize) -> Result<()> {
        self.go_on()?;
        let (places, progress) = (self.places, self.watch.progress);
        let outcomes: Vec<(Whole, Result<Option<bool>>)> = places.block(async {
            let reads = batch.into_iter().map(|file| async move {
                let outcome = file.is_intact(places, progress).await;
                (file, outcome)
            });
            stream::iter(reads).buffered(at_once).collect().await
        });
        for (file, outcome) in outcomes {
            let error = match outcome {
                Ok(Some(true) | None) => {
                    self.report.bytes_read += file.size;
                    continue;
                }
                Ok(Some(false)) => Error::corrupt("the bytes are not those that were pushed"),
                // Counted by the listing already.
                Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) => continue,
                Err(error) if error.kind() == ErrorKind::Corrupt => error,
                Err(error) => return Err(error),
            };
            self.report.damaged += 1;
            self.watch.problem(DURING, &shown(&file.key), &error);
        }
        Ok(())
    }

    /// Whether an object is none of the user's: in the control area of a mirror of a whole bucket, or the file for old pullers.
    fn is_ours(&self, key: &str) -> bool {
        (self.root.flags.facl && key == FACL) || path_of_key(key).is_ok_and(|path| self.places.is_reserved(&path))
    }

    /// A push that came in between explains everything.
    fn still_published(&self) -> Result<()> {
        let now = look::root(self.places, None)?.generation;
        if now == self.root.generation {
            return Ok(());
        }
        let text = format!("generation {now} was published while generation {} was verified", self.root.generation);
        Err(Error::new(ErrorKind::Changed, text).with_hint("verify again"))
    }

    fn go_on(&self) -> Result<()> {
        if self.watch.stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted before everything was verified"));
        }
        Ok(())
    }
}

/// The object that an entry needs.
struct Needed<'a> {
    key: String,
    size: u64,
    /// What the manifest says of it; nothing for empty files, links and further names of a file.
    object: Option<&'a StoredObject>,
}

impl<'a> Needed<'a> {
    fn of(entry: &'a Entry) -> Option<Self> {
        let key = key_of(&entry.path);
        match &entry.node {
            Node::File(file) => {
                let object = if let Content::Object(object) = &file.content { Some(&**object) } else { None };
                Some(Self { key, size: file.size, object })
            }
            Node::Symlink { target } => Some(Self { key: key + LINK_END, size: target.len() as u64, object: None }),
            Node::Directory | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => None,
        }
    }
}

/// A file that is read as a whole.
struct Whole {
    key: String,
    size: u64,
    pin: Pin,
    object: StoredObject,
}

impl Whole {
    fn of(entry: &Entry) -> Option<Self> {
        let needed = Needed::of(entry)?;
        let object = needed.object?;
        let pin = Pin { etag: Some(object.etag.to_string()), version: object.version.as_deref().map(str::to_owned) };
        Some(Self { object: object.clone(), size: needed.size, pin, key: needed.key })
    }

    /// None if that cannot be known.
    async fn is_intact(&self, places: &Places, progress: &Progress) -> Result<Option<bool>> {
        let mut proof = Proof::of(&self.object);
        let mut at = 0;
        while at < self.size {
            let end = at.saturating_add(RANGE).min(self.size);
            let bytes = places.data.get_pinned(&self.key, at..end, self.size, &self.pin).await?;
            proof.update(&bytes);
            Progress::add(&progress.bytes_done, end - at);
            at = end;
        }
        Ok(proof.finish())
    }
}

/// Hears of every object of a folder, page by page.
fn for_each_object(
    places: &Places,
    store: &Store,
    folder: &str,
    hear: &mut dyn FnMut(&ObjectInfo) -> Result<()>,
) -> Result<()> {
    let mut pages = store.list_objects(folder)?;
    while let Some(page) = places.block(pages.next())? {
        page.iter().try_for_each(&mut *hear)?;
    }
    Ok(())
}

fn short(key: &str) -> u128 {
    let hash = blake3::hash(key.as_bytes());
    let (half, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 16], &[]));
    u128::from_le_bytes(*half)
}

fn fingerprint(size: u64, etag: Option<&str>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size.to_le_bytes());
    if let Some(etag) = etag {
        // Stores write one tag in more than one way.
        hasher.update(etag.trim_start_matches("W/").trim_matches('"').as_bytes());
    }
    let hash = hasher.finalize();
    let (part, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*part)
}

/// The path that a key stands for, or the key.
fn shown(key: &str) -> String {
    path_of_key(key).map_or_else(|_| escape(key.as_bytes()), |path| path.display())
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
