"""Transforms of functions of modules."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Callable, Optional

import ferrule.core as mx

if TYPE_CHECKING:
    from ferrule.nn.layers.base import Module


def value_and_grad(model: Module, fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives fn's value and its gradients for the model's trainable parameters.
    fn's first result must be a scalar; others are passed on beside it."""

    def of_parameters(parameters, *args, **kwargs):
        model.update(parameters)
        return fn(*args, **kwargs)

    transformed = mx.value_and_grad(of_parameters)

    @wraps(fn)
    def wrapped(*args, **kwargs):
        parameters = model.trainable_parameters()
        try:
            return transformed(parameters, *args, **kwargs)
        finally:
            model.update(parameters)

    return wrapped


def checkpoint(module: Module, fn: Optional[Callable[..., Any]] = None) -> Callable[..., Any]:
    """fn, or the module's call, as a function whose intermediate results are computed again when
    gradients are taken, instead of being kept."""
    if fn is None:
        fn = module.__call__

    def of_parameters(parameters, *args, **kwargs):
        before = module.trainable_parameters()
        module.update(parameters)
        try:
            return fn(*args, **kwargs)
        finally:
            module.update(before)

    transformed = mx.checkpoint(of_parameters)

    @wraps(fn)
    def wrapped(*args, **kwargs):
        return transformed(module.trainable_parameters(), *args, **kwargs)

    return wrapped
