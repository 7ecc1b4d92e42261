"""The workloads in MLX; see array_programs.py."""

import importlib.metadata

import mlx.core as mx

from . import array_programs

VERSION = importlib.metadata.version("mlx")
VARIANTS = {"compile": mx.compile, "eager": lambda program: program}

globals().update(array_programs.make(mx))


def adapter(variant):
    return array_programs.adapter(mx, variant == "compile")


def in_place(program, state, kept):
    return array_programs.in_place(mx, program, state, kept)


def peak_bytes(reset=False):
    """The allocator's own peak since the last reset."""
    if reset:
        mx.reset_peak_memory()
    return mx.get_peak_memory()
