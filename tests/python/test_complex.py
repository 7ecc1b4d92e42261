"""complex64 against numpy: operations, layouts, dtypes that meet, Python's complex numbers."""

import math
import pickle

import ferrule.core as mx
import numpy as np
import pytest

RNG = np.random.default_rng(7)


def numbers(*shape, scale=1.0):
    re, im = RNG.standard_normal((2, *shape)) * scale
    return (re + 1j * im).astype(np.complex64)


LAYOUTS = {
    "contiguous": lambda a: a,
    "transposed": lambda a: a.T,
    "backwards": lambda a: a[::-1, ::-2],
    "row": lambda a: a[1:2],
    "empty": lambda a: a[:, :0],
    "one": lambda a: a[2, 3],
    "expanded": lambda a: a[:, None, :, None],
}


def check(got, want, tol=2e-6):
    got = np.array(got)
    want = np.asarray(want)
    assert got.shape == want.shape
    assert got.dtype == want.dtype or want.dtype in (np.complex128, np.float64)
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


UNARY = {
    "negative": lambda a: -a,
    "conjugate": np.conjugate,
    "real": np.real,
    "imag": np.imag,
    "abs": np.abs,
    "square": np.square,
    "sqrt": np.sqrt,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "reciprocal": lambda a: 1 / a,
    "exp": np.exp,
    "log": np.log,
    "log2": lambda a: np.log(a) / math.log(2),
    "log10": np.log10,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "arcsinh": np.arcsinh,
    "arccosh": np.arccosh,
    "arctanh": np.arctanh,
    "sign": lambda a: a / np.abs(a),
    "degrees": lambda a: a * (180 / math.pi),
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "logical_not": np.logical_not,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name, layout):
    a = numbers(5, 6)
    x = LAYOUTS[layout](mx.array(a))
    wide = UNARY[name](LAYOUTS[layout](a).astype(np.complex128))
    check(getattr(mx, name)(x), wide)


@pytest.mark.parametrize("name", UNARY)
def test_far_from_one(name):
    if name in ("exp", "sin", "cos", "tan", "sinh", "cosh", "tanh", "square"):
        scales = (1e-6, 5)
    else:
        scales = (1e-30, 1e-6, 1e6, 1e30)
    for scale in scales:
        a = numbers(40, scale=scale)
        wide = a.astype(np.complex128)
        want = UNARY[name](wide) if name != "log1p" or scale > 1e-3 else wide - wide**2 / 2
        got = np.array(getattr(mx, name)(mx.array(a)))
        if want.dtype == bool:
            assert (got == want).all()
            continue
        off = np.abs(got - want)
        assert (off <= 2e-6 * np.abs(want) + 1e-37).all(), (name, scale, off.max())


BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
}


@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name):
    a, b = numbers(4, 5), numbers(5)
    b[2] = a[0, 2] = a[1, 2]
    b[3] = complex(a[2, 3].real, b[3].imag)
    check(getattr(mx, name)(mx.array(a), mx.array(b)), BINARY[name](a, b), 5e-6)
    check(
        getattr(mx, name)(mx.array(b)[::-1], mx.array(a.T.copy()).T), BINARY[name](b[::-1], a), 5e-6
    )


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint64", "int8", "int32", "float16", "float32", "float64"]
)
def test_with_other_dtypes(dtype):
    a, b = numbers(6), np.array([0, 1, 1, 3, 0, 7]).astype(dtype)
    x, y = mx.array(a), mx.array(b)
    for got, want in ((x + y, a + b), (y * x, b * a), (x - y, a - b.astype(float)), (y - x, b - a)):
        assert got.dtype == mx.complex64
        check(got, want.astype(np.complex64))
    check(y.astype(mx.complex64), b.astype(np.complex64))
    assert (y + 1j).dtype == mx.complex64
    check(y + 1j, b + np.complex64(1j))
    name = "bool_" if dtype == "bool" else dtype
    back = x.astype(getattr(mx, name))
    want = (a != 0) if dtype == "bool" else a.real.astype(dtype) if "u" not in dtype else None
    if want is not None:
        assert (np.array(back) == want).all()


