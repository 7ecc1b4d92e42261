"""ops_table.py - every operation at 64 B, 64 KiB and 64 MiB beside numpy, jax.jit and torch.

    PYTHONPATH=build/stage python bench/ops_table.py [--only WORD,...] [--seconds S] [--out FILE]

Run it by a Python that has the peers; what isn't installed is left out, and said so. Each cell is
the median of rounds in which all libraries take turns; the ratio is to the best of the peers. Writes
a table (bench/OPS.md) that begins with the ten worst; reasons-ops.txt may give their reasons, a line
`operation size layout | reason` each. Arrays are float32 unless the row says otherwise, two-dimensional; transposed means
that the operation reads x.T.
"""

import argparse
import os
import statistics
import sys
import time

import ferrule.core as mx
import machine
import numpy as np

SIZES = {"64 B": (4, 4), "64 KiB": (128, 128), "64 MiB": (4096, 4096)}
FOLDER = os.path.dirname(os.path.abspath(__file__))

# What stands for F, by library; x, y: floats in (0, 1); i, j: int32 in 1 .. 100; b, c: bool.
UNARY = (
    "abs ceil exp expm1 floor log log10 log1p log2 negative round sign sin cos tan sinh cosh tanh"
)
UNARY += " arcsin arccos arctan arcsinh arctanh square sqrt isnan isinf isfinite"
BINARY = (
    "add subtract multiply divide floor_divide remainder maximum minimum power logaddexp arctan2"
)
BINARY += " equal not_equal less less_equal greater greater_equal"
TORCH = {"abs": "abs", "negative": "neg", "equal": "eq", "not_equal": "ne"}
TORCH |= {"floor_divide": "floor_divide", "power": "pow"}

ROWS = {name: f"F.{name}(x)" for name in UNARY.split()}
ROWS |= {name: f"F.{name}(x, y)" for name in BINARY.split()}
ROWS |= {
    "add a number": "x + 2.5",
    "multiply-add": "x * 2 + y",
    "int add": "i + j",
    "int multiply": "i * j",
    "int divide": "i // j",
    "bitwise and": "i & j",
    "bitwise xor": "i ^ j",
    "shift": "i << 3",
    "logical_and": "F.logical_and(b, c)",
    "logical_not": "F.logical_not(b)",
    "where": "F.where(b, x, y)",
    "clip": {"torch": "F.clip(x, 0.25, 0.75)", "*": "F.clip(x, 0.25, 0.75)"},
    "reciprocal": {"numpy": "1 / x", "jax": "1 / x", "*": "F.reciprocal(x)"},
    "rsqrt": {"numpy": "1 / F.sqrt(x)", "jax": "1 / F.sqrt(x)", "*": "F.rsqrt(x)"},
    "sigmoid": {"numpy": "1 / (1 + F.exp(-x))", "jax": "1 / (1 + F.exp(-x))", "*": "F.sigmoid(x)"},
    "erf": {"numpy": None, "jax": "jax.scipy.special.erf(x)", "*": "F.erf(x)"},
    "cast to int32": {
        "ferrule": "x.astype(F.int32)",
        "torch": "x.to(F.int32)",
        "*": "x.astype(F.int32)",
    },
    "cast to float16": {"torch": "x.to(F.float16)", "*": "x.astype(F.float16)"},
    "copy": {
        "numpy": "x.copy()",
        "torch": "x.clone(memory_format=F.contiguous_format)",
        "jax": "F.copy(x)",
        "*": "F.contiguous(x) + 0",
    },
}
for name in ("sum", "mean", "prod", "var", "std"):
    ROWS |= {name: f"F.{name}(x)"}
    for axis in (0, 1):
        ROWS |= {
            f"{name} axis {axis}": {
                "torch": f"F.{name}(x, dim={axis})",
                "*": f"F.{name}(x, axis={axis})",
            }
        }
for name in ("max", "min"):
    ROWS |= {name: f"F.{name}(x)"}
    for axis in (0, 1):
        ROWS |= {
            f"{name} axis {axis}": {
                "torch": f"F.a{name}(x, dim={axis})",
                "*": f"F.{name}(x, axis={axis})",
            }
        }
