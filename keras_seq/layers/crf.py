"""A linear-chain conditional random field, which scores each tag together with its neighbors.

The layer turns the scores of a network into *potentials*. The loss, the metric and the decoder all take potentials, so
a tagger is compiled, fit and served like any other model:

    potentials = CRF(num_tags)(emissions)
    model = keras.Model(tokens, potentials)
    model.compile("adam", CRFLoss(), metrics=[ViterbiAccuracy()])
    served = keras.Model(tokens, ViterbiDecoder()(potentials))

Potentials are float32 `(B, T, N, N)`. `potentials[b, t, i, j]` is added to the score of a tag sequence that has tag j
at step t and tag i at the real step before. All rows of the first real step are equal. Padding is encoded as a step
that keeps the tag: 0 on the diagonal, `LOW` elsewhere. Potentials take T times N times N numbers for a sentence, which
is little for tags and too much for a vocabulary.

Source: Lafferty et al. 2001. For taggers: Lample et al. 2016, section 2.2, arXiv:1603.01360.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.labels import checked_labels, steps_of, token_weights
from keras_seq.losses import WeightedLoss

# Excludes a path like minus infinity, but without NaN where every path is excluded. The scores of a sentence must stay
# well below its magnitude.
LOW = -1e9


@keras.saving.register_keras_serializable("keras_seq")
class CRF(keras.layers.Layer):
    """Computes the potentials of a conditional random field from the scores of steps and of pairs of neighbors.

        score(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_(t-1), y_t] + end[y_T]

    Sums and neighbors are those of the real steps. Padding may be anywhere. The score of a row of padding alone is 0.

    Args:
        num_tags: number of tags, N.
        transitions_initializer: initializer of `transitions`. `start` and `end` start at zero.
    Call arguments:
        emissions: float `(B, T, N)`, for example from `Dense(num_tags)`.
        mask: bool `(B, T)`. True marks a real step. Defaults to the Keras mask of the emissions.
    Returns:
        potentials, float32 `(B, T, N, N)` under any policy of less precision, for `CRFLoss` and `ViterbiDecoder`.
    Raises:
        ValueError: if `num_tags` is less than 2, or differs from the width of the emissions.
    Source: Lafferty et al. 2001; Lample et al. 2016, section 2.2, arXiv:1603.01360.
    """

    def __init__(self, num_tags, transitions_initializer: Any = "glorot_uniform", **kwargs):
        super().__init__(autocast=False, **kwargs)  # float32 emissions keep their precision
        if num_tags < 2:
            raise ValueError(f"`num_tags` must be at least 2. Received: {num_tags}")
        self.num_tags = num_tags
        self.transitions_initializer = keras.initializers.get(transitions_initializer)
        self.supports_masking = True

    def build(self, input_shape):
        N = self.num_tags
        if input_shape[-1] != N:
            raise ValueError(f"The emissions must be `num_tags`={N} wide. Received: {input_shape[-1]}")
        self.transitions = self.add_weight(
            shape=(N, N), initializer=self.transitions_initializer, autocast=False, name="transitions"
        )
        self.start = self.add_weight(shape=(N,), initializer="zeros", autocast=False, name="start")
        self.end = self.add_weight(shape=(N,), initializer="zeros", autocast=False, name="end")

    def call(self, emissions, mask=None):
        emissions = ops.cast(emissions, self.variable_dtype)
        if mask is None:
            mask = ops.ones(ops.shape(emissions)[:2], "bool")
        counts = ops.cumsum(ops.cast(mask, "int32"), axis=1)  # (B, T)
        first = ops.logical_and(mask, counts == 1)
        last = ops.logical_and(mask, counts == counts[:, -1:])
        # On JAX `where` does not accept variables.
        transitions, start, end = (ops.convert_to_tensor(w) for w in (self.transitions, self.start, self.end))
        emissions = emissions + ops.where(last[:, :, None], end, 0.0)
        before = ops.where(first[:, :, None, None], start, transitions)  # (B, T, N, N)
        keep = ops.where(ops.eye(self.num_tags, dtype="bool"), 0.0, LOW)
        return ops.where(mask[:, :, None, None], before + emissions[:, :, None, :], ops.cast(keep, emissions.dtype))

    def compute_output_shape(self, emissions_shape):
        return (*emissions_shape[:2], self.num_tags, self.num_tags)

    def compute_output_spec(self, emissions, mask=None):
        return keras.KerasTensor(self.compute_output_shape(emissions.shape), self.variable_dtype)

    def log_partition(self, emissions, mask=None):
        """Log of the sum of exp(score) over all tag sequences: `(B,)`."""
        return log_partition(self(emissions, mask=mask))

    def log_likelihood(self, emissions, tags, mask=None):
        """Log-probability of int tags `(B, T)`: `(B,)`."""
        potentials = self(emissions, mask=mask)
        return log_likelihood(potentials, tags, real_steps(potentials))

    def decode(self, emissions, mask=None):
        """The best tag sequences and their scores: `(tags, scores)`, int32 `(B, T)` and `(B,)`. Padding has tag 0."""
        return viterbi(self(emissions, mask=mask))

    def get_config(self):
        return {
            **super().get_config(),
            "num_tags": self.num_tags,
            "transitions_initializer": keras.initializers.serialize(self.transitions_initializer),
        }


def real_steps(potentials):
    """The mask from which the potentials were made: bool `(B, T)`. A real step of NaN stays real, so it shows."""
    return ops.logical_not(ops.min(potentials, axis=(2, 3), initial=float("inf")) <= LOW / 2)


def _by_step(potentials):
    return ops.transpose(potentials, (1, 0, 2, 3))  # (B, T, N, N) -> (T, B, N, N)


def _forward(potentials, reduce):
    """The scores of all paths into each tag, reduced, before each step `(T, B, N)` and at the end `(B, N)`.

    All rows of the first real step are equal: before it, each tag has one path, of score 0.
    """

    def step(scores, potentials):
        return reduce(scores[:, :, None] + potentials, axis=1), scores  # (B, N, N) -> (B, N)

    final, scores = ops.scan(step, ops.zeros_like(potentials[:, 0, 0]), _by_step(potentials))
    return scores, final


def _backward(potentials):
    """The scores of all paths out of each tag, reduced, after each step: `(T, B, N)`."""

    def step(scores, potentials):
        return ops.logsumexp(potentials + scores[:, None, :], axis=2), scores

    return ops.scan(step, ops.zeros_like(potentials[:, 0, 0]), _by_step(potentials), reverse=True)[1]


def log_partition(potentials):
    """Log of the sum of exp(score) over all tag sequences: `(B,)`.

    Its gradient, the probability of each pair of neighbors, is computed by forward and backward sums. XLA, which Keras
    uses on a GPU, cannot differentiate a scan on TensorFlow. Second-order gradients are not supported.
    """

    @ops.custom_gradient
    def partition(potentials):
        before, final = _forward(potentials, ops.logsumexp)
        total = ops.logsumexp(final, axis=-1)  # (B,)

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            after = _backward(potentials)
            paths = before[:, :, :, None] + _by_step(potentials) + after[:, :, None, :]  # (T, B, N, N)
            return ops.transpose(ops.exp(paths - total[:, None, None]) * upstream[:, None, None], (1, 0, 2, 3))

        # Minus log N, because N paths enter the first real step, if there is one.
        return total - np.log(potentials.shape[-1]), gradient

    return partition(potentials)


def log_likelihood(potentials, tags, labeled):
    """Log-probability of the tags of the labeled steps, summed over all tags of the other steps.

    Args:
        potentials: `(B, T, N, N)`.   tags: int `(B, T)`.
        labeled: bool `(B, T)`, used for real steps only.
    Returns:
        `(B,)`, not positive. 0 for a row without labels.
    Source: for partial labels, Tsuboi et al. 2008, aclanthology.org/C08-1113.
    """
    labeled = ops.logical_and(labeled, real_steps(potentials))
    given = ops.cast(tags, "int32")[:, :, None] == ops.arange(potentials.shape[-1], dtype="int32")  # (B, T, N)
    allowed = ops.logical_or(given, ops.logical_not(labeled)[:, :, None])
    constrained = ops.where(allowed[:, :, None, :], potentials, ops.cast(LOW, potentials.dtype))
    # One scan of 2 B rows costs little more than one of B, since the cost is the number of steps.
    both, every = ops.split(log_partition(ops.concatenate([constrained, potentials], axis=0)), 2)
    return both - every


def viterbi(potentials) -> tuple[Any, Any]:
    """Finds the best tag sequences and their scores.

    Args:
        potentials: `(B, T, N, N)`.
    Returns:
        `(tags, scores)`, int32 `(B, T)` and float `(B,)`. Padding has tag 0.
    """
    before, final = _forward(potentials, ops.max)
    # The best previous tag of each tag, for all steps at once: on TensorFlow, the outputs of a Keras scan must have the
    # dtype of its state, and it takes only one input if T is unknown.
    back = ops.argmax(before[..., None] + _by_step(potentials), axis=2)  # (T, B, N)

    def step(tags, back):
        return ops.take_along_axis(back, tags[:, None], axis=1)[:, 0], tags

    _, tags = ops.scan(step, ops.cast(ops.argmax(final, axis=-1), "int32"), ops.cast(back, "int32"), reverse=True)
    tags = ops.where(real_steps(potentials), ops.transpose(tags), 0)
    return tags, ops.max(final, axis=-1, initial=-float("inf"))


@keras.saving.register_keras_serializable("keras_seq")
class ViterbiDecoder(keras.layers.Layer):
    """Turns potentials into the best tags, at the end of a served model.

    Call arguments:
        potentials: `(B, T, N, N)`, from a `CRF`.
    Returns:
        int32 `(B, T)`. Padding has tag 0.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)  # `LOW` overflows float16
        self.supports_masking = True

    def call(self, potentials):
        return viterbi(potentials)[0]

    def compute_output_shape(self, potentials_shape):
        return tuple(potentials_shape[:2])

    def compute_output_spec(self, potentials):
        return keras.KerasTensor(potentials.shape[:2], "int32")


