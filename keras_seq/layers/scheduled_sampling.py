"""Scheduled sampling: trains a decoder on its predictions in place of some target tokens."""

from numbers import Real

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_seq")
class ScheduledSampling(keras.layers.Layer):
    """Replaces tokens of a target by the decoder's predictions, so that it learns to continue from them.

    Each token, except the first (the start token) and padding, is replaced with probability `rate` by the most
    probable token after the true tokens before it. These predictions come from a first pass over all steps at once.
    They are exact for the first replacement, and an approximation for later ones, which ignores earlier replacements.

    Args:
        rate: a number from 0 to 1, or a schedule, called with the number of training batches so far. Keras's
            `PolynomialDecay(0.0, 10_000, 0.25)` rises linearly to a quarter. See also `schedules.InverseSigmoid`.
        pad_id: id of padding.
        seed: seed of the random replacements, or None.
    Call arguments:
        target: int `(B, T)`, which starts with the start token.
        logits: float `(B, T, V)`, scores of the token after each token.
        training: whether to replace tokens.
    Returns:
        int `(B, T)`, through which no gradient flows.
    Raises:
        ValueError: if `rate` is a number that is not a probability.
    Source: Bengio et al. 2015, arXiv:1506.03099. In two passes over all steps: Duckworth et al. 2019, arXiv:1906.04331;
        Mihaylova and Martins 2019, arXiv:1906.07651.
    """

    def __init__(self, rate, pad_id=0, seed=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(rate, Real) and not 0 <= rate <= 1:
            raise ValueError(f"`rate` must be from 0 to 1, or a schedule of such rates. Received: {rate}")
        self.rate = rate
        self.pad_id = pad_id
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.batches = None

    def build(self, *shapes):
        if callable(self.rate):
            self.batches = self.add_weight(
                (),
                "zeros",
                dtype="int64",
                trainable=False,
                aggregation="only_first_replica",  # each replica counts the same batches
                name="batches",
            )
        self.built = True

    def call(self, target, logits, training=False):
        if not training:
            return target
        rate = self.rate
        if self.batches is not None:
            rate = ops.cast(rate(self.batches), "float32")
            self.batches.assign_add(1)
        said = ops.cast(ops.argmax(logits[:, :-1], axis=-1), target.dtype)  # (B, T - 1)
        said = ops.concatenate([target[:, :1], said], axis=1)
        draws = keras.random.uniform(ops.shape(target), seed=self.seed_generator)
        return ops.where(ops.logical_and(draws < rate, target != self.pad_id), said, target)

    def compute_output_shape(self, target_shape, logits_shape=None):
        return target_shape

    def compute_output_spec(self, target, logits=None, training=False):
        return keras.KerasTensor(target.shape, target.dtype)

    def get_config(self):
        rate = keras.saving.serialize_keras_object(self.rate)
        return {**super().get_config(), "rate": rate, "pad_id": self.pad_id, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "rate": keras.saving.deserialize_keras_object(config["rate"])})
