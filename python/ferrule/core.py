"""Arrays, operations on them, and compile: the names that users of MLX know.

Everything here is made by the extension module; see core.pyi or the reference for signatures.
"""

import os as _os
import sys as _sys

from . import _core, fast
from ._array_api import __array_namespace_info__  # noqa: F401
from ._containers import register_pytree  # noqa: F401
from ._core import *  # noqa: F401,F403
from ._core import __version__, _rebuild_array  # noqa: F401
from ._dot import export_to_dot  # noqa: F401
from ._dtypes import (  # noqa: F401
    DtypeCategory,
    can_cast,
    complexfloating,
    finfo,
    floating,
    generic,
    iinfo,
    inexact,
    integer,
    isdtype,
    issubdtype,
    number,
    signedinteger,
    unsignedinteger,
)
from ._files import (  # noqa: F401
    load,
    save,
    save_safetensors,
    savez,
    savez_compressed,
)
from ._fp8 import from_fp8, to_fp8  # noqa: F401
from ._printing import (  # noqa: F401
    PrintOptions,
    get_printoptions,
    printoptions,
    set_printoptions,
)
from ._unique import unique  # noqa: F401

# Second names that MLX has.
acos, acosh, asin, asinh = _core.arccos, _core.arccosh, _core.arcsin, _core.arcsinh
atan, atanh, atan2, pow = _core.arctan, _core.arctanh, _core.arctan2, _core.power
cumulative_sum, cumulative_prod = _core.cumsum, _core.cumprod
bitwise_left_shift, bitwise_right_shift = _core.left_shift, _core.right_shift


class ArrayLike:
    """In annotations: an array, or what becomes one. Around an array it is that array."""

    def __new__(cls, obj):
        return obj if isinstance(obj, _core.array) else super().__new__(cls)


ArrayIterator = type(iter(_core.array([0])))

_sys.modules[__name__ + ".linalg"] = _core.linalg
_sys.modules[__name__ + ".random"] = _core.random  # import ferrule.core.random
_sys.modules[__name__ + ".fast"] = fast


class StreamContext:
    """Work inside `with stream(s):` goes to the stream or device s."""

    def __init__(self, s):
        self._stream = s if isinstance(s, _core.Stream) else _core.default_stream(s)
        self._before = []

    def __enter__(self):
        self._before.append(_core.default_stream(_core.default_device()))
        _core.set_default_stream(self._stream)
        return self._stream

    def __exit__(self, *error):
        _core.set_default_stream(self._before.pop())


def stream(s):
    """A context whose work goes to the stream or device s."""
    return StreamContext(s)


# A stream may be used from every thread: MLX's other kinds are this one.
ThreadLocalStream = _core.Stream
new_thread_local_stream = new_thread_unsafe_stream = _core.new_stream


def clear_streams():
    """Nothing: streams hold no memory."""


def depends(inputs, dependencies):
    """inputs, to be computed after dependencies: nothing to do where results have no effects."""
    return inputs


def device_count(device_type):
    """How many devices of a type this machine has."""
    if not isinstance(device_type, _core.DeviceType):
        raise TypeError(f"device_count: wanted cpu or gpu, not {device_type!r}")
    return _core._device_count(device_type)


def device_info(d=None):
    """What is known of a device: its name, architecture and, of a GPU, memory and units."""
    device = _core.default_device() if d is None else d
    if not isinstance(device, (_core.Device, _core.DeviceType)):
        raise TypeError(f"device_info: wanted a Device, not {type(device).__name__}")
    info = _core._device_info(device)
    if device == _core.cpu:
        return {"architecture": _os.uname().machine, "device_name": _cpu_name()}
    return info


def _cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return _os.uname().machine


def get_array_buffer_size(*args):
    """Bytes of all arrays in nested lists, tuples and dicts."""
    if len(args) == 1 and isinstance(args[0], _core.array):
        return args[0].nbytes
    total = 0
    for tree in args:
        if isinstance(tree, _core.array):
            total += tree.nbytes
        elif isinstance(tree, (list, tuple)):
            total += get_array_buffer_size(*tree)
        elif isinstance(tree, dict):
            total += get_array_buffer_size(*tree.values())
    return total


def set_wired_limit(limit):
    """Nothing: memory is not wired here. Gives 0, the limit that was."""
    if not isinstance(limit, int) or limit < 0:
        raise ValueError(f"set_wired_limit: wanted a number of bytes, not {limit!r}")
    return 0


class metal:
    """What programs ask before they use Apple's GPUs."""

    @staticmethod
    def is_available():
        """False: this is no Apple GPU."""
        return False
