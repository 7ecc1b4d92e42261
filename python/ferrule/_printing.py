"""How arrays are printed: the number of decimals, for all threads."""

from . import _core
from ._arguments import public

_precision = -1


class PrintOptions:
    """precision: the decimals of a float; -1: six digits that count."""

    def __init__(self, precision=-1):
        if not isinstance(precision, int):
            raise TypeError(f"PrintOptions: precision must be an int, not {precision!r}")
        self.precision = precision

    def __repr__(self):
        return f"PrintOptions(precision={self.precision})"


@public
def set_printoptions(precision=-1):
    """Floats are printed with so many decimals from now; -1: as at start."""
    global _precision
    chosen = PrintOptions(precision).precision
    _core._print_decimals(chosen)
    _precision = chosen


def get_printoptions():
    """What set_printoptions was given last."""
    return PrintOptions(_precision)


class printoptions:
    """Floats are printed with so many decimals inside `with printoptions(precision=3):`."""

    def __init__(self, precision=-1):
        self._chosen = PrintOptions(precision)
        self._before = []

    def __enter__(self):
        self._before.append(_precision)
        set_printoptions(self._chosen.precision)
        return self

    def __exit__(self, *error):
        set_printoptions(self._before.pop())