for axis in (0, 1):
    ROWS |= {
        f"softmax axis {axis}": {
            "numpy": f"(lambda e: e / e.sum({axis}, keepdims=True))(F.exp(x - x.max({axis}, keepdims=True)))",
            "torch": f"F.softmax(x, dim={axis})",
            "jax": f"jax.nn.softmax(x, axis={axis})",
            "*": f"F.softmax(x, axis={axis})",
        },
        f"logsumexp axis {axis}": {
            "numpy": f"F.log(F.exp(x - x.max({axis}, keepdims=True)).sum({axis}))",
            "torch": f"F.logsumexp(x, dim={axis})",
            "jax": f"jax.nn.logsumexp(x, axis={axis})",
            "*": f"F.logsumexp(x, axis={axis})",
        },
    }
    for name in ("argmax", "argmin"):
        ROWS |= {
            f"{name} axis {axis}": {
                "torch": f"F.{name}(x, dim={axis})",
                "*": f"F.{name}(x, axis={axis})",
            }
        }
    for name in ("cumsum", "cumprod", "sort", "argsort"):
        result = f"F.{name}(x, dim={axis})" + (".values" if name == "sort" else "")
        ROWS |= {f"{name} axis {axis}": {"torch": result, "*": f"F.{name}(x, axis={axis})"}}
    ROWS |= {
        f"concatenate axis {axis}": {
            "torch": f"F.cat([x, y], {axis})",
            "*": f"F.concatenate([x, y], {axis})",
        },
        f"roll axis {axis}": {"torch": f"F.roll(x, 3, {axis})", "*": f"F.roll(x, 3, {axis})"},
        f"take axis {axis}": {
            "torch": f"F.index_select(x, {axis}, k)",
            "*": f"F.take(x, k, axis={axis})",
        },
    }
ROWS |= {
    "any": "F.any(b)",
    "all": "F.all(b)",
    "flip": {
        "numpy": "F.flip(x, 0) + 0",
        "torch": "F.flip(x, (0,))",
        "*": "F.flip(x, 0) + 0",
    },
    "tril": "F.tril(x)",
    "pad": {
        "torch": "F.nn.functional.pad(x, (1, 1, 1, 1))",
        "*": "F.pad(x, 1)",
    },
    "tile": {"torch": "F.tile(x, (1, 2))", "*": "F.tile(x, (1, 2))"},
    "repeat": {"torch": "F.repeat_interleave(x, 2, 1)", "*": "F.repeat(x, 2, 1)"},
    "strided slice": {"torch": "x[::2, ::2] + 0", "*": "x[::2, ::2] + 0"},
    "broadcast add": "x + x[0]",
    "outer product": "x[0][:, None] * x[1][None, :]",
    "matmul": "x @ y",
    "matrix times vector": "x @ y[0]",
}


def libraries():
    """name -> (what F is, numpy to its array, function to a function that computes)."""
    found = {"ferrule": (mx, mx.array, lambda f: lambda *a: mx.eval(f(*a)), {})}
    found["numpy"] = (np, lambda a: a, lambda f: f, {})
    try:
        import torch

        torch.set_num_threads(mx.num_threads())
        torch.set_grad_enabled(False)
        found["torch"] = (torch, torch.from_numpy, lambda f: f, {})
    except ImportError:
        print("torch is not installed", file=sys.stderr)
    try:
        import jax
        import jax.numpy as jnp

        def compiled(f):
            fast = jax.jit(f)
            return lambda *a: jax.block_until_ready(fast(*a))

        found["jax"] = (jnp, jnp.asarray, compiled, {"jax": jax})
    except ImportError:
        print("jax is not installed", file=sys.stderr)
    return found


def expression(row, library):
    text = row if isinstance(row, str) else row.get(library, row["*"])
    if library == "torch" and text and isinstance(row, str):
        for name, other in TORCH.items():
            text = text.replace(f"F.{name}(", f"F.{other}(")
    return text


def operands(shape):
    rng = np.random.default_rng(0)
    x, y = (rng.random(shape, dtype=np.float32) * 0.98 + 0.01 for _ in range(2))
    i, j = (rng.integers(1, 100, shape, dtype=np.int32) for _ in range(2))
    return {
        "x": x,
        "y": y,
        "i": i,
        "j": j,
        "b": x > 0.5,
        "c": y > 0.5,
        "k": rng.permutation(shape[0]).astype(np.int32),
    }


