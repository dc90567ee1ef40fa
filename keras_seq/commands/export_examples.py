"""Example inputs of a task's model, which give LiteRT and ONNX files their shapes."""

from typing import Any

import keras
import numpy as np

WORD = 16  # characters of a word
FRAMES, SECONDS = 10, 1  # default lengths of a clip and of a recording
TOKENS = 32


def example(task: Any, rows: int, length: int | None, *, source_alone: bool = False) -> Any:
    """Random inputs of a task's model: an array, or a nest of arrays in the model's structure.

    Args:
        task: task of a run folder.
        rows: number of rows, B.
        length: size T of axes of any size (None: 32 tokens, a second of audio, 10 frames, or the look-back of a
            forecaster).
        source_alone: whether to return the input of `encode` in place of the input of the whole model.
    Raises:
        ValueError: for a model without `inputs`.
    """
    model, random = task.model, np.random.default_rng(0)
    if hasattr(model, "encode"):
        source = _source(task, rows, length, random)
        return source if source_alone else {"source": source, "target": _ids(task, (rows, length or TOKENS), random)}
    if hasattr(model, "initial_state"):
        return _ids(task, (rows, length or TOKENS), random)
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"{task.where} is a {type(model).__name__}, which does not describe its inputs. Export it in Python."
        )
    return keras.tree.map_structure(lambda x: _array(task, x, rows, length, random), model.input)


def _source(task: Any, rows: int, length: int | None, random: np.random.Generator) -> np.ndarray:
    """Ids of a text `(B, S)`, or a waveform `(B, samples)`."""
    if getattr(task.model, "source_front_end", None) is None:
        return _ids(task, (rows, length or TOKENS), random, "source_vocabulary")
    return random.normal(size=(rows, length or SECONDS * task.sampling_rate)).astype("float32")


def _ids(task: Any, shape: tuple, random: np.random.Generator, name: str = "vocabulary") -> np.ndarray:
    vocabulary = getattr(task, name, None)
    return random.integers(1, 4 if vocabulary is None else vocabulary.size, shape).astype("int32")


def _array(task: Any, x: Any, rows: int, length: int | None, random: np.random.Generator) -> np.ndarray:
    """An array for an input of a functional model."""
    spelled = x.dtype.startswith("int") and len(x.shape) == 3  # (B, T, characters of a word)
    axes = [length or _usual_length(task, x), *([WORD] if spelled else [])]
    sizes = iter(axes + [1] * len(x.shape))
    shape = (rows, *(next(sizes) if size is None else size for size in x.shape[1:]))
    if x.dtype.startswith("int"):
        return _ids(task, shape, random, "characters" if spelled else "vocabulary")
    return random.random(shape).astype(x.dtype)


def _usual_length(task: Any, x: Any) -> int:
    if x.dtype.startswith("int"):
        return TOKENS
    if len(x.shape) == 2:
        from keras_seq.tasks.transcription import RATE, sampling_rate

        return SECONDS * (sampling_rate(task.model) or RATE)
    columns = getattr(task, "columns", None)
    return FRAMES if columns is None else columns.look_back
