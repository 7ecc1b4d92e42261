"""mx.fast: what transformers spend their time in, in float32 where the operands are narrower. All
but attention are compositions, and fuse with what stands around them."""

from . import _core as _mx
from ._arguments import need_arrays as _need_arrays
from ._arguments import need_int as _need_int
from ._arguments import public as _public

__all__ = ["cross_entropy", "layer_norm", "rms_norm", "rope", "scaled_dot_product_attention"]

_INTEGERS = (_mx.int8, _mx.int16, _mx.int32, _mx.int64)
_INTEGERS += (_mx.uint8, _mx.uint16, _mx.uint32, _mx.uint64)


def _wide(x):
    return x.astype(_mx.float32) if x.dtype in (_mx.float16, _mx.bfloat16) else x


def _check_weight(function, what, w, x):
    if w is not None:
        _need_arrays(function, **{what: w})
    if w is not None and w.shape != x.shape[-1:]:
        raise ValueError(
            f"{function}: {what} must be {x.shape[-1:]}, as x's last axis, not {w.shape}"
        )


@_public
def cross_entropy(logits, targets, *, stream=None):
    """logsumexp of the logits over the last axis less that of the target class, float32 in the shape of
    targets: integers, each the index of a class."""
    _need_arrays("cross_entropy", logits=logits, targets=targets)
    if logits.dtype not in (_mx.float16, _mx.bfloat16, _mx.float32, _mx.float64):
        raise ValueError(f"cross_entropy: logits must be floats, not {logits.dtype}")
    if targets.dtype not in _INTEGERS:
        raise ValueError(f"cross_entropy: targets must be integers, not {targets.dtype}")
    if logits.ndim == 0 or targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: targets {targets.shape} must be logits {logits.shape} without the last axis"
        )
    wide = _wide(logits)
    score = _mx.take_along_axis(wide, targets[..., None], -1)[..., 0]
    return (_mx.logsumexp(wide, axis=-1) - score).astype(_mx.float32)


@_public
def rms_norm(x, weight, eps, *, stream=None):
    """x over the root of its mean square along the last axis, times the weight (None: 1)."""
    _need_arrays("rms_norm", x=x)
    if x.ndim == 0:
        raise ValueError("rms_norm: x must have an axis")
    _check_weight("rms_norm", "weight", weight, x)
    wide = _wide(x)
    y = wide * _mx.rsqrt(_mx.square(wide).mean(axis=-1, keepdims=True) + eps)
    return (y if weight is None else y * weight).astype(x.dtype)


@_public
def layer_norm(x, weight, bias, eps, *, stream=None):
    """x with mean 0 and variance 1 along the last axis, times the weight, plus the bias; each may
    be None."""
    _need_arrays("layer_norm", x=x)
    if x.ndim == 0:
        raise ValueError("layer_norm: x must have an axis")
    _check_weight("layer_norm", "weight", weight, x)
    _check_weight("layer_norm", "bias", bias, x)
    wide = _wide(x)
    y = wide - wide.mean(axis=-1, keepdims=True)
    y = y * _mx.rsqrt(wide.var(axis=-1, keepdims=True) + eps)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y.astype(x.dtype)


@_public
def rope(a, dims, *, traditional, base, scale, offset, freqs=None, stream=None):
    """Rotates pairs of the first `dims` features of a [B, ..., T, D] by angles: the position, from
    offset (an int, or an array, one or one for each of B), times scale, over base to the power of
    2 i / dims for the pair i, or over freqs[i]. traditional: neighbours are a pair; else feature i
    and i + dims / 2."""
    _need_arrays("rope", a=a)
    if a.ndim < 3:
        raise ValueError(f"rope: a must have 3 dimensions at least, not {a.ndim}")
    if (base is None) == (freqs is None):
        raise ValueError("rope: one of base and freqs must be None")
    dims = _need_int("rope", "dims", dims)
    if dims % 2 or not 0 < dims <= a.shape[-1]:
        raise ValueError(f"rope: dims must be even and at most {a.shape[-1]}, not {dims}")
    half = dims // 2
    if freqs is not None:
        _need_arrays("rope", freqs=freqs)
        if freqs.shape != (half,):
            raise ValueError(f"rope: freqs must be ({half},), not {freqs.shape}")
        inverse = _mx.reciprocal(freqs.astype(_mx.float32))
    else:
        inverse = base ** (_mx.arange(half) * (-2 / dims))
    at = _mx.arange(a.shape[-2])
    if isinstance(offset, _mx.array):
        if offset.ndim == 1:
            offset = offset.reshape(-1, *(1,) * (a.ndim - 2))
        elif offset.ndim > 1:
            raise ValueError(f"rope: offset has {offset.ndim} dimensions, at most 1 may be")
    angles = ((at + offset) * scale)[..., None] * inverse
    cos, sin = _mx.cos(angles), _mx.sin(angles)
    wide = _wide(a)
    turned = wide[..., :dims]
    if traditional:
        first, second = turned[..., ::2], turned[..., 1::2]
    else:
        first, second = turned[..., :half], turned[..., half:]
    parts = [first * cos - second * sin, first * sin + second * cos]
    if traditional:
        y = _mx.stack(parts, axis=-1).reshape(turned.shape)
    else:
        y = _mx.concatenate(parts, axis=-1)
    y = y.astype(a.dtype)
    return y if dims == a.shape[-1] else _mx.concatenate([y, a[..., dims:]], axis=-1)


