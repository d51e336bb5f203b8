//! Leaf pages, the reading side. Everything here may come from a stranger: counts are bounded by the bytes that are
//! left before anything is allocated, and an entry leaves only when it is one that a writer could have meant.

use std::cmp::Ordering;
use std::sync::Arc;

use super::entry::{
    BlobRef, Content, Entry, Extent, FileNode, LinkGroup, Metadata, Node, ObjectAt, StoredObject, Timestamp, Xattr,
    xattrs_flaw,
};
use super::page::{ENTRIES_MAX, LEAF, PATHS_MAX, kind, object, tag};
use super::wire::Reader;
use crate::error::{Attempt, Error, Result};
use crate::id::{BlobId, ContentHash, ObjectHash};
use crate::limits::BLOB_MAX;
use crate::path::{TreePath, compare};

/// Shortest entry: length of the record, its 14 numbers, one byte of path.
const ENTRY_MIN: usize = 15;
/// Most blob numbers of all entries of a page: 256 KiB of records, which hold at least a byte for each, twice over.
const NUMBERS_MAX: usize = 512 << 10;

/// The entries of a leaf page, in order.
///
/// # Errors
/// `Corrupt`, naming the entry by its number, for anything that `docs/format.md` section 9 does not allow.
pub fn decode_leaf(page: &[u8]) -> Result<Vec<Entry>> {
    decode(page, false)
}

/// The entries of a leaf page of a mirror, in order: files are in objects, or empty.
///
/// # Errors
/// `Corrupt` for anything that `docs/format.md` section 9 and `docs/mirror.md` section 4 do not allow.
pub fn decode_mirror_leaf(page: &[u8]) -> Result<Vec<Entry>> {
    decode(page, true)
}

fn decode(page: &[u8], of_mirror: bool) -> Result<Vec<Entry>> {
    if page.len() > BLOB_MAX {
        return Err(Error::corrupt(format!("catalogue page of {} bytes", page.len())));
    }
    let mut reader = Reader::new(page);
    if reader.u8()? != LEAF {
        return Err(Error::corrupt("not a leaf page of the catalogue"));
    }
    let mut records = Records {
        tables: Tables::decode(&mut reader).attempt(|| "decode the tables of a catalogue page".to_owned())?,
        of_mirror,
        numbers: 0,
        paths_len: 0,
    };
    let count = reader.count(ENTRY_MIN, "entries")?;
    if count > ENTRIES_MAX {
        return Err(Error::corrupt(format!("catalogue page of {count} entries")));
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for number in 0..count {
        let before = entries.last().map(|entry| entry.path.as_bytes());
        let entry = reader
            .bytes()
            .and_then(|record| records.decode(record, before))
            .attempt(|| format!("decode entry {number} of a catalogue page"))?;
        entries.push(entry);
    }
    reader.finish("a catalogue page")?;
    Ok(entries)
}

/// The blobs that the entries of a leaf page name, chunk lists among them: the table at its start, and nothing else is looked at.
///
/// # Errors
/// `Corrupt` when that table is not one.
pub fn leaf_blobs(page: &[u8]) -> Result<Vec<BlobRef>> {
    let mut reader = Reader::new(page);
    if reader.u8()? != LEAF {
        return Err(Error::corrupt("not a leaf page of the catalogue"));
    }
    Tables::blobs(&mut reader).attempt(|| "decode the blobs of a catalogue page".to_owned())
}

struct Tables {
    blobs: Vec<BlobRef>,
    names: Vec<Arc<[u8]>>,
    sets: Vec<Arc<[Xattr]>>,
    no_xattrs: Arc<[Xattr]>,
}

impl Tables {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let blobs = Self::blobs(reader)?;
        let count = reader.count(1, "names")?;
        if count > 2 * ENTRIES_MAX {
            return Err(Error::corrupt(format!("{count} names of users and groups")));
        }
        let names = (0..count).map(|_| Ok(Arc::from(reader.bytes()?))).collect::<Result<_>>()?;
        let count = reader.count(1, "attribute sets")?;
        if count > ENTRIES_MAX {
            return Err(Error::corrupt(format!("{count} attribute sets")));
        }
        let sets = (0..count).map(|_| Self::decode_set(reader)).collect::<Result<_>>()?;
        Ok(Self { blobs, names, sets, no_xattrs: Arc::default() })
    }

    fn blobs(reader: &mut Reader<'_>) -> Result<Vec<BlobRef>> {
        let count = reader.count(BlobId::LEN + 1, "blobs")?;
        let mut blobs = Vec::with_capacity(count);
        for _ in 0..count {
            blobs.push(BlobRef { id: BlobId::new(reader.array()?), raw_len: raw_len(reader)? });
        }
        Ok(blobs)
    }

    fn decode_set(reader: &mut Reader<'_>) -> Result<Arc<[Xattr]>> {
        let count = reader.count(3, "extended attributes")?;
        let mut set = Vec::with_capacity(count);
        for _ in 0..count {
            set.push(Xattr { name: reader.bytes()?.to_vec(), value: reader.bytes()?.to_vec() });
        }
        match xattrs_flaw(&set) {
            Some(flaw) => Err(Error::corrupt(flaw)),
            None => Ok(set.into()),
        }
    }

    fn blob(&self, number: usize) -> Result<BlobRef> {
        self.blobs.get(number).copied().ok_or_else(|| outside("blob", number))
    }

    /// The row that `number` names in the way records do: 0 is none, n is row n − 1.
    fn optional<'t, T>(rows: &'t [T], number: usize, what: &'static str) -> Result<Option<&'t T>> {
        match number.checked_sub(1) {
            None => Ok(None),
            Some(row) => rows.get(row).map(Some).ok_or_else(|| outside(what, number)),
        }
    }
}

