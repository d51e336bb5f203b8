//! Puts the results into order again: fills bundles, resolves their ids, writes the catalogue, counts.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::catalog::{BlobRef, Content, Entry, InnerPage, LinkGroup, Node, StoredPage, TreeWriter};

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Action, Event, Progress};
use crate::id::{BlobId, ContentHash};
use crate::repo::{BlobKind, Summary};

use super::bundle::Bundler;
use super::bundle::Slice;
use super::matching::Change;
use super::pipeline::Context;
use super::read::{Done, DoneItem};
use super::seal::{Holds, Promise, Sealer};
use super::steps::Steps;

/// Entries that wait for a bundle at most: then the bundle is closed as it is. About 400 bytes each.
const WAITING_MAX: usize = 24 << 10;
/// Bundles being sealed at most.
const BUNDLES_AHEAD: usize = 6;

/// A pass over the tree: what it gave, or why it broke off, and what of it could be kept.
pub(super) struct Pass {
    pub(super) outcome: Result<Outcome>,
    pub(super) steps: Steps,
    pub(super) problems: u64,
}

/// What a pass over the tree gave.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) root: InnerPage,
    pub(super) summary: Summary,
    pub(super) problems: u64,
    pub(super) sparse: Vec<BlobId>,
}

/// An entry that waits for its turn, or for its bundle.
struct Waiting {
    entry: Entry,
    change: Change,
    slice: Option<(Slice, ContentHash)>,
    /// The latest pack of this run that has content of it; 0 for none.
    pack: u64,
}

/// A bundle that was stored, and the pack of this run that it is in.
type StoredBundle = (BlobRef, u64);

