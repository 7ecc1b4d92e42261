"""mx.grad, value_and_grad, vjp: every row of the table against differences, and what surrounds it."""

import re
from pathlib import Path

import ferrule.core as mx
import numpy as np
import pytest

TABLE = Path(__file__).resolve().parents[2] / "src" / "op" / "ops.def"
ROW = re.compile(r"^(UNARY|BINARY|TERNARY|REDUCE) *\((\w+), *(\w+), *(\w+),", re.M)
ROWS = [(kind, name, rule) for kind, _, name, rule in ROW.findall(TABLE.read_text())]
FLOAT_ROWS = [(k, n) for k, n, r in ROWS if r in ("SAME", "NUMBER", "FLOAT", "SELECT", "SUM")]
PARTS = ("PART", "PAIR")  # of complex numbers: test_complex.py
NOT_FLOAT_ROWS = [(k, n) for k, n, r in ROWS if (k, n) not in FLOAT_ROWS and r not in PARTS]
RNG = np.random.default_rng(7)


def spread(low, high, shape=(2, 3)):
    """Different numbers between low and high, away from whole numbers' halves."""
    n = int(np.prod(shape))
    values = low + (high - low) * (np.arange(n) + 0.37) / n
    return RNG.permutation(values).reshape(shape)


# Where each is smooth; (-2.3, 2.3) where it is everywhere.
DOMAINS = {
    "sqrt": (0.3, 3), "rsqrt": (0.3, 3), "reciprocal": (0.4, 3), "log": (0.3, 3), "log2": (0.3, 3),
    "log10": (0.3, 3), "log1p": (-0.6, 3), "arccosh": (1.2, 3), "arctanh": (-0.8, 0.8),
    "erfinv": (-0.8, 0.8), "arcsin": (-0.8, 0.8), "arccos": (-0.8, 0.8), "tan": (-1.2, 1.2),
}  # fmt: skip
PAIRS = {"power": ((0.3, 2), (-1.7, 2.1)), "divide": ((-2, 2), (0.5, 2)), "remainder": ((0.2, 2.9), (3, 4)),
         "floor_divide": ((0.2, 2.9), (3, 4)), "logaddexp": ((-2, 2), (-1, 1.5))}  # fmt: skip


def case(kind, name):
    """A function of the row and float64 arguments."""
    f = getattr(mx, name)
    if kind == "TERNARY":
        mask = mx.array(np.array([[True, False, True], [False, True, False]]))
        return lambda a, b: f(mask, a, b), [spread(-2, 2), spread(-1, 3)]
    if kind == "BINARY":
        one, two = PAIRS.get(name, ((-2.3, 2.3), (-1.9, 2.4)))
        return f, [spread(*one), spread(*two, shape=(3,))]
    if kind == "REDUCE":
        return lambda a: f(a, axis=0), [spread(-2, 2, (4, 3))]
    return f, [spread(*DOMAINS.get(name, (-2.3, 2.3)))]


def arrays(values):
    return [mx.array(v, dtype=mx.float64) for v in values]


def numbers(x):
    return np.array(x.tolist())


def weighted(f, weights=None):
    """A scalar of f that no symmetry of it hides from."""

    def g(*args):
        y = f(*args)
        w = np.cos(np.arange(y.size) + 1.0).reshape(y.shape) if weights is None else weights
        return mx.sum(y * mx.array(w, dtype=y.dtype))

    return g


def differences(f, values, h=1e-6):
    """The gradient of a scalar function by central differences."""
    result = []
    for i, v in enumerate(values):
        g = np.zeros_like(v)
        for at in np.ndindex(*v.shape):
            ends = []
            for way in (h, -h):
                moved = [np.array(u) for u in values]
                moved[i][at] += way
                ends.append(f(*arrays(moved)).item())
            g[at] = (ends[0] - ends[1]) / (2 * h)
        result.append(g)
    return result


def close(got, want, tolerance=2e-7):
    np.testing.assert_allclose(numbers(got), want, rtol=tolerance, atol=tolerance)


