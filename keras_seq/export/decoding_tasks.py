"""What an export is for, when its model says something token by token: translating, or going on from a text."""

import numpy as np
import tensorflow as tf

from keras_seq.decoding import Continued, find_search, score
from keras_seq.decoding.generate import NEW_TOKENS, check_vocabularies
from keras_seq.export.samples import SAMPLES, short, strings, text_batches
from keras_seq.export.search_inputs import INPUTS, adjustable, adjusted, checked
from keras_seq.export.signatures import STRINGS, Signature
from keras_seq.export.stepping import step_calls, stepping
from keras_seq.export.texts import following, forced_scores, in_place, one_or_many, padded, searched, with_end
from keras_seq.export.verification import Call


class _Decoding:
    """What the two tasks share: a search whose options can be inputs, and steps."""

    verb: str  # the name of the main signature
    samples = SAMPLES

    def __init__(self, vocabulary, max_length, search, constraints, options):
        if any(getattr(constraint, "per_sentence", False) for constraint in constraints):
            raise ValueError("`constraints` must hold nothing for each sentence: those to come are not known yet.")
        self.vocabulary, self.max_length = vocabulary, max_length
        self.search, self.constraints = find_search(search, **options), tuple(constraints)

    def signatures(self, model):
        """Name -> `Signature`; the first one is the default."""
        values = {"max_length": self.max_length} | adjustable(self.search)
        # Those without a value come first, as arguments without a default do.
        inputs = {name: INPUTS[name].spec for name in sorted(values, key=lambda name: values[name] is not None)}
        defaults = {name: value for name, value in values.items() if value is not None}

        def run(text):
            return self._run(model, text, self.max_length, self.search)

        def run_with_options(text, max_length, **options):
            tensors = checked({"max_length": max_length, **options})
            return self._run(model, text, tensors.pop("max_length"), adjusted(self.search, tensors))

        return {
            self.verb: Signature(run, {"text": STRINGS}),
            f"{self.verb}_with_options": Signature(run_with_options, {"text": STRINGS, **inputs}, defaults),
            **self._others(model),
        }

    def _run(self, model, text, max_length, search):
        raise NotImplementedError

    def _others(self, model):
        raise NotImplementedError

    def _searched(self, model, source, max_length, search):
        options = {"max_length": max_length, "constraints": self.constraints}
        return searched(model, self.vocabulary, source, search, **options)

    def calls(self, functions, samples):
        """What is tried to compare two processes."""
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


class Translation(_Decoding):
    """Texts into texts, by a model with `encode` and `decode`.

    `translate(text (B,)) -> text, score, log_prob, finished`, each `(B,)`, or `(B, R)`, best first, where the search
    returns several: as `decoding.generate` decodes one batch. A text without any token gives "" with score 0. `score`
    is what the search ranks by; where it found fewer than R, the slots left are "" with score -inf. `finished` is False
    for what `max_length` has cut off; such results come last.

    `translate_with_options` also takes `max_length ()` and those options of the search that a graph can take (`alpha`
    of the length penalty; `temperature`, `seed` and others of sampling). They are what they were at export unless
    given.

    `score(text (B,), target (B,)) -> log_prob (B,), num_tokens (B,), tokens (B, T), token_log_probs (B, T)`: forced
    decoding, the end token counted.

    `encode`, `step`, `detokenize`: see `export.stepping`.

    Args:
        vocabulary: of the target; and of the source, unless that has its own. A `tf.Module` that tokenizes and
            detokenizes in the graph, such as those of `text`.
        source_vocabulary: when it is not the same.
        max_length: of a result, the end token counted. Default: twice the longest source of the batch, and 10.
        search, constraints, options: see `decoding.search`.
    """

    verb = "translate"

    def __init__(
        self, vocabulary, source_vocabulary=None, *, max_length=None, search="beam", constraints=(), **options
    ):
        super().__init__(vocabulary, max_length, search, constraints, options)
        self.source_vocabulary = source_vocabulary or vocabulary

    @property
    def resources(self):
        return [self.vocabulary, self.source_vocabulary]

    def signatures(self, model):
        """Name -> `Signature`; the first one is the default."""
        check_vocabularies(model, self.vocabulary, self.source_vocabulary)
        return super().signatures(model)

    def _run(self, model, text, max_length, search):
        ids = self.source_vocabulary.tokenize(text)
        some = ids.row_lengths() > 0  # (B,)
        source = self._source(tf.ragged.boolean_mask(ids, some))
        search = search.for_sentences(tf.cast(tf.where(some)[:, 0], tf.int32))
        found = self._searched(model, source, max_length, search)
        results = {name: in_place(found[name], some) for name in ("text", "score", "log_prob", "finished")}
        return one_or_many({**results, "finished": results["finished"] | ~some[:, None]})

    def _source(self, ids):
        return padded(with_end(ids, self.source_vocabulary), self.source_vocabulary.pad_id)

    def _others(self, model):
        vocabulary = self.vocabulary

        def forced(text, target):
            source = self._source(self.source_vocabulary.tokenize(text))
            target = padded(with_end(vocabulary.tokenize(target), vocabulary), vocabulary.pad_id)
            ids = {"pad_id": vocabulary.pad_id, "start_id": vocabulary.start_id}
            return forced_scores(vocabulary, target, score(model.decode, model.encode(source), target, **ids)[0])

        def read(text, max_length):
            source = self._source(self.source_vocabulary.tokenize(text))
            return tf.fill([tf.shape(source)[0], 1], vocabulary.start_id), model.encode(source, max_length=max_length)

        steps = stepping(model, vocabulary, read, room=self.max_length)
        return {"score": Signature(forced, {"text": STRINGS, "target": STRINGS}), **steps}

    def _scored(self, samples):
        return {"text": samples, "target": samples[::-1]}


