"""gemm_sweep.py - matrix products over shapes beside OpenBLAS, from C: writes RESULTS-gemm.md.

    bench/gemm_sweep.py [--only WORD,...] [--seconds S] [--threads 1,2] [--peers-python PATH]
                        [--out FOLDER]

OpenBLAS is the one in the peers' numpy, called by cblas_*gemm (cblas_sgemv for a vector); ours is
the better of fr_matmul with fr_eval and a call of a compiled function. Least times of turns of both,
call to call. To try other tiles or blocks (src/native/gemm*), build them elsewhere and name that
folder in FERRULE_BUILD.
"""

import argparse
import glob
import math
import os
import subprocess
import sys
import tempfile

import c_api
import machine
from peers import FOLDER, environment, say
from report import time_text

SQUARES = [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048]
SHAPES = {
    "square": [f"{n}x{n}x{n}" for n in SQUARES],
    "odd": ["63x65x67", "127x129x131", "255x257x259", "500x500x500", "1000x1000x1000"],
    "transposed": [
        f"{n}x{n}x{n}:{layout}" for n in (64, 256, 512, 1024) for layout in ("nt", "tn", "tt")
    ],
    "tall and wide": [
        "4096x64x64",
        "8192x128x128",
        "64x4096x64",
        "1024x256x1024",
        "256x1024x784",
        "16x4096x1024",
        "4096x16x1024",
        "4x4096x4096",
    ],
    "long": ["64x64x65536", "64x64x65536:tn", "16x16x4096", "32x512x8192", "784x10x256:tn"],
    "batches": ["1024x16x16x16", "256x32x32x32", "64x64x64x64", "8x128x128x64"],
    "vectors": ["1x4096x4096", "1x4096x4096:nt", "4096x1x4096", "4096x1x4096:tn", "256x1x256"],
    "float64": ["64x64x64:f64", "256x256x256:f64", "1024x1024x1024:f64"],
    "complex64": ["64x64x64:c64", "256x256x256:c64", "512x512x512:c64"],
    "halves, integers": [
        f"{n}x{n}x{n}:{t}" for n in (256, 1024) for t in ("f16", "bf16", "i32", "i8")
    ],
}


def openblas(python):
    """Path of the library in that Python's numpy, or -."""
    ask = "import numpy, os; print(os.path.dirname(os.path.dirname(numpy.__file__)))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    found = glob.glob(os.path.join(done.stdout.strip(), "numpy.libs", "*openblas*.so*"))
    return found[0] if found else "-"


def operations(shape):
    sizes, *rest = shape.split(":")
    count = 2
    for size in sizes.split("x"):
        count *= int(size)
    return count * (4 if "c64" in rest else 1)


def measure(program, blas, threads, shapes, seconds):
    """shape -> (ours, OpenBLAS' or 0), in seconds."""
    own = environment(threads, True)
    command = [program, blas, str(threads), str(seconds), *shapes]
    found = {}
    with subprocess.Popen(command, env=own, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            shape, lazy, compiled, theirs = line.split()
            found[shape] = (min(float(lazy), float(compiled)), float(theirs))
            say(f"  {threads} thread(s) {line.strip()}")
    if process.returncode:
        sys.exit(f"gemm_sweep ended with {process.returncode}")
    return found


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else 0


def table(groups, found, facts):
    """found: threads -> shape -> (ours, theirs)."""
    lines = [
        "# Matrix products from C, beside OpenBLAS",
        "",
        "Written by `bench/gemm_sweep.py`. Rows x columns x inner, a batch before them; `t`: that",
        "operand lies transposed. Least times, of one thread the processor's; in brackets OpenBLAS'",
        "time by ours, above 1 where ferrule is faster.",
        "",
        *[f"- {name}: {value}" for name, value in facts.items() if name != "threads"],
        "",
    ]
    for group, shapes in groups.items():
        lines += [
            f"| {group} | " + " | ".join(f"{t} thread(s)" for t in found) + " |",
            "| --- |" + " --- |" * len(found),
        ]
        ratios = {t: [] for t in found}
        for shape in shapes:
            cells = []
            for t, times in found.items():
                ours, theirs = times[shape]
                text = f"{time_text(ours)}, {operations(shape) / ours * 1e-9:.0f} GF/s"
                if theirs:
                    ratios[t].append(theirs / ours)
                    text += f" ({theirs / ours:.2f})"
                cells.append(text)
            lines.append(f"| {shape} | " + " | ".join(cells) + " |")
        if any(ratios.values()):
            means = " | ".join(f"{mean(r):.2f}, least {min(r):.2f}" for r in ratios.values())
            lines.append(f"| geometric mean | {means} |")
        lines.append("")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("FERRULE_BENCH_PYTHON") or sys.executable
    parser.add_argument("--peers-python", default=default, metavar="PATH")
    parser.add_argument("--only", default="", help="groups or shapes with one of these words")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each shape")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--out", default=FOLDER, metavar="FOLDER")
    options = parser.parse_args()
    words = options.only.split(",")
    groups = {
        group: [s for s in shapes if any(w in group or w in s for w in words)]
        for group, shapes in SHAPES.items()
    }
    groups = {group: shapes for group, shapes in groups.items() if shapes}
    facts = machine.describe(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        program, problem = c_api.build(folder, "gemm_sweep")
        if problem:
            sys.exit(problem)
        every = [shape for shapes in groups.values() for shape in shapes]
        blas = openblas(options.peers_python)
        found = {
            t: measure(program, blas, t, every, options.seconds)
            for t in map(int, options.threads.split(","))
        }
    lines = table(groups, found, facts)
    with open(os.path.join(options.out, "RESULTS-gemm.md"), "w") as file:
        file.write("\n".join(lines[:-1]) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
