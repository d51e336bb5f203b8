#!/usr/bin/env python3
"""Peak memory of mirror mode for a tree of a million entries.

  mirror_memory.py [ENTRIES] [dir|s3] [volvault|packed] [files|pipes]      by default 1000000, dir (a mirror in a directory; s3 is the Versity gateway),
                                                                           volvault (packed is with --pack-small) and files
  mirror_memory.py big                                                     24 files of 8 to 64 MiB at the gateway instead

A hundredth of the entries are directories, every 16th of the others is a file of a few bytes (of its own: contents are hashed and fetched), and the rest are empty files;
or pipes, which have no objects, so that a slow server is no matter. Names are as long as those of a source tree. Pushed and pulled first, unchanged, after 1 % changed, and with nothing remembered; then pushed with all objects listed. $BENCH/run should lie in
memory, or on a file system with inodes for three times as many entries. Every result is a line of $BENCH/mirror.jsonl.
"""

import os
import random
import sys

import mirrors
from mirrors import Place
from places import wipe


def path_of(place, number, directories):
    return f"{place.src}/directory-{number % directories % 100:02d}/part-{number % directories:05d}/some-file-name-{number:07d}.txt"


def make(place, entries, rest):
    directories = entries // 100
    for number in range(directories):
        os.makedirs(os.path.dirname(path_of(place, number, directories)))
    for number in range(entries - directories):
        path = path_of(place, number, directories)
        if number % 16 and rest == "pipes":
            os.mkfifo(path)
            continue
        with open(path, "wb") as file:
            if number % 16 == 0:
                file.write(b"content of %07d" % number)
    return directories


def change(place, entries, directories, text):
    for number in range(0, entries - directories, 112):         # a multiple of 16
        with open(path_of(place, number, directories), "wb") as file:
            file.write(b"%s %07d" % (text, number))


def many(entries, kind, tool, rest):
    server = mirrors.serve() if kind == "s3" else None
    try:
        place, highest = Place(tool, server), 0
        directories = make(place, entries, rest)
        os.makedirs(place.dst)
        for name in ("first", "unchanged", "1 % changed", "nothing remembered"):
            if name == "1 % changed":
                change(place, entries, directories, b"changed")
            if name == "nothing remembered":
                change(place, entries, directories, b"again")
                wipe(f"{place.home}/push", f"{place.home}/pull")
            for what in ("push", "pull"):
                result = mirrors.run(place, what)
                highest = max(highest, result["rss"])
                mirrors.keep(case="memory", dataset=f"{entries} with {rest}", store=kind, step=f"{name}, {what}", tool=tool, **result)
        place.tool = "relist"
        result = mirrors.run(place, "push")
        highest = max(highest, result["rss"])
        mirrors.keep(case="memory", dataset=f"{entries} with {rest}", store=kind, step="listed again, push", tool=tool, **result)
        place.tool = tool
        mirrors.compare(place)
        print(f"\n{entries:,} entries, {kind}, {tool}: at most {highest:.0f} MiB")
        wipe(place.root)
    finally:
        if server:
            server.stop()


def big():
    """Files of many parts, all of which want to be on their way at once; then a few bytes of each are another ones."""
    server = mirrors.serve()
    try:
        place, dice = Place("volvault", server), random.Random(5)
        os.makedirs(place.src)
        os.makedirs(place.dst)
        sizes = [(8 << 20) + (56 << 20) * number // 23 for number in range(24)]
        for number, size in enumerate(sizes):
            with open(f"{place.src}/{number}", "wb") as file:
                file.write(dice.randbytes(size))
        for name in ("first", "changed"):
            if name == "changed":
                for number, size in enumerate(sizes):
                    with open(f"{place.src}/{number}", "r+b") as file:
                        file.seek(size // 2)
                        file.write(dice.randbytes(4096))
            for what in ("push", "pull"):
                mirrors.keep(case="memory", dataset="24 of 8 to 64 MiB", store="s3", step=f"{name}, {what}", tool="volvault", **mirrors.run(place, what))
        mirrors.compare(place)
        wipe(place.root)
    finally:
        server.stop()


def main():
    if sys.argv[1:] == ["big"]:
        return big()
    entries, kind, tool, rest = (sys.argv[1:] + ["1000000", "dir", "volvault", "files"][len(sys.argv) - 1:])[:4]
    many(int(entries), kind, tool, rest)


if __name__ == "__main__":
    main()
