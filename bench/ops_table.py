"""ops_table.py - every operation at 64 B, 64 KiB and 64 MiB beside numpy, jax.jit and torch.

    bench/ops_table.py [--only WORD,...] [--sizes SIZE,...] [--seconds S] [--peers-python PATH]
                       [--minutes M] [--out FILE]

The rows are operations.py's. Each library is a process of its own, stopped while another one
measures; a library that isn't installed is left out. Each cell is the median of turns that alternate. A library that
is far behind the best at its first call has one turn only. Ferrule stands there twice: with the
operation under compile, as jax.jit has it, and evaluated lazily, as numpy and torch do it; the
ratio is the compiled one's to the best of the others. Writes OPS.md, which begins with the ten worst;
reasons-ops.txt may give their reasons, a line `operation size layout | reason` each. Arrays are square, with as many
elements as float32 has in so many bytes; transposed means that the operation reads x.T. Of products of matrices
one stands for all at 64 MiB (the others: compute.py).
"""

import argparse
import json
import math
import os
import statistics
import sys
import time

import machine
import operations
import peers as processes

FOLDER = os.path.dirname(os.path.abspath(__file__))
SIDES = {"64 B": 4, "64 KiB": 128, "64 MiB": 4096}
LIBRARIES = {
    "ferrule": "ferrule",
    "lazy": "ferrule",
    "numpy": "numpy",
    "torch": "torch",
    "jax": "jax",
}
AHEAD = 1.6  # a library so much slower than the best peer has one turn


# ---- in the process of a library ----------------------------------------------------------------


class Library:
    """Loads rows and measures them."""

    def __init__(self, name):
        import numpy

        self.name = LIBRARIES[name]
        self.loaded, self.values = {}, {}
        numpy.seterr(all="ignore")
        getattr(self, "open_" + name)()

    def open_ferrule(self):
        import ferrule.core as mx

        self.scope = {"F": mx}
        self.array = mx.array
        self.brain = lambda values: values.astype(mx.bfloat16)
        self.variants = {"ferrule": mx.compile, "lazy": lambda f: lambda *a: mx.eval(f(*a))}
        self.version = getattr(mx, "__version__", "")
        self.ready = mx.eval

    def open_numpy(self):
        import numpy

        self.scope = {"F": numpy, "added": operations.added, "changed": operations.changed}
        self.array = lambda values: values
        self.variants = {"numpy": lambda f: f}
        self.version = numpy.__version__
        self.ready = lambda values: values

    def open_torch(self):
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        torch.set_grad_enabled(False)
        self.scope = {"F": torch}
        self.array = torch.from_numpy
        self.brain = lambda values: values.to(torch.bfloat16)
        self.variants = {"torch": lambda f: f}
        self.version = torch.__version__
        self.ready = lambda values: values

    def open_jax(self):
        import jax
        import jax.numpy

        jax.config.update("jax_enable_x64", True)
        self.scope = {"F": jax.numpy, "jax": jax}
        self.array = jax.numpy.asarray
        self.brain = lambda values: values.astype(jax.numpy.bfloat16)

        def compiled(function):
            fast = jax.jit(function)
            return lambda *a: jax.block_until_ready(fast(*a))

        self.variants = {"jax": compiled}
        self.version = jax.__version__
        self.ready = jax.block_until_ready

    def operand(self, name, side):
        if self.values.get("side") != side:
            self.values = {"side": side, "numpy": operations.operands(side)}
        if name not in self.values:
            value = self.array(self.values["numpy"][name])
            value = self.brain(value) if name == "g" else value
            self.ready(value)
            self.values[name] = value
        return self.values[name]

    def load(self, row, side, transposed):
        """Seconds of the second call, by variant."""
        self.loaded = {}
        function, names = operations.function(row, self.name, transposed, self.scope)
        if not function:
            return {}
        arguments = [self.operand(name, side) for name in names]
        seconds = {}
        for variant, computing in self.variants.items():
            run = computing(function)
            start = end = time.perf_counter()
            for _ in range(2000):  # until it is machine code
                run(*arguments)
                if variant != "lazy" or end > start + 0.02:
                    break
                end = time.perf_counter()
            start = time.perf_counter()
            result = run(*arguments)
            seconds[variant] = time.perf_counter() - start
            self.loaded[variant] = run, arguments
        del result
        return seconds

    def turn(self, variant, seconds):
        """Seconds of calls, as many as fit."""
        run, arguments = self.loaded[variant]
        clock = time.perf_counter
        start = clock()
        run(*arguments)  # wakes what has slept
        once = clock() - start
        if once > 0.05:
            return [once]
        calls = max(1, int(5e-5 / max(once, 1e-7)))
        end = clock() + seconds
        times = []
        while not times or clock() + once < end:
            start = clock()
            for _ in range(calls):
                run(*arguments)
            times.append((clock() - start) / calls)
        return times


