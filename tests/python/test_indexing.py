"""x[...], x[...] = v and x.at[...] with everything that an index can be, against numpy: random
indices of random arrays (FERRULE_TEST_SEED repeats a run), and what numpy has no word for."""

import os

import ferrule.core as mx
import numpy as np
import pytest

SEED = int(os.environ.get("FERRULE_TEST_SEED", np.random.SeedSequence().entropy % 2**32))
DTYPES = ["bool", "uint8", "int16", "int32", "int64", "float16", "float32", "complex64"]
INDEX_DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def values(rng, shape, dtype):
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(0, 100, shape).astype(dtype)


def random_slice(rng, n):
    def end():
        return None if rng.random() < 0.3 else int(rng.integers(-n - 2, n + 3))

    step = [None, 1, 2, 3, -1, -2][rng.integers(6)]
    return slice(end(), end(), step)


def random_array(rng, n, block):
    """Indices of an axis of n whose shape broadcasts to block: as numpy and we are given them."""
    shape = [size if rng.random() < 0.8 else 1 for size in block][rng.integers(len(block) + 1) :]
    dtype = rng.choice(INDEX_DTYPES)
    low = 0 if dtype.startswith("u") else -n
    array = rng.integers(low, n, shape).astype(dtype)
    how = rng.integers(5)
    if how == 0 and array.ndim and array.size:
        return array, array.tolist()
    if how == 1:
        return array, array
    return array, mx.array(array)


def random_index(rng, shape):
    """An index as numpy takes it, and as we do."""
    block = [int(n) for n in rng.integers(0 if rng.random() < 0.1 else 1, 4, rng.integers(3))]
    items, axis, ellipsis = [], 0, rng.random() < 0.3
    arrays = rng.random() < 0.7
    while axis < len(shape) and rng.random() < 0.85:
        n, kind = shape[axis], rng.random()
        if kind < 0.12:
            items.append((None, None))
            continue
        if kind < 0.2 and ellipsis:
            items.append((Ellipsis, Ellipsis))
            ellipsis = False
            axis += int(rng.integers(len(shape) - axis + 1))
            continue
        if kind < 0.4 and n:
            at = int(rng.integers(-n, n))
            items.append((at, np.int64(at) if rng.random() < 0.2 else at))
        elif kind < 0.75 and n and arrays:
            items.append(random_array(rng, n, block))
        else:
            cut = random_slice(rng, n)
            items.append((cut, cut))
        axis += 1
    if len([i for i in items if i[0] is Ellipsis]) and axis > len(shape):
        return random_index(rng, shape)
    theirs, ours = tuple(i[0] for i in items), tuple(i[1] for i in items)
    if len(items) == 1 and rng.random() < 0.5:
        return theirs[0], ours[0]
    return theirs, ours


def cases(rng, count):
    made = 0
    while made < count:
        shape = tuple(
            int(n) for n in rng.integers(0 if rng.random() < 0.1 else 1, 6, rng.integers(5))
        )
        theirs, ours = random_index(rng, shape)
        try:
            np.zeros(shape)[theirs]
        except (IndexError, ValueError):  # an ellipsis that took less than we thought
            continue
        made += 1
        yield made, shape, theirs, ours


def source(rng, a):
    """The array in some layout, with values or without."""
    how = rng.integers(4)
    if how == 0:
        return mx.array(a)
    if how == 1:
        return mx.array(a.T.copy()).T
    if how == 2:
        return mx.array(a[::-1])[::-1] if a.ndim else mx.array(a)
    return mx.where(mx.array(True), mx.array(a), mx.array(a))  # not computed yet


def through_compile(function, x, index):
    """function(x, index) with x and the index's arrays as arguments of a compiled function."""
    items = index if isinstance(index, tuple) else (index,)
    arrays = [i for i in items if isinstance(i, mx.array)]

    @mx.compile
    def compiled(x, *traced):
        traced = iter(traced)
        again = tuple(next(traced) if isinstance(i, mx.array) else i for i in items)
        return function(x, again if isinstance(index, tuple) else again[0])

    return compiled(x, *arrays)