/// What a record's fields said, before the kind decides which of them may be there.
#[derive(Default)]
struct Fields {
    size: Option<u64>,
    content: Option<Content>,
    target: Option<Vec<u8>>,
    link: Option<LinkGroup>,
    device: Option<(u32, u32)>,
    extents: Option<Vec<Extent>>,
    incomplete: bool,
}

/// Decodes the records of one page, and counts what they expand to.
struct Records {
    tables: Tables,
    of_mirror: bool,
    numbers: usize,
    paths_len: usize,
}

impl Records {
    fn decode(&mut self, record: &[u8], before: Option<&[u8]>) -> Result<Entry> {
        let mut reader = Reader::new(record);
        let path = self.path(&mut reader, before)?;
        let kind = reader.u8()?;
        let meta = self.metadata(&mut reader)?;
        let fields = self.fields(&mut reader)?;
        let (node, link) = node_of(kind, fields)?;
        let entry = Entry { path, meta, node, link };
        match entry.flaw() {
            Some(flaw) => Err(Error::corrupt(flaw)),
            None => Ok(entry),
        }
    }

    fn path(&mut self, reader: &mut Reader<'_>, before: Option<&[u8]>) -> Result<TreePath> {
        let shared = reader.usize("shared length of paths")?;
        let suffix = reader.bytes()?;
        let (prefix, rest) = before
            .unwrap_or_default()
            .split_at_checked(shared)
            .ok_or_else(|| Error::corrupt("the path shares more than the path before it has"))?;
        // The first `shared` bytes are equal, so the order is that of what follows them.
        if before.is_some() && compare(rest, suffix) != Ordering::Less {
            return Err(Error::corrupt("the path is not after the one before it"));
        }
        let mut path = Vec::with_capacity(prefix.len() + suffix.len());
        path.extend_from_slice(prefix);
        path.extend_from_slice(suffix);
        self.paths_len += path.len();
        if self.paths_len > PATHS_MAX {
            return Err(Error::corrupt(format!("the paths of the page have more than {PATHS_MAX} bytes")));
        }
        TreePath::parse(path).map_err(|error| Error::corrupt("the path is not valid").with_source(error))
    }

