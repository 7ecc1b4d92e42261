"""Ferrule: lazy arrays, fused kernels, compile.

import ferrule.core as mx
import ferrule.nn as nn
"""

from ._core import __version__

__all__ = ["__version__"]
