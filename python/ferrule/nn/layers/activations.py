"""Activations: functions, each fused with what surrounds it, and modules that call them."""

import math
from typing import Callable, Type

import ferrule.core as mx
from ferrule.nn.layers.base import Module

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "HardShrink",
    "HardTanh",
    "Hardswish",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU2",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Step",
    "Tanh",
    "celu",
    "elu",
    "gelu",
    "gelu_approx",
    "gelu_fast_approx",
    "glu",
    "hard_shrink",
    "hard_tanh",
    "hardswish",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "prelu",
    "relu",
    "relu2",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "step",
    "tanh",
]


def sigmoid(x: mx.array) -> mx.array:
    """1 / (1 + exp(-x))."""
    return mx.sigmoid(x)


def relu(x: mx.array) -> mx.array:
    """The larger of x and 0."""
    return mx.maximum(x, 0)


def relu2(x: mx.array) -> mx.array:
    """relu(x) squared."""
    return mx.square(mx.maximum(x, 0))


def relu6(x: mx.array) -> mx.array:
    """x between 0 and 6."""
    return mx.minimum(mx.maximum(x, 0), 6.0)


def leaky_relu(x: mx.array, negative_slope: float = 0.01) -> mx.array:
    """x, times negative_slope below 0."""
    return mx.maximum(negative_slope * x, x)


def prelu(x: mx.array, alpha: mx.array) -> mx.array:
    """x, times alpha below 0."""
    return mx.maximum(0, x) + alpha * mx.minimum(0, x)


def elu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """x; alpha (exp(x) - 1) below 0."""
    return mx.where(x > 0, x, alpha * (mx.exp(x) - 1))


def celu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """x; alpha (exp(x / alpha) - 1) below 0."""
    return mx.maximum(x, 0.0) + alpha * (mx.exp(mx.minimum(x, 0.0) / alpha) - 1)


def selu(x: mx.array) -> mx.array:
    """elu(x, 1.67326) times 1.0507."""
    return elu(x, 1.67326) * 1.0507


def softplus(x: mx.array) -> mx.array:
    """log(1 + exp(x))."""
    return mx.logaddexp(x, 0)


def softmax(x: mx.array, axis: int = -1) -> mx.array:
    """exp(x) over its sum along an axis."""
    return mx.softmax(x, axis=axis)


def softmin(x: mx.array, axis: int = -1) -> mx.array:
    """softmax(-x)."""
    return mx.softmax(-x, axis=axis)


def log_softmax(x: mx.array, axis: int = -1) -> mx.array:
    """log(softmax(x)), without overflow."""
    return x - mx.logsumexp(x, axis=axis, keepdims=True)


def log_sigmoid(x: mx.array) -> mx.array:
    """log(sigmoid(x)), without overflow."""
    return -softplus(-x)


def softsign(x: mx.array) -> mx.array:
    """x / (1 + |x|)."""
    return mx.divide(x, 1 + mx.abs(x))


def softshrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """x moved by lambd towards 0; 0 where |x| is at most lambd."""
    return mx.where(mx.abs(x) > lambd, x - mx.sign(x) * lambd, 0)


def hard_shrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """x; 0 where |x| is at most lambd."""
    return mx.where(mx.abs(x) > lambd, x, 0)


def hard_tanh(x: mx.array, min_val: float = -1.0, max_val: float = 1.0) -> mx.array:
    """x between min_val and max_val."""
    return mx.minimum(mx.maximum(x, min_val), max_val)


def hardswish(x: mx.array) -> mx.array:
    """x times relu6(x + 3) / 6."""
    return x * mx.minimum(mx.maximum(x + 3, 0), 6) / 6


def tanh(x: mx.array) -> mx.array:
    """The hyperbolic tangent."""
    return mx.tanh(x)


def silu(x: mx.array) -> mx.array:
    """x times sigmoid(x)."""
    return x * mx.sigmoid(x)


def mish(x: mx.array) -> mx.array:
    """x times tanh(softplus(x))."""
    return x * mx.tanh(softplus(x))


