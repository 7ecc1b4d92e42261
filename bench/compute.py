"""compute.py - products, attention and training steps beside the peers: writes RESULTS-compute.md.

    bench/compute.py [--quick] [--only WORD,...] [--without COLUMN,...] [--peers-python PATH]
                     [--out FOLDER]

Programs: workloads/steps.py. Times are medians of interleaved turns, as in run.py; the loss of the
first step is compared: a library whose loss differs has no time.
"""

import argparse
import math
import os
import sys

import machine
from peers import FOLDER, PEERS, Peer, environment, interleave, say
from report import time_text
from workloads import steps

COLUMNS = {
    "ferrule": ("ferrule", "compile"),
    "mlx compile": ("mlx", "compile"),
    "jax.jit": ("jax", "compile"),
    "torch eager": ("torch", "eager"),
    "torch.compile": ("torch", "compile"),
    "numpy": ("numpy", "eager"),
}


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
        "| | " + " | ".join(COLUMNS) + " | best peer / ferrule |",
        "| --- |" + " --- |" * (len(COLUMNS) + 1),
    ]
    ratios = []
    for row, step in steps.ALL.items():
        cells = rows.get(row, {})
        ours = cells.get("ferrule", {}).get("median")
        line, best = [step.title], math.inf
        for title in COLUMNS:
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


def measure(row, peers, columns, rounds, seconds):
    """column -> median, first, loss, or failed."""
    found, loaded = {}, {}
    for title in columns:
        library, variant = COLUMNS[title]
        if library == "numpy" and not row.startswith("matmul"):
            continue
        answer = peers[library].ask(do="load", workload=row, variant=variant, shape=[])
        cell = found[title] = {key: answer[key] for key in ("first", "loss") if answer.get(key)}
        loss = found.get("ferrule", {}).get("loss")
        if "error" in answer:
            cell["failed"] = answer["error"]
        elif loss is not None and abs(answer["loss"] - loss) > 1e-3 * abs(loss):
            cell["failed"] = f"a loss of {answer['loss']:g}, ferrule's is {loss:g}"
        else:
            loaded[peers[library], variant] = title
    times, failed = interleave(list(loaded), rounds, seconds)
    for pair, cell in times.items():
        found[loaded[pair]]["median"] = cell["median"]
    for pair, problem in failed.items():
        found[loaded[pair]]["failed"] = problem
    for peer in peers.values():
        peer.ask(do="drop")
    for title, cell in found.items():
        shown = time_text(cell["median"]) if "median" in cell else cell.get("failed")
        say(f"  {row:16} {title:14} {shown}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("FERRULE_BENCH_PYTHON") or sys.executable
    parser.add_argument("--peers-python", default=default, metavar="PATH")
    parser.add_argument("--only", default="", help="rows whose key has one of these words in it")
    parser.add_argument("--without", default="", help="columns to leave out: torch.compile,...")
    parser.add_argument("--quick", action="store_true", help="few repeats")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=FOLDER, metavar="FOLDER")
    options = parser.parse_args()
    threads = machine.use_threads(options.threads)
    only = [word for word in options.only.split(",") if word]
    rounds, seconds = (2, 0.2) if options.quick else (5, 0.5)
    columns = [title for title in COLUMNS if title not in options.without.split(",")]
    peers = {}
    for library in dict.fromkeys(COLUMNS[title][0] for title in columns):
        python = sys.executable if library == "ferrule" else options.peers_python
        own = environment(threads, library == "ferrule", PEERS[library][2])
        peer = Peer(library, library, python, own)
        if peer.missing:
            say(f"{library} is left out: {peer.missing}")
            peer.close()
        else:
            peers[library] = peer
    columns = [title for title in columns if COLUMNS[title][0] in peers]
    rows = {}
    try:
        for row in steps.ALL:
            if not only or any(word in row for word in only):
                rows[row] = measure(row, peers, columns, rounds, seconds)
    finally:
        for peer in peers.values():
            peer.close()
    lines, ratios = table(rows, threads)
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines += ["", f"Geometric mean of best peer / ferrule: {mean:.2f}."]
    with open(os.path.join(options.out, "RESULTS-compute.md"), "w") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
