"""What the measures of mirrors share: where a program keeps its side of one, and how rclone and volvault are started.

`rclone` has the options that VolSync's mover gives it (one process: the mover's second one, for permissions.facl, is left out), `tuned` is rclone with
the options of somebody who knows it, `packed` is volvault with `--pack-small`, `relist` with `--relist`, which a push does of itself after one that was cut off.
"""

import json
import os
import subprocess
import sys

from measure import TIMEOUT, execute
from places import BENCH, wipe
from server import KEY, RCLONE, S3, SECRET
from tools import TOOLS, Volvault

VOLSYNC = ["--checksum", "--transfers", "10", "--one-file-system", "--create-empty-src-dirs", "--exclude", "lost+found/**"]
TUNED = [*VOLSYNC, "--fast-list", "--checkers", "32", "--transfers", "32", "--s3-no-head", "--s3-no-check-bucket"]


class Place:
    """Where one program keeps its side. `server` is None for a mirror in a directory."""

    def __init__(self, tool, server):
        root = f"{BENCH}/run/mirror-{tool}"
        self.tool, self.s3, self.root = tool, server, root
        self.src, self.dst, self.home, self.prefix = f"{root}/src", f"{root}/dst", f"{root}/home", tool
        wipe(root)
        os.makedirs(self.home)

    def objects(self):
        """The files in which the server keeps this mirror's objects: (inode, time of the last change) by name."""
        top = f"{self.s3.dir}/data/{self.s3.bucket}/{self.prefix}"
        paths = (os.path.join(directory, name) for directory, _, names in os.walk(top) for name in names)
        return {path: (found.st_ino, found.st_mtime_ns) for path in paths for found in [os.stat(path)]}


class Rclone:
    def __init__(self, options):
        self.options = options

    def env(self, p):
        return {"HOME": p.home, "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_T_TYPE": "s3", "RCLONE_CONFIG_T_PROVIDER": "Other",
                "RCLONE_CONFIG_T_ENDPOINT": p.s3.url, "RCLONE_CONFIG_T_REGION": p.s3.region,
                "RCLONE_CONFIG_T_ACCESS_KEY_ID": KEY, "RCLONE_CONFIG_T_SECRET_ACCESS_KEY": SECRET}

    def push(self, p): return [RCLONE, "sync", *self.options, p.src, f"t:{p.s3.bucket}/{p.prefix}"], None
    def pull(self, p): return [RCLONE, "sync", *self.options, f"t:{p.s3.bucket}/{p.prefix}", p.dst], None


class Mirror:
    bin = Volvault.bin

    def __init__(self, options=()):
        self.options = options

    def env(self, p): return {"HOME": p.home, **(p.s3.env() if p.s3 else {})}
    def at(self, p): return f"s3:{p.s3.url}/{p.s3.bucket}/{p.prefix}" if p.s3 else f"{p.root}/mirror"
    def push(self, p): return [self.bin, "mirror", "push", "-q", *self.options, "--state-dir", f"{p.home}/push", p.src, self.at(p)], None
    def pull(self, p): return [self.bin, "mirror", "pull", "-q", "--state-dir", f"{p.home}/pull", self.at(p), p.dst], None


TOOLS.update({"rclone": Rclone(VOLSYNC), "tuned": Rclone(TUNED), "volvault": Mirror(), "packed": Mirror(["--pack-small"]), "relist": Mirror(["--relist"])})


# Seconds after which a push or a pull of `rclone` is stopped, and brought to its end by `tuned` without the latency: its time is a lower bound then.
BOUND = float(os.environ.get("BOUND", TIMEOUT))


def untimed(place, what):
    """A `push` or `pull` of which nothing is kept. rclone's, which remember no address, go around the latency, with the options of `tuned`."""
    far = place.s3.url
    if place.tool in ("rclone", "tuned"):
        place.s3.url = place.s3.near
        result = execute(place.tool, place, getattr(TOOLS["tuned"], what)(place))
        place.s3.url = far
    else:
        result = execute(place.tool, place, getattr(TOOLS[place.tool], what)(place))
    if result["rc"]:
        raise SystemExit(f"{place.tool} {what} failed")


def run(place, what):
    """One timed `push` or `pull`, which has to succeed, or (`stopped`) to reach the bound."""
    result = execute(place.tool, place, getattr(TOOLS[place.tool], what)(place), BOUND if place.tool == "rclone" else TIMEOUT)
    if place.tool == "rclone" and BOUND < TIMEOUT and result["wall"] >= BOUND:
        result["stopped"] = True
        untimed(place, what)
    elif result["rc"]:
        raise SystemExit(f"{place.tool} {what} failed")
    return result


def keep(**result):
    """Prints a result, and appends it to the results."""
    with open(f"{BENCH}/mirror.jsonl", "a") as out:
        out.write(json.dumps(result) + "\n")
    s3 = result.get("s3")
    seen = f" requests {s3['requests']} {s3['kinds']} up {s3['up'] / 1e6:.1f} MB down {s3['down'] / 1e6:.1f} MB" if s3 else ""
    print(f"  {result['step']:24} {result['tool']:9} {result['wall']:8.2f} s cpu {result['cpu']:7.2f} s rss {result['rss']:5.0f} MiB{seen}{' (stopped)' if result.get('stopped') else ''}", flush=True)


def serve(delay=0):
    """The Versity gateway on a directory, behind s3proxy."""
    for directory in ("logs", "run"):
        os.makedirs(f"{BENCH}/{directory}", exist_ok=True)
    return S3("versity", delay)


def same(a, b):
    """What rsync finds different in `b`: names, kinds, contents. rclone keeps neither modes nor the times of directories."""
    argv = ["rsync", "-rln", "--checksum", "--delete", "--itemize-changes", a + "/", b + "/"]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if line[:2] in (">f", "*d", "cd") or line.startswith("cL")]


def compare(place):
    """Says so when the pulled tree is not the source."""
    left = same(place.src, place.dst)
    if left:
        print(f"   !! {place.tool}: the pulled tree differs: {left[:3]}", file=sys.stderr)
