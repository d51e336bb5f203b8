//! Contents of small files, joined: what a first pull of many small files reads instead of an object for each. Spec: `docs/mirror.md` section 6.
//!
//! Files come in the order of the manifest, so that those of a directory lie side by side. Order of writes: a pack before the manifest that names it.
//! A push that is cut off leaves packs that nothing names; they are swept with all else that nothing names.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::catalog::{Content, Entry, FileNode, Node, ObjectAt, StoredObject};
use crate::error::{Error, Result};
use crate::id::ObjectHash;

use super::super::layout::{Places, pack_key};
use super::super::segment::Change;
use super::compare::Link;
use super::hold::Hold;
use super::pipeline::Done;

/// Bytes of a pack: what a pull reads by one request.
const PACK_MAX: usize = 8 << 20;
/// Changes that wait for the hash of the pack that is being filled: about 600 bytes each.
const WAITING_MAX: usize = 4096;
/// More packs than this that are not half full are joined anew: about what a link of 1 Gbit/s moves in the round trips that they cost.
const SPARSE_MAX: usize = 32;

/// Fills packs, and holds back what is to be written until the pack is known by its hash. In memory are the pack that is filled and one on its way.
pub(super) struct Packer<'a> {
    places: &'a Places,
    hold: &'a Hold<'a>,
    open: Vec<u8>,
    waiting: Vec<Done>,
    coming: Option<JoinHandle<Result<()>>>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(places: &'a Places, hold: &'a Hold<'a>) -> Self {
        Self { places, hold, open: Vec::new(), waiting: Vec::new(), coming: None }
    }

    /// Takes a result in its turn; gives back those that are complete now, in their turn.
    pub(super) fn add(&mut self, done: Done) -> Result<Vec<Done>> {
        let mut complete = Vec::new();
        let coming = done.body.as_ref().map_or(0, Bytes::len);
        if self.open.len() + coming > PACK_MAX || self.waiting.len() >= WAITING_MAX {
            complete = self.close()?;
        }
        match &done.body {
            Some(body) => self.open.extend_from_slice(body),
            // Nothing before it waits for a pack, and it does not either.
            None if self.open.is_empty() => {
                complete.push(done);
                return Ok(complete);
            }
            None => {}
        }
        self.waiting.push(done);
        Ok(complete)
    }

    /// Stores the last pack; every pack is there when this returns.
    pub(super) fn finish(&mut self) -> Result<Vec<Done>> {
        let complete = self.close()?;
        self.settle()?;
        Ok(complete)
    }

    fn close(&mut self) -> Result<Vec<Done>> {
        let bytes = Bytes::from(std::mem::take(&mut self.open));
        let mut complete = std::mem::take(&mut self.waiting);
        if bytes.is_empty() {
            return Ok(complete);
        }
        let pack = ObjectHash::new(*blake3::hash(&bytes).as_bytes());
        self.settle()?;
        self.hold.ensure()?;
        let (control, key) = (self.places.control.clone(), pack_key(&pack));
        self.coming = Some(self.places.runtime().spawn(async move { control.put(&key, bytes).await }));
        let mut offset = 0;
        for done in &mut complete {
            let Some(body) = done.body.take() else { continue };
            if let Some(Change::Put(entry)) = &mut done.change {
                put_at(entry, ObjectAt::Packed { pack, offset });
            }
            offset += body.len() as u64;
        }
        Ok(complete)
    }

    fn settle(&mut self) -> Result<()> {
        let Some(coming) = self.coming.take() else { return Ok(()) };
        self.places.block(coming).map_err(|cause| Error::bug("a pack was abandoned").with_source(cause))?
    }
}

fn put_at(entry: &mut Entry, at: ObjectAt) {
    if let Node::File(FileNode { content: Content::Object(object), .. }) = &mut entry.node {
        *object = StoredObject { at, ..StoredObject::clone(object) }.into();
    }
}

/// Which packs the last generation uses.
#[derive(Debug, Default)]
pub(super) struct PackUse(HashMap<ObjectHash, (u64, usize)>);

impl PackUse {
    /// This entry stays.
    pub(super) fn stays(&mut self, entry: &Entry) {
        let Node::File(FileNode { size, content: Content::Object(object), .. }) = &entry.node else { return };
        if let ObjectAt::Packed { pack, .. } = object.at {
            let (bytes, files) = self.0.entry(pack).or_default();
            *bytes += size;
            *files += 1;
        }
    }

    /// The packs whose files are to be packed anew: those that are not half full any more, when there are many of them. So packs never have more than
    /// twice the bytes of their files, and 256 MiB.
    pub(super) fn sparse(&self) -> HashSet<ObjectHash> {
        let is_sparse = |(bytes, files): &(u64, usize)| *bytes < PACK_MAX as u64 / 2 && *files < WAITING_MAX / 2;
        let sparse: HashSet<ObjectHash> =
            self.0.iter().filter(|(_, used)| is_sparse(used)).map(|(pack, _)| *pack).collect();
        if sparse.len() > SPARSE_MAX { sparse } else { HashSet::new() }
    }
}

/// Which files go into packs.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackRule<'a> {
    /// The largest; none if nothing is packed.
    pub(super) most: Option<u64>,
    /// Packs that are to be left.
    pub(super) sparse: &'a HashSet<ObjectHash>,
}

impl PackRule<'_> {
    /// Whether the content of this entry is to be put into a pack. Further names of a file are links to the first.
    pub(super) fn wants(&self, node: &Node, link: Option<Link>) -> bool {
        let Node::File(FileNode { size, content: Content::Object(object), .. }) = node else { return false };
        let is_small = self.most.is_some_and(|most| (1..=most).contains(size));
        is_small
            && object.hash.is_some()
            && link.is_none_or(|link| link.first)
            && match object.at {
                ObjectAt::Plain => true,
                ObjectAt::Packed { pack, .. } => self.sparse.contains(&pack),
                ObjectAt::Staged => false,
            }
    }
}

/// Packs that these bytes fill.
pub(super) fn packs_of(bytes: u64) -> u64 {
    bytes.div_ceil(PACK_MAX as u64)
}
