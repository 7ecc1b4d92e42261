"""memory.py - peak memory of the programs of compute.py beside the peers: writes RESULTS-memory.md.

    bench/memory.py [--only WORD,...] [--peers-python PATH] [--out FOLDER]

Each figure comes from a process of its own that makes a program's data, calls it twice, and then three
times more: what it has at once then. Training steps are measured in two ways: as functions, from
parameters and moments to new ones, and with captured (in jax: donated) state, which may be updated in
place.
"""

import argparse
import os
import sys
import tempfile

import machine
from peers import FOLDER, PEERS, cache_environment, environment, once, say
from workloads import steps

COLUMNS = {
    "ferrule": ("ferrule", "compile"),
    "mlx compile": ("mlx", "compile"),
    "jax.jit": ("jax", "compile"),
    "torch eager": ("torch", "eager"),
}
WAYS = {"function": "", "state": ", state in place"}


def measure(row, way, options, threads):
    found = {}
    for title, (library, variant) in COLUMNS.items():
        if way == "state" and library == "torch":
            continue
        ours = library == "ferrule"
        with tempfile.TemporaryDirectory() as folder:
            own = environment(threads, ours, PEERS[library][2]) | cache_environment(folder, False)
            python = sys.executable if ours else options.peers_python
            found[title] = once(python, own, "step", library, variant, row, way)
            if ours:  # again: no compiler has been in this process
                found[title] = once(python, own, "step", library, variant, row, way)
        say(f"  {row:16} {way:9} {title:14} {found[title]}")
    return found


def text_of(size):
    return f"{size / 1e6:.1f}" if size is not None else "-"


def table(rows, key):
    lines = [
        "| | " + " | ".join(COLUMNS) + " | least peer / ferrule |",
        "| --- |" + " --- |" * (len(COLUMNS) + 1),
    ]
    for (row, way), cells in rows.items():
        sizes = {title: cells.get(title, {}).get(key) for title in COLUMNS}
        ours = sizes["ferrule"]
        peers = [size for title, size in sizes.items() if size and title != "ferrule"]
        ratio = f"{min(peers) / ours:.2f}" if ours and peers else "-"
        line = [steps.ALL[row].title + WAYS[way], *map(text_of, sizes.values()), ratio]
        lines.append("| " + " | ".join(line) + " |")
    return lines


def report(rows, threads):
    facts = machine.describe(threads)
    lines = [
        "# Peak memory",
        "",
        "Written by `bench/memory.py`; programs in `bench/workloads/steps.py`, the same in every library.",
        "Megabytes (10^6). The last column is above 1 where ferrule has the least.",
        "",
        *[f"- {name}: {value}" for name, value in facts.items()],
        "",
        "As the library tells it: the allocator's peak (ferrule, mlx), or the plan of the program:",
        "arguments, results and temporaries, less what is donated (jax). torch doesn't tell on a CPU.",
        "",
        *table(rows, "told_bytes"),
        "",
        "What the process has more at its peak than before the data was made: code, threads' stacks",
        "and working space, and what the library's allocator and compiler keep, too.",
        "",
        *table(rows, "bytes"),
        "",
        "Ferrule's products of matrices pack what each thread works on: that is what they have beyond",
        "their operands and result, and the linear layer and the MLP too. XLA's plan doesn't count what",
        "its routines take while they run.",
    ]
    failed = [
        f"- {row} ({way}), {title}: {cell.get('error') or cell.get('missing')}"
        for (row, way), cells in rows.items()
        for title, cell in cells.items()
        if "bytes" not in cell
    ]
    return lines + (["", "Failed:", "", *failed] if failed else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("FERRULE_BENCH_PYTHON") or sys.executable
    parser.add_argument("--peers-python", default=default, metavar="PATH")
    parser.add_argument("--only", default="", help="rows whose key has one of these words in it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=FOLDER, metavar="FOLDER")
    options = parser.parse_args()
    threads = machine.use_threads(options.threads)
    only = [word for word in options.only.split(",") if word]
    rows = {}
    for row in steps.ALL:
        if only and not any(word in row for word in only):
            continue
        for way in WAYS if row.endswith("_step") else ["function"]:
            rows[row, way] = measure(row, way, options, threads)
    lines = report(rows, threads)
    with open(os.path.join(options.out, "RESULTS-memory.md"), "w") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
