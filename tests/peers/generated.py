"""Generated trees with every kind of file, backed up, changed, backed up again and restored over the first state; judged by rsync.

A tree that does not come back is grown again by its number: TREES=17 tests/peers/run generated.py, or more of them: TREES=40-400."""

import os
import random
import shutil
import stat
import struct

import peers
import trees

FIRST, LAST = (int(number) for number in (os.environ.get("TREES", "0-39") + "-" + os.environ.get("TREES", "")).split("-")[:2])
SIZES = (0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 262144, 524288, 700_001, 2_500_000)
MODES = (0o644, 0o755, 0o600, 0o000, 0o777, 0o4755, 0o2755, 0o1777, 0o444, 0o555)
NAMES = (b"a", b"b", b"a!", b"a.", b"a-", b"a0", b"\xff\xfe", b"new\nline", b"-dash", b" ", b"\\", b"*?[", "ü".encode(), b"n" * 255)


def grow(root, rng, count, privileged):
    """Adds entries below `root`."""
    for _ in range(count):
        places = [directory for directory, _, _ in os.walk(root)]
        path = rng.choice(places) + b"/" + (rng.choice(NAMES) if rng.random() < 0.5 else b"f%d" % rng.randrange(100))
        if os.path.lexists(path) or len(path) > 3000:
            continue
        others = [f"{d.decode(errors='surrogateescape')}/{f.decode(errors='surrogateescape')}" for d, _, files in os.walk(root) for f in files]
        kind = rng.randrange(20)
        if kind < 4:
            os.mkdir(path)
        elif kind < 6:
            size = rng.choice((1, 4096, 300_000, 5 << 20, (64 << 20) + 1))
            trees.sparse(path, size, [(rng.randrange(size), rng.randrange(40_000)) for _ in range(rng.randrange(4))], rng)
        elif kind < 8:
            os.symlink(rng.choice((b"a", b"../..", b"/etc/passwd", b"no such \xff")), path)
        elif kind < 10 and others:
            os.link(rng.choice(others), path, follow_symlinks=False)
        elif kind < 11:
            os.mkfifo(path)
        elif kind < 12 and privileged:
            os.mknod(path, rng.choice((stat.S_IFCHR, stat.S_IFBLK)) | 0o600, os.makedev(rng.randrange(4000), rng.randrange(60_000)))
        else:
            size = rng.choice(SIZES) if rng.random() < 0.3 else rng.randrange(5000)
            trees.write(path, rng.choice((lambda: rng.randbytes(size), lambda: bytes(size), lambda: (b"volvault" * size)[:size]))())


def access_list(rng):
    """In the kernel's form: rights for a user and a group; the owner keeps all."""
    entries = [(1, 7, 0xffffffff), (2, rng.randrange(8), 4711), (4, rng.randrange(8), 0xffffffff), (8, rng.randrange(8), 4712),
               (0x10, rng.randrange(8), 0xffffffff), (0x20, rng.randrange(8), 0xffffffff)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def finish(root, rng, privileged):
    """Attributes, owners, modes and times for everything; the deepest first, so that directories keep theirs."""
    everything = [path for d, folders, files in os.walk(root, topdown=False) for path in (d + b"/" + name for name in files + folders)]
    for path in [path for path in everything if not os.path.isdir(path) or os.path.islink(path)] + \
            sorted((path for path in everything if os.path.isdir(path) and not os.path.islink(path)), key=len, reverse=True) + [root]:
        mode, owner = os.lstat(path).st_mode, (0, 0) if privileged else (peers.NOBODY, peers.NOBODY)
        if privileged and rng.random() < 0.25:
            owner = rng.choice((0, 1000, 65534, 2_000_000_000)), rng.choice((0, 4711))
        os.chown(path, *owner, follow_symlinks=False)
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            if rng.random() < 0.15:
                os.setxattr(path, b"user.comment", rng.randbytes(rng.randrange(200)))
            if rng.random() < 0.1:
                os.setxattr(path, b"system.posix_acl_access", access_list(rng))
            if stat.S_ISDIR(mode) and rng.random() < 0.1:
                os.setxattr(path, b"system.posix_acl_default", access_list(rng))
        if not stat.S_ISLNK(mode):
            # What its owner cannot read, an ordinary user cannot save.
            os.chmod(path, rng.choice(MODES) | (0 if privileged else 0o500 if stat.S_ISDIR(mode) else 0o400))
        if rng.random() < 0.8:
            time = rng.randrange(-10**9, 2 * 10**9) * 10**9 + rng.randrange(10**9)
            os.utime(path, ns=(time, time), follow_symlinks=False)


def change(root, rng, privileged):
    """Removes, moves and rewrites some entries and adds others."""
    for path in [d + b"/" + name for d, folders, files in os.walk(root) for name in folders + files]:
        if not os.path.lexists(path) or rng.random() < 0.75:
            continue
        info, what = os.lstat(path), rng.randrange(3)
        if what == 0:
            shutil.rmtree(path) if stat.S_ISDIR(info.st_mode) else os.remove(path)
        elif what == 1 and not os.path.lexists(path + b"~") and len(path) < 3000 and len(os.path.basename(path)) < 255:
            os.rename(path, path + b"~")
        elif stat.S_ISREG(info.st_mode):
            with open(path, "r+b") as file:
                file.seek(rng.randrange(info.st_size + 1))
                file.write(rng.randbytes(rng.randrange(5000)))
    grow(root, rng, rng.randrange(5), privileged)
    finish(root, rng, privileged)


def come_back(scratch, privileged):
    ours = peers.Program(scratch, "volvault", user=not privileged)
    # A key file opens in a millisecond where a password takes a second.
    del ours.env["VOLVAULT_PASSWORD"]
    ours.env["VOLVAULT_KEY_FILE"] = f"{scratch.new('key')}/key"
    trees.write(ours.env["VOLVAULT_KEY_FILE"], random.Random(1).randbytes(32))
    ours("init")
    for number in range(FIRST, LAST + 1):
        rng = random.Random(number)
        source, target = f"{scratch.new('source')}/tree", f"{scratch.new('target')}/restored"
        root = os.fsencode(source)
        os.mkdir(source)
        try:
            grow(root, rng, rng.randrange(40), privileged)
            finish(root, rng, privileged)
            for _ in range(2):
                ours("backup", ".", cwd=source)
                ours("restore", "latest", "--target", target, "--delete")
                trees.same(source, target)
                assert trees.facts(source) == trees.facts(target)
                change(root, rng, privileged)
        except Exception as error:
            raise AssertionError(f"tree {number}: TREES={number} grows it again") from error


def generated_trees_come_back_for_root(scratch):
    if os.getuid() != 0:
        print("       (not root: devices and owners are left to a run as root)")
        return
    come_back(scratch, privileged=True)


def generated_trees_come_back_for_an_ordinary_user(scratch):
    come_back(scratch, privileged=False)


if __name__ == "__main__":
    peers.main([generated_trees_come_back_for_root, generated_trees_come_back_for_an_ordinary_user])
