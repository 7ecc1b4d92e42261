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
