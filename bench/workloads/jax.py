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


def adapter(_):
    """What steps.py is written over."""

    class Adapter:
        exp, log, abs, sqrt, maximum, mean = (
            jnp.exp,
            jnp.log,
            jnp.abs,
            jnp.sqrt,
            jnp.maximum,
            jnp.mean,
        )
        sum, transpose, relu, wrap = jnp.sum, jnp.transpose, jax.nn.relu, jax.jit
        tanh = jnp.tanh

        @staticmethod
        def cast(x, dtype):
            return x.astype(dtype)

        @staticmethod
        def reduce(name, x, axis):
            return getattr(jnp, name)(x, axis=axis)

        @staticmethod
        def max_last(x):
            return jnp.max(x, axis=-1, keepdims=True)

        @staticmethod
        def sum_last(x):
            return jnp.sum(x, axis=-1, keepdims=True)

        @staticmethod
        def tensor(floats, shape):
            return jnp.array(numpy.frombuffer(floats, dtype=numpy.float32).reshape(shape))

        @staticmethod
        def integers(values):
            return jnp.array(values)

        @staticmethod
        def gelu(x):
            return gelu_erf(x)

        @staticmethod
        def attention(q, k, v):
            # [batch, length, heads, width] is this function's order
            order = (0, 2, 1, 3)
            q, k, v = (jnp.transpose(x, order) for x in (q, k, v))
            return jnp.transpose(jax.nn.dot_product_attention(q, k, v, is_causal=True), order)

        @staticmethod
        def logsumexp(x):
            return jax.nn.logsumexp(x, axis=-1)

        @staticmethod
        def pick(x, y):
            return jnp.take_along_axis(x, y[:, None], axis=-1)[:, 0]

        @staticmethod
        def rows(table, indices):
            return table[indices]

        @staticmethod
        def conv(x, w):
            return jax.lax.conv_general_dilated(
                x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "OHWI", "NHWC")
            )

        @staticmethod
        def mean_axes(x, axes):
            return jnp.mean(x, axis=axes)

        @staticmethod
        def mean_last(x):
            return jnp.mean(x, axis=-1, keepdims=True)

        @staticmethod
        def value_and_grad(loss, parameters, *rest):
            return jax.value_and_grad(loss)(parameters, *rest)

        @staticmethod
        def wait(results):
            jax.block_until_ready(results)

    return Adapter


def analysis(program, state, donated):
    """Bytes that the compiled program has at once, as XLA's plan tells it."""
    compiled = jax.jit(program, donate_argnums=range(donated)).lower(*state).compile()
    plan = compiled.memory_analysis()
    return (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
    )


def in_place(program, state, kept):
    program = jax.jit(program, donate_argnums=range(kept))

    def call():
        results = jax.block_until_ready(program(*state))
        state[:kept] = results[:kept]

    return call
