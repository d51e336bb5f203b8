#!/usr/bin/env python3
"""A second reader of mirrors, written from docs/mirror.md alone, to keep that page honest.

    mirror.py DIR                 all generations of the mirror in the directory DIR that are still there, entry by entry
    mirror.py DIR CONTENTS        also compares every plain object of the newest generation with the manifest

Local directories only. Exit code 1 and one line on a fault.
"""

import hashlib
import json
import os
import sys

import zstandard
from blake3 import blake3

import catalogue
from wire import Cursor, FormatError

ROOT_MAX, FRAME_MAX = 64 << 10, 9_437_184
QUOTE = "\u201b"
MASKS = {4096: (0x0000D90313530000, 0x0000590003530000), 262144: (0x0000D91747537000, 0x0000D90303537000),
         524288: (0x0000D91767537000, 0x0000D90703537000), 1048576: (0x0000D93767537000, 0x0000D90707537000)}


# ---------------------------------------------------------------- section 2

def key_of(path):
    """The key of a path, both relative to the mirror."""
    return "/".join(key_of_name(name) for name in path.split(b"/"))


def key_of_name(name):
    if name in ("\uff0e".encode(), "\uff0e\uff0e".encode()):
        return "".join(QUOTE + letter for letter in name.decode())
    key = ""
    for letter in name.decode("utf-8", "surrogateescape"):
        if 0xDC80 <= ord(letter) <= 0xDCFF:
            key += f"{QUOTE}{ord(letter) - 0xDC00:02X}"
        else:
            key += (QUOTE if letter in "\u2400\u201b\uff0f" else "") + letter
    return key


# ---------------------------------------------------------------- section 3

def root(data, name):
    """The members of a root."""
    end = data[:-1].rfind(b"\n") + 1
    if len(data) > ROOT_MAX or data[end:] != b"blake3:" + blake3(data[:end]).hexdigest().encode() + b"\n":
        raise FormatError(f"{name}: the last line is not the hash of the others")
    members = json.loads(data[:end])
    if members["volvault-mirror"] != 1 or set(members.get("features", [])) - {"unhashed"}:
        raise FormatError(f"{name}: of a later version")
    base, deltas, history = members["base"], members.setdefault("deltas", []), members.setdefault("history", [])
    numbers = [delta["generation"] for delta in history + deltas]
    if (members["generation"] != base["generation"] + len(deltas) or len(deltas) > 32 or len(history) > 16 or base.get("removed", 0)
            or numbers != list(range(members["generation"] - len(numbers) + 1, members["generation"] + 1))):
        raise FormatError(f"{name}: its deltas are not those from the base to its generation")
    return members


def content_id(members):
    hasher = blake3(derive_key_context="volvault mirror generation 1")
    hasher.update(members["generation"].to_bytes(8, "little"))
    for segment in [members["base"]] + members["deltas"]:
        hasher.update(bytes.fromhex(segment["hash"]))
    return hasher.hexdigest()


# ---------------------------------------------------------------- section 4

def frame(at):
    """A frame, expanded; None for the mark that ends them."""
    stored, raw = at.u32(), at.u32()
    if stored == raw == 0:
        return None
    if not 0 < raw <= FRAME_MAX:
        at.fail(f"a frame that stands for {raw} bytes")
    try:
        plain = zstandard.ZstdDecompressor().decompress(at.take(stored), max_output_size=raw)
    except zstandard.ZstdError as fault:
        at.fail(str(fault))
    if len(plain) != raw:
        at.fail(f"a frame of {len(plain)} bytes that should have {raw}")
    return plain


def changes(raw, name):
    """[(path, entry or None)] of an expanded frame, in order."""
    at, before, found = Cursor(raw, name), b"", []
    for n in range(at.count(2)):
        shared = at.varint()
        if shared > len(before):
            at.fail("more bytes shared than the path before has")
        path = before[:shared] + at.text()
        if n and catalogue.order(before) >= catalogue.order(path):
            at.fail(f"{path!r} stands after {before!r}")
        found.append((path, None))
        before = path
    if at.left():
        found += [(entry.path, entry) for entry in catalogue.leaf_page(at.take(at.left()), name, mirror=True)]
    if not found:
        at.fail("a frame without changes")
    return sorted(found, key=lambda change: catalogue.order(change[0]))


