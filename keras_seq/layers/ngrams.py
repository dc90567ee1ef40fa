"""The features of a linear tagger as layers: n-grams around a word, beginnings and ends of words."""

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
        window: greatest distance of an id from its step, at least `(max_n - 1) / 2`, or a tuple as for `max_n`.
        num_rows: number of rows of the table.
        scale: factor of the scores. Adam moves a weight by about the learning rate in an update, and most n-grams occur
            in few updates. With a factor their scores grow as fast as those of other layers.
        pad_id: id of padding. A step whose first id it is lies beyond the ends of the sequence.
        table_initializer: initializer of the table.
        table_regularizer: regularizer of the table. Most n-grams occur once, so it should have one.
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
        pad_id=0,
        table_initializer: Any = "zeros",
        table_regularizer: Any = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in {"num_outputs": num_outputs, "num_rows": num_rows}.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}")
        self.max_n, self.window = (x if isinstance(x, int) else tuple(x) for x in (max_n, window))
        spans = self._spans(max((len(x) for x in (self.max_n, self.window) if isinstance(x, tuple)), default=1))
        if not any(n for n, _ in spans) or any(not 0 <= n <= 2 * width + 1 for n, width in spans):
            raise ValueError(
                "`max_n` must be from 1 to 2 * `window` + 1, the number of steps in the window, or 0 for some inputs. "
                f"Received: max_n={max_n}, window={window}"
            )
        self.num_outputs = num_outputs
        self.num_rows = num_rows
        self.scale = scale
        self.pad_id = pad_id
        self.table_initializer = keras.initializers.get(table_initializer)
        self.table_regularizer = keras.regularizers.get(table_regularizer)
        self.supports_masking = True

    def build(self, input_shape):
        shapes = _each(input_shape, isinstance(input_shape[0], list | tuple))
        spans = zip(shapes, self._spans(len(shapes)), strict=True)
        self.num_ngrams = sum((shape[2] if len(shape) == 3 else 1) * len(_places(*span)) for shape, span in spans)  # K
        self.table = self.add_weight(
            shape=(self.num_rows, self.num_outputs),
            initializer=self.table_initializer,
            regularizer=self.table_regularizer,
            name="table",
        )

    def call(self, inputs):
        return self.scale * ops.sum(ops.take(self.table, self.rows(inputs), axis=0), axis=2)

    def rows(self, inputs):
        """The rows of the K n-grams near each step, int32 `(B, T, K)`."""
        inputs = _each(inputs)
        for x in inputs:
            dtype = keras.backend.standardize_dtype(x.dtype)
            if not keras.backend.is_int_dtype(dtype):
                raise ValueError(f"The inputs must be ids, integers. Received: {dtype}")
        real = ops.not_equal(_ids(inputs[0])[:, :, :1], self.pad_id)
        steps, streams, rows = ops.shape(inputs[0])[1], 0, []
        for x, (max_n, window) in zip(inputs, self._spans(len(inputs)), strict=True):
            ids = ops.where(real, ops.cast(_ids(x), "int32") + 1, 0)  # (B, T, F), 0 beyond the ends
            padded = ops.pad(ids, [[0, 0], [window, window], [0, 0]])
            near = [padded[:, i : i + steps] for i in range(2 * window + 1)]
            for n, first in _places(max_n, window):
                own = 1 + streams + np.arange(ids.shape[2], dtype="int32") + 64 * first + 4096 * n
                keys = ops.zeros_like(ids) + own  # of the place, the length and the number of the id in its step
                for token in (0, *near[first : first + n]):  # the 0 mixes the bits before ids come
                    keys = _mixed(keys, token)
                rows.append(ops.mod(keys, self.num_rows))
            streams += ids.shape[2]
        return ops.concatenate(rows, axis=-1)

    def _spans(self, inputs):
        """`max_n` and `window` of each input."""
        pair = [(x,) * inputs if isinstance(x, int) else x for x in (self.max_n, self.window)]
        if any(len(x) != inputs for x in pair):
            raise ValueError(
                f"`max_n` and `window` must be a number, or one for each of {inputs} inputs. "
                f"Received: max_n={self.max_n}, window={self.window}"
            )
        return list(zip(*pair, strict=True))

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(_ids(_each(inputs)[0])[:, :, 0], self.pad_id)

    def compute_output_shape(self, input_shape):
        return (*_each(input_shape, isinstance(input_shape[0], list | tuple))[0][:2], self.num_outputs)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*_each(inputs)[0].shape[:2], self.num_outputs), self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "max_n": self.max_n,
            "window": self.window,
            "num_rows": self.num_rows,
            "scale": self.scale,
            "pad_id": self.pad_id,
            "table_initializer": keras.initializers.serialize(self.table_initializer),
            "table_regularizer": keras.regularizers.serialize(self.table_regularizer),
        }


