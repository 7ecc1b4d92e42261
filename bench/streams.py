"""streams.py - programs that should run at the speed of memory, beside a copy of the bytes they must move.

    python bench/streams.py [--threads N] [--rounds N] [--rows N] [--columns N] [ROW ...]

A row's bytes are what must cross between processor and memory: each input once, each output once. It
is measured in turns with a copy of as many bytes in all (the better of memcpy and non-temporal
stores), so that both meet the same neighbours; least and median of many turns are printed. With one
thread ours are of the thread's own time, in which whoever else has the core meanwhile doesn't count.
"""

import argparse
import os
import statistics
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from workloads import array_programs  # noqa: E402


def programs(mx):
    """name: (function, shapes of its arguments, bytes in floats moved, functions of the shapes)"""

    shared = array_programs.make(mx)["PROGRAMS"]
    softmax, layer_norm = shared["softmax"], shared["layer_norm"]

    def rms_norm(x):
        return x * mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + 1e-5)

    def backward(f):
        return lambda x, g: mx.vjp(f, [x], [g])[1][0]

    def adam(*arrays):
        n = len(arrays) // 4
        out = []
        for p, g, m, v in zip(*(arrays[i * n : (i + 1) * n] for i in range(4))):
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * (g * g)
            out += [p - 0.001 * m / (mx.sqrt(v) + 1e-8), m, v]
        return out

    rows = {
        "copy": (lambda x: x + 1, 1, 2),
        "gelu erf": (shared["gelu_erf"], 1, 2),
        "gelu tanh": (shared["gelu_tanh"], 1, 2),
        "exp": (mx.exp, 1, 2),
        "sigmoid": (mx.sigmoid, 1, 2),
        "softmax": (softmax, 1, 2),
        "mx.softmax": (lambda x: mx.softmax(x, axis=-1), 1, 2),
        "layer norm": (layer_norm, 1, 2),
        "rms norm": (rms_norm, 1, 2),
        "softmax vjp": (backward(softmax), 2, 3),
        "layer norm vjp": (backward(layer_norm), 2, 3),
        "rms norm vjp": (backward(rms_norm), 2, 3),
        "tanh(s.T) + s[:, :1].T": (lambda s: mx.tanh(s.T) + s[:, :1].T, 1, 2),
    }
    for name in "sum", "mean", "var", "max", "argmax":
        for axis in None, 0, 1:
            of = getattr(mx, name)
            rows[f"{name} {'all' if axis is None else axis}"] = (
                (lambda x, of=of, axis=axis: of(x, axis=axis)),
                1,
                1,
            )
    rows["adam"] = (adam, 64, 7)
    return rows


def measure(row, program, arguments, floats, args, mx, copy):
    compiled = mx.compile(program)
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    ours, beside = [], []
    for _ in range(3):
        mx.eval(compiled(*arguments))
    for turn in range(args.rounds):
        start = clock()
        mx.eval(compiled(*arguments))
        ours.append(clock() - start)
        beside.append(copy.seconds("streaming" if turn % 4 else "memcpy"))
    best, least = min(ours), min(beside)
    middle, copied = statistics.median(ours), statistics.median(beside)
    print(
        f"{row:24} {best * 1e3:8.2f} {middle * 1e3:8.2f} ms   copy {least * 1e3:8.2f} "
        f"{copied * 1e3:8.2f}   {best / least:5.2f} {middle / copied:5.2f}"
        f"   {floats * 4 / best * 1e-9:5.1f} GB/s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("row", nargs="*")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    os.environ.setdefault("FERRULE_NUM_THREADS", str(args.threads))
    import ferrule.core as mx
    from workloads.limit import Copy

    for row, (program, inputs, moved) in programs(mx).items():
        if args.row and row not in args.row:
            continue
        if inputs == 64:
            arguments = [mx.random.uniform(shape=(1 << 20,)) for _ in range(64)]
            floats = 16 * moved << 20
        else:
            shape = (args.rows, args.columns)
            arguments = [mx.random.normal(shape) for _ in range(inputs)]
            floats = moved * args.rows * args.columns
        mx.eval(arguments)
        copy = Copy(floats * 2)
        measure(row, program, arguments, floats, args, mx, copy)
        copy.close()
        del arguments
        mx.clear_cache()


if __name__ == "__main__":
    main()
