"""Scans, sorting, searching, where the extremes are: against numpy."""

import ferrule.core as mx
import numpy as np
import pytest

INTEGERS = [
    mx.uint8, mx.uint16, mx.uint32, mx.uint64, mx.int8, mx.int16, mx.int32, mx.int64,
]  # fmt: skip
FLOATS = [mx.float16, mx.bfloat16, mx.float32, mx.float64]
ALL = [mx.bool_, *INTEGERS, *FLOATS]
SCANS = {
    "cumsum": (np.add, 0),
    "cumprod": (np.multiply, 1),
    "cummax": (np.maximum, None),
    "cummin": (np.minimum, None),
    "logcumsumexp": (np.logaddexp, -np.inf),
}
rng = np.random.default_rng(7)


def name_of(dtype):
    return str(dtype).split(".")[-1]


def values(dtype, shape):
    """An array of ours, and the same numbers in numpy (bfloat16's as float32)."""
    name = name_of(dtype)
    if name == "bool":
        plain = rng.integers(0, 2, shape).astype(bool)
    elif "int" in name:
        plain = rng.integers(0, 100, shape).astype(name)
    else:
        plain = (rng.integers(-40, 40, shape) / 8).astype("float32")
        plain = plain.astype("float32" if name == "bfloat16" else name)
    x = mx.array(plain)
    return (x.astype(dtype) if name == "bfloat16" else x), plain


def as_numpy(x):
    return np.array(x.astype(mx.float32)) if x.dtype == mx.bfloat16 else np.array(x)


def scanned(name, x, axis, reverse, inclusive):
    ufunc, start = SCANS[name]
    if axis is None:
        x, axis = x.reshape(-1), 0
    if x.dtype == bool:
        x = x.astype("int32" if name == "cumsum" else "uint8")
    if x.dtype.kind in "iu" and name == "logcumsumexp":
        x = x.astype("float32")
    if x.dtype.itemsize == 2 and x.dtype.kind == "f":
        x = x.astype("float32")
    if start is None:
        kind = np.finfo if x.dtype.kind == "f" else np.iinfo
        start = kind(x.dtype).min if name == "cummax" else kind(x.dtype).max
        if x.dtype.kind == "f":
            start = -np.inf if name == "cummax" else np.inf
    if reverse:
        x = np.flip(x, axis)
    with np.errstate(all="ignore"):
        y = ufunc.accumulate(x, axis=axis, dtype=x.dtype)
    if not inclusive:
        first = np.full_like(np.take(y, [0], axis), start)
        y = np.concatenate([first, np.delete(y, -1, axis)], axis)
    return np.flip(y, axis) if reverse else y


def check_scan(name, x, plain, axis, reverse=False, inclusive=True):
    y = getattr(mx, name)(x, axis=axis, reverse=reverse, inclusive=inclusive)
    want = scanned(name, plain, axis, reverse, inclusive)
    got = as_numpy(y)
    assert got.shape == want.shape
    if name_of(x.dtype) == "bool" and name != "cumsum":
        if name == "cummin" and not inclusive:
            want = np.minimum(want, 1)
        want = want.astype("float32") if name == "logcumsumexp" else want.astype(bool)
    if got.dtype.kind == "f":
        half = {"float16": 2e-3, "bfloat16": 2e-2}.get(name_of(y.dtype))
        tolerance = half or (1e-5 if name_of(y.dtype) == "float32" else 1e-12)
        if half and name == "cumprod":  # beyond the range of float16
            with np.errstate(all="ignore"):
                want = want.astype("float16" if half == 2e-3 else "float32").astype("float32")
        np.testing.assert_allclose(got.astype(want.dtype), want, rtol=tolerance, atol=tolerance)
    else:
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("dtype", ALL, ids=name_of)
def test_scan_of_every_dtype(name, dtype):
    for shape, axis in [((70,), 0), ((9, 11), 0), ((9, 11), 1), ((3, 5, 4), 1), ((3, 5), None)]:
        x, plain = values(dtype, shape)
        for reverse in (False, True):
            for inclusive in (True, False):
                if name == "logcumsumexp" and plain.dtype == bool:
                    plain = plain.astype("float32")
                check_scan(name, x, plain, axis, reverse, inclusive)


