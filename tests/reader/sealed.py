"""Keys, ids, sealed objects and key slots: sections 2 to 5 of docs/format.md."""

import hmac
import json

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from wire import Cursor, FormatError

HEADER = 80
TAG = 16
MAGIC = b"volvault"
SMALL_MAX = 1 << 20
DATA, TREE, INDEX, CONFIG, SNAPSHOT, SESSION, CONDEMNED, SUSPECT, DROPPED, FORGOTTEN = range(1, 11)
PURPOSES = {DATA: "data", TREE: "tree", INDEX: "index", CONFIG: "config", SNAPSHOT: "snapshot", SESSION: "session",
            CONDEMNED: "condemned", SUSPECT: "suspect", DROPPED: "dropped", FORGOTTEN: "forgotten"}


class Keys:
    """K(p, e), and the keyed hashes of section 2."""

    def __init__(self, master, repo):
        if len(master) != 32 or len(repo) != 16:
            raise FormatError("a master key has 32 bytes and a repository id 16")
        self.master, self.repo, self.made = master, repo, {}

    def purpose(self, purpose, epoch=0):
        if (purpose, epoch) not in self.made:
            material = self.master + self.repo + epoch.to_bytes(4, "little")
            self.made[purpose, epoch] = blake3(material, derive_key_context=f"volvault v1 {purpose}").digest()
        return self.made[purpose, epoch]

    def keyed(self, purpose, content):
        return blake3(content, key=self.purpose(purpose)).digest()

    def blob_id(self, kind, content):
        return self.keyed("data-id" if kind == DATA else "tree-id", content)

    def content_hash(self, content):
        return self.keyed("file-id", content)[:16]

    def source_id(self, host, paths):
        text = host + b"\0" + b"".join(path + b"\0" for path in sorted(paths))
        return self.keyed("source-id", text)[:16]

    def object_key(self, head, kind, epoch):
        """Key and commitment of an object whose header starts with the 48 bytes `head`."""
        both = blake3(b"volvault v1 object" + head, key=self.purpose(PURPOSES[kind], epoch)).digest(length=64)
        return both[:32], both[32:]


def header_head(kind, epoch, salt):
    """The first 48 bytes of a header."""
    numbers = (1).to_bytes(2, "little") + bytes([1, kind]) + (0).to_bytes(2, "little") + epoch.to_bytes(2, "little")
    return MAGIC + numbers + salt


class Opener:
    """Opens the parts of one object. Made from the header, or from epoch and salt alone (a ranged read)."""

    def __init__(self, keys, name, kind, epoch, salt):
        self.keys, self.name, self.kind, self.epoch, self.salt = keys, name, kind, epoch, salt
        key, self.commitment = keys.object_key(header_head(kind, epoch, salt), kind, epoch)
        self.cipher = AESGCM(key)

    @classmethod
    def of_header(cls, keys, name, data, kind):
        at = Cursor(data, name)
        if at.take(8) != MAGIC:
            at.fail("not an object of volvault")
        if at.u16() != 1:
            at.fail("another format version")
        if at.u8() != 1:
            at.fail("another suite")
        if at.u8() != kind:
            at.fail(f"not of kind {kind}")
        if at.u16() != 0:
            at.fail("unknown flags")
        epoch, salt = at.u16(), at.take(32)
        made = cls(keys, name, kind, epoch, salt)
        if not hmac.compare_digest(at.take(32), made.commitment):
            at.fail("the commitment does not fit the key")
        return made

    def open(self, part, offset, sealed, aad):
        """`part` is the type byte, `offset` that of the part's first byte in the object."""
        nonce = bytes([part]) + bytes(7) + offset.to_bytes(4, "big")
        try:
            return self.cipher.decrypt(nonce, bytes(sealed), bytes([part]) + self.keys.repo + aad)
        except (InvalidTag, ValueError) as cause:
            raise FormatError(f"{self.name}: part {part:#04x} at byte {offset} does not open") from cause


def open_small(keys, key, data, kind, aad_key=None):
    """The JSON object in a small object stored at `key`; `aad_key` where the bound name differs from it."""
    if len(data) > SMALL_MAX:
        raise FormatError(f"{key}: larger than 1 MiB")
    start = HEADER + (16 if kind == CONFIG else 0)
    opener = Opener.of_header(keys, key, data, kind)
    plain = opener.open(0x00, start, data[start:], (aad_key or key).encode())
    if len(plain) % 256:
        raise FormatError(f"{key}: the payload's length is no multiple of 256")
    return parse_json(plain.rstrip(b" "), key)


def parse_json(text, name):
    try:
        members = json.loads(text.decode("utf-8"))
    except ValueError as cause:
        raise FormatError(f"{name}: not JSON in UTF-8") from cause
    if not isinstance(members, dict):
        raise FormatError(f"{name}: not a JSON object")
    return members


# ------------------------------------------------------------------ key slots

class Credential:
    """What opens a slot: a password, or the 32 bytes of a key file."""

    def __init__(self, kind, secret):
        self.kind, self.secret = kind, secret

    def material(self, slot):
        salt = bytes.fromhex(slot["salt"])
        if self.kind == "key32":
            return blake3(self.secret + salt, derive_key_context="volvault v1 key32 slot").digest(length=64)
        kdf = slot["kdf"]
        if kdf["m_kib"] > 4 << 20 or kdf["t"] > 32 or kdf["p"] > 16:
            raise FormatError("a key slot asks for more work than the format allows")
        return Argon2id(salt=salt, length=64, iterations=kdf["t"], lanes=kdf["p"], memory_cost=kdf["m_kib"]).derive(self.secret)


def slot_name(data):
    return blake3(data).hexdigest()[:32]


def open_slot(data, name, repo, credential):
    """The master key, or None when this slot is another repository's, of another kind, or of another secret."""
    lines = data.split(b"\n")
    if len(data) > 4096 or len(lines) != 3 or lines[2]:
        raise FormatError(f"{name}: not two lines of at most 4 KiB")
    slot = parse_json(lines[0], name)
    if slot.get("repo") != repo.hex() or slot.get("kind") != credential.kind:
        return None
    material = credential.material(slot)
    if not hmac.compare_digest(material[32:], bytes.fromhex(slot["commit"])):
        return None
    try:
        return AESGCM(material[:32]).decrypt(bytes(12), bytes.fromhex(lines[1].decode("ascii")), lines[0])
    except (InvalidTag, ValueError) as cause:
        raise FormatError(f"{name}: the wrapped key does not open") from cause
