"""What happens before the first step of `fit`: the model is traced once."""

import contextlib

import keras
import numpy as np
import pytest

from keras_seq import distribution, layers, losses, metrics, models, optimizers
from tests.reference import tensorflow_only

IDS = np.array([[4, 5, 6, 7], [5, 4, 7, 6], [6, 7, 4, 5]])
PAIR = {"source": IDS, "target": IDS}
MODELS = {
    "seq2seq": (lambda: models.Seq2Seq(9, units=4, num_layers=1, attention=None), PAIR),
    "transformer": (lambda: models.Transformer(9, units=4, num_heads=1, num_layers=1), PAIR),
    "language model": (lambda: models.LanguageModel(9, layers.RecurrentStack("gru", 4, num_layers=1)), IDS),
    "tagger": (lambda: models.tagger(9, 9, units=4), IDS),
}
pytestmark = tensorflow_only("about the graphs of TensorFlow")


@pytest.mark.parametrize(
    ("name", "in_scope"), [("transformer", True), ("language model", False), ("seq2seq", False), ("tagger", True)]
)
def test_a_first_fit_traces_once(name, in_scope, monkeypatch):
    build, inputs = MODELS[name]
    with distribution.scope("one_device") if in_scope else contextlib.nullcontext():
        model = build()
        model.compile(
            optimizers.Adam(), losses.TokenCrossentropy(), weighted_metrics=[metrics.Perplexity()], jit_compile=False
        )
    traced, call = [], keras.layers.Layer.__call__

    def counted(self, *args, **kwargs):
        if self is model:
            traced.append(1)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(keras.layers.Layer, "__call__", counted)
    history = model.fit(inputs, IDS, batch_size=1, verbose=0).history
    assert len(traced) == 1 and np.isfinite(history["loss"][0])


@pytest.mark.parametrize("name", MODELS)
def test_the_spec_of_the_outputs_is_right(name):
    build, inputs = MODELS[name]
    model = build()
    spec, found = model.output_spec if name != "tagger" else model.output, model(inputs)
    assert tuple(spec.shape) == (None, None, 9) and spec.dtype == keras.backend.standardize_dtype(found.dtype)
    assert found.shape == (*IDS.shape, 9)
