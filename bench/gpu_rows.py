"""gpu_rows.py - the rows of bench/gpu.py: what is run, at which size, and the time to reach.

A row has one kind: `array` (a program of one array), `adam` (many tensors at once), `step` (a
training step of workloads/steps.py), `attention`, or `first` (first calls, in processes of their own).
"""

import collections
import math

Row = collections.namedtuple("Row", "title kind program shape small goal unit note")


def row(title, kind, program, shape, small, goal=None, unit="ms", note=""):
    return Row(title, kind, program, shape, small, goal, unit, note)


MATRIX, LITTLE = (8192, 4096), (256, 128)
ATTENTION, SHORT = (1, 16, 4096, 64), (1, 2, 128, 64)

# goal: seconds, or "copy": the time in which the device copies as many bytes as the array has
ROWS = {
    "gelu": row("gelu, 32x1000x4096", "array", "gelu_erf", (32, 1000, 4096), (4, 100, 256), "copy"),
    "softmax": row("softmax, 8192x4096", "array", "softmax", MATRIX, LITTLE, "copy"),
    "layer_norm": row("layer norm, 8192x4096", "array", "layer_norm", MATRIX, LITTLE, "copy"),
    "sum_all": row("sum of all, 8192x4096", "array", "sum_all", MATRIX, LITTLE, 48e-6),
    "sum_axis0": row("sum over axis 0", "array", "sum_axis0", MATRIX, LITTLE, 48e-6),
    "sum_axis1": row("sum over axis 1", "array", "sum_axis1", MATRIX, LITTLE, 48e-6),
    "var_axis0": row("variance over axis 0", "array", "var_axis0", MATRIX, LITTLE, 75e-6),
    "turned": row("tanh(s.T) + s[:, :1].T", "array", "turned", MATRIX, LITTLE, 98e-6),
    "adam_16": row("Adam, 16 tensors of 1M", "adam", "", (16, 1000000), (16, 1000), 165e-6),
    "adam_1000": row("Adam, 1,000 tensors of 10K", "adam", "", (1000, 10000), (100, 100), 800e-6),
    "mlp_step": row("MLP 784-1024-1024-10, b256, Adam step", "step", "", None, None, 150e-6),
    "lm_step": row("transformer LM 2x256, 8x128, AdamW step", "step", "", None, None, 350e-6),
    "cnn_step": row("CNN 32-64, 28x28, b64, Adam step", "step", "", None, None, 160e-6),
    "attention_bf16": row(
        "attention, causal, 16 heads, 4096x64, bfloat16",
        "attention",
        "bfloat16",
        ATTENTION,
        SHORT,
        130e-6,
    ),
    "attention_f32": row("the same, float32", "attention", "float32", ATTENTION, SHORT, 1.2e-3),
    "gelu_64": row("gelu of 64 floats, a Python call", "array", "gelu_erf", (64,), (64,), 8e-6),
    "first": row("first calls", "first", "", (1 << 20,), (1 << 14,)),
}

# of the row `first`: title and goal of each figure
FIRST = {
    "cold": ("first call of gelu, nothing cached", 130e-3),
    "second": ("a second kernel, nothing cached", 45e-3),
    "disk": ("first call of gelu, from the disk cache", 10e-3),
}
LM_FIRST = 2.0  # seconds, the goal of the language model's first call

# Compiling these takes torch.compile long: only with --slow.
SLOW = {"torch.compile": ("adam_16", "adam_1000", "lm_step", "cnn_step", "first")}

# column -> library, variant
COLUMNS = {
    "ferrule": ("ferrule", "compile"),
    "ferrule plain": ("ferrule", "lazy"),
    "jax.jit": ("jax", "compile"),
    "torch eager": ("torch", "eager"),
    "torch.compile": ("torch", "compile"),
}
PEERS = [title for title in COLUMNS if not title.startswith("ferrule")]


def shape_of(key, small):
    return ROWS[key].small if small else ROWS[key].shape


def bytes_of(key, small):
    """Of one result, so that not too many are queued at once."""
    shape = shape_of(key, small)
    return 4 * math.prod(shape) if shape else 0


def has(title, key, quick, slow):
    """Is this row run in this column? The reason, if not; None if it is."""
    if title == "ferrule plain" and key in ("first", "adam_1000"):
        return "compiled only"
    if title == "torch eager" and key == "first":
        return "makes no code"
    if title == "torch.compile":
        if quick:
            return "not with --quick"
        if key in SLOW[title] and not slow:
            return "only with --slow"
    return None
