"""Optimizers and schedules of their rates."""

from ferrule.optimizers import optimizers as _optimizers
from ferrule.optimizers import schedulers as _schedulers
from ferrule.optimizers.optimizers import *  # noqa: F401,F403
from ferrule.optimizers.schedulers import *  # noqa: F401,F403

__all__ = _optimizers.__all__ + _schedulers.__all__
