"""Every operation against numpy in float64, over dtypes and layouts."""

import math

import ferrule.core as mx
import numpy as np
import pytest

FLOATS = [mx.float32, mx.float16, mx.bfloat16]
TOLERANCE = {mx.float32: 2e-6, mx.float16: 2e-3, mx.bfloat16: 1.6e-2}

erf = np.vectorize(math.erf, otypes=[float])

# name: (numpy, from, to)
UNARY = {
    "abs": (np.abs, -5, 5),
    "negative": (np.negative, -5, 5),
    "sign": (np.sign, -5, 5),
    "square": (np.square, -5, 5),
    "sqrt": (np.sqrt, 0, 9),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 0.1, 9),
    "reciprocal": (lambda x: 1 / x, 0.5, 9),
    "exp": (np.exp, -5, 5),
    "log": (np.log, 0.1, 9),
    "tanh": (np.tanh, -5, 5),
    "erf": (erf, -3, 3),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -9, 9),
    "sin": (np.sin, -9, 9),
    "cos": (np.cos, -9, 9),
    "floor": (np.floor, -5, 5),
    "ceil": (np.ceil, -5, 5),
}
BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
}
REDUCE = ["sum", "prod", "max", "min", "mean", "var", "std", "any", "all"]
AXES = [None, 0, 1, -1, (0, 2), (0, 1, 2), ()]


def as_numpy(x):
    return np.array(x.astype(mx.float32)).astype(np.float64)


def make(low, high, shape, dtype, seed=0):
    values = np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
    x = mx.array(values).astype(dtype)
    mx.eval(x)
    return x, as_numpy(x)


def close(x, expected, dtype, scale=1):
    tolerance = scale * TOLERANCE[dtype]
    np.testing.assert_allclose(as_numpy(x), expected, rtol=tolerance, atol=tolerance)


LAYOUTS = {
    "rows": lambda x: x,
    "turned": lambda x: x.T,
    "sliced": lambda x: x[1:, ::2],
    "reversed": lambda x: x[::-1, ::-1],
    "empty": lambda x: x[:0],
    "number": lambda x: x[1, 2],
}


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, dtype):
    function, low, high = UNARY[name]
    x, values = make(low, high, (7, 37), dtype)
    for layout in LAYOUTS.values():
        ours = getattr(mx, name)(layout(x))
        assert ours.dtype == dtype
        close(ours, function(layout(values)), dtype)
    np.testing.assert_array_equal(as_numpy(getattr(x, name)()), as_numpy(getattr(mx, name)(x)))


def test_erfinv():
    x, values = make(-0.99, 0.99, (100,), mx.float32)
    np.testing.assert_allclose(erf(as_numpy(mx.erfinv(x))), values, atol=1e-5)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "erf", "sin", "rsqrt", "sigmoid"])
def test_floats_of_integers(name):
    function = UNARY[name][0]
    x = getattr(mx, name)(mx.array([1, 2, 3]))
    assert x.dtype == mx.float32
    close(x, function(np.array([1.0, 2, 3])), mx.float32)


@pytest.mark.parametrize("name", ["abs", "sign", "square", "negative", "floor", "ceil"])
def test_unary_of_integers(name):
    x = getattr(mx, name)(mx.array([-3, 0, 5]))
    assert x.dtype == mx.int32
    assert x.tolist() == UNARY[name][0](np.array([-3, 0, 5])).tolist()


