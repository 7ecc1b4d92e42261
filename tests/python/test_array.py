"""Arrays from Python values and buffers, attributes, and back."""

import copy
import pickle
import weakref
from array import array as c_array

import ferrule.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize(
    "value, dtype, shape",
    [
        (1, mx.int32, ()),
        (1.0, mx.float32, ()),
        (True, mx.bool_, ()),
        (2**31 - 1, mx.int32, ()),
        (2**31, mx.int64, ()),
        (-(2**31), mx.int32, ()),
        ([], mx.float32, (0,)),
        ([[], []], mx.float32, (2, 0)),
        ([1, 2.5], mx.float32, (2,)),
        ([True, 2], mx.int32, (2,)),
        ([True, 2, 3.5], mx.float32, (3,)),
        ([1, 2**40], mx.int64, (2,)),
        (((1, 2), [3, 4]), mx.int32, (2, 2)),
        ([[[1]]], mx.int32, (1, 1, 1)),
    ],
)
def test_from_values(value, dtype, shape):
    x = mx.array(value)
    assert x.dtype == dtype
    assert x.shape == shape
    assert x.ndim == len(shape)
    assert x.size == int(np.prod(shape, dtype=int))
    assert x.itemsize == dtype.size
    assert x.nbytes == x.size * dtype.size


def test_dtype_given():
    assert mx.array([1, 2], dtype=mx.float32).tolist() == [1.0, 2.0]
    assert mx.array([1.7, -1.7], dtype=mx.int32).tolist() == [1, -1]
    assert mx.array([0, 2], mx.bool_).tolist() == [False, True]
    assert mx.array(2**64 - 1, mx.uint64).item() == 2**64 - 1
    assert mx.array(mx.array([1.5]), mx.int32).tolist() == [1]


def test_int_beyond_64_bits():
    with pytest.raises(OverflowError):
        mx.array(2**70)
    with pytest.raises(OverflowError):
        mx.array(1.0) + 2**70


@pytest.mark.parametrize(
    "value", [[[1, 2], [3]], [1, [2]], [[1], 2], [[], [1]], [[[1]], [[1, 2]]], [[1, 2], [[3], [4]]]]
)
def test_lists_must_be_rectangular(value):
    with pytest.raises(ValueError, match="not rectangular"):
        mx.array(value)


@pytest.mark.parametrize("value", ["abc", None, {}, object(), ["a"], [None], [[1, "a"]]])
def test_values_that_are_no_numbers(value):
    with pytest.raises((TypeError, ValueError)):
        mx.array(value)


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
    ],
)
def test_from_numpy_and_back(dtype):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    x = mx.array(values)
    assert x.dtype.name == dtype
    back = np.array(x)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)
    np.testing.assert_array_equal(np.array(mx.array(values.T)), values.T)
    np.testing.assert_array_equal(np.array(mx.array(values[::2, ::-1])), values[::2, ::-1])
    np.testing.assert_array_equal(np.array(mx.array(values[:0])), values[:0])
    assert x.tolist() == values.tolist()


def test_numpy_doubles_become_float32():
    assert mx.array(np.arange(3.0)).dtype == mx.float32
    assert mx.array(np.arange(3.0), dtype=mx.float64).dtype == mx.float64
    assert mx.array(np.float64(0.1)).dtype == mx.float32
    assert mx.array([np.float32(3), np.float32(4)]).tolist() == [3.0, 4.0]
    assert mx.array([np.bool_(True)]).dtype == mx.bool_


def test_numpy_values_are_copied():
    values = np.zeros(3, np.float32)
    x = mx.array(values)
    values[0] = 5
    assert x.tolist() == [0, 0, 0]


def test_other_buffers():
    assert mx.array(c_array("i", [1, 2])).dtype == mx.int32
    assert mx.array(c_array("d", [1, 2])).dtype == mx.float32
    assert mx.array(memoryview(b"ab")).tolist() == [97, 98]
    assert mx.array(b"ab").dtype == mx.uint8
    with pytest.raises(TypeError, match="buffer format"):
        mx.array(np.arange(3, dtype=">i4"))
    with pytest.raises(TypeError):
        mx.array(np.array(["a"]))


class Exotic:
    def __array__(self, dtype=None, copy=None):
        return np.arange(3, dtype=np.int32)


def test_array_protocol():
    assert mx.array(Exotic()).tolist() == [0, 1, 2]


def test_arrays_in_lists():
    x = mx.array([1.0, 2.0])
    assert mx.array([x, x + 1]).tolist() == [[1.0, 2.0], [2.0, 3.0]]
    assert mx.array([mx.array(1), 2.5]).tolist() == [1.0, 2.5]
    with pytest.raises(ValueError):
        mx.array([x, mx.array([1.0])])


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        -0.0,
        1.0,
        1 / 3,
        65504.0,
        65519.0,
        65520.0,
        1e-8,
        6e-8,
        2.0**-14,
        1e-5,
        -2.5,
        2.0**-24,
        3 * 2.0**-25,
        float("inf"),
        float("nan"),
    ],
)
def test_float16_rounds_as_numpy(value):
    with np.errstate(over="ignore"):
        expected = np.float16(value)
    x = mx.array([value], dtype=mx.float16)
    np.testing.assert_array_equal(np.array(x), np.array([expected]))
    np.testing.assert_array_equal(x.item(), float(expected))


def test_bfloat16():
    x = mx.array([1.0, 1 / 3, 3.0e38], dtype=mx.bfloat16)
    assert x.tolist() == [1.0, 0.333984375, 3.00405527047391e38]
    with pytest.raises(BufferError, match="bfloat16"):
        memoryview(x)
    assert x.__array__().dtype == np.float32
    assert np.array(x).dtype == np.float32


