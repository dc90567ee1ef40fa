"""The models of run folders as `keras-seq certify` asks them."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_seq.commands.model_files import load_keras
from keras_seq.commands.opened import Trained
from keras_seq.commands.recognizers import Recognizer
from keras_seq.commands.taggers import Tagger

LEAST_NUMBER = 1e-30  # log p of what is impossible stays finite


def traced(function: Callable, inputs: Mapping[str, Any]) -> Callable:
    """The function of a batch as a graph, traced once for all shapes."""
    import tensorflow as tf

    random, specs = np.random.default_rng(0), {}
    for name, each in inputs.items():
        one = each.values(random, tuple(1 if size is None else size for size in each.shape))
        if one.dtype != object:  # texts are for what is exported
            specs[name] = tf.TensorSpec((None, *each.shape), one.dtype)
    graph = tf.function(function, input_signature=[specs], autograph=False)
    return lambda batch: graph({name: tf.constant(batch[name]) for name in specs})


@contextlib.contextmanager
def asked_of_run(opened: Any, options: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """What is asked of a run folder's model, and the reasons why some kinds of case are left out."""
    asked, export_text = _asked(opened, options)
    others: dict[str, Callable] = {}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="certify-") as folder:
        place = pathlib.Path(folder)
        if options.replicas > 1:
            others[f"{options.replicas} replicas"] = _replicated(opened.file, asked.inputs, options.replicas)
        for name in options.formats:
            try:
                others[name] = _EXPORTED[name](opened, asked, place / name, export_text)
            except (ImportError, ValueError, RuntimeError) as error:
                left_out[name] = str(error).strip().splitlines()[0][:300]
        yield dataclasses.replace(asked, others=others), left_out


def _asked(opened: Any, options: Any) -> tuple[Any, Any]:
    """What is asked, and the task that it is exported for, where that takes texts or sounds and searches."""
    from keras_seq.inspection.asked import mapping

    if isinstance(opened, Trained):
        return _trained(opened, options)
    if isinstance(opened, Recognizer) and opened.attends:
        return _attending(opened, options)
    sizes = {}
    model = opened.model
    if isinstance(opened, Tagger):
        sizes = {name: v.size for name, v in opened.vocabularies.items()}
        model = with_tags(model)
    found = mapping(model, vocabulary_sizes=sizes, longest=options.longest, compiled=traced)
    if isinstance(opened, Recognizer):
        found = dataclasses.replace(found, answers=_with_text(found.answers, opened.vocabulary))
    return found, None


def with_tags(model: Any) -> Any:
    """A tagger that gives its scores as `outputs` and its best tags as `tags`."""
    import keras

    from keras_seq.models import best_tags

    return keras.Model(model.input, {"outputs": model.output, "tags": best_tags(model).output})


def _with_text(answers: Callable, vocabulary: Any) -> Callable:
    """The answers of a recognizer with CTC, and its texts."""
    from keras_seq.decoding import ctc

    def call(batch):
        found = answers(batch)
        (logits,) = found.values()
        best = ctc(logits, np.repeat(logits.shape[1], len(logits)))
        return {**found, "text": vocabulary.detokenize(best.tokens[:, 0]).numpy()}

    return call


def _search(model: Any, vocabulary: Any, max_length: int, read: Callable = lambda source: source) -> Callable:
    """The function from sources to `tokens`, `score` and `log_prob` of the best output, by beams."""
    from keras_seq.decoding import search

    ids = {"start_id": vocabulary.start_id, "end_id": vocabulary.end_id, "pad_id": vocabulary.pad_id}

    def find(source):
        found = search(model, source, max_length=max_length, search="beam", **ids)
        best = {"tokens": found.tokens, "score": found.scores, "log_prob": found.log_probs}
        return {name: x[:, 0] for name, x in best.items()}

    return find


