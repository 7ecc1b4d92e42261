"""The programs as a user of MLX writes them; `make(mx)` gives them for that mx."""

import math


def make(mx):
    def gelu_erf(x):
        return x * (1 + mx.erf(x / math.sqrt(2))) / 2

    def gelu_tanh(x):
        return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    def softmax(x):
        e = mx.exp(x - mx.max(x, axis=-1, keepdims=True))
        return e / mx.sum(e, axis=-1, keepdims=True)

    def layer_norm(x):
        mean = mx.mean(x, axis=-1, keepdims=True)
        variance = mx.var(x, axis=-1, keepdims=True)
        return (x - mean) * mx.rsqrt(variance + 1e-5)

    def random(shape):
        x = mx.random.uniform(shape=shape)
        mx.eval(x)
        return x

    def from_floats(floats):
        x = mx.array(memoryview(floats))
        mx.eval(x)
        return x

    def repeat(program, x, n):
        for _ in range(n):
            mx.eval(program(x))

    def repeat_add(a, b, n):
        for _ in range(n):
            mx.eval(a + b)

    programs = {
        "gelu_erf": gelu_erf,
        "gelu_tanh": gelu_tanh,
        "softmax": softmax,
        "layer_norm": layer_norm,
        "sum_all": lambda x: mx.sum(x),
        "sum_axis0": lambda x: mx.sum(x, axis=0),
        "sum_axis1": lambda x: mx.sum(x, axis=1),
        "var_axis0": lambda x: mx.var(x, axis=0),
        "gelu_64": gelu_erf,
    }
    return {
        "PROGRAMS": programs,
        "random": random,
        "from_floats": from_floats,
        "repeat": repeat,
        "repeat_add": repeat_add,
    }


def adapter(mx, compiled):
    """What steps.py is written over."""

    class Adapter:
        exp, log, abs, sqrt, maximum, mean = mx.exp, mx.log, mx.abs, mx.sqrt, mx.maximum, mx.mean
        sum, transpose, tanh = mx.sum, mx.transpose, mx.tanh

        @staticmethod
        def cast(x, dtype):
            return x.astype(getattr(mx, dtype))

        @staticmethod
        def reduce(name, x, axis):
            return getattr(mx, name)(x, axis=axis)

        @staticmethod
        def max_last(x):
            return mx.max(x, axis=-1, keepdims=True)

        @staticmethod
        def sum_last(x):
            return mx.sum(x, axis=-1, keepdims=True)

        @staticmethod
        def tensor(floats, shape):
            return mx.array(memoryview(floats)).reshape(shape) * 1

        @staticmethod
        def integers(values):
            return mx.array(values)

        @staticmethod
        def relu(x):
            return mx.maximum(x, 0)

        @staticmethod
        def gelu(x):
            return x * (1 + mx.erf(x / math.sqrt(2))) / 2

        @staticmethod
        def attention(q, k, v):
            scale = 1 / math.sqrt(q.shape[-1])
            return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask="causal")

        @staticmethod
        def logsumexp(x):
            return mx.logsumexp(x, axis=-1)

        @staticmethod
        def pick(x, y):
            return mx.take_along_axis(x, y[:, None], axis=-1)[:, 0]

        @staticmethod
        def rows(table, indices):
            return table[indices]

        @staticmethod
        def conv(x, w):
            return mx.conv2d(x, w, padding=1)

        @staticmethod
        def mean_axes(x, axes):
            return mx.mean(x, axis=axes)

        @staticmethod
        def mean_last(x):
            return mx.mean(x, axis=-1, keepdims=True)

        @staticmethod
        def value_and_grad(loss, parameters, *rest):
            return mx.value_and_grad(loss)(parameters, *rest)

        @staticmethod
        def wrap(program):
            return mx.compile(program) if compiled else program

        @staticmethod
        def wait(results):
            mx.eval(results)

    return Adapter


def in_place(mx, program, state, kept):
    """A call of the program, its first arguments and results captured state."""
    held, rest = state[:kept], state[kept:]
    del state[:]

    def step(*rest):
        results = program(*held, *rest)
        held[:] = results[:kept]
        return results[kept:]

    step = mx.compile(step, inputs=held, outputs=held)

    def call():
        mx.eval(step(*rest), held)

    return call
