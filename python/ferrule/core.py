"""Arrays, operations on them, and compile: the names that users of MLX know.

Everything here is made by the extension module; see core.pyi or the reference for signatures.
"""

import sys as _sys

from . import _core
from ._core import *  # noqa: F401,F403
from ._core import __version__  # noqa: F401

# Second names that MLX has.
acos, acosh, asin, asinh = _core.arccos, _core.arccosh, _core.arcsin, _core.arcsinh
atan, atanh, atan2, pow = _core.arctan, _core.arctanh, _core.arctan2, _core.power
bitwise_left_shift, bitwise_right_shift = _core.left_shift, _core.right_shift

_sys.modules[__name__ + ".random"] = _core.random  # import ferrule.core.random


class stream:
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
