"""What models take and give when they are called, as named tensors."""

import keras
import tensorflow as tf


class NamedNest:
    """A tensor, or a nest of them, as a dict of tensors: that of a dict by its keys, a lone one as `name`, those of
    anything else as `name_0`, `name_1`, ...

    Attributes:
        flat: the tensors by name.
    """

    def __init__(self, nest, name):
        self._nest = nest
        if isinstance(nest, dict):
            self.flat = dict(nest)
        else:
            leaves = keras.tree.flatten(nest)
            names = [name] if len(leaves) == 1 else [f"{name}_{i}" for i in range(len(leaves))]
            self.flat = dict(zip(names, leaves, strict=True))

    def nest(self, tensors):
        """Other tensors, by the same names, as such a nest."""
        tensors = {name: tensors[name] for name in self.flat}
        return tensors if isinstance(self._nest, dict) else keras.tree.pack_sequence_as(self._nest, [*tensors.values()])


def input_specs(model):
    """The inputs of a functional model, `tf.TensorSpec`s by their names in it."""
    inputs = model.input if isinstance(model.input, dict) else {x.name: x for x in model.inputs}
    return {name: tf.TensorSpec(x.shape, x.dtype) for name, x in inputs.items()}


def tables(model):
    """The lookup tables of a model's layers, which a function that is saved must be able to find."""
    values = [value for layer in model._flatten_layers() for value in vars(layer).values()]
    return [value for value in values if isinstance(value, tf.saved_model.experimental.TrackableResource)]
