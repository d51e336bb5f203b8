//! Leaf pages, the writing side: entries in, pages out where their paths say so. Reading: `page_decode`.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::entry::{
    BlobRef, Content, Entry, Extent, FileNode, Metadata, Node, ObjectAt, StoredObject, Xattr, xattrs_flaw,
};
use super::wire::{put_bytes, put_len, put_varint, put_zigzag};
use crate::error::{Error, Result};
use crate::limits::BLOB_MAX;
use crate::path::{TreePath, compare};

/// First byte of a leaf page.
pub(super) const LEAF: u8 = 1;

/// Records of a page before its end is looked for: below this, pages would be dearer to fetch than to transfer.
const RECORDS_MIN: usize = 32 << 10;
/// Records of a page at most.
const RECORDS_MAX: usize = 256 << 10;
/// One path in 1,024 ends a page: pages of about 1,400 entries, 100 KiB.
const CUT_MASK: u64 = (1 << 10) - 1;
/// Tables and records of a page, and separately its paths written out, end a page here. Reached only by large
/// attributes or very deep paths; half of what readers accept, so that one more entry always fits.
const PAGE_MAX: usize = BLOB_MAX / 2;

/// Most bytes that all paths of a page have when written out: bounds what a reader allocates, because prefix
/// compression would let a page of 8 MiB stand for gigabytes.
pub(super) const PATHS_MAX: usize = 2 * BLOB_MAX;
/// Most entries of a page: four times what 256 KiB of records can hold.
pub(super) const ENTRIES_MAX: usize = 64 << 10;

/// Field tags of a record, ascending.
pub(super) mod tag {
    pub(in super::super) const SIZE: u64 = 1;
    pub(in super::super) const BUNDLE: u64 = 2;
    pub(in super::super) const CHUNKS: u64 = 3;
    pub(in super::super) const LISTS: u64 = 4;
    pub(in super::super) const TARGET: u64 = 5;
    pub(in super::super) const LINK: u64 = 6;
    pub(in super::super) const DEVICE: u64 = 7;
    pub(in super::super) const EXTENTS: u64 = 8;
    pub(in super::super) const INCOMPLETE: u64 = 9;
    /// Only in mirrors. Those between are left to repositories.
    pub(in super::super) const OBJECT: u64 = 16;
}

/// The flags of an object.
pub(super) mod object {
    /// Two bits for the place.
    pub(in super::super) const PLACE: u8 = 3;
    pub(in super::super) const PLAIN: u8 = 0;
    pub(in super::super) const STAGED: u8 = 1;
    pub(in super::super) const PACKED: u8 = 2;
    /// There is a block list.
    pub(in super::super) const BLOCKS: u8 = 4;
    /// A version follows the `ETag`.
    pub(in super::super) const VERSION: u8 = 8;
    /// The `ETag` is 32 lower-case hex digits in quotes, as that of most objects is, and stands as 16 bytes.
    pub(in super::super) const ETAG_MD5: u8 = 16;
    /// The hash is not known: zeros stand in its place.
    pub(in super::super) const UNHASHED: u8 = 32;
}

/// Kind bytes of a record.
pub(super) mod kind {
    pub(in super::super) const DIRECTORY: u8 = 0;
    pub(in super::super) const FILE: u8 = 1;
    pub(in super::super) const SYMLINK: u8 = 2;
    pub(in super::super) const FIFO: u8 = 3;
    pub(in super::super) const CHAR_DEVICE: u8 = 4;
    pub(in super::super) const BLOCK_DEVICE: u8 = 5;
}

/// An encoded leaf page and what its parent says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafPage {
    /// The page.
    pub bytes: Vec<u8>,
    /// Number of entries in it, at least 1.
    pub entries: u64,
    /// Path of its first entry.
    pub first: TreePath,
}

/// Encodes entries, given in catalogue order, into pages. Same entries and key, same pages.
#[derive(Clone)]
pub struct PageBuilder {
    cut_key: [u8; 32],
    of_mirror: bool,
    blobs: Table<BlobRef>,
    names: Table<Arc<[u8]>>,
    sets: Table<Arc<[Xattr]>>,
    /// Bytes of the tables when written.
    tables_len: usize,
    records: Vec<u8>,
    entries: u64,
    first: Option<TreePath>,
    /// Path of the entry before, also across pages; `None` before the first.
    last: Option<Vec<u8>>,
    paths_len: usize,
    record: Vec<u8>,
    field: Vec<u8>,
}

