"""Exports that `keras-seq certify` compares: each function writes a model and returns a function of its outputs."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np


def called_with(model: Any, batch: dict) -> Any:
    """The inputs that the model takes, from a batch."""
    if "target" in batch:
        return {n: batch[n] for n in ("source", "target")} if hasattr(model, "encode") else batch["target"]
    return batch if isinstance(model.input, dict) else next(iter(batch.values()))


def saved_model(model: Any, adapter: Any, place: pathlib.Path, task: Any) -> Callable:
    """A SavedModel: the first signature of a task, which takes texts or waveforms, or without a task one on tensors."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401, its operations may be in the graph

    from keras_seq.export.saved_model import write
    from keras_seq.tasks import Tensors
    from keras_seq.tasks.signatures import Exported

    task = task or Tensors(model)
    name, signature = next(iter(task.signatures().items()))
    write(model, Exported(model, {name: signature}, task.resources), place)
    loaded = tf.saved_model.load(str(place))
    takes = loaded.signatures[name].structured_input_signature[1]
    return lambda batch: _numpy(loaded.signatures[name](**_named(batch, takes)))


def _named(batch: dict, takes: dict) -> dict[str, Any]:
    """The inputs of a signature. A single input may have another name there: a waveform is `source` in the batch."""
    import tensorflow as tf

    if set(takes) <= set(batch):
        return {name: tf.constant(batch[name], spec.dtype) for name, spec in takes.items()}
    ((name, spec),) = takes.items()
    return {name: tf.constant(next(iter(batch.values())), spec.dtype)}


def _numpy(tensors: dict) -> dict[str, np.ndarray]:
    return {name: x.numpy() for name, x in tensors.items()}


def onnx(model: Any, adapter: Any, place: pathlib.Path, task: Any) -> Callable:
    """An ONNX file of the model's call."""
    from keras_seq.export import onnx as write
    from keras_seq.inspection.certify_adapters import named

    example = called_with(model, _example(adapter))
    file = write(model, place.with_suffix(".onnx"), example, verify=False)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are also raised
    outputs = sorted(named(model(example, training=False)))
    outputs = ["logits"] if "target" in adapter.inputs else outputs

    def answers(batch):
        inputs = called_with(model, batch)
        arrays = [inputs[name] for name in sorted(inputs)] if isinstance(inputs, dict) else [inputs]
        names = sorted(x.name for x in session.get_inputs())
        return dict(zip(outputs, session.run(None, dict(zip(names, arrays, strict=True))), strict=True))

    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
        answers(_example(adapter))
    except Exception as error:  # the exception classes of onnxruntime are private
        raise RuntimeError(f"onnxruntime cannot run the ONNX file of this model: {error}") from error
    return answers


def _example(adapter: Any) -> dict[str, np.ndarray]:
    from keras_seq.inspection.sequences import batch, sizes

    random = np.random.default_rng(0)
    rows = [adapter.drawn(random) for _ in range(2)]
    return batch(adapter.inputs, rows, sizes(adapter.inputs, rows))


def ctranslate2(model: Any, adapter: Any, place: pathlib.Path, task: Any) -> Callable:
    """A CTranslate2 model folder, which gives log p of the tokens of each target."""
    from keras_seq.export import ctranslate2 as write

    sides = [getattr(task, name, None) for name in ("vocabulary", "source_vocabulary")]
    write(model, place, sides[0], source_vocabulary=sides[1], verify=False)
    import ctranslate2 as library

    translator = library.Translator(str(place), device="cpu", compute_type="float32")
    (target_pieces, source_pieces), (target, source) = ([side.pieces(range(side.size)) for side in sides], sides)

    def answers(batch):
        # CTranslate2 adds the start token, and the end token of a source, itself.
        sources = [[source_pieces[i] for i in row[row != source.pad_id][:-1]] for row in batch["source"]]
        targets = [[target_pieces[i] for i in row[1:]] for row in _rows(batch["target"], target.pad_id)]
        results = translator.score_batch(sources, targets, max_input_length=0)
        log_probs = np.zeros((len(results), batch["target"].shape[1]))
        for row, result in zip(log_probs, results, strict=True):  # the end token comes last
            row[: len(result.log_probs)] = result.log_probs
        return {"token_log_probs": log_probs}

    return answers


def _rows(tokens: np.ndarray, pad_id: int) -> list[np.ndarray]:
    """The rows without their trailing padding."""
    return [row[: len(row) - int(np.argmax(row[::-1] != pad_id))] for row in tokens]


EXPORTED = {"saved_model": saved_model, "onnx": onnx, "ctranslate2": ctranslate2}
