"""Checks a whole repository against docs/format.md; returns counts, raises FormatError at the first fault."""

import hashlib
import os

from blake3 import blake3

import catalogue
from packs import Segment
from repository import place_of_hint
from sealed import CONDEMNED, DATA, DROPPED, FORGOTTEN, SESSION, SUSPECT, open_small, slot_name
from wire import FormatError

SMALL = {"sessions": SESSION, "condemned": CONDEMNED, "suspect": SUSPECT, "dropped": DROPPED, "forgotten": FORGOTTEN}


def verify(repo):
    """Names, packs, segments, small objects, then the trees of all snapshots."""
    counts = dict(packs=0, blobs=0, segments=0, entries=0, snapshots=0, listed=0, bytes=0, unindexed=0, checksums=0, md5s=0)
    check_names(repo)
    packs = {}
    for key in repo.list("packs"):
        packs[key.rsplit("/", 1)[1]] = check_pack(repo, key)
        counts["packs"] += 1
    counts["blobs"] = sum(len(blobs) for _, blobs in packs.values())
    for key in repo.list("state/index"):
        segment = Segment(repo.keys, key, repo.read(key))
        check_segment(segment, packs, {name for name in packs})
        counts["segments"] += 1
        counts["entries"] += len(segment.entries)
        for name, checksum in segment.checksums.items():
            counts["checksums"] += 1
            counts["md5s"] += checksum == hashlib.md5(repo.read(f"packs/{name[:2]}/{name}")).digest()
    repo.load_index()
    counts["unindexed"] = sum(not any(p.pack == name for p in repo.places(id))
                              for name, (_, blobs) in packs.items() for id in blobs)
    check_small(repo)
    for snapshot in repo.snapshots():
        check_snapshot(repo, snapshot, counts)
        counts["snapshots"] += 1
    return counts


def check_names(repo):
    for key in repo.list(""):
        data, parts = repo.read(key), key.split("/")
        digest = blake3(data).hexdigest()
        if parts[0] == "packs":
            good = key == f"packs/{digest[:2]}/{digest}"
        elif parts[:2] == ["state", "keys"]:
            good = key == f"state/keys/{slot_name(data)}"
        elif parts[:2] == ["state", "snapshots"]:
            good = key.endswith("-" + digest[:32])
        elif parts[:2] in (["state", "index"], ["state", "dropped"]):
            good = parts[2:] == [digest]
        else:
            good = key == "config" or parts[:2] in (["state", "sessions"], ["state", "condemned"], ["state", "suspect"], ["state", "forgotten"])
        if not good:
            raise FormatError(f"{key}: the name does not fit the content, or is no name of the format")


def check_pack(repo, key):
    """(what an index says of the pack, directory by id); every blob is opened and its id computed again."""
    pack = repo.pack(key)
    for listed in pack.blobs:
        pack.blob(listed)
    pack.check_padding()
    about = (len(pack.data), pack.kind, pack.epoch, pack.salt, len(pack.blobs))
    return about, {listed.id: listed for listed in pack.blobs}


def check_segment(segment, packs, present):
    for info in segment.packs:
        if info.name not in present:
            raise FormatError(f"{segment.name}: pack {info.name} is missing")
        if packs[info.name][0] != (info.length, info.kind, info.epoch, info.salt, info.blobs):
            raise FormatError(f"{segment.name}: pack {info.name} is described wrongly")
    by_prefix = {}
    for name in {info.name for info in segment.packs}:
        by_prefix[name] = {id[:20]: listed for id, listed in packs[name][1].items()}
    for prefix, place in segment.entries:
        listed = by_prefix[place.pack].get(prefix)
        if listed is None or (listed.offset, listed.stored, listed.raw, listed.codec) != (place.offset, place.stored, place.raw, place.codec):
            raise FormatError(f"{segment.name}: entry {prefix.hex()} is not in pack {place.pack}")
        if not segment.filter.may_hold(prefix):
            raise FormatError(f"{segment.name}: the filter denies entry {prefix.hex()}")


def check_small(repo):
    for folder, kind in SMALL.items():
        for key in repo.list(f"state/{folder}"):
            open_small(repo.keys, key, repo.read(key), kind, os.path.dirname(key) if kind == DROPPED else None)


def check_snapshot(repo, snapshot, counts):
    members = snapshot.members
    host, paths = members["host"].encode(), [path_bytes(path) for path in members["paths"]]
    if repo.keys.source_id(host, paths).hex() != snapshot.source:
        raise FormatError(f"{snapshot.key}: not the source id of {members['host']} and its paths")
    if snapshot.time != snapshot.utc():
        raise FormatError(f"{snapshot.key}: time {members['time']} inside")
    if members["session"] != snapshot.id:
        raise FormatError(f"{snapshot.key}: session {members['session']} inside")

    def on_child(child):
        if child.hint:
            repo.read_place(child.id, place_of_hint(child))

    groups = set()
    for entry in repo.tree(snapshot, on_child):
        check_entry(repo, entry, groups)
        counts["listed"] += 1
        counts["bytes"] += entry.size


def check_entry(repo, entry, groups):
    contents = sum(x is not None for x in (entry.bundle, entry.chunks, entry.lists))
    if contents > (1 if entry.kind == catalogue.FILE else 0):
        raise FormatError(f"{entry.path!r}: more than one content, or one that its kind cannot have")
    if entry.group_of_links in groups and entry.group_of_links is not None:
        if contents:
            raise FormatError(f"{entry.path!r}: a later hard link with content")
        return
    groups.add(entry.group_of_links)
    if entry.kind != catalogue.FILE:
        return
    if entry.extents and entry.extents[-1][0] + entry.extents[-1][1] > entry.size:
        raise FormatError(f"{entry.path!r}: extents beyond the end")
    if entry.bundle is not None:
        for _ in repo.content(entry):
            pass
        return
    blobs = repo.chunks(entry) if contents else []
    if sum(raw for _, raw in blobs) != entry.stored():
        raise FormatError(f"{entry.path!r}: the chunks have not the file's length")
    for id, raw in blobs:
        if not any(place.kind == DATA and place.raw == raw for place in repo.places(id)):
            raise FormatError(f"{entry.path!r}: chunk {id.hex()} is in no pack of the index")


def path_bytes(path):
    """A path member: text, or {"hex": …} where it is not UTF-8."""
    return bytes.fromhex(path["hex"]) if isinstance(path, dict) else path.encode()