def segment(data, named, name):
    """[(path, entry or None)] of a segment that a root names."""
    if len(data) != named["size"] or blake3(data).hexdigest() != named["hash"]:
        raise FormatError(f"{name}: not the object that the root names")
    at, found, table = Cursor(data, name), [], []
    if at.take(8) != b"vvmirr1\n":
        at.fail("no segment of a manifest")
    while True:
        start = at.at
        raw = frame(at)
        if raw is None:
            break
        some = changes(raw, name)
        table.append((at.at - start - 8, len(some), some[0][0]))
        found += some
    footer = at.at
    check_table(Cursor(frame(at), name), found, table)
    if at.u64() != footer or at.take(8) != b"vvmirrE\n":
        at.fail("the end is not that of a segment")
    at.end()
    if (sum(entry is not None for _, entry in found), sum(entry is None for _, entry in found)) != (named["entries"], named.get("removed", 0)):
        at.fail("it has not the entries that the root says")
    for (left, _), (right, _) in zip(found, found[1:]):
        if catalogue.order(left) >= catalogue.order(right):
            at.fail(f"{right!r} stands after {left!r}")
    return found


def check_table(at, found, table):
    counts = (at.varint(), at.varint())
    said = [(at.varint(), at.varint(), at.text()) for _ in range(at.count(3))]
    at.end()
    if said != table or counts != (sum(entry is not None for _, entry in found), sum(entry is None for _, entry in found)):
        at.fail("the table of frames is wrong")


class Mirror:
    """The mirror in the directory `data`."""

    def __init__(self, data):
        self.data, self.control = os.fsencode(data), os.fsencode(data.rstrip("/")) + b".volvault"

    def read(self, key):
        try:
            with open(os.path.join(self.control, key.encode()), "rb") as file:
                return file.read()
        except FileNotFoundError as fault:
            raise FormatError(f"{key}: missing") from fault

    def root(self, key="root"):
        return root(self.read(key), key)

    def segment(self, named):
        key = f"segments/{named['hash'][:2]}/{named['hash']}"
        return segment(self.read(key), named, key)

    def entries(self, members):
        """The entries of a generation, in order."""
        made = {}
        for named in [members["base"]] + members["deltas"]:
            for path, entry in self.segment(named):
                made.pop(path, None)
                if entry is not None:
                    made[path] = entry
        if len(made) != members["totals"]["entries"]:
            raise FormatError(f"{len(made)} entries where the root says {members['totals']['entries']}")
        for path in made:
            parent = path.rpartition(b"/")[0]
            if path and (parent or b"" in made) and made[parent].kind != catalogue.DIRECTORY:
                raise FormatError(f"{path!r} lies in no directory")
        return [made[path] for path in sorted(made, key=catalogue.order)]

    def check_contents(self, entries):
        """How many objects are at the keys of their files with the content that the manifest says; others are a fault."""
        right = 0
        for entry in entries:
            if entry.kind == catalogue.FILE and os.path.exists(path := os.path.join(self.data, key_of(entry.path).encode())):
                with open(path, "rb") as file:
                    content = file.read()
                if len(content) != entry.size or entry.object and not is_content(entry.object, content):
                    raise FormatError(f"{entry.path!r}: another content")
                right += 1
                if entry.object and entry.object.pack:
                    pack, offset = entry.object.pack
                    if self.read(f"packs/{pack[:2]}/{pack}")[offset:offset + entry.size] != content:
                        raise FormatError(f"{entry.path!r}: another content in its pack")
        return right


def is_content(stored, content):
    """Whether these are the bytes, as far as the entry can tell."""
    if stored.hash:
        return blake3(content).digest() == stored.hash
    digits = stored.etag.strip(b'"')
    return len(digits) != 32 or hashlib.md5(content).hexdigest().encode() == digits


# ---------------------------------------------------------------- section 5

