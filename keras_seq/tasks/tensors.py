"""Whatever a model computes, from tensors to tensors, by their names."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_seq.tasks.batching import halving
from keras_seq.tasks.results import Failure, Outputs, one_line
from keras_seq.tasks.run_folder import load_keras
from keras_seq.tasks.samples import array_batches
from keras_seq.tasks.signatures import Call, Signature, inputs_of
from keras_seq.tasks.task import Task

ROWS = 32  # of a batch


class Tensors(Task[Any, Any, Any, Outputs | Failure]):
    """Whatever a model computes when it is called.

    `serve(...)`: inputs and outputs are tensors, by the names of the model's own dicts; a lone one is `inputs` or
    `outputs`, those of a list `inputs_0`, `inputs_1`, ... So a model that takes its state and gives it streams.

    In Python an input is one example without its batch axis: an array, or a dict of arrays by the names of the inputs.
    An output is an array, or a dict of them.

    Args:
        model: any Keras model.
        example: what the model is called with, an array or a nest of arrays, of which the first axis, the batch, may
            have any size; None: a functional model, which knows its shapes itself.
    """

    name, verb = "tensors", "serve"

    def __init__(self, model: Any, example: Any = None):
        super().__init__(model)
        self.samples, self.inputs = None, None
        if example is not None:
            self.inputs = NamedNest(keras.tree.map_structure(np.asarray, example), "inputs")
            rows = min(len(x) for x in self.inputs.flat.values())
            self.samples = [{name: x[row] for name, x in self.inputs.flat.items()} for row in range(rows)]

        if self.inputs is not None or getattr(model, "inputs", None):
            leaves = list(self._names().flat.values())
            self.rank = len(leaves[0].shape) - 1 if len(leaves) == 1 else None

    def _names(self):
        if self.inputs is None and not getattr(self.model, "inputs", None):
            raise ValueError(
                f"{self.where} is a {type(self.model).__name__}, which does not tell what it takes. Make its task in "
                "Python, with an example: tasks.Tensors(model, example)."
            )
        return self.inputs or NamedNest(self.model.input, "inputs")

    @property
    def resources(self):
        return tables(self.model)

    def signatures(self):
        """Name -> `Signature`; the first one is the default."""
        model, names = self.model, self._names()
        specs = {name: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for name, x in names.flat.items()}

        def serve(**given):
            return NamedNest(model(names.nest(given), training=False), "outputs").flat

        return {"serve": Signature(serve, specs)}

    def predictor(self):
        """The function from examples to as many `Outputs` or `Failure`s."""
        return serving(self.function("serve"))

    def output(self, result):
        """An array, or a dict of them."""
        return result.arrays["outputs"] if set(result.arrays) == {"outputs"} else result.arrays

    def is_one(self, inputs):
        return super().is_one(inputs) or isinstance(inputs, dict)

    @classmethod
    def load(cls, folder, file, options, model=None):
        """Opens a run folder; see `loading`."""
        model = load_keras(file) if model is None else model
        task = cls(model, **options)
        task.folder, task.file = folder, file
        return task

    def calls(self, functions, samples):
        """What is tried to compare two processes."""
        return [Call("serve", batch) for batch in array_batches(samples, inputs_of(functions["serve"]))]


def serving(function):
    """The function from examples, arrays or dicts of them, to `Outputs` or `Failure`s. Examples of the same shapes are
    computed together; others are not, since nothing is known of how they could be padded."""
    specs = inputs_of(function)

    def compute(examples):
        tensors = {name: tf.constant(np.stack([x[name] for x in examples]), spec.dtype) for name, spec in specs.items()}
        outputs = {name: x.numpy() for name, x in function(**tensors).items()}
        return [Outputs({name: x[row] for name, x in outputs.items()}) for row in range(len(examples))]

    def run(inputs):
        examples = [_arrays(example, specs) for example in inputs]
        results = [one if isinstance(one, Failure) else None for one in examples]
        for rows in _of_like_shapes(examples):
            try:
                for row, result in halving(rows, lambda some: compute([examples[row] for row in some])):
                    results[row] = result
            except (ValueError, TypeError) as error:  # of the shapes, which all of them have
                results = [Failure(one_line(error)) if row in rows else one for row, one in enumerate(results)]
        return results

    return run


def _arrays(example, specs):
    """The arrays of an example by the names of the inputs, or why there are none."""
    try:
        values = example if isinstance(example, dict) else dict.fromkeys(specs, example)
        return {name: np.asarray(values[name]) for name in specs}
    except (ValueError, TypeError, KeyError) as error:
        return Failure(one_line(error))


def _of_like_shapes(examples):
    """The places of examples whose arrays have the same shapes, `ROWS` at most together."""
    groups = {}
    for row, example in enumerate(examples):
        if not isinstance(example, Failure):
            groups.setdefault(tuple(x.shape for x in example.values()), []).append(row)
    return [rows[first : first + ROWS] for rows in groups.values() for first in range(0, len(rows), ROWS)]


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
