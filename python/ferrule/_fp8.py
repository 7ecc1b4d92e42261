"""mx.to_fp8 and from_fp8: float8 e4m3 (4 bits of exponent, 3 of mantissa, no infinities) in uint8."""

from . import _core as _mx
from ._arguments import need_arrays, public

_FLOATS = (_mx.float16, _mx.bfloat16, _mx.float32, _mx.float64)
_LARGEST = 448.0


@public
def to_fp8(x, *, stream=None):
    """x as float8 e4m3 in uint8: to the nearest, halves to even; beyond 448, infinities and NaN
    become 448, of x's sign (NaN: positive)."""
    need_arrays("to_fp8", x=x)
    if x.dtype not in _FLOATS:
        raise ValueError(f"to_fp8: only of real floating types, not of {x.dtype}")
    wide = x.astype(_mx.float32)
    size = _mx.minimum(_mx.where(_mx.isnan(wide), _LARGEST, _mx.abs(wide)), _LARGEST)
    sign = _mx.where(_mx.isnan(wide), 0, _mx.view(wide, _mx.uint32) >> 31).astype(_mx.uint8)
    bits = _mx.view(size, _mx.uint32)
    rounded = (bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20  # 3 bits of mantissa are left
    # Below 2^-6 the steps are 2^-9, as those of the lowest exponent.
    low = _mx.round(size * 512.0).astype(_mx.uint32)
    kept = _mx.where(size < 2.0**-6, low, rounded - (120 << 3))
    return kept.astype(_mx.uint8) | (sign << 7)


@public
def from_fp8(x, dtype=_mx.bfloat16, *, stream=None):
    """The values of float8 e4m3 in uint8, as a floating dtype."""
    need_arrays("from_fp8", x=x)
    if x.dtype != _mx.uint8:
        raise ValueError(f"from_fp8: x must be uint8, not {x.dtype}")
    if dtype not in _FLOATS:
        raise ValueError(f"from_fp8: only to real floating types, not to {dtype}")
    bits = x.astype(_mx.uint32)
    size = bits & 0x7F
    normal = _mx.view((size << 20) + (120 << 23), _mx.float32)
    y = _mx.where(size < 8, size.astype(_mx.float32) * 2.0**-9, normal)
    y = _mx.where(size == 0x7F, _mx.nan, y)
    return _mx.where(bits >= 0x80, -y, y).astype(dtype)
