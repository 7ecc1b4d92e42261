"""Embedding: a vector for each of so many tokens."""

import math

import ferrule.core as mx
from ferrule.nn.layers.base import Module


class Embedding(Module):
    """The rows of the weight [num_embeddings, dims] at integer tokens."""

    def __init__(self, num_embeddings: int, dims: int) -> None:
        super().__init__()
        self.weight = mx.random.normal(shape=(num_embeddings, dims), scale=math.sqrt(1 / dims))

    def _extra_repr(self):
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.take(self["weight"], x, axis=0)

    def as_linear(self, x: mx.array) -> mx.array:
        """x times the transposed weight: scores of all tokens."""
        return x @ self["weight"].T
