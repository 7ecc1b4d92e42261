"""Kinds of dtypes, and what is known of each: the library's answers in MLX's form."""

from . import _core


class DtypeCategory:
    """Kinds of dtypes, for issubdtype."""

    __slots__ = ("name", "value")

    def __init__(self, name, value):
        self.name = name
        self.value = value

    def __repr__(self):
        return f"DtypeCategory.{self.name}"

    def __reduce__(self):
        return getattr, (DtypeCategory, self.name)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


def _category(name, value):
    setattr(DtypeCategory, name, DtypeCategory(name, value))
    return getattr(DtypeCategory, name)


complexfloating = _category("complexfloating", 0)
floating = _category("floating", 1)
inexact = _category("inexact", 2)
signedinteger = _category("signedinteger", 3)
unsignedinteger = _category("unsignedinteger", 4)
integer = _category("integer", 5)
number = _category("number", 6)
generic = _category("generic", 7)

# Each category is in the one it points to.
_UP = {
    complexfloating: inexact,
    floating: inexact,
    inexact: number,
    signedinteger: integer,
    unsignedinteger: integer,
    integer: number,
    number: generic,
}


def issubdtype(arg1, arg2):
    """Whether a dtype or category is, or is in, another."""
    for which, arg in (("first", arg1), ("second", arg2)):
        if not isinstance(arg, (_core.Dtype, DtypeCategory)):
            raise ValueError(f"issubdtype: the {which} input is no dtype or category: {arg!r}")
    if isinstance(arg2, _core.Dtype):
        return arg1 is arg2
    if isinstance(arg1, _core.Dtype):
        return _core._in_category(arg1, arg2.name)
    while arg1 is not None and arg1 is not arg2:
        arg1 = _UP.get(arg1)
    return arg1 is not None


_KINDS = {
    "signed integer": signedinteger,
    "unsigned integer": unsignedinteger,
    "integral": integer,
    "real floating": floating,
    "complex floating": complexfloating,
    "numeric": number,
}


def isdtype(dtype, kind):
    """Whether a dtype is one of those given, or of a kind: 'bool', 'signed integer',
    'unsigned integer', 'integral', 'real floating', 'complex floating', 'numeric'."""
    if not isinstance(dtype, _core.Dtype):
        raise TypeError(f"isdtype: wanted a dtype, not {dtype!r}")
    found = False
    for one in kind if isinstance(kind, tuple) else (kind,):
        if isinstance(one, _core.Dtype):
            found |= dtype is one
        elif not isinstance(one, str):
            raise ValueError(
                f"isdtype: kind must be a dtype, a string or a tuple of these, not {one!r}"
            )
        elif one == "bool":
            found |= dtype is _core.bool_
        elif one in _KINDS:
            found |= _core._in_category(dtype, _KINDS[one].name)
        else:
            raise ValueError(f"isdtype: no such kind: {one!r}")
    return found


def can_cast(from_, to):
    """Whether promoting both gives `to`."""
    if not isinstance(from_, (_core.array, _core.Dtype)):
        raise ValueError(f"can_cast: `from_` must be an array or a dtype, not {from_!r}")
    if not isinstance(to, _core.Dtype):
        raise TypeError(f"can_cast: `to` must be a dtype, not {to!r}")
    return _core.result_type(from_, to) is to


class _Info:
    __slots__ = ()

    def __repr__(self):
        low, high = (f"{v:g}" if isinstance(v, float) else str(v) for v in (self.min, self.max))
        return f"{type(self).__name__}(min={low}, max={high}, dtype={self.dtype.name})"


class finfo(_Info):
    """What is known of a float, or of a complex number's parts."""

    __slots__ = ("dtype", "bits", "min", "max", "eps", "smallest_normal")

    def __init__(self, dtype):
        if not isinstance(dtype, _core.Dtype):
            raise TypeError(f"finfo: wanted a dtype, not {dtype!r}")
        self.dtype, self.bits, self.min, self.max, self.eps, self.smallest_normal = _core._finfo(
            dtype
        )


class iinfo(_Info):
    """What is known of an integer."""

    __slots__ = ("dtype", "bits", "min", "max")

    def __init__(self, dtype):
        if not isinstance(dtype, _core.Dtype):
            raise TypeError(f"iinfo: wanted a dtype, not {dtype!r}")
        self.dtype, self.bits, self.min, self.max = _core._iinfo(dtype)
