"""operations.py - the rows of ops_table.py: every operation, as each library writes it.

A row is one expression for all libraries, or one for each that differs ("*": the others; None: it
has no such function). F is numpy, jax.numpy, torch or ferrule.core. Its operands, all of one shape:

    x y    float32 in (0, 1)         h    float16        b c   bool; o: all false
    i j    int32 in 1 .. 100         g    bfloat16       n     uint8
    d      float64                   z w  complex64      k     a permutation of the rows, int32
    q Q    int32, int64, places along an axis, each less than the number of rows
    v      float32, in order         A B   float32, batches of squares of at most 32 x 32
"""

import numpy as np

# The same name everywhere (TORCH: torch's own), one operand or two of float32.
UNARY = """abs ceil exp expm1 floor log log10 log1p log2 negative round sign sin cos tan sinh cosh
    tanh arcsin arccos arctan arcsinh arctanh square sqrt isnan isinf isfinite nan_to_num
    degrees radians""".split()
BINARY = """add subtract multiply divide floor_divide remainder maximum minimum power logaddexp
    arctan2 equal not_equal less less_equal greater greater_equal isclose""".split()
TORCH = {
    "negative": "neg",
    "equal": "eq",
    "not_equal": "ne",
    "degrees": "rad2deg",
    "radians": "deg2rad",
    "power": "pow",
}

ROWS = {name: f"F.{name}(x)" for name in UNARY}
ROWS |= {name: f"F.{name}(x, y)" for name in BINARY}


def row(name, every=None, **libraries):
    ROWS[name] = {"*": every, **libraries} if libraries else every


row("arccosh", "F.arccosh(x + 1)")
row("add a number", "x + 2.5")
row("multiply-add", "x * 2 + y")
row("divmod", "F.divmod(x, y)", torch=None)
row("reciprocal", "1 / x")
row("rsqrt", "F.rsqrt(x)", numpy="1 / F.sqrt(x)", jax="jax.lax.rsqrt(x)")
row("sigmoid", "F.sigmoid(x)", numpy="1 / (1 + F.exp(-x))", jax="jax.nn.sigmoid(x)")
row("erf", "F.erf(x)", numpy=None, jax="jax.scipy.special.erf(x)")
row("erfinv", "F.erfinv(x)", numpy=None, jax="jax.scipy.special.erfinv(x)")
row("clip", "F.clip(x, 0.25, 0.75)")
row("where", "F.where(b, x, y)")
row("logical_and", "F.logical_and(b, c)")
row("logical_or", "F.logical_or(b, c)")
row("logical_not", "F.logical_not(b)")
row("int add", "i + j")
row("int multiply", "i * j")
row("int divide", "i // j")
row("int remainder", "i % j")
row("int divide by a number", "i // 7")
row("int power", "i ** 3")
row("bitwise and", "i & j")
row("bitwise or", "i | j")
row("bitwise xor", "i ^ j")
row("bitwise invert", "~i")
row("left shift", "i << 3")
row("right shift", "i >> 3")
row("uint8 add", "n + n")
row("uint8 divide", "n // n")
row("float16 add", "h + h")
row("float16 exp", "F.exp(h)")
row("float16 sum axis 1", "F.sum(h, 1)")
row("bfloat16 add", "g + g", numpy=None)
row("bfloat16 exp", "F.exp(g)", numpy=None)
row("bfloat16 sum axis 1", "F.sum(g, 1)", numpy=None)
row("float64 add", "d + d")
row("float64 exp", "F.exp(d)")
row("float64 log", "F.log(d)")
row("float64 sin", "F.sin(d)")
row("complex add", "z + w")
row("complex multiply", "z * w")
row("complex divide", "z / w")
row("complex abs", "F.abs(z)")
row("complex exp", "F.exp(z)")
row("complex conjugate", "F.conj(z) + 0", torch="F.conj(z).resolve_conj()")
row("complex real", "z.real + 0")
row("cast to int32", "x.astype(F.int32)", torch="x.to(F.int32)")
row("cast to float16", "x.astype(F.float16)", torch="x.to(F.float16)")
row("cast to bfloat16", "x.astype(F.bfloat16)", torch="x.to(F.bfloat16)", numpy=None)
row("cast from uint8", "n.astype(F.float32)", torch="n.to(F.float32)")
row("cast from bool", "b.astype(F.float32)", torch="b.to(F.float32)")
row(  # row-major
    "copy",
    "F.copy(x)",
    numpy="F.array(x, order='C')",
    ferrule="F.contiguous(x * 1)",
    torch="x.clone(memory_format=F.contiguous_format)",
)

