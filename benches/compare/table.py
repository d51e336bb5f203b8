"""The results so far as a Markdown table: medians, and ratios to the first tool of each group."""

import json
import os
import statistics

from places import BENCH

RESULTS = os.environ.get("RESULTS", f"{BENCH}/results.jsonl")
HEADS = ["case", "data", "store", "step", "tool", "n", "wall s", "min-max", "x", "cpu s", "cpu x", "rss MB", "stored MB", "objects", "added MB",
         "requests", "up MB", "down MB", "server cpu"]


def groups(case, dataset):
    """{(case, dataset, store, step): {tool: [result]}}; of the snapshots of `grow` only every tenth."""
    found = {}
    with open(RESULTS) as f:
        for line in f:
            r = json.loads(line)
            if case and r["case"] != case or dataset and r["dataset"] != dataset:
                continue
            if r["step"].startswith("snap") and not r["step"].endswith("0"):
                continue
            store = r["store"] + (f"/{r['server']}" if r.get("server") else "")
            found.setdefault((r["case"], r["dataset"], store, r["step"]), {}).setdefault(r["tool"], []).append(r)
    return found


def median(results, get, scale=1.0, digits=1):
    values = [v for v in (get(r) for r in results) if v is not None]
    return f"{statistics.median(values) / scale:.{digits}f}" if values else ""


def cells(tool, results, base):
    """The cells of one tool's line; `base` is (wall, cpu) of the first tool."""
    good = [r for r in results if r["rc"] == 0] or results
    walls, cpu = [r["wall"] for r in good], statistics.median(r["cpu"] for r in good)
    wall = statistics.median(walls)
    codes = sorted({r["rc"] for r in results} - {0})
    s3 = lambda key: lambda r: r.get("s3", {}).get(key)
    return [tool + (f" (exit codes {codes})" if codes else ""), str(len(results)), f"{wall:.2f}", f"{min(walls):.2f}-{max(walls):.2f}",
            f"{wall / base[0]:.2f}", f"{cpu:.1f}", f"{cpu / base[1]:.2f}" if base[1] else "", median(good, lambda r: r["rss"], 1, 0),
            median(good, lambda r: r.get("bytes"), 1e6), median(good, lambda r: r.get("objects"), 1, 0), median(good, lambda r: r.get("added"), 1e6),
            median(good, s3("requests"), 1, 0), median(good, s3("up"), 1e6), median(good, s3("down"), 1e6), median(good, lambda r: r.get("server_cpu"))]


def table(case=None, dataset=None):
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS))
    for group, tools in groups(case, dataset).items():
        base = None
        for tool, results in tools.items():
            good = [r for r in results if r["rc"] == 0] or results
            base = base or (statistics.median(r["wall"] for r in good), statistics.median(r["cpu"] for r in good))
            print("| " + " | ".join([*group, *cells(tool, results, base)]) + " |")
