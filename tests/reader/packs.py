"""Packs and index segments: sections 6 and 7 of docs/format.md. Whole objects in memory; no I/O here."""

import bisect
from dataclasses import dataclass

import zstandard

from sealed import DATA, HEADER, INDEX, TAG, TREE, Opener
from wire import Cursor, FormatError

BLOB_MAX = 8 << 20
BLOCK_ENTRIES = 128
ENTRY = 34


@dataclass(frozen=True)
class Place:
    """Where a blob lies."""
    pack: str
    kind: int
    epoch: int
    salt: bytes
    offset: int
    stored: int
    raw: int
    codec: int


@dataclass(frozen=True)
class Listed:
    """One line of a pack's directory."""
    id: bytes
    codec: int
    offset: int
    stored: int
    raw: int


def unpack(content, codec, raw, name):
    """The plaintext of an opened blob."""
    if not 1 <= raw <= BLOB_MAX:
        raise FormatError(f"{name}: a blob of {raw} bytes")
    if codec == 0:
        if len(content) != raw:
            raise FormatError(f"{name}: {len(content)} bytes where {raw} were announced")
        return content
    if codec != 1:
        raise FormatError(f"{name}: unknown codec {codec}")
    if len(content) >= raw:
        raise FormatError(f"{name}: compressed, and not shorter for it")
    try:
        head = zstandard.get_frame_parameters(content)
        if head.window_size > 8 << 20:
            raise FormatError(f"{name}: a zstd window of {head.window_size} bytes")
        if head.content_size not in (raw, zstandard.CONTENTSIZE_UNKNOWN):
            raise FormatError(f"{name}: a zstd frame of {head.content_size} bytes where {raw} were announced")
        plain = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompress(content, max_output_size=raw, allow_extra_data=False)
    except zstandard.ZstdError as cause:
        raise FormatError(f"{name}: not one zstd frame") from cause
    if len(plain) != raw:
        raise FormatError(f"{name}: {len(plain)} bytes where {raw} were announced")
    return plain


def open_blob(opener, id, place, sealed):
    """The plaintext of a blob, its id checked. `place` is a Place or a Listed."""
    name = f"{opener.name}, blob {id.hex()}"
    if len(sealed) != place.stored or place.stored <= TAG:
        raise FormatError(f"{name}: stored length {place.stored}, found {len(sealed)}")
    aad = id + place.raw.to_bytes(4, "little") + bytes([place.codec])
    plain = unpack(opener.open(0x01, place.offset, sealed, aad), place.codec, place.raw, name)
    if opener.keys.blob_id(opener.kind, plain) != id:
        raise FormatError(f"{name}: the content has another id")
    return plain


def padded_length(length):
    """What the length of a pack is rounded up to."""
    if length < 4 << 20:
        e = length.bit_length() - 1
        k = e - (e.bit_length() - 1 + 1)
    else:
        k = 14
    return (length + (1 << k) - 1) >> k << k


class Pack:
    """A whole pack, its directory read and checked."""

    def __init__(self, keys, name, data):
        self.name, self.data = name, data
        if len(data) < HEADER + 2 * TAG + 24:
            raise FormatError(f"{name}: {len(data)} bytes are too few for a pack")
        kind = data[11]
        if kind not in (DATA, TREE):
            raise FormatError(f"{name}: not a pack (kind {kind})")
        self.opener = Opener.of_header(keys, name, data, kind)
        self.kind, self.epoch, self.salt = kind, self.opener.epoch, self.opener.salt
        at = Cursor(data[-24:], f"{name}, trailer")
        length, number, total = at.u32(), at.u32(), at.u64()
        if at.take(8) != b"vvpack01" or total != len(data):
            at.fail("not the trailer of a pack of this length")
        start = len(data) - 24 - length
        if start < HEADER + TAG:
            at.fail("the directory is longer than the pack")
        aad = total.to_bytes(8, "little") + number.to_bytes(4, "little")
        plain = self.opener.open(0x02, start, data[start:start + length], aad)
        self.blobs = self.directory(plain, number, start)
        self.padding_start, self.padding_end = self.blobs[-1].offset + self.blobs[-1].stored if self.blobs else HEADER, start

    def directory(self, plain, number, end):
        at, blobs, before = Cursor(plain, f"{self.name}, directory"), [], HEADER
        for _ in range(number):
            id, codec, reserved = at.take(32), at.u8(), at.u8()
            blob = Listed(id, codec, at.u32(), at.u32(), at.u32())
            if reserved:
                at.fail("a reserved byte is not 0")
            if blob.offset != before or blob.offset + blob.stored > end:
                at.fail(f"blob {id.hex()} lies at {blob.offset}, not at {before}")
            before = blob.offset + blob.stored
            blobs.append(blob)
        at.end()
        return blobs

    def blob(self, listed):
        return open_blob(self.opener, listed.id, listed, self.data[listed.offset:listed.offset + listed.stored])

    def check_padding(self):
        plain = self.opener.open(0x03, self.padding_start, self.data[self.padding_start:self.padding_end], b"")
        if any(plain):
            raise FormatError(f"{self.name}: the padding is not zeros")
        if padded_length(len(self.data)) != len(self.data):
            raise FormatError(f"{self.name}: {len(self.data)} bytes are not a padded length")


