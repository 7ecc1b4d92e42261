"""What the functions that are written in Python do about their arguments, as those in C do."""

from . import _core

_PLAIN = (TypeError, ValueError, OverflowError, IndexError, _core.DtypeError)


def need_arrays(function, **arguments):
    for name, value in arguments.items():
        if not isinstance(value, _core.array):
            raise TypeError(f"{function}: {name} must be an array, not {type(value).__name__}")


def need_int(function, name, value):
    if not hasattr(type(value), "__index__"):
        raise TypeError(f"{function}: {name} must be an int, not {type(value).__name__}")
    return value.__index__()


def public(function):
    """A function whose errors name it, and whose work goes to its `stream` where one is given."""
    name = function.__name__
    has_stream = "stream" in (function.__kwdefaults__ or ())

    def call(*args, **keywords):
        stream = keywords.pop("stream", None) if has_stream else None
        before = None
        try:
            if stream is not None:
                now = _core.default_stream(_core.default_device())
                _core.set_default_stream(stream)
                before = now
            return function(*args, **keywords)
        except _PLAIN as error:
            text = error.args[0] if len(error.args) == 1 else None
            if type(error) in _PLAIN and isinstance(text, str) and name not in text:
                error.args = (f"{name}: {text}",)
            raise
        finally:
            if before is not None:
                _core.set_default_stream(before)

    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(call, attribute, getattr(function, attribute))
    call.__wrapped__ = function  # whose signature is told
    return call