    fn metadata(&self, reader: &mut Reader<'_>) -> Result<Metadata> {
        let tables = &self.tables;
        let mode = u16::try_from(reader.varint()?).map_err(|_| Error::corrupt("the mode has more than 12 bits"))?;
        let (uid, gid) = (reader.u32("uid")?, reader.u32("gid")?);
        let user = Tables::optional(&tables.names, reader.usize("name number")?, "name")?;
        let group = Tables::optional(&tables.names, reader.usize("name number")?, "name")?;
        let mtime = Timestamp { seconds: reader.zigzag()?, nanos: reader.u32("nanoseconds")? };
        let ctime =
            Timestamp { seconds: mtime.seconds.wrapping_add(reader.zigzag()?), nanos: reader.u32("nanoseconds")? };
        let inode = reader.varint()?;
        let xattrs = Tables::optional(&tables.sets, reader.usize("attribute set")?, "attribute set")?;
        Ok(Metadata {
            mode,
            uid,
            gid,
            user: user.cloned(),
            group: group.cloned(),
            mtime,
            ctime,
            inode,
            xattrs: Arc::clone(xattrs.unwrap_or(&tables.no_xattrs)),
        })
    }

    fn fields(&mut self, reader: &mut Reader<'_>) -> Result<Fields> {
        let mut fields = Fields::default();
        let mut last = None;
        while !reader.is_empty() {
            let tag = reader.varint()?;
            if last.is_some_and(|last| last >= tag) {
                return Err(Error::corrupt(format!("field {tag} is not after the one before it")));
            }
            last = Some(tag);
            let field = reader.bytes()?;
            self.field(&mut fields, tag, Reader::new(field)).attempt(|| format!("decode field {tag}"))?;
        }
        Ok(fields)
    }

    fn field(&mut self, fields: &mut Fields, tag: u64, mut reader: Reader<'_>) -> Result<()> {
        let of_other = match tag {
            tag::BUNDLE | tag::CHUNKS | tag::LISTS => self.of_mirror,
            tag::OBJECT => !self.of_mirror,
            _ => false,
        };
        if of_other {
            return Err(Error::corrupt("content of a repository in a mirror, or of a mirror in a repository"));
        }
        match tag {
            tag::SIZE => fields.size = Some(reader.varint()?),
            tag::BUNDLE => {
                let content = Content::Bundle {
                    blob: self.blob(&mut reader)?,
                    offset: reader.u32("offset in a bundle")?,
                    hash: ContentHash::new(reader.array()?),
                };
                set_content(fields, content)?;
            }
            tag::CHUNKS => {
                let chunks = self.blobs(&mut reader)?;
                set_content(fields, Content::Chunks(chunks))?;
            }
            tag::LISTS => {
                let depth = reader.u8()?;
                let lists = self.blobs(&mut reader)?;
                set_content(fields, Content::Lists { depth, lists })?;
            }
            tag::TARGET => fields.target = Some(reader.take(reader.remaining())?.to_vec()),
            tag::LINK => fields.link = Some(LinkGroup { device: reader.varint()?, inode: reader.varint()? }),
            tag::DEVICE => fields.device = Some((reader.u32("major number")?, reader.u32("minor number")?)),
            tag::EXTENTS => fields.extents = Some(extents(&mut reader)?),
            tag::INCOMPLETE => {
                if reader.u8()? != 1 {
                    return Err(Error::corrupt("the mark of an incomplete file is not 1"));
                }
                fields.incomplete = true;
            }
            tag::OBJECT => set_content(fields, Content::Object(Arc::new(stored_object(&mut reader)?)))?,
            // From a later version, which says that we may do without it.
            _ => return Ok(()),
        }
        reader.finish("the field")
    }

    fn blob(&mut self, reader: &mut Reader<'_>) -> Result<BlobRef> {
        self.numbers += 1;
        if self.numbers > NUMBERS_MAX {
            return Err(Error::corrupt(format!("the page names more than {NUMBERS_MAX} chunks")));
        }
        self.tables.blob(reader.usize("blob number")?)
    }

    fn blobs(&mut self, reader: &mut Reader<'_>) -> Result<Vec<BlobRef>> {
        let mut blobs = Vec::new();
        while !reader.is_empty() {
            blobs.push(self.blob(reader)?);
        }
        Ok(blobs)
    }
}

fn set_content(fields: &mut Fields, content: Content) -> Result<()> {
    match fields.content.replace(content) {
        None => Ok(()),
        Some(_) => Err(Error::corrupt("the file has content of two kinds")),
    }
}