def check(got, want, message):
    assert got.shape == want.shape, message
    np.testing.assert_array_equal(np.array(got), want, err_msg=message)


def test_reading():
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    for n, shape, theirs, ours in cases(rng, 3000):
        a = values(rng, shape, rng.choice(DTYPES))
        message = f"seed {SEED} case {n}: {a.dtype}{shape}[{theirs}] as {ours}"
        x = source(rng, a)
        got = through_compile(lambda x, i: x[i], x, ours) if n % 8 == 0 else x[ours]
        assert got.dtype == x.dtype, message
        check(got, a[theirs], message)


def value_for(rng, shape, dtype):
    """A value that broadcasts to this shape: as numpy and we are given it."""
    if rng.random() < 0.2:
        number = int(rng.integers(0, 2))
        return np.array(number), number
    sizes = [n if rng.random() < 0.8 else 1 for n in shape]
    sizes = sizes[rng.integers(len(sizes) + 1) :] if rng.random() < 0.5 else [1, *sizes]
    v = values(rng, sizes, dtype)
    ours = v if rng.random() < 0.3 else mx.array(v)
    return v.reshape(sizes[1:]) if len(sizes) > len(shape) else v, ours


def updated(a, index, v, operation):
    """a with every update in its turn."""
    flat, places = a.ravel().copy(), np.arange(a.size).reshape(a.shape)[index]
    v = np.broadcast_to(v.astype(a.dtype), places.shape)
    work = flat.astype(np.float32) if a.dtype == np.float16 else flat
    for at, value in zip(places.ravel().tolist(), v.ravel()):
        work[at] = operation(work[at], value)
    return work.astype(a.dtype).reshape(a.shape)


def test_assignment():
    print("seed", SEED)
    rng = np.random.default_rng(SEED + 1)
    for n, shape, theirs, ours in cases(rng, 2500):
        dtype = rng.choice(DTYPES)
        a = values(rng, shape, dtype)
        v, mine = value_for(rng, a[theirs].shape, rng.choice([dtype, "float32", "int32"]))
        if dtype != "complex64" and v.dtype.kind == "c":
            continue
        message = f"seed {SEED} case {n}: {a.dtype}{shape}[{theirs}] = {v!r} as {ours}, {mine!r}"
        x = source(rng, a)
        before = x

        def assign(x, index, mine=mine):
            x = x[...]
            x[index] = mine
            return x

        got = through_compile(assign, x, ours) if n % 8 == 0 else assign(x, ours)
        assert got.dtype == x.dtype, message
        check(got, updated(a, theirs, v, lambda old, new: new), message)
        check(before, a, message)


def truncated(old, new):
    if isinstance(old, np.integer):
        return int(old) // int(new) if new else 0
    return old / new


