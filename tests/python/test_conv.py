"""Convolutions and windows against numpy: sums over the weight's elements, one by one."""

import itertools

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest
from ferrule import _core

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def reference(x, w, stride, before, after, dilation, between, groups, flip):
    """In float64, by the definition."""
    n = x.ndim - 2
    spread = np.zeros(
        (x.shape[0], *((s - 1) * b + 1 for s, b in zip(x.shape[1:-1], between)), x.shape[-1])
    )
    spread[(slice(None), *(slice(None, None, b) for b in between))] = x
    for i in range(n):
        cut = [slice(None)] * x.ndim
        b, a = before[i], after[i]
        cut[i + 1] = slice(max(-b, 0), spread.shape[i + 1] - max(-a, 0))
        spread = spread[tuple(cut)]
    widths = [(0, 0), *((max(b, 0), max(a, 0)) for b, a in zip(before, after)), (0, 0)]
    x = np.pad(spread, widths)
    if flip:
        w = w[(slice(None), *(slice(None, None, -1),) * n)]
    window = w.shape[1:-1]
    out = [
        (s - d * (k - 1) - 1) // t + 1
        for s, k, d, t in zip(x.shape[1:-1], window, dilation, stride)
    ]
    y = np.zeros((x.shape[0], *out, w.shape[0]))
    per_in, per_out = w.shape[-1], w.shape[0] // groups
    for at in itertools.product(*map(range, window)):
        part = x[
            (
                slice(None),
                *(
                    slice(k * d, k * d + (o - 1) * t + 1, t)
                    for k, d, o, t in zip(at, dilation, out, stride)
                ),
            )
        ]
        for g in range(groups):
            o = slice(g * per_out, (g + 1) * per_out)
            y[..., o] += part[..., g * per_in : (g + 1) * per_in] @ w[(o, *at)].astype(np.float64).T
    return y


def cases():
    for n, shape, window in (
        (1, (9,), (3,)),
        (2, (7, 6), (3, 2)),
        (3, (5, 4, 6), (2, 3, 2)),
        (4, (3, 4, 3, 4), (2, 2, 1, 2)),
    ):
        ones, zeros = (1,) * n, (0,) * n
        for changed in (
            {},
            {"stride": (2,) * n},
            {"before": (1,) * n, "after": (2,) * n},
            {"dilation": (2,) * n, "before": (2,) * n, "after": (2,) * n},
            {"between": (2,) * n},
            {"flip": True, "groups": 2},
            {"before": (-1,) * n, "after": (1,) * n},
            {"between": (3,) * n, "stride": (2,) * n, "before": (1,) * n, "after": zeros},
        ):
            options = {
                "stride": ones,
                "before": zeros,
                "after": zeros,
                "dilation": ones,
                "between": ones,
                "groups": 1,
                "flip": False,
                **changed,
            }
            yield pytest.param(shape, window, options, id=f"{n}d-{changed}")


def general(x, w, o):
    return mx.conv_general(
        x,
        w,
        o["stride"],
        (list(o["before"]), list(o["after"])),
        kernel_dilation=o["dilation"],
        input_dilation=o["between"],
        groups=o["groups"],
        flip=o["flip"],
    )


