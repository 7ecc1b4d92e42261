"""Attention that is written out is attention: one pass over the keys, and its derivatives."""

import ferrule.core as mx
import numpy as np
import pytest

L, S, D = 136, 128, 16


def some(*shape, seed=0, dtype=mx.float32):
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return mx.array(x).astype(dtype)


def by_hand(s):
    e = mx.exp(s - mx.max(s, axis=-1, keepdims=True))
    return e / mx.sum(e, axis=-1, keepdims=True)


def swap(k):
    return mx.swapaxes(k, -1, -2)


TRIL = np.tril(np.ones((L, S), bool), S - L + 20)
TRIL[:, 0] = True
ADDED = mx.array(np.where(TRIL, 0, -np.inf).astype(np.float32))
KEEP = mx.array(TRIL)

# name -> (program of q, k, v, softmax), whether it is seen
FORMS = {
    "plain": (lambda q, k, v, f: f(q @ swap(k)) @ v, True),
    "factor": (lambda q, k, v, f: f(q @ swap(k) * 0.25) @ v, True),
    "factor first": (lambda q, k, v, f: f(0.25 * (q @ swap(k))) @ v, True),
    "divisor": (lambda q, k, v, f: f((q @ swap(k)) / 4) @ v, True),
    "query scaled": (lambda q, k, v, f: f((q * 0.25) @ swap(k)) @ v, True),
    "added": (lambda q, k, v, f: f(q @ swap(k) * 0.25 + ADDED) @ v, True),
    "added first": (lambda q, k, v, f: f(ADDED + q @ swap(k) / 4) @ v, True),
    "a bias of heads": (lambda q, k, v, f: f(q @ swap(k) + some(L, S, seed=9)) @ v, True),
    "where": (lambda q, k, v, f: f(mx.where(KEEP, q @ swap(k) * 0.25, -mx.inf)) @ v, True),
    "where low": (lambda q, k, v, f: f(mx.where(KEEP, q @ swap(k) * 0.25, -1e9)) @ v, True),
    "where not low": (lambda q, k, v, f: f(mx.where(KEEP, q @ swap(k) * 0.25, -2.0)) @ v, False),
    "mask scaled too": (lambda q, k, v, f: f((q @ swap(k) + some(L, S, seed=9)) * 0.25) @ v, False),
    "other axis": (lambda q, k, v, f: mx.softmax(q @ swap(k), axis=-2) @ v, False),
    "two masks": (
        lambda q, k, v, f: f(mx.where(KEEP, q @ swap(k) + some(L, S, seed=9), -mx.inf)) @ v,
        False,
    ),
    "something between": (lambda q, k, v, f: f(mx.sin(q @ swap(k))) @ v, False),
    "after": (lambda q, k, v, f: (f(q @ swap(k)) * 2) @ v, False),
    "scaled by nothing": (lambda q, k, v, f: f(q @ swap(k) * 0.0) @ v, False),
}
SHAPES = {
    "one": (),
    "heads": (3,),
    "batch of heads": (2, 3),
    "more": (2, 1, 3),
}


def numpy_of(form, q, k, v):
    """The same by the same program, every step by itself."""

    def softmax(s):
        s = np.array(s.astype(mx.float32), np.float64)
        with np.errstate(invalid="ignore"):
            e = np.exp(s - s.max(-1, keepdims=True))
            return Stored(e / e.sum(-1, keepdims=True))

    return form(q, k, v, softmax)


class Stored:
    def __init__(self, p):
        self.p = p

    def __matmul__(self, v):
        return self.p @ np.array(v.astype(mx.float32), np.float64)


def is_seen(y):
    """Whether what y is made of is attention."""
    return "ATTENTION" in mx.describe(y)


@pytest.mark.parametrize(
    "softmax", [lambda s: mx.softmax(s, axis=-1), by_hand], ids=["own", "by hand"]
)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FORMS)
def test_forms(name, shape, softmax):
    form, seen = FORMS[name]
    b = SHAPES[shape]
    q, k, v = some(*b, L, D, seed=1), some(*b, S, D, seed=2), some(*b, S, D + 3, seed=3)
    mx.eval(q, k, v)
    y = form(q, k, v, softmax)
    assert is_seen(y) == seen
    if name not in ("other axis", "after"):
        np.testing.assert_allclose(np.array(y), numpy_of(form, q, k, v), rtol=2e-5, atol=2e-5)
    compiled = mx.compile(lambda q, k, v: form(q, k, v, softmax))
    np.testing.assert_allclose(np.array(compiled(q, k, v)), np.array(y), rtol=1e-6, atol=1e-6)