# ---- the table ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, name", FLOAT_ROWS)
def test_gradient_is_that_of_differences(kind, name):
    f, values = case(kind, name)
    argnums = tuple(range(len(values)))
    g = weighted(f)
    want = differences(g, values)
    for compiled in (False, True):
        gradient = mx.grad(g, argnums=argnums)
        gradient = mx.compile(gradient) if compiled else gradient
        got = gradient(*arrays(values))
        for a, b in zip(got if len(values) > 1 else (got,), want):
            close(a, b)
            assert a.dtype == mx.float64


@pytest.mark.parametrize("kind, name", FLOAT_ROWS)
def test_second_derivative_is_that_of_differences(kind, name):
    f, values = case(kind, name)
    argnums = tuple(range(len(values)))
    inner = mx.grad(weighted(f), argnums=argnums)

    def g(*args):
        grads = inner(*args)
        grads = grads if len(values) > 1 else (grads,)
        return sum(weighted(lambda x: x)(one) for one in grads)

    want = differences(g, values)
    got = mx.grad(g, argnums=argnums)(*arrays(values))
    for a, b in zip(got if len(values) > 1 else (got,), want):
        close(a, b, 2e-6)


@pytest.mark.parametrize("kind, name", NOT_FLOAT_ROWS)
def test_what_has_no_derivative_passes_nothing_on(kind, name):
    x = mx.array([[1, 0, 2], [3, 1, 0]])
    f = getattr(mx, name)
    args = (x,) if kind in ("UNARY", "REDUCE") else (x, x)
    got = mx.grad(lambda *a: mx.sum(f(*a).astype(mx.float32)))(*args)
    assert numbers(got).tolist() == np.zeros((2, 3)).tolist()


# ---- structure --------------------------------------------------------------------------------

WEIGHTS = mx.array(spread(-1, 1, (4, 12)), dtype=mx.float64)


def tall(x):
    return mx.concatenate([x.reshape(6, 4), x.reshape(6, 4) * 2, x.reshape(6, 4)])


def long(x):
    return mx.concatenate([x, x * 2, x, x], axis=1)


STRUCTURAL = {
    "reshape": lambda x: x.reshape(3, 8) * 2,
    "transpose": lambda x: mx.transpose(x, (2, 0, 1)),
    "broadcast": lambda x: mx.broadcast_to(x[:, :1], (5, 2, 3, 4)),
    "slice": lambda x: x[::-1, 1:, ::2],
    "slice of one": lambda x: x[1, :, 2],
    "slices over each other": lambda x: x[:, 1:] * x[:, :-1],
    "flatten": lambda x: x.flatten() * x.flatten()[::-1],
    "contiguous": lambda x: mx.contiguous(x.T) if hasattr(mx, "contiguous") else x.T,
    "concatenate": lambda x: mx.concatenate([x, x * 2, x[:, :1]], axis=1),
    "stack": lambda x: mx.stack([x, x * x, x + 1], axis=1),
    "pad": lambda x: mx.pad(x, ((1, 2), (0, 1), (3, 0))),
    "pad with a number": lambda x: mx.pad(x, 1, constant_values=x[0, 0, 0]),
    "take": lambda x: mx.take(x, mx.array([0, 2, 2, -1]), axis=1),
    "take rows": lambda x: mx.take(x, mx.array([[1, 0], [1, 1]]), axis=0),
    "cast": lambda x: x.astype(mx.float32).astype(mx.float64),
    "matmul": lambda x: x @ mx.transpose(x, (0, 2, 1)),
    "matmul vector": lambda x: x @ x[0, 0],
    "matmul by tiles": lambda x: tall(x) @ mx.transpose(tall(x)),
    "batched matmul by tiles": lambda x: long(x) @ mx.transpose(long(x), (0, 2, 1)),
    "matmul with a matrix": lambda x: tall(x) @ WEIGHTS,
    "matmul of a matrix": lambda x: WEIGHTS.T @ tall(x).T,
    "batched matmul with a matrix": lambda x: long(x) @ WEIGHTS,
    "batched matmul of a matrix": lambda x: WEIGHTS.T @ mx.transpose(long(x), (0, 2, 1)),
    "softmax": lambda x: mx.softmax(x, axis=1),
    "logsumexp": lambda x: mx.logsumexp(x, axis=(0, 2)),
    "mean": lambda x: mx.mean(x, axis=1),
    "var": lambda x: mx.var(x, axis=2, ddof=1),
    "std": lambda x: mx.std(x),
    "prod of several axes": lambda x: mx.prod(x, axis=(0, 2)),
    "max of several axes": lambda x: mx.max(x, axis=(0, 2)),
    "sum keepdims": lambda x: x / mx.sum(mx.exp(x), axis=1, keepdims=True),
    "clip": lambda x: mx.clip(x, -0.5, 0.7),
    "empty": lambda x: mx.concatenate([x[:, :0], x * x], axis=1),
}  # fmt: skip


