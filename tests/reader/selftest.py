#!/usr/bin/env python3
"""Vectors worked out by hand from docs/format.md; needs no repository. Prints one line a test, exit code 1 on a fault."""

import os
import sys
import traceback

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import catalogue
import mirror
from packs import Filter, Pack, checksums, padded_length
from sealed import CONFIG, DATA, Credential, Keys, header_head, open_slot, open_small, slot_name
from wire import Cursor, FormatError

MASTER, REPO = bytes(range(32)), bytes(range(0xF0, 0x100))
KEYS = Keys(MASTER, REPO)


def refused(run, *args):
    try:
        run(*args)
    except FormatError:
        return True
    return False


def varints():
    for octets, value in [("00", 0), ("7f", 127), ("8001", 128), ("ac02", 300), ("ffffffffffffffffff01", (1 << 64) - 1)]:
        assert Cursor(bytes.fromhex(octets), "v").varint() == value
    for octets in ("", "80", "ffffffffffffffffff02", "8080808080808080808000"):
        assert refused(Cursor(bytes.fromhex(octets), "v").varint)


def zigzags():
    for octets, value in [("00", 0), ("01", -1), ("02", 1), ("03", -2), ("ffffffffffffffffff01", -(1 << 63))]:
        assert Cursor(bytes.fromhex(octets), "z").zigzag() == value


def keys():
    # Checked with `b3sum --derive-key "volvault v1 data"` over the 52 bytes MK ‖ R ‖ 00000000.
    material = MASTER + REPO + bytes(4)
    assert KEYS.purpose("data") == blake3(material, derive_key_context="volvault v1 data").digest()
    assert KEYS.purpose("data").hex() == "7350c829d073039aa3dd603fdc1ff4ae80281210ca23db721a24234756ab2bbe"
    assert KEYS.blob_id(DATA, b"hello").hex() == "0a57de98834ecbf84bc13285f2a3dd4979584c16d47fa3d3a6dfe0ff2857aea8"
    assert KEYS.source_id(b"host", [b"/b", b"/a"]) == KEYS.source_id(b"host", [b"/a", b"/b"])
    assert KEYS.source_id(b"host", [b"/a", b"/b"]) == KEYS.keyed("source-id", b"host\0/a\0/b\0")[:16]


def seal(kind, head, part, offset, plain, aad):
    key, _ = KEYS.object_key(head, kind, 0)
    nonce = bytes([part, 0, 0, 0, 0, 0, 0, 0]) + offset.to_bytes(4, "big")
    return AESGCM(key).encrypt(nonce, plain, bytes([part]) + REPO + aad)


def a_pack():
    """A data pack with `hello` as it is and 1,000 bytes of `a` compressed, put together by the page's rules."""
    head = header_head(DATA, 0, bytes([7]) * 32)
    pack = head + KEYS.object_key(head, DATA, 0)[1]
    directory = b""
    for plain, codec in [(b"hello", 0), (b"a" * 1000, 1)]:
        content = zstandard.ZstdCompressor().compress(plain) if codec else plain
        raw, id, offset = len(plain).to_bytes(4, "little"), KEYS.blob_id(DATA, plain), len(pack)
        sealed = seal(DATA, head, 0x01, offset, content, id + raw + bytes([codec]))
        directory += id + bytes([codec, 0]) + offset.to_bytes(4, "little") + len(sealed).to_bytes(4, "little") + raw
        pack += sealed
    rest = 16 + len(directory) + 16 + 24
    padding = padded_length(len(pack) + rest) - len(pack) - rest
    pack += seal(DATA, head, 0x03, len(pack), bytes(padding), b"")
    numbers = (len(pack) + len(directory) + 16 + 24).to_bytes(8, "little") + (2).to_bytes(4, "little")
    directory = seal(DATA, head, 0x02, len(pack), directory, numbers)
    trailer = len(directory).to_bytes(4, "little") + numbers[8:] + numbers[:8] + b"vvpack01"
    return pack + directory + trailer


def packs():
    data = a_pack()
    pack = Pack(KEYS, "pack", data)
    assert [pack.blob(listed) for listed in pack.blobs] == [b"hello", b"a" * 1000]
    pack.check_padding()

    def whole(data):
        pack = Pack(KEYS, "pack", data)
        for listed in pack.blobs:
            pack.blob(listed)
        pack.check_padding()

    for at in range(len(data)):
        assert refused(whole, data[:at]), f"cut at {at}"
        assert refused(whole, data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]), f"bit flipped in byte {at}"


def paddings():
    for length, padded in [(192, 192), (200, 208), (1000, 1024), (4 << 20, 4 << 20), ((4 << 20) + 1, (4 << 20) + (1 << 14))]:
        assert padded_length(length) == padded, (length, padded_length(length))