def _weights(potentials, sample_weight):
    """The weight of each step, `(B, T)`, 0 for padding."""
    real = ops.cast(real_steps(potentials), potentials.dtype)
    return real if sample_weight is None else real * token_weights(real, None, sample_weight, real.dtype)


@keras.saving.register_keras_serializable("keras_seq")
class CRFLoss(WeightedLoss):
    """Negative log-likelihood of the tags per real step: the sum over all rows, divided by the number of real steps.

    The potentials mark the real steps. A real step of weight 0 is unlabeled: the likelihood is summed over its tags. A
    row is weighted by the largest weight of its steps.

    Call arguments:
        y_true: int `(B, T)`, or `(B, T, 1)`.   y_pred: potentials `(B, T, N, N)`, from a `CRF`.
        sample_weight: float `(B, T)`, `(B, T, 1)`, or `(B,)` or `(B, 1)` for weights of whole rows, or None.
    Returns:
        scalar, in nats. 0 if no step is real.
    Raises:
        ValueError: if a step with a weight has a tag that is out of range: see `labels.checked_labels`.
    """

    def __init__(self, name="crf_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def values_and_weights(self, y_true, y_pred, sample_weight):
        weights = _weights(y_pred, sample_weight)  # (B, T)
        tags = checked_labels(steps_of(y_true, 2, self.name), weights > 0, y_pred.shape[-1], self.name)
        of_rows = ops.sum(weights, axis=1)
        values = -log_likelihood(y_pred, tags, weights > 0) * ops.max(weights, axis=1, initial=0)
        return ops.divide_no_nan(values, of_rows), of_rows

    def call(self, y_true, y_pred):
        return -log_likelihood(y_pred, y_true, real_steps(y_pred))


@keras.saving.register_keras_serializable("keras_seq")
class ViterbiAccuracy(keras.metrics.Mean):
    """Accuracy of the best tag sequence: the share of real steps with the right tag.

    Call arguments:
        y_true: int `(B, T)`, or `(B, T, 1)`.   y_pred: potentials `(B, T, N, N)`, from a `CRF`.
        sample_weight: as for `CRFLoss`.
    """

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        weights = _weights(y_pred, sample_weight)
        tags = checked_labels(steps_of(y_true, 2, self.name), weights > 0, y_pred.shape[-1], self.name)
        right = ops.cast(viterbi(y_pred)[0], "int32") == tags
        super().update_state(ops.cast(right, self.dtype), weights)
