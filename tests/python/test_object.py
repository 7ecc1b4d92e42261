"""The array as a Python object: conversions, exchange with others, copies, pickles, printing."""

import array as plain_array
import copy
import ctypes
import gc
import math
import operator
import pickle
import sys
import threading
import weakref

import ferrule.core as mx
import numpy as np
import pytest

DTYPES = {
    "bool_": np.bool_,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "complex64": np.complex64,
}
EACH = pytest.mark.parametrize("name", DTYPES)


def made(name, shape=(2, 3)):
    """The same values as an array and as numpy's."""
    values = np.arange(math.prod(shape)).reshape(shape).astype(DTYPES[name])
    dtype = getattr(mx, name)
    return mx.array(values, dtype=dtype), values


# ---- conversions ----------------------------------------------------------------------------


def test_python_numbers():
    assert complex(mx.array(3)) == 3 and complex(mx.array([1.5])) == 1.5
    assert complex(mx.array(1 + 2j)) == 1 + 2j
    assert operator.index(mx.array(3)) == 3 and [1, 2, 3][mx.array(2)] == 3
    assert math.sqrt(mx.array(4.0)) == 2 and math.floor(mx.array(1.5)) == 1
    for convert in (int, float, complex, bool):
        for wrong in (mx.array([1, 2]), mx.zeros((0,))):
            with pytest.raises(ValueError):
                convert(wrong)
    for wrong in (mx.array([3]), mx.array(3.0), mx.array(True)):
        with pytest.raises(TypeError):
            operator.index(wrong)


def test_iteration():
    x = mx.array([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]] and isinstance(iter(x), mx.ArrayIterator)
    assert [row.tolist() for row in reversed(x)] == [[3, 4], [1, 2]]
    assert len(x) == 2 and list(mx.zeros((0, 3))) == []
    assert sum(mx.array([1, 2, 3])).item() == 6 and max(mx.array([1, 3, 2])).item() == 3
    assert 2 in mx.array([1, 2]) and 3 not in mx.array([1, 2])
    for wrong in (len, iter):
        with pytest.raises(TypeError):
            wrong(mx.array(1))


def test_hash_is_identity():
    x, y = mx.array(1), mx.array(1)
    assert hash(x) == hash(x) and {x: 1, y: 2}[y] == 2
    before = hash(x)
    x += 1
    assert hash(x) == before


def test_weak_references():
    x = mx.array([1, 2])
    gone = []
    reference = weakref.ref(x, gone.append)
    assert reference() is x
    del x
    gc.collect()
    assert reference() is None and gone == [reference]


# ---- operators --------------------------------------------------------------------------------

IN_PLACE = [
    (operator.iadd, operator.add),
    (operator.isub, operator.sub),
    (operator.imul, operator.mul),
    (operator.itruediv, operator.truediv),
    (operator.ifloordiv, operator.floordiv),
    (operator.imod, operator.mod),
    (operator.ipow, operator.pow),
]


@pytest.mark.parametrize("in_place, plain", IN_PLACE)
def test_in_place_operators_keep_the_handle(in_place, plain):
    x = mx.array([3.0, 5.0, -7.0])
    other, want = x, plain(x, 2)
    x = in_place(x, 2)
    assert x is other and x.tolist() == want.tolist()
    before = mx.array([3.0, 5.0, -7.0])
    shared = before + 0
    with pytest.raises(TypeError):
        in_place(before, "x")
    assert before.tolist() == shared.tolist()


@pytest.mark.parametrize("name", ["ilshift", "irshift", "iand", "ior", "ixor"])
def test_in_place_integers(name):
    x = mx.array([3, 5, 8])
    other = x
    want = getattr(operator, name)(np.array([3, 5, 8], np.int32), 2)
    x = getattr(operator, name)(x, 2)
    assert x is other and x.tolist() == want.tolist()


def test_in_place_matmul():
    x = other = mx.array([[1.0, 2.0], [3.0, 4.0]])
    x @= mx.array([[0.0, 1.0], [1.0, 0.0]])
    assert x is other and x.tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"])
def test_reflected(name):
    f = getattr(operator, name)
    x = np.array([1.0, 2.5, 4.0], np.float32)
    np.testing.assert_allclose(np.array(f(7, mx.array(x))), f(np.float32(7), x), rtol=1e-6)


