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
    from keras_seq.inspection.asked import decoding as decoder
    from keras_seq.inspection.sequences import Input, drawn, texts

    vocabulary, source_vocabulary, length = task.vocabulary, task.source_vocabulary, options.max_length
    continues = task.name == "generation"
    model = decoding.Continued(task.model, vocabulary.pad_id) if continues else task.model
    sides = [vocabulary] if continues else [vocabulary, source_vocabulary]
    asked = decoder(
        task.model,
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

    answers = _with_log_probs(_with_texts(asked.answers, vocabulary))
    asked = dataclasses.replace(asked, inputs=inputs, answers=answers, draw=draw)
    return asked, type(task)(task.model, *sides, max_length=length, search="beam")


def asked_of_listener(task: Any, options: Any) -> tuple[Any, Any]:
    """What is asked of a recognizer that attends, and the task that it is exported for."""
    from keras_seq.inspection.asked import decoding as decoder
    from keras_seq.inspection.asked import floats

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