class Generation(_Decoding):
    """Texts that go on, by a language model.

    `generate(text (B,)) -> text, whole, score, log_prob, finished`, each `(B,)`, or `(B, R)` where the search returns
    several: what follows each text, and the text as it was given with it. `score` is what the search ranks by,
    `log_prob` the model's own, `finished` whether it came to its end within `max_length`.

    `generate_with_options` also takes `max_length ()` and those options of the search that a graph can take
    (`temperature`, `seed` and others of sampling; `alpha` of a length penalty). They are what they were at export
    unless given.

    `score(text (B,)) -> log_prob (B,), num_tokens (B,), tokens (B, T), token_log_probs (B, T)`: of the whole text, the
    end token counted.

    `encode`, `initial_state`, `step`, `detokenize`: see `export.stepping`.

    Args:
        vocabulary: a `tf.Module` that tokenizes and detokenizes in the graph, such as those of `text`.
        first: "start" or "end", the token before each text; "end" as after a document, in text cut by `data.blocks` or
            `data.streams`.
        max_length: of what follows, the end token counted.
        search, constraints, options: see `decoding.search`.
    """

    verb = "generate"

    def __init__(self, vocabulary, *, first="start", max_length=NEW_TOKENS, search="beam", constraints=(), **options):
        super().__init__(vocabulary, max_length, search, constraints, options)
        if first not in ("start", "end"):
            raise ValueError(f'`first` must be "start" or "end". Received: {first!r}')
        self.begin_id = vocabulary.start_id if first == "start" else vocabulary.end_id

    @property
    def resources(self):
        return [self.vocabulary]

    def _run(self, model, text, max_length, search):
        prompts = self._prompts(text)
        search = search.for_sentences(tf.range(tf.shape(prompts)[0]))
        found = self._searched(Continued(model, self.vocabulary.pad_id), prompts, max_length, search)
        rest = following(self.vocabulary, text, prompts[:, 1:], found.pop("tokens"))
        found["whole"] = tf.strings.join([tf.repeat(text[:, None], rest.shape[1], axis=1), rest])
        return one_or_many(found)

    def _prompts(self, text):
        ids = self.vocabulary.tokenize(text)
        return padded(
            tf.concat([tf.fill([ids.nrows(tf.int32), 1], self.begin_id), ids], axis=1), self.vocabulary.pad_id
        )

    def _others(self, model):
        vocabulary = self.vocabulary

        def forced(text):
            target = padded(with_end(vocabulary.tokenize(text), vocabulary), vocabulary.pad_id)
            state = model.initial_state(*tf.unstack(tf.shape(target)))
            ids = {"pad_id": vocabulary.pad_id, "start_id": self.begin_id}
            return forced_scores(vocabulary, target, score(model.decode, state, target, **ids)[0])

        def read(text, max_length):
            state = Continued(model, vocabulary.pad_id).encode(self._prompts(text), max_length)
            return state["last"], state["model"]

        steps = stepping(model, vocabulary, read, begin_id=self.begin_id, room=self.max_length)
        return {"score": Signature(forced, {"text": STRINGS}), **steps}

    def _scored(self, samples):
        return {"text": samples}