@pytest.mark.parametrize("n", [*range(1, 20), 255, 256, 257, 2047, 2048, 2049, 5000, 70000])
def test_scan_of_every_length(n):
    plain = rng.integers(-5, 5, (2, n)).astype("int32")
    x = mx.array(plain)
    for name in ("cumsum", "cummax"):
        check_scan(name, x, plain, 1)
        check_scan(name, x, plain, 1, True, False)
        check_scan(name, x.T, plain.T, 0)
        check_scan(name, x[:, ::-1], plain[:, ::-1], 1)
    many = np.ascontiguousarray(np.broadcast_to(plain[:1, : min(n, 300)], (19, min(n, 300))))
    check_scan("cumsum", mx.array(many), many, 1)
    check_scan(
        "cumsum", mx.broadcast_to(mx.array(plain[0]), (3, n)), np.broadcast_to(plain[0], (3, n)), 1
    )


def test_scan_of_wide_columns():
    for shape in [(6, 1000), (40, 300), (3, 5, 513), (7, 1, 2)]:
        plain = rng.standard_normal(shape).astype("float32")
        for axis in range(len(shape)):
            check_scan("cumsum", mx.array(plain), plain, axis)
            check_scan("cummin", mx.array(plain), plain, axis, True)


def test_scan_special_values():
    nan, inf = np.nan, np.inf
    x = mx.array([1.0, nan, 3.0, -inf, inf])
    np.testing.assert_array_equal(np.array(mx.cummax(x)), [1, nan, nan, nan, nan])
    np.testing.assert_array_equal(np.array(mx.cummin(x, reverse=True)), [nan, nan, -inf, -inf, inf])
    y = mx.logcumsumexp(mx.array([-inf, -inf, 3, inf, 1, nan, 1]))
    np.testing.assert_array_equal(np.array(y), [-inf, -inf, 3, inf, inf, nan, nan])
    assert mx.cummax(mx.array([1, 2, 3]), inclusive=False).tolist() == [-2147483648, 1, 2]
    assert mx.cumsum(mx.array(3)).tolist() == [3]
    assert mx.cumsum(mx.zeros((0,))).shape == (0,)
    assert mx.cumsum(mx.zeros((0, 3)), axis=1).shape == (0, 3)
    assert mx.cumsum(mx.array([1.5, 2]), dtype=mx.int32).tolist() == [1, 3]
    assert mx.array([100, 100, 100], mx.int8).cumsum().tolist() == [100, -56, 44]


def test_scan_errors():
    with pytest.raises(IndexError, match="cumsum: axis 1 of"):
        mx.cumsum(mx.array([1]), axis=1)
    with pytest.raises(IndexError, match="cummax: axis 0 of"):
        mx.cummax(mx.array(3), axis=0)
    with pytest.raises(TypeError):
        mx.cumsum(mx.array([1]), axis=(0,))
    with pytest.raises(TypeError):
        mx.cumsum(mx.array([1]), 0, True)


def test_scan_between_kernels():
    plain = rng.standard_normal((50, 60)).astype("float32")
    x = mx.array(plain)

    def function(x):
        return mx.exp(mx.cumsum(x * 2 + 1, axis=1) * -0.01).sum(axis=0)

    want = np.exp(np.cumsum(plain * 2 + 1, axis=1) * -0.01).sum(axis=0)
    np.testing.assert_allclose(np.array(function(x)), want, rtol=1e-4)
    np.testing.assert_allclose(np.array(mx.compile(function)(x)), want, rtol=1e-4)
    assert "scan" in mx.describe(function(x))
    both = mx.cumsum(x * 3, axis=0), mx.cumsum(x * 3, axis=1)
    np.testing.assert_allclose(np.array(both[0] + both[1]),
                               np.cumsum(plain * 3, 0) + np.cumsum(plain * 3, 1), rtol=1e-3, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "logcumsumexp"])
