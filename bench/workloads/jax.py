"""The workloads in JAX, under jax.jit."""

import math

import jax
import jax.numpy as jnp
import numpy

VERSION = jax.__version__
VARIANTS = {"compile": jax.jit}


def gelu_erf(x):
    return x * (1 + jax.lax.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def softmax(x):
    e = jnp.exp(x - jnp.max(x, axis=-1, keepdims=True))
    return e / jnp.sum(e, axis=-1, keepdims=True)


def layer_norm(x):
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5)


def random(shape):
    return jax.random.uniform(jax.random.key(0), shape).block_until_ready()


def from_floats(floats):
    return jnp.asarray(numpy.frombuffer(floats, dtype=numpy.float32)).block_until_ready()


def repeat(program, x, n):
    for _ in range(n):
        program(x).block_until_ready()


def repeat_add(a, b, n):
    for _ in range(n):
        (a + b).block_until_ready()


PROGRAMS = {
    "gelu_erf": gelu_erf,
    "gelu_tanh": gelu_tanh,
    "softmax": softmax,
    "layer_norm": layer_norm,
    "sum_all": lambda x: jnp.sum(x),
    "sum_axis0": lambda x: jnp.sum(x, axis=0),
    "sum_axis1": lambda x: jnp.sum(x, axis=1),
    "var_axis0": lambda x: jnp.var(x, axis=0),
    "gelu_64": gelu_erf,
}
