#!/usr/bin/env python3
"""Requests of mirror mode beside rclone's, counted by s3proxy before the Versity gateway.

  mirror_requests.py [FILES] [DIRECTORIES] [PROGRAM,...]      by default 100000, 1000, rclone,tuned,volvault

A tree of small files: pushed and pulled; nothing changed; 100 files changed; the mode of every file changed. "Objects" are the files of the mirror that
the server stored anew in that step. Prints a table; every result is a line of $BENCH/mirror.jsonl. $BENCH/run may lie in memory: times are not the matter.
"""

import os
import random
import sys
import time

import mirrors
from mirrors import Place
from places import wipe

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
    """(step, result, objects stored) of one program, from the beginning."""
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
                yield f"{name}, {what}", result, stored
        mirrors.compare(place)
        wipe(place.root)
    finally:
        server.stop()


def shown(result, stored, what):
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(result["s3"]["kinds"].items(), key=lambda item: -item[1]))
    return f"**{result['s3']['requests']:,}**: {kinds}" + (f"; {stored:,} objects stored" if what == "push" else "")


def main():
    files, directories, tools = (sys.argv[1:] + ["100000", "1000", "rclone,tuned,volvault"][len(sys.argv) - 1:])[:3]
    rows = {}
    for tool in tools.split(","):
        for name, result, stored in case(tool, int(files), int(directories)):
            rows.setdefault(name, []).append(shown(result, stored, name.split()[-1]))
    print(f"\n{int(files):,} files in {int(directories):,} directories\n\n| step | {' | '.join(tools.split(','))} |\n|---|{'---|' * len(tools.split(','))}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
