"""Attention in several heads, and the cache that a decoder keeps of its own steps."""

import keras
from keras import ops

from keras_seq.layers.masks import masked_softmax
from keras_seq.layers.positions import rotate


@keras.saving.register_keras_serializable("keras_seq")
class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention in several heads, over a memory that can be prepared once and grow.

    Args:
        num_heads: number of heads, H.
        units: width of the output and of all heads together, D.
        use_bias: whether the four projections have a bias.
        num_key_value_heads: number of heads of keys and values, K, each for H / K heads of the queries, which makes
            caches that much smaller; None: as many as `num_heads`.
    Call arguments:
        query: float `(B, T, Dq)`.
        memory: `{"keys", "values"}`, float `(B, S, K, D / H)`, from `remember` or from `extend_cache`.
        attention_mask: bool `(B, T or 1, S)` or None; True where the query may look.
        positions: int `(B or 1, T)`, for rotary positions: queries are rotated here, keys by `remember`, before they
            go into a cache. None: no rotation.
        bias: float `(B or 1, H, T, S)`, added to the scores, or None.
    Returns:
        float `(B, T, D)`.
    Raises:
        ValueError: if `num_heads` does not divide `units`, or `num_key_value_heads` not `num_heads`.
    Source: Vaswani et al. 2017, section 3.2, arXiv:1706.03762; fewer heads of keys and values: Ainslie et al. 2023,
        arXiv:2305.13245; rotation: Su et al. 2021, arXiv:2104.09864.
    """

    def __init__(self, num_heads, units, use_bias=True, num_key_value_heads=None, **kwargs):
        super().__init__(**kwargs)
        if num_heads <= 0 or units % num_heads:
            raise ValueError(f"`num_heads` must divide `units`={units}. Received: {num_heads}")
        if num_key_value_heads is not None and (num_key_value_heads <= 0 or num_heads % num_key_value_heads):
            raise ValueError(
                f"`num_key_value_heads` must divide `num_heads`={num_heads}. Received: {num_key_value_heads}"
            )
        self.num_heads = num_heads
        self.units = units
        self.use_bias = use_bias
        self.num_key_value_heads = num_key_value_heads or num_heads
        self.head_dim = units // num_heads
        self.supports_masking = True
        dense = {"use_bias": use_bias, "dtype": self.dtype_policy}
        self.query_dense = keras.layers.Dense(units, name="query", **dense)
        self.key_dense = keras.layers.Dense(self.num_key_value_heads * self.head_dim, name="key", **dense)
        self.value_dense = keras.layers.Dense(self.num_key_value_heads * self.head_dim, name="value", **dense)
        self.output_dense = keras.layers.Dense(units, name="output", **dense)

    def _heads(self, x, num_heads, positions=None):
        B, T = ops.shape(x)[:2]
        x = ops.reshape(x, (B, T, num_heads, self.head_dim))  # (B, T, D) -> heads
        return x if positions is None else rotate(x, positions)

    def remember(self, value, positions=None):
        """Projects `(B, S, Dv)` to keys and values; `positions` `(B or 1, S)` rotates the keys."""
        return {
            "keys": self._heads(self.key_dense(value), self.num_key_value_heads, positions),
            "values": self._heads(self.value_dense(value), self.num_key_value_heads),
        }

    def call(self, query, memory, attention_mask=None, positions=None, bias=None):
        keys, values = memory["keys"], memory["values"]
        if self.num_key_value_heads == 1:  # Keras 3.15 shares one head of keys on JAX, and fails to on TensorFlow
            keys, values = (ops.repeat(x, self.num_heads, axis=2) for x in (keys, values))
        context = ops.dot_product_attention(
            self._heads(self.query_dense(query), self.num_heads, positions),
            keys,
            values,
            bias=bias,
            mask=None if attention_mask is None else attention_mask[:, None, :, :],
        )
        B, T = ops.shape(query)[:2]
        return self.output_dense(ops.reshape(context, (B, T, self.units)))  # heads -> (B, T, D)

    def weights_for(self, query, memory, attention_mask=None, positions=None, bias=None):
        """The weights that `call` uses, averaged over the heads: `(B, T, S)`. For plots and penalties."""
        query = self._heads(self.query_dense(query), self.num_heads, positions)
        keys = ops.repeat(memory["keys"], self.num_heads // self.num_key_value_heads, axis=2)
        # (B, T, H, D / H) and (B, S, H, D / H) -> (B, H, T, S)
        scores = ops.matmul(ops.transpose(query, (0, 2, 1, 3)), ops.transpose(keys, (0, 2, 3, 1))) * self.head_dim**-0.5
        if bias is not None:
            scores = ops.add(scores, bias)
        return ops.mean(masked_softmax(scores, None if attention_mask is None else attention_mask[:, None]), axis=1)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "units": self.units,
            "use_bias": self.use_bias,
            "num_key_value_heads": self.num_key_value_heads,
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
