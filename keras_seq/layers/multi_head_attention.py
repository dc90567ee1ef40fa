"""Multi-head attention, and the cache of keys and values for decoding."""

from typing import Any

import keras
from keras import ops

from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.dense import Dense
from keras_seq.layers.masks import masked_softmax
from keras_seq.layers.positions import rotate


@keras.saving.register_keras_serializable("keras_seq")
class MultiHeadAttention(CompositeLayer):
    """Scaled dot-product attention with several heads, over a memory that is projected once and can grow.

    Args:
        units: width of the output and of all heads together, D.
        num_heads: number of heads, H.
        use_bias: whether the four projections have a bias.
        num_key_value_heads: number of heads of keys and values, K. Each serves H / K query heads, which makes caches
            smaller by that factor. None: `num_heads`.
    Call arguments:
        query: float `(N, T, Dq)`. N is B, or a multiple of B if the adjacent beams of a sentence share one row of the
            memory. Each row of the memory then receives Q = N T / B queries at once.
        memory: `{"keys", "values"}`, float `(B, K, S, D / H)`, from `project_memory` or from `update_cache`.
        attention_mask: bool `(B, Q or 1, S)` or None. True where the query may attend.
        positions: int `(N or 1, T)`, for rotary positions. Queries are rotated here, keys by `project_memory` before
            they enter a cache. None: no rotation.
        bias: float `(B or 1, H, Q, S)`, added to the scores, or None.
    Returns:
        float `(N, T, D)`.
    Raises:
        ValueError: if `num_heads` does not divide `units`, or `num_key_value_heads` does not divide `num_heads`.
    Source: Vaswani et al. 2017, section 3.2, arXiv:1706.03762. Fewer heads of keys and values: Ainslie et al. 2023,
        arXiv:2305.13245. Rotation: Su et al. 2021, arXiv:2104.09864.
    """

    def __init__(self, units, num_heads, use_bias=True, num_key_value_heads=None, **kwargs):
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
        self.query_dense = Dense(units, name="query", **dense)
        self.key_dense = Dense(self.num_key_value_heads * self.head_dim, name="key", **dense)
        self.value_dense = Dense(self.num_key_value_heads * self.head_dim, name="value", **dense)
        self.output_dense = Dense(units, name="output", **dense)

    def _heads(self, x, num_heads, positions=None):
        N, T = ops.shape(x)[:2]
        x = ops.reshape(x, (N, T, num_heads, self.head_dim))  # (N, T, D) -> heads
        return x if positions is None else rotate(x, positions)

    def _grouped(self, x, num_heads):
        """(B, H, Q, X) to (B, K, H / K * Q, X), or back: heads that share keys become more queries."""
        if self.num_key_value_heads == self.num_heads:
            return x
        return ops.reshape(x, (ops.shape(x)[0], num_heads, -1, ops.shape(x)[3]))

    def project_memory(self, value, positions=None) -> dict[str, Any]:
        """Projects `(B, S, Dv)` to keys and values. `positions` `(B or 1, S)` rotates the keys."""
        keys = self._heads(self.key_dense(value), self.num_key_value_heads, positions)
        values = self._heads(self.value_dense(value), self.num_key_value_heads)
        # The products need the heads first. They are transposed here once, not at every step.
        return {"keys": ops.transpose(keys, (0, 2, 1, 3)), "values": ops.transpose(values, (0, 2, 1, 3))}

    def _weights(self, query, memory, attention_mask, positions, bias):
        """The attention weights of each query, `(B, H, Q, S)`."""
        keys = memory["keys"]
        query = self._heads(self.query_dense(query), self.num_heads, positions) * self.head_dim**-0.5
        query = ops.reshape(query, (ops.shape(keys)[0], -1, self.num_heads, self.head_dim))  # (B, Q, H, D / H)
        query = self._grouped(ops.transpose(query, (0, 2, 1, 3)), self.num_key_value_heads)
        scores = self._grouped(ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2))), self.num_heads)
        scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
        if bias is not None:
            scores = ops.add(scores, bias)
        return masked_softmax(scores, None if attention_mask is None else attention_mask[:, None])

    def call(self, query, memory, attention_mask=None, positions=None, bias=None):
        weights = ops.cast(self._weights(query, memory, attention_mask, positions, bias), self.compute_dtype)
        context = ops.matmul(self._grouped(weights, self.num_key_value_heads), memory["values"])
        context = ops.transpose(self._grouped(context, self.num_heads), (0, 2, 1, 3))  # (B, Q, H, D / H)
        N, T = ops.shape(query)[:2]
        return self.output_dense(ops.reshape(context, (N, T, self.units)))

    def compute_output_shape(
        self, query_shape, memory_shape=None, attention_mask_shape=None, positions_shape=None, bias_shape=None
    ):
        return (*query_shape[:2], self.units)

    def build_parts(self, input_shape):
        if not self.key_dense.built:
            self.refuse_to_build(input_shape)
        self.query_dense.build(input_shape)
        self.output_dense.build((None, None, self.units))

    def weights_for(self, query, memory, attention_mask=None, positions=None, bias=None) -> Any:
        """The weights that `call` uses, averaged over the heads: `(N, T, S)`. For plots and penalties."""
        weights = ops.mean(self._weights(query, memory, attention_mask, positions, bias), axis=1)  # (B, Q, S)
        N, T = ops.shape(query)[:2]
        return ops.cast(ops.reshape(weights, (N, T, ops.shape(weights)[2])), self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "units": self.units,
            "use_bias": self.use_bias,
            "num_key_value_heads": self.num_key_value_heads,
        }


def create_cache(batch_size, max_length, num_heads, head_dim, dtype) -> dict[str, Any]:
    """An empty cache for `max_length` keys and values: zeros `(B, H, max_length, D / H)`."""
    shape = (batch_size, num_heads, max_length, head_dim)
    return {"keys": ops.zeros(shape, dtype), "values": ops.zeros(shape, dtype)}


def within_room(x, positions, cache):
    """x `(B, T, D)`, with NaN at positions `(B, T)` beyond the end of a cache.

    TensorFlow raises an error there. XLA, on JAX or in compiled code, would silently skip such a step.
    """
    fits = positions < ops.shape(cache["keys"])[2]
    return ops.where(fits[:, :, None], x, ops.cast(float("nan"), x.dtype))


def update_cache(cache, new, positions) -> dict[str, Any]:
    """Writes new keys and values into a cache, at separate positions for each row.

    Args:
        cache: `{"keys", "values"}`, `(B, H, L, D / H)`.   new: those of T new steps, `(B, H, T, D / H)`.
        positions: int `(B, T)`.
    """
    B, H, T, D = ops.shape(new["keys"])
    rows, heads = ops.arange(B, dtype="int32")[:, None, None], ops.arange(H, dtype="int32")[:, None]
    where = [ops.broadcast_to(x, (B, H, T)) for x in (rows, heads, positions[:, None, :])]
    indices = ops.reshape(ops.stack(where, axis=-1), (-1, 3))  # (B * H * T, 3)
    return {
        name: ops.scatter_update(cache[name], indices, ops.reshape(new[name], (-1, D))) for name in ("keys", "values")
    }
