"""mx.vmap: every row of the table, and structure, against a loop over the batch."""

import ferrule.core as mx
import numpy as np
import pytest
from test_transforms import DOMAINS, PAIRS, ROWS, STRUCTURAL, numbers, spread, weighted

B = 3


def loop(f, args, axes, out_axis=0):
    """f for each element by itself, stacked."""

    def one(x, axis, i):
        return x if axis is None else mx.array(np.take(numbers(x), i, axis), dtype=x.dtype)

    results = [f(*[one(x, a, i) for x, a in zip(args, axes)]) for i in range(B)]
    return np.stack([numbers(r) for r in results], out_axis)


def same(got, want, tolerance=1e-9):
    np.testing.assert_allclose(numbers(got), want, rtol=tolerance, atol=tolerance)


def batches(kind, name, rule):
    """Arguments of a row with a batch in axis 0, 1 and nowhere."""
    whole = rule in ("BITS", "SHIFT", "LOGICAL")

    def make(domain, shape):
        values = spread(*domain, shape=shape)
        if whole:
            return mx.array(np.abs(np.rint(values)).astype(np.int32))
        return mx.array(values, dtype=mx.float64)

    if kind == "BINARY":
        one, two = PAIRS.get(name, ((-2.3, 2.3), (-1.9, 2.4)))
        return [make(one, (B, 2, 4)), make(two, (4, B))], [(0, 1), (0, None), (None, 1)]
    x = make(DOMAINS.get(name, (-2.3, 2.3)), (2, B, 4))
    if kind == "TERNARY":
        mask = mx.array(np.arange(2 * B * 4).reshape(2, B, 4) % 3 > 0)
        return [mask, x, make((-1, 2), (2, 4))], [(1, 1, None)]
    return [x], [(1,), (-2,)]


@pytest.mark.parametrize("kind, name, rule", ROWS)
def test_rows_are_what_a_loop_gives(kind, name, rule):
    f = getattr(mx, name)
    g = (lambda x: f(x, axis=0)) if kind == "REDUCE" else f
    args, all_axes = batches(kind, name, rule)
    for axes in all_axes:
        given = list(args)
        if kind == "BINARY" and axes[0] is None:
            given[0] = args[0][0, 0]
        if kind == "BINARY" and axes[1] is None:
            given[1] = args[1][:, 0]
        want = loop(g, given, axes)
        for h in (mx.vmap(g, in_axes=axes), mx.compile(mx.vmap(g, in_axes=axes))):
            same(h(*given), want)


@pytest.mark.parametrize("name", STRUCTURAL)
def test_structure_is_what_a_loop_gives(name):
    f = STRUCTURAL[name]
    x = mx.array(spread(-1.5, 1.5, (2, 3, 4, B)), dtype=mx.float64)
    want = loop(f, [x], [3])
    for h in (mx.vmap(f, in_axes=3), mx.compile(mx.vmap(f, in_axes=3))):
        same(h(x), want)
    # gradient of a batch, batch of gradients
    got = mx.grad(lambda x: mx.sum(mx.vmap(weighted(f), in_axes=3)(x)))(x)
    want = loop(mx.grad(weighted(f)), [x], [3], out_axis=3)
    tolerance = 1e-5 if name == "cast" else 1e-9
    same(got, want, tolerance)
    same(mx.vmap(mx.grad(weighted(f)), in_axes=3, out_axes=3)(x), want, tolerance)
    same(mx.compile(mx.vmap(mx.grad(weighted(f)), in_axes=3, out_axes=-1))(x), want, tolerance)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("indices", [(4,), (2, 2), ()])
@pytest.mark.parametrize("axes", [(0, 0), (2, None), (None, -1)])
def test_take(axis, indices, axes):
    x = mx.array(spread(-1, 1, (2, 3, 4)), dtype=mx.float64)
    index = np.arange(int(np.prod(indices)) * B).reshape(indices + (B,)) % 5 - 2
    index = mx.array(index.astype(np.int32))
    index = index if axes[1] is not None else mx.array(numbers(index)[..., 0].astype(np.int32))
    if axes[1] == 0:
        index = mx.moveaxis(index, -1, 0)
    if axes[0] is not None:
        x = mx.moveaxis(mx.stack([x, x * 2, x + 1]), 0, axes[0])
    f = lambda x, i: mx.take(x, i, axis=axis)  # noqa: E731
    same(mx.vmap(f, in_axes=axes)(x, index), loop(f, [x, index], axes))


def test_nested_batches():
    x = mx.array(spread(-1, 1, (B, 2, 4)), dtype=mx.float64)
    f = lambda x: mx.softmax(x) * x[0]  # noqa: E731
    want = np.stack([np.stack([numbers(f(x[i, j])) for j in range(2)]) for i in range(B)])
    same(mx.vmap(mx.vmap(f))(x), want)
    outer = mx.vmap(lambda row: mx.vmap(lambda v: v @ row[0])(row))
    same(outer(x), np.einsum("bij,bj->bi", numbers(x), numbers(x)[:, 0]))
    pairs = mx.vmap(mx.vmap(lambda a, b: a * b, in_axes=(None, 0)), in_axes=(0, None))
    same(pairs(mx.arange(3.0), mx.arange(4.0)), np.outer(np.arange(3), np.arange(4)))
    # a Hessian: the gradient's gradient for each direction
    v = mx.array([0.3, 0.7, 1.1], dtype=mx.float64)
    g = mx.grad(lambda v: mx.sum(v) ** 3 + v[0] * v[1])
    rows = mx.vmap(lambda e: mx.grad(lambda v: mx.sum(g(v) * e))(v))(mx.array(np.eye(3)))
    want = 6 * 2.1 * np.ones((3, 3))
    want[0, 1] += 1
    want[1, 0] += 1
    np.testing.assert_allclose(numbers(rows), want, rtol=1e-5)


