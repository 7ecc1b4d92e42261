"""Kernels that take what another has just made are one with it (src/graph/merge.c): counted, what they
read and write counted, and the same numbers as without fusion and from numpy."""

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest

ROWS, COLUMNS = 70, 1003
MATRIX = 4 * ROWS * COLUMNS
ROW = 4 * ROWS


def some(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(f, *args):
    """What it gives as numpy arrays, and its kernels."""
    g = mx.compile(f)
    results = [np.array(y) for y in g(*(mx.array(x) for x in args))]
    return results, mx.explain(g, as_dict=True)[-1]["kernels"]


def check(f, wanted, *args, rtol=2e-6):
    """The kernels of f, whose results are wanted."""
    results, kernels = run(f, *args)
    for got, want in zip(results, wanted):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-6)
    return kernels


def test_a_cross_entropy_with_its_gradient_goes_over_the_logits_once():
    x, labels = some(ROWS, COLUMNS), np.arange(ROWS, dtype=np.int32) * 7

    def loss(x, labels):
        return nn.losses.cross_entropy(x, labels, reduction="mean")

    wide = x.astype(np.float64)
    p = np.exp(wide - wide.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    one = np.eye(COLUMNS)[labels]
    rows, mean = check(
        mx.value_and_grad(loss),
        [-np.log(p[np.arange(ROWS), labels]).mean(), (p - one) / ROWS],
        x,
        labels,
        rtol=2e-5,
    )
    assert rows["reads"] == MATRIX + 4 * ROWS
    assert MATRIX <= rows["writes"] <= MATRIX + 3 * ROW  # the gradient, and a few numbers a row
    assert mean["writes"] == 4


def test_mean_and_variance_are_one_reading():
    x = some(ROWS, COLUMNS)
    (kernel,) = check(lambda x: (x.mean(-1), x.var(-1)), [x.mean(-1), x.var(-1)], x)
    assert (kernel["reads"], kernel["writes"]) == (MATRIX, 2 * ROW)


@pytest.mark.parametrize("axis", [0, 1])
def test_what_was_reduced_and_what_is_made_of_it(axis):
    x = some(ROWS, COLUMNS)

    def normal(x):
        size = mx.sqrt(mx.square(x).sum(axis=axis, keepdims=True))
        return size, x / size

    size = np.sqrt((x * x).sum(axis=axis, keepdims=True))
    kernels = check(normal, [size, x / size], x)
    assert len(kernels) == 1


def test_rows_alone_follow_too():
    """What goes over rows only runs in the kernel that goes over the rows' elements."""
    x = some(ROWS, COLUMNS)
    top = x.max(-1, keepdims=True)
    e = np.exp(x - top)
    total = e.sum(-1, keepdims=True)

    def both(x):
        return mx.softmax(x, axis=-1), mx.logsumexp(x, axis=-1)

    kernels = check(both, [e / total, (np.log(total) + top)[:, 0]], x, rtol=1e-5)
    assert len(kernels) == 1
    assert kernels[0]["reads"] == MATRIX


def test_order_is_kept():
    """Nothing follows past what it waits for, or what it would read before all of it is there."""
    x, y = some(ROWS, ROWS), some(ROWS, ROWS, seed=1)

    def f(x, y):
        e = mx.exp(x)
        s = e.sum(-1, keepdims=True)
        return e / s, (e / s).T * y, mx.take(e, mx.array([3, 1]), axis=0), e @ y / s

    e = np.exp(x)
    q = e / e.sum(-1, keepdims=True)
    check(f, [q, q.T * y, e[[3, 1]], q @ y], x, y, rtol=1e-4)


def test_nan_stays_in_its_row():
    x = some(ROWS, COLUMNS)
    x[3, 5], x[9, 7] = np.nan, np.inf
    (mean, var), kernels = run(lambda x: (x.mean(-1), x.var(-1)), x)
    assert np.isnan(mean[3]) and np.isnan(var[3]) and np.isinf(mean[9]) and np.isnan(var[9])
    assert np.isfinite(np.delete(mean, [3, 9])).all() and np.isfinite(np.delete(var, [3, 9])).all()


def test_parts_of_a_concatenation_are_not_read():
    """A part is written where it belongs; what is there already isn't read again."""
    x, y = some(ROWS, 64), some(ROWS, 32, seed=2)
    kernels = check(
        lambda x, y: (mx.concatenate([mx.exp(x), mx.sin(y)], axis=1),),
        [np.concatenate([np.exp(x), np.sin(y)], axis=1)],
        x,
        y,
    )
    assert sum(k["reads"] for k in kernels) == x.nbytes + y.nbytes
    assert sum(k["writes"] for k in kernels) == x.nbytes + y.nbytes