impl PageBuilder {
    /// An empty page. `cut_key` decides where pages end.
    pub fn new(cut_key: [u8; 32]) -> Self {
        Self {
            cut_key,
            of_mirror: false,
            blobs: Table::default(),
            names: Table::default(),
            sets: Table::default(),
            tables_len: 0,
            records: Vec::with_capacity(RECORDS_MIN),
            entries: 0,
            first: None,
            last: None,
            paths_len: 0,
            record: Vec::with_capacity(256),
            field: Vec::with_capacity(64),
        }
    }

    /// As [`PageBuilder::new`], for a mirror: files are in objects, or empty.
    pub fn of_mirror(cut_key: [u8; 32]) -> Self {
        Self { of_mirror: true, ..Self::new(cut_key) }
    }

    /// Adds an entry; returns the page if this entry ended it.
    ///
    /// # Errors
    /// `Bug` for an entry that is not after the one before it or contradicts itself; `Invalid` for one that is too
    /// large for a page (more than about 100,000 extents). After an error the builder is not to be used.
    pub fn push(&mut self, entry: &Entry) -> Result<Option<LeafPage>> {
        self.check(entry)?;
        let path = entry.path.as_bytes();
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        let before = if self.first.is_some() { self.last.as_deref().unwrap_or_default() } else { &[] };
        let shared = before.iter().zip(path).take_while(|(left, right)| left == right).count();
        put_len(&mut record, shared);
        put_bytes(&mut record, path.get(shared..).unwrap_or_default());
        self.put_metadata(&mut record, &entry.meta, kind_of(&entry.node))?;
        self.put_fields(&mut record, entry)?;
        put_bytes(&mut self.records, &record);
        self.record = record;

        self.entries += 1;
        self.paths_len += path.len();
        if self.first.is_none() {
            self.first = Some(entry.path.clone());
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(path);
        Ok(if self.is_full(path) { self.take_page() } else { None })
    }

    /// The last page, if any entry came after the one before.
    pub fn finish(mut self) -> Option<LeafPage> {
        self.take_page()
    }

    fn check(&self, entry: &Entry) -> Result<()> {
        let path = &entry.path;
        if self.last.as_deref().is_some_and(|last| compare(last, path.as_bytes()) != Ordering::Less) {
            return Err(Error::bug(format!("entry {path} is not in catalogue order")));
        }
        if let Some(flaw) = entry.flaw() {
            return Err(Error::bug(format!("entry {path}: {flaw}")));
        }
        if let Node::File(file) = &entry.node
            && matches!(file.content, Content::Object(_)) != self.of_mirror
            && !matches!(file.content, Content::Empty)
        {
            return Err(Error::bug(format!("entry {path} mixes repositories and mirrors")));
        }
        if largest_size(entry) > PAGE_MAX {
            return Err(Error::invalid(format!("entry {path} is too large for the catalogue"))
                .with_hint("the file has too many holes or extended attributes"));
        }
        Ok(())
    }

    fn is_full(&self, path: &[u8]) -> bool {
        if self.records.len() >= RECORDS_MAX
            || self.records.len() + self.tables_len >= PAGE_MAX
            || self.paths_len >= PAGE_MAX
        {
            return true;
        }
        if self.records.len() < RECORDS_MIN {
            return false;
        }
        let hash = blake3::keyed_hash(&self.cut_key, path);
        hash.as_bytes().first_chunk().is_some_and(|head| u64::from_le_bytes(*head) & CUT_MASK == 0)
    }

    fn take_page(&mut self) -> Option<LeafPage> {
        let first = self.first.take()?;
        let mut bytes = Vec::with_capacity(self.tables_len + self.records.len() + 32);
        bytes.push(LEAF);
        put_len(&mut bytes, self.blobs.rows.len());
        for blob in &self.blobs.rows {
            bytes.extend_from_slice(blob.id.as_bytes());
            put_varint(&mut bytes, u64::from(blob.raw_len));
        }
        put_len(&mut bytes, self.names.rows.len());
        for name in &self.names.rows {
            put_bytes(&mut bytes, name);
        }
        put_len(&mut bytes, self.sets.rows.len());
        for set in &self.sets.rows {
            put_len(&mut bytes, set.len());
            for attr in set.iter() {
                put_bytes(&mut bytes, &attr.name);
                put_bytes(&mut bytes, &attr.value);
            }
        }
        put_varint(&mut bytes, self.entries);
        bytes.extend_from_slice(&self.records);
        let page = LeafPage { bytes, entries: self.entries, first };

        self.blobs.clear();
        self.names.clear();
        self.sets.clear();
        self.records.clear();
        (self.tables_len, self.paths_len, self.entries) = (0, 0, 0);
        Some(page)
    }

    fn put_metadata(&mut self, out: &mut Vec<u8>, meta: &Metadata, kind: u8) -> Result<()> {
        out.push(kind);
        put_varint(out, u64::from(meta.mode));
        put_varint(out, u64::from(meta.uid));
        put_varint(out, u64::from(meta.gid));
        for name in [&meta.user, &meta.group] {
            let number = name.as_ref().map_or(0, |name| self.name_number(name) + 1);
            put_varint(out, number);
        }
        put_zigzag(out, meta.mtime.seconds);
        put_varint(out, u64::from(meta.mtime.nanos));
        put_zigzag(out, meta.ctime.seconds.wrapping_sub(meta.mtime.seconds));
        put_varint(out, u64::from(meta.ctime.nanos));
        put_varint(out, meta.inode);
        let number = if meta.xattrs.is_empty() { 0 } else { self.set_number(&meta.xattrs)? + 1 };
        put_varint(out, number);
        Ok(())
    }

    fn put_fields(&mut self, out: &mut Vec<u8>, entry: &Entry) -> Result<()> {
        match &entry.node {
            Node::File(file) => self.put_content(out, file)?,
            Node::Symlink { target } => put_field(out, tag::TARGET, target),
            Node::Directory | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => {}
        }
        if let Some(link) = entry.link {
            self.put_pair(out, tag::LINK, (link.device, link.inode));
        }
        match &entry.node {
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
                self.put_pair(out, tag::DEVICE, (u64::from(*major), u64::from(*minor)));
            }
            Node::File(file) => {
                if let Some(extents) = &file.extents {
                    self.put_extents(out, extents);
                }
                if file.incomplete {
                    put_field(out, tag::INCOMPLETE, &[1]);
                }
                if let Content::Object(object) = &file.content {
                    self.put_object(out, object);
                }
            }
            Node::Directory | Node::Symlink { .. } | Node::Fifo => {}
        }
        Ok(())
    }