def _trained(opened: Trained, options: Any) -> tuple[Any, Any]:
    from keras_seq import decoding, export
    from keras_seq.inspection.asked import decoding as decoder
    from keras_seq.inspection.sequences import Input, drawn, texts

    vocabulary, source_vocabulary, length = opened.vocabulary, opened.source_vocabulary, options.max_length
    continues = opened.is_language_model
    model = decoding.Continued(opened.model, vocabulary.pad_id) if continues else opened.model
    task = export.Generation if continues else export.Translation
    sides = [vocabulary] if continues else [vocabulary, source_vocabulary]
    asked = decoder(
        opened.model,
        start_id=vocabulary.start_id,
        vocabulary_size=vocabulary.size,
        search=_search(model, vocabulary, length),
        room_for=length,
        compiled=traced,
    )
    inputs = {**asked.inputs, "text": Input(texts([b"a"]), ())}
    longest = min(asked.inputs["source"].longest, options.longest or asked.inputs["source"].longest)

    def draw(random):
        """The ids of a source are those of its text, so that what is exported can be given the text."""
        while True:
            count = random.integers(1, max(2, longest))
            words = random.integers(1, source_vocabulary.size, (1, count)).astype("int32")
            text = source_vocabulary.detokenize(words).numpy()[0]
            ids = source_vocabulary.tokenize([text]).numpy()[0].tolist()
            if 0 < len(ids) < max(2, longest):
                break
        ids = [vocabulary.start_id, *ids] if continues else [*ids, source_vocabulary.end_id]
        target = drawn({"target": asked.inputs["target"]}, random)["target"]
        return {"source": np.array(ids, "int32"), "target": target, "text": np.array(text, object)}

    answers = _with_texts(asked.answers, vocabulary)
    answers = _with_log_probs(answers, vocabulary.end_id)
    own = _own_log_probs(asked.own)
    asked = dataclasses.replace(asked, inputs=inputs, answers=answers, own=own, draw=draw)
    return asked, task(*sides, max_length=length, search="beam")


def _attending(opened: Recognizer, options: Any) -> tuple[Any, Any]:
    from keras_seq.inspection.asked import decoding as decoder
    from keras_seq.inspection.asked import floats

    model, vocabulary = opened.model, opened.vocabulary
    asked = decoder(
        model,
        start_id=vocabulary.start_id,
        vocabulary_size=vocabulary.size,
        source=floats(model._flatten_layers(), (None,), options.longest),
        search=_search(model, vocabulary, options.max_length),
        compiled=traced,
    )
    asked = dataclasses.replace(asked, answers=_with_texts(asked.answers, vocabulary))
    return asked, opened.task(max_length=options.max_length, search="beam")


def _with_texts(answers: Callable, vocabulary: Any) -> Callable:
    """The answers, and the tokens that a search found as `text`."""

    def call(batch):
        found = answers(batch)
        return {**found, "text": vocabulary.detokenize(found["tokens"]).numpy()}

    return call


def _with_log_probs(answers: Callable, end_id: int) -> Callable:
    """The answers, and log p of the tokens of each target, the end token behind it, as `token_log_probs (B, T)`."""

    def call(batch):
        found = answers(batch)
        logits, target = found["logits"].astype("float64"), batch["target"]
        log_probs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True) + LEAST_NUMBER)
        log_probs = log_probs - logits.max(-1, keepdims=True)
        following = np.concatenate([target[:, 1:], np.full_like(target[:, :1], end_id)], axis=1)
        told = np.take_along_axis(log_probs, following[..., None], -1)[..., 0]
        ends = log_probs[..., end_id]
        return {**found, "token_log_probs": told, "end_log_probs": ends}

    return call


def _own_log_probs(own: Callable) -> Callable:
    def call(answers, row, sequence):
        length = len(sequence["target"])
        found = own({name: x for name, x in answers.items() if name not in _FORCED}, row, sequence)
        forced = answers["token_log_probs"][row][:length].copy()
        if "end_log_probs" in answers:
            forced[-1] = answers["end_log_probs"][row][length - 1]
        return {**found, "token_log_probs": forced}

    return call


_FORCED = ("token_log_probs", "end_log_probs")


def _given(inputs: Mapping[str, Any], batch: dict) -> Any:
    """A batch as a functional model with these inputs takes it: a lone input bare."""
    return batch if len(inputs) > 1 else next(iter(batch.values()))


def _replicated(file: pathlib.Path, inputs: Mapping[str, Any], replicas: int) -> Callable:
    """The answers of `predict` where each batch is split over several devices."""
    from keras_seq import distribution
    from keras_seq.inspection.asked import named

    with distribution.scope("mirrored", replicas=replicas):
        model = load_keras(file, decodes=False)
        model.jit_compile = False  # XLA compiles each shape anew

    def answers(batch):
        found = model.predict(_called_with(model, batch), verbose=0)
        return {"logits": found} if "target" in inputs else {k: np.asarray(x) for k, x in named(found).items()}

    return answers


def _called_with(model: Any, batch: dict) -> Any:
    if "target" in batch:
        return {n: batch[n] for n in ("source", "target")} if hasattr(model, "encode") else batch["target"]
    return batch if isinstance(model.input, dict) else _given(batch, batch)
