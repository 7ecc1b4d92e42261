"""A layer norm written as its formula: one kernel that reads each row from memory once.

python layer_norm.py [ROWS COLUMNS]     8192 4096 by default
"""

import sys
import time

import ferrule.core as mx

rows, columns = (int(size) for size in sys.argv[1:] or ("8192", "4096"))


def layer_norm(x, weight, bias, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, keepdims=True)
    return (x - mean) * mx.rsqrt(variance + eps) * weight + bias


def launched(run):
    """The result of run(), and how many kernels it took."""
    before = mx.counters()["kernels"]
    result = run()
    mx.eval(result)
    return result, mx.counters()["kernels"] - before


x = mx.random.normal((rows, columns), loc=3, scale=2)
weight, bias = mx.ones((columns,)), mx.zeros((columns,))
mx.eval(x, weight, bias)

lazy, kernels = launched(lambda: layer_norm(x, weight, bias))
print(f"lazily: {kernels} kernel(s)")

compiled = mx.compile(layer_norm)
compiled(x, weight, bias)  # the first call traces
result, kernels = launched(lambda: compiled(x, weight, bias))
print(f"compiled: {kernels} kernel(s)")
print("same result:", mx.array_equal(result, lazy).item())

row_means, row_deviations = result.mean(axis=-1), result.std(axis=-1)
print(f"largest mean of a row: {mx.abs(row_means).max().item():.4f}")
print(f"deviations: {row_deviations.min().item():.3f} to {row_deviations.max().item():.3f}")

tic = time.perf_counter()
for _ in range(10):
    mx.eval(compiled(x, weight, bias))
toc = time.perf_counter()
print(f"Time per call {1e3 * (toc - tic) / 10:.3f} (ms)")