def test_special_values():
    x = mx.array([float("nan"), float("inf"), -float("inf"), 0.0, -0.0])
    assert mx.isnan(x).tolist() == [True, False, False, False, False]
    np.testing.assert_array_equal(
        np.array(mx.exp(x)), np.array([np.nan, np.inf, 0, 1, 1], np.float32)
    )
    np.testing.assert_array_equal(np.array(mx.tanh(x))[1:], np.array([1, -1, 0, -0.0], np.float32))
    assert math.isnan(mx.sqrt(mx.array(-1.0)).item())
    assert math.isnan(mx.log(mx.array(-1.0)).item())
    assert mx.log(mx.array(0.0)).item() == -math.inf
    assert math.isnan(mx.maximum(x, 0)[0].item())
    assert math.isnan(x[:2].max().item())
    assert math.isnan(mx.sign(x)[0].item())


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name, dtype):
    x, a = make(-4, 4, (7, 37), dtype, 1)
    y, b = make(-4, 4, (7, 37), dtype, 2)
    y, b = mx.where(mx.abs(y) < 0.5, mx.array(2, dtype), y), np.where(np.abs(b) < 0.5, 2, b)
    function = getattr(mx, name)
    for left, right in [
        (lambda v: v, lambda v: v),
        (lambda v: v.T, lambda v: v.T),
        (lambda v: v[:, ::-2], lambda v: v[:1, ::2]),
        (lambda v: v[:, :1], lambda v: v[0]),
        (lambda v: v[2, 3], lambda v: v),
        (lambda v: v[:0], lambda v: v[:0]),
    ]:
        ours, expected = function(left(x), right(y)), BINARY[name](left(a), right(b))
        assert ours.shape == expected.shape
        if expected.dtype == bool:
            assert ours.dtype == mx.bool_
            np.testing.assert_array_equal(np.array(ours), expected)
        else:
            assert ours.dtype == dtype
            close(ours, expected, dtype)


@pytest.mark.parametrize(
    "name", ["add", "subtract", "multiply", "maximum", "minimum", "less", "equal"]
)
def test_binary_of_integers(name):
    a, b = np.array([1, -7, 2**30, -5], np.int32), np.array([1, 3, 2**30 - 1, 5], np.int32)
    expected = BINARY[name](a, b)
    np.testing.assert_array_equal(np.array(getattr(mx, name)(mx.array(a), mx.array(b))), expected)


def test_where():
    x = mx.array([1.0, -2.0, 3.0])
    assert mx.where(x > 0, x, 0).tolist() == [1.0, 0.0, 3.0]
    assert mx.where(mx.array([True, False]), 1, 2.5).tolist() == [1.0, 2.5]
    assert mx.where(mx.array([[True], [False]]), x, -x).tolist() == [[1, -2, 3], [-1, 2, -3]]
    assert mx.where(True, x, 0).tolist() == x.tolist()


def test_operators():
    a, b = np.array([1.0, 2, 3], np.float32), np.array([2.0, 2, 2], np.float32)
    x, y = mx.array(a), mx.array(b)
    for function in [
        lambda u, v: u + v,
        lambda u, v: u - v,
        lambda u, v: u * v,
        lambda u, v: u / v,
        lambda u, v: u < v,
        lambda u, v: u <= v,
        lambda u, v: u > v,
        lambda u, v: u >= v,
        lambda u, v: u == v,
        lambda u, v: u != v,
    ]:
        np.testing.assert_array_equal(np.array(function(x, y)), function(a, b))
        np.testing.assert_array_equal(np.array(function(x, 2)), function(a, np.float32(2)))
        np.testing.assert_array_equal(np.array(function(2.0, x)), function(np.float32(2), a))
    assert (-x).tolist() == [-1, -2, -3]
    assert (+x).tolist() == [1, 2, 3]
    assert abs(-x).tolist() == [1, 2, 3]


def test_operators_of_bools():
    p, q = mx.array([True, True, False]), mx.array([True, False, False])
    assert (p & q).tolist() == [True, False, False]
    assert (p | q).tolist() == [True, True, False]
    assert (p ^ q).tolist() == [False, True, False]
    assert (~p).tolist() == [False, False, True]
    assert (p & True).tolist() == p.tolist()
    with pytest.raises(TypeError):
        mx.array([1]) & mx.array([1.0])
    with pytest.raises(TypeError):
        ~mx.array([1.0])


