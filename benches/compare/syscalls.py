#!/usr/bin/env python3
"""System calls per file: `syscalls.py d4s restic,rustic,borg,bupstash` (strace -f -c; times are not meaningful)."""
import os
import re
import subprocess
import sys
from places import BENCH, Place, wipe
from tools import TOOLS

data = f"{BENCH}/data/{sys.argv[1]}"
files = sum(len(f) for _, _, f in os.walk(data))
for name in sys.argv[2].split(","):
    tool, p = TOOLS[name], Place(name, data); p.new()
    env = {**os.environ, **tool.env(p)}
    for argv, cwd in tool.setup(p):
        subprocess.run(argv, cwd=cwd, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wipe(p.dst); os.makedirs(p.dst)
    for step in ("first", "same", "restore"):
        argv, cwd = tool.restore(p, p.dst) if step == "restore" else tool.backup(p)
        out = f"{BENCH}/logs/strace"
        subprocess.run(["strace", "-f", "-c", "-U", "calls,name", "-o", out, *argv], cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if step != "restore": p.n += 1
        calls = {m[2]: int(m[1]) for m in re.finditer(r"^\s*(\d+) (\w+)$", open(out).read(), re.M) if m[2] != "total"}
        top = sorted(calls.items(), key=lambda x: -x[1])[:14]
        print(f"{name:9} {step:8} {sum(calls.values()) / files:6.1f} calls per file: " + ", ".join(f"{k} {v / files:.2f}" for k, v in top), flush=True)
    wipe(f"{BENCH}/run/{name}")
