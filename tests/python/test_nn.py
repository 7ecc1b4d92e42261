"""ferrule.nn against its definitions."""

import math

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest

X = np.linspace(-6, 6, 1001).astype(np.float32)
ERF = np.array([math.erf(v / math.sqrt(2)) for v in X.astype(np.float64)])


@pytest.mark.parametrize(
    "name, expected",
    [
        ("gelu", X * (1 + ERF) / 2),
        ("gelu_approx", 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))),
        ("relu", np.maximum(X, 0)),
        ("sigmoid", 1 / (1 + np.exp(-X))),
        ("silu", X / (1 + np.exp(-X))),
        ("softmax", np.exp(X - X.max()) / np.exp(X - X.max()).sum()),
    ],
)
def test_functions(name, expected):
    function = getattr(nn, name)
    np.testing.assert_allclose(np.array(function(mx.array(X))), expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(
        np.array(mx.compile(function)(mx.array(X))), expected, rtol=1e-5, atol=2e-6
    )


def test_gelu_is_one_kernel():
    f = mx.compile(nn.gelu)
    x = mx.random.uniform(shape=(32, 100, 64))
    mx.eval(f(x))
    before = mx.kernel_count()
    mx.eval(f(x))
    assert mx.kernel_count() - before == 1
    before = mx.kernel_count()
    mx.eval(nn.gelu(x))
    assert mx.kernel_count() - before == 1


def layer_norm(x, weight, bias):
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered * mx.rsqrt(x.var(axis=-1, keepdims=True) + 1e-5) * weight + bias


def softmax(x):
    e = mx.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("n", [1, 7, 1000, 5000])
def test_rows_are_one_kernel(n):
    values = np.random.default_rng(0).normal(size=(33, n)).astype(np.float32)
    x, w, b = mx.array(values), mx.random.normal((n,)), mx.random.normal((n,))
    mx.eval(w, b)
    before = mx.kernel_count()
    ours = softmax(x)
    mx.eval(ours)
    assert mx.kernel_count() - before == 1
    e = np.exp(values - values.max(-1, keepdims=True).astype(np.float64))
    np.testing.assert_allclose(np.array(ours), e / e.sum(-1, keepdims=True), rtol=1e-5, atol=1e-7)
    before = mx.kernel_count()
    ours = layer_norm(x, w, b)
    mx.eval(ours)
    assert mx.kernel_count() - before == 1
    v = values.astype(np.float64)
    v = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(np.array(ours), v * np.array(w) + np.array(b), rtol=1e-4, atol=1e-5)
