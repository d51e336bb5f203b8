#!/usr/bin/env python3
"""Peak memory of mirror mode for a tree of a million entries.

  mirror_memory.py [ENTRIES] [dir|s3]      by default 1000000 and dir, a mirror in a directory; s3 is the Versity gateway

A hundredth of the entries are directories, the rest are empty files but for every 16th, which has a few bytes (of its own: contents are hashed and fetched);
names are as long as those of a source tree. Pushed and pulled first, unchanged, after 1 % changed, and with nothing remembered. $BENCH/run should lie in
memory, or on a file system with inodes for three times as many entries. Every result is a line of $BENCH/mirror.jsonl.
"""

import os
import sys

import mirrors
from mirrors import Place
from places import wipe


def path_of(place, number, directories):
    return f"{place.src}/directory-{number % directories % 100:02d}/part-{number % directories:05d}/some-file-name-{number:07d}.txt"


def make(place, entries):
    directories = entries // 100
    for number in range(directories):
        os.makedirs(os.path.dirname(path_of(place, number, directories)))
    for number in range(entries - directories):
        with open(path_of(place, number, directories), "wb") as file:
            if number % 16 == 0:
                file.write(b"content of %07d" % number)
    return directories


def change(place, entries, directories, text):
    for number in range(0, entries - directories, 100):
        with open(path_of(place, number, directories), "wb") as file:
            file.write(b"%s %07d" % (text, number))


def main():
    entries, kind = (sys.argv[1:] + ["1000000", "dir"][len(sys.argv) - 1:])[:2]
    entries, server = int(entries), mirrors.serve() if kind == "s3" else None
    try:
        place, highest = Place("volvault", server), 0
        directories = make(place, entries)
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
                mirrors.keep(case="memory", dataset=entries, store=kind, step=f"{name}, {what}", tool="volvault", **result)
        mirrors.compare(place)
        print(f"\n{entries:,} entries, {kind}: at most {highest:.0f} MiB")
        wipe(place.root)
    finally:
        if server:
            server.stop()


if __name__ == "__main__":
    main()