@keras.saving.register_keras_serializable("keras_seq")
class Affixes(keras.layers.Layer):
    """Ids of the first and last characters of words, for `NgramScores`.

    They are hashes of the first 1, 2, ... and of the last 1, 2, ... characters. In place of more characters than a word
    has, they are those of the whole word with a mark.

    Args:
        max_length: greatest number of characters of a beginning or an end, L.
        pad_id: id of padding, on the right of the characters.
    Call arguments:
        inputs: int `(B, T, C)`, the characters of each word.
    Returns:
        int32 `(B, T, 2 L)`, any integers. Its mask is False for words without characters.
    Raises:
        ValueError: if `max_length` is below 1.
    Example:
        >>> words = np.array([[[3, 4, 5], [7, 4, 5]]])  # two words that end alike
        >>> ids = np.array(layers.Affixes(2)(words))
        >>> (ids[0, 0] == ids[0, 1]).tolist()
        [False, False, True, True]
    """

    def __init__(self, max_length=4, pad_id=0, **kwargs):
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        if max_length < 1:
            raise ValueError(f"`max_length` must be at least 1. Received: {max_length}")
        self.max_length = max_length
        self.pad_id = pad_id
        self.supports_masking = True

    def call(self, inputs):
        L = self.max_length
        real = ops.not_equal(inputs, self.pad_id)
        lengths = ops.sum(ops.cast(real, "int32"), axis=-1, keepdims=True)  # (B, T, 1)
        characters = ops.where(real, ops.cast(inputs, "int32") + 1, 0)
        characters = ops.pad(characters, [[0, 0], [0, 0], [0, L]])  # 0 beyond the ends
        places = np.arange(L, dtype="int32")
        back = lengths - 1 - places  # the places of the last characters, the last first
        last = ops.take_along_axis(characters, ops.maximum(back, 0), axis=-1)
        keys = []
        for side in (characters[:, :, :L], ops.where(back >= 0, last, 0)):
            key = ops.zeros_like(side[:, :, 0])
            for i in range(L):
                key = _mixed(key, side[:, :, i])
                keys.append(key)
        return ops.stack(keys, axis=-1)

    def compute_mask(self, inputs, mask=None):
        return ops.any(ops.not_equal(inputs, self.pad_id), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], 2 * self.max_length)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), "int32")

    def get_config(self):
        return {**super().get_config(), "max_length": self.max_length, "pad_id": self.pad_id}


def _mixed(keys, token):
    """Hashes with one id more, int32."""
    keys = ops.bitwise_xor(keys, token) * _MULTIPLIER
    return ops.bitwise_xor(keys, ops.right_shift(keys, 15))


def _places(max_n, window):
    """Length and first step, in the window, of each n-gram near a step."""
    return [(n, first) for n in range(1, max_n + 1) for first in range(2 * window + 2 - n)]


def _each(inputs, several=None):
    """One input, or several, as a list."""
    return list(inputs) if (isinstance(inputs, list | tuple) if several is None else several) else [inputs]


def _ids(x):
    """Ids as `(B, T, F)`."""
    return x if len(x.shape) == 3 else x[:, :, None]
