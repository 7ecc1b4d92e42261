"""What layers that go over windows of the spatial axes share."""

from typing import Any, Tuple


def per_axis(value: Any, n: int, layer: str, what: str, least: int = 0) -> Tuple[int, ...]:
    """An int for each of n axes, or n of them, as a tuple; each must be `least` or more."""
    if isinstance(value, int):
        value = (value,) * n
    if not isinstance(value, (tuple, list)) or len(value) != n:
        s = "s" if n > 1 else ""
        raise ValueError(
            f"[{layer}] '{what}' must be an integer or a tuple containing {n} integer{s}"
        )
    value = tuple(value)
    if min(value) < least:
        kind = "positive" if least else "non-negative"
        raise ValueError(f"[{layer}] '{what}' must be {kind} but got {value}.")
    return value