def test_scan_gradients(name, inclusive, reverse):
    x = mx.array(rng.uniform(0.5, 2, (3, 4)), mx.float64)
    w = mx.array(rng.standard_normal((3, 4)), mx.float64)

    def function(x):
        y = getattr(mx, name)(x, axis=1, reverse=reverse, inclusive=inclusive)
        return (mx.where(mx.isinf(y), 0, y) * w).sum()

    grad = np.array(mx.grad(function)(x))
    for i, j in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[i, j] = 1e-6
        slope = (
            function(x + mx.array(step, mx.float64)) - function(x - mx.array(step, mx.float64))
        ).item() / 2e-6
        assert abs(slope - grad[i, j]) < 1e-5 * (1 + abs(slope))


def slope_of_product(g, x, inclusive):
    """d (g . cumprod(x)) / dx by its definition."""
    n = len(x)
    return [
        sum(g[i] * np.prod(np.delete(x[: i + inclusive], j)) for i in range(j + (not inclusive), n))
        for j in range(n)
    ]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_gradient_of_products_with_zeros(dtype, inclusive, reverse):
    for x in ([3], [0], [2, 0, 3, 4, 5], [2, 0, 3, 0, 5, 1, 2], [0, 0, 0], [1, 2, -3, 0.5, 4], []):
        g = rng.integers(-3, 4, len(x)).astype(float)
        step = -1 if reverse else 1

        def function(x):
            y = mx.cumprod(x, axis=0, reverse=reverse, inclusive=inclusive)
            return (y * mx.array(g, getattr(mx, dtype))).sum()

        grad = mx.grad(function)(mx.array(x, getattr(mx, dtype)))
        want = slope_of_product(g[::step], np.array(x, float)[::step], inclusive)[::step]
        assert grad.tolist() == pytest.approx(want)


def test_products_with_zeros_again_and_forward():
    x = mx.array([[2.0, 0, 3, 0.5], [1, 2, 3, 4]], mx.float64)
    t = mx.array([[1.0, -1, 2, 3], [0.5, 1, 2, -1]], mx.float64)

    def function(x):
        return mx.cumprod(x, axis=1).sum()

    def by_hand(x):
        a, b, c, d = (x[:, i] for i in range(4))
        return (a + a * b + a * b * c + a * b * c * d).sum()

    def bent(f):
        return mx.grad(lambda x: (mx.grad(f)(x) * t).sum())(x)

    np.testing.assert_allclose(np.array(bent(function)), np.array(bent(by_hand)))
    one, other = (mx.jvp(f, [x], [t])[1][0].item() for f in (function, by_hand))
    assert one == pytest.approx(other)
    rows = mx.vmap(mx.grad(lambda x: mx.cumprod(x, axis=0).sum()))(x)
    np.testing.assert_allclose(np.array(rows), np.array(mx.grad(function)(x)))


