"""Shapes: axes, pieces, repetition, padding, diagonals, creation; against numpy."""

import ferrule.core as mx
import numpy as np
import pytest

DTYPES = [mx.bool_, mx.uint8, mx.int16, mx.int32, mx.int64, mx.float16, mx.float32, mx.float64]


def values(shape, dtype=mx.float32, seed=0):
    """Whole numbers, which every dtype holds."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2 if dtype == mx.bool_ else 100, shape).astype(dtype_of(dtype))


def dtype_of(dtype):
    return np.dtype("bool" if dtype == mx.bool_ else dtype.name)


def layouts(shape, dtype=mx.float32):
    """Arrays of one shape that lie in memory in different ways: with values, and pending."""
    v = values(shape, dtype)
    yield mx.array(v, dtype=dtype), v
    yield mx.array(np.ascontiguousarray(v.T), dtype=dtype).T, v
    yield mx.array(v[..., ::-1].copy(), dtype=dtype)[..., ::-1], v
    yield mx.where(mx.array(True), mx.array(v, dtype=dtype), mx.array(v, dtype=dtype)), v
    wide = np.broadcast_to(v[:1], shape)
    yield mx.broadcast_to(mx.array(v[:1].copy(), dtype=dtype), shape), wide


def same(result, wanted):
    wanted = np.asarray(wanted)
    assert result.shape == wanted.shape
    assert dtype_of(result.dtype) == wanted.dtype
    np.testing.assert_array_equal(np.array(result), wanted)


def each(dtype, shape, ours, numpys):
    for x, v in layouts(shape, dtype):
        got, wanted = ours(x), numpys(v)
        if isinstance(got, (list, tuple)):
            assert len(got) == len(wanted)
            for one, other in zip(got, wanted):
                same(one, other)
        else:
            same(got, wanted)


FUNCTIONS = {
    "swapaxes": (lambda x: mx.swapaxes(x, 0, -1), lambda v: v.swapaxes(0, -1)),
    "moveaxis": (lambda x: mx.moveaxis(x, -1, 0), lambda v: np.moveaxis(v, -1, 0)),
    "matrix_transpose": (mx.matrix_transpose, lambda v: v.swapaxes(-1, -2)),
    "permute_dims": (lambda x: mx.permute_dims(x, (2, 0, 1)), lambda v: v.transpose(2, 0, 1)),
    "unflatten": (lambda x: mx.unflatten(x, 1, (2, -1)), lambda v: v.reshape(3, 2, 2, 5)),
    "atleast_3d": (lambda x: mx.atleast_3d(x[0]), lambda v: np.atleast_3d(v[0])),
    "split": (lambda x: mx.split(x, 2, axis=1), lambda v: np.split(v, 2, axis=1)),
    "split at": (lambda x: x.split([1, 3], axis=-1), lambda v: np.split(v, [1, 3], axis=-1)),
    "split odd": (lambda x: mx.split(x, [2, 1, -1, 9], axis=1),
                  lambda v: np.split(v, [2, 1, -1, 9], axis=1)),
    "unstack": (lambda x: mx.unstack(x, axis=1), lambda v: [v[:, i] for i in range(4)]),
    "tile": (lambda x: mx.tile(x, (2, 1, 3)), lambda v: np.tile(v, (2, 1, 3))),
    "tile short": (lambda x: mx.tile(x, 2), lambda v: np.tile(v, 2)),
    "tile long": (lambda x: mx.tile(x, (2, 1, 1, 2)), lambda v: np.tile(v, (2, 1, 1, 2))),
    "tile never": (lambda x: mx.tile(x, (1, 0)), lambda v: np.tile(v, (1, 0))),
    "repeat": (lambda x: mx.repeat(x, 3, axis=1), lambda v: np.repeat(v, 3, axis=1)),
    "repeat last": (lambda x: mx.repeat(x, 2, axis=-1), lambda v: np.repeat(v, 2, axis=-1)),
    "repeat all": (lambda x: mx.repeat(x, 2), lambda v: np.repeat(v, 2)),
    "repeat never": (lambda x: mx.repeat(x, 0, axis=0), lambda v: np.repeat(v, 0, axis=0)),
    "roll": (lambda x: mx.roll(x, 7), lambda v: np.roll(v, 7)),
    "roll axis": (lambda x: mx.roll(x, -2, -1), lambda v: np.roll(v, -2, -1)),
    "roll axes": (lambda x: mx.roll(x, (1, 2), (0, 2)), lambda v: np.roll(v, (1, 2), (0, 2))),
    "roll twice": (lambda x: mx.roll(x, 1, (1, 1)), lambda v: np.roll(v, 2, 1)),
    "flip": (mx.flip, np.flip),
    "flip axes": (lambda x: mx.flip(x, axis=(0, -1)), lambda v: np.flip(v, (0, -1))),
    "diff": (mx.diff, np.diff),
    "diff 2": (lambda x: mx.diff(x, n=2, axis=1), lambda v: np.diff(v, n=2, axis=1)),
    "diff far": (lambda x: mx.diff(x, 7), lambda v: np.diff(v, 7)),
    "diagonal": (mx.diagonal, np.diagonal),
    "diagonal of axes": (lambda x: mx.diagonal(x, -1, 2, 0), lambda v: v.diagonal(-1, 2, 0)),
    "diagonal far": (lambda x: x.diagonal(9), lambda v: v.diagonal(9)),
    "diag of a matrix": (lambda x: mx.diag(x[0], 1), lambda v: np.diag(v[0], 1)),
    "diag of a vector": (lambda x: x[0, 0].diag(), lambda v: np.diag(v[0, 0])),
    "diag above": (lambda x: mx.diag(x[0, 0], 2), lambda v: np.diag(v[0, 0], 2)),
    "diag below": (lambda x: mx.diag(x[0, 0], -3), lambda v: np.diag(v[0, 0], -3)),
    "tril": (mx.tril, np.tril),
    "tril k": (lambda x: mx.tril(x, -1), lambda v: np.tril(v, -1)),
    "triu": (lambda x: mx.triu(x, 1), lambda v: np.triu(v, 1)),
    "pad": (lambda x: mx.pad(x, ((1, 2), (0, 0), (3, 0)), constant_values=1),
            lambda v: np.pad(v, ((1, 2), (0, 0), (3, 0)), constant_values=1)),
    "meshgrid": (lambda x: mx.meshgrid(x[0, 0], x[:, 0, 0]),
                 lambda v: np.meshgrid(v[0, 0], v[:, 0, 0])),
    "as_strided": (lambda x: mx.as_strided(x, (3, 2, 4), (2, 0, 7), 3),
                   lambda v: np.lib.stride_tricks.as_strided(
                       np.ascontiguousarray(v).ravel()[3:], (3, 2, 4),
                       [s * v.itemsize for s in (2, 0, 7)])),
    "slice": (lambda x: mx.slice(x, mx.array([1, 2]), (0, 2), (2, 3, 2)),
              lambda v: v[1:3, :3, 2:4]),
    "positive": (mx.positive, lambda v: v),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, dtype):
    each(dtype, (3, 4, 5), *FUNCTIONS[name])


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("widths", [1, (2, 0), ((1, 2), (0, 3)), 2, (5, 9), 23])
def test_pad_modes(mode, widths):
    for x, v in layouts((3, 4)):
        same(mx.pad(x, widths, mode=mode), np.pad(v, widths, mode=mode))
    v = values((1, 7), mx.int8)
    same(mx.pad(mx.array(v), widths, mode), np.pad(v, widths, mode))


def test_pad_of_nothing():
    same(mx.pad(mx.zeros((0, 2)), ((0, 0), (1, 1)), "edge"), np.zeros((0, 4), np.float32))
    for mode in ("edge", "reflect", "symmetric", "wrap"):
        with pytest.raises(ValueError, match="pad: axis 0 of float32.0,2. is empty"):
            mx.pad(mx.zeros((0, 2)), 1, mode)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (2, 2), (5, 70), (64, 3)])
def test_odd_shapes(shape):
    v = values(shape)
    x = mx.array(v)
    for k in (-70, -2, -1, 0, 1, 2, 70):
        same(mx.tril(x, k), np.tril(v, k))
        same(mx.triu(x, k), np.triu(v, k))
        same(mx.diagonal(x, k), np.diagonal(v, k))
        same(mx.trace(x, k), np.trace(v, k))
        same(mx.roll(x, k, 0), np.roll(v, k, 0))
        same(mx.eye(*shape, k=k), np.eye(*shape, k=k, dtype=np.float32))
        same(mx.tri(*shape, k=k, dtype=mx.int32), np.tri(*shape, k=k, dtype=np.int32))
    same(mx.flip(x), np.flip(v))
    same(mx.tile(x, (3, 2)), np.tile(v, (3, 2)))
    same(mx.diff(x, axis=0), np.diff(v, axis=0))


def test_trace():
    v = values((4, 5, 3), mx.int8)
    x = mx.array(v)
    same(mx.trace(x), np.trace(v, dtype=np.int32))
    same(mx.trace(x, 1, 2, 0), np.trace(v, 1, 2, 0, dtype=np.int32))
    same(mx.trace(x, dtype=mx.float16), np.trace(v).astype(np.float16))
    assert mx.trace(x > 3).dtype == mx.int32


def test_atleast():
    for n, f in ((1, mx.atleast_1d), (2, mx.atleast_2d), (3, mx.atleast_3d)):
        for shape in ((), (3,), (3, 4), (2, 3, 4), (2, 1, 3, 4)):
            v = values(shape)
            same(f(mx.array(v)), getattr(np, f"atleast_{n}d")(v))
        both = f(mx.array(1), mx.zeros((2, 2)))
        assert isinstance(both, list) and [b.ndim for b in both] == [n, max(n, 2)]
        assert f() == []


def test_broadcasting():
    a, b, c = values((3, 1)), values((4,)), values((2, 1, 1))
    got = mx.broadcast_arrays(*map(mx.array, (a, b, c)))
    for one, wanted in zip(got, np.broadcast_arrays(a, b, c)):
        same(one, wanted)
    assert mx.broadcast_arrays() == []
    assert mx.broadcast_shapes((6, 7), (5, 6, 1), (7,)) == (5, 6, 7)
    assert mx.broadcast_shapes((0, 1), (1,)) == (0, 1)
    with pytest.raises(ValueError, match="broadcast"):
        mx.broadcast_arrays(mx.zeros((2, 3)), mx.zeros((2,)))
    with pytest.raises(ValueError, match="broadcast"):
        mx.broadcast_shapes((2, 3), (4,))
    with pytest.raises(ValueError):
        mx.broadcast_shapes()


def test_meshgrid():
    a, b, c = values((2,)), values((3,)), values((4,))
    ours = [mx.array(v) for v in (a, b, c)]
    for n in (1, 2, 3):
        for sparse in (False, True):
            for indexing in ("xy", "ij"):
                got = mx.meshgrid(*ours[:n], sparse=sparse, indexing=indexing)
                wanted = np.meshgrid(*(a, b, c)[:n], sparse=sparse, indexing=indexing)
                assert isinstance(got, tuple)
                for one, other in zip(got, wanted):
                    same(one, other)
    assert mx.meshgrid() == ()
    with pytest.raises(ValueError, match="indexing"):
        mx.meshgrid(ours[0], indexing="zz")


def test_linspace():
    for args in ((0, 1, 5), (3, -2, 7), (0, 1, 1), (2, 2, 4), (0, 1, 0), (-1e3, 1e3, 1001)):
        for endpoint in (True, False):
            wanted = np.linspace(*args, endpoint=endpoint)
            got = mx.linspace(*args, endpoint=endpoint)
            assert got.dtype == mx.float32 and got.shape == wanted.shape
            np.testing.assert_allclose(np.array(got), wanted, rtol=3e-7, atol=2e-4)
            if endpoint and args[2] > 1:
                assert got[-1].item() == args[1]
            exact = mx.linspace(*args, endpoint=endpoint, dtype=mx.float64)
            np.testing.assert_allclose(np.array(exact), wanted, rtol=1e-15, atol=3e-13)
    assert mx.linspace(0, 10, 4, dtype=mx.int32).tolist() == [0, 3, 6, 10]
    assert mx.linspace(0, 1).shape == (50,)
    with pytest.raises(ValueError, match="linspace"):
        mx.linspace(0, 1, -1)


@pytest.mark.parametrize("name", ["hanning", "hamming", "blackman", "bartlett"])
def test_windows(name):
    for n in (-1, 0, 1, 2, 3, 8, 101):
        wanted = getattr(np, name)(n)
        got = getattr(mx, name)(n)
        assert got.dtype == mx.float32 and got.shape == wanted.shape
        np.testing.assert_allclose(np.array(got), wanted, atol=3e-7)


def test_creation():
    same(mx.identity(3), np.eye(3, dtype=np.float32))
    same(mx.identity(2, mx.int8), np.eye(2, dtype=np.int8))
    same(mx.eye(2), np.eye(2, dtype=np.float32))
    same(mx.eye(2, dtype=None), np.eye(2, dtype=np.float32))
    same(mx.tri(3), np.tri(3, dtype=np.float32))
    same(mx.empty((2, 3), mx.int16), np.zeros((2, 3), np.int16))
    same(mx.empty_like(mx.array([1, 2])), np.zeros(2, np.int32))
    assert mx.tri(-1).shape == (0, 0)
    with pytest.raises(ValueError, match="rows"):
        mx.eye(-1)
    with pytest.raises(ValueError, match="rows"):
        mx.tri(2, -1)


def test_slices_at_computed_places():
    v = values((4, 6), mx.int32)
    x = mx.array(v)
    for start in (-3, 0, 1, 4, 5, 99):  # moved until it fits
        at = min(max(start, 0), 4)
        same(mx.slice(x, mx.array([start]), (1,), (4, 2)), v[:, at : at + 2])
        wanted = v.copy()
        wanted[:3, at : at + 2] = 7
        new = mx.full((3, 2), 7)
        same(mx.slice_update(x, new, mx.array([start]), (1,)), wanted)
    same(mx.slice(x, mx.array(2), (0,), (2, 6)), v[2:])
    same(mx.slice(x, mx.array([1, 2]), (-1, 0), (2, 4)), v[2:, 1:5])
    same(mx.slice_update(x, mx.array(v * 2.5), mx.array([0]), (0,)), (v * 2.5).astype(np.int32))
    same(mx.slice_update(x, x[:0], mx.array([0]), (0,)), v)

    @mx.compile
    def f(x, i):
        return mx.slice_update(x, mx.slice(x, i, (0,), (1, 6)) * 2, i, (0,))

    for i in range(4):
        wanted = v.copy()
        wanted[i] *= 2
        same(f(x, mx.array([i])), wanted)


def test_whole_arrays():
    x = mx.array([1.0, float("nan"), 3.0])
    assert not mx.array_equal(x, x).item()
    assert mx.array_equal(x, x, equal_nan=True).item()
    assert mx.array_equal(x, x, True).item()
    assert not mx.array_equal(x, x[:2], equal_nan=True).item()
    assert mx.array_equal(mx.array([1, 2]), mx.array([1.0, 2.0])).item()
    v = values((5, 6), mx.bool_)
    same(mx.count_nonzero(mx.array(v)), np.int32(np.count_nonzero(v)))
    same(mx.count_nonzero(mx.array(v), axis=1, keepdims=True),
         np.count_nonzero(v, axis=1, keepdims=True).astype(np.int32))  # fmt: skip
    low, high = mx.minmax(mx.array(values((3, 4))), axis=0)
    same(low, values((3, 4)).min(0))
    same(high, values((3, 4)).max(0))


def test_flatten_beyond_the_ends():
    x = mx.zeros((2, 3, 4))
    assert mx.flatten(x, -5, 9).shape == (24,)
    assert mx.flatten(x, 1, 9).shape == (2, 12)
    assert mx.flatten(mx.array(1), 3, 4).shape == (1,)
    for start, end in ((5, 9), (0, -4), (2, 1)):
        with pytest.raises(ValueError, match="flatten: axis"):
            mx.flatten(x, start, end)
    assert mx.stack([x, x], None).shape == (2, 2, 3, 4)
    assert mx.concatenate([x, x], None).shape == (48,)


def test_views_stay_views():
    before = mx.counters()["kernels"]
    x = mx.array(values((4, 6)))
    made = [mx.flip(x), mx.moveaxis(x, 0, 1), mx.unflatten(x, 1, (2, 3)), x.diagonal(), x.mT]
    made += mx.split(x, 2) + list(mx.unstack(x)) + [mx.as_strided(x, (2, 4), None, 3)]
    mx.eval(made)
    assert mx.counters()["kernels"] == before


@pytest.mark.parametrize(
    "call, kind, text",
    [
        (lambda x: mx.swapaxes(x, 0, 5), IndexError, "swapaxes: axis 5"),
        (lambda x: mx.moveaxis(x, 3, 0), IndexError, "moveaxis: axis 3"),
        (lambda x: mx.unflatten(x, 1, (2, 2)), ValueError, "unflatten: axis 1"),
        (lambda x: mx.unflatten(x, 7, (2, 2)), IndexError, "unflatten"),
        (lambda x: mx.matrix_transpose(x[0]), ValueError, "matrix_transpose"),
        (lambda x: mx.split(x, 2, axis=1), ValueError, "split: axis 1 of float32.2,3. has no 2"),
        (lambda x: mx.split(x, 0), ValueError, "split"),
        (lambda x: mx.split(x, 1, axis=9), IndexError, "split: axis 9"),
        (lambda x: mx.unstack(x, axis=2), IndexError, "unstack: axis 2"),
        (lambda x: mx.tile(x, -1), ValueError, "tile"),
        (lambda x: mx.tile(x, 2**62), ValueError, "tile"),
        (lambda x: mx.repeat(x, -1, 0), ValueError, "repeat"),
        (lambda x: mx.repeat(x, 1, 2), IndexError, "repeat: axis 2"),
        (lambda x: mx.repeat(x, [1, 2], 0), TypeError, "repeat"),
        (lambda x: mx.roll(x, 1, 2), IndexError, "roll: axis 2"),
        (lambda x: mx.roll(x, (1, 2, 3), (0, 1)), ValueError, "roll: 3 shifts"),
        (lambda x: mx.flip(x, 2), IndexError, "flip: axis 2"),
        (lambda x: mx.pad(x, -1), ValueError, "pad"),
        (lambda x: mx.pad(x, 1, "best"), ValueError, "pad: mode"),
        (lambda x: mx.diag(x[None]), ValueError, "diag: wanted"),
        (lambda x: mx.diagonal(x[0]), ValueError, "diagonal"),
        (lambda x: mx.diagonal(x, 0, 1, -1), ValueError, "diagonal: axis 1 is named twice"),
        (lambda x: mx.trace(x, 0, 0, 4), IndexError, "diagonal: axis 4"),
        (lambda x: mx.tril(x[0]), ValueError, "tril"),
        (lambda x: mx.as_strided(x, (7,)), ValueError, "as_strided"),
        (lambda x: mx.as_strided(x, (2, 2), (-1, 1)), ValueError, "as_strided"),
        (lambda x: mx.as_strided(x, (2, 2), (1,)), ValueError, "as_strided: 1 strides"),
        (lambda x: mx.slice(x, mx.array([0]), (0,), (3, 3)), ValueError, "slice: sizes"),
        (lambda x: mx.slice(x, mx.array([0]), (0,), (3,)), ValueError, "slice: 1 sizes"),
        (lambda x: mx.slice(x, mx.array([0, 1]), (0,), (2, 3)), ValueError, "slice: starts"),
        (lambda x: mx.slice(x, mx.array([0.5]), (0,), (2, 3)), TypeError, "slice: starts"),
        (lambda x: mx.slice_update(x, x[0], mx.array([0]), (0,)), ValueError, "slice_update"),
        (lambda x: mx.diff(x, -1), ValueError, "diff"),
        (lambda x: mx.diff(x, axis=2), IndexError, "diff: axis 2"),
        (lambda x: mx.eye("2"), TypeError, "eye: n must be an int"),
    ],
)
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call(mx.zeros((2, 3)))
