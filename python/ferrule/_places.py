"""Where the arrays that a compiled function captured stand, for mx.explain."""

from . import _core

_DEPTH = 3


def _inside(name, value, depth):
    """(path, array) for the arrays in value."""
    if isinstance(value, _core.array):
        yield name, value
    elif depth and isinstance(value, dict):
        for key, item in list(value.items())[:100]:
            yield from _inside(f"{name}[{key!r}]", item, depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        for i, item in enumerate(value[:100]):
            yield from _inside(f"{name}[{i}]", item, depth - 1)


def _reached(fun):
    """Everything that the function can name: (name, value, what it is)."""
    own = getattr(fun, "__self__", None)
    for key, value in getattr(own, "__dict__", {}).items():
        yield f"self.{key}", value, "an attribute"
    if isinstance(own, dict):
        yield "self", own, "the object"
    fun = getattr(fun, "__func__", fun)
    if hasattr(fun, "func"):  # partial
        yield "args", fun.args, "of the partial"
        yield "keywords", fun.keywords, "of the partial"
        yield from _reached(fun.func)
        return
    if hasattr(fun, "__wrapped__"):
        yield from _reached(fun.__wrapped__)
    code = getattr(fun, "__code__", None)
    if code is None:
        return
    for name, cell in zip(code.co_freevars, fun.__closure__ or ()):
        try:
            yield name, cell.cell_contents, "a variable around the function"
        except ValueError:
            pass
    for name in code.co_names:
        if name in fun.__globals__:
            yield name, fun.__globals__[name], "a global"
    yield "defaults", fun.__defaults__ or (), "of the arguments"


def places(fun, arrays):
    """A text for each array: where the function finds it."""
    found = ["made in the function from what it captured"] * len(arrays)
    for name, value, what in _reached(fun):
        for path, array in _inside(name, value, _DEPTH):
            for i, wanted in enumerate(arrays):
                if _core._same_node(array, wanted):
                    found[i] = f"{path}, {what}"
    return found