def make(row, library, tools, values, transposed):
    """A call without arguments, and None if the library has no such function."""
    module, _, computing, more = tools
    text = expression(row, library)
    if not text:
        return None
    names = [n for n in values if n in text_names(text)]
    body = text
    if transposed:
        turned = ", ".join(n if n == "k" else f"{n}.T" for n in names)
        body = f"(lambda {', '.join(names)}: {text})({turned})"
    function = eval(f"lambda {', '.join(names)}: {body}", {"F": module, **more})
    run = computing(function)
    arguments = [values[n] for n in names]
    try:
        run(*arguments)
    except Exception as error:  # noqa: BLE001
        print(f"{library}: {text}: {type(error).__name__}: {str(error)[:90]}", file=sys.stderr)
        return None
    return lambda: run(*arguments)


def text_names(text):
    return set(compile(text, "row", "eval").co_names)


def measure(calls, seconds):
    """Medians in microseconds; the libraries take turns."""
    loops, times = {}, {name: [] for name in calls}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
        loops[name] = max(1, int(1e-4 / max(once, 1e-7)))
    end = time.perf_counter() + seconds * len(calls)
    while True:
        for name, call in calls.items():
            n = loops[name]
            start = time.perf_counter()
            for _ in range(n):
                call()
            times[name].append((time.perf_counter() - start) / n)
        enough = min(len(t) for t in times.values())
        if enough >= 5 and (time.perf_counter() > end or enough >= 200):
            return {name: 1e6 * statistics.median(t) for name, t in times.items()}


def table(options):
    found = libraries()
    results = []
    words = options.only.split(",") if options.only else []
    for size, shape in SIZES.items():
        if options.sizes and size not in options.sizes.split(","):
            continue
        plain = operands(shape)
        values = {name: {n: tools[1](v) for n, v in plain.items()} for name, tools in found.items()}
        mx.eval(values["ferrule"])
        for name, row in ROWS.items():
            if words and not any(word in name for word in words):
                continue
            for layout in ("contiguous", "transposed"):
                calls = {
                    library: make(row, library, tools, values[library], layout == "transposed")
                    for library, tools in found.items()
                }
                calls = {library: call for library, call in calls.items() if call}
                if "ferrule" not in calls or len(calls) < 2:
                    continue
                times = measure(calls, options.seconds)
                results.append((name, size, layout, times))
                print(name, size, layout, {k: round(v, 2) for k, v in times.items()}, flush=True)
    return results


def best_peer(times):
    return min((t, name) for name, t in times.items() if name != "ferrule")


def ratio(result):
    return result[3]["ferrule"] / best_peer(result[3])[0]


def read_reasons():
    path = os.path.join(FOLDER, "reasons-ops.txt")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        pairs = (line.split(" | ", 1) for line in file if " | " in line)
        return {key.strip(): reason.strip() for key, reason in pairs}


def write(results, path):
    peers = sorted({name for r in results for name in r[3]} - {"ferrule"})
    reasons = read_reasons()
    about = machine.describe(mx.num_threads())
    ratios = sorted(ratio(r) for r in results)
    lines = [
        "<!-- Made by bench/ops_table.py: run that instead of changing this. -->",
        "# Operations beside " + ", ".join(peers),
        "",
        f"{about['processor']}, {about['threads']} threads. Medians in microseconds; the ratio is to the",
        "best of the others: below 1 Ferrule is faster.",
        "",
        f"{len(results)} cells; ratio: median {statistics.median(ratios):.2f}, "
        f"at most 1.1 in {sum(r <= 1.1 for r in ratios)}.",
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
    head = " | ".join(["operation", "size", "layout", "ferrule", *peers, "ratio"])
    lines += ["", "## All", "", f"| {head} |", "| --- " * 3 + "| ---: " * (len(peers) + 2) + "|"]
    for r in results:
        cells = [f"{r[3][p]:.4g}" if p in r[3] else "-" for p in ["ferrule", *peers]]
        lines.append(f"| {' | '.join([*r[:3], *cells])} | {ratio(r):.2f} |")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="words; operations that contain one of them")
    parser.add_argument("--sizes", help="of " + ", ".join(SIZES))
    parser.add_argument("--seconds", type=float, default=0.1, help="for each library and cell")
    parser.add_argument("--out", default=os.path.join(FOLDER, "OPS.md"))
    options = parser.parse_args()
    with np.errstate(all="ignore"):
        results = table(options)
    if not results:
        sys.exit("nothing was measured")
    write(results, options.out)


if __name__ == "__main__":
    main()
