"""Convolutions under transformations: against sums in numpy, finite differences and loops."""

import itertools

import ferrule.core as mx
import numpy as np
import pytest

CASES = [
    # spatial, channels, filters, taps, stride, padding, dilation, groups
    ((7,), 2, 3, (3,), 1, 1, 1, 1),
    ((11,), 4, 6, (3,), 3, 2, 2, 2),
    ((6, 7), 3, 4, (3, 2), 2, 1, 1, 1),
    ((9, 8), 4, 4, (2, 3), (2, 3), (0, 1), (1, 2), 4),
    ((4, 5, 3), 2, 3, (2, 2, 2), 1, 1, 1, 1),
    ((4, 6), 3, 2, (3, 3), 2, 0, 1, 1),  # one place, and more than its window reaches
]


def each(v, n):
    return (v,) * n if isinstance(v, int) else v


def reference(x, w, stride, padding, dilation, groups):
    n = x.ndim - 2
    stride, padding, dilation = each(stride, n), each(padding, n), each(dilation, n)
    x = np.pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)])
    taps, per = w.shape[1:-1], w.shape[-1]
    places = [(x.shape[d + 1] - (taps[d] - 1) * dilation[d] - 1) // stride[d] + 1 for d in range(n)]
    y = np.zeros((x.shape[0], *places, w.shape[0]))
    each_filters = w.shape[0] // groups
    for g in range(groups):
        filters = slice(g * each_filters, (g + 1) * each_filters)
        channels = slice(g * per, (g + 1) * per)
        for tap in itertools.product(*map(range, taps)):
            at = tuple(
                slice(
                    tap[d] * dilation[d],
                    tap[d] * dilation[d] + (places[d] - 1) * stride[d] + 1,
                    stride[d],
                )
                for d in range(n)
            )
            y[..., filters] += x[(slice(None), *at, channels)] @ w[(filters, *tap)].T
    return y


def make(case, seed=0):
    spatial, channels, filters, taps, *rest = case
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, *spatial, channels))
    w = rng.standard_normal((filters, *taps, channels // rest[3]))
    names = ("stride", "padding", "dilation", "groups")
    f = {1: mx.conv1d, 2: mx.conv2d, 3: mx.conv3d}[len(spatial)]
    return x, w, dict(zip(names, rest)), f


@pytest.mark.parametrize("case", CASES)
def test_values(case):
    x, w, options, f = make(case)
    want = reference(x, w, **options)
    for dtype, slack in ((mx.float64, 1e-12), (mx.float32, 1e-5), (mx.float16, 3e-2)):
        y = f(mx.array(x).astype(dtype), mx.array(w).astype(dtype), **options)
        assert y.dtype == dtype and y.shape == want.shape
        np.testing.assert_allclose(np.array(y.astype(mx.float32)), want, atol=slack + 1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients(case, compiled):
    x, w, options, f = make(case)
    wrap = mx.compile if compiled else lambda f: f
    x64, w64 = mx.array(x, dtype=mx.float64), mx.array(w, dtype=mx.float64)

    def loss(x, w):
        return mx.square(f(x, w, **options)).sum()

    def slope(x, w):
        return sum(mx.square(g).sum() for g in mx.grad(loss, argnums=(0, 1))(x, w))

    rng = np.random.default_rng(5)
    for function in (loss, slope):
        gradients = wrap(mx.grad(function, argnums=(0, 1)))(x64, w64)
        for which, value in enumerate((x, w)):
            direction = rng.standard_normal(value.shape)
            step = 1e-5

            def moved(by, which=which, direction=direction, function=function):
                moved_to = [x, w]
                moved_to[which] = moved_to[which] + by * direction
                arrays = [mx.array(v, dtype=mx.float64) for v in moved_to]
                return function(*arrays).item()

            want = (moved(step) - moved(-step)) / (2 * step)
            have = (np.array(gradients[which]) * direction).sum()
            assert abs(have - want) <= 1e-6 * max(1, abs(want))


@pytest.mark.parametrize("case", CASES)
def test_batches_of_gradients(case):
    x, w, options, f = make(case)
    xs = mx.array(np.stack([x, 2 * x, x - 1]).astype(np.float32))
    ys = mx.array(np.stack([f(mx.array(x), mx.array(w), **options)] * 3))
    ys = ys + mx.array(np.arange(3).reshape(3, *(1,) * x.ndim))

    def g(x, y):
        return mx.vjp(lambda w: f(x, w, **options), [mx.array(w.astype(np.float32))], [y])[1][0]

    for axes in ((0, None), (None, 0), (0, 0)):
        a, b = (v if axis == 0 else v[0] for v, axis in zip((xs, ys), axes))
        have = mx.vmap(g, in_axes=axes)(a, b)
        want = [g(xs[i] if axes[0] == 0 else a, ys[i] if axes[1] == 0 else b) for i in range(3)]
        np.testing.assert_allclose(np.array(have), np.array(mx.stack(want)), atol=2e-4)


@pytest.mark.parametrize("case", CASES)
def test_batches(case):
    x, w, options, f = make(case)
    xs = mx.array(np.stack([x, 2 * x, x - 1]).astype(np.float32))
    ws = mx.array(np.stack([w, w + 1, -w]).astype(np.float32))

    def g(x, w):
        return f(x, w, **options)

    for axes in ((0, None), (None, 0), (0, 0)):
        have = mx.vmap(g, in_axes=axes)(
            xs if axes[0] == 0 else xs[0], ws if axes[1] == 0 else ws[0]
        )
        want = mx.stack(
            [
                g(xs[i] if axes[0] == 0 else xs[0], ws[i] if axes[1] == 0 else ws[0])
                for i in range(3)
            ]
        )
        np.testing.assert_allclose(np.array(have), np.array(want), atol=1e-4)


def test_windows_are_read_where_they_lie():
    x, w = mx.zeros((1, 9, 9, 3)), mx.ones((4, 3, 3, 3))
    mx.eval(x, w)
    text = mx.describe(mx.conv2d(x, w))
    assert "routine 0: convolution" in text and "kernel" not in text