def test_containers_and_axes():
    d = {"a": mx.ones((2, 3)), "b": mx.ones((3, 2))}
    f = lambda d: {"x": d["a"], "y": [d["b"], (d["b"],)]}  # noqa: E731
    got = mx.vmap(f, in_axes=({"a": 0, "b": 1},), out_axes={"x": 1, "y": [0, -1]})(d)
    assert got["x"].shape == (3, 2) and got["y"][0].shape == (2, 3)
    assert got["y"][1][0].shape == (3, 2)
    assert mx.vmap(f, in_axes={"a": 0, "b": 1})(d)["x"].shape == (2, 3)
    assert mx.vmap(lambda a, b: a + b[0], in_axes=(0, None))(
        mx.ones((2, 3)), [mx.ones(3)]
    ).shape == (2, 3)
    assert mx.vmap(lambda x: mx.array(3.0))(mx.ones((2, 3))).tolist() == [3, 3]
    assert mx.vmap(lambda x: (x, mx.array(3.0)), out_axes=(0, None))(mx.ones(2))[1].item() == 3
    x = mx.ones((0, 3))
    assert mx.vmap(lambda x: mx.softmax(x) @ mx.ones((3, 2)))(x).shape == (0, 2)
    assert mx.vmap(lambda x: x)(mx.array([True, False])).dtype == mx.bool_


def test_what_is_shared_is_computed_once():
    w = mx.array(spread(-1, 1, (4, 4)), dtype=mx.float64)
    mx.eval(w)
    f = mx.vmap(lambda x: x + mx.sum(mx.exp(w)))
    same(f(mx.arange(3.0)), np.arange(3) + np.exp(numbers(w)).sum(), 1e-6)
    key = mx.random.key(3)
    same(mx.vmap(lambda x: x + mx.random.uniform(key=key, shape=(2,)))(mx.zeros((3,))),
         np.stack([numbers(mx.random.uniform(key=key, shape=(2,)))] * 3), 1e-6)  # fmt: skip
    keys = mx.stack([mx.random.key(i) for i in range(3)])
    same(mx.vmap(lambda k: mx.random.normal(key=k, shape=(2,)))(keys),
         np.stack([numbers(mx.random.normal(key=mx.random.key(i), shape=(2,))) for i in range(3)]), 1e-6)  # fmt: skip


@pytest.mark.parametrize(
    "make, args, error, words",
    [
        (
            lambda: mx.vmap(lambda x, y: x),
            (mx.ones((2, 3)), mx.ones((3, 3))),
            ValueError,
            "2 and of 3",
        ),
        (lambda: mx.vmap(lambda x: x), (mx.array(1.0),), IndexError, "no axis 0"),
        (lambda: mx.vmap(lambda x: x, in_axes=5), (mx.ones((2, 3)),), IndexError, "no axis 5"),
        (lambda: mx.vmap(lambda x: x, out_axes=5), (mx.ones((2, 3)),), IndexError, "no axis 5"),
        (lambda: mx.vmap(lambda x: x, in_axes=None), (mx.ones(2),), ValueError, "at least one"),
        (lambda: mx.vmap(lambda x: x, out_axes=None), (mx.ones(2),), ValueError, "out_axes"),
        (
            lambda: mx.vmap(lambda x, y: x, in_axes=(0,)),
            (mx.ones(2), mx.ones(2)),
            ValueError,
            "prefix",
        ),
        (lambda: mx.vmap(lambda x, y: x), (mx.ones(2), 2), ValueError, "only arrays"),
        (lambda: mx.vmap(lambda x: (x, 3)), (mx.ones(2),), ValueError, "only arrays"),
        (lambda: mx.vmap(lambda x: float(x)), (mx.ones(2),), mx.TraceError, "vmap"),
        (lambda: mx.vmap(lambda x: print(x)), (mx.ones(2),), mx.TraceError, "test_vmap.py"),
        (lambda: mx.vmap(lambda x: 1 / 0), (mx.ones(2),), ZeroDivisionError, "division"),
        (lambda: mx.vmap(1), (), TypeError, "function"),
    ],
)
def test_errors(make, args, error, words):
    with pytest.raises(error, match=words):
        make()(*args)
    with pytest.raises(TypeError, match="keyword"):
        mx.vmap(lambda x, y=1: x)(mx.ones(2), y=2)
    assert mx.vmap(lambda x: x * 2)(mx.ones(2)).tolist() == [2, 2]


def test_a_leaked_placeholder_is_an_error():
    kept = []
    mx.vmap(lambda x: kept.append(x) or x)(mx.ones(2))
    with pytest.raises(mx.TraceError, match="vmap"):
        kept[0].item()
    with pytest.raises(mx.TraceError):
        mx.eval(kept[0] + 1)


def test_compiled_functions_inside():
    f = mx.compile(lambda x: mx.exp(x) * 2)
    same(mx.vmap(f)(mx.arange(3.0)), np.exp(np.arange(3)) * 2, 1e-6)
    assert mx.compile(mx.vmap(mx.compile(mx.grad(f))))(mx.zeros(3)).tolist() == [2, 2, 2]
