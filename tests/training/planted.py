"""Models of every kind with a batch each, and NaNs planted in them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_seq import layers, losses, models
from keras_seq.training.diagnosis import _Step
from keras_seq.training.value_origins import Origins, path_of

V = 12
WORDS = np.array([[5, 3, 7, 4, 8], [4, 6, 9, 2, 0], [7, 5, 2, 0, 0]], dtype="int32")
CHARACTERS = np.where(WORDS[..., None] > 0, (WORDS[..., None] + np.arange(3)) % (V - 1) + 1, 0)
REAL = (WORDS > 0).astype("float32")
SMALL = {"units": 4, "num_heads": 2, "dropout": 0.1}


def classifier(**options):
    model = models.classifier(V, 3, **SMALL, **options)
    return model, (WORDS, np.array([0, 2, 1]), np.ones(3, "float32")), losses.TokenCrossentropy()


def tagger(**options):
    model = models.tagger(V, 4, **SMALL, **options)
    inputs = {"words": WORDS, "characters": CHARACTERS} if "character_vocabulary_size" in options else WORDS
    loss = layers.CRFLoss() if options.get("crf") else losses.TokenCrossentropy()
    return model, (inputs, WORDS % 4, REAL), loss


def decoder(model):
    return model, ({"source": WORDS, "target": WORDS}, np.roll(WORDS, -1, 1), REAL), losses.TokenCrossentropy()


def language_model(architecture):
    backbone = layers.sequence_backbone(architecture, 4, 2, num_heads=2)
    return models.LanguageModel(V, backbone), (WORDS, np.roll(WORDS, -1, 1), REAL), losses.TokenCrossentropy()


def forecaster(architecture):
    model = models.forecaster(3, 12, 4, architecture=architecture, units=4, num_layers=1, num_heads=2, patch_length=4)
    x = np.random.default_rng(0).normal(size=(3, 12, 3)).astype("float32")
    return model, (x, np.ones((3, 4, 3), "float32"), np.ones((3, 4), "float32")), "mse"


MODELS: dict[str, Callable] = {
    "rnn": lambda: classifier(architecture="rnn", pooling="max"),
    "lstm": lambda: classifier(architecture="lstm", num_layers=2),
    "gru": lambda: classifier(architecture="gru", pooling="mean"),
    "mingru": lambda: tagger(architecture="mingru"),
    "minlstm": lambda: classifier(architecture="minlstm", pooling="last"),
    "rglru": lambda: tagger(architecture="rglru"),
    "transformer": lambda: classifier(architecture="transformer"),
    "cnn": lambda: tagger(architecture="cnn"),
    "crf": lambda: tagger(crf=True, character_vocabulary_size=V, character_units=4),
    "seq2seq": lambda: decoder(models.Seq2Seq(V, units=4, cell="gru", attention="additive")),
    "encoder-decoder": lambda: decoder(models.Transformer(V, units=4, num_heads=2, intermediate_dim=8, num_layers=1)),
    "language model": lambda: language_model("lstm"),
    "decoder": lambda: language_model("transformer"),
    "lstm forecaster": lambda: forecaster("lstm"),
    "transformer forecaster": lambda: forecaster("transformer"),
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A place for a NaN: `where` is a layer, a weight, or the path of a part of the batch."""

    kind: str
    name: str
    where: Any


class Planted:
    """A compiled model, a batch of it, and the places in which a NaN reaches its loss or a gradient."""

    def __init__(self, name: str):
        keras.utils.set_random_seed(0)
        self.model, self.batch, loss = MODELS[name]()
        self.model.compile("sgd", loss)
        step = _Step(self.model)
        with Origins({}) as origins:
            step.model(tf.nest.map_structure(tf.constant, self.batch[0]))  # builds it
        with Origins({}) as origins:
            step.run(tf.nest.map_structure(tf.constant, self.batch), origins)
        inner = [call for call in origins.calls if call.depth and call.received]
        called = {id(call.layer): call.layer for call in inner}.values()
        returned = {id(call.layer) for call in inner if call.returned}
        differentiable = [layer for layer in called if id(layer) in returned or layer.trainable_variables]
        self.gradients = {v.path: g.numpy() for v, g in step.gradients if g is not None}
        self.places = [Place("forward", path_of(layer), layer) for layer in called]
        self.places += [Place("backward", path_of(layer), layer) for layer in differentiable]
        used = [v for v in self.model.trainable_variables if np.any(self.gradients.get(v.path, 0))]
        self.places += [Place("weight", weight.path, weight) for weight in used]
        parts = ("input", 0), ("label", 1), ("sample weight", 2)
        self.places += [Place(kind, "", part) for kind, part in parts if _is_float(self.batch[part])]

    @contextlib.contextmanager
    def planted(self, place: Place, value: float, rng: np.random.Generator) -> Iterator[tuple]:
        """Yields the batch, while a number of the model or of the batch is `value`."""
        if place.kind in ("forward", "backward"):
            with _replaced_call(place.where, place.kind, value, rng):
                yield self.batch
        elif place.kind == "weight":
            before = place.where.numpy()
            places = np.argwhere(self.gradients[place.name])  # a row of an embedding that the batch uses
            after = before.copy()
            after[tuple(rng.choice(places))] = value
            place.where.assign(after)
            yield self.batch
            place.where.assign(before)
        else:
            parts = list(self.batch)
            parts[place.where] = parts[place.where].copy()
            real = np.argwhere(self.batch[2] if place.where == 2 else np.ones_like(parts[place.where]))
            parts[place.where][tuple(rng.choice(real))] = value
            yield tuple(parts)


def _is_float(part: Any) -> bool:
    return isinstance(part, np.ndarray) and part.dtype.kind == "f"


@contextlib.contextmanager
def _replaced_call(layer: keras.Layer, kind: str, value: float, rng: np.random.Generator) -> Iterator[None]:
    original, share = layer.call, rng.random()

    def forward(x):  # in one feature of the first row, in all its steps, since a layer may use only one of them
        bad = np.zeros(x.shape, bool)
        bad[0, ..., int(share * x.shape[-1])] = True
        return tf.where(bad, tf.cast(value, x.dtype), x)

    @tf.custom_gradient
    def backward(x):
        return tf.identity(x), lambda slope: slope * tf.cast(value, slope.dtype)

    def changed(x):
        if not tf.is_tensor(x) or not x.dtype.is_floating:
            return x
        y = (forward if kind == "forward" else backward)(x)
        if hasattr(x, "_keras_mask"):
            y._keras_mask = x._keras_mask
        return y

    def call(*args, **kwargs):
        return keras.tree.map_structure(changed, original(*args, **kwargs))

    vars(layer)["call"] = call
    try:
        yield
    finally:
        del vars(layer)["call"]
