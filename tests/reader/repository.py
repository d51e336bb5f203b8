"""A repository in a local directory: finds, reads and joins what the other modules decode."""

import os
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timezone

import catalogue
from packs import Pack, Place, Segment, open_blob
from sealed import CONFIG, DATA, DROPPED, HEADER, SNAPSHOT, TREE, Keys, Opener, open_slot, open_small
from wire import FormatError

UNDERSTOOD = set()      # features that this reader knows


@dataclass
class Snapshot:
    """A snapshot's members, and what its name says."""
    key: str
    source: str
    time: str
    id: str
    members: dict

    def root(self):
        return bytes.fromhex(self.members["root"])

    def utc(self):
        """The `time` member as the name must have it."""
        parts = re.fullmatch(r"([^.Z+]*?)(\.\d+)?(Z|[+-]\d\d:\d\d)", self.members["time"])
        if not parts:
            raise FormatError(f"{self.key}: {self.members['time']!r} is no time")
        seconds, fraction, offset = parts.groups()
        moment = datetime.fromisoformat(seconds + offset).astimezone(timezone.utc)
        return f"{moment:%Y%m%dT%H%M%S}.{(fraction or '.')[1:]:0<9}Z"


class Repository:
    """Opened with a credential; read only."""

    def __init__(self, directory, credential):
        self.directory, self.cache = directory, OrderedDict()
        config = self.read("config")
        self.id = config[HEADER:HEADER + 16]
        self.keys = Keys(self.master_key(credential), self.id)
        self.config = open_small(self.keys, "config", config, CONFIG)
        if self.config["repo"] != self.id.hex() or self.config["format"] != 1:
            raise FormatError("config: another repository id or format inside")
        unknown = set(self.config["features"]["read"]) - UNDERSTOOD
        if unknown:
            raise FormatError(f"config: needs features {sorted(unknown)} to be read")
        self.segments = None

    def read(self, key, offset=None, length=None):
        try:
            with open(os.path.join(self.directory, key), "rb") as file:
                if offset is None:
                    return file.read()
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError as cause:
            raise FormatError(f"{key}: missing") from cause

    def list(self, prefix):
        """Sorted keys of the objects below `prefix`."""
        found = []
        for directory, _, files in os.walk(os.path.join(self.directory, prefix)):
            # `name#1` is what a writer left that was killed between writing a file and giving it its name.
            found += [os.path.relpath(os.path.join(directory, name), self.directory) for name in files if "#" not in name]
        return sorted(found)

    def master_key(self, credential):
        for key in self.list("state/keys")[:20]:
            master = open_slot(self.read(key), key, self.id, credential)
            if master is not None:
                return master
        raise FormatError("no key slot opens with this password or key file")

    # -------------------------------------------------------------- index and blobs

    def load_index(self):
        """The live index, read once: before it, the snapshots must have been listed."""
        if self.segments is not None:
            return
        found = {key.rsplit("/", 1)[1]: Segment(self.keys, key, self.read(key)) for key in self.list("state/index")}
        over = {name for segment in found.values() for name in segment.superseded}
        self.segments = [segment for name, segment in found.items() if name not in over]
        self.dropped = {pack for key in self.list("state/dropped")
                        for pack in open_small(self.keys, key, self.read(key), DROPPED, os.path.dirname(key))["packs"]}

    def places(self, id):
        self.load_index()
        found = [segment.find(id[:20]) for segment in self.segments]
        return [place for place in found if place and place.pack not in self.dropped]

    def read_place(self, id, place):
        key = f"packs/{place.pack[:2]}/{place.pack}"
        opener = Opener(self.keys, key, place.kind, place.epoch, place.salt)
        return open_blob(opener, id, place, self.read(key, place.offset, place.stored))

    def blob(self, kind, id, raw):
        """The checked plaintext of a blob of `raw` bytes; the last few are kept."""
        if id in self.cache:
            self.cache.move_to_end(id)
            return self.cache[id]
        places = [place for place in self.places(id) if place.kind == kind]
        if not places:
            raise FormatError(f"blob {id.hex()}: in no pack of the index")
        if places[0].raw != raw:
            raise FormatError(f"blob {id.hex()}: {places[0].raw} bytes where {raw} were announced")
        plain = self.read_place(id, places[0])
        self.cache[id] = plain
        while len(self.cache) > 16:
            self.cache.popitem(last=False)
        return plain

    def pack(self, key):
        return Pack(self.keys, key, self.read(key))

    # -------------------------------------------------------------- snapshots and trees

    def snapshots(self):
        """All snapshots, oldest first."""
        found = []
        for key in self.list("state/snapshots"):
            parts = key.split("/")
            name = parts[-1].split("-")
            if len(parts) != 4 or len(name) != 3:
                raise FormatError(f"{key}: not the name of a snapshot")
            members = open_small(self.keys, key, self.read(key), SNAPSHOT, key.rsplit("-", 1)[0])
            found.append(Snapshot(key, parts[2], name[0], name[1], members))
        return sorted(found, key=lambda snapshot: (snapshot.time, snapshot.id))

    def snapshot(self, selector):
        """`latest` (complete ones only) or a prefix of an id."""
        if selector == "latest":
            found = [s for s in self.snapshots() if s.members["status"] == "complete"][-1:]
        else:
            found = [s for s in self.snapshots() if s.id.startswith(selector)]
        if len(found) != 1:
            raise FormatError(f"{len(found)} snapshots answer to {selector}")
        return found[0]

    def tree(self, snapshot, on_child=None):
        """The entries of a snapshot in order; `on_child(child)` sees each page's reference."""
        before = None
        for entry in self.below(snapshot.root(), f"{snapshot.key}, root", on_child):
            if before is not None and catalogue.order(before) >= catalogue.order(entry.path):
                raise FormatError(f"{snapshot.key}: {entry.path!r} stands after {before!r}")
            before = entry.path
            yield entry

    def below(self, data, name, on_child, expected=None):
        level, children = catalogue.inner_page(data, name)
        if expected is not None and level != expected:
            raise FormatError(f"{name}: level {level}, not {expected}")
        for child in children:
            if on_child:
                on_child(child)
            page = self.blob(TREE, child.id, child.raw)
            label = f"page {child.id.hex()}"
            inside = iter(catalogue.leaf_page(page, label)) if level == 1 else self.below(page, label, on_child, level - 1)
            seen = 0
            for entry in inside:
                if not seen and entry.path != child.first:
                    raise FormatError(f"{label}: begins with {entry.path!r}, not {child.first!r}")
                seen += 1
                yield entry
            if seen != child.entries:
                raise FormatError(f"{label}: {seen} entries where {child.entries} were announced")

    def chunks(self, entry):
        """The data blobs (id, raw length) of a file that is not in a bundle."""
        if entry.chunks is not None:
            return list(entry.chunks)
        depth, lists = entry.lists
        found = []
        for id, raw in lists:
            found += self.expand(id, raw, depth)
        return found

    def expand(self, id, raw, depth):
        found = []
        for below, length in catalogue.chunk_list(self.blob(TREE, id, raw), f"chunk list {id.hex()}", depth):
            if depth == 0:
                found.append((below, length))
                continue
            place = self.places(below)
            if not place:
                raise FormatError(f"chunk list {below.hex()}: missing")
            part = self.expand(below, place[0].raw, depth - 1)
            if sum(size for _, size in part) != length:
                raise FormatError(f"chunk list {below.hex()}: not of {length} bytes")
            found += part
        return found

    def content(self, entry):
        """The pieces of a file's stored content, in order. Holes are not among them."""
        if entry.bundle is not None:
            (id, raw), offset, content_hash = entry.bundle
            piece = self.blob(DATA, id, raw)[offset:offset + entry.size]
            if len(piece) != entry.size or self.keys.content_hash(piece) != content_hash:
                raise FormatError(f"{entry.path!r}: not what its bundle holds")
            yield piece
        elif entry.chunks is not None or entry.lists is not None:
            chunks = self.chunks(entry)
            if sum(raw for _, raw in chunks) != entry.stored():
                raise FormatError(f"{entry.path!r}: the chunks have not the file's length")
            for id, raw in chunks:
                yield self.blob(DATA, id, raw)
        elif entry.stored():
            raise FormatError(f"{entry.path!r}: no content")


def place_of_hint(child):
    """A hint as a place."""
    hint = child.hint
    return Place(hint.pack, TREE, hint.epoch, hint.salt, hint.offset, hint.stored, child.raw, hint.codec)
