"""The common part of translation and text generation: a search, traced once, over any number of texts."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from keras_seq import decoding
from keras_seq.decoding import unknown_words
from keras_seq.tasks.batching import in_batches, padded_batch
from keras_seq.tasks.results import Failure, Generated, generated
from keras_seq.tasks.samples import SAMPLES, short, strings, text_batches
from keras_seq.tasks.search_inputs import INPUTS, adjustable, adjusted, checked
from keras_seq.tasks.search_options import as_config, check_names, find_constraints, get_search, longest
from keras_seq.tasks.signatures import STRINGS, Call, Signature
from keras_seq.tasks.streaming import step_calls
from keras_seq.tasks.task import Task
from keras_seq.tasks.text_ops import following, searched, written


class DecodingTask(Task[str, Sequence[str | tuple[str, ...]], str, Generated | Failure]):
    """Base class of tasks with a search. Its options can be inputs of a signature, and options of `predictor`."""

    samples = SAMPLES

    def __init__(self, model, vocabulary, max_length, search, constraints, options):
        super().__init__(model)
        if any(getattr(constraint, "per_sentence", False) for constraint in constraints):
            raise ValueError("`constraints` must not hold values for each sentence: later sentences would have none.")
        self.vocabulary, self.max_length = vocabulary, max_length
        self.search, self.constraints = decoding.get_search(search, **options), tuple(constraints)

    def with_search(self, options: Mapping[str, Any]) -> Self:
        """A copy of the task with another search.

        Args:
            options: options by name, see `tasks.search_options`. For a language model also `first`.
        """
        options = dict(options)
        own = {name: options.pop(name) for name in ("first",) if name in options}
        check_names(options, self.where)
        search = get_search(options, self.search)
        constraints = [*self.constraints, *find_constraints(options, self.vocabulary)]
        length = longest(options)
        own |= {"max_length": self.max_length if length is None else length}
        found = self._again(search=search, constraints=constraints, **own)
        found.folder, found.file = self.folder, self.file
        return found

    @functools.cached_property
    def tokenized(self):
        """The tokenization of the source as a function of one trace, for all searches of the task."""
        function = tf.function(self.source_vocabulary.tokenize, input_signature=[STRINGS], autograph=False)
        function.get_concrete_function()  # TensorFlow warns of frequent traces, but not of those that are asked for
        return function

    def output(self, result):
        """The best text, or all texts if the search returns several."""
        return texts_of(result)

    def config(self):
        return {"max_length": self.max_length, "search": as_config(self.search)}

    def signatures(self):
        """Name -> `Signature`. The first one is the default."""
        values = {"max_length": self.max_length} | adjustable(self.search)
        # Inputs without a value come first, like arguments without a default.
        inputs = {name: INPUTS[name].spec for name in sorted(values, key=lambda name: values[name] is not None)}
        defaults = {name: value for name, value in values.items() if value is not None}

        def run(text):
            return self._run(text, self.max_length, self.search)

        def run_with_options(text, max_length, **options):
            tensors = checked({"max_length": max_length, **options})
            return self._run(text, tensors.pop("max_length"), adjusted(self.search, tensors))

        return {
            self.verb: Signature(run, {"text": STRINGS}),
            f"{self.verb}_with_options": Signature(run_with_options, {"text": STRINGS, **inputs}, defaults),
            **self._others(),
        }

    def _again(self, **options: Any) -> Self:
        raise NotImplementedError

    def _run(self, text, max_length, search):
        raise NotImplementedError

    def _others(self):
        raise NotImplementedError

    def _searched(self, model, source, max_length, search):
        options = {"max_length": max_length, "constraints": self.constraints}
        return searched(model, self.vocabulary, source, search, **options)

    def calls(self, functions, samples):
        """The calls by which two processes are compared."""
        for batch in text_batches(samples):
            yield Call(self.verb, {"text": batch})
        some = strings(short(samples))
        if not len(some):
            return
        options = {name: np.array(value) for name, value in adjustable(self.search).items()}
        yield Call(f"{self.verb}_with_options", {"text": some, "max_length": np.array(7), **options})
        yield Call("score", self._scored(some))
        yield from step_calls(functions, {"text": some}, self.vocabulary)

    def _scored(self, samples):
        raise NotImplementedError


def texts_of(result):
    """The text of a result, or its texts if there are several."""
    texts = [result.prompt + text for text in result.texts]
    return texts if len(texts) > 1 else texts[0]


class Searcher:
    """A task's search as two functions, each traced once.

    Args:
        task: a task with `vocabulary`, `source_vocabulary`, and the search that the options modify.
        model: the decoding model: the task's model, or a wrapper that continues prompts with it.
        options: options of the search, by name.
        side: `SideInputs`.
        max_length: maximum length of a result, unless the options set one.
        echo: whether the results begin with their inputs.
        replace_unknown: see `decoding.generate`.
    """

    def __init__(self, task, model, options, side, max_length, *, echo=False, replace_unknown: Any = False):
        check_names(options, task.where)
        self.task, self.model, self.side = task, model, side
        self.echo, self.replace_unknown = echo, replace_unknown
        self.search = get_search(options, task.search)
        self.constraints = [*task.constraints, *find_constraints(options, task.vocabulary)]
        told = longest(options)
        self.max_length = max_length if told is None else told
        if replace_unknown is not False:
            unknown_words.check(model, task.vocabulary, task.source_vocabulary)
        signature = [STRINGS, tf.TensorSpec((None, None), tf.int32), side.signature()]
        self._searched = tf.function(self._search, input_signature=signature, autograph=False)
        self._searched.get_concrete_function()  # a wrong option is an error before the first input

    def tokenize(self, texts):
        """Texts -> rows of ids."""
        if not texts:
            return []
        rows = self.task.tokenized(tf.constant([text.encode() for text in texts], tf.string)).numpy()
        return [row.tolist() for row in rows]

    def _search(self, lines, source, beside):
        vocabulary = self.task.vocabulary
        search, constraints = self.side.applied(self.search, beside)
        found = searched(
            self.model,
            vocabulary,
            source,
            search,
            max_length=self.max_length,
            constraints=[*constraints, *self.constraints],
        )
        tokens = found["tokens"]  # (B, R, T)
        texts = following(vocabulary, lines, source[:, 1:], tokens) if self.echo else written(vocabulary, tokens)
        results = texts, found["score"], found["log_prob"], found["finished"]
        if self.replace_unknown is False:
            return results
        attended_positions = decoding.attended_positions(
            self.model, source, tokens, vocabulary, self.task.source_vocabulary
        )
        return *results, tokens, attended_positions

    def run(self, sources, beside, limits, pad_id, nothing):
        """Results for rows of ids, in their order. An empty row gets `nothing`. A `Failure` in `beside` stays."""
        results = [one if isinstance(one, Failure) else nothing for one in beside]
        some = [row for row, source in enumerate(sources) if source and not isinstance(beside[row], Failure)]

        def compute(places):
            rows = [some[place] for place in places]
            return self._batch(padded_batch([sources[row] for row in rows], pad_id), [beside[row] for row in rows])

        found = in_batches([len(sources[row]) for row in some], limits, compute)
        for row, result in zip(some, found, strict=True):
            results[row] = result
        return results

    def _batch(self, batch, beside):
        lines = [one["text"] for one in beside]
        encoded = tf.constant([line.encode() for line in lines])
        parts = self._searched(encoded, tf.constant(batch), self.side.tensors(beside))
        texts, scores, log_probs, finished, *looked = (part.numpy() for part in parts)
        if looked:
            dictionary = None if self.replace_unknown is True else self.replace_unknown
            given = {"source_vocabulary": self.task.source_vocabulary, "dictionary": dictionary}
            texts = [[text.decode("utf-8", "replace") for text in row] for row in texts.tolist()]
            texts = decoding.replace_unknown(lines, *looked, self.task.vocabulary, **given)
        prompts = lines if self.echo else [""] * len(lines)
        return [generated(*row) for row in zip(texts, scores, log_probs, finished, prompts, strict=True)]