OPERATIONS = {
    "add": lambda old, new: old + new,
    "subtract": lambda old, new: old - new,
    "multiply": lambda old, new: old * new,
    "divide": truncated,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:divide by zero")
@pytest.mark.parametrize("name", OPERATIONS)
def test_at(name):
    print("seed", SEED)
    rng = np.random.default_rng(SEED + 2)
    for n, shape, theirs, ours in cases(rng, 250):
        a = values(rng, shape, rng.choice(["uint8", "int32", "int64", "float16", "float32"]))
        v, mine = value_for(rng, a[theirs].shape, a.dtype)
        message = f"seed {SEED} case {n}: {a.dtype}{shape}.at[{theirs}].{name}({v!r}) as {ours}"
        x = source(rng, a)

        def update(x, index, mine=mine):
            return getattr(x.at[index], name)(mine)

        got = through_compile(update, x, ours) if n % 8 == 0 else update(x, ours)
        assert got.dtype == x.dtype, message
        check(got, updated(a, theirs, v, OPERATIONS[name]), message)


# ---- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32", "float16"])
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_masks(dtype, axes):
    rng = np.random.default_rng(SEED + 3)
    for density in [0, 0.3, 1]:
        a = values(rng, (3, 4, 5), dtype)
        mask = rng.random(a.shape[:axes]) < density
        n = int(np.sum(mask))
        shapes = [(), (5,), (1,), a.shape[axes:], (n, *a.shape[axes:]), (n, *[1] * (3 - axes))]
        for shape in shapes if axes else [(), (5,), (4, 5), (3, 1, 5)]:
            if axes == 3 and len(shape) == 1 and shape[0] not in (1, n):
                continue
            v = values(rng, shape, dtype)
            for ours in [mx.array(mask), mask, mask.tolist()]:
                x, want = mx.array(a), a.copy()
                x[ours] = mx.array(v)
                want[mask] = v
                check(x, want, f"{mask} {v}")

    @mx.compile
    def traced(x, mask):
        x[mask] = x[mask.astype(mx.int32)][0] if axes == 1 else 7
        return x

    x, mask = values(rng, (3, 4, 5), dtype), rng.random((3, 4, 5)[:axes]) < 0.5
    want = x.copy()
    want[mask] = x[mask.astype(int)][0] if axes == 1 else 7
    check(traced(mx.array(x), mx.array(mask)), want, "traced")


def test_masks_read_and_fitted():
    x = mx.zeros((3, 4))
    for mask in [x == 0, mx.array([True, False, True]), [True, False, True], True, False]:
        with pytest.raises(ValueError, match="bool"):
            x[mask]
    with pytest.raises(ValueError, match="mask"):
        x[mx.array([True, False])] = 1
    with pytest.raises(ValueError):
        x[mx.array([True, False, True]), 0] = 1
    x[True] = 2
    x[False] = 3
    assert x.tolist() == [[2] * 4] * 3
    x[mx.array([True, False, True])] = mx.array([[1.0], [2.0], [3.0]])  # more than are wanted
    assert x[:, 0].tolist() == [1, 2, 2]
    assert x.at[x == 2].add(1)[:, 0].tolist() == [1, 3, 3]


# ---- what numpy has no word for ------------------------------------------------------------------


def test_out_of_range():
    x = mx.arange(12).reshape(3, 4)
    i = mx.array([5, -9, 1])
    assert x[i].tolist() == [x[2].tolist(), x[0].tolist(), x[1].tolist()]
    assert x[i, i].tolist() == [11, 0, 5]
    assert mx.take_along_axis(x, i[:, None], 1).flatten().tolist() == [3, 4, 9]
    y = x[...]
    y[i] = -1
    assert y[:, 0].tolist() == [0, -1, 8]
    assert x.at[i, i].add(100).sum().item() == x.sum().item() + 100
    assert mx.put_along_axis(x, i[:, None], mx.array(-1), 1).flatten().tolist() == [
        0, 1, 2, 3, 4, 5, 6, 7, 8, -1, 10, 11,
    ]  # fmt: skip
    for bad in [3, -4, (0, 4), (0, mx.array([1]), 1)[:1] + (9,), np.int64(3), (3, i)]:
        with pytest.raises(IndexError):
            x[bad]
        with pytest.raises(IndexError):
            x[bad] = 1
        with pytest.raises(IndexError):
            x.at[bad].add(1)
    with pytest.raises(IndexError):
        mx.take(x, 12)
    with pytest.raises(IndexError):
        mx.take(x, -4, axis=0)
    assert mx.take(x, -3, axis=0).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "index",
    ["a", 1.0, {}, mx.array(0.5), mx.array([1.0]), [0.5], (0, 0, 0), (..., ...), (0, "a"),
     (mx.array([0, 1]), mx.array([0, 1, 2])), (mx.array([0]), True), range(2), np.array([0.5])],
    ids=str,
)  # fmt: skip
def test_what_is_no_index(index):
    x = mx.zeros((3, 4))
    with pytest.raises(ValueError):
        x[index]
    with pytest.raises(ValueError):
        x[index] = 1
    with pytest.raises(ValueError):
        x.at[index].add(1)
    assert x.tolist() == [[0] * 4] * 3