def updated(x):
    y = x * 1
    y[0, 1:, ::2] = x[1, 1:, ::2] * x[1, 1:, ::2]
    y[:, 0] = 3
    return y * x


STRUCTURAL["update"] = updated


@pytest.mark.parametrize("name", STRUCTURAL)
@pytest.mark.parametrize("layout", ["row-major", "transposed"])
def test_structural_gradients(name, layout):
    values = [spread(-1.5, 1.5, (2, 3, 4))]
    f = STRUCTURAL[name]

    def g(x):
        return weighted(f)(x)

    want = differences(g, values)[0]
    x = mx.array(values[0], dtype=mx.float64)
    if layout == "transposed":
        x = mx.array(values[0].T.copy(), dtype=mx.float64).T
    tolerance = 1e-2 if name == "cast" else 2e-7
    for gradient in (mx.grad(g), mx.compile(mx.grad(g))):
        got = gradient(x)
        close(got, want, tolerance)
        assert got.shape == x.shape

    def second(x):
        return weighted(lambda y: y)(mx.grad(g)(x))

    if name != "cast":
        close(mx.grad(second)(x), differences(second, values)[0], 2e-6)


# ---- arguments, containers, results ----------------------------------------------------------


def test_arguments_by_place_and_name():
    f = lambda x, y: x * y  # noqa: E731
    x, y = mx.array(3.0), mx.array(2.0)
    assert mx.grad(f)(x, y).item() == 2
    assert mx.grad(f, argnums=1)(x, y).item() == 3
    assert mx.grad(f, argnums=(0,))(x, y).item() == 2
    assert [g.item() for g in mx.grad(f, argnums=[1, 0])(x, y)] == [2, 3]
    nothing, named = mx.grad(f, argnames="y")(x, y=y)
    assert nothing is None and named["y"].item() == 3
    first, named = mx.grad(f, argnums=0, argnames=["y"])(x, y=y)
    assert first.item() == 2 and named["y"].item() == 3
    assert mx.grad(lambda p, o: p * 1.0)(x, object()).item() == 1


def test_containers_and_auxiliary_results():
    p = {"a": mx.array(2.0), "b": [mx.array(3.0), (mx.array([4.0]),)]}
    g = mx.grad(lambda p: p["a"] * p["b"][0] * p["b"][1][0][0])(p)
    assert g["a"].item() == 12 and g["b"][0].item() == 8 and g["b"][1][0].tolist() == [6]
    assert type(g["b"]) is list and type(g["b"][1]) is tuple
    (value, text, more), g = mx.value_and_grad(lambda x: (x * x, "aux", [x, 1]))(mx.array(3.0))
    assert value.item() == 9 and text == "aux" and more[0].item() == 3 and g.item() == 6
    assert mx.grad(lambda p: p["a"] * 1.0)({"a": p["a"], "b": mx.array(1)})["b"].item() == 0


