"""What stands in for models and for the functions of an export, in tests of the code around them."""

import numpy as np
import tensorflow as tf

LOGIT = 3.0  # of the token that a model prefers, the others have 0
STRINGS = tf.TensorSpec([None], tf.string)


class Model:
    """Attributes, and what every model has."""

    layers = ()

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def _flatten_layers(self):
        return self.layers


class Recognizer(Model):
    """Encodes and decodes: writes token 4, 5 or 6 for a recording of the mean 0, 1 or 2, and ends."""

    target_vocabulary_size = 7

    def encode(self, source, max_length=None):
        level = tf.cast(tf.round(tf.reduce_mean(source, axis=1)), tf.int32)
        return {"level": level, "position": tf.zeros_like(level)}

    def decode(self, tokens, state):
        found = tf.where(state["position"] == 0, 4 + state["level"], 3)
        logits = LOGIT * tf.one_hot(found, self.target_vocabulary_size)[:, None]
        return logits, {**state, "position": state["position"] + 1}


class Function:
    """A function of an export with these inputs, `tf.TensorSpec`s by name, and outputs of these names."""

    def __init__(self, run=None, outputs=(), **inputs):
        named = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()}
        self.structured_input_signature, self.structured_outputs, self.run = ((), named), outputs, run

    def __call__(self, **tensors):
        return self.run(**tensors)


def described(calls):
    """The name of each call, and its inputs: texts as they are, of other arrays the shapes."""
    return [(call.signature, {name: _shown(x) for name, x in call.inputs.items()}) for call in calls]


def _shown(x):
    return np.asarray(x).tolist() if np.asarray(x).dtype == object else np.shape(x)