# ---- along axes -------------------------------------------------------------------------------


def along(name, axis, torch_name=None, torch_after=""):
    row(
        f"{name} axis {axis}",
        f"F.{name}(x, axis={axis})",
        torch=f"F.{torch_name or name}(x, dim={axis}){torch_after}",
    )


for name in ("sum", "mean", "prod", "var", "std", "max", "min", "argmax", "argmin"):
    row(name, f"F.{name}(x)")
    for axis in (0, 1):
        along(name, axis, "a" + name if name in ("max", "min") else name)
row("any", "F.any(o)")
row("any, found at once", "F.any(b)")
row("all", "F.all(~o)")
row("any axis 1", "F.any(o, 1)")
row("int sum", "F.sum(i)")
row("int max axis 1", "F.max(i, 1)", torch="F.amax(i, 1)")
row("norm", "F.linalg.norm(x)")
for axis in (0, 1):
    top = f"x - x.max({axis}, keepdims=True)"
    row(
        f"softmax axis {axis}",
        f"F.softmax(x, axis={axis})",
        numpy=f"(lambda e: e / e.sum({axis}, keepdims=True))(F.exp({top}))",
        torch=f"F.softmax(x, dim={axis})",
        jax=f"jax.nn.softmax(x, axis={axis})",
    )
    row(
        f"logsumexp axis {axis}",
        f"F.logsumexp(x, axis={axis})",
        numpy=f"F.log(F.exp({top}).sum({axis}))",
        torch=f"F.logsumexp(x, dim={axis})",
        jax=f"jax.nn.logsumexp(x, axis={axis})",
    )
    for name in ("cumsum", "cumprod", "sort", "argsort"):
        along(name, axis, torch_after=".values" if name == "sort" else "")
    row(
        f"cummax axis {axis}",
        f"F.cummax(x, axis={axis})",
        numpy=f"F.maximum.accumulate(x, axis={axis})",
        jax=f"jax.lax.cummax(x, axis={axis})",
        torch=f"F.cummax(x, dim={axis}).values",
    )
    row(
        f"logcumsumexp axis {axis}",
        f"F.logcumsumexp(x, axis={axis})",
        numpy=f"F.logaddexp.accumulate(x, axis={axis})",
        jax=f"jax.lax.cumlogsumexp(x, axis={axis})",
        torch=f"F.logcumsumexp(x, dim={axis})",
    )
    row(f"median axis {axis}", f"F.median(x, axis={axis})", torch=f"F.quantile(x, 0.5, dim={axis})")
    half = "x.shape[0] // 2"
    row(
        f"partition axis {axis}",
        f"F.partition(x, {half}, axis={axis})",
        torch=f"F.topk(x, {half}, {axis}, sorted=False).values",
    )
    row(
        f"topk axis {axis}",
        f"F.topk(x, 4, {axis})",
        numpy=f"F.partition(x, x.shape[0] - 4, axis={axis})"
        + ("[-4:] + 0" if axis == 0 else "[:, -4:] + 0"),
        jax="jax.lax.top_k(x, 4)[0]" if axis else None,
        torch=f"F.topk(x, 4, {axis}, sorted=False).values",
    )
    row(
        f"concatenate axis {axis}",
        f"F.concatenate([x, y], {axis})",
        torch=f"F.cat([x, y], {axis})",
    )
    row(f"stack axis {axis}", f"F.stack([x, y], {axis})")
    row(f"roll axis {axis}", f"F.roll(x, 3, {axis})")
    row(f"take axis {axis}", f"F.take(x, k, axis={axis})", torch=f"F.index_select(x, {axis}, k)")
    row(
        f"take_along_axis {axis}",
        f"F.take_along_axis(x, q, {axis})",
        torch=f"F.take_along_dim(x, Q, {axis})",
    )
    row(
        f"repeat axis {axis}",
        f"F.repeat(x, 2, {axis})",
        torch=f"F.repeat_interleave(x, 2, {axis})",
    )
    row(f"flip axis {axis}", f"F.flip(x, {axis}) + 0", torch=f"F.flip(x, ({axis},))")
row("searchsorted", "F.searchsorted(v, x)")

# ---- places and shapes --------------------------------------------------------------------------

