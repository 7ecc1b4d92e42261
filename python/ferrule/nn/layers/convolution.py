"""Convolutions. Channels come last; the weight is [out, window ..., in / groups]."""

import math
from typing import Union

import ferrule.core as mx
from ferrule.nn.layers.base import Module
from ferrule.nn.layers.windows import per_axis

_Sizes = Union[int, tuple]


class _Convolution(Module):
    axes = 1

    def _make(self, in_channels, out_channels, kernel_size, bias, groups=1, **options):
        name, n = type(self).__name__, self.axes
        window = per_axis(kernel_size, n, name, "kernel_size", least=1)
        if groups < 1 or in_channels % groups:
            raise ValueError(
                f"The number of input channels ({in_channels}) must be divisible by the number "
                f"of groups ({groups})"
            )
        for option, value in options.items():
            each = per_axis(value, n, name, option, least="padding" not in option)
            if n > 1 and option != "dilation":
                value = each
            object.__setattr__(self, option, value)
        scale = math.sqrt(1 / (in_channels * math.prod(window)))
        self.weight = mx.random.uniform(
            low=-scale, high=scale, shape=(out_channels, *window, in_channels // groups)
        )
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.groups = groups

    def _extra_repr(self):
        out_channels, *window, in_channels = self.weight.shape
        window = window[0] if self.axes == 1 else tuple(window)
        parts = [f"{in_channels * self.groups}, {out_channels}", f"kernel_size={window}"]
        parts += [f"stride={self.stride}", f"padding={self.padding}", f"dilation={self.dilation}"]
        parts += self._more_repr()
        return ", ".join([*parts, f"bias={'bias' in self}"])

    def _biased(self, y):
        return y + self.bias if "bias" in self else y


class _Conv(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Sizes,
        stride: _Sizes = 1,
        padding: _Sizes = 0,
        dilation: _Sizes = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        self._make(in_channels, out_channels, kernel_size, bias, groups, **options)

    def _more_repr(self):
        return [f"groups={self.groups}"]

    def __call__(self, x: mx.array) -> mx.array:
        convolve = getattr(mx, f"conv{self.axes}d")
        y = convolve(x, self.weight, self.stride, self.padding, self.dilation, self.groups)
        return self._biased(y)


class _ConvTranspose(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Sizes,
        stride: _Sizes = 1,
        padding: _Sizes = 0,
        dilation: _Sizes = 1,
        output_padding: _Sizes = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        options["output_padding"] = output_padding
        self._make(in_channels, out_channels, kernel_size, bias, **options)

    def _more_repr(self):
        return [f"output_padding={self.output_padding}"]

    def __call__(self, x: mx.array) -> mx.array:
        convolve = getattr(mx, f"conv_transpose{self.axes}d")
        y = convolve(x, self.weight, self.stride, self.padding, self.dilation, self.output_padding)
        return self._biased(y)


class Conv1d(_Conv):
    """A convolution over L of [N, L, C]."""


class Conv2d(_Conv):
    """A convolution over H and W of [N, H, W, C]."""

    axes = 2


class Conv3d(_Conv):
    """A convolution over D, H and W of [N, D, H, W, C]."""

    axes = 3

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Sizes,
        stride: _Sizes = 1,
        padding: _Sizes = 0,
        dilation: _Sizes = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias
        )

    def _more_repr(self):
        return []


class ConvTranspose1d(_ConvTranspose):
    """A transposed convolution over L of [N, L, C]."""


class ConvTranspose2d(_ConvTranspose):
    """A transposed convolution over H and W of [N, H, W, C]."""

    axes = 2


class ConvTranspose3d(_ConvTranspose):
    """A transposed convolution over D, H and W of [N, D, H, W, C]."""

    axes = 3
