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
    metrics. Everywhere else the model returns logits.
    """

    def train_step(self, *args):
        with _values(model=self, training=True):
            return super().train_step(*args)

    def test_step(self, *args):
        with _values(model=self, training=False):
            return super().test_step(*args)

    def _for_the_loss(self):
        """A context in which `_logits` are those that the loss gets."""
        return _values(deferring=_current.model is self and self._chunk_size() is not None)

    def _logits(self, x, embedding: TokenEmbedding):
        """The logits of vectors `(B, T, D)`, with their mask: `(B, T, V)`, the reverse of an embedding."""
        if _current.deferring:
            options = {"chunk_size": self._chunk_size(), "correct": "correct" in self._read_by_metrics()}
            return embedding.deferred_logits(x, training=_current.training, **options)
        return embedding(x, reverse=True)

    def _chunk_size(self):
        return getattr(getattr(self, "loss", None), "chunk_size", None)

    def _read_by_metrics(self):
        """The attributes of `ScoredTokens` that the compiled metrics read."""
        compiled = self._compile_metrics
        metrics = [] if compiled is None else [compiled._user_metrics, compiled._user_weighted_metrics]
        read = set()
        for metric in keras.tree.flatten(metrics):
            if metric is not None and not hasattr(metric, "scored_as"):
                raise ValueError(
                    "With the loss's `chunk_size` no metric gets the logits of a batch. Use `metrics.Perplexity`, "
                    f"`metrics.TokenLoss` or `metrics.TokenAccuracy`, or leave `chunk_size` out. Received: {metric}"
                )
            read.add(getattr(metric, "scored_as", None))
        return read


@contextlib.contextmanager
def _values(**values):
    before = {name: getattr(_current, name) for name in values}
    vars(_current).update(values)
    try:
        yield
    finally:
        vars(_current).update(before)
