"""A decoder's own tokens in place of the target's, while it trains."""

from numbers import Real

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_seq")
class ScheduledSampling(keras.layers.Layer):
    """Replaces tokens of a target by those that the decoder itself would say, so that it learns to go on from them.

    Each token but the first, which starts the target, and padding is replaced with probability `rate` by the likeliest
    one after the true tokens before it. Those come from a first pass over all steps at once: exact for what replaces
    the first token, and for later ones an approximation that leaves out earlier replacements.

    Args:
        rate: a number from 0 to 1, or a schedule of it, called with the number of batches trained on so far: Keras's
            `PolynomialDecay(0.0, 10_000, 0.25)` rises linearly to a quarter; or `schedules.InverseSigmoid`.
        pad_id: the id that marks padding.
        seed: of the draw which tokens are replaced; None for chance.
    Call arguments:
        target: int `(B, T)`, beginning with the start token.
        logits: float `(B, T, V)`, of the token after each.
        training: otherwise the target stays as it is.
    Returns:
        int `(B, T)`, through which no gradient flows.
    Raises:
        ValueError: for a number that is no probability.
    Source: Bengio et al. 2015, arXiv:1506.03099; in two passes over all steps: Duckworth et al. 2019, arXiv:1906.04331;
        Mihaylova and Martins 2019, arXiv:1906.07651.
    """

    def __init__(self, rate, pad_id=0, seed=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(rate, Real) and not 0 <= rate <= 1:
            raise ValueError(f"`rate` must be from 0 to 1, or a schedule of that. Received: {rate}")
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
