"""Names, keywords and results that programs written for MLX expect."""

import ferrule.core as mx
import numpy as np
import pytest


def test_second_names():
    assert mx.cumulative_sum is mx.cumsum and mx.cumulative_prod is mx.cumprod


@pytest.mark.parametrize("name", ["var", "std"])
def test_correction_is_ddof(name):
    x = np.array([[1, 2, 4], [8, 16, 33]], np.float32)
    want = getattr(np, name)(x, axis=1, ddof=1)
    for f in (getattr(mx, name), lambda a, **more: getattr(a, name)(**more)):
        np.testing.assert_allclose(f(mx.array(x), axis=1, correction=1), want, rtol=1e-6)
        np.testing.assert_allclose(f(mx.array(x), axis=1, ddof=2, correction=1), want, rtol=1e-6)
        assert f(mx.array(x), axis=1, correction=5).tolist() == [np.inf, np.inf]


def test_seeds_by_name():
    assert mx.random.key(seed=5).tolist() == mx.random.key(5).tolist()
    mx.random.seed(seed=5)
    one = mx.random.normal().item()
    mx.random.seed(5)
    assert mx.random.normal().item() == one
    with pytest.raises(TypeError):
        mx.random.key(sead=5)
    for bad in (1.5, -1, 2**64):
        with pytest.raises(TypeError):
            mx.random.key(bad)


def test_streams_by_position():
    k, x = mx.random.key(0), mx.array([0.5, 0.25])
    assert mx.random.split(k, 2, mx.cpu).tolist() == mx.random.split(k).tolist()
    same = mx.random.bernoulli(x, None, k, mx.cpu) == mx.random.bernoulli(x, None, k)
    assert all(same.tolist())
    assert (
        mx.random.permutation(5, 0, k, mx.cpu).tolist() == mx.random.permutation(5, 0, k).tolist()
    )
    assert mx.random.categorical(x, -1, None, None, k, mx.cpu).shape == ()
    assert x.astype(mx.int32, mx.cpu).tolist() == mx.astype(x, mx.int32, mx.cpu).tolist() == [0, 0]