@pytest.mark.parametrize("shape, window, options", list(cases()))
def test_conv_general(shape, window, options):
    x = normal(2, *shape, 4)
    w = normal(6, *window, 4 // options["groups"])
    expected = reference(x, w, **options)
    for f in (general, mx.compile(lambda x, w: general(x, w, options))):
        y = f(mx.array(x), mx.array(w), options) if f is general else f(mx.array(x), mx.array(w))
        np.testing.assert_allclose(np.array(y), expected, rtol=1e-4, atol=1e-4)
    # strided input; a weight that is a transpose
    turned = mx.array(np.ascontiguousarray(np.moveaxis(x, -1, 0)))
    turned = mx.moveaxis(turned, 0, -1)
    y = general(turned[:, ::-1][:, ::-1], mx.array(w), options)
    np.testing.assert_allclose(np.array(y), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape, window, options", list(cases()))
def test_gradients(shape, window, options):
    """A convolution is linear in both: <dx, grad> is the change of the loss."""
    x, w = normal(2, *shape, 4), normal(6, *window, 4 // options["groups"])
    pull = mx.array(normal(*reference(x, w, **options).shape))

    def loss(x, w):
        return (general(x, w, options) * pull).sum()

    gx, gw = mx.grad(loss, argnums=(0, 1))(mx.array(x), mx.array(w))
    cx, cw = mx.compile(mx.grad(loss, argnums=(0, 1)))(mx.array(x), mx.array(w))
    np.testing.assert_allclose(np.array(cx), np.array(gx), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.array(cw), np.array(gw), rtol=1e-4, atol=1e-4)
    for i, (at, g) in enumerate(((x, gx), (w, gw))):
        d = normal(*at.shape)
        moved = [d if i == 0 else x, d if i == 1 else w]
        change = (reference(*moved, **options) * np.array(pull)).sum()
        assert (np.array(g).astype(np.float64) * d).sum() == pytest.approx(
            change, rel=1e-3, abs=1e-3
        )


def test_second_derivatives_and_batches():
    x, w = normal(2, 7, 6, 3), normal(4, 3, 2, 3)

    def loss(x):
        return mx.square(mx.conv2d(x, mx.array(w), 2, 1)).sum()

    d = mx.array(normal(*x.shape))
    second = mx.grad(lambda x: (mx.grad(loss)(x) * d).sum())(mx.array(x))
    exact = 2 * mx.grad(
        lambda x: (mx.conv2d(x, mx.array(w), 2, 1) * mx.conv2d(d, mx.array(w), 2, 1)).sum()
    )(mx.array(x))
    np.testing.assert_allclose(np.array(second), np.array(exact), rtol=1e-3, atol=1e-3)
    many = normal(3, 2, 7, 6, 3)
    each = mx.vmap(lambda x: mx.conv2d(x, mx.array(w), padding=1))(mx.array(many))
    for i in range(3):
        one = mx.conv2d(mx.array(many[i]), mx.array(w), padding=1)
        np.testing.assert_allclose(np.array(each[i]), np.array(one), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_transposed(n):
    """The transpose of the linear map that the convolution is, and its size."""
    options = {"stride": 2, "padding": 1, "dilation": 2}
    small = (4, 5, 3)[:n]
    window = (3, 2, 2)[:n]
    x, w = normal(2, *small, 4), normal(6, *window, 4)
    transposed = getattr(mx, f"conv_transpose{n}d")
    y = np.array(transposed(mx.array(x), mx.array(w), output_padding=1, **options))
    sizes = [(s - 1) * 2 - 2 + 2 * (k - 1) + 2 for s, k in zip(small, window)]
    assert y.shape == (2, *sizes, 6)
    z = normal(*y.shape)
    forward = getattr(mx, f"conv{n}d")
    back = mx.moveaxis(mx.array(w), 0, -1)  # [k, C, O] to [C, k, O]
    back = mx.moveaxis(back, -2, 0)
    u = np.array(forward(mx.array(z), back, **options))
    u = u[(slice(None), *(slice(0, s) for s in small))]
    assert (u * x).sum() == pytest.approx((y * z).sum(), rel=1e-3, abs=1e-3)


def test_dtypes():
    x, w = normal(2, 9, 4), normal(6, 3, 4)
    for dtype in (mx.float16, mx.bfloat16, mx.float64):
        y = mx.conv1d(mx.array(x).astype(dtype), mx.array(w).astype(dtype))
        assert y.dtype == dtype
        expected = reference(x, w, (1,), (0,), (0,), (1,), (1,), 1, False)
        np.testing.assert_allclose(np.array(y.astype(mx.float32)), expected, rtol=0.1, atol=0.1)


def test_errors():
    x, w = mx.ones((2, 9, 4)), mx.ones((6, 3, 4))
    for call, text in (
        (lambda: mx.conv1d(x[0], w), "dimensions"),
        (lambda: mx.conv2d(x, w), "dimensions"),
        (lambda: mx.conv1d(x, w[:, :, :3]), "channels"),
        (lambda: mx.conv1d(x, w, groups=3), "channels"),
        (lambda: mx.conv1d(x, w, groups=0), "groups"),
        (lambda: mx.conv1d(x, w, 0), "stride"),
        (lambda: mx.conv1d(x, w, dilation=0), "dilations"),
        (lambda: mx.conv1d(x, mx.ones((6, 10, 4))), "larger"),
        (lambda: mx.conv1d(x, w, padding=-5), "leave nothing"),
        (lambda: mx.conv_general(x, w, (1, 2)), "2 numbers for 1"),
        (lambda: _core._windows(x, 1, 10, 1), "longer"),
        (lambda: _core._windows(x, 1, 0, 1), "size"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError):
        mx.conv1d(x.astype(mx.int32), w.astype(mx.int32))
    with pytest.raises(IndexError):
        _core._windows(x, 3, 1, 1)


@pytest.mark.parametrize("size, step", [(1, 1), (3, 1), (2, 2), (3, 5), (4, 3), (9, 1), (2, 4)])
def test_windows(size, step):
    x = normal(2, 9, 3)
    expected = np.lib.stride_tricks.sliding_window_view(x, size, axis=1)[:, ::step]
    expected = np.moveaxis(expected, -1, 2)
    for made in (mx.array(x), mx.array(x) + 0):
        y = _core._windows(made, 1, size, step)
        assert (np.array(y) == expected).all()
    pull = normal(*expected.shape)
    g = mx.grad(lambda x: (_core._windows(x * 1, 1, size, step) * mx.array(pull)).sum())(
        mx.array(x)
    )
    back = np.zeros_like(x)
    for i in range(expected.shape[1]):
        back[:, i * step : i * step + size] += pull[:, i]
    np.testing.assert_allclose(np.array(g), back, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("stride, padding", [(None, 0), (1, 0), (2, 1)])
def test_pooling(n, stride, padding):
    shape = (7, 6, 5)[:n]
    x = normal(2, *shape, 3)
    step = stride or 3

    def pooled(x, outside, over):
        x = np.pad(x, [(0, 0), *((padding, padding),) * n, (0, 0)], constant_values=outside)
        windows = np.lib.stride_tricks.sliding_window_view(x, (3,) * n, axis=tuple(range(1, n + 1)))
        windows = windows[(slice(None), *(slice(None, None, step),) * n)]
        return over(windows, axis=tuple(range(-n, 0)))

    most = getattr(nn, f"MaxPool{n}d")(3, stride, padding)
    mean = getattr(nn, f"AvgPool{n}d")(3, stride, padding)
    assert most.state == {} and repr(most).startswith(f"MaxPool{n}d(kernel_size=(3")
    np.testing.assert_array_equal(np.array(most(mx.array(x))), pooled(x, -np.inf, np.max))
    np.testing.assert_allclose(
        np.array(mean(mx.array(x))), pooled(x, 0, np.mean), rtol=1e-4, atol=1e-6
    )
    whole = (x * 10).astype(np.int32)
    lowest = np.iinfo(np.int32).min
    np.testing.assert_array_equal(np.array(most(mx.array(whole))), pooled(whole, lowest, np.max))
    for wrong in ((3,) * (n + 1), "3"):
        with pytest.raises(ValueError):
            getattr(nn, f"MaxPool{n}d")(wrong)


def test_layers():
    x = normal(2, 9, 8, 4)
    layer = nn.Conv2d(4, 6, (2, 3), (1, 2), (0, 1), (2, 1), groups=2)
    layer.bias = mx.array(normal(6))
    w = np.array(layer.weight)
    assert w.shape == (6, 2, 3, 2)
    expected = reference(x, w, (1, 2), (0, 1), (0, 1), (2, 1), (1, 1), 2, False)
    np.testing.assert_allclose(
        np.array(layer(mx.array(x))), expected + np.array(layer.bias), rtol=1e-4, atol=1e-4
    )
    assert repr(nn.Conv1d(1, 2, 3, bias=False)) == (
        "Conv1d(1, 2, kernel_size=3, stride=1, padding=0, dilation=1, groups=1, bias=False)"
    )
    assert nn.ConvTranspose3d(4, 6, 3).weight.shape == (6, 3, 3, 3, 4)
    with pytest.raises(ValueError):
        nn.Conv2d(4, 6, 3, groups=3)


def test_upsample():
    x = np.arange(4, dtype=np.float32).reshape(1, 4, 1)

    def up(*options, **more):
        return np.array(nn.Upsample(*options, **more)(mx.array(x))).reshape(-1)

    assert up(2).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert up(1.5).tolist() == [0, 0, 1, 2, 2, 3] and up(0.5).tolist() == [0, 2]
    np.testing.assert_allclose(up(2, "linear"), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    np.testing.assert_allclose(up(2, "linear", True), np.linspace(0, 3, 8), rtol=1e-6)
    np.testing.assert_allclose(up(2, "cubic")[:2], [-0.10546875, 0.19140625], rtol=1e-5)
    image = normal(2, 3, 4, 5)
    y = np.array(nn.Upsample((2, 3))(mx.array(image)))
    assert (y == image.repeat(2, 1).repeat(3, 2)).all()
    for wrong in (
        lambda: nn.Upsample(2, "best"),
        lambda: nn.Upsample(2, antialias=True),
        lambda: nn.Upsample((2, 2))(mx.array(x)),
        lambda: nn.Upsample(2)(mx.array(x[0])),
    ):
        with pytest.raises(ValueError):
            wrong()
