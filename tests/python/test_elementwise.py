"""Elementwise operations beyond arithmetic: numpy's results, Python's operators, dtypes."""

import math
import operator

import ferrule.core as mx
import numpy as np
import pytest

INF, NAN = math.inf, math.nan

# name: (numpy, from, to)
UNARY = {
    "expm1": (np.expm1, -5, 5),
    "log1p": (np.log1p, -0.9, 9),
    "log2": (np.log2, 0.1, 9),
    "log10": (np.log10, 0.1, 9),
    "tan": (np.tan, -1.5, 1.5),
    "arcsin": (np.arcsin, -1, 1),
    "arccos": (np.arccos, -1, 1),
    "arctan": (np.arctan, -9, 9),
    "sinh": (np.sinh, -5, 5),
    "cosh": (np.cosh, -5, 5),
    "arcsinh": (np.arcsinh, -9, 9),
    "arccosh": (np.arccosh, 1, 9),
    "arctanh": (np.arctanh, -0.99, 0.99),
    "degrees": (np.degrees, -5, 5),
    "radians": (np.radians, -500, 500),
    "exp": (np.exp, -5, 5),
    "log": (np.log, 0.1, 9),
    "sin": (np.sin, -9, 9),
    "cos": (np.cos, -9, 9),
    "tanh": (np.tanh, -5, 5),
    "erf": (np.vectorize(math.erf, otypes=[float]), -3, 3),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -9, 9),
    "trunc": (np.trunc, -5, 5),
    "round": (np.round, -5, 5),
}
RELATIVE = {mx.float64: 2e-15, mx.float32: 4e-7, mx.float16: 1e-3, mx.bfloat16: 8e-3}


def as_numpy(x):
    mx.eval(x)  # so that it is rounded to its dtype
    return np.array(x.astype(mx.float64))


@pytest.mark.parametrize("dtype", RELATIVE, ids=lambda d: d.name)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, dtype):
    function, low, high = UNARY[name]
    values = np.random.default_rng(1).uniform(low, high, (9, 57))
    x = mx.array(values, dtype=mx.float64).astype(dtype)
    ours = getattr(mx, name)(x)
    assert ours.dtype == dtype
    np.testing.assert_allclose(as_numpy(ours), function(as_numpy(x)), rtol=RELATIVE[dtype])
    np.testing.assert_array_equal(as_numpy(getattr(mx, name)(x.T)), as_numpy(ours).T)


@pytest.mark.parametrize("x", [1e5, 12345678.0, 2e9, -3e8])
def test_large_angles(x):
    for dtype, bound in [(mx.float32, 2e-7), (mx.float64, 1e-15)]:
        a = mx.array(x, dtype=dtype)
        assert abs(mx.sin(a).item() - math.sin(a.item())) <= bound
        assert abs(mx.cos(a).item() - math.cos(a.item())) <= bound
    for name in ("sin", "cos"):
        assert -1 <= getattr(mx, name)(mx.array(1e30)).item() <= 1
        assert math.isnan(getattr(mx, name)(mx.array(INF)).item())


@pytest.mark.parametrize("dtype", [mx.float32, mx.float64], ids=lambda d: d.name)
def test_power_as_c(dtype):
    special = [0.0, -0.0, 1, -1, 2, -2, 0.5, 3, -3, 1.5, -1.5, INF, -INF, NAN, 1e30, 1e-30]
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        kind = np.float32 if dtype == mx.float32 else np.float64
        expected = np.power(x.astype(kind), y.astype(kind))
    ours = np.array(mx.power(mx.array(x, dtype=dtype), mx.array(y, dtype=dtype)))
    np.testing.assert_allclose(ours, expected, rtol=3e-7 if dtype == mx.float32 else 1e-15)
    np.testing.assert_array_equal(np.signbit(ours), np.signbit(expected) & ~np.isnan(ours))


def test_power_of_integers():
    x = mx.array([2, 3, -2, 0, -1, 7])
    assert mx.power(x, mx.array([10, 40, 3, 0, 5, 2])).tolist() == [
        1024, (3**40 + 2**31) % 2**32 - 2**31, -8, 1, -1, 49,
    ]  # fmt: skip
    assert (x**-1).tolist() == [0] * 6
    assert (2**x).dtype == mx.int32 and (2.0**x).dtype == mx.float32
    assert (x**2.5).dtype == mx.float32
    assert (mx.array([True]) ** 2).dtype == mx.int32
    assert (mx.array([5], dtype=mx.uint8) ** mx.array([4], dtype=mx.uint8)).tolist() == [113]
    wide = mx.array([3], dtype=mx.int64) ** mx.array([30], dtype=mx.int64)
    assert wide.tolist() == [3**30]


