"""Adapters from Keras models to `certify`: their inputs, and the part of their answers that belongs to a sequence."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.inspection.certify import ModelAdapter
from keras_seq.inspection.sequences import LONGEST, Input, ids, numbers, spelled
from keras_seq.layers import LastSteps, LearnedPositions, LogMel, TrailingPaddingMask
from keras_seq.models.functional import functional

SAMPLES, FRAME = 4000, 100  # largest number of samples in a waveform, and the number by which a batch grows
FRAMES = 6  # largest number of frames in a clip
PADDING = -1e8  # a frame with all labels but one below this is padding, see `layers.BlankPadding`

Compile = Callable[[Callable, Mapping[str, Input]], Callable]


def plainly(function: Callable, inputs: Mapping[str, Input]) -> Callable:
    """Returns the function unchanged, so that Keras runs its operations one by one."""
    return function


def mapping(
    model: keras.Model,
    *,
    vocabulary_sizes: Mapping[str, int] | None = None,
    longest: int | None = None,
    compiled: Compile = plainly,
    inputs: Mapping[str, Input] | None = None,
) -> ModelAdapter:
    """An adapter for a functional model that maps sequences: a classifier, a tagger, a forecaster, a CTC recognizer.

    Integers with a length axis are ids, padded with 0. Floats with a length axis are padded with 0 at the end, unless
    the model uses only the last steps (`layers.LastSteps`), or has a `keras.layers.Masking` with another value. If no
    layer of the model detects the padding of floats, any values may be in its place.

    An answer with as many steps as the longest input of the batch is compared step by step, and one with padded frames
    (`layers.BlankPadding`) frame by frame. Other answers are compared as a whole.

    Args:
        vocabulary_sizes: sizes of the vocabularies, by the name of the input. None: that of the model's embedding.
        longest: largest number of steps in a sequence. None: 16, or 4,000 for a waveform, 6 for a clip.
        compiled: `compiled(function, inputs)`, which returns a faster function of a batch.
        inputs: inputs that replace those of the model.
    Raises:
        ValueError: if the model has no list of inputs.
    """
    model = functional(model)
    if inputs is None:
        inputs = inputs_of(model, vocabulary_sizes or {}, longest)
    lone = None if isinstance(model.input, dict) else next(iter(inputs))
    order = None if lone is None or len(inputs) == 1 else list(inputs)

    def call(batch):
        given = batch if lone is None else [batch[name] for name in order] if order else batch[lone]
        return named(model(given, training=False))

    run = compiled(call, inputs)
    open_ended = {name for name, x in named(model.output).items() if len(x.shape) > 1 and x.shape[1] is None}
    return ModelAdapter(inputs, lambda batch: arrays(run(batch)), Own(inputs, open_ended))


def named(outputs: Any) -> dict[str, Any]:
    """Outputs by name: those of a dict by its keys, others as `outputs`, or `outputs_0`, `outputs_1`, ..."""
    if isinstance(outputs, dict):
        return dict(outputs)
    leaves = keras.tree.flatten(outputs)
    names = ["outputs"] if len(leaves) == 1 else [f"outputs_{i}" for i in range(len(leaves))]
    return dict(zip(names, leaves, strict=True))


def arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors as NumPy arrays, floats at least in float32."""
    found = {}
    for name, x in tensors.items():
        x = np.asarray(x.numpy() if hasattr(x, "numpy") else ops.convert_to_numpy(x))
        found[name] = x.astype("float32") if "float16" in str(x.dtype) else x
    return found


class Own:
    """A function that selects the answers for one sequence.

    Args:
        sequences: names of the answers whose length is that of the sequence.
    """

    def __init__(self, inputs: Mapping[str, Input], sequences: Collection[str]):
        first = next((name for name, each in inputs.items() if each.lengths), None)
        self.first = None if first is None or inputs[first].front else first
        self.sequences = sequences

    def __call__(self, answers, row, sequence):
        return {name: self._own(name, x[row], sequence) for name, x in answers.items()}

    def _own(self, name, x, sequence):
        if name not in self.sequences or self.first is None:
            return x
        if x.ndim == 2:
            padding = (x < PADDING).sum(axis=1) == x.shape[1] - 1
            if x.shape[1] > 1 and padding.any():
                return x[~padding]
        return x[: len(sequence[self.first])]


