"""Functions of named tensors, and the module with them that becomes a SavedModel."""

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
        function: function that is called with keyword arguments.
        inputs: the `tf.TensorSpec` of each argument.
        defaults: default values of optional inputs, which come last.
    """

    function: Callable
    inputs: Mapping[str, tf.TensorSpec]
    defaults: Mapping[str, Any] = {}


class Call(NamedTuple):
    """One call of a signature.

    Attributes:
        inputs: arrays by name. Strings are arrays of bytes.
        goes_on: whether outputs of the call before are also passed to inputs of the same names.
    """

    signature: str
    inputs: Mapping[str, Any]
    goes_on: bool = False


class Exported(tf.Module):
    """Signatures of a model, each a function with the signature's name, traced once.

    Only the weights of the model become part of it, without optimizer and metrics.

    Args:
        model: a built Keras model.
        signatures: `Signature`s by name.
        resources: other objects that the functions need and TensorFlow saves: vocabularies, tables.
    """

    def __init__(self, model, signatures, resources=()):
        super().__init__(name="exported")
        self.weights = kept(model)
        self.resources = list(resources)
        with for_inference(model):
            for name, signature in signatures.items():
                function = _compiled(name, signature)
                # Saving traces a `tf.function` again, to find default values. Without any, that is avoided.
                setattr(self, name, function if signature.defaults else function.get_concrete_function())
        self._names = tuple(signatures)

    @property
    def functions(self):
        """The functions by name."""
        return {name: getattr(self, name) for name in self._names}


def kept(model):
    """The `tf.Variable`s that a model's functions use: its weights, and the states that stateful layers carry from call
    to call.
    """
    layers = model._flatten_layers()
    states = [keras.tree.flatten(layer.states) for layer in layers if getattr(layer, "stateful", False)]
    found = {id(variable): variable for variable in [*model.weights, *sum(states, [])] if variable is not None}
    return [variable.value for variable in found.values()]


def inputs_of(function):
    """The `tf.TensorSpec`s of a function's inputs, by name."""
    concrete = function if hasattr(function, "structured_input_signature") else function.get_concrete_function()
    return {spec.name: spec for spec in tf.nest.flatten(concrete.structured_input_signature)}


def _compiled(name, signature):
    """A `tf.function` with the names, types and default values of the signature."""
    inputs, defaults = signature.inputs, signature.defaults

    def call(*arguments, **given):
        return signature.function(**dict(zip(inputs, arguments, strict=False)), **given)

    # TensorFlow reads the names of the inputs and their default values from here.
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
    """The `SignatureDef`s of a SavedModel by name. They have default values, unlike loaded signatures."""
    content = Path(folder, "saved_model.pb").read_bytes()
    return dict(saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def)


@contextlib.contextmanager
def for_inference(model):
    """Traces recurrent layers as an export needs them, which must run anywhere: without the kernels of a GPU, and
    without dropout masks. Keras draws these even outside of training, where nothing uses them.
    """
    layers = model._flatten_layers()
    with contextlib.ExitStack() as restore:
        for layer in layers:
            if hasattr(layer, "use_cudnn"):
                restore.callback(setattr, layer, "use_cudnn", layer.use_cudnn)
                layer.use_cudnn = False
            for name in ("get_dropout_mask", "get_recurrent_dropout_mask"):
                if hasattr(layer, name) and name not in vars(layer):
                    restore.callback(delattr, layer, name)
                    setattr(layer, name, _no_mask)
        yield


def _no_mask(inputs):
    return None