class Filter:
    """A binary fuse filter with 8-bit fingerprints and arity 3."""

    def __init__(self, plain, name):
        at = Cursor(plain, name)
        self.seed, self.segment, self.mask, self.span = at.u64(), at.u32(), at.u32(), at.u32()
        self.prints = at.take(at.u32())
        at.end()

    def may_hold(self, prefix):
        wide = (1 << 64) - 1
        h = (int.from_bytes(prefix[:8], "little") + self.seed) & wide
        h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & wide
        h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & wide
        h ^= h >> 33
        slot0 = (h * self.span >> 64) & 0xFFFFFFFF
        slot1 = (slot0 + self.segment & 0xFFFFFFFF) ^ (h >> 18 & self.mask)
        slot2 = (slot0 + 2 * self.segment & 0xFFFFFFFF) ^ (h & self.mask)
        if max(slot0, slot1, slot2) >= len(self.prints):
            return False
        return self.prints[slot0] ^ self.prints[slot1] ^ self.prints[slot2] == (h ^ h >> 32) & 0xFF


@dataclass(frozen=True)
class PackInfo:
    """A pack as an index segment knows it."""
    name: str
    length: int
    kind: int
    epoch: int
    salt: bytes
    blobs: int


def checksums(tables, names):
    """What the store said of packs when they were stored, by name: the first table 1 of the right length. Nothing in these bytes is an error."""
    at = 0
    while len(tables) - at >= 8:
        number, length = int.from_bytes(tables[at:at + 4], "little"), int.from_bytes(tables[at + 4:at + 8], "little")
        table = tables[at + 8:at + 8 + length]
        if len(table) < length:
            break
        if number == 1 and length == 16 * len(names):
            given = ((name, table[16 * n:16 * n + 16]) for n, name in enumerate(names))
            return {name: checksum for name, checksum in given if any(checksum)}
        at += 8 + length
    return {}


class Segment:
    """A whole index segment: packs, entries (prefix, Place) in order, filter."""

    def __init__(self, keys, name, data):
        self.name = name
        if len(data) < HEADER + 2 * TAG + 24:
            raise FormatError(f"{name}: {len(data)} bytes are too few for a segment")
        opener = Opener.of_header(keys, name, data, INDEX)
        at = Cursor(data[-24:], f"{name}, trailer")
        footer, filter_length, total = at.u32(), at.u32(), at.u64()
        if at.take(8) != b"vvindex1" or total != len(data):
            at.fail("not the trailer of a segment of this length")
        footer_at = len(data) - 24 - footer
        filter_at = footer_at - filter_length
        if filter_at < HEADER:
            at.fail("filter and footer are longer than the segment")
        block = BLOCK_ENTRIES * ENTRY + TAG
        number = -(-(filter_at - HEADER) // block)
        aad = total.to_bytes(8, "little") + number.to_bytes(4, "little")
        firsts = self.footer(opener.open(0x12, footer_at, data[footer_at:footer_at + footer], aad), number)
        self.filter = Filter(opener.open(0x11, filter_at, data[filter_at:footer_at], b""), f"{name}, filter")
        self.entries = []
        for n in range(number):
            start = HEADER + n * block
            plain = opener.open(0x10, start, data[start:min(start + block, filter_at)], n.to_bytes(4, "little"))
            self.block(Cursor(plain, f"{name}, block {n}"), firsts[n])
        if len(self.entries) != self.count:
            raise FormatError(f"{name}: {len(self.entries)} entries where {self.count} were announced")
        self.prefixes = [prefix for prefix, _ in self.entries]
        if any(a >= b for a, b in zip(self.prefixes, self.prefixes[1:])):
            raise FormatError(f"{name}: the entries are not sorted, or one stands twice")

    def footer(self, plain, number):
        at = Cursor(plain, f"{self.name}, footer")
        self.count = at.u64()
        if at.u16() != BLOCK_ENTRIES:
            at.fail(f"blocks that do not have {BLOCK_ENTRIES} entries")
        self.written = at.i64()
        self.packs = [PackInfo(at.take(32).hex(), at.u64(), at.u8(), at.u16(), at.take(32), at.u32()) for _ in range(at.u32())]
        self.superseded = [at.take(32).hex() for _ in range(at.u32())]
        firsts = [at.take(8) for _ in range(number)]
        self.checksums = checksums(at.take(at.left()), [info.name for info in self.packs])
        return firsts

    def block(self, at, first):
        if at.data[:8] != first:
            at.fail("the footer has another first prefix")
        while at.left():
            prefix, pack, offset, stored, raw, codec = at.take(20), at.u24(), at.u32(), at.u24(), at.u24(), at.u8()
            if pack >= len(self.packs):
                at.fail(f"there is no pack {pack}")
            info = self.packs[pack]
            self.entries.append((prefix, Place(info.name, info.kind, info.epoch, info.salt, offset, stored, raw, codec)))

    def find(self, prefix):
        n = bisect.bisect_left(self.prefixes, prefix)
        return self.entries[n][1] if n < len(self.prefixes) and self.prefixes[n] == prefix else None
