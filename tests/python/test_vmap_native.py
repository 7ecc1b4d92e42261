"""mx.vmap of native operations against a loop: convolutions, attention, their gradients."""

import ferrule.core as mx
import numpy as np
import pytest
from test_transforms import numbers
from test_vmap import B, loop


def floats(seed, shape):
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def agree(f, args, axes, argnums):
    np.testing.assert_allclose(
        numbers(mx.vmap(f, in_axes=axes)(*args)), loop(f, args, axes), rtol=1e-4, atol=1e-4
    )
    for i in argnums:
        g = mx.grad(lambda *a: mx.sum(mx.sin(f(*a))), argnums=i)
        np.testing.assert_allclose(
            numbers(mx.vmap(g, in_axes=axes)(*args)), loop(g, args, axes), rtol=1e-4, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 1)])
def test_convolution(axes, groups):
    x, w = floats(1, (B, 2, 9, 4)), floats(2, (B, 6, 3, 4 // groups))
    x = x[0] if axes[0] is None else mx.moveaxis(x, 0, axes[0])
    w = w[0] if axes[1] is None else mx.moveaxis(w, 0, axes[1])
    agree(lambda x, w: mx.conv1d(x, w, stride=2, padding=1, groups=groups), (x, w), axes, (0, 1))


@pytest.mark.parametrize(
    "axes", [(0, 0, 0, None), (0, None, None, None), (None, 0, 0, 0), (None, None, 0, None)]
)
def test_attention(axes):
    shapes = [(2, 4, 5, 8), (2, 2, 6, 8), (2, 2, 6, 8), (2, 4, 5, 6)]
    args = [floats(i, s if a is None else (B,) + s) for i, (s, a) in enumerate(zip(shapes, axes))]

    def f(q, k, v, m):
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3, mask=m)

    agree(f, args, axes, (0, 1, 2))