@pytest.mark.parametrize("n", [1.5, -2, 7, 0.1, -0.75, 30])
def test_power_of_numbers(n):
    x = np.linspace(0.1, 3, 50).astype(np.float32)
    np.testing.assert_allclose(np.array(mx.array(x) ** n), x.astype(float) ** n, rtol=2e-7)
    np.testing.assert_allclose(
        np.array(abs(n) ** mx.array(x)), np.float32(abs(n)).astype(float) ** x, rtol=2e-7
    )


PAIRS = [(7, 2), (-7, 2), (7, -2), (-7, -2), (6, 3), (-6, 3), (0, 5), (0, -5)]


@pytest.mark.parametrize("dtype", [mx.int8, mx.int32, mx.int64, mx.float32, mx.float64],
                         ids=lambda d: d.name)  # fmt: skip
def test_division_rounded_down(dtype):
    x, y = (mx.array(v, dtype=dtype) for v in zip(*PAIRS))
    for q, r in (divmod(x, y), mx.divmod(x, y), (x // y, x % y),
                 (mx.floor_divide(x, y), mx.remainder(x, y))):  # fmt: skip
        assert q.dtype == dtype and r.dtype == dtype
        assert q.tolist() == [a // b for a, b in PAIRS]
        assert r.tolist() == [a % b for a, b in PAIRS]
        assert [math.copysign(1, v) for v in r.tolist() if v == 0] == [
            math.copysign(1, b) if "float" in dtype.name else 1 for a, b in PAIRS if a % b == 0
        ]


def test_division_of_what_is_special():
    x = mx.array([5, -5, 0])
    assert (x // 0).tolist() == [0, 0, 0] and (x % 0).tolist() == [0, 0, 0]
    least = mx.array([-128], dtype=mx.int8)
    assert (least // -1).tolist() == [-128] and (least % -1).tolist() == [0]
    f = mx.array([5.0, -5.0, 1.0, -1.0])
    assert (f // 0.0).tolist() == [INF, -INF, INF, -INF]
    assert np.isnan(np.array(f % 0.0)).all()
    assert (f % INF).tolist() == [5, INF, 1, INF]
    assert (7 // mx.array([2, -2])).tolist() == [3, -4]
    assert (7 % mx.array([4, -4])).tolist() == [3, -1]
    y = mx.array([7, 8])
    y //= 2
    y %= 3
    assert y.tolist() == [0, 1]


@pytest.mark.parametrize("symbol", ["and_", "or_", "xor", "lshift", "rshift"])
def test_bits(symbol):
    function = getattr(operator, symbol)
    x, y = [12, -7, 100, 3], [3, 1, 5, 0]
    expected = [function(a, b) for a, b in zip(x, y)]
    assert function(mx.array(x), mx.array(y)).tolist() == expected
    assert function(mx.array(x), 2).tolist() == [function(a, 2) for a in x]
    assert function(5, mx.array(y)).tolist() == [function(5, b) for b in y]
    with pytest.raises(TypeError):
        function(mx.array([1.0]), 1)


def test_bits_of_bools():
    p = mx.array([True, False])
    assert (p & True).dtype == mx.bool_ and (p ^ p).dtype == mx.bool_
    assert (p << p).dtype == mx.uint8 and (p << p).tolist() == [2, 0]
    assert (p << 1).dtype == mx.int32 and (p << 1).tolist() == [2, 0]


def test_inverted_bits():
    assert (~mx.array([0, 5, -1])).tolist() == [-1, -6, 0]
    assert mx.bitwise_invert(mx.array([5], dtype=mx.uint8)).tolist() == [250]
    assert (~mx.array([True, False])).tolist() == [False, True]
    with pytest.raises(TypeError):
        ~mx.array([1.0])


def test_kinds_of_numbers():
    x = mx.array([INF, -INF, NAN, 1.0, -0.0])
    assert mx.isinf(x).tolist() == [True, True, False, False, False]
    assert mx.isposinf(x).tolist() == [True, False, False, False, False]
    assert mx.isneginf(x).tolist() == [False, True, False, False, False]
    assert mx.isfinite(x).tolist() == [False, False, False, True, True]
    for dtype in (mx.int32, mx.bool_, mx.uint8):
        i = mx.array([0, 1], dtype=dtype)
        assert mx.isfinite(i).tolist() == [True, True]
        assert mx.isinf(i).tolist() == [False, False]
    assert mx.logical_xor(mx.array([0, 1, 2]), mx.array([1, 0, 3])).tolist() == [True, True, False]


def test_arctan2():
    special = [0.0, -0.0, 1, -1, 3e38, -3e38, 1e-44, INF, -INF, NAN, 2.5]
    y, x = (a.ravel().astype(np.float32) for a in np.meshgrid(special, special))
    ours, expected = np.array(mx.arctan2(mx.array(y), mx.array(x))), np.arctan2(y, x)
    np.testing.assert_allclose(ours, expected, rtol=3e-7)
    signs = np.signbit(expected)
    np.testing.assert_array_equal(np.signbit(ours)[~np.isnan(ours)], signs[~np.isnan(ours)])


def test_logaddexp():
    x = np.array([1, -5, 1000, INF, -INF, INF, -1.0, -1e-5], np.float32)
    y = np.array([2, 3, 1000, INF, -INF, -INF, -0.4586751453870819, -11.5], np.float32)
    with np.errstate(all="ignore"):
        expected = np.logaddexp(x.astype(float), y.astype(float))
    np.testing.assert_allclose(
        np.array(mx.logaddexp(mx.array(x), mx.array(y))), expected, rtol=2e-7
    )


def test_round():
    assert mx.round(mx.array([0.5, 1.5, 2.5, -0.5])).tolist() == [0, 2, 2, 0]
    x = mx.array([1.234, -5.678])
    np.testing.assert_allclose(np.array(mx.round(x, 1)), [1.2, -5.7], rtol=1e-6)
    np.testing.assert_allclose(np.array(x.round(decimals=2)), [1.23, -5.68], rtol=1e-6)
    assert mx.round(mx.array([1234.5]), -2).tolist() == [1200.0]
    i = mx.round(mx.array([155, 145, -155]), -1)
    assert i.dtype == mx.int32 and i.tolist() == [160, 140, -160]
    assert mx.round(mx.array([5, 15]), 2).tolist() == [5, 15]
    assert mx.round(mx.array([True])).dtype == mx.bool_


def test_clip():
    x = mx.array([-3, 0, 9])
    assert mx.clip(x, -1, 5).tolist() == [-1, 0, 5]
    assert mx.clip(x, None, 5).tolist() == [-3, 0, 5]
    assert mx.clip(x, a_min=1, a_max=None).tolist() == [1, 1, 9]
    assert mx.clip(x, 0.5, None).dtype == mx.float32
    assert mx.clip(x, mx.array([[0], [5]]), 6).tolist() == [[0, 0, 6], [5, 5, 6]]
    assert math.isnan(mx.clip(mx.array(NAN), 0, 1).item())
    with pytest.raises(ValueError):
        mx.clip(x, None, None)


def test_nan_to_num():
    x = mx.array([NAN, INF, -INF, 1.0])
    most = float(np.finfo(np.float32).max)
    assert mx.nan_to_num(x).tolist() == [0, most, -most, 1]
    assert mx.nan_to_num(x, 1, posinf=2, neginf=3).tolist() == [1, 2, 3, 1]
    assert mx.nan_to_num(x.astype(mx.float16)).tolist() == [0, 65504, -65504, 1]
    i = mx.nan_to_num(mx.array([1, 2]))
    assert i.dtype == mx.int32 and i.tolist() == [1, 2]


def test_isclose():
    x, y = [1.0, 1.0, INF, INF, 1.0, NAN], [1.000001, 1.1, INF, -INF, INF, NAN]
    ours = mx.isclose(mx.array(x), mx.array(y))
    assert ours.tolist() == np.isclose(x, y).tolist()
    ours = mx.isclose(mx.array(x), mx.array(y), equal_nan=True)
    assert ours.tolist() == np.isclose(x, y, equal_nan=True).tolist()
    assert mx.isclose(mx.array(x), mx.array(y), 0.2)[1].item()
    small, large = (mx.array([v], dtype=mx.uint8) for v in (1, 2))
    assert mx.isclose(small, large, 0, 1).item() is True
    assert mx.allclose(mx.array([1, 2]), mx.array([1, 2])).item() is True
    assert mx.allclose(mx.array([1, 2]), mx.array([1, 3])).item() is False


def test_second_names():
    x = mx.array([0.5])
    for ours, mlx in [("acos", "arccos"), ("asinh", "arcsinh"), ("atan", "arctan")]:
        assert getattr(mx, ours)(x).tolist() == getattr(mx, mlx)(x).tolist()
    assert mx.pow(x, 2).tolist() == [0.25]
    assert mx.bitwise_left_shift(mx.array([1]), 3).tolist() == [8]
