"""The order in which a local repository reaches the disk, seen by strace: what is acknowledged survives a power failure.

The disk may lose everything that was not synced, and may keep any part of it in any order. So, of every file that is put in place: its bytes
were synced before it got its name, its directory after, and so was every directory that was made above it; packs are safe before an index
segment gets its name, packs and index before a snapshot does, key slots before config does, the key file before all of them; and everything is
safe when the program says that it is done."""

import os
import random
import re
import subprocess

import peers
import trees

CALLS = "openat,creat,write,pwrite64,writev,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,mkdir,mkdirat,fsync,fdatasync,syncfs,sync"
LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>)?(.*)$")
NEVER = 1 << 60


class Call:
    """One system call: from the line where it began to the line where it ended, and what it was given, with descriptors as paths."""

    def __init__(self, name, text, start, end):
        self.name, self.start, self.end = name, start, end
        self.answer = text.rpartition(" = ")[2]
        # strace prints "AT_FDCWD</cwd>" and "9</path>" for descriptors, and quotes names.
        self.paths, at = [], None
        for descriptor, quoted in re.findall(r"(?:AT_FDCWD|\d+)<((?:[^<>\\]|\\.)*)>|\"((?:[^\"\\]|\\.)*)\"", text.rpartition(" = ")[0]):
            if quoted:
                self.paths.append(os.path.normpath(os.path.join(at or "/", quoted)))
                at = None
            else:
                at = descriptor
        self.descriptor = at


def traced(program, arguments, scratch, cwd):
    """The calls of a run, in the order in which they began."""
    log = f"{scratch.new('trace')}/log"
    argv = ["strace", "-f", "-y", "-s", "300", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", log, program.binary, *arguments]
    done = subprocess.run(argv, cwd=cwd, env=program.env, capture_output=True, timeout=peers.TIMEOUT)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    calls, begun = [], {}
    with open(log, errors="backslashreplace") as file:
        for number, line in enumerate(file):
            task, resumed, text = LINE.match(line.rstrip("\n")).groups()
            if resumed:
                start, before = begun.pop(task)
                calls.append(Call(resumed, before + text, start, number))
            elif text.endswith("<unfinished ...>"):
                begun[task] = number, text.removesuffix("<unfinished ...>")
            elif "(" in text:
                calls.append(Call(text.partition("(")[0], text, number, number))
    calls = [call for call in calls if not call.answer.startswith("-1") and not call.answer.startswith("?")]
    return sorted(calls, key=lambda call: call.start), number + 1


class Disk:
    """What is safe, and since when."""

    def __init__(self, calls):
        self.syncs = [call for call in calls if call.name in ("fsync", "fdatasync")]
        self.writes = [call for call in calls if call.name in ("write", "pwrite64", "writev", "ftruncate", "fallocate")]
        self.made = {call.paths[0]: call for call in calls if call.name in ("mkdir", "mkdirat")}
        self.named = [call for call in calls if call.name.startswith(("rename", "link"))]

    def synced(self, path, after):
        """When a sync of `path` that began after `after` had ended."""
        return min((call.end for call in self.syncs if call.descriptor == path and call.start > after), default=NEVER)

    def safe(self, name):
        """When the file that `name` (a rename or link) put in its place was there for good."""
        source, place = name.paths
        last = max((call.end for call in self.writes if call.descriptor == source and call.start < name.end), default=-1)
        assert self.synced(source, last) < name.start, f"{place} got its name before its bytes were synced"
        times = [self.synced(os.path.dirname(place), name.end)]
        above = os.path.dirname(place)
        while above != "/":
            if above in self.made:
                times.append(self.synced(os.path.dirname(above), self.made[above].end))
            above = os.path.dirname(above)
        return max(times)


def check(calls, end, repo, key=None):
    """Asserts the order; returns how many files of each kind were put in place."""
    disk = Disk(calls)
    kinds = {"key file": [], "keys": [], "config": [], "packs": [], "index": [], "snapshots": [], "sessions": []}
    for name in disk.named:
        place = name.paths[1]
        if place.startswith(f"{repo}/"):
            parts = place.removeprefix(f"{repo}/").split("/")
            kinds[parts[1] if parts[0] == "state" else parts[0]].append(name)
        elif place == key:
            kinds["key file"].append(name)
    before = {"keys": ("key file",), "config": ("key file", "keys"), "index": ("packs",), "snapshots": ("packs", "index")}
    for kind, names in kinds.items():
        for name in names:
            safe = disk.safe(name)
            assert safe <= end, f"{name.paths[1]} is not safe when the program ends"
            for earlier in before.get(kind, ()):
                for pointed in kinds[earlier]:
                    assert disk.safe(pointed) < name.start, f"{name.paths[1]} got its name before {pointed.paths[1]} was safe"
    return {kind: len(names) for kind, names in kinds.items() if names}


def what_is_acknowledged_survives_a_power_failure(scratch):
    source, rng = scratch.new("source"), random.Random(3)
    for n in range(300):
        trees.write(f"{source}/{n}", rng.randbytes(100_000 if n % 5 == 0 else 3000))
    ours = peers.Program(scratch, "volvault")
    ours.env = {name: value for name, value in ours.env.items() if not name.startswith("VOLVAULT")}
    ours.env["VOLVAULT_PACK_SIZE"] = "1"
    place = f"{ours.home}/.local/share/volvault"
    repo, key = f"{place}/repository", f"{place}/key"
    # Makes the key, the repository and all directories above them.
    found = check(*traced(ours, ["backup", source], scratch, source), repo, key)
    assert found.pop("packs") > 3 and found == {"key file": 1, "keys": 1, "config": 1, "index": 1, "snapshots": 1, "sessions": 1}, found
    for n in range(0, 300, 7):
        trees.write(f"{source}/{n}", rng.randbytes(4000))
    found = check(*traced(ours, ["backup", source], scratch, source), repo, key)
    assert found["packs"] >= 2 and found["snapshots"] == 1, found
    found = check(*traced(ours, ["key", "add", "--new-key-file", write_key(scratch)], scratch, source), repo, key)
    assert found == {"keys": 1}, found


def write_key(scratch):
    path = f"{scratch.new('key')}/key"
    trees.write(path, random.Random(4).randbytes(32))
    return path


def a_sync_that_is_missing_is_noticed(scratch):
    """The judge itself: each sync of a sound run is taken out of the trace in turn, and the run is not sound any more."""
    source = scratch.new("source")
    trees.write(f"{source}/file", random.Random(5).randbytes(100_000))
    ours = peers.Program(scratch, "volvault")
    ours("init")
    calls, end = traced(ours, ["backup", source], scratch, source)
    check(calls, end, ours.repo)
    # What a run remembers of the repository is no part of it, and nothing is lost with it.
    of_repository = lambda call: "/.local/state/volvault" not in call.descriptor
    syncs = [call for call in calls if call.name in ("fsync", "fdatasync") and of_repository(call)]
    unnoticed = []
    for sync in syncs:
        try:
            check([call for call in calls if call is not sync], end, ours.repo)
            unnoticed.append(sync.descriptor)
        except AssertionError:
            pass
    assert len(syncs) > 10 and len(unnoticed) < len(syncs) / 4, f"{len(unnoticed)} of {len(syncs)} syncs are not missed: {unnoticed}"


if __name__ == "__main__":
    peers.main([what_is_acknowledged_survives_a_power_failure, a_sync_that_is_missing_is_noticed])
