"""The catalogue: leaf pages, inner pages and chunk lists, section 9 of docs/format.md, and the objects that section 4 of docs/mirror.md adds. No I/O here."""

from dataclasses import dataclass, field

from wire import Cursor

DIRECTORY, FILE, SYMLINK, FIFO, CHARACTER, BLOCK = range(6)
KINDS = "d-lpcb"


@dataclass(frozen=True)
class Stored:
    """The object of a mirror that holds a file."""
    hash: bytes
    etag: bytes
    version: bytes
    pack: tuple                 # (name, offset)
    staged: bool
    blocks: bool


@dataclass
class Entry:
    """One entry of a tree. Blobs are (id, raw length)."""
    path: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    user: bytes
    group: bytes
    mtime: tuple
    ctime: tuple
    inode: int
    xattrs: list
    size: int = 0
    bundle: tuple = None        # (blob, offset, content hash)
    chunks: list = None
    lists: tuple = None         # (depth, blobs)
    target: bytes = b""
    group_of_links: tuple = None
    device: tuple = None
    extents: list = None        # (start, length)
    cut_short: bool = False
    object: Stored = None       # only in mirrors
    unknown: list = field(default_factory=list)

    def stored(self):
        """Bytes that the content has: the size, or that of the extents of a file with holes."""
        return self.size if self.extents is None else sum(length for _, length in self.extents)


def order(path):
    """Sorts paths as the catalogue does."""
    return path.split(b"/") if path else []


def optional(table, at, what):
    number = at.varint()
    if number > len(table):
        at.fail(f"there is no {what} {number - 1}")
    return table[number - 1] if number else None


def item(table, at, what):
    number = at.varint()
    if number >= len(table):
        at.fail(f"there is no {what} {number}")
    return table[number]


def leaf_page(data, name, mirror=False):
    """The entries of a leaf page, of a repository or of a mirror."""
    at = Cursor(data, name)
    if at.u8() != 1:
        at.fail("not a leaf page")
    blobs = [(at.take(32), at.varint()) for _ in range(at.count(33))]
    names = [at.text() for _ in range(at.count(1))]
    sets = [[(at.text(), at.text()) for _ in range(at.count(2))] for _ in range(at.count(1))]
    entries, before = [], b""
    for n in range(at.count(1)):
        entry = record(at.part(f"record {n}"), before, (blobs, names, sets), mirror)
        if entries and order(before) >= order(entry.path):
            at.fail(f"{entry.path!r} stands after {before!r}")
        entries.append(entry)
        before = entry.path
    at.end()
    return entries


def record(at, before, tables, mirror):
    blobs, names, sets = tables
    shared = at.varint()
    if shared > len(before):
        at.fail("more bytes shared than the path before has")
    path = before[:shared] + at.text()
    if path and any(part in (b"", b".", b"..") or b"\0" in part for part in path.split(b"/")):
        at.fail(f"{path!r} is no path inside a tree")
    kind, mode, uid, gid = at.u8(), at.varint(), at.varint(), at.varint()
    if kind > BLOCK or mode > 0o7777:
        at.fail(f"kind {kind}, mode {mode:o}")
    user, group = optional(names, at, "name"), optional(names, at, "name")
    mtime = (at.zigzag(), at.varint())
    ctime = (mtime[0] + at.zigzag(), at.varint())
    entry = Entry(path, kind, mode, uid, gid, user, group, mtime, ctime, at.varint(), optional(sets, at, "attribute set") or [])
    last = 0
    while at.left():
        tag = at.varint()
        if tag <= last:
            at.fail("the fields are not in order")
        last = tag
        if tag in ((2, 3, 4) if mirror else (16,)):
            at.fail(f"field {tag} in a {'mirror' if mirror else 'repository'}")
        read_field(entry, tag, at.part(f"field {tag}"), blobs)
    return entry


def read_field(entry, tag, at, blobs):
    if tag == 1:
        entry.size = at.varint()
    elif tag == 2:
        entry.bundle = (item(blobs, at, "blob"), at.varint(), at.take(16))
    elif tag == 3:
        entry.chunks = many(at, lambda: item(blobs, at, "blob"))
    elif tag == 4:
        entry.lists = (at.u8(), many(at, lambda: item(blobs, at, "blob")))
        if entry.lists[0] > 4:
            at.fail("chunk lists deeper than 4")
    elif tag == 5:
        entry.target = at.take(at.left())
    elif tag == 6:
        entry.group_of_links = (at.varint(), at.varint())
    elif tag == 7:
        entry.device = (at.varint(), at.varint())
    elif tag == 8:
        entry.extents, end = [], 0
        for gap, length in many(at, lambda: (at.varint(), at.varint())):
            entry.extents.append((end + gap, length))
            end += gap + length
    elif tag == 9:
        entry.cut_short = at.u8() == 1
    elif tag == 16:
        entry.object = stored_object(at)
    else:
        entry.unknown.append(tag)
        return
    at.end()


def stored_object(at):
    digest, flags = at.take(32), at.u8()
    if flags & ~63 or flags & 3 == 3 or flags & 32 and (any(digest) or flags & 7):
        at.fail(f"flags {flags:#x} of an object")
    etag = b'"' + at.take(16).hex().encode() + b'"' if flags & 16 else at.text()
    version = at.text() if flags & 8 else None
    pack = (at.take(32).hex(), at.varint()) if flags & 3 == 2 else None
    return Stored(None if flags & 32 else digest, etag, version, pack, flags & 3 == 1, bool(flags & 4))


def many(at, read):
    found = []
    while at.left():
        found.append(read())
    return found


@dataclass(frozen=True)
class Hint:
    """Where a page lay when the page above it was written."""
    pack: str
    epoch: int
    salt: bytes
    offset: int
    stored: int
    codec: int


@dataclass(frozen=True)
class Child:
    """A page below an inner page."""
    id: bytes
    raw: int
    entries: int
    hint: Hint
    first: bytes


def inner_page(data, name):
    """(level, children) of an inner page."""
    at = Cursor(data, name)
    if at.u8() != 2:
        at.fail("not an inner page")
    level = at.u8()
    if not 1 <= level <= 8:
        at.fail(f"level {level}")
    packs = [(at.take(32).hex(), at.u16(), at.take(32)) for _ in range(at.count(66))]
    children = []
    for n in range(at.count(1)):
        record = at.part(f"child {n}")
        id, raw, entries = record.take(32), record.varint(), record.varint()
        pack = optional(packs, record, "pack")
        offset, stored, codec = record.varint(), record.varint(), record.u8()
        if pack is None and (offset or stored or codec):
            record.fail("a place without a pack")
        hint = Hint(*pack, offset, stored, codec) if pack else None
        children.append(Child(id, raw, entries, hint, record.text()))
    at.end()
    return level, children


def chunk_list(data, name, depth):
    """The (id, length) of a chunk list of this depth."""
    at = Cursor(data, name)
    if at.u8() != 3 or at.u8() != depth:
        at.fail(f"not a chunk list of depth {depth}")
    found = [(at.take(32), at.varint()) for _ in range(at.count(33))]
    at.end()
    return found
