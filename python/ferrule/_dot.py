"""Graphs for Graphviz."""

import os

from . import _core
from ._arguments import public

_LEVELS = ("graph", "trace", "kernels")


@public
def export_to_dot(file, *args, level="graph", **kwargs):
    """Writes the graph of arrays (or containers of them) for Graphviz.

    file: a path, or something with write. level: "graph" as it was written, "trace" after fusion
    with a box around each kernel, "kernels" launches and what is stored between them. Of a
    compiled function: the kernels of its programs, last used first.
    """
    if level not in _LEVELS:
        raise ValueError(f"export_to_dot: level {level!r} is none of {', '.join(_LEVELS)}")
    trees = [*args, *kwargs.values()]
    if len(trees) == 1 and type(trees[0]).__name__ == "compiled":
        text = "".join(_core._dot(trees[0]))
    else:
        text = _core._dot(trees, _LEVELS.index(level))
    if hasattr(file, "write"):
        file.write(text)
        return
    with open(os.fspath(file), "w", encoding="utf-8") as out:
        out.write(text)
