"""Text generation by a language model."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf

from keras_seq.decoding import PromptedModel, score
from keras_seq.decoding.generate import NEW_TOKENS
from keras_seq.tasks.batching import Limits
from keras_seq.tasks.decoding_files import load_decoding
from keras_seq.tasks.decoding_task import DecodingTask, Searcher
from keras_seq.tasks.side_inputs import SideInputs
from keras_seq.tasks.signatures import STRINGS, Signature
from keras_seq.tasks.streaming import stepping
from keras_seq.tasks.task import save_vocabularies
from keras_seq.tasks.text_ops import following, forced_scores, one_or_many, padded, with_end


class Generation(DecodingTask):
    """Continues texts with a language model.

    `generate(text (B,)) -> text, whole, score, log_prob, finished`, each `(B,)`, or `(B, R)` if the search returns
    several: the continuation of each text, and the given text with it. `score` is the ranking criterion of the search,
    `log_prob` the model's log-probability, and `finished` whether the text ended within `max_length`.

    `generate_with_options` also takes `max_length ()` and the options of the search that a graph can take
    (`temperature`, `seed` and others of sampling, `alpha` of a length penalty). Their defaults are the values at
    export.

    `score(text (B,)) -> log_prob (B,), num_tokens (B,), tokens (B, T), token_log_probs (B, T)`, of the whole text, with
    the end token counted.

    `encode`, `initial_state`, `step`, `detokenize`: see `tasks.streaming`.

    In Python an input is a text, and an output that text with its continuation. The details are `Generated`.

    Args:
        model: a language model with `initial_state` and `decode`.
        vocabulary: a `tf.Module` that tokenizes and detokenizes in the graph, such as those of `text`.
        first: "start" or "end", the token before each text. Use "end" for text cut by `data.blocks` or `data.streams`,
            where it ends the document before.
        max_length: maximum length of a continuation, the end token counted.
        search, constraints, options: see `decoding.search`.
    """

    name, verb = "generation", "generate"

    def __init__(
        self,
        model: Any,
        vocabulary: Any,
        *,
        first: str = "start",
        max_length: int | None = NEW_TOKENS,
        search: str | Callable = "beam",
        constraints: Iterable = (),
        **options: Any,
    ):
        super().__init__(model, vocabulary, max_length, search, constraints, options)
        if first not in ("start", "end"):
            raise ValueError(f'`first` must be "start" or "end". Received: {first!r}')
        self.first, self.source_vocabulary = first, vocabulary
        self.begin_id = vocabulary.start_id if first == "start" else vocabulary.end_id

    @property
    def resources(self):
        return [self.vocabulary]

    def config(self):
        return {**super().config(), "first": self.first}

    def predictor(
        self,
        *,
        batch_tokens: int = 2048,
        max_source_length: int = 1000,
        first: str | None = None,
        echo: bool = True,
        side_inputs: Sequence[str] = (),
        **options: Any,
    ):
        """Returns a function from texts to a `Generated` or `Failure` for each.

        Args:
            batch_tokens, max_source_length: see `batching.Limits`.
            first: "start" or "end", instead of the task's `first`.
            echo: whether an output contains the input before its continuation.
            side_inputs: "prefix", "force": inputs besides the text, see `SideInputs`.
            options: options of the search that override the task's, see `tasks.search_options`.
        """
        if options.get("coverage_penalty"):
            raise ValueError("`coverage_penalty`: a language model has no source. Leave it out.")
        limits, vocabulary = Limits(batch_tokens, max_source_length), self.vocabulary
        side = SideInputs(side_inputs, options, vocabulary, self.search)
        model = PromptedModel(self.model, vocabulary.pad_id)
        searcher = Searcher(self, model, options, side, self.max_length, echo=echo)
        begin = vocabulary.end_id if (first or self.first) == "end" else vocabulary.start_id

        def run(items):
            texts, beside = side.read(items)
            prompts = [[begin, *row] for row in searcher.tokenize(texts)]
            return searcher.run(prompts, beside, limits, vocabulary.pad_id, None)

        return run

    def _again(self, **options):
        return type(self)(self.model, self.vocabulary, **{"first": self.first, **options})

    def _save_parts(self, folder):
        save_vocabularies(folder, {"vocabulary": self.vocabulary})

    @classmethod
    def load(cls, folder, file, options, model=None):
        """Opens a run folder, see `loading`."""
        return load_decoding(cls, folder, file, options, model, single=True)

    def _run(self, text, max_length, search):
        prompts = self._prompts(text)
        search = search.for_examples(tf.range(tf.shape(prompts)[0]))
        found = self._searched(PromptedModel(self.model, self.vocabulary.pad_id), prompts, max_length, search)
        rest = following(self.vocabulary, text, prompts[:, 1:], found.pop("tokens"))
        found["whole"] = tf.strings.join([tf.repeat(text[:, None], rest.shape[1], axis=1), rest])
        return one_or_many(found)

    def _prompts(self, text):
        ids = self.vocabulary.tokenize(text)
        return padded(
            tf.concat([tf.fill([ids.nrows(tf.int32), 1], self.begin_id), ids], axis=1), self.vocabulary.pad_id
        )

    def _others(self):
        model, vocabulary = self.model, self.vocabulary

        def forced(text):
            target = padded(with_end(vocabulary.tokenize(text), vocabulary), vocabulary.pad_id)
            state = model.initial_state(*tf.unstack(tf.shape(target)))
            ids = {"pad_id": vocabulary.pad_id, "start_id": self.begin_id}
            return forced_scores(vocabulary, target, score(model.decode, state, target, **ids)[0])

        def read(text, max_length):
            state = PromptedModel(model, vocabulary.pad_id).encode(self._prompts(text), max_length)
            return state["last"], state["model"]

        steps = stepping(model, vocabulary, read, begin_id=self.begin_id, room=self.max_length)
        return {"score": Signature(forced, {"text": STRINGS}), **steps}

    def _scored(self, samples):
        return {"text": samples}