def test_numpy_on_the_left_gives_numpy():
    x = mx.array([1.5, 2.5])
    for got in (np.ones(2) + x, np.float32(2) * x, np.sin(x), np.ones((2, 2)) @ x):
        assert isinstance(got, np.ndarray)
    assert isinstance(x + np.ones(2), mx.array) and (x * np.float64(2)).dtype == mx.float32


@pytest.mark.parametrize(
    "ours, theirs, want",
    [
        ("float16", np.float32, "float16"),
        ("bfloat16", np.int64, "bfloat16"),
        ("float32", np.float64, "float32"),
        ("int8", np.int64, "int8"),
        ("uint8", np.bool_, "uint8"),
        ("int32", np.float32, "float32"),
        ("bool_", np.int32, "int32"),
        ("float32", np.complex64, "complex64"),
    ],
)
def test_numpy_operands_take_the_dtype_of_the_array(ours, theirs, want):
    x, y = mx.array([1, 0, 1]).astype(getattr(mx, ours)), np.array([1, 2, 3]).astype(theirs)
    for got in (x + y, mx.add(x, y), mx.add(y, x), mx.multiply(a=x, b=y)):
        assert got.dtype == getattr(mx, want)
    assert (x + y).tolist() == (np.array([1, 0, 1]) + y).tolist()


def test_comparisons_with_others():
    x = mx.array([1, 2])
    assert (x == "x") is False and (x != "x") is True and (x == [1, 2]) is False
    assert (x == np.array([1, 3])).tolist() == [True, False]
    with pytest.raises(TypeError):
        x < "x"  # noqa: B015
    for wrong in ("x", [1, 2], (1, 2), None, object()):
        with pytest.raises(TypeError):
            x + wrong


def test_dtype_errors_are_of_both_kinds():
    for kind in (TypeError, ValueError, mx.DtypeError):
        with pytest.raises(kind):
            ~mx.array([1.0])


# ---- making -----------------------------------------------------------------------------------


def test_integers_keep_their_low_bits():
    assert mx.array(300, dtype=mx.uint8).item() == 44
    assert mx.array([-1, 256], dtype=mx.uint8).tolist() == [255, 0]
    assert mx.array(2**40, dtype=mx.int32).item() == 0
    assert mx.array(-1, dtype=mx.uint64).item() == 2**64 - 1
    for wrong in (2**64, -(2**63) - 1):
        with pytest.raises(OverflowError):
            mx.array(wrong)
        with pytest.raises(OverflowError):
            mx.array([wrong], dtype=mx.uint64)


def test_constructor_takes():
    assert mx.array(plain_array.array("f", [1, 2])).tolist() == [1, 2]
    assert mx.array(plain_array.array("d", [1, 2])).dtype == mx.float32
    assert mx.array(memoryview(b"ab")).tolist() == [97, 98] and mx.array(b"ab").dtype == mx.uint8
    assert mx.array(bytearray(b"ab")).tolist() == [97, 98]
    assert mx.array([np.float32(1), 2]).tolist() == [1, 2]
    assert mx.array([mx.array([1, 2]), mx.array([3, 4])]).tolist() == [[1, 2], [3, 4]]
    assert mx.array([mx.array(1), 2.5]).tolist() == [1, 2.5]
    assert mx.array([np.zeros(2), np.ones(2)]).tolist() == [[0, 0], [1, 1]]
    assert mx.array(1 + 2j, dtype=mx.float32).item() == 1
    x = mx.array([1, 2])
    assert mx.array(x) is not x and mx.array(x).tolist() == [1, 2]


@pytest.mark.parametrize("wrong", [range(3), {1}, {1: 2}, "abc", object(), mx.array, mx.float32])
def test_constructor_refuses(wrong):
    with pytest.raises(ValueError):
        mx.array(wrong)
    with pytest.raises(ValueError):
        mx.array([wrong])


def test_constructor_refuses_none():
    with pytest.raises(TypeError):
        mx.array(None)
    with pytest.raises(TypeError):
        mx.array()
    for wrong in (">f4", "U3", "O", np.longdouble, [("a", "f4")]):
        with pytest.raises(TypeError):
            mx.array(np.zeros(2, dtype=wrong))


