"""Reductions, softmax and norms over arrays that go past a core's cache, and on both sides of every
cut: rows are fetched ahead there, columns are gone over some rows at a time."""

import math

import ferrule.core as mx
import numpy as np
import pytest

RANDOM = np.random.default_rng(7)


def written_out(x):
    e = mx.exp(x - mx.max(x, axis=-1, keepdims=True))
    return e / mx.sum(e, axis=-1, keepdims=True)


def library(x):
    return mx.softmax(x, axis=-1)


def layer_norm(x):
    mean = mx.mean(x, axis=-1, keepdims=True)
    return (x - mean) * mx.rsqrt(mx.var(x, axis=-1, keepdims=True) + 1e-5)


def wide(a):
    return np.array(a.astype(mx.float32)).astype(np.float64)


@pytest.mark.parametrize("rows", [15, 16, 17, 63, 64, 65, 127, 128, 129, 264, 300])
@pytest.mark.parametrize("columns", [512, 515, 4100])
def test_columns(rows, columns):
    x = RANDOM.normal(2, 3, (rows, columns)).astype(np.float32)
    a = mx.array(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(wide(mx.sum(a, axis=0)), exact.sum(0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(wide(mx.var(a, axis=0)), exact.var(0), rtol=2e-6)
    assert np.array_equal(np.array(mx.max(a, axis=0)), x.max(0))
    assert np.array_equal(np.array(mx.argmax(a, axis=0)), x.argmax(0))
    whole = RANDOM.integers(-1000, 1000, (rows, columns)).astype(np.int32)
    assert np.array_equal(np.array(mx.sum(mx.array(whole), axis=0)), whole.sum(0))


@pytest.mark.parametrize("shape", [(700, 1024), (519, 1031), (41, 20011), (3, 300001)])
def test_rows(shape):
    x = RANDOM.normal(5, 3, shape).astype(np.float32)
    a, exact = mx.array(x), x.astype(np.float64)
    np.testing.assert_allclose(wide(mx.var(a, axis=1)), exact.var(1), rtol=2e-6)
    np.testing.assert_allclose(wide(mx.var(a)), exact.var(), rtol=2e-6)
    assert np.array_equal(np.array(mx.argmax(a, axis=1)), x.argmax(1))
    assert mx.argmax(a).item() == x.argmax()
    e = np.exp(exact - exact.max(1, keepdims=True))
    for softmax in written_out, library:
        np.testing.assert_allclose(wide(softmax(a)), e / e.sum(1, keepdims=True), rtol=4e-6)
    normed = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(wide(layer_norm(a)), normed, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 1), (5, 17), (700, 1024), (2, 3, 70)])
@pytest.mark.parametrize("softmax", [written_out, library])
def test_softmax_gradient(softmax, shape):
    x, g = (RANDOM.normal(0, 2, shape).astype(np.float32) for _ in range(2))
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True)
    wanted = y * (g - (g * y).sum(-1, keepdims=True))
    a, b = mx.array(x), mx.array(g)
    np.testing.assert_allclose(wide(mx.vjp(softmax, [a], [b])[1][0]), wanted, atol=2e-6)
    np.testing.assert_allclose(wide(mx.jvp(softmax, [a], [b])[1][0]), wanted, atol=2e-6)


def test_softmax_written_out_is_the_library_s():
    x, g = (mx.array(RANDOM.normal(size=(9, 40)).astype(np.float32)) for _ in range(2))
    assert mx.array_equal(written_out(x), library(x))
    for softmax in written_out, library:
        text = mx.describe(mx.vjp(softmax, [x], [g])[1][0])
        assert text.count(" group ") == 1 and "equal" not in text and "divide" not in text
        assert text.count("reciprocal") == 1 and text.count("sum float32") == 2


def test_softmax_written_out_has_second_derivatives():
    x = mx.array(RANDOM.normal(size=12).astype(np.float64), dtype=mx.float64)
    w = mx.array(RANDOM.normal(size=12).astype(np.float64), dtype=mx.float64)
    with mx.stream(mx.cpu):
        slope = mx.grad(lambda x: mx.sum(written_out(x) * w))
        second = mx.grad(lambda x: mx.sum(slope(x) * w))(x)
        step = mx.array(np.eye(12) * 1e-6, dtype=mx.float64)
        wanted = [(mx.sum(slope(x + d) * w) - mx.sum(slope(x - d) * w)).item() / 2e-6 for d in step]
    np.testing.assert_allclose(np.array(second), wanted, atol=1e-7)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.float64])
def test_what_is_not_finite_goes_through_softmax(dtype):
    inf, nan = math.inf, math.nan
    x = [[0, -inf, 0, -inf], [-inf] * 4, [0, inf, 1, 2], [0, nan, 1, 2], [9, 9, 9, -9e3]]
    wanted = [[0.5, 0, 0.5, 0], [nan] * 4, [nan] * 4, [nan] * 4, [1 / 3, 1 / 3, 1 / 3, 0]]
    a = mx.array(x, dtype=dtype)
    for softmax in written_out, library:
        got = np.array(softmax(a).astype(mx.float32))
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_means_and_variances_of_16_bits_are_made_in_32(dtype, axis):
    a = mx.array(RANDOM.normal(200, 100, (4096, 130)).astype(np.float32)).astype(dtype)
    x = wide(a)
    for name in "mean", "var", "std":
        y = getattr(mx, name)(a, axis=axis)
        assert y.dtype == dtype
        tolerance = 2**-10 if dtype == mx.float16 else 2**-7
        np.testing.assert_allclose(wide(y), getattr(np, name)(x, axis=axis), rtol=tolerance)
    far = mx.std(a * 30, axis=0)  # its square is no float16
    np.testing.assert_allclose(wide(far), wide(a * 30).std(0), rtol=2**-7)