def _with_sinks(q, k, v, scale, mask, sinks):
    """q, k, v and mask with a key in front of all others, whose score is the head's sink and whose
    value is 0: a feature more, sinks / scale in q, holds 1 in that key and 0 in the others."""
    batch, heads, queries, dims = q.shape
    column = (sinks.astype(q.dtype) / scale).reshape(heads, 1, 1)
    q = _mx.concatenate([q, _mx.broadcast_to(column, (batch, heads, queries, 1))], axis=-1)
    first = _mx.arange(k.shape[2] + 1)[:, None] == 0
    last = _mx.arange(dims + 1) == dims
    k = _mx.pad(k, [(0, 0), (0, 0), (1, 0), (0, 1)])
    k = _mx.where(first & last, 1, k)
    v = _mx.pad(v, [(0, 0), (0, 0), (1, 0), (0, 0)])
    if isinstance(mask, _mx.array):
        seen = mask.dtype == _mx.bool_
        mask = _mx.broadcast_to(mask, (*mask.shape[:-1], k.shape[2] - 1))
        mask = _mx.pad(mask, [*[(0, 0)] * (mask.ndim - 1), (1, 0)], constant_values=seen)
    return q, k, v, mask


@_public
def scaled_dot_product_attention(
    q, k, v, *, scale, mask=None, sinks=None, force_fused=False, stream=None
):
    """softmax(scale q k^T) v in the dtype that q, k and v promote to, the softmax in float32, in one
    pass over the keys: memory is linear in the lengths.

    q [B, N, T, D], k and v [B, M, S, D], where M divides N: neighbouring heads of q share one. mask:
    bool (False: not to be seen), or added to the scores, broadcast to [B, N, T, S]; "causal": the
    last query sees all keys, each before it one less. sinks [N]: a score beside the keys' for which
    there is no value."""
    name = "scaled_dot_product_attention"
    _need_arrays(name, q=q, k=k, v=v)
    scale = float(scale)
    if sinks is not None:
        _need_arrays(name, sinks=sinks)
    for what, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim != 4:
            raise ValueError(f"{name}: {what} must have 4 dimensions, not {x.ndim}")
    batch, heads, queries, dims = q.shape
    groups = k.shape[1]
    if k.shape[3] != dims or k.shape[0] != batch or v.shape[:3] != k.shape[:3]:
        raise ValueError(f"{name}: q {q.shape}, k {k.shape} and v {v.shape} don't fit")
    if not groups or heads % groups:
        raise ValueError(f"{name}: {heads} heads of q for {groups} of k")
    causal = isinstance(mask, str) and mask == "causal"
    if not (mask is None or causal or isinstance(mask, _mx.array)):
        raise ValueError(f"{name}: a mask is an array or 'causal', not {mask!r}")
    if sinks is not None and sinks.shape != (heads,):
        raise ValueError(f"{name}: sinks must be ({heads},), one for each head, not {sinks.shape}")
    dtype = _mx.result_type(q, k, v)
    q, k, v = q.astype(dtype), k.astype(dtype), v.astype(dtype)
    if scale == 0:  # which fr_attention takes for no scale
        q, scale = q * 0, 1.0
    if sinks is not None:
        q, k, v, mask = _with_sinks(q, k, v, scale, mask, sinks)
    return _mx._attention(q, k, v, scale, None if causal else mask, causal)
