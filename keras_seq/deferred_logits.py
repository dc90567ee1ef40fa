"""Scores over a large vocabulary, computed for some tokens at a time, so that those of a whole batch are never held."""

import dataclasses
import math
from typing import Any

import keras
from keras import ops
from keras.src.backend.common import masking

from keras_seq import products
from keras_seq.crossentropy import surprise_and_slopes
from keras_seq.labels import labels_and_weights


@dataclasses.dataclass(frozen=True)
class ScoredTokens:
    """What losses and metrics read of the scores of tokens, each `(B, T)`.

    Attributes:
        labels, weights: int32 and float32, as of `labels_and_weights`.
        values: the cross-entropy with smoothed labels in nats. Its gradient is that of the mean by these weights.
        surprise: -log p(label) in nats, without a gradient.
        correct: 1 where the label has the largest score, else 0. None unless asked for.

    With `num_sampled` these are those among the sampled words, in training.
    """

    labels: Any
    weights: Any
    values: Any
    surprise: Any
    correct: Any


class DeferredLogits:
    """The logits `(B, T, V)` of a batch, which are computed for `chunk_size` tokens at a time.

    A model passes them to its loss and its metrics in a step of `fit` or `evaluate`, see `losses.TokenCrossentropy`. A
    chunk's logits serve the loss, the metrics and, while they are at hand, the gradient. Tokens of weight 0 are left
    out.

    Args:
        vectors: float `(B, T, D)`, with their Keras mask.
        kernel: float `(D, V)` or, with `transposed`, `(V, D)`: the logits are `vectors @ kernel`.
        transposed: whether the rows of the kernel are those of the vocabulary, as in an embedding matrix.
        chunk_size: number of tokens. Unused for sampled words.
        num_sampled: number of wrong words that each label is compared with in training. None: all.
        training: whether to compute the gradient.
        correct: whether to compute `ScoredTokens.correct`.
    """

    def __init__(
        self,
        vectors,
        kernel,
        *,
        transposed=False,
        chunk_size=1024,
        num_sampled=None,
        training=True,
        correct=False,
    ):
        self.vectors = vectors
        self.kernel = kernel
        self.transposed = transposed
        self.chunk_size = chunk_size
        self.num_sampled = num_sampled
        self.training = training
        self.correct = correct
        self.shape = (*vectors.shape[:-1], kernel.shape[0 if transposed else -1])
        self.dtype = vectors.dtype
        masking.set_keras_mask(self, masking.get_keras_mask(vectors))
        self._scored = {}

    def scored(self, y_true, sample_weight=None, ignore_class=None, whose="the loss", label_smoothing=None):
        """The scores of the labels, a `ScoredTokens`. Computed once for equal labels and weights.

        Args:
            y_true, sample_weight, ignore_class, whose: see `labels_and_weights`.
            label_smoothing: see `TokenCrossentropy`. None: without the gradient, for a metric.
        """
        key = id(y_true), id(sample_weight), ignore_class  # the arguments of one step, which live as long as it
        if label_smoothing is not None or key not in self._scored:
            labels, weights = labels_and_weights(y_true, self, sample_weight, ignore_class, whose)
            self._scored[key] = self._score(labels, weights, label_smoothing or 0.0, label_smoothing is not None)
        return self._scored[key]

    def _score(self, labels, weights, label_smoothing, differentiable):
        if self.num_sampled is not None and self.training:
            values = self._sampled(labels, weights)
            return ScoredTokens(labels, weights, values, ops.stop_gradient(values), None)
        size = self.vectors.shape[-1]
        shape, real = ops.shape(labels), weights != 0
        flat = ops.reshape(ops.where(real[..., None], self.vectors, ops.zeros_like(self.vectors)), (-1, size))
        function = _differentiable_rows if differentiable and self.training else _Chunks.rows
        chunks = _Chunks(
            ops.reshape(ops.clip(labels, 0, self.shape[-1] - 1), (-1,)),
            ops.reshape(weights, (-1,)),
            self.transposed,
            self.chunk_size,
            label_smoothing,
            self.correct,
            products.in_bfloat16(self.training, self.dtype, math.prod(self.kernel.shape)),
        )
        rows = ops.reshape(function(chunks, flat, self.kernel), (3 if self.correct else 2, *shape))
        surprise, correct = ops.stop_gradient(rows[1]), ops.stop_gradient(rows[2]) if self.correct else None
        return ScoredTokens(labels, weights, rows[0], surprise, correct)

    def _sampled(self, labels, weights):
        """-log p of the labels among themselves and the sampled words, `(B, T)`. 0 for tokens of weight 0."""
        if keras.backend.backend() != "tensorflow":
            raise ValueError(f"`num_sampled` needs the TensorFlow backend. Received: {keras.backend.backend()}")
        import tensorflow as tf

        V, D = self.shape[-1], self.vectors.shape[-1]
        if self.num_sampled > V:
            raise ValueError(
                f"`num_sampled` must be at most {V}, the size of the vocabulary. Received: {self.num_sampled}"
            )
        dtype = keras.backend.result_type(self.vectors.dtype, "float32")
        x = tf.cast(tf.reshape(self.vectors, (-1, D)), dtype)
        right = tf.cast(tf.reshape(tf.clip_by_value(labels, 0, V - 1), (-1, 1)), tf.int64)  # (N, 1)
        drawn, *frequencies = tf.random.log_uniform_candidate_sampler(right, 1, self.num_sampled, True, V)
        log_q, log_q_drawn = (tf.math.log(tf.cast(frequency, dtype)) for frequency in frequencies)  # (N, 1), (S,)
        kernel = tf.convert_to_tensor(self.kernel)
        own, others = (
            tf.cast(tf.gather(kernel, ids) if self.transposed else tf.transpose(tf.gather(kernel, ids, axis=1)), dtype)
            for ids in (right[:, 0], drawn)
        )
        rounded = products.in_bfloat16(self.training, dtype, self.num_sampled * D)
        product = products.rounded_matmul if rounded else tf.matmul
        own_scores = tf.reduce_sum(x * own, axis=1, keepdims=True) - log_q
        scores = product(x, others, transpose_b=True) - log_q_drawn
        scores = tf.where(drawn == right, tf.constant(-math.inf, dtype), scores)  # drawn, but right
        values = tf.reduce_logsumexp(tf.concat([own_scores, scores], axis=1), axis=1) - own_scores[:, 0]
        real = tf.reshape(weights != 0, (-1,))
        return tf.reshape(tf.where(real, values, tf.zeros_like(values)), tf.shape(labels))


