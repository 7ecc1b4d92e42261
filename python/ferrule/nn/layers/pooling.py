"""Pooling: the largest, or the mean, of each window. Channels come last."""

import math
from typing import Any, Optional, Tuple, Union

import ferrule.core as mx
from ferrule import _core
from ferrule.nn.layers.base import Module
from ferrule.nn.layers.windows import per_axis


class _Pool(Module):
    axes = 1

    def __init__(
        self,
        kernel_size: Union[int, Tuple[int, ...]],
        stride: Optional[Union[int, Tuple[int, ...]]] = None,
        padding: Optional[Union[int, Tuple[int, ...]]] = 0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self._kernel_size = per_axis(kernel_size, self.axes, name, "kernel_size", least=1)
        self._stride = self._kernel_size
        if stride is not None:
            self._stride = per_axis(stride, self.axes, name, "stride", least=1)
        self._padding = per_axis(0 if padding is None else padding, self.axes, name, "padding")

    def __setattr__(self, name: str, value: Any) -> None:  # the tuples of sizes are no state
        object.__setattr__(self, name, value)

    def _extra_repr(self):
        return f"kernel_size={self._kernel_size}, stride={self._stride}, padding={self._padding}"

    def _windows(self, x, outside):
        """x with windows after its spatial axes, and the axes in them."""
        if x.ndim != self.axes + 2:
            raise ValueError(
                f"{type(self).__name__}: the input must have {self.axes + 2} dimensions, "
                f"not {x.ndim}"
            )
        if any(self._padding):
            widths = [(0, 0), *((p, p) for p in self._padding), (0, 0)]
            x = mx.pad(x, widths, constant_values=outside)
        inner = []
        for i in range(self.axes):
            x = _core._windows(x, 2 * i + 1, self._kernel_size[i], self._stride[i])
            inner.append(2 * i + 2)
        return x, inner


class _MaxPool(_Pool):
    def __call__(self, x: mx.array) -> mx.array:
        floats = mx.issubdtype(x.dtype, mx.floating)
        windows, inner = self._windows(x, -math.inf if floats else x.min())
        return windows.max(axis=inner)


class _AvgPool(_Pool):
    def __call__(self, x: mx.array) -> mx.array:
        windows, inner = self._windows(x, 0)
        return windows.mean(axis=inner)


class MaxPool1d(_MaxPool):
    """The largest of each window along L of [N, L, C]. padding: so many elements on both sides
    that are never the largest."""


class MaxPool2d(_MaxPool):
    """The largest of each window over H and W of [N, H, W, C]."""

    axes = 2


class MaxPool3d(_MaxPool):
    """The largest of each window over D, H and W of [N, D, H, W, C]."""

    axes = 3


class AvgPool1d(_AvgPool):
    """The mean of each window along L of [N, L, C]. padding: so many zeros on both sides."""


class AvgPool2d(_AvgPool):
    """The mean of each window over H and W of [N, H, W, C]."""

    axes = 2


class AvgPool3d(_AvgPool):
    """The mean of each window over D, H and W of [N, D, H, W, C]."""

    axes = 3
