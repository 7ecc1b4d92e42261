"""compute.py - the programs of workloads/steps.py beside the peers: products, attention, gradients,
training steps. run.py has them in its page; by itself it prints a table of some of them:

    bench/compute.py [--quick] [--only WORD,...] [--without COLUMN,...] [--peers-python PATH]

Times are medians of interleaved turns, as in run.py; the loss of the first step is compared: a library
whose loss differs has no time.
"""

import argparse
import os
import sys

import machine
from peers import PEERS, Peer, environment, interleave, say
from report import time_text
from workloads import steps

COLUMNS = {
    "ferrule compile": ("ferrule", "compile"),
    "mlx compile": ("mlx", "compile"),
    "jax.jit": ("jax", "compile"),
    "torch eager": ("torch", "eager"),
    "torch.compile": ("torch", "compile"),
    "numpy": ("numpy", "eager"),
}
OURS = "ferrule compile"


def table(rows):
    lines = ["| | " + " | ".join(COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for row, cells in rows.items():
        ours = cells.get(OURS, {}).get("median")
        line = [steps.ALL[row].title]
        for title in COLUMNS:
            cell = cells.get(title, {})
            text = time_text(cell["median"]) if "median" in cell else cell.get("failed") or "-"
            if "median" in cell and ours and title != OURS:
                text += f" ({cell['median'] / ours:.2f})"
            line.append(text)
        lines.append("| " + " | ".join(line) + " |")
    return lines


def measure(row, peers, columns, rounds, seconds, beside=()):
    """column -> its summary, first, loss, or failed. `beside` are copies that take turns with them."""
    found, loaded = {}, {}
    for title in columns:
        library, variant = COLUMNS[title]
        if library == "numpy" and row not in steps.NUMPY:
            continue
        answer = peers[library].ask(do="load", workload=row, variant=variant, shape=[])
        cell = found[title] = {key: answer[key] for key in ("first", "loss") if answer.get(key)}
        loss = found.get(OURS, {}).get("loss")
        if "error" in answer:
            cell["failed"] = answer["error"]
        elif loss is not None and abs(answer["loss"] - loss) > 1e-3 * abs(loss):
            cell["failed"] = f"a loss of {answer['loss']:g}, ferrule's is {loss:g}"
        else:
            loaded[peers[library], variant] = title
    times, failed = interleave([*loaded, *beside], rounds, seconds)
    copies = [times.pop(pair) for pair in beside if pair in times]
    if copies:
        found["copy"] = min(copies, key=lambda cell: cell["median"])
    for pair, cell in times.items():
        found[loaded[pair]].update(cell)
    for pair, problem in failed.items():
        if pair in loaded:
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
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