/// Takes results in any order and writes the catalogue in walk order.
pub(super) struct Assembler<'a> {
    context: &'a Context<'a>,
    sealer: Sealer,
    tree: TreeWriter,
    steps: Steps,
    bundler: Bundler,
    /// Results that came before their turn; bounded by the jobs in flight.
    early: BTreeMap<u64, Done>,
    next: u64,
    waiting: VecDeque<Waiting>,
    sealing: VecDeque<(u64, Promise)>,
    bundles: HashMap<u64, StoredBundle>,
    /// Bytes that this snapshot uses of each bundle, and the bundle's length: 48 bytes a bundle.
    used: HashMap<BlobId, (u64, u32)>,
    summary: Summary,
    problems: u64,
    /// Hard-link groups whose first name is not what the others are: these must not be restored as links to it.
    lost: HashSet<LinkGroup>,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(context: &'a Context<'a>, sealer: Sealer) -> Self {
        Self {
            context,
            sealer,
            tree: TreeWriter::new(context.session.repo().keys().page_cut()),
            steps: Steps::default(),
            bundler: Bundler::default(),
            early: BTreeMap::new(),
            next: 0,
            waiting: VecDeque::new(),
            sealing: VecDeque::new(),
            bundles: HashMap::new(),
            used: HashMap::new(),
            summary: Summary::default(),
            problems: 0,
            lost: HashSet::new(),
        }
    }

    /// Takes one result; returns how many jobs, this or others, were taken in their turn.
    pub(super) fn take(&mut self, done: Done) -> Result<usize> {
        self.early.insert(done.number, done);
        let mut taken = 0;
        while let Some(done) = self.early.remove(&self.next) {
            self.next += 1;
            taken += 1;
            self.in_turn(done)?;
        }
        self.settle(false)?;
        Ok(taken)
    }

    fn in_turn(&mut self, done: Done) -> Result<()> {
        let data = done.data;
        for item in done.items {
            match item {
                DoneItem::Lost(group) => {
                    self.lost.insert(group);
                }
                DoneItem::Entry { entry, .. } if self.lacks_content(&entry) => {
                    self.problems += 1;
                    let error = Error::new(
                        ErrorKind::Local,
                        "another name of this file, which has its content, changed meanwhile",
                    );
                    let item = entry.path.display();
                    self.context.watch.problem("archival", &item, &error.with_hint("the next backup saves it"));
                }
                DoneItem::Entry { entry, change, pack } => {
                    self.waiting.push_back(Waiting { entry, change, slice: None, pack });
                }
                DoneItem::Small { entry, change, data: range, hash } => {
                    let content = data.get(range).ok_or_else(|| Error::bug("content of a small file"))?;
                    let (slice, full) = self.bundler.add(content, hash);
                    Progress::add(&self.context.watch.progress.bytes_done, content.len() as u64);
                    self.waiting.push_back(Waiting { entry, change, slice: Some((slice, hash)), pack: 0 });
                    self.seal(full)?;
                }
                DoneItem::Problem { item, during, error } => {
                    self.problems += 1;
                    self.context.watch.problem(during, &item, &error);
                }
                DoneItem::Note { text } => self.context.watch.observer.on(&Event::Note { text: &text }),
            }
        }
        if self.waiting.len() > WAITING_MAX {
            let open = self.bundler.close();
            self.seal(open)?;
        }
        Ok(())
    }

    /// Whether the entry is a further name of a file whose first name was lost.
    fn lacks_content(&self, entry: &Entry) -> bool {
        let Node::File(file) = &entry.node else { return false };
        let follows = file.size > 0 && matches!(file.content, Content::Empty) && file.extents.is_none();
        follows && entry.link.is_some_and(|group| self.lost.contains(&group))
    }

    fn seal(&mut self, bundle: Option<(u64, Vec<u8>)>) -> Result<()> {
        if let Some((number, bytes)) = bundle {
            self.sealing.push_back((number, self.sealer.put(Holds::Bundle, bytes)?));
        }
        Ok(())
    }

    /// Takes the answers that are there and writes the entries that need no other; waits only while too much is under way, or for
    /// everything when it is `last`.
    fn settle(&mut self, last: bool) -> Result<()> {
        while let Some((number, promise)) = self.sealing.front() {
            let number = *number;
            let wait = last || self.sealing.len() > BUNDLES_AHEAD || self.waiting.len() > 2 * WAITING_MAX;
            let answer = if wait { Some(promise.wait()) } else { promise.poll() };
            let Some(stored) = answer else { break };
            let stored = stored?;
            self.bundles.insert(number, (stored.blob, stored.pack));
            self.sealing.pop_front();
        }
        while let Some(front) = self.waiting.front() {
            let blob = match &front.slice {
                None => None,
                Some((slice, _)) => match self.bundles.get(&slice.bundle) {
                    Some(blob) => Some(*blob),
                    None => break,
                },
            };
            if let Some(waiting) = self.waiting.pop_front() {
                self.write(waiting, blob)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, waiting: Waiting, bundle: Option<StoredBundle>) -> Result<()> {
        let Waiting { mut entry, change, slice, mut pack } = waiting;
        if let (Some((blob, in_pack)), Some((slice, hash)), Node::File(file)) = (bundle, slice, &mut entry.node) {
            file.content = Content::Bundle { blob, offset: slice.offset, hash };
            pack = in_pack;
        }
        let context = self.context;
        let is_stored = |pack: u64| context.writer.is_stored(pack);
        self.steps.before(pack, is_stored, || (self.tree.clone(), self.summary.clone()));
        self.count(&entry, change);
        self.tree.push(&entry, &mut |page| store_page(context, page))
    }

    fn count(&mut self, entry: &Entry, change: Change) {
        let watch = self.context.watch;
        let summary = &mut self.summary;
        let action = match change {
            Change::New => Action::New,
            Change::Modified => Action::Modified,
            Change::Unchanged => Action::Unchanged,
        };
        let mut size = 0;
        let counter = match (&entry.node, change) {
            (Node::Directory, Change::New) => &mut summary.dirs_new,
            (Node::Directory, Change::Modified) => &mut summary.dirs_changed,
            (Node::Directory, Change::Unchanged) => &mut summary.dirs_unmodified,
            (_, Change::New) => &mut summary.files_new,
            (_, Change::Modified) => &mut summary.files_changed,
            (_, Change::Unchanged) => &mut summary.files_unmodified,
        };
        *counter += 1;
        if let Node::File(file) = &entry.node {
            size = file.size;
            summary.total_bytes_processed += size;
            if change == Change::Unchanged {
                Progress::add(&watch.progress.bytes_done, size);
            }
            if let Content::Bundle { blob, .. } = &file.content {
                self.used.entry(blob.id).or_insert((0, blob.raw_len)).0 += size;
            }
        }
        if !matches!(entry.node, Node::Directory) {
            summary.total_files_processed += 1;
            Progress::add(&watch.progress.files_done, 1);
        }
        if watch.observer.wants_items() {
            watch.observer.on(&Event::Item { action, path: &entry.path, size });
        }
    }

    /// Writes what is left; with `broken_off`, because something failed, nothing more is done.
    pub(super) fn finish(mut self, broken_off: bool) -> Pass {
        let outcome = if broken_off {
            Err(Error::bug("the backup failed without saying why"))
        } else {
            self.write_the_rest().and_then(|()| self.close())
        };
        Pass { outcome, steps: self.steps, problems: self.problems }
    }

    fn write_the_rest(&mut self) -> Result<()> {
        if !self.early.is_empty() {
            return Err(Error::bug("a result of the backup is missing"));
        }
        let open = self.bundler.close();
        self.seal(open)?;
        self.settle(true)?;
        self.steps.end(self.tree.clone(), self.summary.clone());
        Ok(())
    }

    /// The root of the catalogue, and what it holds.
    fn close(&mut self) -> Result<Outcome> {
        let context = self.context;
        let tree = std::mem::replace(&mut self.tree, TreeWriter::new([0; 32]));
        let root = tree.finish(&mut |page| store_page(context, page))?;
        let mut sparse: Vec<BlobId> =
            self.used.iter().filter(|(_, (used, len))| used * 2 < u64::from(*len)).map(|(id, _)| *id).collect();
        sparse.sort_unstable();
        sparse.truncate(SPARSE_MAX);
        Ok(Outcome { root, summary: self.summary.clone(), problems: self.problems, sparse })
    }
}

/// Bundles named as sparse in one snapshot: 64 bytes each there; the others have their turn later.
const SPARSE_MAX: usize = 4096;

/// Stores a catalogue page, unless the parent has the same.
pub(super) fn store_page(context: &Context<'_>, page: &[u8]) -> Result<StoredPage> {
    let known = context.known;
    let id = context.session.repo().keys().blob_id(BlobKind::Tree, page);
    // While a prune is about, pages are looked up like everything else.
    let raw_len = u32::try_from(page.len()).map_err(|_| Error::bug("length of a catalogue page"))?;
    if !context.session.is_prune_about()
        && !known.is_distrusted()
        && let Some(stored) = known.get(id, raw_len)
    {
        return Ok(stored);
    }
    // A page that could not be read where it lies comes out the same when its files did not change: it is stored anew.
    let distrusted = known.is_distrusted();
    let put = if distrusted {
        context.writer.put_again(BlobKind::Tree, page)
    } else {
        context.writer.put(BlobKind::Tree, page)
    };
    let stored = put?;
    Ok(StoredPage { id: stored.blob.id, raw_len: stored.blob.raw_len, place: None })
}