def extreme_so_far(x, greatest):
    """For each place the index of the first element that is the extreme up to it."""
    found, best = [], 0
    for i, v in enumerate(x):
        better = v > x[best] if greatest else v < x[best]
        if better or (np.isnan(v) and not np.isnan(x[best])):
            best = i
        found.append(best)
    return found


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("name", ["cummax", "cummin"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_gradient_of_extremes(dtype, name, inclusive, reverse):
    inf, nan = np.inf, np.nan
    rows = [[1, 3, 3, 2, 5, 5, -1], [-inf, -inf, 2, nan, 7, nan, 9], [inf, inf, -0.0, 0, 1, 2, 3]]
    x = np.array([rows, rng.integers(-3, 3, (3, 7))])
    g = rng.integers(-3, 4, x.shape).astype(float)
    kind, step = getattr(mx, dtype), -1 if reverse else 1

    def scan(x, axis=2):
        return getattr(mx, name)(x, axis=axis, reverse=reverse, inclusive=inclusive)

    want = np.zeros(x.shape)
    for i in np.ndindex(2, 3):
        to = extreme_so_far(x[i][::step], name == "cummax")
        into, from_ = want[i][::step], g[i][::step]
        for place in range(7 - (not inclusive)):
            into[to[place]] += from_[place + (not inclusive)]
    y, to = mx.vjp(scan, [mx.array(x, kind)], [mx.array(g, kind)])
    np.testing.assert_array_equal(np.array(to[0].astype(mx.float64)), want)
    turned = mx.array(np.moveaxis(x, 2, 0), kind), mx.array(np.moveaxis(g, 2, 0), kind)
    y, to = mx.vjp(lambda x: scan(x, 0), [turned[0]], [turned[1]])
    np.testing.assert_array_equal(np.array(to[0].astype(mx.float64)), np.moveaxis(want, 2, 0))
    change = mx.jvp(scan, [mx.array(x, kind)], [mx.array(g, kind)])[1][0]
    reached = np.array(change.astype(mx.float64))[..., ::step]
    for i in np.ndindex(2, 3):
        to = extreme_so_far(x[i][::step], name == "cummax")
        for place in range(not inclusive, 7):
            assert reached[i][place] == g[i][::step][to[place - (not inclusive)]]
        assert inclusive or reached[i][0] == 0


def test_gradient_of_extremes_in_batches_and_corners():
    x = mx.array(rng.standard_normal((3, 6)), mx.float32)
    whole = mx.grad(lambda x: mx.square(mx.cummax(x, axis=1)).sum())(x)
    rows = mx.vmap(mx.grad(lambda x: mx.square(mx.cummax(x, axis=0)).sum()))(x)
    assert whole.tolist() == rows.tolist()
    flat = mx.grad(lambda x: mx.cummin(x).sum())(mx.array([[3.0, 1], [2, 0]]))
    assert flat.tolist() == [[1, 2], [0, 1]]
    assert mx.grad(lambda x: mx.cummax(x).sum())(mx.zeros((0,))).shape == (0,)
    bent = mx.grad(lambda x: mx.grad(lambda x: mx.square(mx.cummax(x)).sum())(x).sum())
    assert bent(mx.array([2.0, 1, 3])).tolist() == [4, 0, 2]


def test_scan_in_batches():
    plain = rng.standard_normal((3, 4, 5)).astype("float32")
    x = mx.array(plain)
    rows = mx.vmap(lambda x: mx.cumsum(x * 2, axis=0), in_axes=1)(x)
    want = np.stack([np.cumsum(plain[:, i] * 2, axis=0) for i in range(4)])
    np.testing.assert_allclose(np.array(rows), want, rtol=1e-5)


# ---- sorting ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ALL, ids=name_of)
def test_sort_of_every_dtype(dtype):
    for shape, axis in [((70,), 0), ((9, 11), 0), ((9, 200), -1), ((3, 5, 4), 1), ((300, 2), 0)]:
        x, plain = values(dtype, shape)
        np.testing.assert_array_equal(as_numpy(mx.sort(x, axis=axis)), np.sort(plain, axis=axis))
        order = mx.argsort(x, axis=axis)
        assert order.dtype == mx.uint32
        np.testing.assert_array_equal(np.array(order), np.argsort(plain, axis=axis, kind="stable"))
    x, plain = values(dtype, (6, 7))
    np.testing.assert_array_equal(as_numpy(mx.sort(x, axis=None)), np.sort(plain, axis=None))
    np.testing.assert_array_equal(
        np.array(mx.argsort(x, axis=None)), np.argsort(plain, axis=None, kind="stable")
    )


def test_sort_puts_nan_last():
    for n in (8, 400):
        plain = rng.standard_normal(n).astype("float32")
        plain[::3] = np.nan
        plain[1::7] = -np.nan
        plain[2::5] = np.inf
        plain[3::11] = -0.0
        plain[4::11] = 0.0
        x = mx.array(plain)
        np.testing.assert_array_equal(np.array(mx.sort(x)), np.sort(plain))
        np.testing.assert_array_equal(np.array(mx.argsort(x)), np.argsort(plain, kind="stable"))
        np.testing.assert_array_equal(np.array(mx.sort(x[::-1])), np.sort(plain))


@pytest.mark.parametrize("n", [5, 64, 65, 200, 3000])
def test_partition_and_topk(n):
    plain = rng.standard_normal((3, n)).astype("float32")
    x = mx.array(plain)
    for kth in (0, 1, n // 2, n - 1, -1, -n):
        parts = np.array(mx.partition(x, kth, axis=1))
        indices = np.array(mx.argpartition(x, kth, axis=1))
        whole = np.sort(plain, axis=1)
        np.testing.assert_array_equal(np.take_along_axis(plain, indices.astype(int), 1), parts)
        np.testing.assert_array_equal(np.sort(parts, axis=1), whole)
        at = kth % n
        np.testing.assert_array_equal(parts[:, at], whole[:, at])
        assert (parts[:, :at] <= parts[:, at : at + 1]).all()
        assert (parts[:, at:] >= parts[:, at : at + 1]).all()
    for k in (0, 1, n // 2, n):
        top = np.array(mx.topk(x, k, axis=1))
        np.testing.assert_array_equal(np.sort(top, axis=1), np.sort(plain, axis=1)[:, n - k :])
    assert mx.topk(x, 2, axis=0).shape == (2, n)
    assert mx.topk(x, 4, axis=None).shape == (4,)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 65, 256, 1001])
def test_median(n):
    plain = rng.standard_normal((4, n, 3)).astype("float32")
    x = mx.array(plain)
    for axis in (None, 0, 1, -1, (0, 1), (2, 0)):
        for keepdims in (False, True):
            np.testing.assert_allclose(
                np.array(mx.median(x, axis, keepdims)),
                np.median(plain, axis, keepdims=keepdims),
                rtol=1e-6,
            )
    assert mx.median(mx.array([1, 2, 3, 4])).item() == 2.5
    assert mx.median(mx.array([1, 2], mx.float16)).dtype == mx.float16
    for bad in ([1.0, np.nan, 3], [1.0, np.nan, 3, 0], [np.nan]):
        assert np.isnan(mx.median(mx.array(bad)).item())
    assert mx.median(mx.zeros((0, 3)), axis=1).shape == (0,)


@pytest.mark.parametrize("dtype", ALL, ids=name_of)
def test_argmax_and_argmin(dtype):
    x, plain = values(dtype, (7, 30, 5))
    for name in ("argmax", "argmin"):
        ours, theirs = getattr(mx, name), getattr(np, name)
        for axis in (None, 0, 1, -1):
            for keepdims in (False, True):
                y = ours(x, axis, keepdims)
                assert y.dtype == mx.uint32
                np.testing.assert_array_equal(np.array(y), theirs(plain, axis, keepdims=keepdims))
        np.testing.assert_array_equal(np.array(getattr(x, name)(axis=1)), theirs(plain, 1))
        long = np.concatenate([plain.reshape(-1)] * 50)
        long_x = mx.array(long) if dtype != mx.bfloat16 else mx.array(long).astype(mx.bfloat16)
        assert ours(long_x).item() == theirs(long)


def test_argmax_of_nan():
    nan = np.nan
    assert mx.argmax(mx.array([1.0, nan, 3, nan])).item() == 1
    assert mx.argmin(mx.array([nan, 1.0, nan, 0])).item() == 0
    assert mx.argmax(mx.array([[5, 3], [1, 9]]), keepdims=True).shape == (1, 1)
    assert mx.argmax(mx.array(3)).shape == ()


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side):
    for n in (1, 2, 3, 7, 100, 1000):
        plain = np.sort(rng.integers(-20, 20, n)).astype("float32")
        look = rng.integers(-25, 25, (9, 7)).astype("float32") / 2
        got = mx.searchsorted(mx.array(plain), mx.array(look), side=side)
        assert got.dtype == mx.uint32
        np.testing.assert_array_equal(np.array(got), np.searchsorted(plain, look, side))
        got = mx.searchsorted(mx.array(plain)[::-1][::-1], mx.array(look).T, side)
        np.testing.assert_array_equal(np.array(got), np.searchsorted(plain, look.T, side))
    nan, inf = np.nan, np.inf
    got = mx.searchsorted(mx.array([1.0, 2, nan, nan]), mx.array([nan, 2, inf]), side=side)
    assert got.tolist() == ([2, 1, 2] if side == "left" else [4, 2, 2])
    assert mx.searchsorted(mx.zeros((0,)), mx.array([2, 3]), side).tolist() == [0, 0]
    assert mx.searchsorted(mx.array([1, 2, 4]), mx.array([2.5]), side).tolist() == [2]
    assert mx.searchsorted(mx.broadcast_to(mx.array(2), (5,)), mx.array([2]), side).tolist() == (
        [0] if side == "left" else [5]
    )


def test_errors_of_sorting():
    for name in ("sort", "argsort"):
        for axis in (-1, 0):
            with pytest.raises(IndexError):
                getattr(mx, name)(mx.array(3), axis=axis)
    assert mx.sort(mx.array(3), axis=None).tolist() == [3]
    x = mx.array([5, 3, 1, 4, 2])
    for kth in (5, -6):
        with pytest.raises(ValueError, match="partition"):
            mx.partition(x, kth)
    for k in (-1, 6):
        with pytest.raises(ValueError, match="topk"):
            mx.topk(x, k)
    for shape, axis in [((0,), None), ((0, 3), 0), ((0, 3), 1)]:
        with pytest.raises(ValueError, match="argmax"):
            mx.argmax(mx.zeros(shape), axis=axis)
    with pytest.raises(IndexError):
        mx.argmax(x, axis=2)
    with pytest.raises(TypeError):
        mx.argmax(x, axis=(0,))
    with pytest.raises(ValueError, match="median"):
        mx.median(mx.zeros((0,)))
    with pytest.raises(ValueError, match="searchsorted"):
        mx.searchsorted(x.reshape(1, 5), x)
    with pytest.raises(ValueError, match="side"):
        mx.searchsorted(x, x, side="up")
    assert mx.sort(mx.zeros((0,))).shape == (0,)
    assert not hasattr(mx.array, "sort")


def test_gradients_of_sorting():
    x = mx.array([3.0, 1, 2, 5, 4])
    w = mx.array([1.0, 10, 100, 1000, 10000])
    assert mx.grad(lambda x: (mx.sort(x) * w).sum())(x).tolist() == [100, 1, 10, 10000, 1000]
    assert mx.grad(lambda x: mx.topk(x, 2).sum())(x).tolist() == [0, 0, 0, 1, 1]
    assert mx.grad(mx.median)(x).tolist() == [1, 0, 0, 0, 0]
    assert mx.grad(mx.median)(x[:4]).tolist() == [0.5, 0, 0.5, 0]
    rows = mx.stack([x, -x])
    grad = mx.grad(lambda x: (mx.sort(x, axis=1) * w).sum())(rows)
    assert grad.tolist() == [[100, 1, 10, 10000, 1000], [100, 10000, 1000, 1, 10]]
    assert mx.grad(lambda x: (x * mx.argmax(x)).sum())(x).tolist() == [3] * 5


def test_sorting_in_batches():
    plain = rng.standard_normal((4, 90, 3)).astype("float32")
    x = mx.array(plain)
    got = mx.vmap(lambda x: mx.sort(x, axis=0))(x)
    np.testing.assert_array_equal(np.array(got), np.sort(plain, axis=1))
    got = mx.vmap(lambda x: mx.argsort(x * 2, axis=0), in_axes=2)(x)
    np.testing.assert_array_equal(np.array(got), np.argsort(np.moveaxis(plain, 2, 0) * 2, axis=1))
    rows = np.sort(plain[:, :, 0], axis=1)
    got = mx.vmap(mx.searchsorted)(mx.array(rows), mx.array(plain[:, :9, 1]))
    want = [np.searchsorted(a, v) for a, v in zip(rows, plain[:, :9, 1])]
    np.testing.assert_array_equal(np.array(got), np.stack(want))
    got = mx.vmap(mx.searchsorted, in_axes=(None, 0))(mx.array(rows[0]), mx.array(plain[:, :9, 1]))
    want = [np.searchsorted(rows[0], v) for v in plain[:, :9, 1]]
    np.testing.assert_array_equal(np.array(got), np.stack(want))


def test_sorting_between_kernels():
    plain = rng.standard_normal((20, 100)).astype("float32")
    x = mx.array(plain)

    def function(x):
        y = mx.sort(mx.abs(x) * 2, axis=0)
        return (y - mx.median(y, axis=1, keepdims=True)).sum(axis=1), mx.argmax(y + x, axis=0)

    y = np.sort(np.abs(plain) * 2, axis=0)
    want = (y - np.median(y, axis=1, keepdims=True)).sum(axis=1), np.argmax(y + plain, axis=0)
    for f in (function, mx.compile(function)):
        got = f(x)
        np.testing.assert_allclose(np.array(got[0]), want[0], rtol=1e-4)
        np.testing.assert_array_equal(np.array(got[1]), want[1])
    text = mx.describe(*function(x))
    assert "sort" in text and "select" in text