def test_a_row_that_sees_nothing():
    keep = np.ones((L, S), bool)
    keep[5] = False
    q, k, v = some(L, D, seed=1), some(S, D, seed=2), some(S, D, seed=3)
    for low in (-np.inf, -1e9):
        s = mx.where(mx.array(keep), q @ k.T, low)
        y = np.array(mx.softmax(s, axis=-1) @ v)
        p = mx.softmax(s, axis=-1)
        mx.eval(p)
        np.testing.assert_allclose(y, np.array(p @ v), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["q", "k", "v", "mask"])
def test_what_is_not_finite_comes_through(where, value):
    all = {n: np.array(some(128, 128, seed=i)) for i, n in enumerate(["q", "k", "v", "mask"])}
    all[where][3, 5] = value
    q, k, v, mask = (mx.array(x) for x in all.values())
    s = q @ k.T + mask
    y = mx.softmax(s, axis=-1) @ v
    assert is_seen(y)
    p = mx.softmax(s, axis=-1)
    mx.eval(p)
    np.testing.assert_allclose(np.array(y), np.array(p @ v), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("wide", [False, True])
def test_halves(dtype, wide):
    q, k, v = (some(2, 3, 128, 32, seed=i, dtype=dtype) for i in range(3))
    mx.eval(q, k, v)
    s = q @ swap(k) * 0.17677669
    p = mx.softmax(s.astype(mx.float32), axis=-1).astype(dtype) if wide else mx.softmax(s, axis=-1)
    y = p @ v
    assert is_seen(y) and y.dtype == dtype
    want = numpy_of(
        lambda q, k, v, f: f(q @ swap(k) * 0.17677669) @ v,
        *(x.astype(mx.float32) for x in (q, k, v)),
    )
    np.testing.assert_allclose(np.array(y.astype(mx.float32)), want, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["factor", "added", "where", "query scaled"])
def test_gradients(name, compiled):
    form, _ = FORMS[name]
    q, k, v, w = (
        some(2, n, m, seed=i) for i, (n, m) in enumerate([(L, D), (S, D), (S, D), (L, D)])
    )

    def loss(q, k, v):
        return mx.sum(form(q, k, v, lambda s: mx.softmax(s, axis=-1)) * w)

    def apart(q, k, v):  # a softmax that isn't seen
        return mx.sum(form(q, k, v, lambda s: mx.softmax(s, axis=-1) * 1.0 + 0.0) * w)

    f = mx.value_and_grad(loss, argnums=(0, 1, 2))
    y, got = (mx.compile(f) if compiled else f)(q, k, v)
    z, want = mx.value_and_grad(apart, argnums=(0, 1, 2))(q, k, v)
    np.testing.assert_allclose(y.item(), z.item(), rtol=1e-4)
    for a, b in zip(got, want):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-4, atol=1e-4)


def test_a_mask_with_a_gradient_stays_composed():
    q, k, v, m = some(L, D, seed=1), some(S, D, seed=2), some(S, D, seed=3), some(L, S, seed=4)
    g = mx.grad(lambda m: mx.sum(mx.softmax(q @ k.T + m, axis=-1) @ v))(m)
    h = mx.grad(lambda m: mx.sum((mx.softmax(q @ k.T + m, axis=-1) * 1.0) @ v))(m)
    np.testing.assert_allclose(np.array(g), np.array(h), rtol=1e-4, atol=1e-5)


def test_weights_that_are_used_too():
    q, k, v = some(L, D, seed=1), some(S, D, seed=2), some(S, D, seed=3)
    p = mx.softmax(q @ k.T, axis=-1)
    y = p @ v
    mx.eval(y, p)
    np.testing.assert_allclose(np.array(y), np.array(p) @ np.array(v), rtol=1e-5, atol=1e-5)


def test_small_ones_and_doubles_are_left_alone():
    q = some(8, 4, seed=1)
    assert not is_seen(mx.softmax(q @ q.T, axis=-1) @ q)
