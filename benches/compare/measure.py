#!/usr/bin/env python3
"""Runs a named case for named tools, several times, interleaved; prints each run, and medians with ratios.

  measure.py flow d1 --tools restic,volvault --steps first,same,cold,restore --runs 3
  measure.py flow d4 --tools restic,volvault --store s3:20        # S3 with 20 ms each way
  measure.py grow d1 --tools restic,volvault                      # 30 snapshots, 5 % of the files rewritten between them
  measure.py table [CASE] [DATASET]                               # all results so far

Steps of `flow`:  first (backup to a new repository), same (nothing changed), cold (nothing changed,
empty cache), incr (the dataset changed in place to its `b` variant), restore (to an empty directory),
inplace (over a tree with 1% of its files changed), check (read all data), ls (list the snapshots).

Every result is a line in $BENCH/results.jsonl. cpu and rss are of the tool's own processes
(/usr/bin/time: rss is the largest process); server cpu, requests and bytes come from the S3 server's
/proc entry and from s3proxy. The page cache is warm: sources are read once before the first run.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time

from places import BENCH, HERE, Place, wipe
from server import S3
from table import RESULTS, table
from tools import TOOLS

TIMEOUT = float(os.environ.get("CASE_TIMEOUT", 1200))


# ---------------------------------------------------------------- one timed command

def environment(tool, place):
    return {**os.environ, **(place.s3.env() if place.s3 else {}), **TOOLS[tool].env(place)}


def execute(tool, place, command, limit=TIMEOUT):
    """Runs one command, for at most `limit` seconds; returns wall, cpu, rss and what the S3 side saw."""
    argv, cwd = command
    out, stats = f"{BENCH}/logs/last-{tool}.log", f"{BENCH}/logs/time-{tool}"
    os.sync()
    if place.s3:
        place.s3.stats()
        cpu0 = place.s3.cpu()
    if os.path.exists(stats):
        os.remove(stats)
    start = time.perf_counter()
    with open(out, "wb") as f:
        p = subprocess.Popen(["/usr/bin/time", "-q", "-o", stats, "-f", "%U %S %M %O", *argv], cwd=cwd, env=environment(tool, place),
                             stdout=f, stderr=f, stdin=subprocess.DEVNULL, start_new_session=True)
        timer = threading.Timer(limit, os.killpg, (p.pid, signal.SIGTERM))   # wait(timeout) would poll, 50 ms
        timer.start()
        rc = p.wait()
        timer.cancel()
    wall = time.perf_counter() - start
    r = dict(wall=wall, rc=rc, **times(stats))
    if place.s3:
        time.sleep(0.2)
        r["s3"], cpu1 = place.s3.stats(), place.s3.cpu()
        r["server_cpu"], r["proxy_cpu"] = cpu1[0] - cpu0[0], cpu1[1] - cpu0[1]
    if rc:
        print(f"   !! {tool} rc={rc}: {open(out, errors='replace').read()[-300:]!r}", file=sys.stderr)
    return r


def times(path):
    try:
        with open(path) as f:
            user, system, rss, _ = (float(x) for x in f.read().split())
    except (OSError, ValueError):                # killed by the timeout
        user = system = rss = 0.0
    return dict(cpu=user + system, user=user, sys=system, rss=rss / 1024)


def record(args, tool, step, run, result):
    server = args.server if args.store != "dir" else ""
    line = dict(case=args.case, dataset=args.dataset, store=args.store, server=server, step=step, tool=tool, run=run,
                time=time.strftime("%H:%M:%S"), **result)
    with open(RESULTS, "a") as f:
        f.write(json.dumps(line) + "\n")
    text = f"  {run} {step:8} {tool:12} {result['wall']:8.2f}s cpu {result['cpu']:7.2f}s rss {result['rss']:6.0f}M"
    if "bytes" in result:
        text += f" repo {result['bytes'] / 1e6:.1f}MB {result['objects']} obj added {result['added'] / 1e6:.1f}MB"
    if "s3" in result:
        s3 = result["s3"]
        text += f" requests {s3['requests']} up {s3['up'] / 1e6:.1f}MB down {s3['down'] / 1e6:.1f}MB"
    print(text, flush=True)


# ---------------------------------------------------------------- cases

def warm(path):
    subprocess.run(f"find {path} -type f -print0 | xargs -0 cat > /dev/null", shell=True, check=True)


def rsync(a, b):
    os.makedirs(b, exist_ok=True)
    subprocess.run(["rsync", "-a", "--inplace", "--delete", a + "/", b + "/"], check=True)


def churn(path, percent, seed):
    subprocess.run([sys.executable, f"{HERE}/gen.py", "churn", path, str(percent), str(seed)], check=True)


def set_up(tool, place):
    place.new()
    for argv, cwd in TOOLS[tool].setup(place):
        subprocess.run(argv, cwd=cwd, env=environment(tool, place), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def backup(tool, place):
    """One timed backup, with what it added."""
    before = place.size()
    r = execute(tool, place, TOOLS[tool].backup(place))
    place.n += 1
    r["bytes"], r["objects"] = place.size()
    r["added"], r["added_objects"] = r["bytes"] - before[0], r["objects"] - before[1]
    return r


def step_of_flow(step, tool, place, run):
    """The result of one step, or None when the tool has no such command."""
    if step in ("first", "same", "cold", "incr"):
        if step == "first":
            set_up(tool, place)
        if step == "cold":
            wipe(place.cache)
            os.makedirs(place.cache)
        return backup(tool, place)
    method = getattr(TOOLS[tool], step, None)
    if method is None:
        return None
    if step == "restore":
        wipe(place.dst)
        os.makedirs(place.dst)
    if step == "inplace":
        churn(place.dst, 1, 1000 + run)
    return execute(tool, place, method(place, place.dst) if step in ("restore", "inplace") else method(place))


def flow(args, tools, s3):
    data, steps = f"{BENCH}/data/{args.dataset}", args.steps.split(",")
    src = data
    if "incr" in steps:
        src = f"{BENCH}/run/changing/{args.dataset}"
        rsync(data, src)
    warm(src)
    places = {t: Place(t, src, s3) for t in tools}
    last_restore = [s for s in steps if s in ("restore", "inplace")][-1:]
    for run in range(args.runs):
        order = tools[run % len(tools):] + tools[:run % len(tools)]
        for step in steps:
            if step == "incr":
                rsync(data + "b", src)
                warm(src)
            for t in order:
                r = step_of_flow(step, t, places[t], run)
                if r is None:
                    continue
                if step in ("restore", "inplace") and args.verify and run == 0:
                    r["verified"] = verified(src, places[t].dst)
                record(args, t, step, run, r)
                if [step] == last_restore:
                    wipe(places[t].dst)
        if "incr" in steps:
            rsync(data, src)
    wipe(*(f"{BENCH}/run/{t}" for t in tools), f"{BENCH}/run/changing/{args.dataset}")


def verified(src, dst):
    d = subprocess.run(["diff", "-rq", "--no-dereference", src, dst], capture_output=True, text=True)
    if d.returncode:
        print("   !! restored tree differs:", d.stdout[:300], file=sys.stderr)
    return d.returncode == 0


def grow(args, tools, s3):
    """Snapshots with 5% of the files rewritten between them; then, where the tool can, forget all but 5 and prune."""
    data, work = f"{BENCH}/data/{args.dataset}", f"{BENCH}/run/changing/{args.dataset}"
    rsync(data, work)
    places = {t: Place(t, work, s3) for t in tools}
    for t in tools:
        set_up(t, places[t])
    for n in range(args.snapshots):
        if n:
            churn(work, 5, 500 + n)
        for t in tools:
            record(args, t, f"snap{n + 1:02d}", 0, backup(t, places[t]))
    for t in tools:
        if hasattr(TOOLS[t], "prune"):
            before = places[t].size()
            r = execute(t, places[t], TOOLS[t].prune(places[t]))
            r["bytes"], r["objects"] = places[t].size()
            r["added"] = r["bytes"] - before[0]
            record(args, t, "prune", 0, r)
    wipe(*(f"{BENCH}/run/{t}" for t in tools), work)


def main():
    if sys.argv[1:2] == ["table"]:
        table(*sys.argv[2:])
        return
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("case", choices=["flow", "grow"])
    a.add_argument("dataset")
    a.add_argument("--tools", default="restic,volvault")
    a.add_argument("--steps", default="first,same,cold,restore")
    a.add_argument("--runs", type=int, default=3)
    a.add_argument("--store", default="dir", help="dir, s3:0 or s3:20 (ms one way)")
    a.add_argument("--server", default="garage", choices=["garage", "rclone", "s3s"])
    a.add_argument("--snapshots", type=int, default=30)
    a.add_argument("--verify", action="store_true", help="compare the first restored tree with the source")
    args = a.parse_args()
    for d in ("logs", "run"):
        os.makedirs(f"{BENCH}/{d}", exist_ok=True)
    s3 = S3(args.server, int(args.store.split(":")[1])) if args.store.startswith("s3") else None
    try:
        {"flow": flow, "grow": grow}[args.case](args, [t for t in args.tools.split(",") if TOOLS[t].s3 or not s3], s3)
    finally:
        if s3:
            s3.stop()


if __name__ == "__main__":
    main()