row("index rows", "x[k]")
row("index pairs", "x[k, k]")
row("mask assign", "F.where(b, 0.0, x)")
row(
    "add at rows",
    "x.at[k].add(y)",
    numpy="added(x, k, y)",
    torch="F.index_add(x, 0, k, y)",
)
row(
    "set a slice",
    "x.at[1:3].set(y[1:3])",
    ferrule="F.slice_update(x, y[1:3], F.array([1]), [0])",
    numpy="changed(x, y)",
    torch="F.slice_scatter(x, y[1:3], 0, 1, 3)",
)
row("tril", "F.tril(x)")
row("triu", "F.triu(x)")
row("diagonal", "F.diagonal(x) + 0")
row("trace", "F.trace(x)")
row("pad", "F.pad(x, 1)", torch="F.nn.functional.pad(x, (1, 1, 1, 1))")
row("pad edge", "F.pad(x, 1, mode='edge')", torch=None)
row("tile", "F.tile(x, (1, 2))")
row("transpose", "x.T + 0")
row("reshape", "x.reshape(-1) + 0")
row("strided slice", "x[::2, ::2] + 0")
row("broadcast add", "x + x[0]")
row("broadcast columns", "x * x[:, :1]")
row("outer product", "x[0][:, None] * x[1][None, :]")
row("kron", "F.kron(x[:2, :2], x[:x.shape[0] // 2, :x.shape[1] // 2])")
row(
    "meshgrid",
    "F.meshgrid(x[0], x[1])[0] + 0",
    torch="F.meshgrid(x[0], x[1], indexing='xy')[0] + 0",
)
row("full", "x * 0 + 3")

# ---- products -----------------------------------------------------------------------------------

row("matmul", "x @ y")
row("matmul transposed", "x @ y.T")
row("matrix times vector", "x @ y[0]")
row("vector times matrix", "y[0] @ x")
row("dot", "x.reshape(-1) @ y.reshape(-1)")
row("einsum ij,ij->i", "F.einsum('ij,ij->i', x, y)")
row("tensordot", "F.tensordot(x, y, 1)")
row("addmm", "F.addmm(x, x, y)", numpy="x + x @ y", jax="x + x @ y")
row("batched matmul", "A @ B")
row("float16 matmul", "h @ h", numpy=None)


# One product of 4096 x 4096 is enough.
CUBIC = {"matmul transposed", "tensordot", "addmm", "float16 matmul"}


def added(x, k, y):
    x = x.copy()
    np.add.at(x, k, y)
    return x


def changed(x, y):
    x = x.copy()
    x[1:3] = y[1:3]
    return x


def operands(side):
    """name -> numpy array, of squares with this side; what is bfloat16 comes as float32."""
    rng = np.random.default_rng(0)
    shape = side, side
    x, y = (rng.random(shape, dtype=np.float32) * 0.98 + 0.01 for _ in range(2))
    i, j = (rng.integers(1, 100, shape, dtype=np.int32) for _ in range(2))
    inner = min(side, 32)
    return {
        "x": x,
        "y": y,
        "i": i,
        "j": j,
        "b": x > 0.5,
        "c": y > 0.5,
        "o": x > 2,
        "h": x.astype(np.float16),
        "g": x,
        "n": i.astype(np.uint8),
        "d": x.astype(np.float64),
        "z": (x + 1j * y).astype(np.complex64),
        "w": (y + 1j * x).astype(np.complex64),
        "k": rng.permutation(side).astype(np.int32),
        "q": rng.integers(0, side, shape, dtype=np.int32),
        "Q": rng.integers(0, side, shape, dtype=np.int64),
        "v": np.sort(x[0]),
        "A": x.reshape(-1, inner, inner),
        "B": y.reshape(-1, inner, inner),
    }


ONLY_SO = {"k", "v"}  # what has no transpose


def expression(name, library):
    given = ROWS[name]
    if isinstance(given, dict):
        return given.get(library, given["*"])
    if library == "torch" and name in TORCH:
        return given.replace(f"F.{name}(", f"F.{TORCH[name]}(")
    return given


def function(name, library, transposed, scope):
    """A function of its operands, their names; None if the library has none."""
    text = expression(name, library)
    if not text:
        return None, ()
    code = compile(text, name, "eval")
    names = sorted(set(code.co_names) & set("xyijbcohgndzwkqQvAB"))
    if transposed:
        # mT for what has three dimensions: torch's and numpy's T differ there.
        turn = [n if n in ONLY_SO else f"{n}.swapaxes(-1, -2)" for n in names]
        text = f"(lambda {', '.join(names)}: {text})({', '.join(turn)})"
    return eval(f"lambda {', '.join(names)}: {text}", scope), names