def test_what_is_no_value():
    x = mx.zeros((3, 4))
    for value in ["a", [1, 2, 3, 4], mx.zeros((3,)), mx.zeros((2, 4)), object()]:
        with pytest.raises(ValueError):
            x[0] = value
        with pytest.raises(ValueError):
            x[mx.array([0])] = value
    with pytest.raises(TypeError):
        x[0] = None
    with pytest.raises(ValueError, match="at"):
        x.at.add(1)
    with pytest.raises(TypeError):
        x.at[0].add()
    with pytest.raises(TypeError):
        x.at[0] = 1
    assert x.tolist() == [[0] * 4] * 3


def test_at_by_name_and_again():
    x = mx.zeros((3, 4))
    at = x.at[mx.array([0, 0])]
    assert isinstance(at, mx.ArrayAt) and isinstance(x.at, mx.ArrayAt)
    assert at.add(value=1)[0].tolist() == [2] * 4 and at.add(2)[0].tolist() == [4] * 4
    assert x[0].tolist() == [0] * 4
    x[mx.array([0, 0])] += 1  # read once, written twice
    assert x[0].tolist() == [1] * 4
    assert mx.array([1, 2]).at[0].add(1.7).tolist() == [2, 2]  # cast first
    assert mx.array([-7, 7]).at[:].divide(2).tolist() == [-3, 3]
    assert mx.array([-7, 7]).at[mx.array([0, 1])].divide(2).tolist() == [-3, 3]


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_along_axis(axis):
    rng = np.random.default_rng(SEED + 4)
    for _ in range(50):
        a = values(rng, (3, 4, 5), rng.choice(DTYPES))
        n = a.size if axis is None else a.shape[axis]
        shape = [n if rng.random() < 0.8 else 1 for n in a.shape] if axis is not None else [7]
        shape[axis or 0] = int(rng.integers(1, 8))
        i = rng.integers(-n, n, shape)
        v = values(rng, () if rng.random() < 0.3 else i.shape, a.dtype)
        x, ours = source(rng, a), mx.array(i.astype(rng.choice(["int8", "int32", "int64"])))
        check(mx.take_along_axis(x, ours, axis), np.take_along_axis(a, i, axis), f"{axis} {i}")
        want = a.copy()
        np.put_along_axis(want, i, v, axis)
        check(mx.put_along_axis(x, ours, mx.array(v), axis), want, f"{axis} {i} {v}")
        sort = mx.array(np.argsort(a, axis, kind="stable"))
        check(mx.take_along_axis(x, sort, axis), np.sort(a, axis, kind="stable"), "sorted")


def test_along_axis_errors():
    x = mx.zeros((2, 3, 4))
    with pytest.raises(ValueError):
        mx.take_along_axis(x, mx.array([0, 1]))
    with pytest.raises(ValueError):
        mx.take_along_axis(x, mx.zeros((1, 2, 2), dtype=mx.int32), axis=1)
    with pytest.raises(IndexError):
        mx.take_along_axis(x, mx.zeros((1, 1, 1), dtype=mx.int32), axis=3)
    with pytest.raises(TypeError):
        mx.take_along_axis(x, mx.zeros((1, 1, 1)), axis=0)
    with pytest.raises(ValueError):
        mx.put_along_axis(x, mx.array([0]), mx.array(1), axis=1)
    with pytest.raises(ValueError):
        mx.put_along_axis(x, mx.zeros((2, 1, 4), dtype=mx.int32), mx.zeros((5,)), axis=1)


