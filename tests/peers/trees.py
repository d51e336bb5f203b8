"""One tree with every kind of file: backed up and restored by us and by restic, judged by rsync and by lstat."""

import os
import random
import stat
import subprocess

import peers

RSYNC = ["rsync", "-aHAXS", "--checksum", "--modify-window=-1", "--numeric-ids", "--delete", "--dry-run", "--itemize-changes"]


def write(path, content, mode=0o644):
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def plain_tree(root):
    """What an ordinary user can make."""
    top, rng = os.fsencode(root), random.Random(11)
    for name in (b"empty", b"many", b"deep/" + b"/".join(b"d%d" % n for n in range(40)), b"\xff\xfe not utf-8", b"new\nline", b"-dash", b"sticky"):
        os.makedirs(top + b"/" + name)
    for n in range(500):
        write(top + b"/many/f%03d" % n, rng.randbytes(rng.randrange(5000)))
    write(top + b"/zero", b"")
    write(top + b"/one", b"x", 0o600)
    write(top + b"/just below a chunk", rng.randbytes((64 << 10) - 1))
    write(top + b"/just a chunk", rng.randbytes(64 << 10))
    write(top + b"/large", rng.randbytes(9 << 20), 0o755)
    write(top + b"/repeats", b"volvault" * (1 << 20))
    write(top + b"/latin-\xe9", b"name in latin-1")
    write(top + b"/read only", b"r", 0o444)
    write(top + b"/set id", b"#!/bin/sh\n", 0o6755)
    os.link(top + b"/one", top + b"/many/link to one")
    os.link(top + b"/large", top + b"/empty link to large")
    os.symlink(b"large", top + b"/link")
    os.symlink(b"no such \xff target", top + b"/dangling")
    os.symlink(b"/etc", top + b"/link to a directory")
    os.mkfifo(top + b"/fifo", 0o640)
    sparse(top + b"/sparse", 64 << 20, [(0, 5000), (10 << 20, 100_000), ((64 << 20) - 4096, 4096)], rng)
    sparse(top + b"/all hole", 3 << 20, [], rng)
    os.chmod(top + b"/sticky", 0o1777)
    os.setxattr(top + b"/one", b"user.comment", b"a \0 binary value \xff")
    os.setxattr(top + b"/many", b"user.dir", b"x" * 1000)
    subprocess.run(["setfacl", "-m", "u:1234:rw-,g:4321:r--,m::rwx", top + b"/zero"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:1234:rwx", top + b"/empty"], check=True)


def privileged_tree(root):
    """What only root can make, beside the rest."""
    plain_tree(root)
    top = os.fsencode(root)
    os.mknod(top + b"/character", stat.S_IFCHR | 0o620, os.makedev(4, 300))
    os.mknod(top + b"/block", stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    os.chown(top + b"/large", 1000, 1001)
    os.chown(top + b"/dangling", 12345, 54321, follow_symlinks=False)
    os.chown(top + b"/many", 65534, 65534)
    os.chown(top + b"/fifo", 2_000_000_000, 2_000_000_001)
    write(top + b"/capable", b"#!/bin/sh\n", 0o755)
    subprocess.run(["setcap", "cap_net_bind_service+ep", top + b"/capable"], check=True)
    os.setxattr(top + b"/large", b"trusted.note", b"only root sees this")


def sparse(path, size, extents, rng):
    with open(path, "wb") as file:
        file.truncate(size)
        for start, length in extents:
            file.seek(start)
            file.write(rng.randbytes(length))


def old_times(root):
    """Times with nanoseconds, before and after 1970, on everything; the deepest first, so that directories keep theirs."""
    rng = random.Random(12)
    for directory, folders, files in os.walk(os.fsencode(root), topdown=False):
        for name in sorted(files) + sorted(folders):
            time = rng.randrange(-10**9, 2 * 10**9) * 10**9 + rng.randrange(10**9)
            os.utime(directory + b"/" + name, ns=(time, time), follow_symlinks=False)
    os.utime(root, ns=(10**18 + 1, 10**18 + 1))


def differences(left, right):
    """What rsync would change to make `right` as `left`."""
    done = subprocess.run([*RSYNC, f"{left}/", f"{right}/"], capture_output=True, check=True)
    return done.stdout.decode(errors="backslashreplace").splitlines()


def same(left, right):
    """Asserts that rsync would change nothing."""
    found = differences(left, right)
    assert found == [], f"{len(found)} differences:\n" + "\n".join(found[:30])


def facts(root):
    """What lstat says of every entry, with link groups as sets of names."""
    found, groups = {}, {}
    top = os.fsencode(root)
    for directory, folders, files in os.walk(top):
        for name in [b"", *folders, *files] if directory == top else folders + files:
            path = directory + b"/" + name if name else directory
            s = os.lstat(path)
            found[path[len(top):]] = (stat.S_IFMT(s.st_mode), stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid, s.st_rdev, s.st_mtime_ns,
                                      0 if stat.S_ISDIR(s.st_mode) else s.st_size)
            if s.st_nlink > 1 and not stat.S_ISDIR(s.st_mode):
                groups.setdefault((s.st_dev, s.st_ino), set()).add(path[len(top):])
    return found, sorted(map(sorted, groups.values()))


def round_trip(scratch, make, user):
    source = f"{scratch.new('source')}/tree"
    os.mkdir(source)
    make(source)
    if user and os.getuid() == 0:
        subprocess.run(["chown", "-R", "-h", f"{peers.NOBODY}:{peers.NOBODY}", source], check=True)
        os.chmod(f"{source}/set id", 0o6755)        # chown takes the bits away
    old_times(source)
    ours, restic = peers.both(scratch, user=user)
    targets = {}
    for program in (ours, restic):
        program("backup", ".", cwd=source)
        targets[program] = f"{scratch.new(f'{program.name}-target')}/restored"
        program("restore", "latest", "--target", targets[program], *(["--sparse"] if program is restic else []))
    same(source, targets[ours])
    assert facts(source) == facts(targets[ours])
    theirs = [line for line in differences(targets[restic], targets[ours]) if not line.endswith(" ./")]
    assert theirs == [], "restic restored something else:\n" + "\n".join(theirs)
    for name in ("sparse", "all hole"):
        assert os.stat(f"{targets[ours]}/{name}").st_blocks <= os.stat(f"{source}/{name}").st_blocks + 256, f"{name} has lost its holes"
    read_by_the_second_reader(scratch, ours, source)
    in_place(ours, source, targets[ours])


def read_by_the_second_reader(scratch, ours, source):
    """It verifies the repository, and restores what an ordinary program can: contents, modes, times, links."""
    peers.reader(ours.repo, "verify")
    target = f"{scratch.new('reader')}/restored"
    peers.reader(ours.repo, "restore", "latest", target)
    want, groups = facts(source)
    got, got_groups = facts(target)
    rare = (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)
    assert {path: (f[0], f[1], f[5], f[6]) for path, f in got.items()} == \
        {path: (f[0], f[1], f[5], f[6]) for path, f in want.items() if f[0] not in rare}
    assert groups == got_groups
    for line in differences(source, target):
        assert line[1] in "dLSD" or not set(line[2:4]) & set("cs"), f"the second reader restored other bytes: {line}"


def in_place(ours, source, target):
    """Damage of many kinds to the restored tree is undone by a restore over it."""
    with open(f"{target}/large", "r+b") as file:
        file.seek(5 << 20)
        file.write(b"damage")
    os.chmod(f"{target}/zero", 0o600)
    os.remove(f"{target}/link")
    os.remove(f"{target}/many/f007")
    os.mkdir(f"{target}/many/f007")
    write(f"{target}/extra", b"not in the snapshot")
    ours("restore", "latest", "--target", target, "--delete")
    same(source, target)


def life(scratch, location, env):
    """A whole life of a repository at a location."""
    source = f"{scratch.new('source')}/tree"
    os.mkdir(source)
    plain_tree(source)
    old_times(source)
    ours = peers.Program(scratch, "volvault", repo=location, env=env)
    ours("snapshots", code=10)
    ours("init")
    ours("init", code=1)
    ours("snapshots", code=12, env={"VOLVAULT_PASSWORD": "wrong"})
    first = ours.json("backup", ".", cwd=source)[-1]
    again = ours.json("backup", ".", cwd=source)[-1]
    assert (again["files_new"], again["files_changed"]) == (0, 0) and again["files_unmodified"] == first["files_new"], again
    ours("check", "--read-data")
    target = f"{scratch.new('target')}/restored"
    ours("restore", "latest", "--target", target)
    same(source, target)
    in_place(ours, source, target)
    assert len(ours.json("snapshots")[0]) == 2
    return source


def every_kind_of_file_comes_back_for_root(scratch):
    if os.getuid() != 0:
        print("       (not root: devices, owners and capabilities are left to a run as root)")
        return
    round_trip(scratch, privileged_tree, user=False)


def every_kind_of_file_comes_back_for_an_ordinary_user(scratch):
    round_trip(scratch, plain_tree, user=True)


def an_empty_directory_and_a_single_file_come_back(scratch):
    source = scratch.new("source")
    os.mkdir(f"{source}/empty")
    write(f"{source}/file", b"alone")
    os.utime(f"{source}/empty", ns=(10**9 + 7, 10**9 + 7))
    for what in ("empty", "file"):
        ours = peers.Program(scratch, "volvault")
        ours("init")
        ours("backup", what, cwd=source)
        target = scratch.new("target")
        ours("restore", "latest", "--target", target)
        assert os.listdir(target) == [what]
        assert os.lstat(f"{target}/{what}").st_mtime_ns == os.lstat(f"{source}/{what}").st_mtime_ns


def what_is_stored_shows_nothing_of_the_source(scratch):
    """Neither contents nor names, owners, tags or the password stand anywhere in the store, compressed or not."""
    source = scratch.new("source")
    secrets = [b"first-marker-of-a-content", b"second-marker-of-a-name", b"third-marker-of-a-tag", peers.PASSWORD.encode()]
    write(f"{source}/{secrets[1].decode()}", secrets[0] * 50_000)
    write(f"{source}/small", secrets[0])
    ours = peers.Program(scratch, "volvault")
    ours("init")
    ours("backup", "--compression", "off", "--tag", secrets[2].decode(), source)
    for directory, _, files in os.walk(ours.repo):
        for name in files:
            with open(f"{directory}/{name}", "rb") as file:
                stored = name.encode() + file.read()
            assert not [secret for secret in secrets if secret in stored], f"{name} tells a secret"


def two_repositories_cut_and_name_the_same_file_differently(scratch):
    """Ids, and the places where a file is cut, depend on the repository's key."""
    source, found = scratch.new("source"), []
    write(f"{source}/file", random.Random(13).randbytes(12 << 20))
    for _ in range(2):
        ours = peers.Program(scratch, "volvault")
        ours("init")
        ours("backup", source)
        found.append(peers.data_blobs(ours.repo))
    (ids, lengths), (other_ids, other_lengths) = found
    assert len(ids) > 10 and len(other_ids) > 10
    assert not ids & other_ids and len(lengths & other_lengths) < len(lengths) / 2


if __name__ == "__main__":
    peers.main([what_is_stored_shows_nothing_of_the_source, two_repositories_cut_and_name_the_same_file_differently, every_kind_of_file_comes_back_for_root, every_kind_of_file_comes_back_for_an_ordinary_user,
                an_empty_directory_and_a_single_file_come_back])
