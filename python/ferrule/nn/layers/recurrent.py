"""Recurrent layers over sequences [..., L, D]."""

import math
from typing import Any, Callable, Optional, Tuple

import ferrule.core as mx
from ferrule.nn.layers.activations import tanh
from ferrule.nn.layers.base import Module


class RNN(Module):
    """h = nonlinearity(Wxh x + Whh h + bias); gives h of every step."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Optional[Callable[[Any], Any]] = None,
    ) -> None:
        super().__init__()
        self.nonlinearity = nonlinearity or tanh
        if not callable(self.nonlinearity):
            raise ValueError(
                f"Nonlinearity should be callable. Current value: {self.nonlinearity}."
            )
        scale = 1.0 / math.sqrt(hidden_size)
        self.hidden_size = hidden_size
        self.Wxh = mx.random.uniform(low=-scale, high=scale, shape=(hidden_size, input_size))
        self.Whh = mx.random.uniform(low=-scale, high=scale, shape=(hidden_size, hidden_size))
        if bias:
            self.bias = mx.random.uniform(low=-scale, high=scale, shape=(hidden_size,))

    def _extra_repr(self):
        return (
            f"input_dims={self.Wxh.shape[1]}, hidden_size={self.hidden_size}, "
            f"nonlinearity={self.nonlinearity}, bias={'bias' in self}"
        )

    def __call__(self, x: mx.array, hidden: Optional[mx.array] = None) -> mx.array:
        x = x @ self.Wxh.T
        if "bias" in self:
            x = x + self.bias
        every = []
        for i in range(x.shape[-2]):
            step = x[..., i, :]
            hidden = self.nonlinearity(step if hidden is None else step + hidden @ self.Whh.T)
            every.append(hidden)
        return mx.stack(every, axis=-2)


class GRU(Module):
    """Gated recurrent unit; gives h of every step."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        scale = 1.0 / math.sqrt(hidden_size)
        self.Wx = mx.random.uniform(low=-scale, high=scale, shape=(3 * hidden_size, input_size))
        self.Wh = mx.random.uniform(low=-scale, high=scale, shape=(3 * hidden_size, hidden_size))
        if bias:
            self.b = mx.random.uniform(low=-scale, high=scale, shape=(3 * hidden_size,))
            self.bhn = mx.random.uniform(low=-scale, high=scale, shape=(hidden_size,))

    def _extra_repr(self):
        return f"input_dims={self.Wx.shape[1]}, hidden_size={self.hidden_size}, bias={'b' in self}"

    def __call__(self, x: mx.array, hidden: Optional[mx.array] = None) -> mx.array:
        x = x @ self.Wx.T
        if "b" in self:
            x = x + self.b
        every = []
        for i in range(x.shape[-2]):
            r, z, n = mx.split(x[..., i, :], 3, axis=-1)
            if hidden is None:
                r, z = mx.sigmoid(r), mx.sigmoid(z)
                if "bhn" in self:
                    n = n + r * self.bhn
                hidden = (1 - z) * mx.tanh(n)
            else:
                hr, hz, hn = mx.split(hidden @ self.Wh.T, 3, axis=-1)
                if "bhn" in self:
                    hn = hn + self.bhn
                r, z = mx.sigmoid(r + hr), mx.sigmoid(z + hz)
                hidden = (1 - z) * mx.tanh(n + r * hn) + z * hidden
            every.append(hidden)
        return mx.stack(every, axis=-2)


class LSTM(Module):
    """Long short-term memory; gives h and c of every step."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        scale = 1.0 / math.sqrt(hidden_size)
        self.Wx = mx.random.uniform(low=-scale, high=scale, shape=(4 * hidden_size, input_size))
        self.Wh = mx.random.uniform(low=-scale, high=scale, shape=(4 * hidden_size, hidden_size))
        if bias:
            self.bias = mx.random.uniform(low=-scale, high=scale, shape=(4 * hidden_size,))

    def _extra_repr(self):
        return (
            f"input_dims={self.Wx.shape[1]}, hidden_size={self.hidden_size}, bias={'bias' in self}"
        )

    def __call__(
        self, x: mx.array, hidden: Optional[mx.array] = None, cell: Optional[mx.array] = None
    ) -> Tuple[mx.array, mx.array]:
        x = x @ self.Wx.T
        if "bias" in self:
            x = x + self.bias
        every_hidden, every_cell = [], []
        for i in range(x.shape[-2]):
            gates = x[..., i, :]
            if hidden is not None:
                gates = gates + hidden @ self.Wh.T
            i, f, g, o = mx.split(gates, 4, axis=-1)
            entering = mx.sigmoid(i) * mx.tanh(g)
            cell = entering if cell is None else mx.sigmoid(f) * cell + entering
            hidden = mx.sigmoid(o) * mx.tanh(cell)
            every_hidden.append(hidden)
            every_cell.append(cell)
        return mx.stack(every_hidden, axis=-2), mx.stack(every_cell, axis=-2)