def test_many_duplicates_and_large():
    rng = np.random.default_rng(SEED + 5)
    i = rng.integers(0, 50, 100_000).astype(np.int32)
    v = rng.integers(0, 1000, 100_000).astype(np.int32)
    x = mx.zeros((50,), dtype=mx.int32)
    assert x.at[mx.array(i)].add(mx.array(v)).tolist() == np.bincount(i, v, 50).tolist()
    want = np.zeros(50, np.int32)
    np.maximum.at(want, i, v)
    assert x.at[mx.array(i)].maximum(mx.array(v)).tolist() == want.tolist()
    last = np.zeros(50, np.int32)
    for at, value in zip(i.tolist(), v.tolist()):
        last[at] = value
    x[mx.array(i)] = mx.array(v)
    assert x.tolist() == last.tolist()
    ones = mx.zeros((4,), dtype=mx.bfloat16).at[mx.zeros((1000,), dtype=mx.int32)].add(1)
    assert ones[0].item() == 1000  # added up in float32


# ---- derivatives ---------------------------------------------------------------------------------


def numeric(function, a, h=1e-2):
    """Central differences of a function of a float64 array."""
    gradient = np.zeros_like(a)
    for at in np.ndindex(a.shape):
        up, down = a.copy(), a.copy()
        up[at] += h
        down[at] -= h
        gradient[at] = (function(up) - function(down)) / (2 * h)
    return gradient


@pytest.mark.parametrize("name", ["set", *OPERATIONS])
def test_gradients_of_updates(name):
    rng = np.random.default_rng(7)
    a, v, w = (rng.permutation(12).reshape(4, 3) / 4 + 0.6 for _ in range(3))
    v = v[[0, 1, 2, 3]]
    index = mx.array([2, 0, 2, 9])  # one twice, one nowhere

    def both(x, v):
        if name == "set":
            y = x * 1
            y[index] = v
        else:
            y = getattr(x.at[index], name)(v)
        return (y * y * mx.array(w, dtype=mx.float64)).sum()

    x64, v64 = mx.array(a, dtype=mx.float64), mx.array(v, dtype=mx.float64)
    of_x, of_v = mx.grad(both, argnums=(0, 1))(x64, v64)
    for got, at in [(of_x, 0), (of_v, 1)]:

        def plain(z, at=at):
            arguments = [mx.array(z, dtype=mx.float64), v64]
            if at:
                arguments = [x64, arguments[0]]
            return both(*arguments).item()

        want = numeric(plain, (a, v)[at], 1e-4)
        np.testing.assert_allclose(np.array(got), want, rtol=1e-5, atol=1e-5)


def test_gradients_of_reading():
    rng = np.random.default_rng(8)
    a = rng.normal(size=(4, 3, 5))
    i, j = mx.array([0, 3, 3, -1]), mx.array([[1], [2]])
    for index in [
        i,
        (i, 1),
        (slice(None), j, slice(1, 3)),
        (i, None, ..., j),
        ([0, 0], slice(None), 2),
    ]:

        def loss(x, index=index):
            return (x[index] ** 3).sum()

        got = mx.grad(loss)(mx.array(a, dtype=mx.float64))
        want = numeric(lambda z: loss(mx.array(z, dtype=mx.float64)).item(), a, 1e-4)
        np.testing.assert_allclose(np.array(got), want, rtol=1e-4, atol=1e-5)
        twice = mx.grad(lambda x: (mx.grad(loss)(x) ** 2).sum())(mx.array(a, dtype=mx.float64))
        assert np.isfinite(np.array(twice)).all()


def test_batches_of_updates():
    rng = np.random.default_rng(9)
    x, v = mx.array(rng.normal(size=(3, 5, 2))), mx.array(rng.normal(size=(3, 4, 2)))
    i = mx.array(rng.integers(-6, 6, (3, 4)).astype(np.int32))

    def update(x, i, v):
        return x.at[i].add(v)

    want = mx.stack([update(x[b], i[b], v[b]) for b in range(3)])
    assert mx.array_equal(mx.vmap(update)(x, i, v), want).item()
    want = mx.stack([update(x[b], i[0], v[b]) for b in range(3)])
    assert mx.array_equal(mx.vmap(update, in_axes=(0, None, 0))(x, i[0], v), want).item()
    want = mx.stack([update(x[0], i[b], v[0]) for b in range(3)])
    assert mx.array_equal(mx.vmap(update, in_axes=(None, 0, None))(x[0], i, v[0]), want).item()
