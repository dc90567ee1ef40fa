"""Attention over a memory.

Every layer here works in two halves, so that a decoder prepares the memory once and queries it at each step:

    memory = layer.remember(value, mask)       # {"keys", "values", "mask"}
    context, weights = layer(query, memory)    # any number of queries at once

Keras has layers named `Attention` and `AdditiveAttention`. They lack the literature's weight matrices and prepare
the memory anew at every call; these have both.
"""

import keras
from keras import ops


def masked_softmax(scores, mask):
    """Softmax over the last axis, with nothing on the positions that `mask` excludes.

    Args:
        scores: float `(B, ..., S)`.
        mask: bool, broadcastable to `scores`, or None. A row without a single real position gives even weights.
    """
    if mask is not None:
        # Finite, so that a row that is all padding gives numbers, and small enough for float16.
        scores = ops.where(mask, scores, ops.cast(-3e4, scores.dtype))
    return ops.softmax(scores, axis=-1)


class MemoryAttention(keras.layers.Layer):
    """What the attentions of recurrent decoders share: a memory, a score, a weighted mean."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        if units <= 0:
            raise ValueError(f"`units` must be positive. Received: {units}")
        self.units = units
        self.supports_masking = True

    def keys(self, value):
        """What the score compares the query with, computed once for a memory: `(B, S, Dv)` to `(B, S, K)`."""
        return value

    def score(self, query, keys):
        """Scores each key for each query: `(B, T, Dq)` and `(B, S, K)` to `(B, T, S)`."""
        raise TypeError(f"{type(self).__name__} must define `score(query, keys)`")

    def remember(self, value, mask=None):
        if mask is None:
            mask = ops.ones(ops.shape(value)[:2], "bool")
        return {"keys": self.keys(value), "values": value, "mask": mask}

    def call(self, query, memory):
        weights = masked_softmax(self.score(query, memory["keys"]), memory["mask"][:, None, :])
        return ops.matmul(weights, memory["values"]), weights

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("keras_seq")
class AdditiveAttention(MemoryAttention):
    """Attends through a one-hidden-layer score.

        score(q, k) = v . tanh(W q + U k)

    Args:
        units: width of the hidden layer.
    Call arguments:
        query: float `(B, T, Dq)`.   memory: what `remember(value, mask)` returns for float `(B, S, Dv)`.
    Returns:
        `(context, weights)`, `(B, T, Dv)` and `(B, T, S)`.
    Raises:
        ValueError: if `units` is not positive.
    Source: Bahdanau et al. 2015, appendix A.1.2, arXiv:1409.0473.
    """

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.query_dense = keras.layers.Dense(units, name="query", dtype=self.dtype_policy)
        self.key_dense = keras.layers.Dense(units, use_bias=False, name="key", dtype=self.dtype_policy)
        self.score_dense = keras.layers.Dense(1, use_bias=False, name="score", dtype=self.dtype_policy)

    def keys(self, value):
        return self.key_dense(value)

    def score(self, query, keys):
        hidden = ops.tanh(self.query_dense(query)[:, :, None, :] + keys[:, None, :, :])  # (B, T, S, units)
        return ops.squeeze(self.score_dense(hidden), axis=-1)


@keras.saving.register_keras_serializable("keras_seq")
class DotAttention(MemoryAttention):
    """Attends through the plain product of query and key, which must be of one width.

        score(q, k) = q . k

    Args:
        units: width of queries and values, D.
    Call arguments:
        query: float `(B, T, D)`.   memory: what `remember(value, mask)` returns for float `(B, S, D)`.
    Returns:
        `(context, weights)`, `(B, T, D)` and `(B, T, S)`.
    Raises:
        ValueError: if the query and the memory differ in width.
    Source: Luong et al. 2015, section 3.1, arXiv:1508.04025.
    """

    def score(self, query, keys):
        if query.shape[-1] != keys.shape[-1]:
            raise ValueError(
                f"Dot attention needs a query as wide as the memory; use 'general' or 'additive' otherwise. "
                f"Received: query {query.shape[-1]}, memory {keys.shape[-1]}"
            )
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))


@keras.saving.register_keras_serializable("keras_seq")
class GeneralAttention(MemoryAttention):
    """Attends through a bilinear score, the matrix applied to the memory once.

        score(q, k) = q . W k

    Args:
        units: width of the queries, Dq.
    Call arguments:
        query: float `(B, T, Dq)`.   memory: what `remember(value, mask)` returns for float `(B, S, Dv)`.
    Returns:
        `(context, weights)`, `(B, T, Dv)` and `(B, T, S)`.
    Source: Luong et al. 2015, section 3.1, arXiv:1508.04025.
    """

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.key_dense = keras.layers.Dense(units, use_bias=False, name="key", dtype=self.dtype_policy)

    def keys(self, value):
        return self.key_dense(value)

    def score(self, query, keys):
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))


ATTENTIONS = {"additive": AdditiveAttention, "dot": DotAttention, "general": GeneralAttention}


@keras.saving.register_keras_serializable("keras_seq")
class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention in several heads, over a memory that can be prepared once and grow.

    Args:
        num_heads: number of heads, H.
        units: width of the output and of all heads together, D.
        use_bias: whether the four projections have a bias.
    Call arguments:
        query: float `(B, T, Dq)`.
        memory: `{"keys", "values"}`, float `(B, S, H, D / H)`, from `remember` or from `extend`.
        attention_mask: bool `(B, T or 1, S)` or None; True where the query may look.
    Returns:
        float `(B, T, D)`.
    Raises:
        ValueError: if `num_heads` does not divide `units`.
    Source: Vaswani et al. 2017, section 3.2, arXiv:1706.03762.
    """

    def __init__(self, num_heads, units, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        if num_heads <= 0 or units % num_heads:
            raise ValueError(f"`num_heads` must divide `units`={units}. Received: {num_heads}")
        self.num_heads = num_heads
        self.units = units
        self.use_bias = use_bias
        self.supports_masking = True
        dense = {"use_bias": use_bias, "dtype": self.dtype_policy}
        self.query_dense = keras.layers.Dense(units, name="query", **dense)
        self.key_dense = keras.layers.Dense(units, name="key", **dense)
        self.value_dense = keras.layers.Dense(units, name="value", **dense)
        self.output_dense = keras.layers.Dense(units, name="output", **dense)

    def _split(self, x):
        B, T = ops.shape(x)[:2]
        return ops.reshape(x, (B, T, self.num_heads, self.units // self.num_heads))  # (B, T, D) -> heads

    def remember(self, value):
        """Projects `(B, S, Dv)` to the keys and values that queries meet."""
        return {"keys": self._split(self.key_dense(value)), "values": self._split(self.value_dense(value))}

    def call(self, query, memory, attention_mask=None):
        context = ops.dot_product_attention(
            self._split(self.query_dense(query)),
            memory["keys"],
            memory["values"],
            mask=None if attention_mask is None else attention_mask[:, None, :, :],
        )
        B, T = ops.shape(query)[:2]
        return self.output_dense(ops.reshape(context, (B, T, self.units)))  # heads -> (B, T, D)

    def weights_for(self, query, memory, attention_mask=None):
        """The weights that `call` uses, averaged over the heads: `(B, T, S)`. For plots and penalties."""
        query = ops.transpose(self._split(self.query_dense(query)), (0, 2, 1, 3))  # (B, H, T, D / H)
        keys = ops.transpose(memory["keys"], (0, 2, 3, 1))  # (B, H, D / H, S)
        scores = ops.matmul(query, keys) * (self.units // self.num_heads) ** -0.5
        return ops.mean(masked_softmax(scores, None if attention_mask is None else attention_mask[:, None]), axis=1)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "units": self.units,
            "use_bias": self.use_bias,
        }


def empty_cache(batch_size, max_length, num_heads, head_dim, dtype):
    """Room for `max_length` keys and values: zeros `(B, max_length, H, head_dim)`."""
    shape = (batch_size, max_length, num_heads, head_dim)
    return {"keys": ops.zeros(shape, dtype), "values": ops.zeros(shape, dtype)}


def extend_cache(cache, new, positions):
    """Writes new keys and values at each row's own positions.

    Args:
        cache: `{"keys", "values"}`, `(B, L, H, D / H)`.   new: the same for T new steps, `(B, T, H, D / H)`.
        positions: int `(B, T)`.
    """
    B, T = ops.shape(new["keys"])[:2]
    rows = ops.broadcast_to(ops.arange(B)[:, None], (B, T))
    indices = ops.reshape(ops.stack([rows, positions], axis=-1), (-1, 2))  # (B * T, 2)
    head_shape = new["keys"].shape[2:]
    return {
        name: ops.scatter_update(cache[name], indices, ops.reshape(new[name], (-1, *head_shape)))
        for name in ("keys", "values")
    }
