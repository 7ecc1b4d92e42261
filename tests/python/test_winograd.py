"""3x3 windows by squares (src/native/winograd.c) against sums in float64, for all shapes around a tile."""

import os
import subprocess
import sys

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def windows(x):
    """[N, H - 2, W - 2, C, 3, 3]"""
    return np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(1, 2))


def reference(x, w):
    return np.einsum("nhwcij,oijc->nhwo", windows(x), w.astype(np.float64), optimize=True)


def window_reference(x, g):
    return np.einsum("nhwcij,nhwo->oijc", windows(x), g.astype(np.float64), optimize=True)


def far(y, expected):
    """The largest error, of the largest number."""
    y = np.array(y)
    assert y.shape == expected.shape
    return np.abs(y - expected).max() / np.abs(expected).max()


# examples, height and width of the result, channels, filters
SHAPES = [
    (2, 28, 28, 32, 64),
    (1, 33, 47, 32, 32),
    (3, 14, 15, 48, 40),
    (5, 21, 13, 17, 33),
    (1, 1, 200, 64, 64),
    (1, 200, 1, 64, 64),
    (70, 5, 3, 40, 64),
    (1, 9, 8, 530, 48),
    (2, 12, 12, 200, 144),
]
SMALL = 2e-6  # of the largest result


@pytest.mark.parametrize("n, height, width, channels, filters", SHAPES)
def test_convolution(n, height, width, channels, filters):
    x, w = normal(n, height + 2, width + 2, channels), normal(filters, 3, 3, channels)
    expected = reference(x, w)
    y = mx.conv2d(mx.array(x), mx.array(w))
    assert far(y, expected) < SMALL
    # The same bits from transposed memory and for any number of threads.
    turned = mx.swapaxes(mx.array(np.ascontiguousarray(np.swapaxes(x, 1, 3))), 1, 3)
    assert (np.array(mx.conv2d(turned, mx.array(w))) == np.array(y)).all()
    mirrored = mx.array(np.ascontiguousarray(x[:, ::-1, ::-1]))[:, ::-1, ::-1]
    assert (np.array(mx.conv2d(mirrored, mx.array(w)[...])) == np.array(y)).all()
    before = mx.num_threads()
    try:
        for threads in (1, 3):
            mx.set_num_threads(threads)
            again = mx.compile(lambda x, w: mx.conv2d(x, w))(mx.array(x), mx.array(w))
            assert (np.array(again) == np.array(y)).all()
    finally:
        mx.set_num_threads(before)


@pytest.mark.parametrize("n, height, width, channels, filters", SHAPES)
def test_gradients(n, height, width, channels, filters):
    x, w = normal(n, height, width, channels), normal(filters, 3, 3, channels)
    pull = normal(n, height, width, filters)

    def loss(x, w):
        return (mx.conv2d(x, w, padding=1) * mx.array(pull)).sum()

    gx, gw = mx.compile(mx.grad(loss, (0, 1)))(mx.array(x), mx.array(w))
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    back = np.moveaxis(w[:, ::-1, ::-1], 0, -1)  # [i, j, C, O]
    assert far(gx, reference(np.pad(pull, around), np.moveaxis(back, 2, 0))) < SMALL
    assert far(gw, window_reference(np.pad(x, around), pull)) < 2 * SMALL


def test_what_follows_runs_on_its_rows():
    x, w, b = mx.array(normal(4, 29, 23, 32)), mx.array(normal(64, 3, 3, 32)), normal(64)
    f = mx.compile(lambda x, w, b: nn.relu(mx.conv2d(x, w) + b))
    y = np.array(f(x, w, mx.array(b)))
    assert (y == np.maximum(np.array(mx.conv2d(x, w)) + b, 0)).all()


def kernels(f):
    return [k["ops"] for k in mx.explain(f, as_dict=True)[-1]["kernels"]]


def test_padding_is_nowhere_in_memory():
    x, w = normal(3, 19, 23, 32), normal(64, 3, 3, 32)
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    expected = reference(np.pad(x, around), w)
    f = mx.compile(lambda x, w: nn.relu(mx.conv2d(x * 1, w, padding=1)))
    assert far(f(mx.array(x), mx.array(w)), np.maximum(expected, 0)) < SMALL
    assert len(kernels(f)) == 1
    # Where others read it, it is.
    f = mx.compile(lambda x, w: (mx.conv2d(p := mx.pad(x, around, constant_values=0), w), p * 2))
    y, double = f(mx.array(x), mx.array(w))
    assert far(y, expected) < SMALL and (np.array(double) == 2 * np.pad(x, around)).all()
    # Other numbers around are not left out.
    f = mx.compile(lambda x, w: mx.conv2d(mx.pad(x, around, constant_values=2), w))
    expected = reference(np.pad(x, around, constant_values=2), w)
    assert far(f(mx.array(x), mx.array(w)), expected) < SMALL
    # Unequal, and a part of the result.
    f = mx.compile(
        lambda x, w: mx.conv2d(mx.pad(x, ((0, 0), (0, 3), (2, 0), (0, 0))), w)[:, 1:17, 3:]
    )
    expected = reference(np.pad(x, ((0, 0), (0, 3), (2, 0), (0, 0))), w)[:, 1:17, 3:]
    assert far(f(mx.array(x), mx.array(w)), expected) < SMALL
    assert len(kernels(f)) == 1


def test_infinities_stay_where_they_are():
    x, w = normal(2, 30, 30, 32), normal(64, 3, 3, 32)
    x[0, 5, 6, 3], x[1, 16, 13, 7], x[1, 0, 29, 0] = np.inf, np.nan, -np.inf
    y = np.array(mx.conv2d(mx.array(x), mx.array(w)))
    with np.errstate(invalid="ignore"):
        assert (np.isfinite(y) == np.isfinite(reference(x, w))).all()


PROGRAM = """
import ferrule.core as mx
import numpy as np
rng = np.random.default_rng(7)
x, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 30, 30, 32), (64, 3, 3, 32)))
print(np.array(mx.conv2d(mx.array(x), mx.array(w))).tobytes().hex())
"""


def test_setting():
    """Off, sums are those of the products: not the same bits, and all the same as of blocks of k."""
    texts = {}
    for value in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "FERRULE_WINOGRAD": value},
            capture_output=True,
            check=True,
            text=True,
        )
        texts[value] = np.frombuffer(bytes.fromhex(done.stdout.strip()), np.float32)
    assert (texts["0"] != texts["1"]).any()
    np.testing.assert_allclose(texts["0"], texts["1"], rtol=0, atol=1e-4)
