"""Adapters of run folders for `keras-seq certify`."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_seq.commands.certified_decoders import adapter_of_decoder, adapter_of_recognizer, traced
from keras_seq.commands.certified_exports import EXPORTED, called_with


@contextlib.contextmanager
def adapter_of_run(task: Any, options: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """Adapter of a run folder's model, and the reason for each kind of case that is left out."""
    adapter, exported = _adapter(task, options)
    others: dict[str, Callable] = {}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="certify-") as folder:
        root = pathlib.Path(folder)
        if options.replicas > 1:
            others[f"{options.replicas} replicas"] = _replicated(task.file, adapter.inputs, options.replicas)
        for name in options.formats:
            if name == "ctranslate2" and not hasattr(task.model, "encoder_layers"):
                continue  # it runs Transformers only
            try:
                others[name] = EXPORTED[name](task.model, adapter, root / name, exported)
            except (ImportError, ValueError, RuntimeError) as error:
                left_out[name] = str(error).strip().splitlines()[0][:300]
        yield dataclasses.replace(adapter, others=others), left_out


def _adapter(task: Any, options: Any) -> tuple[Any, Any]:
    """The adapter, and the task to export: one that takes texts or recordings and searches (None: tensors only)."""
    from keras_seq.inspection.certify_adapters import mapping

    if task.name in ("translation", "generation"):
        return adapter_of_decoder(task, options)
    if task.name == "transcription" and hasattr(task.model, "encode"):
        return adapter_of_recognizer(task, options)
    sizes = {}
    model = task.model
    if task.name == "tagging":
        sides = {"words": task.vocabulary, "characters": task.characters}
        sizes = {name: side.size for name, side in sides.items() if side is not None}
        model = with_tags(model)
    adapter = mapping(model, vocabulary_sizes=sizes, longest=options.longest, compiled=traced)
    if task.name == "transcription":
        adapter = dataclasses.replace(adapter, answers=_with_text(adapter.answers, task.vocabulary))
    return adapter, None


def with_tags(model: Any) -> Any:
    """A tagger that returns its scores as `outputs` and its best tags as `tags`."""
    import keras

    from keras_seq.models import best_tags

    return keras.Model(model.input, {"outputs": model.output, "tags": best_tags(model).output})


def _with_text(answers: Callable, vocabulary: Any) -> Callable:
    """Adds the texts to the outputs of a CTC recognizer."""
    import tensorflow as tf

    from keras_seq.decoding import ctc

    @tf.function(input_signature=[tf.TensorSpec((None, None, vocabulary.size))], autograph=False)
    def text(logits):
        shape = tf.shape(logits)
        return vocabulary.detokenize(ctc(logits, tf.fill([shape[0]], shape[1])).tokens[:, 0])

    def call(batch):
        outputs = answers(batch)
        (logits,) = outputs.values()
        return {**outputs, "text": text(logits).numpy()}

    return call


def _replicated(file: pathlib.Path, inputs: Mapping[str, Any], replicas: int) -> Callable:
    """Outputs of `predict` with each batch split over several devices."""
    from keras_seq import distribution
    from keras_seq.inspection.certify_adapters import named
    from keras_seq.tasks.run_folder import load_keras

    with distribution.scope("mirrored", replicas=replicas):
        model = load_keras(file)
        model.jit_compile = False  # XLA recompiles for each shape

    def answers(batch):
        outputs = model.predict(called_with(model, batch), verbose=0)
        return {"logits": outputs} if "target" in inputs else {k: np.asarray(x) for k, x in named(outputs).items()}

    return answers
