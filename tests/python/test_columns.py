"""Reductions down columns against numpy: rows long enough to be read in streams, a few at a time, and
with them every remainder: of pieces, of the few rows, of vectors, of pieces of long rows."""

import itertools

import ferrule.core as mx
import numpy as np
import pytest

SHAPES = [
    (7, 4096),
    (33, 600),
    (262, 513),
    (70, 8192),
    (67, 9001),
    (40, 20000),
    (3, 50, 1000),
    (50, 3, 1000),
    (2, 130, 511),
]
DTYPES = [np.float32, np.float64, np.float16, np.int32, np.uint8, np.int64]


def values(shape, dtype):
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        return (rng.standard_normal(shape) * 3 + 1).astype(dtype)
    return rng.integers(0, 100, shape).astype(dtype)


def wanted(name, x, axis):
    wide = x.astype(np.float64) if x.dtype.kind == "f" else x
    if name == "logsumexp":
        top = wide.max(axis=axis, keepdims=True)
        return np.log(np.exp(wide - top).sum(axis=axis)) + np.squeeze(top, axis)
    return getattr(np, name)(wide, axis=axis)


@pytest.mark.parametrize("shape,dtype", list(itertools.product(SHAPES, DTYPES)))
def test_columns(shape, dtype):
    x = values(shape, dtype)
    a = mx.array(x)
    names = ["sum", "max", "min"] + (["mean", "var", "logsumexp"] if x.dtype.kind == "f" else [])
    for name, axis in itertools.product(names, [0] if x.ndim == 2 else [0, 1, (0, 1)]):
        f = getattr(mx, name)
        lazy = np.array(f(a, axis=axis))
        compiled = np.array(mx.compile(lambda a: f(a, axis=axis))(a))
        np.testing.assert_array_equal(lazy, compiled)
        want = wanted(name, x, axis)
        if lazy.dtype.kind in "iu":
            np.testing.assert_array_equal(lazy, want.astype(lazy.dtype))
        else:
            close = {2: 1e-2, 4: 3e-6, 8: 1e-13}[lazy.dtype.itemsize]
            scale = np.abs(x.astype(np.float64)).sum(axis=axis).max() if name == "sum" else 5
            np.testing.assert_allclose(lazy, want, rtol=close, atol=close * scale)


def test_nan_and_infinity_come_through():
    x = values((40, 9000), np.float32)
    x[33, 17] = np.nan
    x[2, 8999] = np.inf
    x[5, 3] = -np.inf
    a = mx.array(x)
    for name in "sum", "max", "min", "mean", "var":
        with np.errstate(invalid="ignore"):
            want = getattr(np, name)(x.astype(np.float64), axis=0)
        got = np.array(getattr(mx, name)(a, axis=0))
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=name)
        np.testing.assert_array_equal(np.isposinf(got), np.isposinf(want), err_msg=name)


@pytest.mark.parametrize("mean", [0, 100, 30000])
def test_variance_keeps_its_digits(mean):
    """One pass over memory, two over a piece in cache. What is lost grows with mean / deviation times the
    last place, as for the best of algorithms; sums of squares less the square would lose its square."""
    x = (values((5000, 600), np.float64) + mean).astype(np.float32)
    want = np.var(x.astype(np.float64), axis=0)
    for layout in (lambda a: mx.var(a, axis=0)), (lambda a: mx.var(mx.transpose(a), axis=1)):
        got = np.array(mx.compile(layout)(mx.array(x)))
        np.testing.assert_allclose(got, want, rtol=5e-7 + mean / 3 * 2**-24 / 4)


def test_programs_around_columns():
    x = values((300, 2000), np.float32)
    a, wide = mx.array(x), x.astype(np.float64)

    def normalised(a):
        return (a - mx.mean(a, axis=0)) * mx.rsqrt(mx.var(a, axis=0) + 1e-5)

    want = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
    np.testing.assert_allclose(np.array(mx.compile(normalised)(a)), want, rtol=2e-5, atol=2e-5)
    want = np.exp(wide - wide.max(0)) / np.exp(wide - wide.max(0)).sum(0)
    got = np.array(mx.compile(lambda a: mx.softmax(a, axis=0))(a))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize(
    "shape", [(2048, 300), (300, 2048), (3, 70001), (70, 9001), (262145,), (5, 60, 1000)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.float16])
def test_first_extreme(shape, dtype):
    """One pass over memory, and the first of equal ones; of NaN the first."""
    rng = np.random.default_rng(7)
    for kind in "plain", "ties", "nan", "infinite":
        x = np.abs(rng.standard_normal(shape) * 5)
        if kind == "ties":
            x = rng.integers(0, 3, shape)
        elif np.dtype(dtype).kind == "f" and kind == "nan":
            x.reshape(-1)[rng.integers(0, x.size, 40)] = np.nan
        elif np.dtype(dtype).kind == "f" and kind == "infinite":
            x = np.where(rng.random(shape) < 0.9, -np.inf, x)
        x = x.astype(dtype)
        a = mx.array(x)
        for axis, name in itertools.product([None, *range(x.ndim)], ["argmax", "argmin"]):
            f, want = getattr(mx, name), getattr(np, name)(x, axis=axis)
            np.testing.assert_array_equal(np.array(f(a, axis=axis)), want)
            np.testing.assert_array_equal(np.array(mx.compile(lambda a: f(a, axis=axis))(a)), want)
