#!/usr/bin/env python3
"""Mirror mode beside rclone: pushes and pulls of a tree, first, unchanged, and after 1 % of the files changed.

  mirror.py [DATASET] [MS] [RUNS]        d1, 0 ms and 3 runs by default; MS is the added latency one way

Programs: `rclone` with the options that VolSync's mover gives it (one process: the mover's second one, for permissions.facl, is left out), `tuned`,
rclone with the options of somebody who knows it, and volvault. The server is the Versity gateway on a directory, behind s3proxy, which counts.
Prints medians as a table, with ratios to the first program; every result is a line of $BENCH/mirror.jsonl.
"""

import json
import os
import statistics
import subprocess
import sys

from measure import churn, execute, rsync, warm
from places import BENCH, wipe
from server import KEY, RCLONE, S3, SECRET
from tools import TOOLS, Volvault

VOLSYNC = ["--checksum", "--transfers", "10", "--one-file-system", "--create-empty-src-dirs", "--exclude", "lost+found/**"]
TUNED = [*VOLSYNC, "--fast-list", "--checkers", "32", "--transfers", "32", "--s3-no-head", "--s3-no-check-bucket"]
STEPS = ["first push", "unchanged push", "push of 1 %", "first pull", "unchanged pull", "pull of 1 %"]


class Place:
    """Where one program keeps its side."""

    def __init__(self, tool, server):
        root = f"{BENCH}/run/mirror-{tool}"
        self.tool, self.s3, self.root = tool, server, root
        self.src, self.dst, self.home, self.prefix = f"{root}/src", f"{root}/dst", f"{root}/home", tool


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

    def env(self, p): return {"HOME": p.home, **p.s3.env()}
    def at(self, p): return f"s3:{p.s3.url}/{p.s3.bucket}/{p.prefix}"
    def push(self, p): return [self.bin, "mirror", "push", "-q", "--state-dir", f"{p.home}/push", p.src, self.at(p)], None
    def pull(self, p): return [self.bin, "mirror", "pull", "-q", "--state-dir", f"{p.home}/pull", self.at(p), p.dst], None


TOOLS.update({"rclone": Rclone(VOLSYNC), "tuned": Rclone(TUNED), "volvault": Mirror()})


def step(name, tool, place, run):
    if name == "first pull":
        wipe(place.dst)
        os.makedirs(place.dst)
    if "1 %" in name and name.startswith("push"):
        churn(place.src, 1, 100 + run)
    if "1 %" in name and name.startswith("pull"):
        churn(place.src, 1, 200 + run)
        execute(tool, place, TOOLS[tool].push(place))
    return execute(tool, place, TOOLS[tool].push(place) if "push" in name else TOOLS[tool].pull(place))


def same(a, b):
    return subprocess.run(["rsync", "-rln", "--checksum", "--delete", "--itemize-changes", a + "/", b + "/"], capture_output=True, text=True, check=True).stdout


def one_run(dataset, server, run, keep):
    for tool in ("rclone", "tuned", "volvault"):
        place = Place(tool, server)
        wipe(place.root)
        os.makedirs(place.home)
        rsync(f"{BENCH}/data/{dataset}", place.src)
        warm(place.src)
        for name in STEPS:
            keep(name, tool, step(name, tool, place, run))
        left = [line for line in same(place.src, place.dst).splitlines() if line[:2] in (">f", "*d", "cd") or line.startswith("cL")]
        if left:
            print(f"   !! {tool}: the pulled tree differs: {left[:3]}", file=sys.stderr)
        wipe(place.root)


def main():
    dataset, delay, runs = (sys.argv[1:] + ["d1", "0", "3"][len(sys.argv) - 1:])[:3]
    results = {}

    def keep(name, tool, result):
        results.setdefault(name, {}).setdefault(tool, []).append(result)
        with open(f"{BENCH}/mirror.jsonl", "a") as out:
            out.write(json.dumps(dict(dataset=dataset, delay=delay, step=name, tool=tool, **result)) + "\n")
        s3 = result["s3"]
        print(f"  {name:16} {tool:9} {result['wall']:8.2f} s cpu {result['cpu']:7.2f} s rss {result['rss']:5.0f} MiB requests {s3['requests']}"
              f" up {s3['up'] / 1e6:.1f} MB down {s3['down'] / 1e6:.1f} MB", flush=True)

    for run in range(int(runs)):
        server = S3("versity", int(delay))
        try:
            one_run(dataset, server, run, keep)
        finally:
            server.stop()
    middle = lambda each, key: statistics.median(key(r) for r in each)
    print(f"\n{dataset}, {delay} ms each way, {runs} runs\n\n| step | program | wall s | ratio | CPU s | peak MiB | requests | up MB | down MB |\n|---|---|---|---|---|---|---|---|---|")
    for name, tools in results.items():
        base = middle(tools["rclone"], lambda r: r["wall"])
        for tool, each in tools.items():
            wall = middle(each, lambda r: r["wall"])
            print(f"| {name} | {tool} | {wall:.2f} | {wall / base:.3f} × | {middle(each, lambda r: r['cpu']):.2f} | {middle(each, lambda r: r['rss']):.0f} |"
                  f" {middle(each, lambda r: r['s3']['requests']):.0f} | {middle(each, lambda r: r['s3']['up']) / 1e6:.1f} | {middle(each, lambda r: r['s3']['down']) / 1e6:.1f} |")


if __name__ == "__main__":
    main()
