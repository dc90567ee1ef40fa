"""Forced decoding: the log-probabilities of given texts."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from keras_seq.decoding.perplexity import forced_log_probs, forced_pass, with_end
from keras_seq.tasks.batching import Limits, too_long
from keras_seq.tasks.results import Scored


def scoring(task: Any, *, first: str = "start", **limits: int) -> Callable[[list], list]:
    """Returns a function from texts, or pairs of source and target, to `Scored` or `Failure`s, in one compiled pass.

    Args:
        task: `Translation` or `Generation`.
        first: for a language model, the token before each text, "start" or "end".
        limits: fields of `batching.Limits`.
    """
    bounds, vocabulary, source_vocabulary = Limits(**limits), task.vocabulary, task.source_vocabulary
    continues = task.name == "generation"
    begin = vocabulary.end_id if first == "end" and continues else vocabulary.start_id
    ids = SimpleNamespace(pad_id=vocabulary.pad_id, start_id=begin)
    matrix, vector = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32)
    if continues:
        one_pass = forced_pass(task.model, ids)
        of_target = tf.function(lambda target: one_pass(target, None, None), input_signature=[matrix], autograph=False)

        def run(target, source, index):
            return of_target(target)
    else:
        compiled = tf.function(input_signature=[matrix, matrix, vector], autograph=False)
        run = forced_pass(task.model, ids, compiled)

    def compute(items):
        pairs = [item if isinstance(item, tuple) else (None, item) for item in items]
        texts = list(dict.fromkeys(source for source, _ in pairs if source is not None))
        place = {text: row for row, text in enumerate(texts)}
        sources = with_end(source_vocabulary, texts)
        targets = with_end(vocabulary, [target for _, target in pairs])
        results, rows = [], []
        for row, (source, _) in enumerate(pairs):
            longest = max(len(targets[row]), len(sources[place[source]]) if source is not None else 0)
            results.append(too_long(longest, bounds) if longest > bounds.max_source_length else None)
            if results[row] is None:
                rows.append(row)
        batches = forced_log_probs(
            run,
            [targets[row] for row in rows],
            sources if texts else None,
            [place[pairs[row][0]] if texts else 0 for row in rows],
            pad_id=vocabulary.pad_id,
            source_pad_id=source_vocabulary.pad_id,
            batch_tokens=bounds.batch_tokens,
        )
        for batch, values in batches:
            for index, log_probs in zip(batch, values, strict=True):
                row = rows[index]
                log_probs = log_probs[: len(targets[row])].astype("float64").tolist()
                results[row] = Scored(vocabulary.pieces(targets[row]), log_probs)
        return results

    return compute