def test_negative_numbers_beside_uint64_wrap():
    x = mx.array([1, 2], mx.uint64)
    assert (x + (-1)).tolist() == [0, 1] and (x + (-1)).dtype == mx.uint64
    assert (x * -2).tolist() == [2**64 - 2, 2**64 - 4]
    assert (x & -2).tolist() == [0, 2]
    for f in (lambda: x < -1, lambda: x == -1, lambda: mx.maximum(x, -1), lambda: x // -1):
        with pytest.raises(ValueError, match="-1 does not fit uint64"):
            f()


def test_complex_lists_as_real_dtypes():
    assert mx.array([1j, 2.7 + 1j], dtype=mx.int32).tolist() == [0, 2]
    assert mx.array(3 - 1j, dtype=mx.uint8).item() == 3


def test_order_of_complex_numbers():
    rng = np.random.default_rng(0)
    x = (rng.integers(-2, 3, (6, 37)) + 1j * rng.integers(-2, 3, (6, 37))).astype(np.complex64)
    a = mx.array(x)
    for axis in (0, 1, None):
        assert np.array_equal(mx.argmax(a, axis=axis), np.argmax(x, axis=axis))
        assert np.array_equal(mx.argmin(a, axis=axis), np.argmin(x, axis=axis))
        # not numpy's median, whose middle is found by selection of another kind of order
        rows = np.sort(x, axis=axis)
        n = rows.shape[-1 if axis is None else axis]
        middle = [
            np.take(rows, i, axis=-1 if axis is None else axis) for i in ((n - 1) // 2, n // 2)
        ]
        np.testing.assert_allclose(mx.median(a, axis=axis), sum(middle) / 2)
    for reverse in (False, True):
        for f, best in ((mx.cummax, max), (mx.cummin, min)):
            for axis in (0, 1):
                want = np.empty_like(x)
                lines = [(x[:, i], want[:, i]) for i in range(37)] if axis == 0 else zip(x, want)
                for line, to in lines:
                    for i in range(len(line)):
                        part = line[i:] if reverse else line[: i + 1]
                        to[i] = best(part, key=lambda v: (v.real, v.imag))
                assert np.array_equal(f(a, axis=axis, reverse=reverse), want)
    bad = mx.array([1 + 1j, complex(0, np.nan), 5])
    assert mx.argmax(bad).item() == 1 and np.isnan(np.array(mx.cummax(bad, axis=0))[2])
    assert np.isnan(np.array(mx.median(bad)))


def test_draws_from_one_distribution():
    p = np.array([0.2, 0.3, 0.5], np.float32)
    k = mx.random.key(1)
    many = np.array(mx.random.categorical(mx.log(mx.array(p)), num_samples=30000, key=k))
    np.testing.assert_allclose(np.bincount(many) / 30000, p, atol=0.015)
    draw = mx.random.categorical(mx.log(mx.array(p)), num_samples=4, key=k)
    assert draw.dtype == mx.uint32 and draw.tolist() == [2, 1, 2, 1]
    assert mx.random.categorical(mx.log(mx.array(p)), shape=(4,), key=k).tolist() == [2, 1, 2, 1]
    assert mx.random.categorical(mx.zeros((1, 3)), num_samples=4, key=k).shape == (1, 4)
    assert mx.random.categorical(mx.zeros((3, 1)), axis=0, num_samples=4, key=k).shape == (1, 4)
    assert mx.random.categorical(mx.zeros((1, 3)), shape=(2, 5), key=k).shape == (2, 5)
    sure = mx.array([-mx.inf, 0.0, -mx.inf])
    assert set(mx.random.categorical(sure, num_samples=50).tolist()) == {1}


@pytest.mark.parametrize("size", [0, 1, 3, 5, 9, 60])
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint8])
def test_unique(size, dtype):
    x = np.random.default_rng(size).integers(0, 7, (5, 8)).astype(dtype)
    values, index, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True
    )
    n = min(len(values), size)
    f = lambda a: mx.unique(a, size, True, True, True, fill_value=99)  # noqa: E731
    for got in (f(mx.array(x)), mx.compile(f)(mx.array(x))):
        assert got[0].tolist() == [*values[:n].tolist()] + [99] * (size - n)
        assert got[0].dtype == mx.array(x).dtype
        assert got[1].tolist() == [*index[:n].tolist()] + [int(index[0])] * (size - n)
        want = np.minimum(inverse.reshape(x.shape), max(size - 1, 0))
        assert got[2].shape == x.shape and np.array_equal(got[2], want)
        assert got[3].tolist() == [*counts[:n].tolist()] + [0] * (size - n)
        assert [a.dtype for a in got[1:]] == [mx.uint32, mx.uint32, mx.int32]
    assert mx.unique(mx.array(x), 9).tolist()[7:] == [0, 0]


def test_unique_refuses():
    with pytest.raises(ValueError):
        mx.unique(mx.array([1]), -1)
    with pytest.raises(ValueError):
        mx.unique(mx.array([]), 2)
    with pytest.raises(ValueError):
        mx.unique(mx.array([1]), 2, fill_value=mx.array([1, 2]))
    with pytest.raises(TypeError):
        mx.unique([1], 2)
    assert mx.unique(mx.array([]), 2, fill_value=3).tolist() == [3, 3]
    assert mx.unique(mx.array([]), 0, True, True, True)[2].shape == (0,)


