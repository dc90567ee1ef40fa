"""Models that decode, as `keras-seq certify` asks them: of a target that they are shown, and of a search."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


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


def _search(model: Any, vocabulary: Any, max_length: int, read: Callable = lambda source: source) -> Callable:
    """The function from sources to `tokens`, `score` and `log_prob` of the best output, by beams."""
    from keras_seq.decoding import search

    ids = {"start_id": vocabulary.start_id, "end_id": vocabulary.end_id, "pad_id": vocabulary.pad_id}

    def find(source):
        found = search(model, source, max_length=max_length, search="beam", **ids)
        best = {"tokens": found.tokens, "score": found.scores, "log_prob": found.log_probs}
        return {name: x[:, 0] for name, x in best.items()}

    return find


def asked_of_decoder(task: Any, options: Any) -> tuple[Any, Any]:
    """What is asked of a translator or a language model, and the task that it is exported for."""
    from keras_seq import decoding
    from keras_seq.inspection.certify_adapters import decoding as decoder
    from keras_seq.inspection.sequences import Input, texts

    vocabulary, source_vocabulary, length = task.vocabulary, task.source_vocabulary, options.max_length
    continues = task.name == "generation"
    model = decoding.PromptedModel(task.model, vocabulary.pad_id) if continues else task.model
    sides = [vocabulary] if continues else [vocabulary, source_vocabulary]
    asked = decoder(
        task.model,
        start_id=vocabulary.start_id,
        vocabulary_size=vocabulary.size,
        search=_search(model, vocabulary, length),
        room_for=length,
        longest=options.longest,
        compiled=traced,
    )
    inputs = {**asked.inputs, "text": Input(texts([b"a"]), ())}
    answers = _with_log_probs(_with_texts(asked.answers, vocabulary))
    draw = _draw(asked.inputs, source_vocabulary, vocabulary.start_id if continues else None)
    asked = dataclasses.replace(asked, inputs=inputs, answers=answers, draw=draw)
    return asked, type(task)(task.model, *sides, max_length=length, search="beam")


def _draw(inputs: Mapping[str, Any], vocabulary: Any, start_id: int | None) -> Callable:
    """Draws a source with its text, which what is exported can be given, and a target.

    Args:
        vocabulary: of the source.
        start_id: the token before a text that a language model goes on with; None: the end token stands behind it.
    """
    from keras_seq.inspection.sequences import drawn

    longest = max(2, inputs["source"].longest)

    def draw(random):
        ids: list[int] = []
        while not 0 < len(ids) < longest:  # of a text the ids need not be those that it was made of
            words = random.integers(1, vocabulary.size, (1, random.integers(1, longest))).astype("int32")
            text = vocabulary.detokenize(words).numpy()[0]
            ids = vocabulary.tokenize([text]).numpy()[0].tolist()
        ids = [*ids, vocabulary.end_id] if start_id is None else [start_id, *ids]
        target = drawn({"target": inputs["target"]}, random)["target"]
        return {"source": np.array(ids, "int32"), "target": target, "text": np.array(text, object)}

    return draw


def asked_of_listener(task: Any, options: Any) -> tuple[Any, Any]:
    """What is asked of a recognizer that attends, and the task that it is exported for."""
    from keras_seq.inspection.certify_adapters import decoding as decoder
    from keras_seq.inspection.certify_adapters import floats

    model, vocabulary = task.model, task.vocabulary
    asked = decoder(
        model,
        start_id=vocabulary.start_id,
        vocabulary_size=vocabulary.size,
        source=floats(model._flatten_layers(), (None,), options.longest),
        search=_search(model, vocabulary, options.max_length),
        compiled=traced,
    )
    asked = dataclasses.replace(asked, answers=_with_texts(asked.answers, vocabulary))
    return asked, type(task)(model, vocabulary, max_length=options.max_length, search="beam")


def _with_texts(answers: Callable, vocabulary: Any) -> Callable:
    """The answers, and the tokens that a search found as `text`."""

    def call(batch):
        found = answers(batch)
        return {**found, "text": vocabulary.detokenize(found["tokens"]).numpy()}

    return call


def _with_log_probs(answers: Callable) -> Callable:
    """The answers, and log p of the tokens of each target as `token_log_probs (B, T - 1)`."""

    def call(batch):
        found = answers(batch)
        logits, target = found["logits"].astype("float64"), batch["target"]
        log_probs = logits - logits.max(-1, keepdims=True)
        log_probs -= np.log(np.exp(log_probs).sum(-1, keepdims=True))
        told = np.take_along_axis(log_probs[:, :-1], target[:, 1:, None], -1)[..., 0]
        return {**found, "token_log_probs": told}

    return call
