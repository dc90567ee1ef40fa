"""Functions of named tensors, and the module that a SavedModel holds of them."""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

STRINGS = tf.TensorSpec([None], tf.string)


class Signature(NamedTuple):
    """A function `(name=tensor, ...) -> {name: tensor}`, to be traced once for all shapes.

    Attributes:
        function: is called with keyword arguments.
        inputs: for each argument its `tf.TensorSpec`.
        defaults: values of inputs that a caller may leave out; these come last.
    """

    function: Callable
    inputs: Mapping[str, tf.TensorSpec]
    defaults: Mapping[str, Any] = {}


class Call(NamedTuple):
    """One call of a signature.

    Attributes:
        inputs: arrays by name; strings are arrays of bytes.
        goes_on: whether what the call before gave is given, too, where the signature has inputs of these names.
    """

    signature: str
    inputs: Mapping[str, Any]
    goes_on: bool = False


class Exported(tf.Module):
    """Signatures of a model, each a function under its own name, traced once.

    Only the weights of the model become part of it: no optimizer, no metrics.

    Args:
        model: a built Keras model.
        signatures: `Signature`s by name.
        resources: what else the functions need and TensorFlow saves: vocabularies, tables.
    """

    def __init__(self, model, signatures, resources=()):
        super().__init__(name="exported")
        self.weights = kept(model)
        self.resources = list(resources)
        with without_cudnn(model):
            for name, signature in signatures.items():
                function = _compiled(name, signature)
                # Saving traces a `tf.function` anew, and so finds default values; what has none is spared that.
                setattr(self, name, function if signature.defaults else function.get_concrete_function())
        self._names = tuple(signatures)

    @property
    def functions(self):
        """The functions by name."""
        return {name: getattr(self, name) for name in self._names}


def kept(model):
    """The `tf.Variable`s that functions of a model take: its weights, the states with which stateful layers go on from
    call to call, and of a ConvLSTM the state of random numbers.

    It draws its masks of dropout, which it does not use then, also where it does not train.
    """
    layers = model._flatten_layers()
    kinds = (keras.layers.ConvLSTM1D, keras.layers.ConvLSTM2D, keras.layers.ConvLSTM3D)
    seeds = [layer.cell.seed_generator.state for layer in layers if isinstance(layer, kinds)]
    states = [keras.tree.flatten(layer.states) for layer in layers if getattr(layer, "stateful", False)]
    found = {id(variable): variable for variable in [*model.weights, *seeds, *sum(states, [])] if variable is not None}
    return [variable.value for variable in found.values()]


def inputs_of(function):
    """The `tf.TensorSpec`s of what one of the functions takes, by name."""
    concrete = function if hasattr(function, "structured_input_signature") else function.get_concrete_function()
    return {spec.name: spec for spec in tf.nest.flatten(concrete.structured_input_signature)}


def _compiled(name, signature):
    """A `tf.function` with the names, types and default values of the signature."""
    inputs, defaults = signature.inputs, signature.defaults

    def call(*arguments, **given):
        return signature.function(**dict(zip(inputs, arguments, strict=False)), **given)

    # TensorFlow takes from here what the inputs are called, and what they are where they are left out.
    call.__name__ = name
    call.__signature__ = inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=tf.constant(defaults[name], spec.dtype) if name in defaults else inspect.Parameter.empty,
            )
            for name, spec in inputs.items()
        ]
    )
    specs = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()]
    return tf.function(call, input_signature=specs, autograph=False)


def definitions(folder):
    """The `SignatureDef`s of a SavedModel by name; they know default values, and loaded signatures do not."""
    content = Path(folder, "saved_model.pb").read_bytes()
    return dict(saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def)


@contextlib.contextmanager
def without_cudnn(model):
    """Traces recurrent layers without the kernels that only a GPU has: what is exported must run anywhere."""
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")]
    before = [layer.use_cudnn for layer in layers]
    try:
        for layer in layers:
            layer.use_cudnn = False
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.use_cudnn = value
