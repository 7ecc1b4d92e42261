"""goals.py - what run.py's figures should be; reasons.txt says why where they are not.

A goal: key (of its reason), title, goal, row, numerator, denominator (None: the time itself; of another
row: (row, column)), largest, smallest.
"""

from workloads import LARGE, steps

FERRULE, LAZY = "ferrule compile", "ferrule lazy"


def streaming(row, title, limit):
    """The goal of what is bound by memory: time of a copy's."""
    return (row, title, f"<= {limit:.2f} of a copy", row, FERRULE, "copy", limit, None)


def ahead(row, title, peer, factor):
    """The goal of being so many times as fast as a peer."""
    return (f"{row} {peer}", title, f">= {factor:.2f}x {peer}", row, peer, FERRULE, None, factor)


def within(row, title, milliseconds):
    limit = milliseconds * 1e-3
    return (row, title, f"<= {milliseconds} ms", row, FERRULE, None, limit, None)


# key, title, goal, row, numerator, denominator (None: the time itself), largest, smallest
def goals():
    found = [
        streaming("gelu_erf", "gelu (erf)", 1.05),
        streaming("gelu_tanh", "gelu (tanh form)", 1.05),
    ]
    for row in ("softmax", "layer_norm"):
        found.append(streaming(row, f"{row.replace('_', ' ')}, composed", 1.10))
    for row, step in steps.ALL.items():
        if step.moves:
            title = step.title.rpartition(", 8192x4096")[0] or step.title
            found.append(streaming(row, title, 1.50 if row == "transposed" else 1.10))
        if row == "softmax_grad":  # the reductions of LARGE stand with the others
            for key in ("sum_all", "sum_axis0", "sum_axis1", "var_axis0"):
                found.append(streaming(key, LARGE[key].title.rpartition(",")[0], 1.10))
    for row in ("matmul_256", "matmul_1024", "matmul_2048", "matmul_tall", "matmul_wide"):
        found.append(ahead(row, steps.ALL[row].title, "numpy", 0.95))
    for dtype in ("float16", "bfloat16"):
        row, title = f"matmul_{dtype}", f"matmul 1024, {dtype}"
        whole = ("matmul_1024", FERRULE)
        found.append((row, title, "<= 1.11 of float32", row, FERRULE, whole, 1.11, None))
    whole = ("matmul_1024", FERRULE)
    found += [
        (
            "linear",
            "linear + gelu",
            "<= 1.04 of the product",
            "linear_gelu",
            FERRULE,
            whole,
            1.04,
            None,
        ),
        ahead("linear_gelu", "linear + gelu", "jax.jit", 1.0),
        within("attention", "attention, causal", 5),
        within("attention_grad", "the same with its gradients", 16),
        ahead("mlp_step", "MLP, Adam, a step", "jax.jit", 1 / 0.77),
        ahead("lm_step", "transformer LM, AdamW, a step", "jax.jit", 1 / 0.45),
        within("cnn_step", "CNN, Adam, a step", 9),
    ]
    return found


GOALS = [
    *goals(),
    ("call", "gelu of 64 floats, Python", "<= 2 us", "gelu_64", FERRULE, None, 2e-6, None),
    ("call C", "gelu of 64 floats, C", "<= 0.5 us", "gelu_64", "ferrule C", None, 5e-7, None),
    ("add", "a + b of 64 floats, Python", "<= 2.5 us", "add_64", LAZY, None, 2.5e-6, None),
    ("add C", "a + b of 64 floats, C", "<= 0.6 us", "add_64", "ferrule C", None, 6e-7, None),
    ("first", "first call, cache empty", "<= 25 ms", "first_cold", FERRULE, None, 25e-3, None),
    (
        "first disk",
        "first call, disk cache",
        "<= 6 ms",
        "first_disk",
        FERRULE,
        None,
        6e-3,
        None,
    ),
    ("import", "import ferrule.core", "<= 20 ms", "import", "ferrule", None, 20e-3, None),
    ("import MB", "import, resident", "<= 20 MB", "import_bytes", "ferrule", None, 20e6, None),
    (
        "peak",
        "peak memory over input + output",
        "<= 1.01",
        "peak",
        FERRULE,
        "input + output",
        1.01,
        None,
    ),
]
