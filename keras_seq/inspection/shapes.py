"""The inputs of a model by their shapes."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from keras_seq.layers import LastSteps, LogMel
from keras_seq.models import LanguageModel
from keras_seq.models.source_front_end import source_spec

CHARACTERS = 8  # of a word


def example_shapes(model: keras.Layer, batch_size: int = 32, length: int = 32) -> Any:
    """The shapes of a batch for a model, where the sizes that the model leaves open have these values.

    Words have 8 characters. The length of a waveform counts frames of its `LogMel`. The past of a forecaster has all
    steps that it needs.

    Args:
        model: a functional model, or a `Seq2Seq`, `Transformer` or `LanguageModel`.
        batch_size: number of rows.
        length: number of steps of each input.
    Returns:
        a shape, or a dict of shapes by the name of the input.
    Raises:
        ValueError: if the inputs of the model are unknown, or a number is not positive.
    """
    if batch_size < 1 or length < 1:
        raise ValueError(f"`batch_size` and `length` must be positive. Received: {batch_size}, {length}")
    if hasattr(model, "source_front_end"):
        source = source_spec(model)
        return {"source": _filled(model, source, batch_size, length), "target": (batch_size, length)}
    if isinstance(model, LanguageModel):
        return (model.streams or batch_size, length)
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise ValueError(f"The inputs of a {type(model).__name__} are unknown. Pass their shapes as `batch`.")
    shapes = {each.name: _filled(model, each, batch_size, length) for each in inputs}
    return shapes if len(shapes) > 1 else next(iter(shapes.values()))


def _filled(model, spec, batch_size, length):
    # A forecaster refuses a past that is shorter than its own.
    length = max([length, *(layer.steps for layer in model._flatten_layers() if isinstance(layer, LastSteps))])
    waveform = len(spec.shape) == 2 and "float" in keras.backend.standardize_dtype(spec.dtype)
    if waveform:
        length *= next((layer.stride for layer in model._flatten_layers() if isinstance(layer, LogMel)), 1)
    sizes = (batch_size, length, CHARACTERS)
    return tuple(sizes[min(axis, 2)] if size is None else size for axis, size in enumerate(spec.shape))


def is_shapes(batch: Any) -> bool:
    """Whether a batch is given by the shapes of its inputs."""
    if isinstance(batch, Mapping):
        return all(map(is_shapes, batch.values()))
    return isinstance(batch, (tuple, list)) and all(
        is_shapes(each) if isinstance(each, (tuple, list)) else isinstance(each, int | None) for each in batch
    )


def symbolic_inputs(model: keras.Layer, shapes: Any) -> Any:
    """Symbolic inputs of these shapes. Inputs of a model that does not name them are ids if they have two axes."""
    given = {each.name: each for each in getattr(model, "inputs", None) or []}
    if hasattr(model, "source_front_end"):
        given["source"] = source_spec(model)

    def made(name, shape):
        if any(not isinstance(size, int) or size < 1 for size in shape):
            raise ValueError(f"`batch` must give each axis a size. Received: {shape} for {name or 'the input'!r}")
        kind = given[name] if name in given else next(iter(given.values()), None) if name is None else None
        dtype = kind.dtype if kind is not None else "bool" if name == "starts" else "int32"
        return keras.KerasTensor(shape, dtype if len(shape) < 3 or kind is not None else "float32")

    if isinstance(shapes, Mapping):
        return {name: made(name, shape) for name, shape in shapes.items()}
    if any(isinstance(each, (tuple, list)) for each in shapes):
        return [made(name, shape) for name, shape in zip(given, shapes, strict=True)]
    return made(None, shapes)


def counted_tokens(model, calls, batch):
    """The number of tokens, steps or samples of a batch, and their name. Padding that a call has seen is excluded."""
    inputs = symbolic_inputs(model, batch) if is_shapes(batch) else batch
    if isinstance(inputs, dict):
        inputs = inputs.get("target", next(iter(inputs.values())))
    elif isinstance(inputs, (list, tuple)) and hasattr(inputs[0], "shape"):
        inputs = inputs[0]
    x = inputs if hasattr(inputs, "shape") else keras.ops.convert_to_tensor(inputs)
    ids = "int" in keras.backend.standardize_dtype(x.dtype)
    unit = "token" if ids else "step" if len(x.shape) > 2 else "sample"
    shape = tuple(x.shape[:2])
    masks = [call.mask for call in calls if call.mask is not None and call.mask.shape == shape]
    return (int(masks[-1].sum()) if masks else math.prod(shape)), unit