def _differentiable_rows(chunks, vectors, kernel):
    """`_Chunks.rows`. The gradient of the values must be a multiple of the weights."""

    @ops.custom_gradient
    def rows(vectors, kernel):
        rows, of_vectors, of_kernel = chunks.rows_and_gradients(vectors, kernel)
        weights = ops.cast(chunks.weights, rows.dtype)

        def gradient(*args, upstream=None):
            upstream = (args[0] if upstream is None else upstream)[0]
            scale = ops.divide_no_nan(ops.sum(upstream * weights), ops.sum(weights * weights))
            return ops.cast(scale, of_vectors.dtype) * of_vectors, ops.cast(scale, of_kernel.dtype) * of_kernel

        return rows, gradient

    return rows(vectors, kernel)


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """Scores N tokens in chunks, those of weight 0 last, which are left out as far as they fill whole chunks.

    Args:
        labels, weights: int and float `(N,)`.
        transposed, chunk_size, correct: see `DeferredLogits`.
        label_smoothing: see `TokenCrossentropy`.
        bfloat16: whether to compute the products in bfloat16, see `keras_seq.products`.
    """

    labels: Any
    weights: Any
    transposed: bool
    chunk_size: int
    label_smoothing: float
    correct: bool
    bfloat16: bool

    def rows(self, vectors, kernel) -> Any:
        """The values, the surprise and, if asked for, whether the label is the best: float `(2 or 3, N)`.

        Args:
            vectors: float `(N, D)`.   kernel: float `(D, V)`, or `(V, D)` if `transposed`.
        """
        return self._run(vectors, kernel, gradients=False)[0]

    def rows_and_gradients(self, vectors, kernel) -> tuple[Any, Any, Any]:
        """The same, and the gradients of the sum of values times weights."""
        return self._run(vectors, kernel, gradients=True)

    def _run(self, vectors, kernel, gradients):
        N, dtype = ops.shape(vectors)[0], keras.backend.result_type(vectors.dtype, "float32")
        transposed, real = self.transposed, self.weights != 0
        scored = self._rounded(kernel)
        order = ops.argsort(ops.cast(ops.logical_not(real), "int32"))  # real tokens first
        number = _at_least_1(_divided(N, self.chunk_size))
        size = _divided(N, number)  # chunks of one size, without a rest
        used = _divided(ops.sum(ops.cast(real, "int32")), _at_least_1(size))

        def chunked(x):
            """`(N, ...)` in the order, filled up with zeros: `(number, size, ...)`."""
            x = ops.take(x, order, axis=0)
            x = ops.pad(x, [(0, number * size - N)] + [(0, 0)] * (len(x.shape) - 1))
            return ops.reshape(x, (number, size, *x.shape[1:]))

        def original(x):
            """The inverse of `chunked`."""
            return ops.take(ops.reshape(x, (number * size, *x.shape[2:])), ops.argsort(order), axis=0)

        labels, weights, x = chunked(self.labels), chunked(ops.cast(self.weights, dtype)), chunked(vectors)

        def chunk(i, rows, of_vectors=None, of_kernel=None):
            new, slopes = self._chunk(x[i], scored, labels[i], weights[i])
            rows = _filled(rows, i, ops.transpose(new))
            if not gradients:
                return i + 1, rows
            slopes = slopes(weights[i])
            of_vectors = _filled(of_vectors, i, self._product(slopes, scored, transpose_b=not transposed))
            pair = (slopes, x[i]) if transposed else (x[i], slopes)
            return i + 1, rows, of_vectors, of_kernel + ops.cast(self._product(*pair, transpose_a=True), dtype)

        first = [ops.zeros((), "int32"), ops.zeros((number, size, 3 if self.correct else 2), dtype)]
        if gradients:
            first += [ops.zeros_like(x), ops.cast(ops.zeros_like(kernel), dtype)]
        _, rows, *both = _one_by_one(lambda i, *_: i < used, chunk, first)
        rows = ops.transpose(original(rows))
        return (rows, original(both[0]), ops.cast(both[1], kernel.dtype)) if gradients else (rows, None, None)

    def _rounded(self, x):
        return ops.cast(x, "bfloat16") if self.bfloat16 else x

    def _product(self, a, b, **transposed):
        dtype = a.dtype
        return ops.cast(_product(self._rounded(a), self._rounded(b), **transposed), dtype)

    def _chunk(self, x, kernel, labels, weights):
        """The rows of a chunk, and the function to its gradient."""

        def logits():
            return self._product(x, kernel, transpose_b=self.transposed)

        scores = logits()
        surprise, values, slopes = surprise_and_slopes(labels, scores, self.label_smoothing, again=logits)
        rows = [values, surprise]
        if self.correct:
            best = ops.cast(ops.argmax(scores, axis=-1), labels.dtype)
            rows.append(ops.cast(ops.equal(best, labels), values.dtype))
        return ops.where(weights != 0, ops.stack(rows), ops.zeros((), values.dtype)), slopes


def _divided(x, y):
    """x / y, rounded up."""
    return (x + y - 1) // y


def _at_least_1(x):
    return max(x, 1) if isinstance(x, int) else ops.maximum(x, 1)


def _one_by_one(condition, body, first):
    """A loop without chunks side by side, which would all be held."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.while_loop(condition, body, first, parallel_iterations=1)
    return ops.while_loop(condition, body, first)


def _filled(x, i, row):
    """x `(chunks, ...)` with another row i."""
    return ops.scatter_update(x, ops.reshape(i, (1, 1)), row[None])


def _product(a, b, transpose_a=False, transpose_b=False):
    """The product of two matrices, without a transposed copy of one."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    return ops.matmul(ops.transpose(a) if transpose_a else a, ops.transpose(b) if transpose_b else b)