def test_fp8():
    every = np.arange(256)
    sign, e, m = 1 - 2.0 * (every >> 7), (every >> 3) & 15, every & 7
    want = sign * np.where(e == 0, m * 2.0**-9, (8 + m) * 2.0 ** (e - 10.0))
    want[[127, 255]] = np.nan
    codes = mx.array(every.astype(np.uint8))
    for dtype in (mx.float32, mx.float16, mx.bfloat16, mx.float64):
        got = mx.from_fp8(codes, dtype)
        assert got.dtype == dtype
        np.testing.assert_array_equal(np.array(got.astype(mx.float32)), want)
    real = ~np.isnan(want)
    assert np.array_equal(np.array(mx.to_fp8(mx.array(want.astype(np.float32))))[real], every[real])
    # Between neighbours: to the nearer, from the middle to the even one.
    up = want[:127].astype(np.float32)
    middle = (up[:-1] + up[1:]) / 2
    got = np.array(mx.to_fp8(mx.array(middle)))
    assert np.array_equal(got, every[:126] + every[:126] % 2)
    assert np.array_equal(mx.to_fp8(mx.array(np.nextafter(middle, np.float32(0)))), every[:126])
    assert np.array_equal(
        mx.to_fp8(mx.array(-np.nextafter(middle, np.float32(500)))), every[129:255]
    )
    assert mx.to_fp8(mx.array([1e9, -1e9, np.inf, np.nan])).tolist() == [126, 254, 126, 126]
    for call in (lambda: mx.to_fp8(mx.array([1])), lambda: mx.from_fp8(mx.array([1]))):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(ValueError):
        mx.from_fp8(codes, mx.int32)


def test_cross_entropy():
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    t = np.random.default_rng(1).integers(0, 5, (3, 4))
    want = np.log(np.exp(x).sum(-1)) - np.take_along_axis(x, t[..., None], -1)[..., 0]
    np.testing.assert_allclose(mx.fast.cross_entropy(mx.array(x), mx.array(t)), want, rtol=1e-5)
    half = mx.fast.cross_entropy(mx.array(x).astype(mx.float16), mx.array(t))
    assert half.dtype == mx.float32
    np.testing.assert_allclose(half, want, rtol=1e-2)
    g = mx.grad(lambda a: mx.fast.cross_entropy(a, mx.array(t)).sum())(mx.array(x))
    soft = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    np.testing.assert_allclose(g, soft - np.eye(5)[t], rtol=1e-4, atol=1e-6)
    for bad in (mx.zeros((3,), mx.int32), mx.zeros((3, 4))):
        with pytest.raises(ValueError):
            mx.fast.cross_entropy(mx.array(x), bad)


def test_complex_draws():
    k = mx.random.key(3)
    pairs = np.array(mx.random.normal((50, 200, 2), key=k)) * np.float32(0.5**0.5)
    z = np.array(mx.random.normal((50, 200), mx.complex64, key=k))
    assert z.shape == (50, 200) and np.array_equal(z, pairs[..., 0] + 1j * pairs[..., 1])
    moved = mx.random.normal((50, 200), mx.complex64, 1 + 2j, 3, k)
    assert moved.dtype == mx.complex64
    np.testing.assert_allclose(moved, z * 3 + (1 + 2j), rtol=1e-5)
    assert mx.random.normal((), mx.complex64).shape == ()


def test_complex_logcumsumexp():
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(9, 33)) + 1j * rng.uniform(-1, 1, (9, 33))).astype(np.complex64)
    for axis in (0, 1):
        for reverse in (False, True):
            y = np.flip(x, axis) if reverse else x
            want = np.log(np.cumsum(np.exp(y.astype(np.complex128)), axis=axis))
            got = np.array(mx.logcumsumexp(mx.array(x), axis=axis, reverse=reverse))
            got = np.flip(got, axis) if reverse else got
            np.testing.assert_allclose(np.exp(got), np.exp(want), rtol=2e-5)
    large = mx.logcumsumexp(mx.array([1000 + 1j, -mx.inf, 1000 + 1j]), axis=0)
    np.testing.assert_allclose(large, [1000 + 1j, 1000 + 1j, 1000 + np.log(2) + 1j], rtol=1e-6)
    first = mx.logcumsumexp(mx.array([1j, 1]), axis=0, inclusive=False).tolist()[0]
    assert first == complex(-np.inf, 0)
    with pytest.raises(ValueError, match="no derivative"):
        mx.grad(lambda a: mx.real(mx.logcumsumexp(a)).sum())(mx.array([1j, 1]))
