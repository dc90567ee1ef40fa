"""Any model as a task from named tensors to named tensors."""

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

ROWS = 32  # limit of a batch


class Tensors(Task[Any, Any, Any, Outputs | Failure]):
    """Calls any model, with tensors as inputs and outputs.

    `serve(...)`: inputs and outputs are tensors, with the names of the model's dicts. A single tensor is named `inputs`
    or `outputs`, those of a list `inputs_0`, `inputs_1`, ... A model that takes and returns its state therefore
    streams.

    In Python an input is one example without its batch axis: an array, or a dict of arrays by the names of the inputs.
    An output is an array, or a dict of arrays.

    Args:
        model: any Keras model.
        example: input of a call, an array or a nest of arrays. The first axis, the batch, may have any size. None for a
            functional model, whose shapes are defined.
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
                f"{self.where} is a {type(self.model).__name__}, whose inputs are not defined. Make its task in "
                "Python, with an example: tasks.Tensors(model, example)."
            )
        return self.inputs or NamedNest(self.model.input, "inputs")

    @property
    def resources(self):
        return tables(self.model)

    def signatures(self):
        """Name -> `Signature`. The first one is the default."""
        model, names = self.model, self._names()
        specs = {name: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for name, x in names.flat.items()}

        def serve(**given):
            return NamedNest(model(names.nest(given), training=False), "outputs").flat

        return {"serve": Signature(serve, specs)}

    def predictor(self):
        """Returns a function from examples to an `Outputs` or `Failure` for each."""
        return serving(self.function("serve"))

    def output(self, result):
        """An array, or a dict of arrays."""
        return result.arrays["outputs"] if set(result.arrays) == {"outputs"} else result.arrays

    def is_one(self, inputs):
        return super().is_one(inputs) or isinstance(inputs, dict)

    @classmethod
    def load(cls, folder, file, options, model=None):
        """Opens a run folder, see `loading`."""
        model = load_keras(file) if model is None else model
        task = cls(model, **options)
        task.folder, task.file = folder, file
        return task

    def calls(self, functions, samples):
        """The calls by which two processes are compared."""
        return [Call("serve", batch) for batch in array_batches(samples, inputs_of(functions["serve"]))]


def serving(function):
    """Returns a function from examples, arrays or dicts of arrays, to `Outputs` or `Failure`s. Examples of the same
    shapes share a batch. Others do not, because the right padding is unknown."""
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
            except (ValueError, TypeError) as error:  # about the shapes, which are the same for all of them
                results = [Failure(one_line(error)) if row in rows else one for row, one in enumerate(results)]
        return results

    return run


def _arrays(example, specs):
    """The arrays of an example by the names of the inputs, or a `Failure`."""
    try:
        values = example if isinstance(example, dict) else dict.fromkeys(specs, example)
        return {name: np.asarray(values[name]) for name in specs}
    except (ValueError, TypeError, KeyError) as error:
        return Failure(one_line(error))


def _of_like_shapes(examples):
    """The places of examples whose arrays have the same shapes, at most `ROWS` together."""
    groups = {}
    for row, example in enumerate(examples):
        if not isinstance(example, Failure):
            groups.setdefault(tuple(x.shape for x in example.values()), []).append(row)
    return [rows[first : first + ROWS] for rows in groups.values() for first in range(0, len(rows), ROWS)]


class NamedNest:
    """A tensor, or a nest of tensors, as a dict: a dict by its keys, a single tensor as `name`, the tensors of any
    other nest as `name_0`, `name_1`, ...

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
        """A nest of the same structure with other tensors, given by the same names."""
        tensors = {name: tensors[name] for name in self.flat}
        return tensors if isinstance(self._nest, dict) else keras.tree.pack_sequence_as(self._nest, [*tensors.values()])


def input_specs(model):
    """The inputs of a functional model: `tf.TensorSpec`s by the names of the inputs."""
    inputs = model.input if isinstance(model.input, dict) else {x.name: x for x in model.inputs}
    return {name: tf.TensorSpec(x.shape, x.dtype) for name, x in inputs.items()}


def tables(model):
    """The lookup tables of a model's layers, which a saved function must reference."""
    values = [value for layer in model._flatten_layers() for value in vars(layer).values()]
    return [value for value in values if isinstance(value, tf.saved_model.experimental.TrackableResource)]
