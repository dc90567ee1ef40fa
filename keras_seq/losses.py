"""Losses over padded sequences, normalized by the real tokens."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.src.backend.common.masking import get_keras_mask
from keras.src.losses import loss as keras_loss

from keras_seq.class_weight import refuse_for_steps

_EXCLUDED = -1e8  # logits so much lower than another one exclude a label


def token_crossentropy(labels, logits, label_smoothing=0.0) -> Any:
    """Cross-entropy of each position in nats.

    The softmax is computed once, in its fastest kernel, and kept for the gradient, which is written out by hand: on a
    CPU six times as fast as Keras's and TensorFlow's own cross-entropy when labels are smoothed, three times when not.

    Args:
        labels: int `(B, T)`.   logits: float `(B, T, V)`.
        label_smoothing: mass spread evenly over all V classes, the right one included (Keras's convention).
    Returns:
        float32 `(B, T)`, or float64 for float64 logits. A label that is no class counts as the nearest one: see
        `checked_labels`.
    """
    size = logits.shape[-1]
    labels = ops.clip(ops.cast(labels, "int32"), 0, size - 1)

    @ops.custom_gradient
    def crossentropy(logits):
        probabilities = ops.softmax(logits, axis=-1)
        right = ops.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
        # The largest probability is at least 1 / V, so its logarithm is safe, and with its logit gives the normalizer.
        # Of no rows Keras takes no maximum without one to begin with.
        normalizer = ops.max(logits, axis=-1, initial=-float("inf")) - ops.log(
            ops.max(probabilities, axis=-1, initial=0)
        )
        values = normalizer - right
        if label_smoothing:
            # (1 - e) * -log p(label) + e * mean(-log p) = -log p(label) + e * (logit(label) - mean(logits))
            values = values + label_smoothing * (right - ops.mean(logits, axis=-1))

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            wanted = (1 - label_smoothing) * ops.one_hot(labels, size, dtype=logits.dtype)
            slopes = probabilities - wanted
            if label_smoothing:
                slopes = slopes - label_smoothing / size
            return _product(slopes, upstream[..., None])

        return values, gradient

    return crossentropy(ops.cast(logits, keras.backend.result_type(logits.dtype, "float32")))


def _product(x, weights):
    """x times weights, and 0 where the weight is 0, even of a NaN."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.math.multiply_no_nan(x, weights)
    return ops.where(weights != 0, x * weights, ops.zeros_like(x))


def of_some_rows(function, *tensors):
    """The function of tensors `(B, ...)`, which gets a row of zeros where they have none.

    No rows are a replica's share of a small batch, say. TensorFlow (2.21) makes an error of them in `ctc_loss` and
    where it mirrors an end, and its convolution gives them the shape that they had.
    """
    B = ops.shape(tensors[0])[0]
    if keras.backend.backend() != "tensorflow" or (isinstance(B, int) and B > 0):
        return function(*tensors)
    missing = 1 if isinstance(B, int) else 1 - ops.minimum(B, 1)

    def some(x):
        return ops.concatenate([x, ops.zeros((missing, *ops.shape(x)[1:]), x.dtype)], axis=0)

    return function(*map(some, tensors))[:B]


def checked_labels(labels, counted, size, whose, remedy="Give a step without a label the weight 0.") -> Any:
    """Labels of which those that count are classes, from 0 to `size` - 1, and the others may be anything.

    Args:
        labels: int, of any shape.   counted: bool, as large; which of them count.
        size: how many classes there are.
        whose, remedy: of the error, the name of the loss or metric, and what to do.
    Returns:
        int32, 0 where nothing counts.
    Raises:
        ValueError or, in TensorFlow's graphs, InvalidArgumentError: for a label that counts and is no class. Where XLA
            compiles, and so always on JAX, nothing can be raised, and the loss is NaN: see `_or_nan`.
    """
    labels = ops.where(counted, ops.cast(labels, "int32"), 0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        least, largest = ops.min(labels, initial=0), ops.max(labels, initial=0)
        told = f"`{whose}`: labels that count must be classes of the model, 0 to {size - 1}. {remedy} Received:"
        if not tf.executing_eagerly():
            tf.debugging.Assert((least >= 0) & (largest < size), [told, least, largest])
        elif int(least) < 0 or int(largest) >= size:
            raise ValueError(f"{told} {int(least)} to {int(largest)}")
    return labels


def _or_nan(values, labels, size):
    """The values, NaN where a label is no class: seen at once, where nothing can be raised."""
    return ops.where(ops.logical_and(labels >= 0, labels < size), values, ops.cast(float("nan"), values.dtype))


class WeightedLoss(keras.losses.Loss):
    """What the losses here share: the sum of weighted values over all that counts, divided by the sum of the weights.

    What weighs nothing costs nothing, even where it is NaN. A loss of one's own defines `values_and_weights`.
    """

    def __call__(self, y_true, y_pred, sample_weight=None) -> Any:
        values, weights = self.values_and_weights(y_true, y_pred, sample_weight)
        # Keras's own reduction, so that what `distribution` mends there holds here too.
        value = keras_loss.reduce_weighted_values(
            ops.where(weights != 0, values, ops.zeros_like(values)),
            weights,
            reduction="mean_with_sample_weight",
            dtype=values.dtype,
        )
        return ops.sum(value) if len(value.shape) else value  # of no rows at all Keras gives back no number

    def values_and_weights(self, y_true, y_pred, sample_weight) -> tuple[Any, Any]:
        """Two tensors of one shape."""
        raise TypeError(f"{type(self).__name__} must define `values_and_weights(y_true, y_pred, sample_weight)`")


@keras.saving.register_keras_serializable("keras_seq")
class TokenCrossentropy(WeightedLoss):
    """Cross-entropy per real token: the weighted sum over all tokens divided by the sum of the weights.

    Keras's own losses divide by the number of positions, padding included.

    Args:
        label_smoothing: mass spread evenly over all V classes, the right one included (Keras's convention).
        ignore_class: what marks a position without a label, -100 or -1 say; None: nothing does.
    Call arguments:
        y_true: int `(B, T)`, or `(B, T, 1)`.   y_pred: logits, float `(B, T, V)`.
        sample_weight: float `(B, T)`, or `(B,)` or `(B, 1)` for weights of whole sequences; multiplied with the Keras
            mask of the logits, if they carry one.
    Returns:
        scalar, in nats; 0 where the weights sum to 0.
    Raises:
        ValueError: if `label_smoothing` is not in [0, 1), and for a label that counts and is no class: see
            `checked_labels`.
    """

    def __init__(self, label_smoothing=0.0, ignore_class=None, name="token_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"`label_smoothing` must be in [0, 1). Received: {label_smoothing}")
        self.label_smoothing = label_smoothing
        self.ignore_class = ignore_class

    def values_and_weights(self, y_true, y_pred, sample_weight):
        labels, weights = labels_and_weights(y_true, y_pred, sample_weight, self.ignore_class, self.name)
        values = token_crossentropy(labels, y_pred, self.label_smoothing)
        return _or_nan(values, labels, y_pred.shape[-1]), weights

    def call(self, y_true, y_pred):
        return token_crossentropy(y_true, y_pred, self.label_smoothing)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "ignore_class": self.ignore_class}


def labels_and_weights(y_true, y_pred, sample_weight=None, ignore_class=None, whose="the loss") -> tuple[Any, Any]:
    """What losses and metrics of tokens look at.

    Args:
        y_true: int `(B, T)` or `(B, T, 1)`.   y_pred: float `(B, T, V)`.
        sample_weight, ignore_class: see `TokenCrossentropy`.
        whose: see `checked_labels`.
    Returns:
        `(labels, weights)`: int32 and float32 `(B, T)`.
    """
    labels = steps_of(y_true, len(y_pred.shape) - 1, whose)
    weights = token_weights(labels, y_pred, sample_weight)
    if ignore_class is not None:
        weights = ops.where(labels == ignore_class, ops.zeros_like(weights), weights)
    remedy = "Give a step without a label the weight 0, or name what marks it as `ignore_class`."
    return checked_labels(labels, weights != 0, y_pred.shape[-1], whose, remedy), weights


def steps_of(y_true, rank, whose) -> Any:
    """The labels as int32 of so many axes, `(B, T)`; `(B, T, 1)` goes too, as with Keras's own losses.

    Raises:
        ValueError: for labels of another shape, one-hot ones say, which would be spread over the scores unseen.
    """
    labels = ops.cast(y_true, "int32")
    if len(labels.shape) == rank + 1 and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, axis=-1)
    if len(labels.shape) != rank:
        raise ValueError(
            f"`{whose}`: labels are whole numbers, one for each step, of {rank} axes; of one-hot ones take the "
            f"`argmax`. Received: shape {tuple(y_true.shape)}"
        )
    return labels


def token_weights(y_true, y_pred, sample_weight=None, dtype="float32") -> Any:
    """The weight of each position, as large as `y_true`: the weights given, those of rows or steps for all
    that is in them, times the Keras mask of the predictions."""
    shape = ops.shape(y_true)

    def spread(weights):
        weights = ops.cast(weights, dtype)
        if len(weights.shape) > len(shape):  # (B, T, 1)
            weights = ops.squeeze(weights, axis=-1)
        while len(weights.shape) < len(shape):
            weights = weights[..., None]
        return ops.broadcast_to(weights, shape)

    parts = [spread(each) for each in (sample_weight, get_keras_mask(y_pred)) if each is not None]
    return functools.reduce(ops.multiply, parts) if parts else ops.ones(shape, dtype)


def pinball(y_true, y_pred, quantiles) -> Any:
    """How far forecasts of quantiles are off, by the loss that a quantile makes least.

        q (y - f) where the value y lies above the forecast f, (1 - q) (f - y) below it

    The mean over the quantiles; that of the median alone is half the absolute error.

    Args:
        y_true: float `(...)`.   y_pred: float `(..., Q)`.
        quantiles: Q numbers between 0 and 1.
    Returns:
        float `(...)`.
    Source: Koenker and Bassett 1978, doi:10.2307/1913643.
    """
    error = ops.expand_dims(ops.cast(y_true, y_pred.dtype), -1) - y_pred  # (..., Q)
    levels = ops.convert_to_tensor(quantiles, y_pred.dtype)
    return ops.mean(ops.maximum(levels * error, (levels - 1) * error), axis=-1)


@keras.saving.register_keras_serializable("keras_seq")
class QuantileLoss(WeightedLoss):
    """The pinball loss of forecasts of quantiles: the weighted mean over all that is forecast.

    Args:
        quantiles: what the forecasts are of, Q numbers between 0 and 1.
    Call arguments:
        y_true: float `(B, H, C)`, or `(B, H)` for one column.   y_pred: float `(B, H, C, Q)`.
        sample_weight: float `(B, H, C)`, `(B, H)` or `(B,)`; without it the Keras mask of the forecasts counts, and
            without that everything.
    Returns:
        scalar; 0 where the weights sum to 0.
    Raises:
        ValueError: if a quantile is not between 0 and 1, for another number of them than the forecasts have, and for a
            `y_true` of another shape.
    Source: Koenker and Bassett 1978, doi:10.2307/1913643; for neural networks Wen et al. 2017, arXiv:1711.11053.
    """

    def __init__(self, quantiles: Sequence[float] = (0.1, 0.5, 0.9), name="quantile_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.quantiles = tuple(float(q) for q in quantiles)
        if not self.quantiles or not all(0 < q < 1 for q in self.quantiles):
            raise ValueError(f"`quantiles` must be numbers between 0 and 1. Received: {quantiles}")

    def values_and_weights(self, y_true, y_pred, sample_weight):
        y_true = self._as_forecast(ops.convert_to_tensor(y_true), y_pred)
        weights = token_weights(y_true, y_pred, sample_weight)
        # A NaN of weight 0, a gap in a series, reaches no slope either.
        y_true = ops.where(weights != 0, ops.cast(y_true, y_pred.dtype), ops.zeros_like(y_pred[..., 0]))
        y_pred = ops.where(weights[..., None] != 0, y_pred, ops.zeros_like(y_pred))
        return self.call(y_true, y_pred), weights

    def _as_forecast(self, y_true, y_pred):
        """What came, as large as what was forecast: a lone column may lack its axis."""
        wanted = y_pred.shape[:-1]
        if len(y_true.shape) == len(wanted) - 1 and wanted[-1] == 1:
            y_true = y_true[..., None]
        pairs = zip(y_true.shape, wanted, strict=False)
        if len(y_true.shape) != len(wanted) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                f"`{self.name}`: what came must be as large as what was forecast, {tuple(wanted)}. Received: shape "
                f"{tuple(y_true.shape)}"
            )
        return y_true

    def call(self, y_true, y_pred):
        if y_pred.shape[-1] != len(self.quantiles):
            raise ValueError(
                f"The forecasts must be (..., {len(self.quantiles)}), a number for each of the quantiles "
                f"{self.quantiles}. Received: shape {tuple(y_pred.shape)}"
            )
        return pinball(y_true, ops.cast(y_pred, keras.backend.result_type(y_pred.dtype, "float32")), self.quantiles)

    def get_config(self):
        return {**super().get_config(), "quantiles": self.quantiles}


@keras.saving.register_keras_serializable("keras_seq")
class CTCLoss(WeightedLoss):
    """Negative log-probability of the labels, summed over all alignments with the frames, per label.

    `keras.losses.CTC` counts by rows, and a row that has more labels than its frames can say makes it infinite or
    arbitrarily large; here such a row costs nothing. Which frames are real need not be known, if those of padding say
    the blank for certain: see `layers.BlankPadding`.

    Args:
        blank_id: the label that is none, and pads the others.
    Call arguments:
        y_true: int `(B, L)`, labels from the left.   y_pred: logits, float `(B, T, V)`.
        sample_weight: float `(B,)` or `(B, 1)`, the weights of whole rows; or None.
    Returns:
        scalar, in nats; 0 where there are no labels.
    Source: Graves et al. 2006, "Connectionist temporal classification".
    """

    def __init__(self, blank_id=0, name="ctc_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.blank_id = blank_id

    def values_and_weights(self, y_true, y_pred, sample_weight):
        y_true, V = steps_of(y_true, 2, self.name), y_pred.shape[-1]
        rows = ops.ones_like(y_true[:, 0], dtype=y_pred.dtype)
        if sample_weight is not None:
            rows = ops.reshape(ops.cast(sample_weight, y_pred.dtype), (-1,))
        remedy = f"Pad labels with the blank, {self.blank_id}."
        counted = ops.broadcast_to(rows[:, None] != 0, ops.shape(y_true))
        labels = checked_labels(y_true, counted, V, self.name, remedy)
        fits = ops.all(ops.logical_and(labels >= 0, labels < V), axis=1)
        labels = ops.where(ops.logical_and(rows != 0, fits)[:, None], labels, self.blank_id)
        count = ops.cast(ops.maximum(ops.sum(ops.cast(labels != self.blank_id, "int32"), axis=1), 1), y_pred.dtype)
        possible = ops.cast(self._possible(labels, y_pred), y_pred.dtype)
        values = ops.where(fits, self.call(labels, y_pred), ops.cast(float("nan"), y_pred.dtype))
        return values / count, possible * count * rows

    def call(self, y_true, y_pred):
        """Nats of each row, `(B,)`; those of the empty labeling where there is no alignment."""
        y_true = ops.where(self._possible(y_true, y_pred)[:, None], ops.cast(y_true, "int32"), self.blank_id)
        lengths = ops.sum(ops.cast(y_true != self.blank_id, "int32"), axis=1)
        frames = ops.full_like(lengths, ops.shape(y_pred)[1])
        loss = functools.partial(ops.ctc_loss, mask_index=self.blank_id)
        return of_some_rows(loss, y_true, y_pred, lengths, frames)

    def _possible(self, y_true, y_pred):
        """Whether the frames suffice, bool `(B,)`: one for each label, and one between any two equal neighbors."""
        y_true = ops.cast(y_true, "int32")
        real = y_true != self.blank_id
        twice = ops.logical_and(real[:, 1:], y_true[:, 1:] == y_true[:, :-1])
        needed = ops.sum(ops.cast(real, "int32"), axis=1) + ops.sum(ops.cast(twice, "int32"), axis=1)
        blank = y_pred[..., self.blank_id]
        others = ops.where(
            ops.arange(y_pred.shape[-1], dtype="int32") == self.blank_id, ops.cast(_EXCLUDED, y_pred.dtype), y_pred
        )
        frames = ops.sum(
            ops.cast(ops.max(others, axis=-1, initial=-float("inf")) - blank > _EXCLUDED / 2, "int32"), axis=1
        )
        return frames >= needed

    def get_config(self):
        return {**super().get_config(), "blank_id": self.blank_id}


refuse_for_steps()
