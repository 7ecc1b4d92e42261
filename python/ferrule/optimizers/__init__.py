"""Optimizers and schedules of their rates."""

from ferrule.optimizers import optimizers, schedulers
from ferrule.optimizers.optimizers import *  # noqa: F401,F403
from ferrule.optimizers.schedulers import *  # noqa: F401,F403

__all__ = []  # in a form that type checkers follow
__all__ += optimizers.__all__
__all__ += schedulers.__all__
