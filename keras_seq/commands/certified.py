"""The models of run folders as `keras-seq certify` asks them."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_seq.commands.certified_decoders import asked_of_decoder, asked_of_listener, traced
from keras_seq.commands.certified_exports import EXPORTED, called_with


@contextlib.contextmanager
def asked_of_run(task: Any, options: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """What is asked of a run folder's model, and the reasons why some kinds of case are left out."""
    asked, exported = _asked(task, options)
    others: dict[str, Callable] = {}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="certify-") as folder:
        place = pathlib.Path(folder)
        if options.replicas > 1:
            others[f"{options.replicas} replicas"] = _replicated(task.file, asked.inputs, options.replicas)
        for name in options.formats:
            if name == "ctranslate2" and not hasattr(task.model, "encoder_layers"):
                continue  # it runs Transformers alone
            try:
                others[name] = EXPORTED[name](task.model, asked, place / name, exported)
            except (ImportError, ValueError, RuntimeError) as error:
                left_out[name] = str(error).strip().splitlines()[0][:300]
        yield dataclasses.replace(asked, others=others), left_out


def _asked(task: Any, options: Any) -> tuple[Any, Any]:
    """What is asked, and the task that it is exported for, where that takes texts or sounds and searches."""
    from keras_seq.inspection.certify_adapters import mapping

    if task.name in ("translation", "generation"):
        return asked_of_decoder(task, options)
    if task.name == "transcription" and hasattr(task.model, "encode"):
        return asked_of_listener(task, options)
    sizes = {}
    model = task.model
    if task.name == "tagging":
        sides = {"words": task.vocabulary, "characters": task.characters}
        sizes = {name: side.size for name, side in sides.items() if side is not None}
        model = with_tags(model)
    found = mapping(model, vocabulary_sizes=sizes, longest=options.longest, compiled=traced)
    if task.name == "transcription":
        found = dataclasses.replace(found, answers=_with_text(found.answers, task.vocabulary))
    return found, None


def with_tags(model: Any) -> Any:
    """A tagger that gives its scores as `outputs` and its best tags as `tags`."""
    import keras

    from keras_seq.models import best_tags

    return keras.Model(model.input, {"outputs": model.output, "tags": best_tags(model).output})


def _with_text(answers: Callable, vocabulary: Any) -> Callable:
    """The answers of a recognizer with CTC, and its texts."""
    import tensorflow as tf

    from keras_seq.decoding import ctc

    @tf.function(input_signature=[tf.TensorSpec((None, None, vocabulary.size))], autograph=False)
    def text(logits):
        shape = tf.shape(logits)
        return vocabulary.detokenize(ctc(logits, tf.fill([shape[0]], shape[1])).tokens[:, 0])

    def call(batch):
        found = answers(batch)
        (logits,) = found.values()
        return {**found, "text": text(logits).numpy()}

    return call


def _replicated(file: pathlib.Path, inputs: Mapping[str, Any], replicas: int) -> Callable:
    """The answers of `predict` where each batch is split over several devices."""
    from keras_seq import distribution
    from keras_seq.inspection.certify_adapters import named
    from keras_seq.tasks.run_folder import load_keras

    with distribution.scope("mirrored", replicas=replicas):
        model = load_keras(file)
        model.jit_compile = False  # XLA compiles each shape anew

    def answers(batch):
        found = model.predict(called_with(model, batch), verbose=0)
        return {"logits": found} if "target" in inputs else {k: np.asarray(x) for k, x in named(found).items()}

    return answers
