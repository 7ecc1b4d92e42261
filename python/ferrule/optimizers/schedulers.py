"""Schedules: functions of the step that give, say, a learning rate."""

import math
from typing import Callable, List

import ferrule.core as mx

__all__ = [
    "cosine_decay",
    "exponential_decay",
    "join_schedules",
    "linear_schedule",
    "step_decay",
]


def exponential_decay(init: float, decay_rate: float) -> Callable:
    """init times decay_rate to the power of the step."""
    return lambda step: init * decay_rate**step


def step_decay(init: float, decay_rate: float, step_size: int) -> Callable:
    """init, times decay_rate once more after each step_size steps."""
    if step_size < 1:
        raise ValueError(f"step_size must be greater than 0, but got {step_size}.")
    return lambda step: init * decay_rate ** (step // step_size)


def cosine_decay(init: float, decay_steps: int, end: float = 0.0) -> Callable:
    """From init to end along half a cosine, in decay_steps steps."""
    if decay_steps < 1:
        raise ValueError(f"decay_steps must be greater than 0, but got {decay_steps}.")

    def schedule(step):
        at = mx.minimum(step, decay_steps)
        return end + 0.5 * (init - end) * (1.0 + mx.cos((math.pi / decay_steps) * at))

    return schedule


def linear_schedule(init: float, end: float, steps: int) -> Callable:
    """From init to end in a straight line, in so many steps."""
    if steps < 1:
        raise ValueError(f"steps must be greater than 0, but got {steps}.")

    def schedule(step):
        return mx.minimum(step, steps) * ((end - init) / steps) + init

    return schedule


def join_schedules(schedules: List[Callable], boundaries: List[int]) -> Callable:
    """The i-th schedule until the step boundaries[i]; each starts from step 0."""
    if not schedules:
        raise ValueError("Must provide at least 1 schedule to join.")
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"Received {len(boundaries)} boundaries but expected {len(schedules) - 1}."
        )

    def schedule(step):
        value = schedules[0](step)
        for boundary, following in zip(boundaries, schedules[1:]):
            # Before its boundary a schedule sees step 0: a step is unsigned.
            local = mx.maximum(step, boundary) - boundary
            value = mx.where(step < boundary, value, following(local))
        return value

    return schedule