def serve(name):
    answer_to, library = os.fdopen(os.dup(1), "w"), None
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "hello":
                library = Library(name)
                answer = {"version": library.version}
            elif asked["do"] == "load":
                answer = {"seconds": library.load(asked["row"], asked["side"], asked["turned"])}
            else:
                answer = {"times": library.turn(asked["variant"], asked["seconds"])}
        except Exception as error:  # noqa: BLE001
            answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        print(json.dumps(answer), file=answer_to, flush=True)


# ---- in the process that asks ---------------------------------------------------------------------


def measure(peers, row, side, turned, budget, rounds):
    """Variant -> median in microseconds; what a peer can't do is said. At least so many rounds."""
    first, owner = {}, {}
    for key, peer in peers.items():
        answer = peer.ask(do="load", row=row, side=side, turned=turned)
        if "error" in answer:
            print(f"{key}: {row}: {answer['error']}", file=sys.stderr)
        for variant, seconds in answer.get("seconds", {}).items():
            first[variant], owner[variant] = seconds, peer
    if "ferrule" not in first or not set(first) - {"ferrule", "lazy"}:
        return None
    best = min(seconds for variant, seconds in first.items() if owner[variant].key != "ferrule")
    times = {v: [s] if s > max(0.02, AHEAD * best) else [] for v, s in first.items()}
    turn, spent = min(0.004, budget / 5), 0.0
    for number in range(40):
        for variant, peer in owner.items():
            if times[variant] and statistics.median(times[variant]) > AHEAD * best:
                if number or times[variant][0] == first[variant]:
                    continue
            seconds = turn if first[variant] < AHEAD * best or first[variant] < 1e-3 else 0
            start = time.perf_counter()
            answer = peer.ask(do="turn", variant=variant, seconds=seconds)
            spent += time.perf_counter() - start
            times[variant] += answer["times"]
        best = min(
            statistics.median(t) for v, t in times.items() if t and owner[v].key != "ferrule"
        )
        if number >= rounds - 1 and spent > budget * len(first):
            break
    return {variant: 1e6 * statistics.median(t) for variant, t in times.items()}


def table(peers, options):
    results = []
    words = options.only.split(",") if options.only else []
    start = time.monotonic()
    for size, side in SIDES.items():
        if options.sizes and size not in options.sizes.split(","):
            continue
        for row in operations.ROWS:
            if words and not any(word in row for word in words):
                continue
            if size == "64 MiB" and row in operations.CUBIC:
                continue
            for layout in ("contiguous", "transposed"):
                late = time.monotonic() - start > 60 * options.minutes
                budget, rounds = (0, 1) if late else (options.seconds, 3)
                times = measure(peers, row, side, layout == "transposed", budget, rounds)
                if times:
                    results.append((row, size, layout, times))
                    shown = {k: round(v, 2) for k, v in times.items()}
                    print(f"{ratio(results[-1]):5.2f}", row, size, layout, shown, flush=True)
    return results


def best_peer(times):
    return min((t, name) for name, t in times.items() if name not in ("ferrule", "lazy"))