@pytest.mark.parametrize(
    "make, args, error, words",
    [
        (lambda: mx.grad(lambda x: x), (3.0,), ValueError, "only arrays"),
        (lambda: mx.grad(lambda p: p["a"]), ({"a": None},), ValueError, "only arrays"),
        (lambda: mx.grad(lambda x: x), ([],), ValueError, "no array"),
        (lambda: mx.grad(lambda x: x * x), (mx.ones(2),), ValueError, "scalar"),
        (lambda: mx.grad(lambda x: 3.0), (mx.array(1.0),), ValueError, "float"),
        (lambda: mx.grad(lambda x: (x, 1)), (mx.array(1.0),), ValueError, "tuple"),
        (lambda: mx.value_and_grad(lambda x: [x]), (mx.array(1.0),), ValueError, "list"),
        (lambda: mx.grad(lambda x: x, argnums=-1), (), ValueError, "negative"),
        (lambda: mx.grad(lambda x: x, argnums=(0, 0)), (), ValueError, "duplicate"),
        (lambda: mx.grad(lambda x: x, argnums=2), (mx.array(1.0),), ValueError, "index 2"),
        (lambda: mx.grad(lambda x: x, argnums=()), (), ValueError, "no argument"),
        (lambda: mx.grad(lambda x: x, argnames="z"), (mx.array(1.0),), ValueError, "'z'"),
        (lambda: mx.grad(3), (), TypeError, "function"),
        (lambda: mx.grad(lambda x: 1 / 0), (mx.array(1.0),), ZeroDivisionError, "division"),
    ],
)
def test_errors(make, args, error, words):
    with pytest.raises(error, match=words):
        make()(*args)
    assert mx.grad(lambda x: x * x)(mx.array(3.0)).item() == 6  # nothing is left behind


def test_vjp():
    outs, grads = mx.vjp(
        lambda x, y: (x * y, x + y), [mx.array(3.0), mx.array(2.0)], [mx.array(1.0)] * 2
    )
    assert [o.item() for o in outs] == [6, 5] and [g.item() for g in grads] == [3, 4]
    outs, grads = mx.vjp(mx.sin, (mx.array([1.0, 2.0]),), (mx.array([1, 2]),))
    close(grads[0], np.cos([1, 2]) * [1, 2], 1e-6)
    assert grads[0].dtype == mx.float32
    with pytest.raises(ValueError, match="cotangents"):
        mx.vjp(lambda x: (x, x), [mx.array(1.0)], [mx.array(1.0)])
    with pytest.raises(ValueError, match="cotangent"):
        mx.vjp(lambda x: x, [mx.ones(2)], [mx.array(1.0)])
    with pytest.raises(TypeError, match="primals"):
        mx.vjp(lambda x: x, mx.array(1.0), [mx.array(1.0)])
    with pytest.raises(TypeError, match="result"):
        mx.vjp(lambda x: {"a": x}, [mx.array(1.0)], [mx.array(1.0)])


def test_what_a_function_may_do_while_it_is_differentiated():
    seen = []

    def f(x):
        y = mx.exp(x)
        seen.append(y.item())
        mx.eval(y)
        z = y.reshape(1)[0]
        return z * z if y > 1 else z

    assert mx.grad(f)(mx.array(0.5)).item() == pytest.approx(2 * np.exp(1.0), rel=1e-6)
    assert mx.grad(f)(mx.array(-1.0)).item() == pytest.approx(np.exp(-1.0), rel=1e-6)
    assert seen == pytest.approx([np.exp(0.5), np.exp(-1.0)], rel=1e-6)
    assert mx.grad(lambda x: x * mx.stop_gradient(x))(mx.array(3.0)).item() == 3
    assert mx.stop_gradient(mx.array([1.0, 2.0])).tolist() == [1, 2]
    w = mx.array(5.0)
    assert mx.grad(lambda x: x * w + w)(w).item() == 5  # w is a constant beside its alias


def test_compiled_functions_inside_and_outside():
    x = mx.array(0.7)
    want = np.cos(0.7) * np.exp(np.sin(0.7))
    inner = mx.compile(mx.exp)
    assert mx.grad(lambda x: inner(mx.sin(x)))(x).item() == pytest.approx(want, rel=1e-6)
    outer = mx.compile(mx.grad(lambda x: inner(mx.sin(x))))
    assert outer(x).item() == pytest.approx(want, rel=1e-6)
    twice = mx.compile(mx.grad(mx.compile(mx.grad(lambda x: x * x * x))))
    assert twice(mx.array(2.0)).item() == 12
    # the document's program
    grad_fn = mx.grad(mx.exp)
    compiled_grad_fn = mx.compile(grad_fn)
    assert str(grad_fn(mx.array(1.0))) == str(compiled_grad_fn(mx.array(1.0)))


