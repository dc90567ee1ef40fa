"""Adapters of decoding models for `keras-seq certify`: outputs for a given target, and search results."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def traced(function: Callable, inputs: Mapping[str, Any]) -> Callable:
    """Compiles a function of a batch into a graph that is traced once for all shapes."""
    import tensorflow as tf

    random, specs = np.random.default_rng(0), {}
    for name, spec in inputs.items():
        one = spec.values(random, tuple(1 if size is None else size for size in spec.shape))
        if one.dtype != object:  # only exported models take texts
            specs[name] = tf.TensorSpec((None, *spec.shape), one.dtype)
    graph = tf.function(function, input_signature=[specs], autograph=False)
    return lambda batch: graph({name: tf.constant(batch[name]) for name in specs})


def _search(model: Any, vocabulary: Any, max_length: int, read: Callable = lambda source: source) -> Callable:
    """A beam search, from sources to `tokens`, `score` and `log_prob` of the best hypothesis."""
    from keras_seq.decoding import search

    ids = {"start_id": vocabulary.start_id, "end_id": vocabulary.end_id, "pad_id": vocabulary.pad_id}

    def best_output(source):
        outputs = search(model, source, max_length=max_length, search="beam", **ids)
        best = {"tokens": outputs.tokens, "score": outputs.scores, "log_prob": outputs.log_probs}
        return {name: x[:, 0] for name, x in best.items()}

    return best_output


def adapter_of_decoder(task: Any, options: Any) -> tuple[Any, Any]:
    """Adapter of a translator or a language model, and the task to export."""
    from keras_seq import decoding
    from keras_seq.inspection.certify_adapters import decoding as decoder
    from keras_seq.inspection.sequences import Input, texts

    vocabulary, source_vocabulary, length = task.vocabulary, task.source_vocabulary, options.max_length
    continues = task.name == "generation"
    model = decoding.PromptedModel(task.model, vocabulary.pad_id) if continues else task.model
    sides = [vocabulary] if continues else [vocabulary, source_vocabulary]
    adapter = decoder(
        task.model,
        start_id=vocabulary.start_id,
        vocabulary_size=vocabulary.size,
        search=_search(model, vocabulary, length),
        room_for=length,
        longest=options.longest,
        compiled=traced,
    )
    inputs = {**adapter.inputs, "text": Input(texts([b"a"]), ())}
    answers = _with_log_probs(_with_texts(adapter.answers, vocabulary))
    draw = _draw(adapter.inputs, source_vocabulary, vocabulary.start_id if continues else None)
    adapter = dataclasses.replace(adapter, inputs=inputs, answers=answers, draw=draw)
    return adapter, type(task)(task.model, *sides, max_length=length, search="beam")


def _draw(inputs: Mapping[str, Any], vocabulary: Any, start_id: int | None) -> Callable:
    """A function that draws a source, its text as input of exported models, and a target.

    Args:
        vocabulary: vocabulary of the source.
        start_id: token before a text that a language model continues (None: the end token follows the text instead).
    """
    from keras_seq.inspection.sequences import drawn

    longest = max(2, inputs["source"].longest)

    def draw(random):
        ids: list[int] = []
        while not 0 < len(ids) < longest:  # tokenizing a text need not restore its ids
            words = random.integers(1, vocabulary.size, (1, random.integers(1, longest))).astype("int32")
            text = vocabulary.detokenize(words).numpy()[0]
            ids = vocabulary.tokenize([text]).numpy()[0].tolist()
        ids = [*ids, vocabulary.end_id] if start_id is None else [start_id, *ids]
        target = drawn({"target": inputs["target"]}, random)["target"]
        return {"source": np.array(ids, "int32"), "target": target, "text": np.array(text, object)}

    return draw


def adapter_of_recognizer(task: Any, options: Any) -> tuple[Any, Any]:
    """Adapter of an attention-based recognizer, and the task to export."""
    from keras_seq.inspection.certify_adapters import decoding as decoder
    from keras_seq.inspection.certify_adapters import floats

    model, vocabulary = task.model, task.vocabulary
    adapter = decoder(
        model,
        start_id=vocabulary.start_id,
        vocabulary_size=vocabulary.size,
        source=floats(model._flatten_layers(), (None,), options.longest),
        search=_search(model, vocabulary, options.max_length),
        compiled=traced,
    )
    adapter = dataclasses.replace(adapter, answers=_with_texts(adapter.answers, vocabulary))
    return adapter, type(task)(model, vocabulary, max_length=options.max_length, search="beam")


def _with_texts(answers: Callable, vocabulary: Any) -> Callable:
    """Adds the tokens of the search result as `text`."""

    def call(batch):
        outputs = answers(batch)
        return {**outputs, "text": vocabulary.detokenize(outputs["tokens"]).numpy()}

    return call


def _with_log_probs(answers: Callable) -> Callable:
    """Adds log p of the tokens of each target as `token_log_probs (B, T - 1)`."""

    def call(batch):
        outputs = answers(batch)
        logits, target = outputs["logits"].astype("float64"), batch["target"]
        log_probs = logits - logits.max(-1, keepdims=True)
        log_probs -= np.log(np.exp(log_probs).sum(-1, keepdims=True))
        target_log_probs = np.take_along_axis(log_probs[:, :-1], target[:, 1:, None], -1)[..., 0]
        return {**outputs, "token_log_probs": target_log_probs}

    return call
