"""compute.py - products, attention and training steps beside the peers: writes RESULTS-compute.md.

    bench/compute.py [--quick] [--only WORD,...] [--without COLUMN,...] [--peers-python PATH] [--out FOLDER]
    bench/compute.py worker LIBRARY VARIANT

Each library and variant runs in a process of its own, one after the other in rounds; only the one
that is asked runs. Times are medians over all rounds; the loss of the first step is compared.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time

import machine
from peers import FOLDER, PEERS, environment, say
from workloads import steps

PAIRS = [
    ("ferrule", "compile"),
    ("mlx", "compile"),
    ("jax", "compile"),
    ("torch", "eager"),
    ("torch", "compile"),
    ("numpy", "eager"),
]
TITLES = ["ferrule", "mlx compile", "jax.jit", "torch eager", "torch.compile", "numpy"]
SLOW = {"mlx": ("mlp_step", "cnn_step", "lm_step", "matmul_2048")}  # seconds a step


# --- a worker ---------------------------------------------------------------------------------


class Worker:
    def __init__(self, library, variant):
        self.A = __import__("workloads." + library, fromlist=["adapter"]).adapter(variant)
        self.made = steps.make(self.A)
        self.row, self.call = None, None

    def ask(self, row, seconds):
        A = self.A
        answer = {}
        if row != self.row:
            program, arguments, n = self.made[row]()
            run = A.wrap(program)
            self.state = arguments

            def call():
                results = run(*self.state)
                A.wait(results)
                if n:
                    self.state = [*results[:n], *self.state[n:]]
                return results

            start = time.perf_counter()
            results = call()
            answer["first"] = time.perf_counter() - start
            if n:
                answer["loss"] = float(results[-1])
            self.row, self.call = row, call
            for _ in range(2):
                call()
        once = time.perf_counter()
        self.call()
        once = time.perf_counter() - once
        many = max(1, int(0.002 / once)) if once < 0.002 else 1
        times, end = [], time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(many):
                self.call()
            times.append((time.perf_counter() - start) / many)
        return {**answer, "times": times}


def serve(library, variant):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        row, seconds = json.loads(line)
        try:
            worker = worker or Worker(library, variant)
            answer = worker.ask(row, seconds)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


# --- the run ----------------------------------------------------------------------------------


class Process:
    def __init__(self, library, variant, python, threads):
        env = environment(threads, library == "ferrule", PEERS[library][2])
        self.process = subprocess.Popen(
            [python, os.path.abspath(__file__), "worker", library, variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            text=True,
        )

    def ask(self, row, seconds):
        try:
            self.process.stdin.write(json.dumps([row, seconds]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"failed": "the process ended"}

    def close(self):
        self.process.kill()
        self.process.wait()


def time_text(seconds):
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def table(rows, threads):
    facts = machine.describe(threads)
    lines = [
        "# Computed: products, attention, training steps",
        "",
        "Written by `bench/compute.py`; programs in `bench/workloads/steps.py`, the same in every library.",
        "Medians; in brackets the ratio to ferrule's time, above 1 where ferrule is faster.",
        "",
        *[f"- {name}: {value}" for name, value in facts.items()],
        "",
        "| | " + " | ".join(TITLES) + " | best peer / ferrule |",
        "| --- |" + " --- |" * (len(TITLES) + 1),
    ]
    ratios = []
    for row, step in steps.ALL.items():
        cells = rows.get(row, {})
        ours = cells.get("ferrule", {}).get("median")
        line, best = [step.title], math.inf
        for title in TITLES:
            cell = cells.get(title, {})
            if "median" not in cell:
                line.append("-" if not cell.get("failed") else "failed")
                continue
            text = time_text(cell["median"])
            if title != "ferrule":
                best = min(best, cell["median"])
                text += f" ({cell['median'] / ours:.2f})" if ours else ""
            elif step.flops:
                text += f", {step.flops / cell['median'] * 1e-9:.0f} GF/s"
            line.append(text)
        known = ours and best < math.inf
        line.append(f"{best / ours:.2f}" if known else "-")
        if known:
            ratios.append(best / ours)
        lines.append("| " + " | ".join(line) + " |")
    first = [
        f"- {steps.ALL[row].title}: "
        + ", ".join(
            f"{title} {cell['first']:.2f} s" for title, cell in cells.items() if "first" in cell
        )
        for row, cells in rows.items()
        if "step" in row
    ]
    lines += ["", "First calls (compilation and the first step):", "", *first]
    failed = [
        f"- {row}, {title}: {cell['failed']}"
        for row, cells in rows.items()
        for title, cell in cells.items()
        if cell.get("failed")
    ]
    if failed:
        lines += ["", "Failed:", "", *failed]
    return lines, ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("FERRULE_BENCH_PYTHON") or sys.executable
    parser.add_argument("--peers-python", default=default, metavar="PATH")
    parser.add_argument("--only", default="")
    parser.add_argument("--without", default="", help="columns to leave out: torch.compile,...")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=FOLDER)
    options = parser.parse_args()
    threads = machine.use_threads(options.threads)
    only = [word for word in options.only.split(",") if word]
    rounds, seconds = (2, 0.2) if options.quick else (5, 0.5)
    rows = {}
    for row in steps.ALL:
        if only and not any(word in row for word in only):
            continue
        found = {}
        processes = []
        for (library, variant), title in zip(PAIRS, TITLES):
            if library == "numpy" and not row.startswith("matmul"):
                continue
            if title in options.without.split(","):
                continue
            python = sys.executable if library == "ferrule" else options.peers_python
            processes.append((title, library, Process(library, variant, python, threads)))
        for number in range(rounds):
            for title, library, process in processes:
                cell = found.setdefault(title, {"times": []})
                if cell.get("failed") or (number and row in SLOW.get(library, ())):
                    continue
                answer = process.ask(row, seconds)
                if "failed" in answer:
                    cell["failed"] = answer["failed"]
                    continue
                cell["times"] += answer.pop("times")
                cell.update(answer)
        for _, _, process in processes:
            process.close()
        for title, cell in found.items():
            times = cell.pop("times")
            if times:
                cell["median"] = statistics.median(times)
            loss = found.get("ferrule", {}).get("loss")
            if loss is not None and "loss" in cell and abs(cell["loss"] - loss) > 1e-3 * abs(loss):
                cell["failed"] = f"a loss of {cell['loss']:g}, ferrule's is {loss:g}"
                cell.pop("median", None)
            shown = time_text(cell["median"]) if "median" in cell else cell.get("failed")
            say(f"  {row:16} {title:14} {shown}")
        rows[row] = found
    lines, ratios = table(rows, threads)
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines += ["", f"Geometric mean of best peer / ferrule: {mean:.2f}."]
    with open(os.path.join(options.out, "RESULTS-compute.md"), "w") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serve(*sys.argv[2:])
    else:
        main()
