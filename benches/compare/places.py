"""Where the measures keep things: all below $BENCH (default target/bench of this repository)."""

import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BENCH = os.environ.get("BENCH", f"{TOP}/target/bench")
PEERS = os.environ.get("PEERS", f"{BENCH}/peers")


class Place:
    """Where one tool keeps its things in one case. `repo` is None when `s3` is set; `n` counts the backups made."""

    def __init__(self, tool, src, s3=None):
        root = f"{BENCH}/run/{tool}"
        self.tool, self.src, self.s3, self.n = tool, src, s3, 0
        self.repo = None if s3 else f"{root}/repo"
        self.cache, self.home, self.dst = f"{root}/cache", f"{root}/home", f"{root}/restored"
        self.prefix = tool                       # its own folder of the bucket

    def new(self):
        wipe(self.cache, self.home, self.repo)
        if self.s3:
            self.s3.wipe(self.prefix)
        for d in (self.cache, self.home):
            os.makedirs(d)
        self.n = 0

    def size(self):
        return self.s3.size(self.prefix) if self.s3 else tree_size(self.repo)


def wipe(*dirs):
    for d in dirs:
        if d:
            subprocess.run(["rm", "-rf", d], check=True)


def tree_size(root):
    """(bytes, files) below a directory."""
    size = count = 0
    for d, _, files in os.walk(root):
        for f in files:
            size += os.lstat(os.path.join(d, f)).st_size
            count += 1
    return size, count
