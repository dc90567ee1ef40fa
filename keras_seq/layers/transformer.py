"""Transformer layers. One forward pass serves training (no cache, all steps) and decoding (a cache, any steps)."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.dense import Dense
from keras_seq.layers.masks import causal_mask, sliding_window_mask, without_padding
from keras_seq.layers.multi_head_attention import MultiHeadAttention, update_cache
from keras_seq.layers.positions import distance_bias

# Gated hidden layers, f(x W) * (x V), with the function f of each name in Shazeer 2020, arXiv:2002.05202.
GATED = {"reglu": "relu", "geglu": "gelu", "swiglu": "silu"}
RELATIVE_POSITIONS = (None, "rotary", "alibi")


def feed_forward_activation(activation):
    """The activation function given by name, or the name itself if it stands for a gated hidden layer."""
    return activation if str(activation) in GATED else keras.activations.get(activation)


def serialized_activation(activation):
    return activation if str(activation) in GATED else keras.activations.serialize(activation)


def normalization_layer(layer_normalization, **kwargs):
    """The normalization layer given by name: "layer", or "rms" (Zhang and Sennrich 2019, arXiv:1910.07467)."""
    if layer_normalization == "layer":
        return keras.layers.LayerNormalization(epsilon=1e-5, **kwargs)
    if layer_normalization == "rms":
        norm = keras.layers.RMSNormalization(epsilon=1e-5, **kwargs)
        norm.supports_masking = True  # it does support masking, but does not declare it
        return norm
    raise ValueError(f"`layer_normalization` must be 'layer' or 'rms'. Received: {layer_normalization!r}")


class TransformerLayer(CompositeLayer):
    """Base class of encoder and decoder layers: all parts but the cross-attention, and the connections around them."""

    def __init__(
        self,
        units,
        num_heads,
        intermediate_dim,
        dropout=0.0,
        intermediate_dropout=None,
        activation: str | Callable = "relu",
        normalize_first=True,
        layer_normalization="layer",
        num_key_value_heads=None,
        relative_positions=None,
        attention_window=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if relative_positions not in RELATIVE_POSITIONS:
            raise ValueError(
                f"`relative_positions` must be one of {RELATIVE_POSITIONS}. Received: {relative_positions!r}"
            )
        if attention_window is not None and attention_window < 0:
            raise ValueError(f"`attention_window` must not be negative. Received: {attention_window}")
        if relative_positions == "rotary" and units // num_heads % 2:
            raise ValueError(
                "With rotary positions the width of a head, `units` over `num_heads`, must be even to be rotated. "
                f"Received: {units // num_heads}"
            )
        self.supports_masking = True
        self.units = units
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.intermediate_dropout = intermediate_dropout
        self.activation = feed_forward_activation(activation)
        self.normalize_first = normalize_first
        self.layer_normalization = layer_normalization
        self.num_key_value_heads = num_key_value_heads
        self.relative_positions = relative_positions
        self.attention_window = attention_window
        self.self_attention = self._attention("self_attention")
        gated = isinstance(self.activation, str)
        self.hidden_dense = Dense(
            intermediate_dim,
            activation=GATED[activation] if gated else self.activation,
            name="hidden",
            dtype=self.dtype_policy,
        )
        self.gate_dense = None
        if gated:
            self.gate_dense = Dense(intermediate_dim, name="gate", dtype=self.dtype_policy)
        self.output_dense = Dense(units, name="output", dtype=self.dtype_policy)
        rate = dropout if intermediate_dropout is None else intermediate_dropout
        self.hidden_dropout = keras.layers.Dropout(rate, dtype=self.dtype_policy)
        self.norms = {}
        self.dropouts = {}

    def _attention(self, name):
        return MultiHeadAttention(
            self.units,
            self.num_heads,
            num_key_value_heads=self.num_key_value_heads,
            name=name,
            dtype=self.dtype_policy,
        )

    def _add_parts(self, *parts):
        for part in parts:
            self.norms[part] = normalization_layer(
                self.layer_normalization, name=f"{part}_norm", dtype=self.dtype_policy
            )
            self.dropouts[part] = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)

    def _around(self, part, function, x, training):
        """Applies one part of the layer, with residual connection, normalization and dropout."""
        norm, dropout = self.norms[part], self.dropouts[part]
        if self.normalize_first:
            return x + dropout(function(norm(x)), training=training)
        return norm(x + dropout(function(x), training=training))

    def _attend_self(self, x, positions, mask, cache=None):
        """Attends to x itself or, with a cache, to x and all earlier steps in it. Returns the keys and values too."""
        rotation = positions if self.relative_positions == "rotary" else None
        memory = self.self_attention.project_memory(x, rotation)
        key_positions = positions
        if cache is not None:
            memory = update_cache(cache, memory, positions)
            key_positions = ops.arange(ops.shape(memory["keys"])[2], dtype="int32")[None, :]
        if self.attention_window is not None:
            window = sliding_window_mask(positions, key_positions, self.attention_window)
            mask = window if mask is None else ops.logical_and(mask, window)
        bias = None
        if self.relative_positions == "alibi":
            bias = distance_bias(positions, key_positions, self.num_heads, self.compute_dtype)
        return self.self_attention(x, memory, attention_mask=mask, positions=rotation, bias=bias), memory

    def _feed_forward(self, x, training):
        hidden = self.hidden_dense(x)
        if self.gate_dense is not None:
            hidden = hidden * self.gate_dense(x)
        return self.output_dense(self.hidden_dropout(hidden, training=training))

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "intermediate_dropout": self.intermediate_dropout,
            "activation": serialized_activation(self.activation),
            "normalize_first": self.normalize_first,
            "layer_normalization": self.layer_normalization,
            "num_key_value_heads": self.num_key_value_heads,
            "relative_positions": self.relative_positions,
            "attention_window": self.attention_window,
        }


@keras.saving.register_keras_serializable("keras_seq")
class TransformerEncoderLayer(TransformerLayer):
    """Self-attention and a feed-forward network, each with a residual connection.

    Args:
        units: width, D.
        num_heads: number of attention heads, H (divides `units`).
        intermediate_dim: width of the feed-forward network.
        dropout: rate of dropout after each part.
        intermediate_dropout: rate of dropout inside the feed-forward network, absent in the paper. None: `dropout`.
        activation: activation of the feed-forward network. "reglu", "geglu" and "swiglu" select a gated hidden layer.
        normalize_first: pre-norm (True) or post-norm (False, as in the paper).
        layer_normalization: "layer" or "rms".
        num_key_value_heads: number of heads of keys and values, K. None: `num_heads`.
        relative_positions: encoding of the distance between two tokens in the self-attention: "rotary" (Su et al. 2021,
            arXiv:2104.09864), "alibi" (Press et al. 2022, arXiv:2108.12409), or None.
        attention_window: largest distance of the self-attention, to either side. None: no limit.
    Call arguments:
        x: float `(B, S, D)`.   mask: bool `(B, S)`. True marks a real token.
    Returns:
        float `(B, S, D)`.
    Raises:
        ValueError: if the numbers of heads do not divide, or an option does not have such a value.
    Source: Vaswani et al. 2017, section 3.1, arXiv:1706.03762.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._add_parts("self", "feed_forward")

    def call(self, x, mask=None, training=False):
        x = without_padding(x, mask)
        mask = None if mask is None else mask[:, None, :]  # all queries attend to the same keys
        positions = ops.arange(ops.shape(x)[1], dtype="int32")[None, :]
        x = self._around("self", lambda x: self._attend_self(x, positions, mask)[0], x, training)
        return self._around("feed_forward", lambda x: self._feed_forward(x, training), x, training)

    def compute_output_shape(self, x_shape):
        return x_shape


