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
