"""run.py - what `make bench` runs: ferrule beside mlx, jax, torch and numpy, in one run.

    bench/run.py [--quick] [--only WORD,...] [--peers-python PATH] [--out FOLDER]

Writes RESULTS.md and RESULTS.json. What isn't installed is skipped, and said so. Ferrule is
imported by the Python that runs this file; the peers by --peers-python, which is
FERRULE_BENCH_PYTHON by default, else the same Python. requirements.txt installs them.
"""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile

import c_api
import compute
import machine
import report
from peers import (
    FOLDER,
    PEERS,
    TITLES,
    Peer,
    cache_environment,
    environment,
    interleave,
    once,
    say,
    summary,
)
from workloads import LARGE, SMALL, steps

FIRST_CALLS = [pair for pair in TITLES if pair[1] in ("compile", "lazy") and "tuned" not in pair[0]]
PEAK_CALLS = [pair for pair in TITLES if pair[1] != "built in" and pair[0] != "numpy"]
# Row, and whether caches that are off by default are on: empty, filling, from the disk.
FIRST_ROWS = (("first_cold", False), (None, True), ("first_disk", True))


class Run:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.threads = machine.use_threads(options.threads)
        self.notes = []
        self.data = {
            "machine": machine.describe(self.threads),
            "versions": {},
            "shapes": {},
            "rows": {},
            "notes": self.notes,
        }
        self.rounds, self.seconds = (3, 0.1) if options.quick else (7, 0.3)
        self.repeats = 2 if options.quick else 7
        self.peers = {}
        if float(self.data["machine"]["load before the run"]) > 0.3:
            self.note("the machine was not idle when the run began: expect spread")
        if options.quick:
            self.note("a quick run: few repeats")

    def note(self, text):
        say("note: " + text)
        self.notes.append(text)

    def wanted(self, row):
        return not self.options.only or any(word in row for word in self.options.only)

    def put(self, row, column, cell):
        self.data["rows"].setdefault(row, {})[column] = cell
        text = report.value_text(row, cell["median"]) if "median" in cell else str(cell["failed"])
        say(f"  {row:12} {column:16} {text}")

    def python(self, key):
        return sys.executable if key == "ferrule" else self.options.peers_python

    def environment(self, key, extra=None):
        own = PEERS[key][2] if key in PEERS else {}
        return environment(self.threads, key == "ferrule", {**own, **(extra or {})})

    def open_peers(self):
        caches = cache_environment(os.path.join(self.folder, "steady"), False)
        for key, (library, _, _) in PEERS.items():
            peer = Peer(key, library, self.python(key), self.environment(key, caches))
            if peer.missing:
                self.note(f"{key} is left out: {peer.missing}")
                peer.close()
                continue
            self.peers[key] = peer
            self.data["versions"][library] = peer.version
        self.limit = Peer("copy", "limit", sys.executable, environment(self.threads, True))
        if self.limit.missing:
            self.note(f"no copy to compare with: {self.limit.missing}")
        self.c_calls = None
        if "ferrule" in self.peers:
            self.c_calls, problem = c_api.build(self.folder)
            if problem:
                self.note(f"the C calls are left out: {problem}")

    def load(self, row, shape, pairs):
        """Each (peer, variant) with the workload ready and its result checked."""
        loaded = []
        for peer, variant in pairs:
            answer = peer.ask(do="load", workload=row, variant=variant, shape=shape)
            problem = answer.get("error") or answer.get("wrong")
            if problem:
                self.put(row, TITLES[peer.key, variant], {"failed": problem})
            elif "skip" not in answer:
                loaded.append((peer, variant))
        return loaded

    def measure(self, row, loaded, share=1):
        found, failed = interleave(loaded, self.rounds, self.seconds)
        for (peer, variant), cell in found.items():
            if peer is not self.limit:
                self.put(row, TITLES[peer.key, variant], cell)
        for (peer, variant), problem in failed.items():
            self.put(row, TITLES.get((peer.key, variant), "copy"), {"failed": problem})
        copies = [cell for (peer, _), cell in found.items() if peer is self.limit]
        if copies:
            best = min(copies, key=lambda cell: cell["median"])
            scaled = {name: share * best[name] for name in ("median", "min", "max")}
            self.put(row, "copy", {**best, **scaled})

    def large(self):
        for row, workload in LARGE.items():
            if not self.wanted(row):
                continue
            # An input and its result for each peer, and the temporaries of the one that runs.
            shape = machine.fitting(workload.shape, 2 * len(self.peers) + 6)
            self.data["shapes"][row] = shape
            if shape != workload.shape:
                self.note(f"{row}: little memory, so {shape} instead of {workload.shape}")
            pairs = [(self.peers[k], v) for k, v in TITLES if k in self.peers]
            loaded = self.load(row, shape, pairs)
            if not self.limit.missing:
                size = math.prod(shape)
                for variant in self.limit.variants:
                    self.limit.ask(do="load", workload="copy", variant=variant, shape=[size])
                    loaded.append((self.limit, variant))
            # A copy reads and writes; a workload that only reads moves half of that.
            self.measure(row, loaded, (workload.reads + workload.writes) / 2)
            for peer in [*self.peers.values(), self.limit]:
                peer.ask(do="drop")

    def steps(self):
        """What compute.py has; beside it a copy of as many bytes as a row must move."""
        columns = [title for title, pair in compute.COLUMNS.items() if pair[0] in self.peers]
        peers = {
            compute.COLUMNS[title][0]: self.peers[compute.COLUMNS[title][0]] for title in columns
        }
        for row, step in steps.ALL.items():
            if not self.wanted(row):
                continue
            copies = []
            if step.moves and not self.limit.missing:
                for variant in self.limit.variants:
                    size = [step.moves // 2]
                    self.limit.ask(do="load", workload="copy", variant=variant, shape=size)
                    copies.append((self.limit, variant))
            found = compute.measure(row, peers, columns, self.rounds, self.seconds, copies)
            self.data["rows"][row] = {
                c: f for c, f in found.items() if "median" in f or "failed" in f
            }
            if copies:
                self.limit.ask(do="drop")
        if any(self.wanted(row) for row in steps.ALL) and not self.limit.missing:
            answer = self.limit.ask(do="peak")
            self.data["peak"] = answer.get("peak")
            if "error" in answer:
                self.note(f"no peak to compare with: {answer['error']}")

    def small(self):
        for row, workload in SMALL.items():
            if not self.wanted(row):
                continue
            pairs = [(self.peers[k], v) for k, v in TITLES if k in self.peers]
            if row == "add_64":
                # Not a program to compile: one column a library, the plainest.
                plain = {"ferrule": "lazy", "jax": "compile"}
                pairs = [
                    (p, v)
                    for p, v in pairs
                    if v == plain.get(p.key, "eager") and p.key != "jax tuned"
                ]
            self.measure(row, self.load(row, workload.shape, pairs))
        if self.c_calls and any(self.wanted(row) for row in SMALL):
            times = {row: [] for row in SMALL}
            for _ in range(self.rounds):
                answer = c_api.run(self.c_calls, self.environment("ferrule"), "small")
                if "error" in answer:
                    self.note(f"the C calls failed: {answer['error']}")
                    return
                for row in SMALL:
                    times[row] += answer[row]
            for row in SMALL:
                self.put(row, "ferrule C", summary(times[row]))

    def first_calls(self):
        if not self.wanted("first"):
            return
        rows = {"first_cold": {}, "first_disk": {}}
        pairs = [pair for pair in FIRST_CALLS if pair[0] in self.peers]
        folder = os.path.join(self.folder, "first")
        for number in range(self.repeats):
            for key, variant in pairs:
                # torch.compile takes seconds for it.
                if key == "torch" and number >= 3:
                    continue
                for row, persistent in FIRST_ROWS:
                    extra = cache_environment(folder, persistent)
                    answer = self.once(key, extra, "first", PEERS[key][0], variant)
                    if row:
                        rows[row].setdefault((key, variant), []).append(answer)
                shutil.rmtree(folder, ignore_errors=True)
            for row, _ in FIRST_ROWS if self.c_calls else ():
                env = self.environment("ferrule", cache_environment(folder, False))
                answer = c_api.run(self.c_calls, env, "first", "compile")
                if row:
                    rows[row].setdefault("ferrule C", []).append(answer)
            shutil.rmtree(folder, ignore_errors=True)
        for row, cells in rows.items():
            for pair, answers in cells.items():
                self.put_answers(row, TITLES.get(pair, pair), answers, "seconds")

    def imports(self):
        if not self.wanted("import"):
            return
        answers = {}
        for number in range(self.repeats + 1):
            for key in self.peers:
                if key == "jax tuned":
                    continue
                answer = self.once(key, None, "import", PEERS[key][1])
                if number:  # the first one reads the files
                    answers.setdefault(key, []).append(answer)
        for key, found in answers.items():
            self.put_answers("import", key, found, "seconds")
            self.put_answers("import_bytes", key, found, "process_bytes")

    def peak(self):
        if not self.wanted("peak"):
            return
        shape = machine.fitting(LARGE["gelu_erf"].shape, 8)
        for key, variant in PEAK_CALLS:
            if key not in self.peers or key == "jax tuned":
                continue
            size = str(math.prod(shape))
            answer = self.once(key, None, "peak", PEERS[key][0], variant, size)
            self.put_answers("peak", TITLES[key, variant], [answer], "bytes")
            if "allocator_bytes" in answer:
                used = report.value_text("peak", answer["allocator_bytes"])
                self.note(f"peak by the own count of {key} {variant}: {used}")
        self.data["rows"]["peak"]["input + output"] = summary([8 * math.prod(shape)])

    def once(self, key, extra, *arguments):
        return once(self.python(key), self.environment(key, extra), *arguments)

    def put_answers(self, row, column, answers, field):
        values = [answer[field] for answer in answers if field in answer]
        problems = [a.get("error") or a.get("missing") for a in answers if field not in a]
        self.put(row, column, summary(values) if values else {"failed": problems[0]})

    def write(self):
        self.data["goals"] = report.judge(self.data)
        os.makedirs(self.options.out, exist_ok=True)
        for name, text in (
            ("RESULTS.md", report.markdown(self.data)),
            ("RESULTS.json", json.dumps(self.data, indent=1) + "\n"),
        ):
            with open(os.path.join(self.options.out, name), "w") as file:
                file.write(text)
        print("\n".join(report.goals_table(self.data)))
        print(f"\nwritten: {os.path.join(self.options.out, 'RESULTS.md')}")

    def close(self):
        for peer in [*self.peers.values(), getattr(self, "limit", None)]:
            if peer:
                peer.close()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("FERRULE_BENCH_PYTHON") or sys.executable
    parser.add_argument("--peers-python", default=default, metavar="PATH")
    parser.add_argument("--only", default="", help="rows whose key has one of these words in it")
    parser.add_argument("--quick", action="store_true", help="few repeats")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=FOLDER, metavar="FOLDER")
    options = parser.parse_args()
    options.only = [word for word in options.only.split(",") if word]
    return options


def main():
    options = parse()
    with tempfile.TemporaryDirectory(prefix="ferrule-bench-") as folder:
        run = Run(options, folder)
        try:
            run.open_peers()
            run.imports()
            run.small()
            run.large()
            run.steps()
            run.first_calls()
            run.peak()
        finally:
            run.close()
        run.write()


if __name__ == "__main__":
    main()