def test_asarray():
    assert mx.asarray([1, 2], mx.float32).dtype == mx.float32
    values = np.arange(5, dtype=np.float32)
    shared, own = mx.asarray(values, copy=False), mx.asarray(values)
    values[0] = 7
    assert own[0].item() == 0 and np.array(shared)[0] == 7
    x = mx.array([1, 2])
    assert mx.asarray(x, copy=True).tolist() == [1, 2]
    for wrong in ([1, 2], np.zeros(3)):  # numpy's default is float64
        with pytest.raises(ValueError):
            mx.asarray(wrong, copy=False)
    with pytest.raises(ValueError):
        mx.asarray(values, mx.int32, copy=False)


# ---- subclasses ---------------------------------------------------------------------------------


class Named(mx.array):
    def __init__(self, values, name=""):
        super().__init__(values)
        self.name = name


def test_subclass():
    x = Named([1.0, 2.0], name="x")
    assert isinstance(x, mx.array) and x.name == "x" and x.tolist() == [1, 2]
    assert (x + 1).tolist() == [2, 3] and (1 + x).tolist() == [2, 3] and mx.exp(x).shape == (2,)
    assert mx.array([x, x]).shape == (2, 2) and x[0].item() == 1
    x += 1
    assert type(x) is Named and x.tolist() == [2, 3] and x.name == "x"
    again = pickle.loads(pickle.dumps(x))
    assert type(again) is Named and again.name == "x" and again.tolist() == [2, 3]
    assert mx.compile(lambda a: a * 2)(x).tolist() == [4, 6]
    reference = weakref.ref(x)
    del x
    gc.collect()
    assert reference() is None


def test_subclass_that_never_fills_itself():
    class Empty(mx.array):
        def __init__(self):
            pass

    assert Empty().tolist() == [] and (Empty() + 1).shape == (0,)


def test_subclass_in_a_cycle_goes():
    x = Named([1.0])
    x.myself = x
    reference = weakref.ref(x)
    del x
    gc.collect()
    assert reference() is None


# ---- numpy, the buffer protocol ------------------------------------------------------------------


@EACH
def test_buffer(name):
    x, values = made(name)
    view = memoryview(x)
    assert view.shape == (2, 3) and view.readonly and view.nbytes == x.nbytes == values.nbytes
    assert view.strides == values.strides
    np.testing.assert_array_equal(np.asarray(x), values)
    assert np.asarray(x).dtype == values.dtype and not np.asarray(x).flags.owndata
    np.testing.assert_array_equal(np.asarray(x.T), values.T)
    assert memoryview(x.T).strides == values.T.strides
    assert bytes(x) == values.tobytes() and bytes(x.T) == values.T.tobytes()


@pytest.mark.parametrize("name, code", list(zip(DTYPES, "? B H I Q b h i q e f d Zf".split())))
def test_buffer_format(name, code):
    assert memoryview(made(name)[0]).format == code


def test_bfloat16_has_no_buffer_but_values():
    x = mx.array([1.5, -2.0], dtype=mx.bfloat16)
    with pytest.raises(BufferError):
        memoryview(x)
    assert np.array(x).tolist() == [1.5, -2.0] and np.array(x).dtype == np.float32
    assert bytes(x) == b"\xc0\x3f\x00\xc0"


def test_a_view_outlives_its_array():
    x = mx.arange(1000) * 2
    view = memoryview(x)
    x += 1  # the handle's values are others now
    assert view[999] == 1998 and x[999].item() == 1999
    del x
    mx.clear_cache()
    assert view[500] == 1000


def test_array_method():
    x = mx.array([1.5, 2.5])
    assert x.__array__().dtype == np.float32 and x.__array__(np.float64).dtype == np.float64
    assert x.__array__(copy=True).flags.owndata and np.array(x).flags.owndata
    assert not np.array(x, copy=False).flags.owndata