def test_python_numbers():
    z = mx.array(1 + 2j)
    assert z.dtype == mx.complex64 and z.shape == () and z.item() == 1 + 2j
    assert complex(z) == 1 + 2j and bool(mx.array(2j)) and not mx.array(0j)
    assert mx.array([1, 2.5, 1j, True]).tolist() == [1, 2.5, 1j, 1]
    assert (z * (2 - 1j)).item() == (1 + 2j) * (2 - 1j)
    assert ((2 - 1j) / z).item() == pytest.approx((2 - 1j) / (1 + 2j))
    assert (z**2).item() == pytest.approx((1 + 2j) ** 2)
    assert (z**0).item() == 1
    assert (2**z).item() == pytest.approx(2 ** (1 + 2j))
    assert (z == 1 + 2j).item() is True and (z != 1).item() is True
    with pytest.raises(TypeError):
        float(z)
    with pytest.raises(TypeError):
        int(z)
    assert mx.full((2,), 1 + 1j).tolist() == [1 + 1j, 1 + 1j]
    assert mx.zeros((2,), mx.complex64).tolist() == [0, 0]
    assert mx.arange(0, 3, 1, mx.complex64).tolist() == [0, 1, 2]
    assert str(mx.array([1 + 2j, -0.5 - 0.25j])) == "array([1+2j, -0.5-0.25j], dtype=complex64)"
    assert mx.array([1, 2]).real.tolist() == [1, 2] and mx.array([1, 2]).imag.tolist() == [0, 0]
    assert mx.array([1j]).conj().tolist() == [-1j]


def test_numpy_and_buffers():
    a = numbers(3, 4)
    x = mx.array(a)
    assert x.dtype == mx.complex64 and memoryview(x).format == "Zf"
    assert (np.array(x) == a).all() and np.array(x.T).tolist() == a.T.tolist()
    assert mx.array(a.astype(np.complex128)).dtype == mx.complex64
    assert pickle.loads(pickle.dumps(mx.complex64)) is mx.complex64


def test_reductions():
    a = numbers(7, 9)
    x = mx.array(a)
    for axis in (None, 0, 1, (0, 1)):
        for keep in (False, True):
            check(mx.sum(x, axis, keep), a.sum(axis, keepdims=keep), 1e-5)
            check(mx.mean(x, axis, keep), a.mean(axis, keepdims=keep), 1e-5)
            check(mx.prod(x, axis, keep), a.prod(axis, keepdims=keep), 1e-4)
            check(mx.max(x, axis, keep), a.max(axis, keepdims=keep))
            check(mx.min(x, axis, keep), a.min(axis, keepdims=keep))
            check(mx.var(x, axis, keep), a.var(axis, keepdims=keep), 1e-5)
            check(mx.any(x, axis, keep), a.any(axis, keepdims=keep))
            check(mx.all(x, axis, keep), a.all(axis, keepdims=keep))
    check(mx.sum(x[:, :0], 1), np.zeros(7, np.complex64))
    check(mx.prod(x[:, :0], 1), np.ones(7, np.complex64))
    check(mx.logsumexp(x, 1), np.log(np.exp(a.astype(np.complex128)).sum(1)), 1e-5)
    e = np.exp(a)
    check(mx.softmax(x, -1), e / e.sum(-1, keepdims=True), 1e-5)
    large = numbers(1 << 19)
    check(mx.sum(mx.array(large)), large.astype(np.complex128).sum(), 1e-5)


def test_products():
    a, b = numbers(3, 4), numbers(4, 5)
    check(mx.array(a) @ mx.array(b), a @ b, 1e-5)
    check(mx.array(a) @ mx.array(b.real), a @ b.real, 1e-5)
    check(mx.array(a.real) @ mx.array(b), a.real @ b, 1e-5)
    check(mx.array(a[0]) @ mx.array(b), a[0] @ b, 1e-5)