    fn put_content(&mut self, out: &mut Vec<u8>, file: &FileNode) -> Result<()> {
        let mut field = std::mem::take(&mut self.field);
        field.clear();
        if file.size > 0 {
            put_varint(&mut field, file.size);
            put_field(out, tag::SIZE, &field);
            field.clear();
        }
        match &file.content {
            // An object stands behind all other fields, in the order of tags.
            Content::Empty | Content::Object(_) => {}
            Content::Bundle { blob, offset, hash } => {
                put_varint(&mut field, self.blob_number(*blob)?);
                put_varint(&mut field, u64::from(*offset));
                field.extend_from_slice(hash.as_bytes());
                put_field(out, tag::BUNDLE, &field);
            }
            Content::Chunks(chunks) => {
                self.put_numbers(&mut field, chunks)?;
                put_field(out, tag::CHUNKS, &field);
            }
            Content::Lists { depth, lists } => {
                field.push(*depth);
                self.put_numbers(&mut field, lists)?;
                put_field(out, tag::LISTS, &field);
            }
        }
        self.field = field;
        Ok(())
    }

    fn put_numbers(&mut self, out: &mut Vec<u8>, blobs: &[BlobRef]) -> Result<()> {
        for blob in blobs {
            put_varint(out, self.blob_number(*blob)?);
        }
        Ok(())
    }

    fn put_pair(&mut self, out: &mut Vec<u8>, tag: u64, pair: (u64, u64)) {
        self.field.clear();
        put_varint(&mut self.field, pair.0);
        put_varint(&mut self.field, pair.1);
        put_field(out, tag, &self.field);
    }

    fn put_extents(&mut self, out: &mut Vec<u8>, extents: &[Extent]) {
        self.field.clear();
        let mut end = 0;
        for extent in extents {
            // `Entry::flaw` has refused extents that overlap or overflow.
            put_varint(&mut self.field, extent.offset.saturating_sub(end));
            put_varint(&mut self.field, extent.len);
            end = extent.offset.saturating_add(extent.len);
        }
        put_field(out, tag::EXTENTS, &self.field);
    }

