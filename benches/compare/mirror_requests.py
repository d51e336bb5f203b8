#!/usr/bin/env python3
"""Requests of mirror mode beside rclone's, counted by s3proxy before the Versity gateway.

  mirror_requests.py [FILES] [DIRECTORIES] [PROGRAM,...]      by default 100000, 1000, rclone,tuned,volvault
  mirror_requests.py table                                    of the newest results, and what 500 edges cost in a month

A tree of small files: pushed and pulled; nothing changed; 100 files changed; the mode of every file changed. "Objects" are the files of the mirror that
the server stored anew in that step. Every result is a line of $BENCH/mirror.jsonl. $BENCH/run may lie in memory: times are not the matter.
"""

import json
import os
import random
import sys
import time

import mirrors
from mirrors import Place
from places import BENCH, wipe

LONG_AGO = time.time() - 86_400


def path_of(place, number, directories):
    return f"{place.src}/{number % directories:04d}/file-{number:06d}"


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def make(place, files, directories):
    """So many files of about 100 bytes, no two alike, older than the first push."""
    dice = random.Random(9)
    for number in range(directories):
        os.makedirs(f"{place.src}/{number:04d}")
    for number in range(files):
        path = path_of(place, number, directories)
        write(path, b"%06d " % number + dice.randbytes(40).hex().encode())
        os.utime(path, (LONG_AGO, LONG_AGO))


def change(place, files, directories):
    """A hundred files, in a hundred directories."""
    for number in range(0, files, files // 100):
        write(path_of(place, number, directories), b"changed %06d" % number)
    time.sleep(3)               # a push reads files again that were written in the two seconds before it


def chmod(place, files, directories):
    for number in range(files):
        os.chmod(path_of(place, number, directories), 0o640)


def case(tool, files, directories):
    """One program, from the beginning."""
    server = mirrors.serve()
    try:
        place = Place(tool, server)
        make(place, files, directories)
        os.makedirs(place.dst)
        objects = {}
        for name in ("first", "unchanged", "100 changed", "chmod of all"):
            if name in ("100 changed", "chmod of all"):
                (change if name == "100 changed" else chmod)(place, files, directories)
            for what in ("push", "pull"):
                result = mirrors.run(place, what)
                before, objects = objects, place.objects()
                stored = sum(1 for path, found in objects.items() if before.get(path) != found)
                mirrors.keep(case="requests", dataset=f"{files}/{directories}", step=f"{name}, {what}", tool=tool, objects=stored, **result)
        mirrors.compare(place)
        wipe(place.root)
    finally:
        server.stop()


def shown(line):
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(line["s3"]["kinds"].items(), key=lambda item: -item[1]))
    return f"**{line['s3']['requests']:,}**: {kinds}" + (f"; {line['objects']:,} objects stored" if line["step"].endswith("push") else "")


# Dollars: Amazon S3 Standard, us-east-1, by the price lists of AmazonS3 (published 2026-09-28) and AWSDataTransfer (2026-09-16) at
# pricing.us-east-1.amazonaws.com. Deletions are free. GB to the internet in a month: so many at this price, the rest at the last one.
DEAR, CHEAP = 5e-6, 0.4e-6
TRAFFIC = [(100, 0), (10_240, 0.09), (40_960, 0.085), (102_400, 0.07), (float("inf"), 0.05)]
# What a pull sends that costs as much as a PUT.
IS_DEAR = {"LIST", "PUT", "COPY"}


def cost(line):
    """The requests of one run in dollars, and the GB that it fetches."""
    requests = sum(count * (DEAR if kind in IS_DEAR else CHEAP) for kind, count in line["s3"]["kinds"].items())
    return requests, line["s3"]["down"] / 1e9


def traffic(gigabytes):
    """What they cost in a month."""
    dollars = 0
    for size, price in TRAFFIC:
        dollars += min(gigabytes, size) * price
        gigabytes -= min(gigabytes, size)
    return dollars


def month(unchanged, changed):
    """500 edges for 30 days: a pull every five minutes, and one in twelve finds a generation in which 100 files changed."""
    pulls = 500 * 30 * 24
    still, moved = cost(unchanged), cost(changed)
    requests, gigabytes = (pulls * (11 * still[at] + moved[at]) for at in (0, 1))
    sent = traffic(gigabytes)
    return f"${requests:,.2f} | {gigabytes:,.0f} GB, ${sent:,.2f} | ${requests + sent:,.2f}"


def tables():
    """The newest result of each step and program."""
    with open(f"{BENCH}/mirror.jsonl") as file:
        lines = [line for line in map(json.loads, file) if line.get("case") == "requests"]
    for dataset in dict.fromkeys(line["dataset"] for line in lines):
        newest = {(line["step"], line["tool"]): line for line in lines if line["dataset"] == dataset}
        tools = list(dict.fromkeys(tool for _, tool in newest))
        print(f"\n{dataset} files/directories\n\n| step | {' | '.join(tools)} |\n|---|{'---|' * len(tools)}")
        for step in dict.fromkeys(step for step, _ in newest):
            print(f"| {step} | {' | '.join(shown(newest[step, tool]) if (step, tool) in newest else '' for tool in tools)} |")
        print("\n| 500 edges, a month | requests | traffic | together |\n|---|---|---|---|")
        for tool in tools:
            if {("unchanged, pull", tool), ("100 changed, pull", tool)} <= newest.keys():
                print(f"| {tool} | {month(newest['unchanged, pull', tool], newest['100 changed, pull', tool])} |")


def main():
    if sys.argv[1:] != ["table"]:
        files, directories, tools = (sys.argv[1:] + ["100000", "1000", "rclone,tuned,volvault"][len(sys.argv) - 1:])[:3]
        for tool in tools.split(","):
            case(tool, int(files), int(directories))
    tables()


if __name__ == "__main__":
    main()
