"""Upsample: spatial axes made longer, or shorter, by interpolation along each."""

import math
from typing import Literal, Tuple, Union

import ferrule.core as mx
from ferrule.nn.layers.base import Module


def _triangle(x):
    return max(0.0, 1 - abs(x))


def _cubic(a):
    """Keys' cubic of that slope at 1."""

    def weight(x):
        x = abs(x)
        if x < 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((x - 5) * x + 8) * x * a - 4 * a if x < 2 else 0.0

    return weight


def _taps(n, scale, mode, align_corners, antialias):
    """For each element of an axis that had n: the elements it is made of, and their weights."""
    out = int(scale * n)
    if mode == "nearest":
        if out < n:
            return [([i * n // out], [1.0]) for i in range(out)]
        return [([min(round((i + 0.5) * n / out - 0.5), n - 1)], [1.0]) for i in range(out)]
    if align_corners:
        at = [i * (n - 1) / (out - 1) if out > 1 else 0.0 for i in range(out)]
    else:
        at = [(n - 1) / 2 + (i - (out - 1) / 2) / scale for i in range(out)]
    reach = 1 if mode == "linear" else 2
    if antialias and scale < 1:
        weight = _triangle if mode == "linear" else _cubic(-0.5)
        rows = []
        for x in at:
            first = max(0, math.floor(x - reach / scale) + 1)
            places = list(range(first, min(n - 1, math.ceil(x + reach / scale) - 1) + 1))
            weights = [weight((p - x) * scale) for p in places]
            rows.append((places, [w / sum(weights) for w in weights]))
        most = max(len(places) for places, _ in rows)
        return [(p + [0] * (most - len(p)), w + [0.0] * (most - len(w))) for p, w in rows]
    if mode == "linear":
        at = [min(max(x, 0.0), n - 1) for x in at]
    weight = _triangle if mode == "linear" else _cubic(-0.75)
    rows = []
    for x in at:
        places = range(math.floor(x) - reach + 1, math.floor(x) + reach + 1)
        rows.append(([min(max(p, 0), n - 1) for p in places], [weight(p - x) for p in places]))
    return rows


def _along(x, axis, scale, mode, align_corners, antialias):
    if mode == "nearest" and scale == int(scale):
        shape = list(x.shape)
        wide = shape[: axis + 1] + [int(scale)] + shape[axis + 1 :]
        shape[axis] *= int(scale)
        return mx.broadcast_to(mx.expand_dims(x, axis + 1), wide).reshape(shape)
    taps = _taps(x.shape[axis], scale, mode, align_corners, antialias)
    total = None
    for k in range(len(taps[0][0]) if taps else 1):
        part = mx.take(x, mx.array([p[k] for p, _ in taps], dtype=mx.int32), axis=axis)
        if mode != "nearest":
            weights = mx.array([w[k] for _, w in taps], dtype=mx.float32).astype(x.dtype)
            part = part * weights.reshape([-1 if d == axis else 1 for d in range(x.ndim)])
        total = part if total is None else total + part
    return total


class Upsample(Module):
    """Spatial axes of [N, ..., C] made scale_factor times as long: by the nearest element, or by
    linear or cubic interpolation. align_corners: the first and last elements stay where they are.
    antialias: what is made shorter is smoothed."""

    def __init__(
        self,
        scale_factor: Union[float, Tuple],
        mode: Literal["nearest", "linear", "cubic"] = "nearest",
        align_corners: bool = False,
        antialias: bool = False,
    ) -> None:
        super().__init__()
        if mode not in ("nearest", "linear", "cubic"):
            raise ValueError(f"[Upsample] Got unsupported upsampling algorithm: {mode}")
        if antialias and mode == "nearest":
            raise ValueError(
                "[Upsample] Antialiasing is not supported for nearest neighbor upsampling"
            )
        if isinstance(scale_factor, (list, tuple)):
            scale_factor = tuple(map(float, scale_factor))
        else:
            scale_factor = float(scale_factor)
        object.__setattr__(self, "scale_factor", scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.antialias = antialias

    def _extra_repr(self):
        return (
            f"scale_factor={self.scale_factor}, mode={self.mode!r}, "
            f"align_corners={self.align_corners}" + ", antialias=True" * self.antialias
        )

    def __call__(self, x: mx.array) -> mx.array:
        axes = x.ndim - 2
        if axes < 1:
            raise ValueError(
                "[Upsample] The input should have at least 1 spatial dimension which means it "
                f"should be at least 3D but {x.ndim}D was provided"
            )
        scales = self.scale_factor
        if not isinstance(scales, tuple):
            scales = (scales,) * axes
        elif len(scales) != axes:
            raise ValueError(
                "[Upsample] One scale per spatial dimension is required but "
                f"scale_factor={scales} and the number of spatial dimensions were {axes}"
            )
        if self.antialias and self.align_corners:
            raise ValueError("[Upsample] antialias=True needs align_corners=False")
        for i, scale in enumerate(scales):
            x = _along(x, i + 1, scale, self.mode, self.align_corners, self.antialias)
        return x
