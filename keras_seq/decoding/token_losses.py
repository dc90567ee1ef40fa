"""The loss of every token of a running text, in blocks or with a carried state."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops


class TokenLosses:
    """Measures a language model on text that `data.blocks` or `data.streams` has cut.

        measure = decoding.TokenLosses(model, compiled=tf.function)
        nats = np.nanmean(measure(data.streams(ids, batch_size=1, length=64)))

    Blocks are independent of the text before them. For streams, the state is carried from batch to batch, apart from
    the state that the model carries in training.

    Args:
        model: `initial_state(batch_size, max_length)` and `decode(tokens, state)`.
        compiled: wrapper of the one function of tensors: `tf.function`, `jax.jit`. Default: eager.
    """

    def __init__(self, model, compiled: Callable | None = None):
        self.model = model

        def measure(tokens, labels, state):
            logits, state = model.decode(tokens, state)
            logits = ops.cast(logits, "float32")
            return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True), state

        self._measure = compiled(measure) if compiled else measure

    def __call__(self, batches: Iterable[tuple[Any, Any, Any]]) -> np.ndarray:
        """Nats, float `(N, T)`: one row for each row of each batch, in their order, NaN where the weight is 0."""
        rows, state = [], None
        for inputs, labels, weights in batches:
            tokens = inputs
            if isinstance(inputs, Mapping):
                tokens = inputs["tokens"]
                state = self._begun(state, ops.convert_to_tensor(inputs["starts"]))
            values, after = self._measure(ops.convert_to_tensor(tokens), ops.convert_to_tensor(labels), state)
            state = None if state is None else after
            rows.append(np.where(np.asarray(weights) > 0, ops.convert_to_numpy(values), np.nan))
        return np.concatenate(rows)

    def _begun(self, state, starts):
        """The state, with zeros where a stream starts."""
        zero = self.model.initial_state(ops.shape(starts)[0], None)
        if state is None:
            return zero
        return keras.tree.map_structure(lambda new, old: ops.where(starts[:, None], new, old), zero, state)