def test_put_together_and_taken_apart():
    a, b = numbers(3, 4), numbers(2, 4)
    x, y = mx.array(a), mx.array(b)
    s = x * y[:1]
    check(mx.concatenate([s, y * 2j, x.real]), np.concatenate([a * b[:1], b * 2j, a.real]), 1e-6)
    check(mx.stack([x, s], 1), np.stack([a, a * b[:1]], 1), 1e-6)
    check(mx.pad(s, 1, constant_values=1j), np.pad(a * b[:1], 1, constant_values=1j), 1e-6)
    check(mx.take(s, mx.array([2, 0, -1]), 0), (a * b[:1])[[2, 0, -1]], 1e-6)
    z = x + 0
    z[1, ::2] = 5j
    c = a.copy()
    c[1, ::2] = 5j
    check(z, c)
    check(
        mx.where(mx.array([True, False, True, False]), x, 1j),
        np.where([1, 0, 1, 0], a, 1j).astype("F"),
    )
    check(mx.where(x, 1, 2), np.where(a != 0, 1, 2).astype(np.int32))
    check(mx.contiguous(s.T), (a * b[:1]).T, 1e-6)
    check((s + 1).T.reshape(2, 6).real, (a * b[:1] + 1).T.reshape(2, 6).real, 1e-6)


def kernels(*arrays):
    return mx.describe(*arrays).count("\n kernel ")


def test_fused():
    x, y = mx.array(numbers(50)), mx.array(numbers(50))
    counts = [kernels(mx.abs(x * y + mx.exp(x) / 2j)), kernels(mx.sum(x * mx.conj(y)))]
    assert counts == [1, 1]
    text = mx.describe(mx.real((x + y)[::2]))  # simplified: imaginary parts are not read
    assert "imag float32" not in text[text.index(" group 0") :]


def test_branch_cuts_and_zeros():
    z = mx.array([complex(-4, 0.0), complex(-4, -0.0)])
    assert mx.sqrt(z).tolist() == [2j, -2j]
    assert mx.log(z).imag.tolist() == pytest.approx([math.pi, -math.pi])
    zero = mx.array([0j])
    assert mx.sqrt(zero).item() == 0 and mx.abs(zero).item() == 0 and mx.sign(zero).item() == 0
    r = mx.reciprocal(zero).item()
    assert math.isinf(r.real) and math.isnan(r.imag)
    assert mx.power(zero, zero).item() == 1 and mx.power(zero, mx.array([2 + 1j])).item() == 0
    assert mx.abs(mx.array([3e38 + 0j, 3e30 + 4e30j, 3e-40 + 4e-40j])).tolist() == pytest.approx(
        [3e38, 5e30, 5e-40], rel=1e-4
    )
    assert (mx.array([1e30 + 1e30j]) / mx.array([1e30 + 1e30j])).item() == 1
    n = mx.array([complex(math.nan, 1)])
    assert mx.isnan(n).item() and math.isnan(mx.maximum(n, mx.array([1j])).item().real)


@pytest.mark.parametrize(
    "name", ["erf", "erfinv", "sigmoid", "floor", "ceil", "trunc", "expm1", "nan_to_num"]
)
def test_not_for_complex(name):
    with pytest.raises(ValueError):
        getattr(mx, name)(mx.array([1j]))


def test_no_bits_of_complex():
    with pytest.raises(TypeError):
        mx.array([1j]) & mx.array([1j])
    with pytest.raises(ValueError):
        mx.array([1j]) % 2


def test_derivatives():
    z, w = mx.array([1 + 2j]), 2 - 1j
    g = mx.array([3 + 5j])
    assert mx.vjp(lambda a: a * w, [z], [g])[1][0].tolist() == [(2 + 1j) * (3 + 5j)]
    assert mx.vjp(mx.real, [z], [mx.array([3.0])])[1][0].tolist() == [3]
    assert mx.vjp(mx.imag, [z], [mx.array([3.0])])[1][0].tolist() == [3j]
    got = mx.vjp(mx.abs, [z], [mx.array([3.0])])[1][0].item()
    assert got == pytest.approx(3 * (1 + 2j) / abs(1 + 2j))
    back = mx.vjp(lambda a: a.astype(mx.complex64), [mx.array([3.0])], [g])[1][0]
    assert back.dtype == mx.float32 and back.tolist() == [3]


def test_compiled():
    a, b = numbers(33), numbers(33)
    f = mx.compile(lambda x, y: mx.exp(x * y) - 2j * mx.conj(x))
    for k in range(2):
        check(f(mx.array(a + k), mx.array(b)), np.exp((a + k) * b) - 2j * np.conj(a + k), 2e-5)
