"""Results lie in memory as what they are made of: x.T + 1 as x does. Values never depend on it."""

import ferrule.core as mx
import numpy as np
import pytest

x = np.arange(24, dtype=np.float32).reshape(4, 6) / 7
y = x + 0.5
cube = np.arange(60, dtype=np.int32).reshape(3, 4, 5)


def strides(a):
    return memoryview(a).strides


FUNCTIONS = {
    "one": lambda F, a, b: F.exp(a),
    "two": lambda F, a, b: a * b + 2,
    "cast": lambda F, a, b: F.floor(a * 9).astype(F.int32),
    "flip": lambda F, a, b: a[::-1] * 2,
    "part": lambda F, a, b: a[1:, ::2] - b[:-1, 1::2],
    "rows": lambda F, a, b: a + b[0],
    "columns": lambda F, a, b: a * b[:, :1],
    "joined 0": lambda F, a, b: F.concatenate([a, b * 2], 0),
    "joined 1": lambda F, a, b: F.concatenate([a, b, a], 1),
    "stacked 0": lambda F, a, b: F.stack([a, b], 0),
    "stacked 1": lambda F, a, b: F.stack([a, b], 1),
    "padded": lambda F, a, b: F.pad(a, 1),
    "softmax": lambda F, a, b: (
        F.exp(a - F.max(a, 1, keepdims=True)) / F.sum(F.exp(b), 1, keepdims=True)
    ),
    "padded with 2": lambda F, a, b: F.pad(a, 1, constant_values=2),
    "expanded": lambda F, a, b: a[:, None] * b[:, None],
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("compiled", [False, True])
def test_results_are_as_what_they_are_made_of(name, compiled):
    def function(a, b):
        return FUNCTIONS[name](mx, a.T, b.T)

    ours = (mx.compile(function) if compiled else function)(mx.array(x), mx.array(y))
    want = FUNCTIONS[name](np, x.T, y.T)
    np.testing.assert_allclose(np.array(ours), want, rtol=2e-6)
    assert ours.shape == want.shape
    kept = [d for d in range(want.ndim) if want.shape[d] > 1]
    inner = min(kept, key=lambda d: strides(ours)[d])
    assert inner != kept[-1], strides(ours)


def test_every_order_of_three_dimensions():
    a = mx.array(cube)
    for axes in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
        ours = mx.transpose(a, axes) * 3
        want = np.transpose(cube, axes) * 3
        assert np.array_equal(np.array(ours), want)
        assert strides(ours) == want.strides


def test_used_again_and_held():
    a = mx.array(x)
    b = mx.exp(a.T)
    c = b.reshape(-1) + 1
    d = b @ a
    mx.eval(b, c, d)
    np.testing.assert_allclose(np.array(c), np.exp(x.T).reshape(-1) + 1, rtol=2e-6)
    np.testing.assert_allclose(np.array(d), np.exp(x.T) @ x, rtol=2e-5)
    e = b + 1
    assert strides(e) == strides(b)
    np.testing.assert_allclose(np.array(e), np.exp(x.T) + 1, rtol=2e-6)


def test_updated_in_part():
    a = mx.array(x).T
    b = a.at[1:3].add(mx.array(y).T[1:3])
    a[1:3] = 5
    want = x.T.copy()
    assert strides(b) == strides(a) == (4, 24)
    want[1:3] += y.T[1:3]
    np.testing.assert_allclose(np.array(b), want, rtol=2e-6)
    want[1:3] = 5
    np.testing.assert_allclose(np.array(a), want, rtol=2e-6)


def test_row_major_where_operands_disagree_or_it_is_asked_for():
    a = mx.array(x)
    for row_major in (a.T + mx.array(np.ascontiguousarray(y.T)), mx.contiguous(mx.exp(a.T))):
        assert strides(row_major) == (16, 4)
    assert strides(mx.contiguous(a.T)) == (16, 4)
    assert strides((a.T + 1).T) == (24, 4)


@pytest.mark.parametrize("axis", [None, 0, 1, 2, (0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_reductions_go_over_what_they_reduce_as_it_lies(order, axis):
    a = np.transpose(cube, order)
    ours = mx.transpose(mx.array(cube), order)
    for name in ("sum", "max", "prod"):
        for keepdims in (False, True):
            got = getattr(mx, name)(ours % 5 + 1, axis=axis, keepdims=keepdims)
            want = getattr(np, name)(a % 5 + 1, axis=axis, keepdims=keepdims)
            if name != "prod":
                assert np.array_equal(np.array(got), want)
            assert got.shape == want.shape
            assert strides(mx.contiguous(got + 1)) == np.zeros(want.shape, np.int32).strides
    if not isinstance(axis, tuple):
        assert np.array_equal(np.array(mx.argmax(-ours, axis)), np.argmax(-a, axis))
    got = ours - mx.mean(ours, axis=axis, keepdims=True)
    np.testing.assert_allclose(np.array(got), a - a.mean(axis, keepdims=True), rtol=1e-5, atol=1e-4)
