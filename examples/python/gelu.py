"""The program of the page "Example Speedup" of MLX's documentation, on Ferrule.

python gelu.py [SIZE...]     the shape, 32 1000 4096 by default (0.5 GB, and as much again)
"""

import math
import sys
import time

import ferrule.core as mx
import ferrule.nn as nn


def gelu(x):
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


def timeit(fun, x):
    # warm up
    for _ in range(10):
        mx.eval(fun(x))

    tic = time.perf_counter()
    for _ in range(100):
        mx.eval(fun(x))
    toc = time.perf_counter()
    tpi = 1e3 * (toc - tic) / 100
    print(f"Time per iteration {tpi:.3f} (ms)")


x = mx.random.uniform(shape=tuple(int(size) for size in sys.argv[1:]) or (32, 1000, 4096))
timeit(nn.gelu, x)
timeit(mx.compile(nn.gelu), x)

# Ours: the function as the page writes it gives the same as the package's.
print("same as nn.gelu:", mx.array_equal(gelu(x), nn.gelu(x)).item())