# ---- DLPack ----------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 3)])
def test_dlpack_out(name, shape):
    x, values = made(name, shape)
    got = np.from_dlpack(x)
    np.testing.assert_array_equal(got, values)
    assert got.dtype == values.dtype
    if values.size:
        assert not got.flags.writeable
        assert got.ctypes.data == np.asarray(x).ctypes.data
    turned = np.from_dlpack(x.T)
    np.testing.assert_array_equal(turned, values.T)
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        own = np.from_dlpack(x, copy=True)
        assert own.flags.writeable
        np.testing.assert_array_equal(own, values)


@EACH
def test_dlpack_in(name):
    values = np.arange(24).reshape(2, 3, 4).astype(DTYPES[name])
    if name in ("bool_", "float64"):  # float64 comes in as float32, bool is not numpy's of 1.x
        values = values.astype(np.float32)
    for source in (values, values.T, values[:, ::-1], values[:, 1:, ::2], values[:0]):
        got = mx.from_dlpack(source)
        np.testing.assert_array_equal(np.array(got), source)
        if name != "complex64":
            np.testing.assert_array_equal(np.array(got * 1), source)
    assert np.asarray(mx.from_dlpack(values)).ctypes.data == values.ctypes.data
    assert np.asarray(mx.from_dlpack(values, copy=True)).ctypes.data != values.ctypes.data


def test_dlpack_float64_comes_in_as_float32():
    assert mx.from_dlpack(np.arange(3.0)).dtype == mx.float32
    with pytest.raises(ValueError):
        mx.from_dlpack(np.arange(3.0), copy=False)
    assert mx.from_dlpack(mx.array([1.0], dtype=mx.float64)).dtype == mx.float64


def test_dlpack_lives_as_long_as_it_is_used():
    values = np.arange(100000, dtype=np.float32)
    gone = weakref.ref(values)
    x = mx.from_dlpack(values)
    y = x[1:] + 1  # pending: holds what it reads
    del values, x
    gc.collect()
    assert gone() is not None
    assert y[-1].item() == 100000
    gc.collect()
    assert gone() is None

    x = mx.arange(100000) + 0
    got = np.from_dlpack(x)
    del x
    mx.clear_cache()
    assert got[99999] == 99999


def test_dlpack_memory_is_given_back():
    before = mx.get_active_memory()
    x = mx.zeros((1000, 1000)) + 1
    capsules = [x.__dlpack__(), x.__dlpack__(max_version=(1, 0)), x.__dlpack__(copy=True)]
    got = np.from_dlpack(x)
    assert mx.get_active_memory() >= before + 4000000
    del x, capsules, got
    gc.collect()
    assert mx.get_active_memory() == before


def test_dlpack_last_reference_on_another_thread():
    values = np.arange(1000, dtype=np.int32)
    gone = weakref.ref(values)
    held = [mx.from_dlpack(values)]
    del values
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert gone() is None


def test_dlpack_capsules():
    x = mx.array([1.0, 2.0])
    name = ctypes.pythonapi.PyCapsule_GetName
    name.argtypes, name.restype = [ctypes.py_object], ctypes.c_char_p
    assert name(x.__dlpack__()) == b"dltensor"
    assert name(x.__dlpack__(max_version=(1, 1))) == b"dltensor_versioned"
    assert name(x.__dlpack__(max_version=(0, 8))) == b"dltensor"
    assert x.__dlpack_device__() == (1, 0)
    x.__dlpack__(dl_device=(1, 0), stream=None)
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(2, 0))
    for wrong in ({"max_version": 1}, {"dl_device": "cpu"}, {"max_version": ("a", 1)}):
        with pytest.raises(TypeError):
            x.__dlpack__(**wrong)


class Exporter:
    """Hands out a capsule of somebody else's."""

    def __init__(self, capsule, device=(1, 0)):
        self.capsule, self.device = capsule, device

    def __dlpack__(self):  # from before there were versions
        return self.capsule

    def __dlpack_device__(self):
        return self.device


def test_dlpack_import_of_capsules():
    x = mx.array([1.0, 2.0])
    capsule = x.__dlpack__()
    assert mx.from_dlpack(Exporter(capsule)).tolist() == [1, 2]
    with pytest.raises(ValueError):
        mx.from_dlpack(Exporter(capsule))  # it was taken
    assert mx.from_dlpack(Exporter(x.__dlpack__(max_version=(1, 0)))).tolist() == [1, 2]
    for wrong in (object(), [1], 3):
        with pytest.raises(TypeError):
            mx.from_dlpack(wrong)
    with pytest.raises(ValueError):
        mx.from_dlpack(Exporter("no capsule"))


