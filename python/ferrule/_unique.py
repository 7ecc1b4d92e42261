"""mx.unique: composed, so that it traces, compiles and never looks at values."""

from . import _core as _mx
from ._arguments import need_arrays, need_int, public


@public
def unique(
    a,
    /,
    size,
    return_index=False,
    return_inverse=False,
    return_counts=False,
    fill_value=None,
    *,
    stream=None,
):
    """The sorted unique elements of the flattened array: the first `size` of them, or all and then
    fill_value (None: the least element). Asked for, in a tuple behind them: the index of each one's
    first place in a, for each element of a its place among them (uint32, in a's shape; the last one
    for what was left out), how often each occurs (int32, 0 for the fill). Each NaN is its own."""
    need_arrays("unique", a=a)
    size = need_int("unique", "size", size)
    if size < 0:
        raise ValueError(f"unique: the size can't be negative: {size}")
    if a.size == 0 and size and fill_value is None:
        raise ValueError("unique: of no elements a fill_value is needed")
    if fill_value is not None:
        fill_value = _mx.array(fill_value) if not isinstance(fill_value, _mx.array) else fill_value
        if fill_value.size != 1:
            raise ValueError(f"unique: fill_value is one number, not {fill_value.shape}")
        fill_value = fill_value.reshape(()).astype(a.dtype)
    flat = a.reshape(-1)
    if a.size:
        order = _mx.argsort(flat)
        ordered = _mx.take(flat, order)
        new = _mx.concatenate([_mx.array([True]), ordered[1:] != ordered[:-1]])
        group = _mx.minimum(_mx.cumsum(new.astype(_mx.int32)) - 1, size)  # size: left out
        # The sort is stable: the first of a group is its first in a as well.
        at = _mx.where(new, group, size)
        index = _mx.put_along_axis(_mx.broadcast_to(order[0], (size + 1,)), at, order, 0)[:size]
        counts = _mx.zeros((size + 1,), _mx.int32).at[group].add(1)[:size]
        values = _mx.take(flat, index)
        if fill_value is not None:
            values = _mx.where(counts > 0, values, fill_value)
        place = _mx.minimum(group, max(size - 1, 0)).astype(_mx.uint32)
        inverse = _mx.put_along_axis(_mx.zeros_like(order), order, place, 0)
    else:
        index, counts = _mx.zeros((size,), _mx.uint32), _mx.zeros((size,), _mx.int32)
        values = _mx.full((size,), 0 if fill_value is None else fill_value, a.dtype)
        inverse = _mx.zeros((0,), _mx.uint32)
    more = ((return_index, index), (return_inverse, inverse.reshape(a.shape)))
    more = [x for wanted, x in (*more, (return_counts, counts)) if wanted]
    return (values, *more) if more else values
