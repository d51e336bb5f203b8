#!/usr/bin/env python3
"""Deterministic data: `gen.py tiny DIR`, `gen.py big DIR DIR_SHIFTED`,
`gen.py churn DIR PERCENT SEED` (rewrite PERCENT of the files in place)."""
import os
import random
import sys


def words(rng, n=4096):
    letters = "etaoinshrdlcumwfgypbvk"
    return ["".join(rng.choices(letters, k=rng.randint(2, 11))) for _ in range(n)]

def tiny(root):
    """200,000 files of 0-4 KiB in 2,000 directories, and 50,000 in one directory."""
    rng = random.Random(4); pool = words(rng)
    blob = " ".join(rng.choices(pool, k=400_000)).encode()      # about 3 MB of text
    def put(path):
        size = rng.randint(0, 4096)
        at = rng.randrange(len(blob) - 4096)
        head = b"id=%016x\n" % rng.getrandbits(64)              # no two files alike
        with open(path, "wb") as f:
            f.write((head + blob[at:at + size])[:size])
    for d in range(2000):
        p = f"{root}/many/{d // 100:02d}/{d:04d}"; os.makedirs(p)
        for i in range(100):
            put(f"{p}/file-{i:03d}.{('txt', 'json', 'conf', 'log')[i % 4]}")
    p = f"{root}/one"; os.makedirs(p)
    for i in range(50_000):
        put(f"{p}/entry-{i:06d}.dat")

def big(root, shifted):
    """1 GiB: per 64 KiB block 48 KiB of text-like words, 16 KiB random."""
    rng = random.Random(5); pool = [w.encode() for w in words(rng)]
    os.makedirs(root); os.makedirs(shifted)
    with open(f"{root}/volume.img", "wb") as f:
        for _ in range(16384):
            text = b" ".join(rng.choices(pool, k=7600))[:49152]
            f.write(text + rng.randbytes(65536 - len(text)))
    size = os.path.getsize(f"{root}/volume.img")
    edits = sorted(rng.sample(range(size), 100))
    with open(f"{root}/volume.img", "rb") as a, open(f"{shifted}/volume.img", "wb") as b:
        at = 0
        for n, e in enumerate(edits):
            while at < e:
                piece = a.read(min(1 << 20, e - at)); b.write(piece); at += len(piece)
            k = rng.randint(1, 5000)
            if n % 2:
                b.write(rng.randbytes(k))                         # insertion
            else:
                at += len(a.read(k))                              # deletion
        while piece := a.read(1 << 20):
            b.write(piece)

def churn(root, percent, seed):
    """Rewrite PERCENT of the files under root, about the same size, new bytes."""
    rng = random.Random(seed)
    files = sorted(os.path.join(d, f) for d, _, fs in os.walk(root) for f in fs)
    files = [f for f in files if os.path.isfile(f) and not os.path.islink(f)]
    for path in rng.sample(files, max(1, int(len(files) * percent / 100))):
        data = bytearray(open(path, "rb").read())
        note = b"\n# edited %016x\n" % rng.getrandbits(64)
        at = rng.randrange(len(data) + 1)
        data[at:at] = note
        os.chmod(path, 0o644)
        with open(path, "wb") as f:
            f.write(data)

if __name__ == "__main__":
    cmd, args = sys.argv[1], sys.argv[2:]
    if cmd == "churn":
        churn(args[0], float(args[1]), int(args[2]))
    else:
        {"tiny": tiny, "big": big}[cmd](*args)
