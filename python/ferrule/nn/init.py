"""Initializers: functions that make a function of an array, which gives one of its shape."""

import math
from typing import Callable

import ferrule.core as mx

Initializer = Callable[..., mx.array]


def constant(value: float, dtype: mx.Dtype = mx.float32) -> Initializer:
    """value everywhere."""
    return lambda a: mx.full(a.shape, value, dtype=dtype)


def normal(mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Normally distributed."""
    return lambda a: mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)


def uniform(low: float = 0.0, high: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Spread evenly from low to high."""
    return lambda a: mx.random.uniform(low, high, a.shape, dtype=dtype)


def identity(dtype: mx.Dtype = mx.float32) -> Initializer:
    """The identity matrix."""

    def initializer(a):
        if a.ndim != 2 or a.shape[0] != a.shape[1]:
            raise ValueError(f"The input array must be a square matrix but got shape {a.shape}.")
        return mx.eye(a.shape[0], dtype=dtype)

    return initializer


def _fans(a):
    """How many inputs and outputs a weight [out, ..., in] has."""
    if a.ndim < 2:
        raise ValueError(
            "Glorot / He initialization requires at least 2 dimensional input but input with "
            f"{a.ndim} dimensions."
        )
    window = math.prod(a.shape[1:-1])
    return a.shape[-1] * window, a.shape[0] * window


def _fan(a, mode):
    fan_in, fan_out = _fans(a)
    if mode == "fan_in":
        return fan_in
    if mode == "fan_out":
        return fan_out
    raise ValueError(f"Invalid mode: {mode}. Valid modes are: fan_in, fan_out")


def glorot_normal(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Normal with variance 2 gain^2 / (inputs + outputs)."""

    def initializer(a, gain: float = 1.0):
        std = gain * math.sqrt(2.0 / sum(_fans(a)))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def glorot_uniform(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Even with variance 2 gain^2 / (inputs + outputs)."""

    def initializer(a, gain: float = 1.0):
        limit = gain * math.sqrt(6.0 / sum(_fans(a)))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


def he_normal(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Normal with variance gain^2 / inputs, or outputs by mode="fan_out"."""

    def initializer(a, mode="fan_in", gain: float = 1.0):
        std = gain / math.sqrt(_fan(a, mode))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def he_uniform(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Even with variance gain^2 / inputs, or outputs by mode="fan_out"."""

    def initializer(a, mode="fan_in", gain: float = 1.0):
        limit = gain * math.sqrt(3.0 / _fan(a, mode))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


def sparse(
    sparsity: float, mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Initializer:
    """Normal, with a share `sparsity` of each row, chosen at random and rounded up, 0."""

    def initializer(a):
        if a.ndim != 2:
            raise ValueError("Only tensors with 2 dimensions are supported")
        zeros = math.ceil(sparsity * a.shape[1])
        order = mx.argsort(mx.random.uniform(shape=a.shape), axis=1)
        rank = mx.argsort(order, axis=1)
        values = mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)
        return mx.where(rank < zeros, mx.zeros((), dtype), values)

    return initializer


def orthogonal(gain: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """gain times rows or columns, whichever are fewer, that are orthonormal."""

    def initializer(a):
        if a.ndim != 2:
            raise ValueError(
                f"Orthogonal initialization requires a 2D array but got a {a.ndim}D array."
            )
        rows, columns = a.shape
        x = mx.random.normal(shape=(min(rows, columns), max(rows, columns)))
        # The polar factor of normal numbers is orthogonal and spread evenly, as that of a QR
        # decomposition is. Newton's iteration finds it: each singular value s, at most 1 by the
        # first line, becomes s (3 - s^2) / 2 until it is 1.
        x = x / mx.sqrt(mx.sum(x * x))
        for _ in range(12 + 2 * max(rows, columns).bit_length()):
            x = 1.5 * x - 0.5 * (x @ x.T) @ x
            mx.eval(x)
        if rows > columns:
            x = x.T
        return (x * gain).astype(dtype)

    return initializer
