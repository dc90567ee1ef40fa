"""Attention over a memory.

Each layer here has two steps. A decoder projects the memory once and queries it at every step:

    memory = layer.project_memory(value, mask)       # {"keys", "values", "mask"}
    context, weights = layer(query, memory)    # any number of queries at once

Keras has layers named `Attention` and `AdditiveAttention`. They lack the literature's weight matrices, and project the
memory again at every call.
"""

import keras
from keras import ops

from keras_seq.labels import of_some_rows
from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.dense import Dense
from keras_seq.layers.masks import at_least_float32, carried_mask, masked_softmax, without_padding


class MemoryAttention(CompositeLayer):
    """Base class of the attentions for recurrent decoders: a memory, a score, a weighted mean.

    `uses_past` is whether `call` requires `past`, the sum of the weights of all earlier steps, `(B, S)`. The other
    attentions accept and ignore it.
    """

    uses_past = False

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        if units <= 0:
            raise ValueError(f"`units` must be positive. Received: {units}")
        self.units = units
        self.supports_masking = True

    def keys(self, value):
        """Computes the keys of the score, once for each memory: `(B, S, Dv)` to `(B, S, K)`."""
        return value

    def score(self, query, keys):
        """Scores each key for each query: `(B, T, Dq)` and `(B, S, K)` to `(B, T, S)`."""
        raise TypeError(f"{type(self).__name__} must define `score(query, keys)`")

    def project_memory(self, value, mask=None):
        """Prepares `value`, float `(B, S, Dv)`, for `call`. `mask`, bool `(B, S)`, defaults to the mask of `value`."""
        mask = carried_mask(value, mask)
        if mask is None:
            mask = ops.ones_like(value[..., 0], dtype="bool")
        value = without_padding(value, mask)
        return {"keys": self.keys(value), "values": value, "mask": mask}

    def call(self, query, memory, past=None):
        N, T, D = ops.shape(query)
        B, S, V = ops.shape(memory["values"])
        # (N, T, Dq) -> (B, N / B * T, Dq): adjacent beams of a sentence share one row of the memory.
        scores = self.score(ops.reshape(query, (B, -1, D)), memory["keys"])
        weights = masked_softmax(scores, memory["mask"][:, None, :])
        context = ops.matmul(weights, memory["values"])
        return ops.reshape(context, (N, T, V)), ops.reshape(weights, (N, T, S))

    def compute_output_shape(self, query_shape, memory_shape=None, past_shape=None):
        _, S, V = memory_shape["values"]
        return (*query_shape[:2], V), (*query_shape[:2], S)

    def build_parts(self, input_shape):
        """Builds the layers applied to the query. `project_memory` builds those applied to the memory."""
        if hasattr(self, "key_dense") and not self.key_dense.built:
            self.refuse_to_build(input_shape)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("keras_seq")
class AdditiveAttention(MemoryAttention):
    """Attention with a score from one hidden layer.

        score(q, k) = v . tanh(W q + U k)

    Args:
        units: width of the hidden layer.
    Call arguments:
        query: float `(B, T, Dq)`.   memory: the result of `project_memory(value, mask)` for float `(B, S, Dv)`.
    Returns:
        `(context, weights)`, `(B, T, Dv)` and `(B, T, S)`.
    Raises:
        ValueError: if `units` is not positive.
    Source: Bahdanau et al. 2015, appendix A.1.2, arXiv:1409.0473.
    """

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.query_dense = Dense(units, name="query", dtype=self.dtype_policy)
        self.key_dense = Dense(units, use_bias=False, name="key", dtype=self.dtype_policy)
        self.score_dense = keras.layers.Dense(1, use_bias=False, name="score", dtype=self.dtype_policy)

    def keys(self, value):
        return self.key_dense(value)

    def build_parts(self, input_shape):
        super().build_parts(input_shape)
        self.query_dense.build(input_shape)
        if not self.score_dense.built:
            self.score_dense.build((None, None, self.units))

    def score(self, query, keys):
        hidden = ops.tanh(self.query_dense(query)[:, :, None, :] + keys[:, None, :, :])  # (B, T, S, units)
        return ops.squeeze(self.score_dense(hidden), axis=-1)


@keras.saving.register_keras_serializable("keras_seq")
class DotAttention(MemoryAttention):
    """Attention whose score is the dot product of query and key, which must have the same width.

        score(q, k) = q . k

    Args:
        units: width of queries and values, D.
    Call arguments:
        query: float `(B, T, D)`.   memory: the result of `project_memory(value, mask)` for float `(B, S, D)`.
    Returns:
        `(context, weights)`, `(B, T, D)` and `(B, T, S)`.
    Raises:
        ValueError: if the query and the memory differ in width.
    Source: Luong et al. 2015, section 3.1, arXiv:1508.04025.
    """

    def score(self, query, keys):
        if query.shape[-1] != keys.shape[-1]:
            raise ValueError(
                f"Dot attention needs a query as wide as the memory. Use 'general' or 'additive' otherwise. "
                f"Received: query {query.shape[-1]}, memory {keys.shape[-1]}"
            )
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))


