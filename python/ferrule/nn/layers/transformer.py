"""Attention and the transformers built of it."""

import math
from typing import Any, Callable, Optional

import ferrule.core as mx
from ferrule.nn.layers.activations import relu
from ferrule.nn.layers.base import Module
from ferrule.nn.layers.dropout import Dropout
from ferrule.nn.layers.linear import Linear
from ferrule.nn.layers.normalization import LayerNorm
from ferrule.nn.utils import checkpoint as checkpointed


class MultiHeadAttention(Module):
    """Scaled dot-product attention in num_heads parts of the features, between projections."""

    def __init__(
        self,
        dims: int,
        num_heads: int,
        query_input_dims: Optional[int] = None,
        key_input_dims: Optional[int] = None,
        value_input_dims: Optional[int] = None,
        value_dims: Optional[int] = None,
        value_output_dims: Optional[int] = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if num_heads < 1 or dims % num_heads != 0:
            raise ValueError(
                "The input feature dimensions should be divisible by the "
                f"number of heads ({dims} % {num_heads}) != 0"
            )
        key_input_dims = key_input_dims or dims
        value_dims = value_dims or dims
        self.num_heads = num_heads
        self.query_proj = Linear(query_input_dims or dims, dims, bias=bias)
        self.key_proj = Linear(key_input_dims, dims, bias=bias)
        self.value_proj = Linear(value_input_dims or key_input_dims, value_dims, bias=bias)
        self.out_proj = Linear(value_dims, value_output_dims or dims, bias=bias)

    def _heads(self, x):
        """[B, L, D] to [B, heads, L, D / heads]."""
        batch, length, dims = x.shape
        x = x.reshape(batch, length, self.num_heads, dims // self.num_heads)
        return x.transpose(0, 2, 1, 3)

    def __call__(
        self, queries: mx.array, keys: mx.array, values: mx.array, mask: Optional[mx.array] = None
    ) -> mx.array:
        queries = self._heads(self.query_proj(queries))
        keys = self._heads(self.key_proj(keys))
        values = self._heads(self.value_proj(values))
        y = mx.fast.scaled_dot_product_attention(
            queries, keys, values, scale=math.sqrt(1 / queries.shape[-1]), mask=mask
        )
        batch, heads, length, dims = y.shape
        return self.out_proj(y.transpose(0, 2, 1, 3).reshape(batch, length, heads * dims))

    @staticmethod
    def create_additive_causal_mask(N: int, dtype: mx.Dtype = mx.float32) -> mx.array:
        """[N, N]: 0 up to the diagonal, the lowest finite number above it."""
        at = mx.arange(N)
        return (at[:, None] < at[None]).astype(dtype) * mx.finfo(dtype).min


class TransformerEncoderLayer(Module):
    """Self-attention and two linear layers, each added to what it was given."""

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        mlp_dims = mlp_dims or dims * 4
        self.attention = MultiHeadAttention(dims, num_heads)
        self.ln1 = LayerNorm(dims)
        self.ln2 = LayerNorm(dims)
        self.linear1 = Linear(dims, mlp_dims)
        self.linear2 = Linear(mlp_dims, dims)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = activation
        self.norm_first = norm_first

    def _mlp(self, x):
        return self.linear2(self.dropout2(self.activation(self.linear1(x))))

    def __call__(self, x: mx.array, mask: Optional[mx.array]) -> mx.array:
        if self.norm_first:
            y = self.ln1(x)
            x = x + self.dropout1(self.attention(y, y, y, mask))
            return x + self._mlp(self.ln2(x))
        x = self.ln1(x + self.dropout1(self.attention(x, x, x, mask)))
        return self.ln2(x + self._mlp(x))


class TransformerDecoderLayer(Module):
    """Self-attention, attention to a memory, and two linear layers."""

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        mlp_dims = mlp_dims or dims * 4
        self.self_attention = MultiHeadAttention(dims, num_heads)
        self.cross_attention = MultiHeadAttention(dims, num_heads)
        self.ln1 = LayerNorm(dims)
        self.ln2 = LayerNorm(dims)
        self.ln3 = LayerNorm(dims)
        self.linear1 = Linear(dims, mlp_dims)
        self.linear2 = Linear(mlp_dims, dims)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = activation
        self.norm_first = norm_first

    def _mlp(self, x):
        return self.linear2(self.dropout3(self.activation(self.linear1(x))))

    def __call__(
        self,
        x: mx.array,
        memory: mx.array,
        x_mask: Optional[mx.array],
        memory_mask: Optional[mx.array],
    ) -> mx.array:
        if self.norm_first:
            y = self.ln1(x)
            x = x + self.dropout1(self.self_attention(y, y, y, x_mask))
            y = self.ln2(x)
            x = x + self.dropout2(self.cross_attention(y, memory, memory, memory_mask))
            return x + self._mlp(self.ln3(x))
        x = self.ln1(x + self.dropout1(self.self_attention(x, x, x, x_mask)))
        y = self.dropout2(self.cross_attention(x, memory, memory, memory_mask))
        x = self.ln2(x + y)
        return self.ln3(x + self._mlp(x))


class _Stack(Module):
    """So many layers, one after the other, and a normalization."""

    def __init__(
        self,
        num_layers: int,
        dims: int,
        num_heads: int,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        norm_first: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.layers = [
            self.kind(dims, num_heads, mlp_dims, dropout, activation, norm_first)
            for _ in range(num_layers)
        ]
        self.ln = LayerNorm(dims)
        self.checkpoint = checkpoint

    def _run(self, x, *rest):
        for layer in self.layers:
            x = (checkpointed(layer) if self.checkpoint else layer)(x, *rest)
        return self.ln(x)


class TransformerEncoder(_Stack):
    """So many encoder layers, and a normalization."""

    kind = TransformerEncoderLayer

    def __call__(self, x: mx.array, mask: Optional[mx.array]) -> mx.array:
        return self._run(x, mask)


class TransformerDecoder(_Stack):
    """So many decoder layers, and a normalization."""

    kind = TransformerDecoderLayer

    def __call__(
        self,
        x: mx.array,
        memory: mx.array,
        x_mask: Optional[mx.array],
        memory_mask: Optional[mx.array],
    ) -> mx.array:
        return self._run(x, memory, x_mask, memory_mask)


class Transformer(Module):
    """An encoder, and a decoder that attends to what it gives."""

    def __init__(
        self,
        dims: int = 512,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        custom_encoder: Optional[Any] = None,
        custom_decoder: Optional[Any] = None,
        norm_first: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        rest = (dims, num_heads, mlp_dims, dropout, activation, norm_first, checkpoint)
        self.encoder = custom_encoder or TransformerEncoder(num_encoder_layers, *rest)
        self.decoder = custom_decoder or TransformerDecoder(num_decoder_layers, *rest)

    def __call__(
        self,
        src: mx.array,
        tgt: mx.array,
        src_mask: Optional[mx.array],
        tgt_mask: Optional[mx.array],
        memory_mask: Optional[mx.array],
    ) -> mx.array:
        memory = self.encoder(src, src_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask)
