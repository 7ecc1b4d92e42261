"""Arrays put together from parts: concatenate, stack, pad, x[...] = value; against numpy."""

import ferrule.core as mx
import numpy as np
import pytest

RNG = np.random.default_rng(5)


def pair(*shape):
    a = RNG.normal(size=shape).astype(np.float32)
    return mx.array(a), a


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concatenate(axis):
    x, a = pair(3, 4, 5)
    y, b = pair(3, 4, 5)
    got = mx.concatenate([x, mx.exp(y), x * 2], axis=axis)
    np.testing.assert_allclose(
        np.array(got), np.concatenate([a, np.exp(b), a * 2], axis), rtol=2e-7
    )


def test_concatenate_of_views_sizes_and_dtypes():
    x, a = pair(6, 7)
    got = mx.concatenate([x.T[::2], x[:, :3].T, mx.zeros((0, 6))], axis=0)
    np.testing.assert_array_equal(np.array(got), np.concatenate([a.T[::2], a[:, :3].T], 0))
    mixed = mx.concatenate([mx.array([1, 2]), mx.array([0.5])])
    assert mixed.dtype == mx.float32 and mixed.tolist() == [1, 2, 0.5]
    assert mx.concatenate([x, x], axis=None).shape == (84,)
    assert mx.concatenate([mx.zeros((0, 2)), mx.zeros((0, 2))]).shape == (0, 2)


def test_concatenate_errors():
    x, _ = pair(2, 3)
    with pytest.raises(ValueError, match="concatenate"):
        mx.concatenate([x, mx.zeros((2, 3, 1))])
    with pytest.raises(ValueError):
        mx.concatenate([])
    with pytest.raises(IndexError):
        mx.concatenate([x, x], axis=2)


def test_shared_parts_are_not_written_over():
    x, a = pair(5)
    y, b = pair(5)
    first = mx.concatenate([x, y])
    second = mx.concatenate([x, y * 2])
    third = mx.concatenate([x, y])
    mx.eval(first, second, third)
    np.testing.assert_array_equal(np.array(first), np.concatenate([a, b]))
    np.testing.assert_array_equal(np.array(second), np.concatenate([a, b * 2]))
    np.testing.assert_array_equal(np.array(third), np.concatenate([a, b]))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_stack(axis):
    x, a = pair(3, 4)
    y, b = pair(3, 4)
    np.testing.assert_array_equal(
        np.array(mx.stack([x, y, x], axis=axis)), np.stack([a, b, a], axis)
    )


@pytest.mark.parametrize("width", [1, (1, 2), ((1, 2), (0, 3)), ((2, 1),)])
def test_pad(width):
    x, a = pair(3, 4)
    np.testing.assert_array_equal(np.array(mx.pad(x, width)), np.pad(a, width))
    np.testing.assert_array_equal(
        np.array(mx.pad(x * 2, width, constant_values=7)),
        np.pad(a * 2, width, constant_values=7),
    )


INDICES = [
    np.s_[1],
    np.s_[-1, 2],
    np.s_[1:3],
    np.s_[::2, ::-1],
    np.s_[..., 0],
    np.s_[:, 1:1],
    np.s_[3:0:-2, 1:4, None],
    np.s_[...],
]


@pytest.mark.parametrize("index", INDICES)
def test_assignment(index):
    x, a = pair(4, 5)
    before = x * 1
    x[index] = 2.5
    want = a.copy()
    want[index] = 2.5
    np.testing.assert_array_equal(np.array(x), want)
    np.testing.assert_array_equal(np.array(before), a)


def test_assignment_of_arrays():
    x, a = pair(4, 5)
    old = x[:]
    row, r = pair(5)
    x[1:3] = row
    x[:, 0] = mx.exp(x[:, 1])
    a1 = a.copy()
    a1[1:3] = r
    a1[:, 0] = np.exp(a1[:, 1])
    np.testing.assert_allclose(np.array(x), a1, rtol=2e-7)
    np.testing.assert_array_equal(np.array(old), a)
    with pytest.raises(ValueError):
        x[0] = mx.zeros((3,))
    with pytest.raises(IndexError):
        x[9] = 1
    with pytest.raises(TypeError):
        del x[0]


def test_assignment_inside_compile():
    @mx.compile
    def f(x):
        y = x * 2
        y[1] = 0
        return mx.concatenate([y, x]), x

    x, a = pair(3, 2)
    got, same = f(x)
    y = a * 2
    y[1] = 0
    np.testing.assert_array_equal(np.array(got), np.concatenate([y, a]))
    np.testing.assert_array_equal(np.array(same), a)


def test_used_again_after_an_eval():
    x, a = pair(4)
    y = mx.concatenate([x * 3, x])
    for k in range(3):
        np.testing.assert_allclose(
            np.array(y + k), np.concatenate([a * 3, a]) + np.float32(k), rtol=1e-6
        )


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_take(axis):
    x, a = pair(5, 6)
    i = np.array([[0, 3], [-1, 2]], dtype=np.int32)
    np.testing.assert_array_equal(np.array(mx.take(x, mx.array(i), axis)), np.take(a, i, axis))
    got = mx.sum(mx.take(mx.exp(x.T), mx.array(i), axis) * 2)
    np.testing.assert_allclose(got.item(), (np.take(np.exp(a.T), i, axis) * 2).sum(), rtol=1e-5)


def test_take_by_an_array_index():
    x, a = pair(5, 6)
    i = np.array([4, 0, -2])
    np.testing.assert_array_equal(np.array(x[mx.array(i)]), a[i])
    assert mx.take(x, 2, axis=1).shape == (5,)
    assert mx.take(x, mx.array([99, -99]), axis=0).tolist() == [x[4].tolist(), x[0].tolist()]
    with pytest.raises(TypeError):
        mx.take(x, mx.array([0.5]))
    with pytest.raises(IndexError):
        mx.take(x, mx.array([1]), axis=2)


MATMULS = [
    ((3, 4), (4, 5)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 1, 3, 4), (7, 4, 5)),
    ((70, 130), (130, 65)),
    ((3, 0), (0, 5)),
    ((0, 3), (3, 5)),
    ((1, 300), (300, 1000)),
]


@pytest.mark.parametrize("shapes", MATMULS)
def test_matmul(shapes):
    (x, a), (y, b) = pair(*shapes[0]), pair(*shapes[1])
    np.testing.assert_allclose(np.array(x @ y), a @ b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        np.array(mx.matmul(mx.exp(x), y * 2) + 1), np.exp(a) @ (b * 2) + 1, rtol=1e-4, atol=1e-4
    )


def test_matmul_of_views_and_dtypes():
    (x, a), (y, b) = pair(6, 5), pair(6, 7)
    np.testing.assert_allclose(np.array(x.T @ y), a.T @ b, rtol=1e-4, atol=1e-5)
    i = np.arange(6).reshape(2, 3).astype(np.int32)
    assert (mx.array(i) @ mx.array(i.T)).tolist() == (i @ i.T).tolist()
    h = mx.array(i).astype(mx.float16)
    assert (h @ h.T).dtype == mx.float16 and (h @ h.T).tolist() == (i @ i.T).tolist()
    with pytest.raises(ValueError, match="inner dimensions differ"):
        x @ y
    with pytest.raises(ValueError):
        mx.matmul(x, 2)