def gelu(x: mx.array) -> mx.array:
    """Gaussian error linear unit: x times the normal distribution's cumulative function."""
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


def gelu_approx(x: mx.array) -> mx.array:
    """gelu by tanh: within 0.0005 of it."""
    return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_fast_approx(x: mx.array) -> mx.array:
    """x times sigmoid(1.702 x): within 0.02 of gelu."""
    return x * mx.sigmoid(1.702 * x)


def glu(x: mx.array, axis: int = -1) -> mx.array:
    """The first half along an axis times the sigmoid of the second."""
    if x.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} of {x.shape} has no two halves")
    first, second = mx.split(x, 2, axis=axis)
    return first * mx.sigmoid(second)


def step(x: mx.array, threshold: float = 0.0) -> mx.array:
    """1 above the threshold, else 0."""
    return mx.where(x > threshold, 1, 0)


def _without_arguments(name: str, function: Callable[..., mx.array]) -> Type[Module]:
    """A module class that calls a function of one array."""

    def __call__(self, x):
        return function(x)

    return type(
        name,
        (Module,),
        {
            "__call__": __call__,
            "__doc__": f"{function.__name__} as a module. {function.__doc__}",
            "__module__": __name__,
        },
    )


Sigmoid = _without_arguments("Sigmoid", sigmoid)
Mish = _without_arguments("Mish", mish)
ReLU = _without_arguments("ReLU", relu)
ReLU2 = _without_arguments("ReLU2", relu2)
ReLU6 = _without_arguments("ReLU6", relu6)
Softmax = _without_arguments("Softmax", softmax)
Softmin = _without_arguments("Softmin", softmin)
Softplus = _without_arguments("Softplus", softplus)
Softsign = _without_arguments("Softsign", softsign)
HardTanh = _without_arguments("HardTanh", hard_tanh)
Hardswish = _without_arguments("Hardswish", hardswish)
LogSigmoid = _without_arguments("LogSigmoid", log_sigmoid)
LogSoftmax = _without_arguments("LogSoftmax", log_softmax)
SELU = _without_arguments("SELU", selu)
SiLU = _without_arguments("SiLU", silu)
Tanh = _without_arguments("Tanh", tanh)


class GLU(Module):
    """glu as a module."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def __call__(self, x: mx.array) -> mx.array:
        return glu(x, axis=self.axis)


class LeakyReLU(Module):
    """leaky_relu as a module."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self._negative_slope = negative_slope

    def __call__(self, x: mx.array) -> mx.array:
        return leaky_relu(x, self._negative_slope)


class ELU(Module):
    """elu as a module."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha

    def __call__(self, x: mx.array) -> mx.array:
        return elu(x, self._alpha)


class CELU(Module):
    """celu as a module."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha

    def __call__(self, x: mx.array) -> mx.array:
        return celu(x, self._alpha)


class Softshrink(Module):
    """softshrink as a module."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def __call__(self, x: mx.array) -> mx.array:
        return softshrink(x, self.lambd)


class HardShrink(Module):
    """hard_shrink as a module."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def __call__(self, x: mx.array) -> mx.array:
        return hard_shrink(x, self.lambd)


class Step(Module):
    """step as a module."""

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def __call__(self, x: mx.array) -> mx.array:
        return step(x, self.threshold)


class PReLU(Module):
    """prelu whose alpha is learned: one for all features, or one for each."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.weight = mx.full((num_parameters,), init)

    def __call__(self, x: mx.array) -> mx.array:
        return prelu(x, self.weight)


class GELU(Module):
    """gelu as a module; approx: "none", "precise" (the same as "tanh") or "fast"."""

    def __init__(self, approx: str = "none") -> None:
        super().__init__()
        kinds = ["none", "precise", "tanh", "fast"]
        if approx not in kinds:
            raise ValueError(f"The approximation should be in {kinds} but '{approx}' was given")
        self._approx = approx

    def __call__(self, x: mx.array) -> mx.array:
        if self._approx == "none":
            return gelu(x)
        return gelu_fast_approx(x) if self._approx == "fast" else gelu_approx(x)
