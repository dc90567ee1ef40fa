"""Export of a model as an ONNX file, with Keras's exporter and tf2onnx."""

import importlib.util
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq.export.destination import check_file, write_file
from keras_seq.export.litert import check_same
from keras_seq.export.loggers import errors_only
from keras_seq.tasks.signatures import for_inference
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
    """Writes an `.onnx` file of a call of the model.

    Its inputs are `args_0` or, for a model that is called with a dict, `args_0_source`, `args_0_target` and so on. The
    number of rows is free.

    Args:
        model: a built Keras model.
        path: the file to write. Its name must end in `.onnx`.
        example: input of the model: an array, a list of arrays or a dict of arrays.
        free_length: whether the length (axis 1) is free, if the model's inputs leave it open, or fixed to that of
            `example`. Files of untrained Transformers with free length from tf2onnx 1.17 do not run in onnxruntime,
            which `verify` detects.
        opset: version of ONNX's operator set (None: tf2onnx's default).
        verify: whether to compare onnxruntime with the model, within 1e-4, on `example` and on its first row, one step
            shorter if the length is free.
        overwrite: whether to replace an existing file at `path`.
    Returns:
        `path`, a `pathlib.Path`.
    Raises:
        ImportError: if tf2onnx or, to verify, onnxruntime is not installed.
        ValueError: for a `path` with another ending, for an existing file if `overwrite` is False, and for a layer with
            `stateful=True`.
        RuntimeError: if onnxruntime cannot run the file, or computes other results.
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
    quietly = warnings.catch_warnings(action="ignore", category=FutureWarning)  # Keras's exporter asks for np.object
    with tempfile.TemporaryDirectory() as folder, for_inference(model), errors_only("tensorflow", "tf2onnx"), quietly:
        file = Path(folder, "model.onnx")
        try:
            model.export(str(file), format="onnx", verbose=False, input_signature=signature, opset_version=opset)
        except Exception as error:  # tf2onnx raises ValueErrors, and other errors that it does not catch
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
                f"An ONNX file keeps no state between calls, but {layer.name!r} has `stateful=True`. Write a "
                "SavedModel or a LiteRT file, which do, or a model that takes the states as inputs and returns them."
            )


def _shapes(model, example, free_length):
    """The shapes of the inputs, with None for free axes: the rows and, with `free_length`, the axes that a model with
    defined input shapes leaves open, such as words and their characters, or axis 1 of any other model."""
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
    """The operation that onnxruntime lacks, which its long messages name at their end, or the first line."""
    if missing := re.search(r"No Op registered for \w+", str(error)):
        return missing[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


def _verify(content, model, example, free):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised anyway
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's classes of errors are private
        raise RuntimeError(
            f"onnxruntime cannot load the file: {_first_line(error)}. Export a part of the model without that "
            "operation, or use `export.saved_model`."
        ) from error
    # Keras numbers the arrays of a list: args_0, args_0_1, ..., args_0_10.
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
            raise RuntimeError(f"onnxruntime cannot run tf2onnx's file of this model: {message}.{remedy}") from error
        here = NamedNest(model(batch, training=False), "outputs").flat
        here = {name: ops.convert_to_numpy(here[name]) for name in sorted(here)}
        check_same(here, dict(zip(here, found, strict=True)), "onnxruntime")