fn stored_object(reader: &mut Reader<'_>) -> Result<StoredObject> {
    let hash: [u8; 32] = reader.array()?;
    let flags = reader.u8()?;
    let known = object::PLACE | object::BLOCKS | object::VERSION | object::ETAG_MD5 | object::UNHASHED;
    if flags & !known != 0 || (flags & object::UNHASHED != 0 && hash != [0; 32]) {
        return Err(Error::corrupt(format!("flags {flags:#x} of an object")));
    }
    let text = |bytes: &[u8]| -> Result<Box<str>> {
        let text = std::str::from_utf8(bytes).map_err(|cause| Error::corrupt("ETag or version").with_source(cause))?;
        Ok(text.into())
    };
    let etag = if flags & object::ETAG_MD5 == 0 {
        text(reader.bytes()?)?
    } else {
        format!("\"{}\"", hex::encode(reader.array::<16>()?)).into()
    };
    let version = if flags & object::VERSION == 0 { None } else { Some(text(reader.bytes()?)?) };
    let at = match flags & object::PLACE {
        object::PLAIN => ObjectAt::Plain,
        object::STAGED => ObjectAt::Staged,
        object::PACKED => ObjectAt::Packed { pack: ObjectHash::new(reader.array()?), offset: reader.varint()? },
        other => return Err(Error::corrupt(format!("place {other} of an object"))),
    };
    let hash = (flags & object::UNHASHED == 0).then(|| ObjectHash::new(hash));
    Ok(StoredObject { hash, etag, version, at, blocks: flags & object::BLOCKS != 0 })
}

fn extents(reader: &mut Reader<'_>) -> Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut end = 0u64;
    while !reader.is_empty() {
        let (gap, len) = (reader.varint()?, reader.varint()?);
        let overflow = || Error::corrupt("an extent ends beyond 64 bits");
        let offset = end.checked_add(gap).ok_or_else(overflow)?;
        end = offset.checked_add(len).ok_or_else(overflow)?;
        extents.push(Extent { offset, len });
    }
    Ok(extents)
}

/// Puts the fields into the kind they belong to; a field that the kind does not have is refused.
fn node_of(kind: u8, mut fields: Fields) -> Result<(Node, Option<LinkGroup>)> {
    let missing = |what: &str| Error::corrupt(format!("{what} is missing"));
    let link = fields.link.take();
    let node = match kind {
        kind::DIRECTORY => Node::Directory,
        kind::FILE => Node::File(FileNode {
            size: fields.size.take().unwrap_or(0),
            content: fields.content.take().unwrap_or(Content::Empty),
            extents: fields.extents.take(),
            incomplete: std::mem::take(&mut fields.incomplete),
        }),
        kind::SYMLINK => {
            Node::Symlink { target: fields.target.take().ok_or_else(|| missing("the target of the symlink"))? }
        }
        kind::FIFO => Node::Fifo,
        kind::CHAR_DEVICE | kind::BLOCK_DEVICE => {
            let (major, minor) = fields.device.take().ok_or_else(|| missing("the device number"))?;
            if kind == kind::CHAR_DEVICE {
                Node::CharDevice { major, minor }
            } else {
                Node::BlockDevice { major, minor }
            }
        }
        _ => return Err(Error::corrupt(format!("kind {kind} is unknown"))),
    };
    let left = fields.size.is_some()
        || fields.content.is_some()
        || fields.target.is_some()
        || fields.device.is_some()
        || fields.extents.is_some()
        || fields.incomplete;
    if left {
        return Err(Error::corrupt(format!("a field does not belong to an entry of kind {kind}")));
    }
    Ok((node, link))
}

/// Length of a blob's plaintext, within the limits of a blob.
pub(super) fn raw_len(reader: &mut Reader<'_>) -> Result<u32> {
    let len = reader.u32("length of a blob")?;
    if len == 0 || len as usize > BLOB_MAX {
        return Err(Error::corrupt(format!("a blob of {len} bytes")));
    }
    Ok(len)
}

#[cold]
fn outside(what: &str, number: usize) -> Error {
    Error::corrupt(format!("{what} number {number} is not in its table"))
}