@keras.saving.register_keras_serializable("keras_seq")
class ScaledDotAttention(DotAttention):
    """Attention whose score is the dot product of query and key, divided by the square root of their width.

        score(q, k) = q . k / sqrt(D)

    Without the division, wide queries make the softmax so steep that its gradients almost vanish.

    Args, call arguments, returns and errors: as for `DotAttention`.
    Source: Vaswani et al. 2017, section 3.2.1, arXiv:1706.03762.
    """

    def score(self, query, keys):
        return super().score(query * query.shape[-1] ** -0.5, keys)  # scaled first: float16 overflows at 65504


@keras.saving.register_keras_serializable("keras_seq")
class GeneralAttention(MemoryAttention):
    """Attention with a bilinear score, whose matrix is applied once to the memory.

        score(q, k) = q . W k

    Args:
        units: width of the queries, Dq.
    Call arguments:
        query: float `(B, T, Dq)`.   memory: the result of `project_memory(value, mask)` for float `(B, S, Dv)`.
    Returns:
        `(context, weights)`, `(B, T, Dv)` and `(B, T, S)`.
    Source: Luong et al. 2015, section 3.1, arXiv:1508.04025.
    """

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.key_dense = Dense(units, use_bias=False, name="key", dtype=self.dtype_policy)

    def keys(self, value):
        return self.key_dense(value)

    def score(self, query, keys):
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))


@keras.saving.register_keras_serializable("keras_seq")
class LocationSensitiveAttention(AdditiveAttention):
    """Additive attention whose score depends on the weights of the earlier steps, as speech synthesis requires.

        score(q, k_s) = v . tanh(W q + U k_s + L f_s),   f = filters * (the sum of the weights of all steps before)

    Args:
        units: width of the hidden layer.
        filters: number of convolution filters.
        kernel_size: number of source positions that a filter covers.
    Call arguments:
        query: float `(B, T, Dq)`.   memory: the result of `project_memory(value, mask)` for float `(B, S, Dv)`.
        past: float `(B, S)`, the sum of the weights of all earlier steps, or None for the first steps.
    Returns:
        `(context, weights)`, `(B, T, Dv)` and `(B, T, S)`. To continue later, add `ops.sum(weights, axis=1)` to `past`.
    Raises:
        ValueError: if `units`, `filters` or `kernel_size` is not positive.
    Source: Chorowski et al. 2015, section 2.1, arXiv:1506.07503. The sum instead of the last step's weights, and the
        defaults: Shen et al. 2018, section 2.2, arXiv:1712.05884.
    """

    uses_past = True

    def __init__(self, units, filters=32, kernel_size=31, **kwargs):
        super().__init__(units, **kwargs)
        if filters <= 0 or kernel_size <= 0:
            raise ValueError(f"`filters` and `kernel_size` must be positive. Received: {filters}, {kernel_size}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.location_filters = keras.layers.Conv1D(
            filters, kernel_size, padding="same", use_bias=False, name="location_filters", dtype=self.dtype_policy
        )
        self.location_dense = keras.layers.Dense(units, use_bias=False, name="location", dtype=self.dtype_policy)
        # Built here, since variables must not be created inside a loop over steps.
        self.location_filters.build((None, None, 1))
        self.location_dense.build((None, None, filters))
        self.score_dense.build((None, None, units))

    def call(self, query, memory, past=None):
        query = self.query_dense(query)  # (B, T, units)
        # In float32 at least, since the sum of the weights of many steps needs more digits than float16 has.
        exact = at_least_float32(self.compute_dtype)
        past = ops.zeros(ops.shape(memory["mask"]), exact) if past is None else ops.cast(past, exact)

        def step(past, query):
            location = of_some_rows(self.location_filters, past[:, :, None])
            location = self.location_dense(location)  # (B, S, units)
            scores = self.score_dense(ops.tanh(query[:, None, :] + memory["keys"] + location))[:, :, 0]
            weights = masked_softmax(ops.cast(scores, exact), memory["mask"])  # (B, S)
            return past + weights, weights

        if query.shape[1] == 1:
            weights = step(past, query[:, 0])[1][:, None, :]
        else:
            _, weights = ops.scan(step, past, ops.transpose(query, (1, 0, 2)))
            weights = ops.transpose(weights, (1, 0, 2))  # (T, B, S) -> (B, T, S)
        weights = ops.cast(weights, self.compute_dtype)
        return ops.matmul(weights, memory["values"]), weights

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}


ATTENTIONS = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "general": GeneralAttention,
    "scaled_dot": ScaledDotAttention,
    "location": LocationSensitiveAttention,
}
