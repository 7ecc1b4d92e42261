"""Objects that compile takes apart and makes again, beside lists, tuples and dicts.

An object becomes a plain tree (`take_apart`), and a tree becomes an object like an earlier one
(`put_together`). The extension calls these for what it doesn't know itself:

    registered types    whatever their flatten and unflatten say
    dataclasses         their fields
    subclasses of dict  items, and attributes of the instance (modules are such)
    partial, methods    what they are made of
    ranges, slices, frozen sets, devices        by value
    functions, types and other callable things  by identity: what they are is not looked at
"""

from _weakref import ref as _reference

from . import _core

_registered = {}  # type: (flatten, unflatten)
_serials = {}  # id: (reference, number), as long as the object lives
_count = 0


class _Make:
    """The shell of an object that is made from its tree alone."""

    def __init__(self, cls):
        self.cls = cls

    def method(self):
        pass


_method = type(_Make(None).method)


def _is_partial(cls):
    return cls.__name__ == "partial" and cls.__module__ == "functools"


def register_pytree(type, flatten, unflatten):  # noqa: A002
    """Lets compiled functions take and return objects of this type.

    flatten(object) gives (children, aux): a container of arrays, numbers and containers, and
    constants that tell two objects of the type apart. unflatten(aux, children) makes the object.
    """
    if not isinstance(type, _type):
        raise TypeError(f"register_pytree: wanted a type, not {_type(type).__name__}")
    if type in (list, tuple, dict):
        raise TypeError(f"register_pytree: {type.__name__} is known already")
    if not callable(flatten) or not callable(unflatten):
        raise TypeError("register_pytree: flatten and unflatten must be functions")
    _registered[type] = (flatten, unflatten)


_type = type


def _serial(value):
    """A number that no other object has had: addresses are used again."""
    global _count
    known = _serials.get(id(value))
    if known is None:
        key = id(value)
        try:
            reference = _reference(value, lambda _: _serials.pop(key, None))
        except TypeError:
            return None
        _count += 1
        known = _serials[key] = (reference, _count)
    return f"#{known[1]}"


def _copy(value):
    import copy  # not before it is needed

    return copy.copy(value)


def _fields(cls):
    return getattr(cls, "__dataclass_fields__", None)


def _attributes(value):
    return getattr(value, "__dict__", None) or {}


def _by_value(value):
    cls = type(value)
    if cls in (range, slice, _core.Device, _core.DeviceType, _core.Stream):
        return repr(value)
    if cls is set or cls is frozenset:
        return repr(sorted((type(item).__name__, repr(item)) for item in value))
    return None


def _plain_attribute(value):
    """What of an instance's attribute counts: a set or an object by what it says of itself."""
    text = _by_value(value)
    return value if text is None else text


def take_apart(value, result=False):
    """A tree of lists, tuples, dicts, arrays and constants; None: not known.

    result: of what a function returns; functions that it made may hold placeholders.
    """
    cls = type(value)
    if cls in _registered:
        children, aux = _registered[cls][0](value)
        return (aux, children)
    if isinstance(value, dict):
        attributes = {k: _plain_attribute(v) for k, v in _attributes(value).items()}
        return (dict(value), attributes)
    if _fields(cls) is not None:
        return {name: getattr(value, name) for name in _fields(cls)}
    text = _by_value(value) if cls is not set else None
    if text is not None:
        return (text,)
    if result:
        return None
    if _is_partial(cls):
        return (value.func, value.args, value.keywords)
    if cls is _method:
        return (value.__func__, value.__self__)
    if callable(value) and not hasattr(value, "__array_interface__"):
        text = _serial(value)
        if text is not None:
            return (text,)
    return None


def shell(value):
    """What put_together needs of a result: the object without its arrays."""
    cls = type(value)
    if cls in _registered:
        return _Make(cls)
    if isinstance(value, dict):
        made = _copy(value)
        for key in list(made):
            del made[key]
        for key in list(_attributes(made)):
            if not _is_kept(made.__dict__[key]):
                del made.__dict__[key]
        return made
    if _fields(cls) is not None:
        made = _copy(value)
        for name in _fields(cls):
            object.__setattr__(made, name, None)
        return made
    return value


def _is_kept(value):
    """An attribute that stays as it is: it was keyed by a text, or is a constant."""
    return _by_value(value) is not None


def put_together(like, tree):
    """An object like `like`, or like the one that the shell `like` was made of."""
    cls = like.cls if type(like) is _Make else type(like)
    if cls in _registered:
        aux, children = tree
        return _registered[cls][1](aux, children)
    if _is_partial(cls):
        return cls(tree[0], *tree[1], **tree[2])
    if cls is _method:
        return cls(*tree)
    if isinstance(like, dict):
        items, attributes = tree
        made = _copy(like)
        for key, item in items.items():
            made[key] = item
        for key, item in attributes.items():
            if not _is_kept(like.__dict__.get(key)):
                made.__dict__[key] = item
        return made
    if _fields(cls) is not None:
        made = _copy(like)
        for name, item in tree.items():
            object.__setattr__(made, name, item)
        return made
    return like
