"""pool.py - what the thread pool costs: writes RESULTS-pool.md.

    bench/pool.py [--out FOLDER]

Runs build/release/bench/pool five times (FERRULE_BUILD names another folder); medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import machine
from report import time_text

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("FERRULE_BUILD", ROOT / "build/release")) / "bench/pool"
ROWS = [
    (
        "barrier",
        "a job handed to all threads, who wait for each other, and waited for; right after another one",
        "2 us",
    ),
    ("woken", "the same when the threads have gone to sleep", ""),
    ("idle", "processor time of the process in the 20 ms after a job", "50 us a thread"),
    ("alone", "a job with FERRULE_NUM_THREADS=1: what the call of the pool costs", ""),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(" - ")[2].partition(":")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="folder of the page")
    options = parser.parse_args()
    if not PROGRAM.exists():
        sys.exit(f"pool.py: {PROGRAM} is not there: make build")
    runs = []
    for _ in range(5):
        text = subprocess.run([PROGRAM], check=True, stdout=subprocess.PIPE, text=True).stdout
        runs.append(dict(line.split("\t") for line in text.splitlines()))
    threads = int(runs[0]["threads"])
    lines = [
        "# The thread pool",
        "",
        "Written by `bench/pool.py`; medians of jobs in which the threads only meet, and of five runs.",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in machine.describe(threads).items()]
    lines += ["", "| | | at most |", "| --- | --- | --- |"]
    for name, what, goal in ROWS:
        ns = statistics.median(float(run[name]) for run in runs)
        lines.append(f"| {what} | {time_text(ns * 1e-9)} | {goal} |")
    page = options.out / "RESULTS-pool.md"
    page.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