    fn put_object(&mut self, out: &mut Vec<u8>, stored: &StoredObject) {
        let field = &mut self.field;
        field.clear();
        field.extend_from_slice(stored.hash.as_ref().map_or(&[0; 32], |hash| hash.as_bytes()));
        let place = match stored.at {
            ObjectAt::Plain => object::PLAIN,
            ObjectAt::Staged => object::STAGED,
            ObjectAt::Packed { .. } => object::PACKED,
        };
        let md5 = md5_of(&stored.etag);
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        field.push(
            place
                | flag(stored.blocks, object::BLOCKS)
                | flag(stored.version.is_some(), object::VERSION)
                | flag(md5.is_some(), object::ETAG_MD5)
                | flag(stored.hash.is_none(), object::UNHASHED),
        );
        match md5 {
            Some(md5) => field.extend_from_slice(&md5),
            None => put_bytes(field, stored.etag.as_bytes()),
        }
        if let Some(version) = &stored.version {
            put_bytes(field, version.as_bytes());
        }
        if let ObjectAt::Packed { pack, offset } = stored.at {
            field.extend_from_slice(pack.as_bytes());
            put_varint(field, offset);
        }
        put_field(out, tag::OBJECT, field);
    }

    fn blob_number(&mut self, blob: BlobRef) -> Result<u64> {
        if blob.raw_len == 0 || blob.raw_len as usize > BLOB_MAX {
            return Err(Error::bug(format!("blob {} has {} bytes", blob.id, blob.raw_len)));
        }
        let (number, is_new) = self.blobs.number(&blob);
        if is_new {
            self.tables_len += 36;
        }
        Ok(number)
    }

    fn name_number(&mut self, name: &Arc<[u8]>) -> u64 {
        let (number, is_new) = self.names.number(name);
        if is_new {
            self.tables_len += name.len() + 2;
        }
        number
    }

    fn set_number(&mut self, set: &Arc<[Xattr]>) -> Result<u64> {
        let (number, is_new) = self.sets.number(set);
        if is_new {
            if let Some(flaw) = xattrs_flaw(set) {
                return Err(Error::bug(flaw));
            }
            self.tables_len += xattrs_size(set);
        }
        Ok(number)
    }
}

fn kind_of(node: &Node) -> u8 {
    match node {
        Node::Directory => kind::DIRECTORY,
        Node::File(_) => kind::FILE,
        Node::Symlink { .. } => kind::SYMLINK,
        Node::Fifo => kind::FIFO,
        Node::CharDevice { .. } => kind::CHAR_DEVICE,
        Node::BlockDevice { .. } => kind::BLOCK_DEVICE,
    }
}

fn put_field(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    put_varint(out, tag);
    put_bytes(out, bytes);
}

/// At least what `entry` adds to a page: its record and its rows of the tables.
fn largest_size(entry: &Entry) -> usize {
    let node = match &entry.node {
        Node::File(file) => {
            let blobs = match &file.content {
                Content::Empty => 0,
                // With an ETag and a version of 1 KiB.
                Content::Object(_) => 60,
                Content::Bundle { .. } => 1,
                Content::Chunks(blobs) | Content::Lists { lists: blobs, .. } => blobs.len(),
            };
            40 * blobs + 20 * file.extents.as_ref().map_or(0, Vec::len)
        }
        Node::Symlink { target } => target.len(),
        Node::Directory | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => 0,
    };
    let names = [&entry.meta.user, &entry.meta.group].into_iter().flatten().map(|name| name.len()).sum::<usize>();
    256 + node + names + entry.path.as_bytes().len() + xattrs_size(&entry.meta.xattrs)
}

/// The bytes of an `ETag` that is an MD5 as S3 writes it.
fn md5_of(etag: &str) -> Option<[u8; 16]> {
    let digits = etag.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = [0; 16];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    // `hex` reads capitals too, which must come back as they are.
    (!digits.bytes().any(|digit| digit.is_ascii_uppercase())).then_some(bytes)
}

fn xattrs_size(set: &[Xattr]) -> usize {
    set.iter().map(|attr| attr.name.len() + attr.value.len() + 8).sum::<usize>() + 4
}

/// Numbers things in order of first use.
#[derive(Clone)]
struct Table<K> {
    rows: Vec<K>,
    numbers: HashMap<K, u64>,
    /// The number given last: neighbours share bundles and attributes, and most look-ups end here.
    recent: usize,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { rows: Vec::new(), numbers: HashMap::new(), recent: 0 }
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    /// The number of `key`, and whether it is new.
    fn number(&mut self, key: &K) -> (u64, bool) {
        if self.rows.get(self.recent) == Some(key) {
            return (self.recent as u64, false);
        }
        let next = self.rows.len();
        let number = *self.numbers.entry(key.clone()).or_insert(next as u64);
        let is_new = number == next as u64;
        if is_new {
            self.rows.push(key.clone());
        }
        self.recent = usize::try_from(number).unwrap_or(next);
        (number, is_new)
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.numbers.clear();
        self.recent = 0;
    }
}
