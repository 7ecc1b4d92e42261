"""The gradient of one element taken from each row: no scatter, so it fuses with what comes after."""

import ferrule.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize(
    "shape, axis",
    [((5, 7), 1), ((5, 7), 0), ((3, 4, 5), 1), ((3, 1, 5), 1), ((6,), 0), ((2, 3, 17), -1)],
)
def test_gradients_of_every_axis(shape, axis):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    one = list(shape)
    one[axis] = 1
    i = rng.integers(-shape[axis], shape[axis], one)
    w = rng.standard_normal(one).astype(np.float32)

    def f(x):
        return (mx.take_along_axis(x * 2, mx.array(i), axis=axis) ** 2 * mx.array(w)).sum()

    def expected(x):
        to = np.zeros_like(x)
        np.put_along_axis(to, i, 8 * np.take_along_axis(x, i, axis) * w, axis)
        return to

    grad = mx.grad(f)
    for call in (grad, mx.compile(grad)):
        assert np.allclose(np.array(call(mx.array(x))), expected(x), rtol=1e-6)
    both = np.array(mx.vmap(grad)(mx.array(np.stack([x, 3 * x]))))
    assert np.allclose(both[0], expected(x), rtol=1e-6)
    assert np.allclose(both[1], expected(3 * x), rtol=1e-6)
    second = np.zeros_like(x)
    np.put_along_axis(second, i, 128 * np.take_along_axis(x, i, axis) * w * w, axis)
    twice = mx.grad(lambda x: (grad(x) ** 2).sum())(mx.array(x))
    assert np.allclose(np.array(twice), second, rtol=1e-5)


def test_nothing_and_infinity_stay_in_their_place():
    x = mx.array([[1.0, mx.inf, 2.0], [mx.nan, 3.0, 4.0]])
    grad = mx.grad(lambda x: mx.take_along_axis(x * x, mx.array([[1], [0]]), axis=1).sum())(x)
    assert np.array_equal(np.array(grad), [[0, np.inf, 0], [np.nan, 0, 0]], equal_nan=True)


@pytest.mark.cpu_only("counts kernels")
def test_a_cross_entropy_scatters_nothing():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((64, 50)).astype(np.float32)
    y = rng.integers(0, 50, 64)

    def loss(x, y):
        picked = mx.take_along_axis(x, y[:, None], axis=-1)[:, 0]
        return (mx.logsumexp(x, axis=-1) - picked).mean()

    step = mx.compile(mx.value_and_grad(loss))
    arguments = mx.array(x), mx.array(y)
    value, grad = step(*arguments)
    e = np.exp(x.astype(np.float64))
    p = e / e.sum(-1, keepdims=True)
    assert np.allclose(float(value), -np.log(p[np.arange(64), y]).mean(), rtol=1e-6)
    p[np.arange(64), y] -= 1
    assert np.allclose(np.array(grad), p / 64, atol=1e-7)
    before = mx.kernel_count()
    mx.eval(step(*arguments))
    assert mx.kernel_count() - before <= 3