def test_buffer_export():
    x = mx.array(np.arange(6, dtype=np.int32).reshape(2, 3))
    view = memoryview(x)
    assert view.readonly and view.shape == (2, 3) and view.format == "i"
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]]
    shared = np.asarray(x)
    assert not shared.flags.writeable
    del x
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert shared.sum() == 15
    turned = mx.array(np.arange(6, dtype=np.int32).reshape(2, 3)).T
    assert np.asarray(turned).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert bytes(turned) == np.arange(6, dtype=np.int32).reshape(2, 3).T.tobytes()
    assert np.array(mx.array(3.0)).shape == ()
    assert np.array(mx.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(TypeError):
        view[0, 0] = 1


def test_array_dtype_argument():
    x = mx.array([1, 2])
    assert x.__array__(np.float64).dtype == np.float64
    assert np.array(x, dtype=np.float64).dtype == np.float64


def test_items():
    assert mx.array(2.5).item() == 2.5
    assert type(mx.array(2).item()) is int
    assert mx.array(True).item() is True
    assert mx.array([[7]]).item() == 7
    assert mx.array(-(2**40)).item() == -(2**40)
    with pytest.raises(ValueError):
        mx.array([1, 2]).item()
    assert mx.array(3).tolist() == 3
    assert mx.zeros((2, 0)).tolist() == [[], []]


def test_python_numbers():
    assert bool(mx.array([1])) is True
    assert bool(mx.array(0.0)) is False
    assert int(mx.array(1.7)) == 1
    assert float(mx.array([[2]])) == 2.0
    assert range(5)[mx.array(2)] == 2
    assert [10, 20][mx.array(1)] == 20
    for function in (bool, int, float):
        with pytest.raises(ValueError):
            function(mx.array([1, 2]))
    with pytest.raises(TypeError):
        [1, 2][mx.array(1.0)]
    with pytest.raises(TypeError):
        [1, 2][mx.array([1])]


def test_sequence():
    x = mx.array([[1, 2], [3, 4]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    a, b = x
    assert b.tolist() == [3, 4]
    with pytest.raises(TypeError):
        len(mx.array(1))
    with pytest.raises(TypeError):
        iter(mx.array(1))


def test_identity_and_hash():
    x, y = mx.array([1]), mx.array([1])
    assert hash(x) == hash(x) and {x: 1}[x] == 1
    assert x is not y
    assert copy.copy(x) is not x
    assert copy.deepcopy([x])[0].tolist() == [1]
    assert weakref.ref(x)() is x
    with pytest.raises(AttributeError):
        x.foo = 1


def test_in_place_operators_keep_the_handle():
    x = mx.array([1.0, 2.0])
    same, before = x, mx.array(x)
    x += 1
    x *= mx.array(2.0)
    x -= 1
    x /= 3
    assert x is same
    np.testing.assert_allclose(np.array(x), [1.0, 5 / 3], rtol=1e-6)
    assert before.tolist() == [1.0, 2.0]
    view = memoryview(before)
    before += 1
    assert view.tolist() == [1.0, 2.0]


def test_creation():
    assert mx.zeros(3).tolist() == [0, 0, 0]
    assert mx.zeros((2, 1), mx.int32).dtype == mx.int32
    assert mx.ones([2], dtype=mx.bool_).tolist() == [True, True]
    assert mx.full((2, 2), 3).dtype == mx.int32
    assert mx.full(2, 3.5).tolist() == [3.5, 3.5]
    assert mx.full((2,), True).dtype == mx.bool_
    assert mx.full((2, 2), mx.array([1, 2])).tolist() == [[1, 2], [1, 2]]
    assert mx.full((2,), 1, dtype=mx.float16).dtype == mx.float16
    assert mx.zeros_like(mx.array([1, 2])).dtype == mx.int32
    assert mx.ones_like(mx.array([1, 2]), dtype=mx.float32).tolist() == [1.0, 1.0]
    assert mx.full_like(mx.array([1.0, 2.0]), 7).tolist() == [7.0, 7.0]
    with pytest.raises(ValueError):
        mx.zeros((-1,))
    with pytest.raises(TypeError):
        mx.zeros("a")
    with pytest.raises(TypeError):
        mx.zeros((2.0,))


def test_arange():
    assert mx.arange(3).tolist() == [0, 1, 2]
    assert mx.arange(3).dtype == mx.int32
    assert mx.arange(3.0).dtype == mx.float32
    assert mx.arange(1, 4).tolist() == [1, 2, 3]
    assert mx.arange(1, 4, 0.5).tolist() == [1, 1.5, 2, 2.5, 3, 3.5]
    assert mx.arange(5, 1, -2).tolist() == [5, 3]
    assert mx.arange(start=1, stop=3).tolist() == [1, 2]
    assert mx.arange(stop=2).tolist() == [0, 1]
    assert mx.arange(3, dtype=mx.float16).dtype == mx.float16
    assert mx.arange(3, 3).shape == (0,)
    with pytest.raises(ValueError):
        mx.arange(0, 1, 0)
    with pytest.raises(TypeError):
        mx.arange()


def test_dtypes():
    assert mx.float32 == mx.float32 and mx.float32 != mx.float16
    assert mx.float32.size == 4 and mx.float32.name == "float32"
    assert {mx.float32: 1}[mx.array(1.0).dtype] == 1
    assert pickle.loads(pickle.dumps(mx.bool_)) is mx.bool_
    assert copy.deepcopy(mx.int8) is mx.int8
    with pytest.raises(TypeError):
        mx.array(1).astype("int32")
    with pytest.raises(TypeError):
        mx.zeros(2, dtype=np.float32)
