"""Metrics over ids and frames, each real step counted once. Pass them to `compile` as `weighted_metrics`."""

from typing import Any

import keras
from keras import ops

from keras_seq.crossentropy import token_crossentropy
from keras_seq.deferred_logits import DeferredLogits
from keras_seq.labels import labels_and_weights
from keras_seq.losses import frame_values_and_weights

__all__ = ["FrameLoss", "Perplexity", "TokenAccuracy", "TokenLoss", "TokenMean"]


class WeightedMean(keras.metrics.Metric):
    """The weighted mean of values, over all batches so far. Subclasses define `values_and_weights`, as losses do."""

    def __init__(self, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def values_and_weights(self, y_true, y_pred, sample_weight) -> tuple[Any, Any]:
        """Returns the values and the weights, two tensors of one shape."""
        raise TypeError(f"{type(self).__name__} must define `values_and_weights(y_true, y_pred, sample_weight)`")

    def update_state(self, y_true, y_pred, sample_weight=None):
        values, weights = self.values_and_weights(y_true, y_pred, sample_weight)
        weights = ops.cast(weights, values.dtype)
        self.total.assign_add(ops.sum(ops.where(weights != 0, values * weights, ops.zeros_like(values))))
        self.count.assign_add(ops.sum(weights))

    def mean(self) -> Any:
        return ops.divide_no_nan(self.total, self.count)

    def result(self) -> Any:
        return self.mean()


class TokenMean(WeightedMean):
    """The mean of a value of each token, over all real tokens so far.

    Subclasses define `values`. One that can be used with a loss that has a `chunk_size` names the attribute of
    `ScoredTokens` with its values in `scored_as`.

    Args:
        ignore_class: label of positions without a label, such as -100 or -1 (None: no such label).
    Call arguments: as for `losses.TokenCrossentropy`.
    """

    def __init__(self, name, ignore_class=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.ignore_class = ignore_class

    def values(self, y_true, y_pred) -> Any:
        """`(B, T)` labels and `(B, T, V)` logits to `(B, T)` values."""
        raise TypeError(f"{type(self).__name__} must define `values(y_true, y_pred)`")

    def values_and_weights(self, y_true, y_pred, sample_weight):
        if isinstance(y_pred, DeferredLogits):
            scored = y_pred.scored(y_true, sample_weight, self.ignore_class, self.name)
            return getattr(scored, self.scored_as), scored.weights
        labels, weights = labels_and_weights(y_true, y_pred, sample_weight, self.ignore_class, self.name)
        return self.values(labels, y_pred), weights

    def get_config(self):
        return {**super().get_config(), "ignore_class": self.ignore_class}


@keras.saving.register_keras_serializable("keras_seq")
class TokenLoss(TokenMean):
    """Cross-entropy per token, in nats, without label smoothing.

    Example:
        >>> nats = metrics.TokenLoss()
        >>> nats.update_state(np.array([[1, 2]]), np.zeros((1, 2, 4), "float32"))
        >>> print(f"{float(nats.result()):.4f}")
        1.3863
    """

    scored_as = "surprise"

    def __init__(self, name="token_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def values(self, y_true, y_pred):
        return token_crossentropy(y_true, y_pred)


@keras.saving.register_keras_serializable("keras_seq")
class Perplexity(TokenLoss):
    """The exponential of the cross-entropy per token.

    Example:
        >>> perplexity = metrics.Perplexity()
        >>> perplexity.update_state(np.array([[1, 2]]), np.zeros((1, 2, 4), "float32"))
        >>> print(f"{float(perplexity.result()):.2f}")  # as uncertain as a choice among four
        4.00
    """

    def __init__(self, name="perplexity", **kwargs):
        super().__init__(name=name, **kwargs)

    def result(self) -> Any:
        return ops.exp(self.mean())


@keras.saving.register_keras_serializable("keras_seq")
class TokenAccuracy(TokenMean):
    """The share of tokens whose most likely prediction is right.

    Example:
        >>> accuracy = metrics.TokenAccuracy()
        >>> logits = np.eye(4, dtype="float32")[[[1, 2, 3]]]  # predicts 1, 2, 3
        >>> accuracy.update_state(np.array([[1, 0, 3]]), logits, np.array([[1, 1, 0]]))
        >>> float(accuracy.result())
        0.5
    """

    scored_as = "correct"

    def __init__(self, name="token_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def values(self, y_true, y_pred):
        best = ops.argmax(y_pred, axis=-1)
        return ops.cast(ops.equal(best, ops.cast(y_true, best.dtype)), "float32")


@keras.saving.register_keras_serializable("keras_seq")
class FrameLoss(WeightedMean):
    """Binary cross-entropy per real frame in nats, summed over the features: see `losses.FrameCrossentropy`.

    Example:
        >>> loss = metrics.FrameLoss()
        >>> loss.update_state(np.ones((1, 5, 2), "float32"), np.zeros((1, 5, 2), "float32"))
        >>> print(f"{float(loss.result()):.4f}")
        1.3863
    """

    def __init__(self, name="frame_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def values_and_weights(self, y_true, y_pred, sample_weight):
        return frame_values_and_weights(y_true, y_pred, sample_weight, self.name)
