#!/usr/bin/env python3
"""Bytes of mirror mode beside rclone's, for a file of 1 GiB (d5) that changed a little; counted by s3proxy before the Versity gateway.

  mirror_bytes.py [CHANGE,...] [PROGRAM,...]      by default one,scattered,edits,middle and rclone,volvault
  mirror_bytes.py table                           of the newest results

one: 4 KiB somewhere. scattered: 100 places of 1 to 4,096 bytes, overwritten. edits: 100 insertions and deletions (d5b). middle: 1,000 bytes more in the
middle, which shift the half of the file. Each begins with a push and a pull of the file as it was. Every result is a line of
$BENCH/mirror.jsonl. $BENCH/run may lie in memory (6 GiB are needed).
"""

import filecmp
import json
import os
import random
import shutil
import sys
import time

import mirrors
from mirrors import Place
from places import BENCH, wipe

NAME = "volume.img"
SAID = {"one": "one change of 4 KiB", "scattered": "100 changes of 1 to 4,096 bytes", "edits": "100 insertions and deletions", "middle": "1,000 bytes inserted in the middle"}


def overwrite(path, changes):
    """Puts new bytes at (offset, length)."""
    dice = random.Random(23)
    with open(path, "r+b") as file:
        for offset, length in changes:
            file.seek(offset)
            file.write(dice.randbytes(length))


def alter(path, change):
    size, dice = os.path.getsize(path), random.Random(24)
    if change == "one":
        overwrite(path, [(size // 3, 4096)])
    elif change == "scattered":
        overwrite(path, [(dice.randrange(size - 4096), dice.randint(1, 4096)) for _ in range(100)])
    elif change == "edits":
        shutil.copyfile(f"{BENCH}/data/d5b/{NAME}", path)
    else:
        with open(f"{BENCH}/data/d5/{NAME}", "rb") as old, open(path, "wb") as new:
            shutil.copyfileobj(Piece(old, size // 2), new, 1 << 20)
            new.write(dice.randbytes(1000))
            shutil.copyfileobj(old, new, 1 << 20)


class Piece:
    """The next bytes of a file, no more than `left`."""

    def __init__(self, file, left):
        self.file, self.left = file, left

    def read(self, size):
        piece = self.file.read(min(size, self.left))
        self.left -= len(piece)
        return piece


def case(tool, change):
    """Push and pull of the file as it was, and as it has become."""
    server = mirrors.serve()
    try:
        place = Place(tool, server)
        os.makedirs(place.src)
        os.makedirs(place.dst)
        shutil.copyfile(f"{BENCH}/data/d5/{NAME}", f"{place.src}/{NAME}")
        time.sleep(3)           # a push reads files again that were written in the two seconds before it
        for what in ("push", "pull"):
            mirrors.keep(case="bytes", dataset="d5", step=f"first {what}", tool=tool, **mirrors.run(place, what))
        alter(f"{place.src}/{NAME}", change)
        for what in ("push", "pull"):
            mirrors.keep(case="bytes", dataset="d5", step=f"{change} {what}", tool=tool, **mirrors.run(place, what))
        if not filecmp.cmp(f"{place.src}/{NAME}", f"{place.dst}/{NAME}", shallow=False):
            raise SystemExit(f"{tool} {change}: the pulled file differs")
        wipe(place.root)
    finally:
        server.stop()


def tables():
    """The newest result of each change and program, with ratios to the first program."""
    with open(f"{BENCH}/mirror.jsonl") as file:
        lines = [line for line in map(json.loads, file) if line.get("case") == "bytes"]
    newest = {(line["step"], line["tool"]): line for line in lines}
    tools = list(dict.fromkeys(line["tool"] for line in lines))
    print("\n| change | | program | up MB | down MB | bytes | requests | wall s |\n|---|---|---|---|---|---|---|---|")
    for change, what in [(change, what) for change in SAID for what in ("push", "pull")]:
        base = None
        for tool in sorted(tools, key=lambda tool: tool != "rclone"):
            line = newest.get((f"{change} {what}", tool))
            if line is None:
                continue
            s3 = line["s3"]
            both = s3["up"] + s3["down"]
            base = base or both
            print(f"| {SAID[change]} | {what} | {tool} | {s3['up'] / 1e6:.2f} | {s3['down'] / 1e6:.2f} | {both / base:.4f} × | {s3['requests']} | {line['wall']:.2f} |")


def main():
    if sys.argv[1:] != ["table"]:
        changes, tools = (sys.argv[1:] + [",".join(SAID), "rclone,volvault"][len(sys.argv) - 1:])[:2]
        for change in changes.split(","):
            for tool in tools.split(","):
                case(tool, change)
    tables()


if __name__ == "__main__":
    main()
