"""Attention by its routine: against numpy, its gradients against the composed form's."""

import math

import ferrule.core as mx
import numpy as np
import pytest
from ferrule import _core


def reference(q, k, v, scale, mask=None, causal=False):
    heads, groups = q.shape[1], k.shape[1]
    k, v = (np.repeat(x, heads // groups, axis=1) for x in (k, v))
    scores = np.einsum("bhld,bhsd->bhls", q, k) * scale
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        i, j = np.ogrid[: q.shape[2], : k.shape[2]]
        scores = np.where(j <= i + k.shape[2] - q.shape[2], scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhls,bhsd->bhld", e / e.sum(-1, keepdims=True), v)


def composed(q, k, v, scale, mask, causal):
    repeats = q.shape[1] // k.shape[1]
    shape = (k.shape[0], k.shape[1], repeats, *k.shape[2:])
    wide = mx.broadcast_to(k[:, :, None], shape).reshape(q.shape[0], q.shape[1], *k.shape[2:])
    values = mx.broadcast_to(v[:, :, None], (*shape[:4], v.shape[3]))
    values = values.reshape(q.shape[0], q.shape[1], *v.shape[2:])
    scores = (q @ wide.transpose(0, 1, 3, 2)) * scale
    if mask is not None:
        scores = mx.where(mask, scores, -math.inf) if mask.dtype == mx.bool_ else scores + mask
    if causal:
        i, j = mx.arange(q.shape[2])[:, None], mx.arange(k.shape[2])
        scores = mx.where(j <= i + (k.shape[2] - q.shape[2]), scores, -math.inf)
    return mx.softmax(scores, axis=-1) @ values


def make(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


CASES = [
    # B, H, G, L, S, D, E, mask, causal
    (1, 1, 1, 1, 1, 1, 1, None, False),
    (2, 4, 2, 33, 33, 16, 16, None, True),
    (2, 3, 3, 50, 70, 24, 40, "bool", False),
    (1, 2, 1, 49, 130, 64, 32, "float", False),
    (1, 2, 2, 20, 400, 8, 8, "float", True),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradients(case, compiled, looser):
    b, h, g, n, m, d, e, kind, causal = case
    rng = np.random.default_rng(1)
    q, k, v = make(rng, b, h, n, d), make(rng, b, g, m, d), make(rng, b, g, m, e)
    mask = None
    if kind == "bool":
        mask = rng.random((1, h, n, m)) < 0.7
        mask[..., 0] = True
    elif kind == "float":
        mask = make(rng, n, m)
    scale = 1 / math.sqrt(d)
    arrays = [mx.array(x) for x in (q, k, v)]
    given = None if mask is None else mx.array(mask)
    wanted = reference(*(x.astype(np.float64) for x in (q, k, v)), scale, mask, causal)

    def full(*arrays):
        wide = None if given is None else mx.broadcast_to(given, (b, h, n, m))
        return _core._attention(*arrays, scale, wide, causal)

    weights = mx.array(make(rng, b, h, n, e))

    def loss(*arrays):
        return (full(*arrays) * weights).sum()

    def plain(*arrays):
        return (composed(*arrays, scale, given, causal) * weights).sum()

    wrap = mx.compile if compiled else lambda f: f
    np.testing.assert_allclose(np.array(wrap(full)(*arrays)), wanted, atol=looser * 3e-6)
    have = wrap(mx.grad(loss, argnums=(0, 1, 2)))(*arrays)
    want = mx.grad(plain, argnums=(0, 1, 2))(*arrays)
    for x, y in zip(have, want):
        np.testing.assert_allclose(np.array(x), np.array(y), atol=2e-5)


def test_second_derivatives_and_the_masks_gradient():
    rng = np.random.default_rng(2)
    q, k, v = (mx.array(make(rng, 1, 2, 5, 4)) for _ in range(3))
    mask, weights = mx.array(make(rng, 1, 2, 5, 5)), mx.array(make(rng, 1, 2, 5, 4))

    def by(attend):
        def loss(q, k, v, mask):
            return (attend(q, k, v, mask) * weights).sum()

        def slope(q, k, v, mask):
            return mx.square(mx.grad(loss)(q, k, v, mask)).sum()

        return mx.grad(loss, argnums=(0, 1, 2, 3))(q, k, v, mask) + mx.grad(
            slope, argnums=(0, 1, 2, 3)
        )(q, k, v, mask)

    have = by(lambda q, k, v, mask: _core._attention(q, k, v, 0.5, mask, False))
    want = by(lambda q, k, v, mask: composed(q, k, v, 0.5, mask, False))
    for x, y in zip(have, want):
        np.testing.assert_allclose(np.array(x), np.array(y), atol=1e-5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float64])
def test_other_dtypes(dtype):
    rng = np.random.default_rng(3)
    q, k, v = (mx.array(make(rng, 2, 2, 30, 16)).astype(dtype) for _ in range(3))
    y = _core._attention(q, k, v, 0.25, None, True)
    assert y.dtype == dtype and y.shape == (2, 2, 30, 16)
    wanted = reference(*(np.array(x.astype(mx.float32)) for x in (q, k, v)), 0.25, None, True)
    slack = {mx.float16: 2e-3, mx.bfloat16: 2e-2, mx.float64: 1e-6}[dtype]
    np.testing.assert_allclose(np.array(y.astype(mx.float32)), wanted, atol=slack)


@pytest.mark.cpu_only("one routine, where a GPU has two products")
def test_transposed_operands_are_read_where_they_lie():
    rng = np.random.default_rng(4)
    q, k, v = (mx.array(make(rng, 2, 40, 3, 8)) for _ in range(3))
    mx.eval(q, k, v)
    turned = [x.transpose(0, 2, 1, 3) for x in (q, k, v)]
    y = _core._attention(*turned, 0.3, None, False)
    text = mx.describe(y)
    assert "attention" in text and "kernel" not in text
    wanted = reference(*(np.array(x) for x in turned), 0.3)
    np.testing.assert_allclose(np.array(y), wanted, atol=3e-6)


def test_errors_and_rows_that_see_nothing():
    q, k = mx.zeros((1, 2, 3, 4)), mx.zeros((1, 2, 3, 5))
    with pytest.raises(ValueError, match="shapes don't fit"):
        _core._attention(q, k, k, 1.0, None, False)
    with pytest.raises((TypeError, ValueError), match="one float dtype"):
        _core._attention(q, q.astype(mx.float16), q, 1.0, None, False)
    hidden = mx.zeros((1, 2, 3, 3), dtype=mx.bool_)
    assert np.isnan(np.array(_core._attention(q, q, q, 1.0, hidden, False))).all()


def test_gradients_of_very_many_keys():
    """Scores of rows are not kept for all of them."""
    rng = np.random.default_rng(5)
    q, k, v, w = (
        mx.array(rng.standard_normal((1, 1, n, 8)).astype(np.float32)) for n in (3, 4500, 4500, 3)
    )

    def loss(q, k, v):
        return mx.sum(mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5) * w)

    def composed(q, k, v):
        return mx.sum((mx.softmax(q @ mx.swapaxes(k, -1, -2) * 0.5, axis=-1) * 1.0) @ v * w)

    for a, b in zip(
        mx.grad(loss, argnums=(0, 1, 2))(q, k, v), mx.grad(composed, argnums=(0, 1, 2))(q, k, v)
    ):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-4, atol=1e-5)
