#!/usr/bin/env python3
"""What a prune writes, and what it costs a backup that runs beside it.

  prunes.py [DATASET] [RUNS]      d1 and 3 by default; restic and volvault, local directories

Makes 30 snapshots with 5 % of the files rewritten between them, and forgets all but 5. Then, RUNS times on copies of that repository:
a prune, and the bytes of the files that it left behind and that were not there before; and a backup of a tree that the repository does not
know, alone, beside a prune, and beside prunes that rewrite every pack with waste (`--max-unused 0`), one after the other; each
waits for the backup before it removes anything, so that there is mostly one. restic's prune lets no backup run beside it.
Prints medians, and every result as a line to $BENCH/prunes.jsonl.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading

from measure import backup, churn, environment, execute, rsync, set_up, warm
from places import BENCH, Place, wipe
from tools import TOOLS

SNAPSHOTS, KEPT = 30, 5


def files(root):
    return {os.path.join(d, f): os.lstat(os.path.join(d, f)).st_size for d, _, fs in os.walk(root) for f in fs}


def run(tool, place, *args):
    """One command that is not timed."""
    argv = [TOOLS[tool].bin, *args]
    subprocess.run(argv, env=environment(tool, place), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def fresh(place, saved):
    """The repository as it was after the forget. What the program remembers of later states goes, too: it would refuse this one."""
    wipe(place.repo, place.cache, f"{place.home}/.local")
    shutil.copytree(saved, place.repo)
    os.makedirs(place.cache)


def pruned(tool, place, saved):
    fresh(place, saved)
    before = files(place.repo)
    result = execute(tool, place, ([TOOLS[tool].bin, "prune", "-q"], None))
    written = sum(size for path, size in files(place.repo).items() if path not in before)
    return dict(result, written=written, left=sum(files(place.repo).values()))


def beside(tool, place, saved, prunes):
    """A backup of a tree that is new to the repository, while `prunes` run one after the other: none, one, or no end of them."""
    fresh(place, saved)
    stop, done = threading.Event(), []

    def others():
        while not stop.is_set():
            run(tool, place, "prune", "-q", *(["--max-unused", "0"] if prunes > 1 else []))
            done.append(1)
            if prunes == 1:
                return

    thread = threading.Thread(target=others) if prunes else None
    if thread:
        thread.start()
    result = backup(tool, place)
    stop.set()
    if thread:
        thread.join()
    run(tool, place, "check", "-q")
    return dict(result, prunes=len(done))


def main():
    dataset = sys.argv[1] if len(sys.argv) > 1 else "d1"
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    work, new = f"{BENCH}/run/changing/{dataset}", f"{BENCH}/run/changing/new"
    rsync(f"{BENCH}/data/{dataset}", work)
    places = {tool: Place(tool, work) for tool in ("restic", "volvault")}
    for tool, place in places.items():
        set_up(tool, place)
    for number in range(SNAPSHOTS):
        if number:
            churn(work, 5, 500 + number)
        for tool, place in places.items():
            backup(tool, place)
    rsync(f"{BENCH}/data/{dataset}", new)
    churn(new, 100, 77)
    warm(new)
    results = {}
    with open(f"{BENCH}/prunes.jsonl", "a") as out:
        def keep(name, result):
            results.setdefault(name, []).append(result)
            out.write(json.dumps(dict(name=name, **result)) + "\n")
            print(f"  {name:34} {result['wall']:7.2f} s cpu {result['cpu']:6.2f} s rss {result['rss']:5.0f} MiB"
                  f" written {result.get('written', 0) / 1e6:.1f} MB prunes {result.get('prunes', 0)}", flush=True)

        saved = {}
        for tool, place in places.items():
            run(tool, place, "forget", "-q", "--keep-last", str(KEPT))
            saved[tool] = f"{place.repo}-forgotten"
            wipe(saved[tool])
            os.rename(place.repo, saved[tool])
        for _ in range(runs):
            for tool, place in places.items():
                keep(f"{tool} prune", pruned(tool, place, saved[tool]))
            place = places["volvault"]
            place.src = new
            for prunes, words in ((0, "alone"), (1, "beside a prune"), (2, "beside prunes that rewrite all")):
                keep(f"volvault backup {words}", beside("volvault", place, saved["volvault"], prunes))
    for name, each in results.items():
        median = {key: statistics.median(r[key] for r in each if key in r) for key in ("wall", "cpu", "written") if key in each[0]}
        print(name, {key: round(value, 3) for key, value in median.items()})
    wipe(*(f"{BENCH}/run/{tool}" for tool in places), f"{BENCH}/run/changing")


if __name__ == "__main__":
    main()