def block_list(data, size, name):
    """(average, [(length, hash)]) of the list of a file of `size` bytes."""
    at = Cursor(data[:-32], name)
    if blake3(data[:-32]).digest() != data[-32:] or at.take(8) != b"vvblks1\n":
        at.fail("no block list")
    raw = at.u32()
    at = Cursor(zstandard.ZstdDecompressor().decompress(at.take(at.left()), max_output_size=raw), name)
    average = at.varint()
    found = [(at.varint(), at.take(16)) for _ in range(at.count(17))]
    at.end()
    if len(at.data) != raw or sum(length for length, _ in found) != size:
        at.fail("the blocks are not the file")
    return average, found


def blocks(content, average):
    """Cuts content into blocks of this average."""
    table = blake3(derive_key_context="volvault mirror gear 1").digest(length=2048)
    gear = [int.from_bytes(table[8 * n:8 * n + 8], "little") for n in range(256)]
    strict, loose = MASKS[average]
    found, start = [], 0
    while start < len(content):
        length = cut(content[start:start + 4 * average], average, gear, strict, loose)
        found.append((length, blake3(content[start:start + length]).digest()[:16]))
        start += length
    return found


def cut(rest, average, gear, strict, loose):
    """Length of the first block of what is left, of which at most the longest block is given."""
    if len(rest) <= average // 2:
        return len(rest)
    number = 0
    for at in range(average // 2, len(rest) // 2 * 2):
        number = (number << 1) + gear[rest[at]] & (1 << 64) - 1
        if number & (strict if at < min(average, len(rest) // 2 * 2) else loose) == 0:
            return at
    return len(rest)


# ---------------------------------------------------------------- what is printed

def shown(data):
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x5C else f"\\x{byte:02x}" for byte in data)


def line(entry):
    """As tests/it/mirror_golden.rs prints an entry."""
    names = ":".join("-" if name is None else shown(name) for name in (entry.user, entry.group))
    text = f'"{shown(entry.path)}" {entry.mode:04o} {entry.uid}:{entry.gid} {names} {entry.mtime[0]}.{entry.mtime[1]:09}'
    text += "".join(f" {shown(name)}={shown(value)}" for name, value in entry.xattrs)
    if entry.group_of_links:
        text += f" links {entry.group_of_links[0]}:{entry.group_of_links[1]:016x}"
    if entry.kind == catalogue.FILE:
        text += f" file {entry.size}" + "".join(f" {start}+{length}" for start, length in entry.extents or [])
        return text + (object_line(entry.object) if entry.object else "")
    if entry.kind == catalogue.SYMLINK:
        return f"{text} symlink {shown(entry.target)}"
    if entry.kind in (catalogue.CHARACTER, catalogue.BLOCK):
        return f"{text} {'char' if entry.kind == catalogue.CHARACTER else 'block'} {entry.device[0]}:{entry.device[1]}"
    return text + (" directory" if entry.kind == catalogue.DIRECTORY else " fifo")


def object_line(stored):
    place = f"packed {stored.pack[0]} {stored.pack[1]}" if stored.pack else "staged" if stored.staged else "plain"
    version = "-" if stored.version is None else stored.version.decode()
    return f" {stored.hash.hex() if stored.hash else '-'} {shown(stored.etag)} {version} {place}{' blocks' if stored.blocks else ''}"


def listing(mirror):
    """All generations up to the newest, as the golden file has them."""
    newest, lines = mirror.root(), []
    for generation in range(1, newest["generation"] + 1):
        members = newest if generation == newest["generation"] else mirror.root(f"roots/{generation:012}")
        totals = members["totals"]
        lines.append(f"generation {generation} {content_id(members)} {members['time']} {members['pusher']['host']} {totals['entries']} entries "
                     f"{totals['files']} files {totals['bytes']} bytes {len(members['deltas'])} deltas {len(members['history'])} history")
        lines += [f"  {line(entry)}" for entry in mirror.entries(members)]
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    mirror = Mirror(sys.argv[1])
    try:
        sys.stdout.write(listing(mirror))
        if len(sys.argv) == 3:
            print(f"{mirror.check_contents(mirror.entries(mirror.root()))} objects are as the manifest says")
    except FormatError as fault:
        sys.exit(f"error: {fault}")


if __name__ == "__main__":
    main()
