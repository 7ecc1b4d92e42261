"""mx.save, savez, savez_compressed, save_safetensors, load: arrays in files."""

import os
import stat

from . import _core
from ._arguments import public

_NPY, _NPZ, _SAFETENSORS = range(3)


def _new_beside(path):
    """A file that wasn't there, open for writing, in the folder of another."""
    for i in range(100):
        try:
            return open(f"{path}.new{i}", "xb")
        except FileExistsError:
            if i == 99:
                raise


def _replace(path, write):
    """Calls write with what writes a new file, which takes the path's place once it is whole."""
    path = os.path.realpath(path)  # a link stays one
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe; a folder: open refuses
        with open(path, "wb") as to:
            write(to.write)
        return
    to = _new_beside(path)
    try:
        with to:
            write(to.write)
        if os.path.exists(path):
            os.chmod(to.name, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(to.name, path)
    except BaseException:
        os.remove(to.name)
        raise


def _put(function, file, ending, format, arrays, texts={}, compressed=False):
    for name, value in arrays.items():
        if not isinstance(value, _core.array):
            raise TypeError(
                f"{function}: {name or 'arr'} is a {type(value).__name__}, not an array"
            )

    def write(to):
        _core._write(format, arrays, texts, compressed, to)

    if hasattr(file, "write"):
        write(file.write)
        return
    path = os.fsdecode(file)
    _replace(path if path.endswith(ending) else path + ending, write)


@public
def save(file, arr):
    """Writes an array to a .npy file: a path, to which .npy is added, or something to write to."""
    _put("save", file, ".npy", _NPY, {"": arr})


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
    _put("savez", file, ".npz", _NPZ, _named("savez", args, kwargs))


@public
def savez_compressed(file, *args, **kwargs):
    """savez, compressed."""
    arrays = _named("savez_compressed", args, kwargs)
    _put("savez_compressed", file, ".npz", _NPZ, arrays, compressed=True)


@public
def save_safetensors(file, arrays, metadata=None):
    """Writes a dict of arrays to a .safetensors file; metadata: a dict of strings."""
    texts = dict(metadata or {})
    _put("save_safetensors", file, ".safetensors", _SAFETENSORS, dict(arrays), texts)


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
