"""Export of a model, or of one decoding step, as a LiteRT (TensorFlow Lite) file, for phones and small devices."""

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
from keras_seq.export.loggers import errors_only
from keras_seq.tasks.signatures import for_inference, kept
from keras_seq.tasks.state_names import StateNames
from keras_seq.tasks.tensors import NamedNest

TOLERANCE = 1e-4


def litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    example: Any,
    *,
    steps: int | None = None,
    verify: bool = True,
    overwrite: bool = True,
) -> Path:
    """Writes a `.tflite` file with only LiteRT's built-in operations, which every LiteRT interpreter runs.

    All shapes are fixed, to those of `example`. With free shapes the converter falls back on TensorFlow's operations
    ("Flex"), which an interpreter lacks unless it was built with them.

    Without `steps` there is one signature, `serve`, with the inputs and outputs of a call of the model. A single tensor
    is named `inputs` or `outputs`, those of a dict have its keys. `Seq2Seq` and `Transformer` thus score a given
    target.

    With `steps` the file decodes one token at a time, and the caller keeps the state:
    `encode(source) -> state_layers_0_0, ...` and `decode(tokens, state_...) -> logits, state_...`: see `StateNames`.
    A language model has `decode` only, and its first state is zeros.

    Args:
        model: a built Keras model.
        path: the file to write. Its name must end in `.tflite`.
        example: input of the model, an array or a dict of arrays, with the shapes for the file. With `steps` the source
            only (for a language model any ids `(B, T)`, to set B).
        steps: maximum number of tokens that the state has room for.
        verify: whether to compare LiteRT's interpreter with the model on `example`, within 1e-4. With `steps`, on eight
            greedy steps.
        overwrite: whether to replace an existing file at `path`.
    Returns:
        `path`, a `pathlib.Path`.
    Raises:
        ValueError: for a `path` with another ending, or an existing file if `overwrite` is False.
        RuntimeError: if LiteRT cannot express the model, or computes other results.
    """
    path = Path(path)
    check_file(path, ".tflite", overwrite)
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"A LiteRT file needs Keras's TensorFlow backend. Received: {keras.backend.backend()!r}")
    example = keras.tree.map_structure(np.asarray, example)
    signatures = _calls(model, example) if steps is None else _steps(model, example, steps)
    with for_inference(model), errors_only("tensorflow", "absl"):
        content = _converted(model, signatures)
    if verify:
        run = _runners(content)
        if steps is None:
            _compare(signatures["serve"][0], run["serve"], NamedNest(example, "inputs").flat)
        else:
            _compare_steps(signatures, run, example, min(steps, 8))
    write_file(path, content)
    return path


def _specs(tensors):
    return {name: tf.TensorSpec(x.shape, x.dtype, name=name) for name, x in tensors.items()}


def _calls(model, example):
    names = NamedNest(example, "inputs")

    def serve(**inputs):
        return NamedNest(model(names.nest(inputs), training=False), "outputs").flat

    return {"serve": (serve, _specs(names.flat))}


def _steps(model, source, steps):
    """The signatures of decoding: name -> (function, specs of its arguments)."""
    encodes, source = hasattr(model, "encode"), _as_ids(source)
    state = model.encode(source, max_length=steps) if encodes else model.initial_state(len(source), steps)
    names = StateNames(state)

    def encode(source):
        return names.flat(model.encode(source, max_length=steps))

    def decode(tokens, **tensors):
        logits, state = model.decode(tokens, names.nest(tensors))
        return {"logits": logits, **names.flat(state)}

    tokens = tf.TensorSpec((len(source), 1), tf.int32, name="tokens")
    signatures = {"decode": (decode, {"tokens": tokens, **_specs(names.flat(state))})}
    if encodes:
        signatures["encode"] = (encode, _specs({"source": source}))
    return signatures


def _as_ids(source):
    """Whole numbers as int32. Inputs of a front end stay as they are."""
    return source if np.issubdtype(source.dtype, np.floating) else source.astype("int32")


def _converted(model, signatures):
    """Converts like Keras's `export(format="litert")`, but with several signatures and without gradients.

    Keras also saves gradients, but those of the recurrent layers cannot be traced with fixed shapes.
    """
    module = tf.Module()
    module.weights = kept(model)
    concrete = {}
    for name, (function, specs) in signatures.items():
        setattr(module, f"call_{name}", tf.function(function, autograph=False))
        concrete[name] = getattr(module, f"call_{name}").get_concrete_function(**specs)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, concrete, tf.saved_model.SaveOptions(experimental_custom_gradients=False))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(concrete))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = True
        try:
            return converter.convert()
        except Exception as error:  # the converter has a different class for each of its stages
            raise RuntimeError(
                f"LiteRT lacks operations of this model: {_missing(str(error))}. Export a part of the model without "
                "them, or use `export.saved_model`."
            ) from error


def _missing(message):
    """The names of the operations in an error of the converter, or its first line if it names none."""
    names = re.findall(r"'tf\.(\w+)' op is neither", message)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return ", ".join(dict.fromkeys(names)) or (
        lines[0][:200].rstrip(".") if lines else "the converter does not name them"
    )


def _runners(content):
    """Name of a signature -> function of named arrays. Prefers Google's newer package, if it is installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hides the deprecation of TensorFlow's interpreter
        interpreter = Interpreter(model_content=content)
    return {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}


def _compare(ours, theirs, inputs):
    here = {name: ops.convert_to_numpy(x) for name, x in ours(**inputs).items()}
    check_same(here, theirs(**inputs), "LiteRT's interpreter")


def check_same(here, there, who):
    """Raises `RuntimeError` if outputs differ."""
    for name, expected in here.items():
        off = np.abs(np.asarray(there[name], "float64") - expected).max(initial=0.0)
        if there[name].shape != expected.shape or not off <= TOLERANCE * max(1.0, np.abs(expected).max(initial=0.0)):
            raise RuntimeError(
                f"{who} computes other results: its {name!r} of shape {there[name].shape} differs by up to {off:.3g} "
                f"from the model's, of shape {expected.shape}."
            )


def _compare_steps(signatures, run, source, steps):
    decode, specs = signatures["decode"]
    if "encode" in signatures:
        source = _as_ids(source)
        ours, theirs = signatures["encode"][0](source), run["encode"](source=source)
    else:
        ours = {name: np.zeros(x.shape, x.dtype.as_numpy_dtype) for name, x in specs.items() if name != "tokens"}
        theirs = ours
    tokens = np.ones((len(source), 1), "int32")
    for _ in range(steps):
        ours, theirs = decode(tokens=tokens, **ours), run["decode"](tokens=tokens, **theirs)
        logits = ops.convert_to_numpy(ours.pop("logits"))
        check_same({"logits": logits}, {"logits": theirs.pop("logits")}, "LiteRT's interpreter")
        tokens = logits.argmax(-1).astype("int32")  # (B, 1)