def small_objects():
    head = header_head(CONFIG, 0, bytes([9]) * 32)
    start = head + KEYS.object_key(head, CONFIG, 0)[1] + REPO
    data = start + seal(CONFIG, head, 0x00, len(start), b'{"format": 1}'.ljust(256), b"config")
    assert open_small(KEYS, "config", data, CONFIG) == {"format": 1}
    assert refused(open_small, KEYS, "elsewhere", data, CONFIG)


def slots():
    key, salt = bytes([3]) * 32, bytes([4]) * 32
    material = blake3(key + salt, derive_key_context="volvault v1 key32 slot").digest(length=64)
    line = (f'{{"v":1,"repo":"{REPO.hex()}","kind":"key32","salt":"{salt.hex()}","commit":"{material[32:].hex()}"}}').encode()
    data = line + b"\n" + AESGCM(material[:32]).encrypt(bytes(12), MASTER, line).hex().encode() + b"\n"
    assert len(slot_name(data)) == 32
    assert open_slot(data, "slot", REPO, Credential("key32", key)) == MASTER
    assert open_slot(data, "slot", REPO, Credential("key32", salt)) is None
    assert open_slot(data, "slot", bytes(16), Credential("key32", key)) is None


def leaf_pages():
    page = bytes.fromhex(
        "01"                                         # a leaf page
        "01" + "aa" * 32 + "e807"                    # one blob of 1,000 bytes
        + "01" + "04" + b"root".hex()                # one name
        + "01" + "01" + "06" + b"user.a".hex() + "01" + "78"    # one set of one attribute: user.a = x
        + "03"                                       # three entries
        + "0f" + "0000" + "00" + "ed03" + "00" + "00" + "01" + "01" + "01" + "00" + "02" + "05" + "07" + "00"
        # ^ length 15, path "", a directory 0755, root:root, mtime -1 s, ctime 1 s later and 5 ns, inode 7, no attributes
        )
    first = "00" "01" "61" "01" "a403" "e807" "00" "00" "00" "02" "00" "00" "00" "08" "01"
    # path "a", a file 0644, uid 1000, mtime 1 s, inode 8, attribute set 0; size 5; in blob 0 at 300 with this hash
    first += "01" "01" "05" + "02" "13" "00" "ac02" + "cc" * 16
    second = "01" "02" + b"/b".hex() + "02" "ff03" "00" "00" "00" "00" "00" "00" "00" "00" "09" "00" + "05" "01" "63"
    for record in (first, second):
        page += bytes([len(bytes.fromhex(record))]) + bytes.fromhex(record)
    root, a, b = catalogue.leaf_page(page, "page")
    assert (root.path, root.kind, root.mode, root.user, root.mtime, root.ctime, root.inode) == (b"", 0, 0o755, b"root", (-1, 0), (0, 5), 7)
    assert (a.path, a.kind, a.mode, a.uid, a.user, a.size, a.xattrs) == (b"a", 1, 0o644, 1000, None, 5, [(b"user.a", b"x")])
    assert a.bundle == ((b"\xaa" * 32, 1000), 300, b"\xcc" * 16)
    assert (b.path, b.kind, b.mode, b.target) == (b"a/b", 2, 0o777, b"c")
    for at in range(len(page)):
        assert refused(catalogue.leaf_page, page[:at], "page")


def inner_pages():
    child = "aa" * 32 + "e807" + "05" + "01" + "50" + "64" + "01" + "01" + "61"
    page = bytes.fromhex("02" "01" + "01" + "bb" * 32 + "0000" + "dd" * 32 + "01" + f"{len(child) // 2:02x}" + child)
    level, (found,) = catalogue.inner_page(page, "page")
    assert (level, found.raw, found.entries, found.first) == (1, 1000, 5, b"a")
    assert (found.hint.pack, found.hint.offset, found.hint.stored, found.hint.codec) == ("bb" * 32, 80, 100, 1)
    for at in range(len(page)):
        assert refused(catalogue.inner_page, page[:at], "page")


def orders():
    paths = [b"", b"a", b"a/b", b"a/b/c", b"a b", b"a-b", b"a.b", b"b"]
    assert sorted(reversed(paths), key=catalogue.order) == paths


def filters():
    # Seed 0, segments of 4 slots, 2 of them to start in: for the id that begins with eight 0xff bytes, by hand:
    h = (1 << 64) - 1
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ h >> 33) * factor % (1 << 64)
    h ^= h >> 33
    slots = [(h * 8 >> 64), (h * 8 >> 64) + 4 ^ (h >> 18 & 3), (h * 8 >> 64) + 8 ^ (h & 3)]
    prints = bytearray(16)
    prints[slots[1]] = (h ^ h >> 32) & 0xFF
    plain = bytes(8) + b"".join(n.to_bytes(4, "little") for n in (4, 3, 8, 16)) + prints
    assert Filter(plain, "filter").may_hold(b"\xff" * 8)
    prints[slots[2]] ^= 1
    assert not Filter(plain[:24] + prints, "filter").may_hold(b"\xff" * 8)