def inputs_of(model: keras.Model, vocabulary_sizes: Mapping[str, int], longest: int | None) -> dict[str, Input]:
    """The inputs of a functional model."""
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise ValueError(f"A {type(model).__name__} has no list of its inputs. Pass `inputs`. Received: none")
    given = model.input if isinstance(model.input, dict) else {x.name: x for x in tensors}
    layers = model._flatten_layers()
    sizes = {layer.input_dim for layer in layers if hasattr(layer, "input_dim")}
    found: dict[str, Input] = {}
    for name, x in given.items():
        shape, like = tuple(x.shape[1:]), None
        if "int" in str(x.dtype):
            like = next((other for other in found if shape[:1] == (None,) and found[other].lengths), None)
            size = vocabulary_sizes.get(name) or (min(sizes) if sizes else 2)
            draw = spelled(size) if len(shape) == 2 else ids(size)
            hides = like is not None and len(shape) == 2  # padding in place of a word has no characters
            found[name] = Input(draw, shape, longest=longest or room(model), like=like, hides=hides)
        else:
            found[name] = floats(layers, shape, longest)
    return found


def floats(layers: list, shape: tuple, longest: int | None = None) -> Input:
    """A float input, with the padding that the layers imply."""
    last = next((layer.steps for layer in layers if isinstance(layer, LastSteps)), None)
    if last is not None and shape[:1] == (None,):
        return Input(
            numbers, shape, shortest=last, longest=max(last, longest or last + LONGEST), front=True, hides=True
        )
    masks = [layer for layer in layers if isinstance(layer, TrailingPaddingMask | keras.layers.Masking)]
    pad = masks[0].mask_value if masks else 0
    if any(isinstance(layer, LogMel) for layer in layers):
        most = longest or SAMPLES
        return Input(numbers, shape, pad, shortest=min(2 * FRAME, most), longest=most, unit=FRAME)
    most = longest or (FRAMES if len(shape) == 4 else LONGEST)
    return Input(numbers, shape, pad, longest=most, hides=not masks)


def room(model: keras.Model, longest: int = LONGEST) -> int:
    """The largest number of steps in a sequence for the model, at most `longest`."""
    tables = [layer.max_length for layer in model._flatten_layers() if isinstance(layer, LearnedPositions)]
    return min([longest, *tables])


def decoding(
    model: keras.Model,
    *,
    start_id: int,
    vocabulary_size: int,
    source: Input | None = None,
    search: Callable[[Any], Mapping[str, Any]] | None = None,
    room_for: int = 0,
    longest: int | None = None,
    compiled: Compile = plainly,
) -> ModelAdapter:
    """An adapter for a model that decodes: a translator, a recognizer with attention, a language model.

    The answers are the `logits` of a given target, and all results of `search`. Any values may be under the padding of
    a target, since no step depends on later ones.

    Args:
        start_id: first token of a target. Ids below 4 and the padding id are drawn like any others.
        vocabulary_size: size of the target vocabulary.
        source: input of a model with `encode`. None: ids of the source vocabulary.
        search: `search(source) -> {name: (B, ...)}`. For a language model, the source is the beginning of a text.
        room_for: number of tokens that the search adds to a beginning.
        longest: largest number of tokens in a source or a target. None: 16.
        compiled: as for `mapping`.
    """
    continues = not hasattr(model, "encode")
    most = room(model, longest or LONGEST)
    shown = max(1, most - 1 - (room_for if continues else 0))
    target = Input(_after(start_id, ids(vocabulary_size)), (None,), longest=shown, hides=True)
    if source is None and continues:
        source = Input(_after(start_id, ids(vocabulary_size)), (None,), longest=shown)
    elif source is None:
        source = Input(ids(model.source_vocabulary_size or vocabulary_size), (None,), longest=most)
    inputs = {"source": source, "target": target}

    def call(batch):
        given = batch["target"] if continues else {name: batch[name] for name in ("source", "target")}
        found = {} if search is None else search(batch["source"])
        return {"logits": model(given, training=False), **found}

    def own(answers, row, sequence):
        steps = {"logits": len(sequence["target"]), "token_log_probs": len(sequence["target"]) - 1}
        return {name: x[row][: steps[name]] if name in steps else x[row] for name, x in answers.items()}

    run = compiled(call, inputs)
    return ModelAdapter(inputs, lambda batch: arrays(run(batch)), own)


def _after(start_id: int, values: Callable) -> Callable:
    """Draws like `values`, with the start token in the first place."""

    def after(random, shape):
        x = values(random, shape)
        x[..., 0] = start_id
        return x

    return after
