"""The workloads, written once per library in that library's idiom.

A module here is one library: jax.py, mlx.py, torch.py, numpy.py, ferrule.py (the program of
mlx.py with another import); limit.py is the copy that the others are measured against. Each has

    VERSION                      what ran
    VARIANTS                     name -> function that wraps a program (compile: jit and such)
    PROGRAMS                     workload -> program of one array
    random(shape)                a float32 array of uniform numbers, evaluated
    from_floats(floats)          the same from a host buffer (array.array of floats)
    repeat(program, x, n)        n calls, each with its result evaluated
    repeat_add(a, b, n)          n times a + b, evaluated

Every program is composed of primitives, since fusing them is what is compared; the library's
own one-piece form of it, where there is one, is the variant 'built in'.
"""

import collections

Workload = collections.namedtuple("Workload", "title shape reads writes check")

# reads and writes: how many times the array's bytes must pass through memory at the least; the
# limit is a copy of as many bytes.
LARGE = {
    "gelu_erf": Workload("gelu (erf), 32x1000x4096", (32, 1000, 4096), 1, 1, "gelu_erf"),
    "gelu_tanh": Workload("gelu (tanh form), 32x1000x4096", (32, 1000, 4096), 1, 1, "gelu_tanh"),
    "softmax": Workload("softmax over rows, 8192x4096", (8192, 4096), 1, 1, "softmax"),
    "layer_norm": Workload("layer norm over rows, 8192x4096", (8192, 4096), 1, 1, "layer_norm"),
    "sum_all": Workload("sum of all, 8192x4096", (8192, 4096), 1, 0, "sum_all"),
    "sum_axis0": Workload("sum over axis 0, 8192x4096", (8192, 4096), 1, 0, "sum_axis0"),
    "sum_axis1": Workload("sum over axis 1, 8192x4096", (8192, 4096), 1, 0, "sum_axis1"),
    "var_axis0": Workload("variance over axis 0, 8192x4096", (8192, 4096), 1, 0, "var_axis0"),
}

# Calls so small that only their overhead is seen.
SMALL = {
    "gelu_64": Workload("gelu of 64 floats, a call", (64,), 1, 1, "gelu_erf"),
    "add_64": Workload("a + b of 64 floats and eval", (64,), 2, 1, None),
}

ALL = {**LARGE, **SMALL}