def test_a_compiled_function_that_captures_what_is_differentiated():
    def f(w):
        scaled = mx.compile(lambda x: x * w)
        return scaled(mx.array(3.0)) + scaled(mx.array(4.0))

    assert mx.grad(f)(mx.array(2.0)).item() == 7


def test_nothing_of_a_function_is_kept_after_it():
    before = mx.get_active_memory()
    losses = []

    def f(x):
        big = mx.exp(x)
        mx.eval(big)
        loss = mx.sum(big * big)
        mx.eval(loss)
        return loss

    for _ in range(5):
        loss, g = mx.value_and_grad(f)(mx.ones((1 << 18,)))
        mx.eval(loss, g)
        losses.append(loss)
        del g
    assert mx.get_active_memory() - before < 1 << 20


def test_long_chains():
    def f(x):
        for _ in range(20000):
            x = x + 1.0
        return x * x

    mx.grad(f)(mx.array(1.0))  # built, walked and freed without recursion


# ---- jvp ------------------------------------------------------------------------------------------


def transposed_pairs_agree(f, values):
    """<vjp(c), t> is <c, jvp(t)>."""
    xs = arrays(values)
    tangents = [
        mx.array(np.sin(3.0 + np.arange(v.size)).reshape(v.shape), dtype=mx.float64) for v in values
    ]
    y = f(*xs)
    c = mx.array(np.cos(np.arange(y.size) + 0.5).reshape(y.shape), dtype=y.dtype)
    _, grads = mx.vjp(f, xs, [c])
    for g in (lambda x, t: mx.jvp(f, x, t), mx.compile(lambda x, t: mx.jvp(f, x, t))):
        outs, changes = g(xs, tangents)
        close(outs[0], numbers(y), 1e-12)
        assert changes[0].shape == y.shape and changes[0].dtype == y.dtype
        left = sum(np.vdot(numbers(g), numbers(t)) for g, t in zip(grads, tangents))
        np.testing.assert_allclose(
            left, np.vdot(numbers(c), numbers(changes[0])), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("kind, name", FLOAT_ROWS)
def test_jvp_is_the_transpose_of_vjp(kind, name):
    transposed_pairs_agree(*case(kind, name))


@pytest.mark.parametrize("name", [n for n in STRUCTURAL if n != "cast"])
def test_jvp_of_structure(name):
    transposed_pairs_agree(STRUCTURAL[name], [spread(-1.5, 1.5, (2, 3, 4))])


def test_jvp():
    x, t = mx.array(0.3), mx.array(2.0)
    outs, changes = mx.jvp(mx.sin, [x], [t])
    assert outs[0].item() == pytest.approx(np.sin(0.3)) and changes[0].item() == pytest.approx(
        2 * np.cos(0.3)
    )
    outs, changes = mx.jvp(lambda x, y: (x * y, mx.array([3.0, 1.0])), (x, x), (t, t))
    assert changes[0].item() == pytest.approx(1.2) and changes[1].tolist() == [0, 0]
    second = mx.jvp(lambda x: mx.jvp(mx.sin, [x], [mx.array(1.0)])[1][0], [x], [mx.array(1.0)])[1][
        0
    ]
    assert second.item() == pytest.approx(-np.sin(0.3))
    mixed = mx.grad(lambda x: mx.jvp(mx.sin, [x], [mx.array(1.0)])[1][0])(x)
    assert mixed.item() == pytest.approx(-np.sin(0.3))
    over = mx.jvp(
        mx.grad(lambda x: mx.sum(x * x * x)), [mx.array([1.0, 2.0])], [mx.array([1.0, 0.0])]
    )
    assert over[1][0].tolist() == [6, 0]
    rows = mx.vmap(lambda e: mx.jvp(lambda x: x * x, [mx.array([1.0, 2.0])], [e])[1][0])(
        mx.array(np.eye(2))
    )
    assert rows.tolist() == [[2, 0], [0, 4]]
    with pytest.raises(ValueError, match="tangents"):
        mx.jvp(mx.sin, [x], [t, t])
    with pytest.raises(ValueError, match="tangent"):
        mx.jvp(mx.sin, [mx.ones(2)], [t])
