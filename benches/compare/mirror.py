#!/usr/bin/env python3
"""Mirror mode beside rclone: pushes and pulls of a tree, first, unchanged, and after 1 % of the files changed.

  mirror.py [DATASET] [MS] [RUNS] [PROGRAM,...]      by default d1, 0 ms, 3 runs, rclone,tuned,volvault; MS is the added latency one way
  mirror.py table                                    medians of all results so far

Datasets are those of datasets.sh, and parts of them: d4/many has 200,000 tiny files. Programs: see mirrors.py. The server is the Versity gateway on a
directory, behind s3proxy, which counts. Prints medians as a table, with ratios to the first program; every result is a line of $BENCH/mirror.jsonl.
With BOUND=SECONDS a push or pull of rclone is stopped then (`>` in the table: it took longer, and the ratios to it are `<`). With REPEATS=N each run
does all but the first push and the first pull N times; with FIRST=untimed those two are only there for the others, and rclone's go around the latency.
"""

import json
import os
import statistics
import sys

import mirrors
from measure import churn, rsync, warm
from mirrors import Place
from places import BENCH, wipe

STEPS = ["first push", "unchanged push", "push of 1 %", "first pull", "unchanged pull", "pull of 1 %"]
REPEATS = int(os.environ.get("REPEATS", "1"))
TIMES_FIRST = os.environ.get("FIRST") != "untimed"


def step(name, place, number):
    if name == "first pull":
        wipe(place.dst)
        os.makedirs(place.dst)
    if name == "push of 1 %":
        churn(place.src, 1, 100 + number)
    if name == "pull of 1 %":
        churn(place.src, 1, 200 + number)
        mirrors.untimed(place, "push")
    run = mirrors.run if "first" not in name or TIMES_FIRST else mirrors.untimed
    return run(place, "push" if "push" in name else "pull")


def one_run(dataset, delay, number, tools):
    """Every program from the beginning, each with a server of its own, in an order that changes from run to run."""
    first = number % len(tools)
    for tool in tools[first:] + tools[:first]:
        server = mirrors.serve(delay)
        try:
            place = Place(tool, server)
            rsync(f"{BENCH}/data/{dataset}", place.src)
            warm(place.src)
            for name in STEPS:
                for repeat in range(1 if "first" in name else REPEATS):
                    result = step(name, place, number * REPEATS + repeat)
                    if result:
                        mirrors.keep(case="time", dataset=dataset, delay=delay, step=name, tool=tool, **result)
            mirrors.compare(place)
            wipe(place.root)
        finally:
            server.stop()


def table(dataset, delay, lines):
    """Medians of the steps of one dataset at one latency."""
    print(f"\n{dataset}, {delay} ms each way\n\n| step | program | times | wall s | ratio | to tuned | CPU s | peak MiB | requests | up MB | down MB |\n|---|---|---|---|---|---|---|---|---|---|---|")
    for name in STEPS:
        walls, bounds = {}, {}
        for tool in dict.fromkeys(line["tool"] for line in lines):
            each = [line for line in lines if (line["step"], line["tool"]) == (name, tool)]
            if not each:
                continue
            middle = lambda key: statistics.median(key(line) for line in each)
            walls[tool] = wall = middle(lambda r: r["wall"])
            stopped = any(line.get("stopped") for line in each)
            bounds[tool] = "> " if stopped else ""
            ratio = lambda to: f"{'< ' if bounds[to] and not stopped else ''}{wall / walls[to]:.3f} ×" if to in walls else ""
            print(f"| {name} | {tool} | {len(each)} | {bounds[tool]}{wall:.2f} | {ratio('rclone')} | {ratio('tuned')} | {middle(lambda r: r['cpu']):.2f} | {middle(lambda r: r['rss']):.0f} |"
                  f" {middle(lambda r: r['s3']['requests']):.0f} | {middle(lambda r: r['s3']['up']) / 1e6:.1f} | {middle(lambda r: r['s3']['down']) / 1e6:.1f} |")


def tables():
    with open(f"{BENCH}/mirror.jsonl") as file:
        lines = [line for line in map(json.loads, file) if line.get("case") == "time"]
    for dataset, delay in dict.fromkeys((line["dataset"], line["delay"]) for line in lines):
        table(dataset, delay, [line for line in lines if (line["dataset"], line["delay"]) == (dataset, delay)])


def main():
    if sys.argv[1:] == ["table"]:
        tables()
        return
    dataset, delay, runs, tools = (sys.argv[1:] + ["d1", "0", "3", "rclone,tuned,volvault"][len(sys.argv) - 1:])[:4]
    for number in range(int(runs)):
        one_run(dataset, int(delay), number, tools.split(","))
    tables()


if __name__ == "__main__":
    main()
