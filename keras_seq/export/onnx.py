"""A model as an ONNX file, by Keras's own exporter and tf2onnx."""

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq.export.destination import check_file, write_file
from keras_seq.export.litert import check_same
from keras_seq.tasks.signatures import without_cudnn
from keras_seq.tasks.tensors import NamedNest


def onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    example: Any,
    *,
    free_length: bool = True,
    opset: int | None = None,
    verify: bool = True,
    overwrite: bool = True,
) -> Path:
    """Writes an `.onnx` file of what the model computes when it is called.

    Its inputs are `args_0`, or, of a model that is called with a dict, `args_0_source`, `args_0_target` and so on. Any
    number of rows goes.

    Args:
        model: a built Keras model.
        path: the file to write; its name ends in `.onnx`.
        example: what the model is called with: an array, a list of arrays or a dict of them.
        free_length: whether any length (axis 1) goes, where the inputs of the model leave it open, or that of `example`
            alone. tf2onnx 1.17's files of untrained Transformers with free length do not run in onnxruntime; `verify`
            finds out.
        opset: number of ONNX's set of operations; None for tf2onnx's default.
        verify: whether onnxruntime must give what the model gives for `example`, and for its first row, a step shorter
            if the length is free; but for 1e-4.
        overwrite: whether a file that stands at `path` is replaced.
    Returns:
        `path`, a `pathlib.Path`.
    Raises:
        ImportError: without tf2onnx or, to verify, onnxruntime.
        ValueError: for a `path` of another name, where a file stands and `overwrite` is False, and for a layer with
            `stateful=True`.
        RuntimeError: if onnxruntime cannot run what was written, or computes otherwise.
    """
    path = Path(path)
    check_file(path, ".onnx", overwrite)
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"An ONNX file needs Keras's TensorFlow backend here. Received: {keras.backend.backend()!r}")
    for package in ("tf2onnx", "onnxruntime")[: 1 + verify]:
        if importlib.util.find_spec(package) is None:
            raise ImportError(f'`export.onnx` needs the package {package}: pip install "keras-seq[onnx]"')
    _refuse_carried_states(model)
    example = keras.tree.map_structure(np.asarray, example)

    shapes = _shapes(model, example, free_length)
    flat = keras.tree.flatten(example)
    specs = [tf.TensorSpec(shape, x.dtype) for shape, x in zip(shapes, flat, strict=True)]
    free = keras.tree.pack_sequence_as(example, [shape[1:2] == (None,) for shape in shapes])
    signature = [keras.tree.pack_sequence_as(example, specs)]
    with tempfile.TemporaryDirectory() as folder, without_cudnn(model):
        file = Path(folder, "model.onnx")
        try:
            model.export(str(file), format="onnx", verbose=False, input_signature=signature, opset_version=opset)
        except Exception as error:  # tf2onnx raises ValueErrors, and errors of the classes that it meets
            raise RuntimeError(
                f"tf2onnx cannot express this model: {_first_line(error)}. Export a part of the model, or use "
                "`export.saved_model`."
            ) from error
        content = file.read_bytes()
    if verify:
        _verify(content, model, example, free)
    write_file(path, content)
    return path


def _refuse_carried_states(model):
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False):
            raise ValueError(
                f"An ONNX file keeps no state from one call to the next, and {layer.name!r} has `stateful=True`. Write "
                "a SavedModel or a LiteRT file, which do; or a model that takes the states as inputs and returns them."
            )


def _shapes(model, example, free_length):
    """Of the inputs, None for what is free: the rows; with `free_length` the axes that a model with inputs of known
    shape leaves open, such as words and their characters, or of another model axis 1."""
    flat = keras.tree.flatten(example)
    if not free_length:
        return [(None, *x.shape[1:]) for x in flat]
    shapes = [x.shape for x in getattr(model, "inputs", None) or ()]
    if len(shapes) != len(flat):
        shapes = [(None, None, *x.shape[2:])[: x.ndim] for x in flat]
    return [
        (None, *(None if size is None else own for size, own in zip(shape[1:], x.shape[1:], strict=True)))
        for shape, x in zip(shapes, flat, strict=True)
    ]


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


def _verify(content, model, example, free):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, too
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of classes that onnxruntime keeps to itself
        raise RuntimeError(
            f"onnxruntime cannot load the file: {_first_line(error)}. Export a part of the model without that "
            "operation, or use `export.saved_model`."
        ) from error
    # Keras numbers what stands in a list: args_0, args_0_1, ..., args_0_10.
    inputs = sorted((x.name for x in session.get_inputs()), key=lambda name: (len(name), name))
    inputs = sorted(inputs) if isinstance(example, dict) else inputs
    free_length = any(keras.tree.flatten(free))
    shorter = keras.tree.map_structure(lambda x, free: x[:1, :-1] if free else x[:1], example, free)
    for batch in (example, shorter):
        arrays = [batch[name] for name in sorted(batch)] if isinstance(batch, dict) else keras.tree.flatten(batch)
        try:
            found = session.run(None, dict(zip(inputs, arrays, strict=True)))
        except Exception as error:
            remedy = " Try `free_length=False`." if free_length else ""
            message = " ".join(str(error).split()).rstrip(".")
            raise RuntimeError(f"onnxruntime cannot run what tf2onnx made of this model: {message}.{remedy}") from error
        here = NamedNest(model(batch, training=False), "outputs").flat
        here = {name: ops.convert_to_numpy(here[name]) for name in sorted(here)}
        check_same(here, dict(zip(here, found, strict=True)), "onnxruntime")