def test_dlpack_of_bfloat16():
    x = mx.array([1.5, -2.0], dtype=mx.bfloat16)
    assert mx.from_dlpack(Exporter(x.__dlpack__())).dtype == mx.bfloat16
    assert mx.array(Exporter(x.__dlpack__())).tolist() == [1.5, -2.0]


def test_dlpack_of_a_placeholder():
    with pytest.raises(mx.TraceError):
        mx.compile(lambda a: np.from_dlpack(a))(mx.array([1.0]))


# ---- copies and pickles ------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", [*DTYPES, "bfloat16"])
def test_pickle(name, protocol):
    dtype = getattr(mx, name)
    for values in (np.arange(6).reshape(2, 3), np.array(5), np.zeros((0, 3))):
        x = mx.array(values.astype(np.float32)).astype(mx.float32)
        x = mx.array(x.tolist(), dtype=dtype).reshape(values.shape) if values.size else x
        again = pickle.loads(pickle.dumps(x, protocol))
        assert type(again) is mx.array and again.dtype == x.dtype and again.shape == x.shape
        assert bytes(again) == bytes(x)
        assert again.tolist() == x.tolist()
    assert pickle.loads(pickle.dumps(x.T, protocol)).tolist() == x.T.tolist()


def test_pickle_refuses_nonsense():
    for wrong in (
        (mx.array, mx.float32, (2,), b"1234"),
        (int, mx.float32, (1,), b"1234"),
        (mx.array, "float32", (1,), b"1234"),
        (mx.array, mx.float32, (-1,), b"1234"),
        (mx.array, mx.float32, (2**62, 8), b"1234"),
    ):
        with pytest.raises((TypeError, ValueError)):
            mx._rebuild_array(*wrong)


def test_pickle_of_what_belongs_to_arrays():
    for thing in (mx.float32, mx.bool_, mx.cpu, mx.gpu, mx.Device(mx.cpu), mx.Device(mx.gpu, 1)):
        assert pickle.loads(pickle.dumps(thing)) == thing
        assert copy.deepcopy(thing) == thing and repr(copy.copy(thing)) == repr(thing)


def test_copies_are_independent():
    x = mx.array([1, 2])
    for y in (copy.copy(x), copy.deepcopy(x), copy.deepcopy({"x": x})["x"]):
        assert y is not x and y.tolist() == [1, 2]
        y += 1
        assert x.tolist() == [1, 2] and y.tolist() == [2, 3]


# ---- attributes, text ----------------------------------------------------------------------------------


def test_attributes():
    x = mx.zeros((2, 3, 4), dtype=mx.float16)
    assert (x.nbytes, x.itemsize, x.size, x.ndim) == (48, 2, 24, 3)
    assert x.T.shape == (4, 3, 2) and x.mT.shape == (2, 4, 3)
    assert mx.array([[1, 2], [3, 4]]).mT.tolist() == [[1, 3], [2, 4]]
    for set_it in ("foo", "shape", "dtype", "T"):
        with pytest.raises(AttributeError):
            setattr(x, set_it, 1)
    with pytest.raises(ValueError):
        mx.array([1]).mT  # noqa: B018
    assert sys.getsizeof(mx.zeros((1000,)) + 1) < 1000
    y = mx.zeros((1000,)) + 1
    mx.eval(y)
    assert sys.getsizeof(y) > 4000
    assert x.__array_namespace__() is mx
    with pytest.raises(ValueError):
        x.__array_namespace__("2024.12")


def test_format():
    assert f"{mx.array(3)}" == "3" and f"{mx.array(3):4d}" == "   3"
    assert f"{mx.array(1.5):.3f}" == "1.500" and "%d" % mx.array(3) == "3"
    assert f"{mx.array(True)}" == "True" and "%s" % mx.array(3) == "array(3, dtype=int32)"
    assert f"{mx.array([1.5])}" == "array([1.5], dtype=float32)"
    with pytest.raises(TypeError):
        f"{mx.array([1.5]):.2f}"


