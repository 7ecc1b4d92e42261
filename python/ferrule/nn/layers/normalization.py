"""Normalizations: to mean 0 and variance 1 over some axes, then scaled and moved."""

from typing import Any

import ferrule.core as mx
from ferrule.nn.layers.base import _M, Module


class InstanceNorm(Module):
    """Over the spatial axes, for each example and feature."""

    def __init__(self, dims: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__()
        if affine:
            self.weight = mx.ones((dims,))
            self.bias = mx.zeros((dims,))
        self.dims = dims
        self.eps = eps

    def _extra_repr(self):
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        axes = tuple(range(1, x.ndim - 1))
        mean = x.mean(axis=axes, keepdims=True)
        variance = x.var(axis=axes, keepdims=True)
        x = (x - mean) * mx.rsqrt(variance + self.eps)
        return x * self.weight + self.bias if "weight" in self else x


class LayerNorm(Module):
    """Over the features."""

    def __init__(
        self, dims: int, eps: float = 1e-5, affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        if affine:
            self.weight = mx.ones((dims,))
            if bias:
                self.bias = mx.zeros((dims,))
        self.eps = eps
        self.dims = dims

    def _extra_repr(self):
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.layer_norm(x, self.get("weight"), self.get("bias"), self.eps)


class RMSNorm(Module):
    """x over the root of its mean square over the features, times the weight."""

    def __init__(self, dims: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = mx.ones((dims,))
        self.eps = eps

    def _extra_repr(self):
        return f"{self.weight.shape[0]}, eps={self.eps}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self["weight"], self.eps)


class GroupNorm(Module):
    """Over the spatial axes and groups of features: those of equal index modulo num_groups, or,
    if pytorch_compatible, neighbours."""

    def __init__(
        self,
        num_groups: int,
        dims: int,
        eps: float = 1e-5,
        affine: bool = True,
        pytorch_compatible: bool = False,
    ) -> None:
        super().__init__()
        if num_groups < 1:
            raise ValueError(f"The number of groups ({num_groups}) must be a positive integer.")
        if dims % num_groups:
            raise ValueError(
                f"The number of features ({dims}) must be evenly divisible by the number of "
                f"groups ({num_groups})."
            )
        if affine:
            self.bias = mx.zeros((dims,))
            self.weight = mx.ones((dims,))
        self.num_groups = num_groups
        self.dims = dims
        self.eps = eps
        self.pytorch_compatible = pytorch_compatible

    def _extra_repr(self):
        return (
            f"{self.num_groups}, {self.dims}, eps={self.eps}, "
            f"affine={'weight' in self}, pytorch_compatible={self.pytorch_compatible}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        batch, *middle, features = x.shape
        groups, members = self.num_groups, features // self.num_groups
        if self.pytorch_compatible:
            shape, axes = (batch, -1, groups, members), (1, 3)
        else:
            shape, axes = (batch, -1, groups), (1,)
        y = x.reshape(shape)
        mean = y.mean(axis=axes, keepdims=True)
        variance = y.var(axis=axes, keepdims=True)
        y = ((y - mean) * mx.rsqrt(variance + self.eps)).reshape(x.shape)
        return y * self.weight + self.bias if "weight" in self else y


class BatchNorm(Module):
    """Over all axes but the last, [N, C], [N, L, C] or [N, H, W, C]. Running means of the
    statistics are kept in training and take their place in evaluation."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = mx.ones((num_features,))
            self.bias = mx.zeros((num_features,))
        if track_running_stats:
            self.running_mean = mx.zeros((num_features,))
            self.running_var = mx.ones((num_features,))
            self.freeze(keys=["running_mean", "running_var"], recurse=False)

    def unfreeze(self: _M, *args: Any, **kwargs: Any) -> _M:
        """As Module.unfreeze, but the running statistics stay frozen."""
        super().unfreeze(*args, **kwargs)
        self.freeze(keys=["running_mean", "running_var"], recurse=False)
        return self

    def _extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={'weight' in self}, track_running_stats={self.track_running_stats}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        if not 2 <= x.ndim <= 4:
            raise ValueError(
                f"Expected input tensor to have 2, 3 or 4 dimensions, but got {x.ndim}"
            )
        tracked = self.track_running_stats
        if self.training or not tracked:
            axes = tuple(range(x.ndim - 1))
            mean, variance = x.mean(axis=axes), x.var(axis=axes)
            if self.training and tracked:
                mu, n = self.momentum, x.size // x.shape[-1]
                self.running_mean = (1 - mu) * self.running_mean + mu * mean
                self.running_var = (1 - mu) * self.running_var + mu * (n / max(n - 1, 1)) * variance
        else:
            mean, variance = self.running_mean, self.running_var
        x = (x - mean) * mx.rsqrt(variance + self.eps)
        return self.weight * x + self.bias if "weight" in self else x