def test_powers():
    x = mx.array([1.0, -2.0, 3.0])
    for n in (0, 1, 2, 3, 4, 5, 7, 10, 2.0, 3.0):
        np.testing.assert_allclose(np.array(x**n), np.array([1.0, -2, 3]) ** n, rtol=1e-6)
    np.testing.assert_allclose(np.array(x**-1), [1, -0.5, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(np.array(mx.array([4.0]) ** 0.5), [2.0])
    np.testing.assert_allclose(np.array(mx.array([4.0]) ** -0.5), [0.5])
    i = mx.array([1, 2, 3])
    assert (i**2).dtype == mx.int32 and (i**2).tolist() == [1, 4, 9]
    assert (i**2.0).dtype == mx.float32
    assert (i**0).tolist() == [1, 1, 1]
    assert (i**-1).tolist() == [0, 0, 0]


def test_numpy_operands():
    x = mx.array([1.0, 2.0])
    assert (x + np.array([1.0, 2.0])).dtype == mx.float32
    assert (x * np.float32(2)).tolist() == [2.0, 4.0]
    assert (x * np.float64(2)).dtype == mx.float32
    assert (mx.array([1, 2]) + np.int32(1)).dtype == mx.int32


@pytest.mark.parametrize("other", ["a", None, [1, 2], object()])
def test_operands_of_other_types(other):
    x = mx.array([1.0, 2.0])
    with pytest.raises(TypeError):
        x + other
    with pytest.raises(TypeError):
        other - x
    with pytest.raises(TypeError):
        mx.add(x, other)
    assert (x == None) is False  # noqa: E711


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", REDUCE)
def test_reductions(name, axis):
    x, values = make(-2, 2, (3, 5, 33), mx.float32)
    ours = getattr(mx, name)(x, axis=axis)
    expected = getattr(np, name)(values, axis=axis)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(np.array(ours), expected, rtol=2e-5, atol=2e-5)
    kept = getattr(x, name)(axis, keepdims=True)
    assert kept.shape == getattr(np, name)(values, axis=axis, keepdims=True).shape
    np.testing.assert_array_equal(np.array(kept).reshape(ours.shape), np.array(ours))
    turned = getattr(mx, name)(x.T, axis=axis)
    np.testing.assert_allclose(
        np.array(turned), getattr(np, name)(values.T, axis=axis), rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_sums_of_halves_accumulate_in_float32(dtype):
    x = mx.full((4096,), 0.125, dtype)
    assert x.sum().dtype == dtype
    assert x.sum().item() == 512.0
    assert x.mean().item() == 0.125


def test_large_reductions():
    x, values = make(-1, 1, (301, 1013), mx.float32)
    for axis in (None, 0, 1):
        np.testing.assert_allclose(np.array(x.sum(axis)), values.sum(axis), rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(np.array(x.max(axis)), values.max(axis))
        np.testing.assert_allclose(np.array(x.var(axis)), values.var(axis), rtol=1e-4)


def test_reductions_of_integers():
    assert mx.array([True, True]).sum().dtype == mx.int32
    assert mx.array([True, True]).sum().item() == 2
    assert mx.array([200, 100], dtype=mx.uint8).sum().dtype == mx.uint32
    assert mx.array([200, 100], dtype=mx.uint8).sum().item() == 300
    assert mx.array([1, 2, 3]).mean().item() == 2.0
    assert mx.array([1, 2, 3]).var().item() == pytest.approx(2 / 3)
    assert mx.array([2, 3]).prod().item() == 6
    assert mx.array([2, 3]).max().dtype == mx.int32


def test_reductions_of_nothing():
    empty = mx.zeros((0, 3))
    assert empty.sum(0).tolist() == [0, 0, 0]
    assert empty.prod(0).tolist() == [1, 1, 1]
    assert mx.zeros((0,), mx.bool_).any().item() is False
    assert mx.zeros((0,), mx.bool_).all().item() is True
    assert math.isnan(mx.array([]).mean().item())
    with pytest.raises(ValueError):
        mx.array([]).max()


def test_ddof():
    x = mx.array([1.0, 2, 3])
    assert x.var(ddof=1).item() == pytest.approx(1.0)
    assert x.std(None, False, 1).item() == pytest.approx(1.0)
    assert mx.var(x, 0, True, 1).shape == (1,)


@pytest.mark.parametrize("axis", [-1, 0, 1, None, (0, 1)], ids=str)
def test_softmax_and_logsumexp(axis):
    x, values = make(-20, 20, (9, 129), mx.float32)
    shifted = np.exp(values - values.max(axis=axis, keepdims=True))
    expected = shifted / shifted.sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(np.array(mx.softmax(x, axis=axis)), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        np.array(mx.logsumexp(x, axis=axis)),
        np.log(np.exp(values).sum(axis=axis)),
        rtol=1e-5,
    )
    huge = mx.array([1e4, 1e4])
    assert mx.softmax(huge, axis=-1, precise=True).tolist() == [0.5, 0.5]
    assert huge.logsumexp().item() == pytest.approx(1e4 + math.log(2))


@pytest.mark.parametrize(
    "left, right, result",
    [
        (mx.float16, mx.bfloat16, mx.float32),
        (mx.float16, mx.float32, mx.float32),
        (mx.int32, mx.float16, mx.float16),
        (mx.bool_, mx.int32, mx.int32),
        (mx.bool_, mx.bool_, mx.bool_),
        (mx.int32, mx.float32, mx.float32),
    ],
    ids=str,
)
def test_promotion(left, right, result):
    for a, b in ((left, right), (right, left)):
        x = mx.array([1, 2], dtype=a) + mx.array([1, 2], dtype=b)
        assert x.dtype == result


def test_weak_numbers():
    assert (mx.array([1], mx.float16) * 2.5).dtype == mx.float16
    assert (mx.array([1], mx.bfloat16) + 1).dtype == mx.bfloat16
    assert (mx.array([1, 2]) + 0.5).dtype == mx.float32
    assert (mx.array([1, 2]) * 2).dtype == mx.int32
    assert (mx.array([True]) + 1).dtype == mx.int32
    assert (mx.array([True]) * 2.5).dtype == mx.float32
    assert (mx.array([1, 2]) / 2).dtype == mx.float32
    assert (mx.array([1, 2]) * True).dtype == mx.int32
    assert mx.add(1, 2).dtype == mx.int32
    assert mx.add(1, 2.5).item() == 3.5
    assert mx.exp(1).item() == pytest.approx(math.e, rel=1e-6)


def test_casts():
    x = mx.array([1.7, -1.7, float("nan"), 1e20, -1e20])
    assert x.astype(mx.int32).tolist() == [1, -1, 0, 2**31 - 1, -(2**31)]
    assert mx.array([0.0, 0.5, float("nan")]).astype(mx.bool_).tolist() == [False, True, True]
    assert mx.array([True, False]).astype(mx.float32).tolist() == [1.0, 0.0]
    values = np.random.default_rng(3).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(
        np.array(mx.array(values).astype(mx.float16)), values.astype(np.float16)
    )
    assert x.astype(mx.float32).dtype == mx.float32


def test_streams_are_accepted():
    x = mx.array([1.0])
    s = mx.new_stream(mx.cpu)
    for stream in (None, mx.cpu, s, mx.default_stream(mx.cpu), mx.Device(mx.cpu)):
        assert mx.exp(x, stream=stream).item() == pytest.approx(math.e)
        assert mx.sum(x, stream=stream).item() == 1
        assert mx.add(x, 1, stream=stream).item() == 2
        assert mx.zeros(1, stream=stream).item() == 0
        assert x.reshape(1, 1, stream=stream).shape == (1, 1)
    with pytest.raises(TypeError):
        mx.exp(x, stream=3)


def test_a_long_chain():
    x = mx.array([0.0, 1.0])
    y = x
    for _ in range(20000):
        y = y + 1
    assert y.tolist() == [20000.0, 20001.0]


def test_a_long_chain_that_is_dropped():
    y = mx.array([0.0])
    for _ in range(100000):
        y = y + 1
    del y


def test_values_used_twice_are_computed_once():
    x = mx.array(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))
    y = mx.exp(x)
    z = y + 1
    w = y * 2
    mx.eval(z, w)
    np.testing.assert_allclose(np.array(z), np.exp(np.array(x)) + 1, rtol=1e-5)
    np.testing.assert_allclose(np.array(w), np.exp(np.array(x)) * 2, rtol=1e-5)
    np.testing.assert_allclose(np.array(y), np.exp(np.array(x)), rtol=1e-5)


@pytest.mark.parametrize("make", [mx.zeros, mx.ones, lambda shape: mx.full(shape, 7.5)])
def test_an_evaluated_number_broadcasts(make):
    number = make(())
    mx.eval(number)
    others = [mx.arange(n) * 2.0 for n in (1, 6, 100)]
    mx.eval([mx.full((100,), 3.0) * 2, *others])
    for x in others:
        want = np.array(x) + number.item()
        np.testing.assert_array_equal(np.array(number + x), want)
        np.testing.assert_array_equal(np.array(mx.compile(lambda a: a + number)(x)), want)
