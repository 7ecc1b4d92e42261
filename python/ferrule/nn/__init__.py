"""Neural networks: modules, layers, losses, initializers."""

from ferrule.nn import init, layers, losses
from ferrule.nn.layers import *  # noqa: F401,F403
from ferrule.nn.layers.activations import *  # noqa: F401,F403  (so that type checkers see them)
from ferrule.nn.utils import value_and_grad

__all__ = ["init", "losses", "value_and_grad"]
__all__ += layers.__all__  # in a form that type checkers follow
