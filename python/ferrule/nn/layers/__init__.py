"""Layers, one file for each kind."""

from ferrule.nn.layers import activations
from ferrule.nn.layers.activations import *  # noqa: F401,F403
from ferrule.nn.layers.base import Module
from ferrule.nn.layers.containers import Sequential
from ferrule.nn.layers.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from ferrule.nn.layers.dropout import Dropout, Dropout2d, Dropout3d
from ferrule.nn.layers.embedding import Embedding
from ferrule.nn.layers.linear import Bilinear, Identity, Linear
from ferrule.nn.layers.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from ferrule.nn.layers.pooling import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from ferrule.nn.layers.positional_encoding import ALiBi, RoPE, SinusoidalPositionalEncoding
from ferrule.nn.layers.recurrent import GRU, LSTM, RNN
from ferrule.nn.layers.transformer import (
    MultiHeadAttention,
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from ferrule.nn.layers.upsample import Upsample

__all__ = [
    "ALiBi",
    "BatchNorm",
    "Bilinear",
    "Dropout",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "GRU",
    "GroupNorm",
    "Identity",
    "InstanceNorm",
    "LSTM",
    "LayerNorm",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "RMSNorm",
    "RNN",
    "RoPE",
    "Sequential",
    "SinusoidalPositionalEncoding",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Upsample",
]
__all__ += activations.__all__  # in a form that type checkers follow