def ratio(result, ours="ferrule"):
    return result[3][ours] / best_peer(result[3])[0]


def read_reasons():
    path = os.path.join(FOLDER, "reasons-ops.txt")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        pairs = (line.split(" | ", 1) for line in file if " | " in line)
        return {key.strip(): reason.strip() for key, reason in pairs}


def summary(results):
    """A line for each size and for all: cells, medians of ratios, how many are at most 1.1."""
    lines = [
        "| size | cells | compiled: geometric mean | at most 1.1 | lazily: geometric mean | at most 1.1 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in (*SIDES, "all"):
        some = [r for r in results if size in (r[1], "all")]
        if not some:
            continue
        line = f"| {size} | {len(some)}"
        for ours in ("ferrule", "lazy"):
            ratios = [ratio(r, ours) for r in some]
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            line += f" | {mean:.2f} | {sum(r <= 1.1 for r in ratios)}"
        lines.append(line + " |")
    return lines


def write(results, versions, threads, path):
    columns = [name for name in LIBRARIES if any(name in r[3] for r in results)]
    reasons = read_reasons()
    lines = [
        "<!-- Made by bench/ops_table.py: run that instead of changing this. -->",
        "# Operations beside " + ", ".join(c for c in columns if c not in ("ferrule", "lazy")),
        "",
        *[f"- {name}: {value}" for name, value in machine.describe(threads).items()],
        "- versions: " + ", ".join(f"{k} {v}" for k, v in versions.items()),
        "",
        "Medians in microseconds; the ratio is that of ferrule (compiled, as jax is) to the best of the",
        "others: below 1 Ferrule is faster. `lazy` builds and evaluates the graph at each call. The rows,",
        "as each library writes them: [operations.py](operations.py).",
        "",
        *summary(results),
        "",
        "## The ten worst",
        "",
        "| operation | size | layout | ferrule | best | ratio | reason |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for r in sorted(results, key=ratio, reverse=True)[:10]:
        time_, peer = best_peer(r[3])
        reason = reasons.get(" ".join(r[:3]), "")
        lines.append(
            f"| {r[0]} | {r[1]} | {r[2]} | {r[3]['ferrule']:.4g} | {time_:.4g} {peer} "
            f"| {ratio(r):.2f} | {reason} |"
        )
    head = " | ".join(["operation", "size", "layout", *columns, "ratio"])
    lines += ["", "## All", "", f"| {head} |", "| --- " * 3 + "| ---: " * (len(columns) + 1) + "|"]
    for r in results:
        cells = [f"{r[3][p]:.4g}" if p in r[3] else "-" for p in columns]
        lines.append(f"| {' | '.join([*r[:3], *cells])} | {ratio(r):.2f} |")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("FERRULE_BENCH_PYTHON") or sys.executable
    parser.add_argument("--peers-python", default=default, metavar="PATH")
    parser.add_argument("--only", help="words; operations that contain one of them")
    parser.add_argument("--sizes", help="of " + ", ".join(SIDES))
    parser.add_argument("--seconds", type=float, default=0.02, help="for each library and cell")
    parser.add_argument("--minutes", type=float, default=8, help="after so many one turn a cell")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=os.path.join(FOLDER, "OPS.md"))
    options = parser.parse_args()
    threads = machine.use_threads(options.threads)
    peers = {}
    for key in dict.fromkeys(LIBRARIES.values()):
        python = sys.executable if key == "ferrule" else options.peers_python
        env = processes.environment(threads, key == "ferrule", processes.PEERS[key][2])
        peer = processes.Peer(key, key, python, env, os.path.abspath(__file__))
        if peer.missing:
            print(f"{key} is left out: {peer.missing}", file=sys.stderr)
            peer.close()
        else:
            peers[key] = peer
    try:
        results = table(peers, options)
    finally:
        for peer in peers.values():
            peer.close()
    if not results:
        sys.exit("nothing was measured")
    versions = {key: peer.version for key, peer in peers.items()}
    write(results, versions, threads, options.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main()
