"""Losses over padded sequences, normalized by the real tokens."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.src.losses import loss as keras_loss

from keras_seq.class_weight import refuse_for_steps
from keras_seq.crossentropy import token_crossentropy
from keras_seq.deferred_logits import DeferredLogits
from keras_seq.labels import checked_labels, labels_and_weights, of_some_rows, or_nan, steps_of, token_weights

__all__ = ["CTCLoss", "FrameCrossentropy", "QuantileLoss", "SequenceCrossentropy", "TokenCrossentropy", "WeightedLoss"]

_EXCLUDED = -1e8  # a logit this far below another one excludes its label


class WeightedLoss(keras.losses.Loss):
    """Base class of the losses here: the weighted sum of the values divided by the sum of the weights.

    A value of weight 0 adds nothing, even if it is NaN. Subclasses define `values_and_weights`.
    """

    def __call__(self, y_true, y_pred, sample_weight=None) -> Any:
        values, weights = self.values_and_weights(y_true, y_pred, sample_weight)
        # The reduction of Keras, so that the patches of `distribution` apply here too.
        value = keras_loss.reduce_weighted_values(
            ops.where(weights != 0, values, ops.zeros_like(values)),
            weights,
            reduction="mean_with_sample_weight",
            dtype=values.dtype,
        )
        return ops.sum(value) if len(value.shape) else value  # for zero rows Keras does not return a scalar

    def values_and_weights(self, y_true, y_pred, sample_weight) -> tuple[Any, Any]:
        """Returns the values and the weights, two tensors of one shape."""
        raise TypeError(f"{type(self).__name__} must define `values_and_weights(y_true, y_pred, sample_weight)`")


@keras.saving.register_keras_serializable("keras_seq")
class TokenCrossentropy(WeightedLoss):
    """Cross-entropy per real token: the weighted sum over all tokens divided by the sum of the weights.

    The losses of Keras divide by the number of positions, padding included.

    Args:
        label_smoothing: mass spread evenly over all V classes, the right one included (Keras's convention).
        ignore_class: label of positions without a label, such as -100 or -1 (None: no such label).
        chunk_size: number of tokens whose logits `fit` and `evaluate` compute at a time, for a `Seq2Seq`, `Transformer`
            or `LanguageModel` with a large vocabulary. The logits of a whole batch are then never held, and those of
            tokens without weight are not computed. The values are the same up to rounding. Metrics must be
            `Perplexity`, `TokenLoss` or `TokenAccuracy`. None: the logits of a batch at once.
        num_sampled: number of wrong words that a sampled softmax compares each label with in `fit`. TensorFlow draws
            them for each batch, and other backends are refused. The ids must be sorted by frequency, as those of
            `text.Words` are: a word of id k is drawn with a probability of about 1 / k. Loss and metrics of `fit` are
            those among these words. `evaluate` scores all words. None: all words.
    Call arguments:
        y_true: int `(B, T)`, or `(B, T, 1)`.   y_pred: logits, float `(B, T, V)`, or `DeferredLogits`.
        sample_weight: float `(B, T)`, or `(B,)` or `(B, 1)` for weights of whole sequences. Multiplied by the Keras
            mask of the logits, if they have one.
    Returns:
        scalar in nats, 0 if the weights sum to 0.
    Raises:
        ValueError: if `label_smoothing` is not in [0, 1), if `chunk_size` or `num_sampled` is below 1, for smoothed
            labels with sampled words, or if a label that counts is not a class: see `checked_labels`.
    Example:
        >>> labels = np.array([[1, 2, 0]])  # one row of three steps; the last one is padding
        >>> logits = np.zeros((1, 3, 4), "float32")  # four classes, all equally likely
        >>> loss = losses.TokenCrossentropy()(labels, logits, np.array([[1, 1, 0]]))
        >>> print(f"{float(loss):.4f}, log 4 = {np.log(4):.4f}")
        1.3863, log 4 = 1.3863
    Source: sampled softmax: Jean et al. 2015, section 3, arXiv:1412.2007.
    """

    def __init__(
        self,
        label_smoothing=0.0,
        ignore_class=None,
        chunk_size=None,
        num_sampled=None,
        name="token_crossentropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"`label_smoothing` must be in [0, 1). Received: {label_smoothing}")
        for argument, value in (("chunk_size", chunk_size), ("num_sampled", num_sampled)):
            if value is not None and value < 1:
                raise ValueError(f"`{argument}` must be at least 1, or None. Received: {value}")
        if num_sampled is not None and label_smoothing:
            raise ValueError(f"`num_sampled` cannot smooth labels. Received: label_smoothing={label_smoothing}")
        self.label_smoothing = label_smoothing
        self.ignore_class = ignore_class
        self.chunk_size = chunk_size
        self.num_sampled = num_sampled

    def values_and_weights(self, y_true, y_pred, sample_weight):
        if isinstance(y_pred, DeferredLogits):
            scored = y_pred.scored(y_true, sample_weight, self.ignore_class, self.name, self.label_smoothing)
            return or_nan(scored.values, scored.labels, y_pred.shape[-1]), scored.weights
        labels, weights = labels_and_weights(y_true, y_pred, sample_weight, self.ignore_class, self.name)
        values = token_crossentropy(labels, y_pred, self.label_smoothing)
        return or_nan(values, labels, y_pred.shape[-1]), weights

    def call(self, y_true, y_pred):
        return token_crossentropy(y_true, y_pred, self.label_smoothing)

    def get_config(self):
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "ignore_class": self.ignore_class,
            "chunk_size": self.chunk_size,
            "num_sampled": self.num_sampled,
        }


@keras.saving.register_keras_serializable("keras_seq")
class SequenceCrossentropy(TokenCrossentropy):
    """Cross-entropy per sequence: the weighted sum over all tokens divided by the number of sequences.

    With T tokens per sequence its gradient is T times that of `TokenCrossentropy`. Learning rates and clipping
    thresholds of papers that divide by the batch size hold for this loss.

    Args, call arguments: as for `TokenCrossentropy`. A row without weights is not a sequence.
    Returns:
        scalar in nats, 0 without sequences.
    Example:
        >>> labels, logits = np.array([[1, 2, 3]]), np.zeros((1, 3, 4), "float32")
        >>> print(f"{float(losses.SequenceCrossentropy()(labels, logits)):.4f}, 3 log 4 = {3 * np.log(4):.4f}")
        4.1589, 3 log 4 = 4.1589
    Source: Sutskever et al. 2014, section 3.4, arXiv:1409.3215.
    """

    def __init__(
        self,
        label_smoothing=0.0,
        ignore_class=None,
        chunk_size=None,
        num_sampled=None,
        name="sequence_crossentropy",
        **kwargs,
    ):
        super().__init__(label_smoothing, ignore_class, chunk_size, num_sampled, name=name, **kwargs)

    def values_and_weights(self, y_true, y_pred, sample_weight):
        values, weights = super().values_and_weights(y_true, y_pred, sample_weight)
        values = ops.where(weights != 0, values * ops.cast(weights, values.dtype), ops.zeros_like(values))
        return ops.sum(values, axis=1), ops.cast(ops.any(weights != 0, axis=1), weights.dtype)


def frame_crossentropy(y_true, logits) -> Any:
    """Binary cross-entropy of each frame in nats, summed over its features.

    Args:
        y_true: float `(B, T, F)`, from 0 to 1.   logits: float `(B, T, F)`.
    Returns:
        float32 `(B, T)`, or float64 for float64 logits. NaN for a frame with a value that is not from 0 to 1.
    """
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    y_true = ops.cast(y_true, logits.dtype)
    valid = ops.all(ops.logical_and(y_true >= 0, y_true <= 1), axis=-1)
    values = ops.sum(ops.binary_crossentropy(y_true, logits, from_logits=True), axis=-1)
    return ops.where(valid, values, ops.cast(float("nan"), values.dtype))


def frame_values_and_weights(y_true, y_pred, sample_weight=None, whose="the loss") -> tuple[Any, Any]:
    """The cross-entropy and the weight of each frame, two float tensors `(B, T)`. See `FrameCrossentropy`.

    Raises:
        ValueError: if `y_true` has another shape than the logits.
    """
    y_true = ops.convert_to_tensor(y_true)
    shapes = tuple(y_true.shape), tuple(y_pred.shape)
    if len(shapes[0]) != len(shapes[1]) or any(None not in (m, n) and m != n for m, n in zip(*shapes, strict=True)):
        raise ValueError(
            f"`{whose}`: `y_true` must have the shape of the logits, {shapes[1]}: the next frame at each step. "
            f"Received: shape {shapes[0]}"
        )
    weights = token_weights(y_true[..., 0], y_pred, sample_weight)
    counts = weights[..., None] != 0  # a NaN of weight 0 must not reach the gradient either
    y_true = ops.where(counts, ops.cast(y_true, y_pred.dtype), ops.zeros_like(y_pred))
    return frame_crossentropy(y_true, ops.where(counts, y_pred, ops.zeros_like(y_pred))), weights


@keras.saving.register_keras_serializable("keras_seq")
class FrameCrossentropy(WeightedLoss):
    """Binary cross-entropy per real frame: summed over the features, the weighted sum over all frames divided by the
    sum of the weights.

    This is the negative log-likelihood per frame of the literature on piano rolls. `keras.losses.BinaryCrossentropy`
    divides by the number of features too, and by the number of positions, padding included.

    Call arguments:
        y_true: float `(B, T, F)`, from 0 to 1.   y_pred: logits, float `(B, T, F)`.
        sample_weight: float `(B, T)`, 0 for padding, or `(B,)` for weights of whole sequences. Multiplied by the Keras
            mask of the logits, if they have one.
    Returns:
        scalar in nats, 0 if the weights sum to 0. NaN if a value that counts is not from 0 to 1.
    Raises:
        ValueError: if `y_true` has another shape than the logits.
    Example:
        >>> notes, logits = np.ones((1, 5, 88), "float32"), np.zeros((1, 5, 88), "float32")
        >>> print(f"{float(losses.FrameCrossentropy()(notes, logits)):.3f}, 88 log 2 = {88 * np.log(2):.3f}")
        60.997, 88 log 2 = 60.997
    Source: Boulanger-Lewandowski et al. 2012, arXiv:1206.6392; Bai et al. 2018, arXiv:1803.01271.
    """

    def __init__(self, name="frame_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def values_and_weights(self, y_true, y_pred, sample_weight):
        return frame_values_and_weights(y_true, y_pred, sample_weight, self.name)

    def call(self, y_true, y_pred):
        return frame_crossentropy(y_true, y_pred)


def pinball(y_true, y_pred, quantiles) -> Any:
    """The pinball loss of forecast quantiles, which the true quantiles minimize.

        q (y - f) if the value y is above the forecast f, (1 - q) (f - y) if it is below

    Averaged over the quantiles. The loss of the median alone is half the absolute error.

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
    """The pinball loss of quantile forecasts: the weighted mean over all forecast values.

    Args:
        quantiles: quantiles of the forecasts, Q numbers between 0 and 1.
    Call arguments:
        y_true: float `(B, H, C)`, or `(B, H)` for one column.   y_pred: float `(B, H, C, Q)`.
        sample_weight: float `(B, H, C)`, `(B, H)` or `(B,)`. Default: the Keras mask of the forecasts or, without one,
            1 for all values.
    Returns:
        scalar, 0 if the weights sum to 0.
    Raises:
        ValueError: if a quantile is not between 0 and 1, if the forecasts have another number of quantiles, or if
            `y_true` has another shape.
    Example:
        >>> loss = losses.QuantileLoss(quantiles=(0.9,))
        >>> observed, forecast = np.ones((1, 1, 1), "float32"), np.zeros((1, 1, 1, 1), "float32")
        >>> print(f"too low: {float(loss(observed, forecast)):.1f}, too high: {float(loss(-observed, forecast)):.1f}")
        too low: 0.9, too high: 0.1
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
        # A NaN of weight 0, such as a gap in a series, must not reach the gradient either.
        y_true = ops.where(weights != 0, ops.cast(y_true, y_pred.dtype), ops.zeros_like(y_pred[..., 0]))
        y_pred = ops.where(weights[..., None] != 0, y_pred, ops.zeros_like(y_pred))
        return self.call(y_true, y_pred), weights

    def _as_forecast(self, y_true, y_pred):
        """The true values in the shape of the forecasts. The axis of a single column may be missing."""
        wanted = y_pred.shape[:-1]
        if len(y_true.shape) == len(wanted) - 1 and wanted[-1] == 1:
            y_true = y_true[..., None]
        pairs = zip(y_true.shape, wanted, strict=False)
        if len(y_true.shape) != len(wanted) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                f"`{self.name}`: `y_true` must have the shape of the forecasts, {tuple(wanted)}. Received: shape "
                f"{tuple(y_true.shape)}"
            )
        return y_true

    def call(self, y_true, y_pred):
        if y_pred.shape[-1] != len(self.quantiles):
            raise ValueError(
                f"The forecasts must be (..., {len(self.quantiles)}), one number for each of the quantiles "
                f"{self.quantiles}. Received: shape {tuple(y_pred.shape)}"
            )
        return pinball(y_true, ops.cast(y_pred, keras.backend.result_type(y_pred.dtype, "float32")), self.quantiles)

    def get_config(self):
        return {**super().get_config(), "quantiles": self.quantiles}


@keras.saving.register_keras_serializable("keras_seq")
class CTCLoss(WeightedLoss):
    """Negative log-probability of the labels, summed over all alignments with the frames, per label.

    In `keras.losses.CTC` all rows count alike, and a row with more labels than its frames can emit makes the loss
    infinite or arbitrarily large. Here such a row costs nothing. The numbers of real frames are not needed if frames of
    padding predict the blank with certainty: see `layers.BlankPadding`.

    Args:
        blank_id: id of the blank label, which also pads the labels.
    Call arguments:
        y_true: int `(B, L)`, labels, left-aligned.   y_pred: logits, float `(B, T, V)`.
        sample_weight: float `(B,)` or `(B, 1)`, the weights of whole rows, or None.
    Returns:
        scalar in nats, 0 if there are no labels.
    Example:
        >>> logits = np.zeros((1, 2, 2), "float32")  # two steps; the blank and one label, equally likely
        >>> loss = losses.CTCLoss()(np.array([[1]]), logits)  # three of four paths give the label
        >>> print(f"{float(loss):.4f}, -log(3/4) = {-np.log(3 / 4):.4f}")
        0.2877, -log(3/4) = 0.2877
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
        """The loss of each row in nats, `(B,)`. For a row without an alignment it is that of the empty labeling."""
        y_true = ops.where(self._possible(y_true, y_pred)[:, None], ops.cast(y_true, "int32"), self.blank_id)
        lengths = ops.sum(ops.cast(y_true != self.blank_id, "int32"), axis=1)
        frames = ops.full_like(lengths, ops.shape(y_pred)[1])
        loss = functools.partial(ops.ctc_loss, mask_index=self.blank_id)
        return of_some_rows(loss, y_true, y_pred, lengths, frames)

    def _possible(self, y_true, y_pred):
        """Whether each row has enough frames, bool `(B,)`: one for each label, and one between equal neighbors."""
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
