"""x[...]: ints, slices of either sign, Ellipsis, None; and views of shapes."""

import ferrule.core as mx
import numpy as np
import pytest

VALUES = np.arange(60, dtype=np.int32).reshape(3, 4, 5)
INDICES = [
    np.s_[0],
    np.s_[-1],
    np.s_[1, 2],
    np.s_[1, 2, 3],
    np.s_[1:],
    np.s_[:-1],
    np.s_[::2],
    np.s_[::-1],
    np.s_[::-2, 1:3],
    np.s_[:, 3:0:-1],
    np.s_[5:],
    np.s_[2:1],
    np.s_[-100:100],
    np.s_[...],
    np.s_[..., 0],
    np.s_[0, ..., 0],
    np.s_[..., ::-1],
    np.s_[None],
    np.s_[None, 1, ..., None, 0:2],
    np.s_[:, None, :, 1],
    np.s_[..., None],
    np.s_[()],
    np.s_[1, :, ::3],
    np.s_[:, :, :, None],
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_basic_index(index):
    x = mx.array(VALUES)
    np.testing.assert_array_equal(np.array(x[index]), VALUES[index])
    assert x[index].shape == VALUES[index].shape
    lazy = x + 1  # of something that isn't computed yet
    np.testing.assert_array_equal(np.array(lazy[index]), VALUES[index] + 1)


def test_index_of_index():
    x = mx.array(VALUES)
    np.testing.assert_array_equal(np.array(x[::-1][1:][:, ::2].T[1]), VALUES[::-1][1:][:, ::2].T[1])


def test_int_like_indices():
    x = mx.array(VALUES)
    assert x[np.int64(1)].shape == (4, 5)
    assert x[mx.array(1)].tolist() == VALUES[1].tolist()


@pytest.mark.parametrize("index", [3, -4, (0, 4)], ids=str)
def test_indices_out_of_range(index):
    with pytest.raises(IndexError):
        mx.array(VALUES)[index]


@pytest.mark.parametrize("index", ["a", 1.0, True, (0, 0, 0, 0), (..., ...), {}], ids=str)
def test_other_indices(index):
    with pytest.raises(ValueError, match="ind"):
        mx.array(VALUES)[index]


def test_zero_step():
    with pytest.raises(ValueError):
        mx.array(VALUES)[::0]


def test_zero_dimensions():
    x = mx.array(5.0)
    assert x[()].item() == 5 and x[...].item() == 5 and x[None].shape == (1,)
    with pytest.raises(ValueError):
        x[0]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.reshape(12, 5),
        lambda m, x: x.reshape((5, -1)),
        lambda m, x: x.reshape([60]),
        lambda m, x: m.reshape(x, (2, 30)),
        lambda m, x: x.T,
        lambda m, x: x.transpose(),
        lambda m, x: x.transpose(2, 0, 1),
        lambda m, x: x.transpose((1, 0, 2)),
        lambda m, x: m.transpose(x, (0, -1, 1)),
        lambda m, x: x.swapaxes(0, -1),
        lambda m, x: m.swapaxes(x, 1, 2),
        lambda m, x: m.moveaxis(x, 0, -1),
        lambda m, x: m.moveaxis(x, 2, 0),
        lambda m, x: x.flatten(),
        lambda m, x: x[:1].squeeze(0),
        lambda m, x: x[:1, :, :1].squeeze(),
        lambda m, x: m.squeeze(x[:1, :, :1], axis=(0, 2)),
        lambda m, x: m.expand_dims(x, 0),
        lambda m, x: m.expand_dims(x, (0, -1)),
        lambda m, x: m.broadcast_to(x, (2, 3, 4, 5)),
        lambda m, x: m.broadcast_to(x[:, :1], (3, 4, 5)),
        lambda m, x: x.T.reshape(15, 4),
        lambda m, x: x[:, ::2].reshape(-1),
    ],
)
def test_shapes(function):
    np.testing.assert_array_equal(np.array(function(mx, mx.array(VALUES))), function(np, VALUES))


def test_shape_arguments_of_ours():
    x = mx.array(VALUES)
    assert x.flatten(0, 1).shape == (12, 5)
    assert mx.flatten(x, start_axis=1).shape == (3, 20)
    assert mx.array(1).flatten().shape == (1,)
    assert mx.array([1]).reshape().shape == ()
    assert x.reshape(12, 5, stream=mx.cpu).shape == (12, 5)
    assert mx.contiguous(x.T).tolist() == VALUES.T.tolist()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.reshape(7),
        lambda x: x.reshape(-1, -1),
        lambda x: x.transpose(0, 0, 1),
        lambda x: x.squeeze(1),
        lambda x: mx.broadcast_to(x, (3, 4, 6)),
        lambda x: x + mx.zeros((2, 5)),
    ],
)
def test_shapes_that_do_not_fit(function):
    with pytest.raises(ValueError):
        function(mx.array(VALUES))
