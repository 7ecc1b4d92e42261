"""Optimizers: from gradients to new parameters.

The state is a dict: "step", "learning_rate" and whatever else has a schedule, and, in the form of
the parameters' tree, a dict for each parameter. It is filled by init, or by the first update; the
dict itself stays, so `compile` can capture it before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple, Union

import ferrule.core as mx
from ferrule.utils import tree_flatten, tree_map, tree_merge, tree_reduce, tree_unflatten

if TYPE_CHECKING:
    from ferrule.nn import Module

__all__ = [
    "AdaDelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "MultiOptimizer",
    "Muon",
    "Optimizer",
    "RMSprop",
    "SGD",
    "clip_grad_norm",
]

Rate = Union[float, Callable]


class Optimizer:
    """The base class: what is done to one parameter is apply_single's, of classes derived."""

    def __init__(self, schedulers: Optional[Dict[str, Callable]] = None) -> None:
        self._initialized = False
        self._state = {"step": mx.array(0, mx.uint64)}
        self._schedulers = dict(schedulers or {})

    def update(self, model: Module, gradients: Dict[str, Any]) -> None:
        """Gives the model new parameters."""
        model.update(self.apply_gradients(gradients, model))

    def init(self, parameters: Dict[str, Any]) -> None:
        """Fills the state for a tree of parameters; the first update does it otherwise."""
        self._fill(parameters, self._state)
        self._initialized = True

    def _fill(self, parameters, state):
        """Adds to a dict or list of state what the parameters have and it has not."""
        if isinstance(parameters, dict):
            items = parameters.items()
        else:
            items = enumerate(parameters)
            state.extend({} for _ in range(len(parameters) - len(state)))
        for key, parameter in items:
            if isinstance(parameter, (list, tuple)):
                if isinstance(state, dict):
                    state.setdefault(key, [])
                elif not state[key]:
                    state[key] = []
                self._fill(parameter, state[key])
                continue
            here = state.setdefault(key, {}) if isinstance(state, dict) else state[key]
            if isinstance(parameter, dict):
                self._fill(parameter, here)
            elif not here:
                self.init_single(parameter, here)

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        """Fills the state of one parameter, a dict."""
        raise NotImplementedError()

    def apply_gradients(
        self, gradients: Dict[str, Any], parameters: Dict[str, Any]
    ) -> Dict[str, Any]:
        """The new parameters, a tree as that of the gradients; parameters may hold more."""
        if not self._initialized:
            self.init(gradients)
        for name, schedule in self._schedulers.items():
            self.state[name] = schedule(self.step)
        self.state["step"] = self.step + 1
        return tree_map(self.apply_single, gradients, parameters, self.state)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        """The new value of one parameter; changes its state."""
        raise NotImplementedError()

    @property
    def state(self) -> Dict[str, Any]:
        """The dict of everything that changes from step to step."""
        return self._state

    @state.setter
    def state(self, state: Dict[str, Any]) -> None:
        self._initialized = False
        self._state = state

    @property
    def step(self) -> mx.array:
        return self.state["step"]

    @property
    def learning_rate(self) -> mx.array:
        return self.state["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, learning_rate: Union[float, mx.array]) -> None:
        self.state["learning_rate"] = mx.array(learning_rate)

    def _not_negative(self, **values):
        for name, value in values.items():
            if value < 0:
                raise ValueError(
                    f"{type(self).__name__} {name} should be >=0, {value} was provided instead"
                )

    def _check_betas(self, betas):
        name = type(self).__name__
        if len(betas) != 2:
            raise ValueError(f"{name} betas should be 2 numbers, {betas} was provided instead")
        for i, beta in enumerate(betas, 1):
            if not 0 <= beta < 1:
                raise ValueError(f"{name} beta{i} should be in [0, 1), {beta} was provided instead")

    def _maybe_schedule(self, name, value):
        """A number is kept in the state as it is, a schedule's value from step to step."""
        if callable(value):
            self._schedulers[name] = value
            value = value(self.step)
        else:
            value = mx.array(value)
        self.state[name] = value


class MultiOptimizer(Optimizer):
    """Several optimizers: each updates the parameters for which its filter, a function of path
    and gradient, is the first that is true; the last, which has none, updates the others."""

    def __init__(self, optimizers: List[Optimizer], filters: list = []) -> None:
        super().__init__()
        self._state = {}
        if len(filters) != len(optimizers) - 1:
            raise ValueError(f"Given {len(filters)} filters but {len(optimizers) - 1} needed.")
        self.optimizers = optimizers
        self.filters = filters + [lambda *args: True]

    def _split(self, gradients):
        """The tree in parts, one for each optimizer."""
        parts = [[] for _ in self.optimizers]
        for path, gradient in tree_flatten(gradients):
            chosen = next(i for i, accepts in enumerate(self.filters) if accepts(path, gradient))
            parts[chosen].append((path, gradient))
        return [tree_unflatten(part) if part else {} for part in parts]

    def init(self, parameters: Dict[str, Any]) -> None:
        for optimizer, part in zip(self.optimizers, self._split(parameters)):
            optimizer.init(part)

    def apply_gradients(
        self, gradients: Dict[str, Any], parameters: Dict[str, Any]
    ) -> Dict[str, Any]:
        result = {}
        for optimizer, part in zip(self.optimizers, self._split(gradients)):
            result = tree_merge(result, optimizer.apply_gradients(part, parameters))
        return result

    @property
    def state(self) -> Dict[str, Any]:
        return {"states": [optimizer.state for optimizer in self.optimizers]}

    @state.setter
    def state(self, state: Dict[str, Any]) -> None:
        if len(state.get("states", ())) != len(self.optimizers):
            raise ValueError("Invalid state provided")
        for optimizer, part in zip(self.optimizers, state["states"]):
            optimizer.state = part

    @property
    def learning_rate(self) -> mx.array:
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Union[float, mx.array]) -> None:
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, dampening, weight decay and Nesterov's form."""

    def __init__(
        self,
        learning_rate: Rate,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening.")
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.dampening = dampening
        self.nesterov = nesterov

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        if self.momentum <= 0:
            return parameter - rate * gradient
        added = (1 - self.dampening) * gradient if self.dampening > 0 else gradient
        v = self.momentum * state["v"] + added
        state["v"] = v
        return parameter - rate * (gradient + self.momentum * v if self.nesterov else v)


class RMSprop(Optimizer):
    """Gradients over the root of the running mean of their squares."""

    def __init__(self, learning_rate: Rate, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__()
        self._not_negative(alpha=alpha, epsilon=eps)
        self._maybe_schedule("learning_rate", learning_rate)
        self.alpha = alpha
        self.eps = eps

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        v = self.alpha * state["v"] + (1 - self.alpha) * mx.square(gradient)
        state["v"] = v
        return parameter - rate * gradient / (mx.sqrt(v) + self.eps)


class Adagrad(Optimizer):
    """Gradients over the root of the sum of their squares."""

    def __init__(self, learning_rate: Rate, eps: float = 1e-8) -> None:
        super().__init__()
        self._not_negative(epsilon=eps)
        self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        v = state["v"] + mx.square(gradient)
        state["v"] = v
        return parameter - rate * gradient / (mx.sqrt(v) + self.eps)


class AdaDelta(Optimizer):
    """Gradients scaled by the ratio of the running sizes of updates and gradients."""

    def __init__(self, learning_rate: Rate, rho: float = 0.9, eps: float = 1e-6) -> None:
        super().__init__()
        self._not_negative(rho=rho, epsilon=eps)
        self._maybe_schedule("learning_rate", learning_rate)
        self.rho = rho
        self.eps = eps

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)
        state["u"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        v = self.rho * state["v"] + (1 - self.rho) * mx.square(gradient)
        d = mx.sqrt(state["u"] + self.eps) / mx.sqrt(v + self.eps) * gradient
        state["v"] = v
        state["u"] = self.rho * state["u"] + (1 - self.rho) * mx.square(d)
        return parameter - rate * d


class Adam(Optimizer):
    """Running means of gradients over the roots of those of their squares."""

    def __init__(
        self,
        learning_rate: Rate,
        betas: List[float] = [0.9, 0.999],
        eps: float = 1e-8,
        bias_correction: bool = False,
    ) -> None:
        super().__init__()
        self._check_betas(betas)
        self._not_negative(epsilon=eps)
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = betas
        self.eps = eps
        self.bias_correction = bias_correction

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        state["m"] = mx.zeros_like(parameter)
        state["v"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = b2 * state["v"] + (1 - b2) * mx.square(gradient)
        state["m"], state["v"] = m, v
        if not self.bias_correction:
            return parameter - rate * m / (mx.sqrt(v) + self.eps)
        c1 = (rate / (1 - b1**self.step)).astype(gradient.dtype)
        c2 = mx.rsqrt(1 - b2**self.step).astype(gradient.dtype)
        return parameter - c1 * m / (mx.sqrt(v) * c2 + self.eps)


class AdamW(Adam):
    """Adam with weight decay that doesn't go through the moments."""

    def __init__(
        self,
        learning_rate: Rate,
        betas: List[float] = [0.9, 0.999],
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        bias_correction: bool = False,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, betas=betas, eps=eps, bias_correction=bias_correction
        )
        self.weight_decay = weight_decay

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        return super().apply_single(gradient, parameter * (1 - rate * self.weight_decay), state)


class Adamax(Adam):
    """Adam with the largest gradient of late in place of the root of squares."""

    def __init__(
        self, learning_rate: Rate, betas: List[float] = [0.9, 0.999], eps: float = 1e-8
    ) -> None:
        super().__init__(learning_rate, betas, eps)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = mx.maximum(b2 * state["v"], mx.abs(gradient))
        state["m"], state["v"] = m, v
        return parameter - rate * m / (v + self.eps)


class Lion(Optimizer):
    """Steps of equal size by the sign of a running mean of gradients."""

    def __init__(
        self, learning_rate: Rate, betas: List[float] = [0.9, 0.99], weight_decay: float = 0.0
    ) -> None:
        super().__init__()
        self._check_betas(betas)
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = betas
        self.weight_decay = weight_decay

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        state["m"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        b1, b2 = self.betas
        m = state["m"]
        direction = b1 * m + (1 - b1) * gradient
        state["m"] = b2 * m + (1 - b2) * gradient
        if self.weight_decay > 0:
            parameter = (1 - rate * self.weight_decay) * parameter
        return parameter - rate * mx.sign(direction)


def _root_mean_square(x):
    return mx.sqrt(mx.mean(mx.square(x)))


class Adafactor(Optimizer):
    """Adam-like, with squares of matrices' gradients kept as means of rows and of columns."""

    def __init__(
        self,
        learning_rate: Optional[Rate] = None,
        eps: Tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta_1: Optional[float] = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ) -> None:
        super().__init__()
        if learning_rate is not None:
            self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps
        self.clip_threshold = clip_threshold
        self.decay_rate = decay_rate
        self.beta_1 = beta_1
        self.weight_decay = weight_decay
        self.scale_parameter = scale_parameter
        self.relative_step = relative_step
        self.warmup_init = warmup_init

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        shape, dtype = parameter.shape, parameter.dtype
        if parameter.ndim >= 2:
            state["exp_avg_sq_row"] = mx.zeros(shape[:-1], dtype=dtype)
            state["exp_avg_sq_col"] = mx.zeros(shape[:-2] + shape[-1:], dtype=dtype)
        else:
            state["exp_avg_sq"] = mx.zeros_like(parameter)
        if self.beta_1 is not None:
            state["exp_avg"] = mx.zeros_like(parameter)

    def _rate(self, parameter, step):
        if self.relative_step:
            least = 1e-6 * step if self.warmup_init else 1e-2
            rate = mx.minimum(least, mx.rsqrt(step))
        else:
            rate = self.learning_rate
        if self.scale_parameter:
            rate = rate * mx.maximum(self.eps[1], _root_mean_square(parameter))
        return rate

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        dtype = gradient.dtype
        step = self.step.astype(mx.float32)
        rate = self._rate(parameter, step).astype(dtype)
        beta = (1.0 - step**self.decay_rate).astype(dtype)
        square = mx.square(gradient) + self.eps[0]
        if gradient.ndim >= 2:
            row = beta * state["exp_avg_sq_row"] + (1 - beta) * square.mean(axis=-1)
            column = beta * state["exp_avg_sq_col"] + (1 - beta) * square.mean(axis=-2)
            state["exp_avg_sq_row"], state["exp_avg_sq_col"] = row, column
            scale = mx.rsqrt(row / row.mean(axis=-1, keepdims=True))[..., None]
            update = scale * mx.rsqrt(column)[..., None, :] * gradient
        else:
            mean = beta * state["exp_avg_sq"] + (1 - beta) * square
            state["exp_avg_sq"] = mean
            update = mx.rsqrt(mean) * gradient
        update = update / mx.maximum(1.0, _root_mean_square(update) / self.clip_threshold)
        update = rate * update
        if self.beta_1 is not None:
            update = self.beta_1 * state["exp_avg"] + (1 - self.beta_1) * update
            state["exp_avg"] = update
        if self.weight_decay != 0:
            parameter = parameter + parameter * (-self.weight_decay * rate)
        return parameter - update


class Muon(Optimizer):
    """Momentum whose matrices are made nearly orthogonal by Newton-Schulz steps. Dimensions of a
    parameter after the first count as one."""

    def __init__(
        self,
        learning_rate: Rate,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        nesterov: bool = True,
        ns_steps: int = 5,
    ) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.ns_steps = ns_steps

    def init_single(self, parameter: mx.array, state: Dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def _orthogonalize(self, x):
        a, b, c = 3.4445, -4.7750, 2.0315  # of Keller Jordan's quintic
        wide = x.shape[-2] <= x.shape[-1]
        if not wide:
            x = x.T
        x = x / (mx.sqrt(mx.sum(mx.square(x))) + 1e-7)
        for _ in range(self.ns_steps):
            square = x @ x.T
            x = a * x + (b * square + c * (square @ square)) @ x
        return x if wide else x.T

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: Dict[str, Any]
    ) -> mx.array:
        rate = self.learning_rate.astype(gradient.dtype)
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        v = self.momentum * state["v"] + (1 - self.momentum) * gradient
        state["v"] = v
        update = gradient * (1 - self.momentum) + v * self.momentum if self.nesterov else v
        if update.ndim >= 2:
            shape = update.shape
            update = self._orthogonalize(update.reshape(shape[0], -1))
            rate = rate * max(1, update.shape[0] / update.shape[1]) ** 0.5
            update = update.reshape(shape)
        return parameter - rate * update


def clip_grad_norm(grads: Any, max_norm: float) -> Tuple[Any, mx.array]:
    """(grads, scaled so that the length of all together is at most max_norm; that length before)"""
    length = mx.sqrt(tree_reduce(lambda total, g: total + mx.sum(mx.square(g)), grads, 0.0))
    factor = mx.minimum(max_norm / (length + 1e-6), 1.0)
    return tree_map(lambda g: g * factor, grads), length
