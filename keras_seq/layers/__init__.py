"""Layers that plug into any Keras model."""

from keras_seq.layers.attention import (
    ATTENTIONS,
    AdditiveAttention,
    DotAttention,
    GeneralAttention,
    MultiHeadAttention,
    empty_cache,
    extend_cache,
    masked_softmax,
)
from keras_seq.layers.bridges import Bridge
from keras_seq.layers.embeddings import TokenEmbedding
from keras_seq.layers.masks import causal_mask, padding_mask, reverse_tokens
from keras_seq.layers.positions import positions_from, sinusoidal_positions
from keras_seq.layers.recurrent import GRU, LSTM, SimpleRNN, accelerated
from keras_seq.layers.recurrent_stack import CELLS, RecurrentStack, cell_name
from keras_seq.layers.transformer import TransformerDecoderLayer, TransformerEncoderLayer

__all__ = [
    "ATTENTIONS",
    "CELLS",
    "GRU",
    "LSTM",
    "AdditiveAttention",
    "Bridge",
    "DotAttention",
    "GeneralAttention",
    "MultiHeadAttention",
    "RecurrentStack",
    "SimpleRNN",
    "TokenEmbedding",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "accelerated",
    "cell_name",
    "causal_mask",
    "empty_cache",
    "extend_cache",
    "masked_softmax",
    "padding_mask",
    "positions_from",
    "reverse_tokens",
    "sinusoidal_positions",
]
