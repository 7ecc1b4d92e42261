"""Dropout: random zeros while training."""

import ferrule.core as mx
from ferrule.nn.layers.base import Module


class _Dropout(Module):
    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"The dropout probability {p} is not in [0, 1)")
        self._p_1 = 1 - p

    def _extra_repr(self):
        return f"p={1 - self._p_1}"

    def _mask_shape(self, x):
        return x.shape

    def __call__(self, x: mx.array) -> mx.array:
        if self._p_1 == 1 or not self.training:
            return x
        mask = mx.random.bernoulli(self._p_1, self._mask_shape(x))
        return (1 / self._p_1) * mask * x


class Dropout(_Dropout):
    """In training, each element is 0 with probability p and x / (1 - p) else."""


class Dropout2d(_Dropout):
    """In training, each channel of each image, [..., H, W, C], is 0 with probability p."""

    def _mask_shape(self, x):
        if x.ndim not in (3, 4):
            raise ValueError(
                f"Received input with {x.ndim} dimensions. Expected 3 or 4 dimensions."
            )
        return (*x.shape[:-3], 1, 1, x.shape[-1])


class Dropout3d(_Dropout):
    """In training, each channel of each volume, [..., D, H, W, C], is 0 with probability p."""

    def _mask_shape(self, x):
        if x.ndim not in (4, 5):
            raise ValueError(
                f"Received input with {x.ndim} dimensions. Expected 4 or 5 dimensions."
            )
        return (*x.shape[:-4], 1, 1, 1, x.shape[-1])