@keras.saving.register_keras_serializable("keras_seq")
class TransformerDecoderLayer(TransformerLayer):
    """Causal self-attention, attention over the encoder's memory, and a feed-forward network.

    Args: as for `TransformerEncoderLayer`, and
        cross_attention: whether to attend to a memory. Must be False in a language model.
    Call arguments:
        x: float `(B, T, D)`.
        memory: `{"keys", "values"}` of the source, from `project_memory`. None without cross-attention.
        memory_mask: bool `(B, S)`. True marks a real source token. Required with `memory`.
        cache: `{"keys", "values"}` of the earlier steps, float `(B, L, K, D / H)`, or None if x has all steps. If it
            has an entry "attention", the weights over the source, `(B, T, S)`, are stored there.
        positions: int `(B, T)`, positions of x in the target, where x is written into the cache. Required with `cache`.
            None: x has all steps, from the first.
        self_mask: bool `(B, T, L)` (or `(B, T, T)` without a cache), the steps to which each step may attend. None:
            itself and earlier steps. An `attention_window` narrows it.
    Returns:
        `(x, cache)`: float `(B, T, D)`, and the cache with the keys and values of x added.
    Raises:
        ValueError: if `memory` is missing or superfluous, if a cache comes without positions, and as for the encoder.
    Source: Vaswani et al. 2017, section 3.1, arXiv:1706.03762. Without a memory: Liu et al. 2018, arXiv:1801.10198.
    """

    def __init__(self, *args, cross_attention=True, **kwargs):
        super().__init__(*args, **kwargs)
        self._add_parts(*(("self", "cross", "feed_forward") if cross_attention else ("self", "feed_forward")))
        self.cross_attention = self._attention("cross_attention") if cross_attention else None

    def project_memory(self, memory) -> dict[str, Any]:
        """Keys and values of the encoder's output `(B, S, D)`, for all later steps."""
        return self.cross_attention.project_memory(memory)

    def call(self, x, memory=None, memory_mask=None, cache=None, positions=None, self_mask=None, training=False):
        if (memory is None) != (self.cross_attention is None):
            raise ValueError(
                f"Layers with cross-attention require a `memory`. Others do not take one. Received: "
                f"cross_attention={self.cross_attention is not None}, memory {'not ' * (memory is None)}given"
            )
        if positions is None:
            if cache is not None:
                raise ValueError("A `cache` needs the `positions` of x in it. Received: positions=None")
            positions = ops.arange(ops.shape(x)[1], dtype="int32")[None, :]
        if self_mask is None:
            steps = positions if cache is None else ops.arange(ops.shape(cache["keys"])[2], dtype="int32")[None, :]
            self_mask = causal_mask(positions, steps)
        seen = dict(cache or {})

        def attend_self(x):
            x, kept = self._attend_self(x, positions, self_mask, cache)
            seen.update(kept)
            return x

        def attend_source(x):
            mask = memory_mask[:, None, :]  # all steps attend to the same source
            if "attention" in seen:
                seen["attention"] = self.cross_attention.weights_for(x, memory, mask)
            return self.cross_attention(x, memory, attention_mask=mask)

        x = self._around("self", attend_self, x, training)
        if self.cross_attention is not None:
            x = self._around("cross", attend_source, x, training)
        x = self._around("feed_forward", lambda x: self._feed_forward(x, training), x, training)
        return x, seen

    def compute_output_shape(
        self,
        x_shape,
        memory_shape=None,
        memory_mask_shape=None,
        cache_shape=None,
        positions_shape=None,
        self_mask_shape=None,
    ):
        if cache_shape is None:
            B, T, _ = x_shape
            heads = (B, self.self_attention.num_key_value_heads, T, self.self_attention.head_dim)
            return x_shape, {"keys": heads, "values": heads}
        seen = dict(cache_shape)
        if "attention" in seen:
            seen["attention"] = (*x_shape[:2], seen["attention"][-1])
        return x_shape, seen

    def build_parts(self, input_shape):
        if self.cross_attention is not None:
            self.refuse_to_build(input_shape)
        super().build_parts(input_shape)

    def get_config(self):
        return {**super().get_config(), "cross_attention": self.cross_attention is not None}
