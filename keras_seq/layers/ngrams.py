"""Scores of steps from the n-grams around them: the features of a linear tagger, as a layer."""

from typing import Any

import keras
import numpy as np
from keras import ops

_MULTIPLIER = -2048144789  # 0x85ebca6b as int32, of MurmurHash3's final mix: products wrap around


@keras.saving.register_keras_serializable("keras_seq")
class NgramScores(keras.layers.Layer):
    """Scores each step by the n-grams of ids around it, each with weights of its own: a linear model.

        score[t] = scale * the sum of table[hash(n-gram, its place relative to t)] over the n-grams near t

    An n-gram is near t if all its ids are at most `window` steps from t, beyond the ends of the sequence too, where the
    id is that of no token. Different inputs, such as words and their parts of speech, have n-grams of their own. The
    weights are in one table, where a hash chooses the row. Different n-grams rarely share a row if `num_rows` is larger
    than their number.

    Added to the scores of a recurrent network, they are the direct connections from features to tags of Huang et al. A
    `CRF` on them alone is the classical linear one.

    Args:
        num_outputs: number of scores of a step, N.
        max_n: length of the longest n-gram, or a tuple with the length for each input. 0: the input has no n-grams.
        window: greatest distance of an id from its step, at least `(max_n - 1) / 2`.
        num_rows: number of rows of the table.
        scale: factor of the scores. Adam moves a weight by about the learning rate in an update, and most n-grams occur
            in few updates. With a factor their scores grow as fast as those of other layers.
        dropout: share of the n-grams of each step that are left out in training. The others count more.
        pad_id: id of padding. A step whose first id it is lies beyond the ends of the sequence.
        table_initializer: initializer of the table.
        seed: seed of the dropout.
    Call arguments:
        inputs: int `(B, T)` or `(B, T, F)`, or a list of these.
    Returns:
        float `(B, T, N)`, with the mask of the first input.
    Raises:
        ValueError: if an option is invalid, if the inputs are not integers, or if `max_n` is not one for each.
    Example:
        >>> layer = layers.NgramScores(5, max_n=2)
        >>> tuple(layer(np.array([[5, 6, 7], [8, 9, 0]])).shape)
        (2, 3, 5)
    Source: Huang, Xu and Yu 2015, section 4.3, arXiv:1508.01991. The hash: Weinberger et al. 2009, arXiv:0902.2206.
    """

    def __init__(
        self,
        num_outputs,
        max_n=3,
        window=2,
        num_rows=2**18,
        scale=10.0,
        dropout=0.5,
        pad_id=0,
        table_initializer: Any = "zeros",
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in {"num_outputs": num_outputs, "num_rows": num_rows}.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}")
        longest = [max_n] if isinstance(max_n, int) else list(max_n)
        if not 1 <= max(longest) <= 2 * window + 1 or min(longest) < 0:
            raise ValueError(
                "`max_n` must be from 1 to 2 * `window` + 1, the number of steps in the window, or 0 for some inputs. "
                f"Received: max_n={max_n}, window={window}"
            )
        self.num_outputs = num_outputs
        self.max_n = max_n if isinstance(max_n, int) else tuple(max_n)
        self.window = window
        self.num_rows = num_rows
        self.scale = scale
        self.dropout = keras.layers.Dropout(dropout, noise_shape=(None, None, None, 1), seed=seed, name="dropout")
        self.pad_id = pad_id
        self.table_initializer = keras.initializers.get(table_initializer)
        self.supports_masking = True

    def build(self, input_shape):
        shapes = _each(input_shape, isinstance(input_shape[0], list | tuple))
        spans = zip(shapes, self._longest(len(shapes)), strict=True)
        self.num_ngrams = sum((shape[2] if len(shape) == 3 else 1) * len(self._places(n)) for shape, n in spans)  # K
        shape = (self.num_rows, self.num_outputs)
        self.table = self.add_weight(shape=shape, initializer=self.table_initializer, name="table")

    def call(self, inputs, training=None):
        vectors = ops.take(self.table, self.rows(inputs), axis=0)  # (B, T, K, N)
        return self.scale * ops.sum(self.dropout(vectors, training=training), axis=2)

    def rows(self, inputs):
        """The rows of the K n-grams near each step, int32 `(B, T, K)`."""
        inputs = _each(inputs)
        for x in inputs:
            dtype = keras.backend.standardize_dtype(x.dtype)
            if not keras.backend.is_int_dtype(dtype):
                raise ValueError(f"The inputs must be ids, integers. Received: {dtype}")
        real = ops.not_equal(_ids(inputs[0])[:, :, :1], self.pad_id)
        steps, window, streams, rows = ops.shape(inputs[0])[1], self.window, 0, []
        for x, max_n in zip(inputs, self._longest(len(inputs)), strict=True):
            ids = ops.where(real, ops.cast(_ids(x), "int32") + 1, 0)  # (B, T, F), 0 beyond the ends
            padded = ops.pad(ids, [[0, 0], [window, window], [0, 0]])
            near = [padded[:, i : i + steps] for i in range(2 * window + 1)]
            for n, first in self._places(max_n):
                own = 1 + streams + np.arange(ids.shape[2], dtype="int32") + 64 * first + 4096 * n
                keys = ops.zeros_like(ids) + own  # of the place, the length and the number of the id in its step
                for token in (0, *near[first : first + n]):  # the 0 mixes the bits before ids come
                    keys = ops.bitwise_xor(keys, token) * _MULTIPLIER
                    keys = ops.bitwise_xor(keys, ops.right_shift(keys, 15))
                rows.append(ops.mod(keys, self.num_rows))
            streams += ids.shape[2]
        return ops.concatenate(rows, axis=-1)

    def _longest(self, inputs):
        """The length of the longest n-gram of each input."""
        longest = (self.max_n,) * inputs if isinstance(self.max_n, int) else self.max_n
        if len(longest) != inputs:
            raise ValueError(f"`max_n` must have one length for each of {inputs} inputs. Received: {self.max_n}")
        return longest

    def _places(self, max_n):
        """Length and first step, in the window, of each n-gram near a step."""
        return [(n, first) for n in range(1, max_n + 1) for first in range(2 * self.window + 2 - n)]

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(_ids(_each(inputs)[0])[:, :, 0], self.pad_id)

    def compute_output_shape(self, input_shape):
        return (*_each(input_shape, isinstance(input_shape[0], list | tuple))[0][:2], self.num_outputs)

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor((*_each(inputs)[0].shape[:2], self.num_outputs), self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "max_n": self.max_n,
            "window": self.window,
            "num_rows": self.num_rows,
            "scale": self.scale,
            "dropout": self.dropout.rate,
            "pad_id": self.pad_id,
            "table_initializer": keras.initializers.serialize(self.table_initializer),
            "seed": self.dropout.seed,
        }


def _each(inputs, several=None):
    """One input, or several, as a list."""
    return list(inputs) if (isinstance(inputs, list | tuple) if several is None else several) else [inputs]


def _ids(x):
    """Ids as `(B, T, F)`."""
    return x if len(x.shape) == 3 else x[:, :, None]
