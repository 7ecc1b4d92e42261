"""What the array API standard asks a namespace about itself."""

from . import _core

_KINDS = {
    "bool": ("bool_",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": ("complex64",),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"] + _KINDS["complex floating"]


class ArrayNamespaceInfo:
    def capabilities(self):
        return {"boolean indexing": False, "data-dependent shapes": False, "max dimensions": 32}

    def default_device(self):
        return _core.default_device()

    def default_dtypes(self, *, device=None):
        return {
            "real floating": _core.float32,
            "complex floating": _core.complex64,
            "integral": _core.int32,
            "indexing": _core.int32,
        }

    def devices(self):
        return (_core.Device(_core.cpu),)

    def dtypes(self, *, device=None, kind=None):
        if kind is None:
            kind = ("bool", "numeric")
        kinds = (kind,) if isinstance(kind, str) else tuple(kind)
        names = {}
        for k in kinds:
            if k not in _KINDS:
                raise ValueError(f"dtypes: no kind {k!r}: {', '.join(_KINDS)}")
            for name in _KINDS[k]:
                names[name.rstrip("_")] = getattr(_core, name)
        return names


def __array_namespace_info__():
    """The array API standard's questions about this namespace, answered."""
    return ArrayNamespaceInfo()
