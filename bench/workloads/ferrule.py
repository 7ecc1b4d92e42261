"""The workloads in Ferrule: the program of mlx.py, with `mlx` replaced by `ferrule`."""

import ferrule
import ferrule.core as mx

from . import array_programs

VERSION = getattr(ferrule, "__version__", "?")
VARIANTS = {"compile": mx.compile, "lazy": lambda program: program}

globals().update(array_programs.make(mx))


def kernels():
    """Kernels launched so far by this process, or None if that is not counted."""
    count = getattr(mx, "kernel_count", None)
    return count() if count else None


def peak_bytes(reset=False):
    """The allocator's own peak since the last reset."""
    if reset:
        mx.reset_peak_memory()
    return mx.get_peak_memory()


def adapter(variant):
    return array_programs.adapter(mx, variant == "compile")


def in_place(program, state, kept):
    return array_programs.in_place(mx, program, state, kept)
