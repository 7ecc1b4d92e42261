"""The workloads in PyTorch, in inference mode: torch.compile, eager and built in."""

import math

import torch

VERSION = torch.__version__
# One compilation a shape: the default would turn to dynamic shapes at the second one.
VARIANTS = {
    "compile": lambda program: torch.compile(program, dynamic=False),
    "eager": lambda program: program,
    "built in": lambda program: BUILT_IN.get(program),
}

INFERENCE = torch.inference_mode()
INFERENCE.__enter__()


def gelu_erf(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def softmax(x):
    e = torch.exp(x - torch.amax(x, dim=-1, keepdim=True))
    return e / torch.sum(e, dim=-1, keepdim=True)


def layer_norm(x):
    mean = torch.mean(x, dim=-1, keepdim=True)
    variance = torch.var(x, dim=-1, keepdim=True, correction=0)
    return (x - mean) * torch.rsqrt(variance + 1e-5)


def random(shape):
    return torch.rand(shape)


def from_floats(floats):
    return torch.frombuffer(floats, dtype=torch.float32)


def repeat(program, x, n):
    for _ in range(n):
        program(x)


def repeat_add(a, b, n):
    for _ in range(n):
        a + b


BUILT_IN = {
    gelu_erf: torch.nn.functional.gelu,
    gelu_tanh: lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    softmax: lambda x: torch.nn.functional.softmax(x, dim=-1),
    layer_norm: lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
}

PROGRAMS = {
    "gelu_erf": gelu_erf,
    "gelu_tanh": gelu_tanh,
    "softmax": softmax,
    "layer_norm": layer_norm,
    "sum_all": lambda x: torch.sum(x),
    "sum_axis0": lambda x: torch.sum(x, dim=0),
    "sum_axis1": lambda x: torch.sum(x, dim=1),
    "var_axis0": lambda x: torch.var(x, dim=0, correction=0),
    "gelu_64": gelu_erf,
}


def adapter(variant):
    """What steps.py is written over."""
    INFERENCE.__exit__(None, None, None)
    functional = torch.nn.functional

    class Adapter:
        exp, log, abs, sqrt, maximum, mean = (
            torch.exp,
            torch.log,
            torch.abs,
            torch.sqrt,
            torch.maximum,
            torch.mean,
        )
        sum, relu, gelu, tanh = torch.sum, torch.relu, functional.gelu, torch.tanh

        @staticmethod
        def cast(x, dtype):
            return x.to(getattr(torch, dtype))

        @staticmethod
        def reduce(name, x, axis):
            if name == "var":
                return torch.var(x, dim=axis, correction=0)
            if axis is None:
                return getattr(torch, name)(x)
            return getattr(torch, "amax" if name == "max" else name)(x, dim=axis)

        @staticmethod
        def max_last(x):
            return torch.amax(x, dim=-1, keepdim=True)

        @staticmethod
        def sum_last(x):
            return torch.sum(x, dim=-1, keepdim=True)

        @staticmethod
        def tensor(floats, shape):
            return torch.frombuffer(floats, dtype=torch.float32).reshape(shape).clone()

        @staticmethod
        def integers(values):
            return torch.tensor(values)

        @staticmethod
        def transpose(x, axes):
            return x.permute(axes)

        @staticmethod
        def attention(q, k, v):
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        @staticmethod
        def logsumexp(x):
            return torch.logsumexp(x, -1)

        @staticmethod
        def pick(x, y):
            return torch.gather(x, 1, y[:, None])[:, 0]

        @staticmethod
        def rows(table, indices):
            return table[indices]

        @staticmethod
        def conv(x, w):
            y = functional.conv2d(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), padding=1)
            return y.permute(0, 2, 3, 1)

        @staticmethod
        def mean_axes(x, axes):
            return torch.mean(x, dim=axes)

        @staticmethod
        def mean_last(x):
            return torch.mean(x, dim=-1, keepdim=True)

        @staticmethod
        def value_and_grad(loss, parameters, *rest):
            parameters = [p.detach().requires_grad_() for p in parameters]
            value = (torch.compile(loss, dynamic=False) if variant == "compile" else loss)(
                parameters, *rest
            )
            return value.detach(), torch.autograd.grad(value, parameters)

        @staticmethod
        def wrap(program):
            # where there are gradients, value_and_grad compiles what is differentiated
            if variant == "compile" and not getattr(program, "differentiates", False):
                program = torch.compile(program, dynamic=False)

            def run(*arguments):
                return [x.detach() for x in program(*arguments)]

            return run

        @staticmethod
        def wait(results):
            pass

    return Adapter
