"""Losses over padded sequences, normalised by the real tokens."""

import keras
from keras import ops
from keras.src.losses import loss as keras_loss

_EXCLUDED = -1e8  # logits so much lower than another one exclude a label


def token_crossentropy(labels, logits, label_smoothing=0.0):
    """Cross-entropy of each position in nats.

    The softmax is computed once, in its fastest kernel, and kept for the gradient, which is written out by hand: on a
    CPU six times as fast as Keras's and TensorFlow's own cross-entropy when labels are smoothed, three times when not.

    Args:
        labels: int `(B, T)`.   logits: float `(B, T, V)`.
        label_smoothing: mass spread evenly over all V classes, the right one included (Keras's convention).
    Returns:
        float32 `(B, T)`, or float64 for float64 logits.
    """
    labels = ops.cast(labels, "int32")
    size = logits.shape[-1]

    @ops.custom_gradient
    def crossentropy(logits):
        probabilities = ops.softmax(logits, axis=-1)
        right = ops.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
        # The largest probability is at least 1 / V, so its logarithm is safe, and with its logit gives the normaliser.
        normaliser = ops.max(logits, axis=-1) - ops.log(ops.max(probabilities, axis=-1))
        values = normaliser - right
        if label_smoothing:
            # (1 - e) * -log p(label) + e * mean(-log p) = -log p(label) + e * (logit(label) - mean(logits))
            values = values + label_smoothing * (right - ops.mean(logits, axis=-1))

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            wanted = (1 - label_smoothing) * ops.one_hot(labels, size, dtype=logits.dtype)
            slopes = probabilities - wanted
            if label_smoothing:
                slopes = slopes - label_smoothing / size
            return slopes * upstream[..., None]

        return values, gradient

    return crossentropy(ops.cast(logits, keras.backend.result_type(logits.dtype, "float32")))


@keras.saving.register_keras_serializable("keras_seq")
class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy per real token: the weighted sum over all tokens divided by the sum of the weights.

    Keras's own losses divide by the number of positions, padding included.

    Args:
        label_smoothing: mass spread evenly over all V classes, the right one included (Keras's convention).
    Call arguments:
        y_true: int `(B, T)`.   y_pred: logits, float `(B, T, V)`.
        sample_weight: float `(B, T)`, or `(B,)` or `(B, 1)` for weights of whole sequences; without it the Keras mask
            of the logits counts, and without that every position.
    Returns:
        scalar, in nats; 0 where the weights sum to 0.
    Raises:
        ValueError: if `label_smoothing` is not in [0, 1).
    """

    def __init__(self, label_smoothing=0.0, name="token_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"`label_smoothing` must be in [0, 1). Received: {label_smoothing}")
        self.label_smoothing = label_smoothing

    def __call__(self, y_true, y_pred, sample_weight=None):
        values = self.call(y_true, y_pred)
        weights = token_weights(y_true, y_pred, sample_weight)
        # Keras's own reduction, so that what `distribution` mends there holds here too.
        return keras_loss.reduce_weighted_values(
            values, weights, reduction="mean_with_sample_weight", dtype=values.dtype
        )

    def call(self, y_true, y_pred):
        return token_crossentropy(y_true, y_pred, self.label_smoothing)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def token_weights(y_true, y_pred, sample_weight=None):
    """The weight of each position, float32 and as large as `y_true`: the weights given, or the Keras mask of the
    predictions, or ones. Those of whole rows or steps hold for all that is in them."""
    if sample_weight is None:
        sample_weight = getattr(y_pred, "_keras_mask", None)
    shape = ops.shape(y_true)
    if sample_weight is None:
        return ops.ones(shape, "float32")
    weights = ops.cast(sample_weight, "float32")
    while len(weights.shape) < len(shape):
        weights = weights[..., None]
    return ops.broadcast_to(weights, shape)


def pinball(y_true, y_pred, quantiles):
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
class QuantileLoss(keras.losses.Loss):
    """The pinball loss of forecasts of quantiles: the weighted mean over all that is forecast.

    Args:
        quantiles: what the forecasts are of, Q numbers between 0 and 1.
    Call arguments:
        y_true: float `(B, H, C)`.   y_pred: float `(B, H, C, Q)`.
        sample_weight: float `(B, H, C)`, `(B, H)` or `(B,)`; without it the Keras mask of the forecasts counts, and
            without that everything.
    Returns:
        scalar; 0 where the weights sum to 0.
    Raises:
        ValueError: if a quantile is not between 0 and 1, and for another number of them than the forecasts have.
    Source: Koenker and Bassett 1978, doi:10.2307/1913643; for neural networks Wen et al. 2017, arXiv:1711.11053.
    """

    def __init__(self, quantiles=(0.1, 0.5, 0.9), name="quantile_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.quantiles = tuple(float(q) for q in quantiles)
        if not self.quantiles or not all(0 < q < 1 for q in self.quantiles):
            raise ValueError(f"`quantiles` must be numbers between 0 and 1. Received: {quantiles}")

    def __call__(self, y_true, y_pred, sample_weight=None):
        values = self.call(y_true, y_pred)
        weights = token_weights(values, y_pred, sample_weight)
        return keras_loss.reduce_weighted_values(
            values, weights, reduction="mean_with_sample_weight", dtype=values.dtype
        )

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
class CTCLoss(keras.losses.Loss):
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

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = ops.cast(y_true, "int32")
        values = self.call(y_true, y_pred)
        labels = ops.cast(ops.maximum(ops.sum(ops.cast(y_true != self.blank_id, "int32"), axis=1), 1), values.dtype)
        possible = ops.cast(self._possible(y_true, y_pred), values.dtype)
        weights = possible * labels
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.cast(sample_weight, values.dtype), (-1,))
        return keras_loss.reduce_weighted_values(
            values / labels, weights, reduction="mean_with_sample_weight", dtype=values.dtype
        )

    def call(self, y_true, y_pred):
        """Nats of each row, `(B,)`; those of the empty labelling where there is no alignment."""
        y_true = ops.where(self._possible(y_true, y_pred)[:, None], ops.cast(y_true, "int32"), self.blank_id)
        lengths = ops.sum(ops.cast(y_true != self.blank_id, "int32"), axis=1)
        frames = ops.full_like(lengths, ops.shape(y_pred)[1])
        return ops.ctc_loss(y_true, y_pred, lengths, frames, mask_index=self.blank_id)

    def _possible(self, y_true, y_pred):
        """Whether the frames suffice, bool `(B,)`: one for each label, and one between any two equal neighbours."""
        y_true = ops.cast(y_true, "int32")
        real = y_true != self.blank_id
        twice = ops.logical_and(real[:, 1:], y_true[:, 1:] == y_true[:, :-1])
        needed = ops.sum(ops.cast(real, "int32"), axis=1) + ops.sum(ops.cast(twice, "int32"), axis=1)
        blank = y_pred[..., self.blank_id]
        others = ops.where(ops.arange(y_pred.shape[-1]) == self.blank_id, ops.cast(_EXCLUDED, y_pred.dtype), y_pred)
        frames = ops.sum(ops.cast(ops.max(others, axis=-1) - blank > _EXCLUDED / 2, "int32"), axis=1)
        return frames >= needed

    def get_config(self):
        return {**super().get_config(), "blank_id": self.blank_id}
