"""Transformer blocks. One forward pass serves training (no cache, all steps) and decoding (a cache, any steps)."""

import keras

from keras_seq.layers.attention import MultiHeadAttention, extend_cache


class TransformerLayer(keras.layers.Layer):
    """What encoder and decoder layers share: the feed-forward part and the residual connections around all parts."""

    def __init__(
        self,
        units,
        num_heads,
        intermediate_dim,
        dropout=0.0,
        intermediate_dropout=None,
        activation="relu",
        normalize_first=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = units
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.intermediate_dropout = intermediate_dropout
        self.activation = keras.activations.get(activation)
        self.normalize_first = normalize_first
        self.self_attention = MultiHeadAttention(num_heads, units, name="self_attention", dtype=self.dtype_policy)
        self.hidden_dense = keras.layers.Dense(
            intermediate_dim, activation=self.activation, name="hidden", dtype=self.dtype_policy
        )
        self.output_dense = keras.layers.Dense(units, name="output", dtype=self.dtype_policy)
        rate = dropout if intermediate_dropout is None else intermediate_dropout
        self.hidden_dropout = keras.layers.Dropout(rate, dtype=self.dtype_policy)
        self.norms = {}
        self.dropouts = {}
        for part in self.parts:
            norm = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{part}_norm", dtype=self.dtype_policy)
            self.norms[part] = norm
            self.dropouts[part] = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def _around(self, part, function, x, training):
        """Puts the residual connection, the normalisation and the dropout around one part of the layer."""
        norm, dropout = self.norms[part], self.dropouts[part]
        if self.normalize_first:
            return x + dropout(function(norm(x)), training=training)
        return norm(x + dropout(function(x), training=training))

    def _feed_forward(self, x, training):
        hidden = self.hidden_dropout(self.hidden_dense(x), training=training)
        return self.output_dense(hidden)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "intermediate_dropout": self.intermediate_dropout,
            "activation": keras.activations.serialize(self.activation),
            "normalize_first": self.normalize_first,
        }


@keras.saving.register_keras_serializable("keras_seq")
class TransformerEncoderLayer(TransformerLayer):
    """Self-attention and a feed-forward network, each with a residual connection.

    Args:
        units: width, D.
        num_heads: number of attention heads; divides `units`.
        intermediate_dim: width of the feed-forward network.
        dropout: rate, after each part.
        intermediate_dropout: rate inside the feed-forward network, which the paper has not; None: as `dropout`.
        activation: of the feed-forward network.
        normalize_first: pre-norm (True) or post-norm (False, as in the paper).
    Call arguments:
        x: float `(B, S, D)`.   mask: bool `(B, S)`; True marks a real token.
    Returns:
        float `(B, S, D)`.
    Source: Vaswani et al. 2017, section 3.1, arXiv:1706.03762.
    """

    parts = ("self", "feed_forward")

    def call(self, x, mask=None, training=False):
        mask = None if mask is None else mask[:, None, :]  # every query sees the same keys

        def attend(x):
            return self.self_attention(x, self.self_attention.remember(x), attention_mask=mask)

        x = self._around("self", attend, x, training)
        return self._around("feed_forward", lambda x: self._feed_forward(x, training), x, training)


@keras.saving.register_keras_serializable("keras_seq")
class TransformerDecoderLayer(TransformerLayer):
    """Causal self-attention, attention over the encoder's memory, and a feed-forward network.

    Args: as for `TransformerEncoderLayer`.
    Call arguments:
        x: float `(B, T, D)`.
        memory: `{"keys", "values"}` of the source, from `remember`.
        memory_mask: bool `(B, S)`; True marks a real source token.
        cache: `{"keys", "values"}` of the steps before, float `(B, L, H, D / H)`; None when x holds all steps. If it
            has an entry "attention", the weights over the source, `(B, T, S)`, are put there.
        positions: int `(B, T)`, where x stands in the target.
        self_mask: bool `(B, T, L)` (or `(B, T, T)` without a cache); which steps each step may look at.
    Returns:
        `(x, cache)`: float `(B, T, D)`, and the cache with x's keys and values written in.
    Source: Vaswani et al. 2017, section 3.1, arXiv:1706.03762.
    """

    parts = ("self", "cross", "feed_forward")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cross_attention = MultiHeadAttention(
            self.num_heads, self.units, name="cross_attention", dtype=self.dtype_policy
        )

    def remember(self, memory):
        """Keys and values of the encoder's output `(B, S, D)`, for all steps to come."""
        return self.cross_attention.remember(memory)

    def call(self, x, memory, memory_mask, cache, positions, self_mask, training=False):
        memory_mask = memory_mask[:, None, :]  # every step sees the same source
        seen = dict(cache or {})

        def attend_self(x):
            new = self.self_attention.remember(x)
            seen.update(new if cache is None else extend_cache(cache, new, positions))
            return self.self_attention(x, seen, attention_mask=self_mask)

        def attend_source(x):
            if "attention" in seen:
                seen["attention"] = self.cross_attention.weights_for(x, memory, memory_mask)
            return self.cross_attention(x, memory, attention_mask=memory_mask)

        x = self._around("self", attend_self, x, training)
        x = self._around("cross", attend_source, x, training)
        x = self._around("feed_forward", lambda x: self._feed_forward(x, training), x, training)
        return x, seen
