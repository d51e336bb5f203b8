#!/usr/bin/env python3
"""What a pod of VolSync costs that finds nothing changed: one process of ours against the processes of VolSync's script for restic.

  pod.py [FILES] [MS] [RUNS] [KEPT]        by default 10,000 files, 20 ms one way, 3 runs, 30 snapshots that are kept

Each run starts as a pod does, without a cache; ours has a raw key, restic its password. The actions are `backup` (cat config, backup, forget) and
`backup prune` (and prune). The server is the Versity gateway on a directory, behind s3proxy, which counts. Prints medians, and the bars of the project:
a quarter of restic's time, 12 requests, 64 MiB. Every run is a line of $BENCH/pod.jsonl; exit code 1 when a bar is missed.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time

from places import BENCH, PEERS, TOP, wipe
from server import S3

OURS = os.environ.get("VOLVAULT", f"{os.environ.get('CARGO_TARGET_DIR', TOP + '/target')}/release/volvault")
RESTIC = next((path for path in (f"{PEERS}/deb/usr/bin/restic", shutil.which("restic")) if path and os.path.exists(path)), "restic")
KEY = "key32:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ACTIONS = (["backup"], ["backup", "prune"])
WORK = f"{BENCH}/run/pod"


def volume(files):
    """A volume of small files, a hundred in each directory, the same each time."""
    for n in range(files):
        directory = f"{WORK}/data/{n // 100:04}"
        if n % 100 == 0:
            os.makedirs(directory)
        with open(f"{directory}/{n % 100:02}.txt", "wb") as file:
            file.write((b"%d\n" % n) * (n * 7919 % 500 + 1))


def environment(program, url, kept):
    """What VolSync hands to its mover, and what keeps a program from looking elsewhere."""
    common = {"PATH": os.environ["PATH"], "FORGET_OPTIONS": f"--keep-last {kept}", "RESTIC_REPOSITORY": f"s3:{url}/bench/{program}", "RESTIC_PROGRESS_FPS": "0.1"}
    own = {"DATA_DIR": f"{WORK}/data", "RESTIC_PASSWORD": KEY} if program == "volvault" else {"RESTIC_PASSWORD": "a password", "RESTIC_CACHE_DIR": f"{WORK}/cache"}
    return {**common, **own}


def commands(program, actions, kept):
    """The processes of a pod, in their order."""
    if program == "volvault":
        return [[OURS, "mover", "restic", *actions]]
    steps = {"backup": [["cat", "config"], ["backup", "--host", "volsync", "--exclude=lost+found", "."], ["forget", "--host", "volsync", "--keep-last", str(kept)]], "prune": [["prune"]]}
    return [[RESTIC, *step] for action in actions for step in steps[action]]


def pod(program, actions, url, kept):
    """One pod; wall time of all its processes, and the largest of them."""
    wipe(f"{WORK}/cache")
    os.makedirs(f"{WORK}/cache")
    peak, start = 0, time.perf_counter()
    for argv in commands(program, actions, kept):
        stats = f"{WORK}/time"
        done = subprocess.run(["/usr/bin/time", "-q", "-o", stats, "-f", "%M", *argv], cwd=f"{WORK}/data", env={**environment(program, url, kept), **SERVER.env()},
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{argv}: exit code {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
        with open(stats) as file:
            peak = max(peak, int(file.read()) / 1024)
    return {"wall": time.perf_counter() - start, "peak": peak}


def prepare(program, kept):
    """A repository with as many snapshots as are kept; the server is asked directly, without the delay."""
    direct = "http://127.0.0.1:9000"
    if program == "restic":
        subprocess.run([RESTIC, "init"], env={**environment(program, direct, kept), **SERVER.env()}, capture_output=True, check=True)
    for _ in range(kept):
        pod(program, ["backup"], direct, kept)


def measure(delay, runs, kept):
    lines = []
    for program in ("volvault", "restic"):
        prepare(program, kept)
    for number in range(runs):
        for actions in ACTIONS:
            for program in ("volvault", "restic") if number % 2 == 0 else ("restic", "volvault"):
                SERVER.stats()
                found = pod(program, actions, SERVER.url, kept)
                time.sleep(0.2)
                line = {"program": program, "actions": " ".join(actions), "delay": delay, "kept": kept, "requests": SERVER.stats()["requests"], **found}
                lines.append(line)
                with open(f"{BENCH}/pod.jsonl", "a") as file:
                    file.write(json.dumps(line) + "\n")
    return lines


def judge(lines):
    """The table; whether the bars are kept."""
    middle = lambda program, actions, what: statistics.median(line[what] for line in lines if (line["program"], line["actions"]) == (program, actions))
    print("| actions | program | wall s | ratio | requests | peak MiB |\n|---|---|---|---|---|---|")
    good = True
    for actions in map(" ".join, ACTIONS):
        for program in ("volvault", "restic"):
            wall, requests, peak = (middle(program, actions, what) for what in ("wall", "requests", "peak"))
            ratio = wall / middle("restic", actions, "wall")
            print(f"| {actions} | {program} | {wall:.2f} | {ratio:.3f} × | {requests:.0f} | {peak:.0f} |")
            if program == "volvault":
                good &= ratio <= 0.25 and peak <= 64 and (requests <= 12 or actions != "backup")
    return good


if __name__ == "__main__":
    FILES, DELAY, RUNS, KEPT = (int(word) for word in (sys.argv[1:] + ["10000", "20", "3", "30"][len(sys.argv) - 1:])[:4])
    wipe(WORK)
    os.makedirs(f"{BENCH}/logs", exist_ok=True)
    volume(FILES)
    SERVER = S3("versity", DELAY)
    try:
        FOUND = measure(DELAY, RUNS, KEPT)
    finally:
        SERVER.stop()
        wipe(WORK)
    sys.exit(0 if judge(FOUND) else 1)