def test_print_options():
    x = mx.array([1 / 3, 2 / 3, 100.0])
    usual = "array([0.333333, 0.666667, 100], dtype=float32)"
    try:
        mx.set_printoptions(precision=3)
        assert repr(x) == "array([0.333, 0.667, 100.000], dtype=float32)"
        assert mx.get_printoptions().precision == 3
        with mx.printoptions(precision=1):
            assert (
                str(mx.array([1 / 3, math.inf, math.nan]))
                == "array([0.3, inf, nan], dtype=float32)"
            )
            assert repr(mx.array([1])) == "array([1], dtype=int32)"
            with mx.printoptions():
                assert repr(x) == usual
            assert repr(mx.array(0.25)) == "array(0.2, dtype=float32)"
        assert repr(x) == "array([0.333, 0.667, 100.000], dtype=float32)"
    finally:
        mx.set_printoptions()
    assert repr(x) == usual and mx.get_printoptions().precision == -1
    for wrong in ("3", 1.5, None):
        with pytest.raises(TypeError):
            mx.set_printoptions(wrong)


# ---- constants, devices, memory ----------------------------------------------------------------------------


def test_constants():
    assert (mx.pi, mx.e, mx.inf, mx.newaxis) == (math.pi, math.e, math.inf, None)
    assert math.isnan(mx.nan) and mx.euler_gamma == pytest.approx(0.5772156649015329, abs=0)


@pytest.mark.cpu_only("the default device, where nobody has chosen one")
def test_devices():
    assert mx.device_count(mx.cpu) == 1 and mx.is_available(mx.cpu)
    info = mx.device_info()
    assert info["device_name"] and info["architecture"]
    assert mx.device_info(mx.cpu) == info == mx.device_info(mx.Device(mx.cpu))
    with pytest.raises(TypeError):
        mx.device_count("cpu")
    with pytest.raises(ValueError):
        mx.device_info(mx.Device(mx.cpu, 3))
    with pytest.raises(ValueError):
        mx.new_stream(mx.Device(mx.cpu, 3))
    assert mx.metal.is_available() is False
    with mx.stream(mx.cpu) as s:
        assert isinstance(s, mx.Stream) and isinstance(mx.stream(s), mx.StreamContext)
    mx.synchronize(stream=None)
    mx.synchronize(mx.cpu)


def test_async_eval():
    x, y = mx.array([1.0]) + 1, mx.array([2.0]) * 3
    mx.async_eval(x, {"y": [y, 3]})
    assert mx.get_array_buffer_size(x, [y, {"a": y}]) == 12
    assert x.item() == 2 and y.item() == 6 and mx.depends(x, [y]) is x


@pytest.mark.cpu_only("limits are the host's")
def test_memory_functions():
    limit = mx.get_memory_limit()
    assert mx.set_memory_limit(limit) == limit == mx.get_memory_limit()
    old = mx.set_cache_limit(1 << 30)
    assert mx.set_cache_limit(old) == 1 << 30
    mx.reset_peak_memory()
    before = mx.get_peak_memory()
    x = mx.zeros((1000, 1000)) + 1
    mx.eval(x)
    assert mx.get_peak_memory() >= before + 4000000 and mx.get_active_memory() >= 4000000
    del x
    assert mx.get_cache_memory() > 0
    mx.clear_cache()
    assert mx.set_wired_limit(0) == 0
    for function in (mx.set_memory_limit, mx.set_cache_limit):
        with pytest.raises((OverflowError, ValueError)):
            function(-1)
        with pytest.raises(TypeError):
            function("1")


@pytest.mark.cpu_only("the default device, where nobody has chosen one")
def test_array_api_info():
    info = mx.__array_namespace_info__()
    assert info.default_device() == mx.cpu and info.default_dtypes()["integral"] == mx.int32
    assert info.dtypes(kind="bool") == {"bool": mx.bool_}
    assert info.dtypes(kind=("bool", "complex floating")).keys() == {"bool", "complex64"}
    assert len(info.dtypes()) == 12 and info.devices() and info.capabilities()["max dimensions"]
    with pytest.raises(ValueError):
        info.dtypes(kind="strings")
