"""The base of models that score a vocabulary at each step."""

import contextlib
import threading

import keras

from keras_seq.layers import TokenEmbedding


class _Current(threading.local):  # a replica traces its step in a thread of its own
    """The step of `fit` or `evaluate` that is being traced, and whether its logits may be deferred."""

    model: keras.Model | None = None
    training = False
    deferring = False


_current = _Current()


class TokenModel(keras.Model):
    """Base class of models whose last layer is the reverse of an embedding.

    If the compiled loss has a `chunk_size`, the steps of `fit` and `evaluate` pass `DeferredLogits` to the loss and the
    metrics. With a `num_sampled` those of `fit` do. Everywhere else the model returns logits.

    Attributes:
        output_spec: a KerasTensor `(None, None, V)`, the spec of the logits, of a built model.
    """

    output_spec = None

    def make_train_function(self, force=False):
        """Creates the variables of the optimizer first.

        Without a distribution strategy Keras does that while it traces the first step, and TensorFlow then traces it
        again, which doubles the time before the first step.
        """
        if self.built and not getattr(self.optimizer, "built", True):
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, *args):
        with _values(model=self, training=True):
            return super().train_step(*args)

    def test_step(self, *args):
        with _values(model=self, training=False):
            return super().test_step(*args)

    def _for_the_loss(self):
        """A context in which `_logits` are those that the loss gets."""
        sampled = _current.training and self._of_loss("num_sampled") is not None
        return _values(deferring=_current.model is self and (sampled or self._of_loss("chunk_size") is not None))

    def _logits(self, x, embedding: TokenEmbedding):
        """The logits of vectors `(B, T, D)`, with their mask: `(B, T, V)`, the reverse of an embedding."""
        if _current.deferring:
            options = {name: self._of_loss(name) for name in ("chunk_size", "num_sampled")}
            options["correct"] = "correct" in self._read_by_metrics()
            return embedding.deferred_logits(x, training=_current.training, **options)
        return embedding(x, reverse=True)

    def _of_loss(self, name):
        """An attribute of the compiled loss, or None."""
        return getattr(getattr(self, "loss", None), name, None)

    def _read_by_metrics(self):
        """The attributes of `ScoredTokens` that the compiled metrics read."""
        compiled = self._compile_metrics
        metrics = [] if compiled is None else [compiled._user_metrics, compiled._user_weighted_metrics]
        read = set()
        for metric in keras.tree.flatten(metrics):
            if metric is not None and not hasattr(metric, "scored_as"):
                raise ValueError(
                    "With the loss's `chunk_size` or `num_sampled` no metric gets the logits of a batch. Use "
                    "`metrics.Perplexity`, `metrics.TokenLoss` or `metrics.TokenAccuracy`, or leave them out. "
                    f"Received: {metric}"
                )
            read.add(getattr(metric, "scored_as", None))
        if "correct" in read and self._of_loss("num_sampled") is not None:
            raise ValueError(
                "With the loss's `num_sampled` the best word is unknown. Leave out `metrics.TokenAccuracy`."
            )
        return read


@contextlib.contextmanager
def _values(**values):
    before = {name: getattr(_current, name) for name in values}
    vars(_current).update(values)
    try:
        yield
    finally:
        vars(_current).update(before)