def tables_of_segments():
    given = b"0123456789abcdef"
    ours = (1).to_bytes(4, "little") + (32).to_bytes(4, "little") + given + bytes(16)
    other = (9).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"xyz"
    for tables in (ours, other + ours, ours + other, ours + b"rest"):
        assert checksums(tables, ["a", "b"]) == {"a": given}, tables
    for tables in (b"", other, ours[:-1], ours[:7], bytes(40), other[:5] + b"\xff" * 30):
        assert checksums(tables, ["a", "b"]) == {}, tables
    assert checksums(ours, ["a"]) == checksums(ours, ["a", "b", "c"]) == {}


def mirror_keys():
    for path, key in [(b"a/b c", "a/b c"), (b"a\xffb", "a\u201bFFb"), (b"\xe4\xbd", "\u201bE4\u201bBD"), ("a\uff0fb".encode(), "a\u201b\uff0fb"),
                      ("\uff0e/\uff0e\uff0e".encode(), "\u201b\uff0e/\u201b\uff0e\u201b\uff0e"), ("\u201bFF".encode(), "\u201b\u201bFF")]:
        assert mirror.key_of(path) == key, (path, mirror.key_of(path))


def a_segment():
    """One removed path and one file, put together by the page's rules."""
    stored = "aa" * 32 + "1e" + "bc" * 16 + "02" + b"v1".hex() + "dd" * 32 + "ac02"     # in a pack, with blocks, version and an MD5 as ETag
    record = bytes.fromhex("0001" + b"b".hex() + "01" "8003" "0000" "0000" "0000" "0000" "00" "00" "010107" + "10" + f"{len(stored) // 2:02x}" + stored)
    page = bytes.fromhex("01" "00" "00" "00" "01") + bytes([len(record)]) + record
    raw = bytes.fromhex("01" "00" "01" + b"a".hex()) + page

    def frame(raw):
        packed = zstandard.ZstdCompressor().compress(raw)
        return len(packed).to_bytes(4, "little") + len(raw).to_bytes(4, "little") + packed

    data = b"vvmirr1\n" + frame(raw)
    table = bytes([1, 1, 1]) + bytes([len(data) - 16]) + b"\x02\x01a"
    data += bytes(8)
    data += frame(table) + len(data).to_bytes(8, "little") + b"vvmirrE\n"
    return data, {"hash": blake3(data).hexdigest(), "size": len(data), "entries": 1, "removed": 1}


def mirror_segments():
    data, named = a_segment()
    (gone, nothing), (path, entry) = mirror.segment(data, named, "segment")
    assert (gone, nothing, path, entry.size, entry.object.etag) == (b"a", None, b"b", 7, b'"' + b"bc" * 16 + b'"')
    assert (entry.object.version, entry.object.pack, entry.object.blocks) == (b"v1", ("dd" * 32, 300), True)
    for at in range(len(data)):
        for wrong in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]):
            assert refused(mirror.segment, wrong, named, "segment"), f"byte {at}"


def golden_mirror():
    golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden")
    found = mirror.Mirror(f"{golden}/mirror-v1/data")
    with open(f"{golden}/mirror-v1.txt", encoding="ascii") as file:
        assert mirror.listing(found) == file.read()
    entries = found.entries(found.root())
    assert found.check_contents(entries) == sum(entry.kind == catalogue.FILE for entry in entries) - 1    # one is too big to be frozen
    (big,) = [entry for entry in entries if entry.object and entry.object.blocks]
    content = blake3((6).to_bytes(8, "little")).digest(length=big.size)
    assert blake3(content).digest() == big.object.hash
    digest = big.object.hash.hex()
    average, listed = mirror.block_list(found.read(f"blocks/{digest[:2]}/{digest}"), big.size, "blocks")
    assert mirror.blocks(content, average) == listed
    newest = found.root()
    for delta, older in zip(newest["history"] + newest["deltas"], (1, 2, 3)):
        assert delta["onto"] == mirror.content_id(found.root(f"roots/{older:012}"))


def main():
    failed = 0
    for test in (varints, zigzags, keys, paddings, packs, small_objects, slots, leaf_pages, inner_pages, orders, filters, tables_of_segments,
                 mirror_keys, mirror_segments, golden_mirror):
        try:
            test()
            print(f"ok     {test.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED {test.__name__}")
            traceback.print_exc()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
