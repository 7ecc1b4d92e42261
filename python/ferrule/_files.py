"""mx.save, savez, savez_compressed, save_safetensors, load: arrays in files."""

import os

from . import _core
from ._arguments import public

_NPY, _NPZ, _SAFETENSORS = range(3)


def _put(function, file, ending, format, arrays, texts, compressed):
    for name, value in arrays.items():
        if not isinstance(value, _core.array):
            raise TypeError(
                f"{function}: {name or 'arr'} is a {type(value).__name__}, not an array"
            )
    if hasattr(file, "write"):
        _core._write(format, arrays, texts, compressed, file.write)
        return
    path = os.fspath(file)
    if not path.endswith(ending):
        path += ending
    # What is there is replaced once all is written.
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "wb") as to:
            _core._write(format, arrays, texts, compressed, to.write)
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.remove(beside)
        raise


@public
def save(file, arr):
    """Writes an array to a .npy file: a path, to which .npy is added, or something to write to."""
    _put("save", file, ".npy", _NPY, {"": arr}, {}, False)


def _named(function, args, kwargs):
    arrays = dict(kwargs)
    for i, value in enumerate(args):
        if f"arr_{i}" in arrays:
            raise ValueError(f"{function}: arr_{i} is both a keyword and a positional argument")
        arrays[f"arr_{i}"] = value
    return arrays


@public
def savez(file, *args, **kwargs):
    """Writes arrays to a .npz file, by their keywords or as arr_0, arr_1 ..."""
    _put("savez", file, ".npz", _NPZ, _named("savez", args, kwargs), {}, False)


@public
def savez_compressed(file, *args, **kwargs):
    """savez, compressed."""
    _put("savez_compressed", file, ".npz", _NPZ, _named("savez_compressed", args, kwargs), {}, True)


@public
def save_safetensors(file, arrays, metadata=None):
    """Writes a dict of arrays to a .safetensors file; metadata: a dict of strings."""
    _put(
        "save_safetensors",
        file,
        ".safetensors",
        _SAFETENSORS,
        dict(arrays),
        dict(metadata or {}),
        False,
    )


@public
def load(file, /, format=None, return_metadata=False, *, stream=None):
    """The array of a .npy file, or the dict of arrays of a .npz or .safetensors file; with
    return_metadata a pair of that and the file's metadata. file: a path, or something to read from.
    What kind a file is its contents tell; format, if given, must agree."""
    if format is not None and format not in ("npy", "npz", "safetensors"):
        raise ValueError(f"load: unknown file format {format}")
    if hasattr(file, "read"):
        data = file.read()
    else:
        with open(os.fspath(file), "rb") as f:
            data = f.read()
    kind, arrays, texts = _core._read(data)
    if format is not None and kind != format:
        raise ValueError(f"load: the file is {kind}, not {format}")
    if return_metadata and kind != "safetensors":
        raise ValueError(f"load: metadata not supported for format {kind}")
    result = arrays[""] if kind == "npy" else arrays
    return (result, texts) if return_metadata else result
