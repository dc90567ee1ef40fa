"""Translation of texts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq.decoding import score
from keras_seq.decoding.generate import check_vocabularies, warn_of_unknown_tokens
from keras_seq.tasks.batching import Limits
from keras_seq.tasks.decoding_files import load_decoding
from keras_seq.tasks.decoding_task import DecodingTask, Searcher
from keras_seq.tasks.results import Attention, Generated
from keras_seq.tasks.side_inputs import SideInputs
from keras_seq.tasks.signatures import STRINGS, Signature
from keras_seq.tasks.streaming import stepping
from keras_seq.tasks.task import save_vocabularies
from keras_seq.tasks.text_ops import forced_scores, in_place, one_or_many, padded, with_end


class Translation(DecodingTask):
    """Translates texts with a model that has `encode` and `decode`.

    `translate(text (B,)) -> text, score, log_prob, finished`, each `(B,)`, or `(B, R)`, best first, if the search
    returns several. The results equal those of `decoding.generate` for one batch. A text without any token gives ""
    with score 0. `score` is the ranking criterion of the search. If it finds fewer than R results, the other slots are
    "" with score -inf. `finished` is False for results cut off by `max_length`, which come last.

    `translate_with_options` also takes `max_length ()` and the options of the search that a graph can take (`alpha` of
    the length penalty, `temperature`, `seed` and others of sampling). Their defaults are the values at export.

    `score(text (B,), target (B,)) -> log_prob (B,), num_tokens (B,), tokens (B, T), token_log_probs (B, T)`: forced
    decoding, the end token counted.

    `encode`, `step`, `detokenize`: see `tasks.streaming`.

    In Python an input is a text and an output its translation. The details are `Generated`.

    Args:
        model: a model with `encode` and `decode`.
        vocabulary: vocabulary of the target, and of the source by default. A `tf.Module` that tokenizes and detokenizes
            in the graph, such as those of `text`.
        source_vocabulary: vocabulary of the source, if it is another one.
        max_length: maximum length of a result, the end token counted. Default: twice the longest source of the batch,
            plus 10.
        search, constraints, options: see `decoding.search`.
    """

    name, verb = "translation", "translate"

    def __init__(
        self,
        model: Any,
        vocabulary: Any,
        source_vocabulary: Any = None,
        *,
        max_length: int | None = None,
        search: str | Callable = "beam",
        constraints: Iterable = (),
        **options: Any,
    ):
        super().__init__(model, vocabulary, max_length, search, constraints, options)
        self.source_vocabulary = source_vocabulary or vocabulary
        check_vocabularies(model, self.vocabulary, self.source_vocabulary)

    @property
    def _may_lack_vocabulary(self):
        """Whether `source_vocabulary` may be forgotten: the model has two embeddings, the task one vocabulary."""
        two = getattr(self.model, "target_vocabulary_size", None) is not None
        return two and self.source_vocabulary is self.vocabulary

    @property
    def resources(self):
        return [self.vocabulary, self.source_vocabulary]

    def predictor(
        self,
        *,
        batch_tokens: int = 2048,
        max_source_length: int = 1000,
        replace_unknown: bool | Mapping[str, str] = False,
        side_inputs: Sequence[str] = (),
        **options: Any,
    ):
        """Returns a function from texts to a `Generated` or `Failure` for each.

        Args:
            batch_tokens, max_source_length: see `batching.Limits`.
            replace_unknown: see `decoding.generate`.
            side_inputs: "prefix", "force": inputs besides the text, see `SideInputs`.
            options: options of the search that override the task's: `search`, `num_beams`, `num_return`, `max_length`,
                `ban`, ... See `tasks.search_options`.
        """
        if replace_unknown is not False and not getattr(self.model, "has_attention", False):
            raise ValueError(f"`replace_unknown` needs a model with attention: {self.where} has none. Leave it out.")
        limits = Limits(batch_tokens, max_source_length)
        side = SideInputs(side_inputs, options, self.vocabulary, self.search)
        searcher = Searcher(self, self.model, options, side, self.max_length, replace_unknown=replace_unknown)
        source_vocabulary = self.source_vocabulary
        nothing = Generated([""], [0.0], [0.0], [True])  # a text without tokens has one translation

        def run(items):
            texts, beside = side.read(items)
            rows = searcher.tokenize(texts)
            if self._may_lack_vocabulary:
                warn_of_unknown_tokens(rows, getattr(source_vocabulary, "unknown_id", None))
            sources = [[*row, source_vocabulary.end_id] if row else [] for row in rows]
            return searcher.run(sources, beside, limits, source_vocabulary.pad_id, nothing)

        return run

    def attention(self, text: str, output: str | None = None) -> Attention:
        """Returns the attention weights of a translation.

            weights, source, target = task.attention("A man rides a horse.")

        Args:
            text: source text.
            output: a translation of it. Default: the translation of the task.
        Raises:
            ValueError: if the model has no attention.
        """
        if not getattr(self.model, "has_attention", False):
            raise ValueError(f"`attention` needs a model with attention: {self.where} has none.")
        output = self(text) if output is None else output
        source = [*self.source_vocabulary.tokenize(text).numpy(), self.source_vocabulary.end_id]
        target = [*self.vocabulary.tokenize(output).numpy(), self.vocabulary.end_id]
        state = self.model.encode(np.array([source]), max_length=len(target), attention_weights=True)
        _, state = self.model.decode(np.array([[self.vocabulary.start_id, *target[:-1]]]), state)
        weights = np.asarray(state["attention"])[0]
        return Attention(weights, self.source_vocabulary.pieces(source), self.vocabulary.pieces(target))

    def _again(self, **options):
        return type(self)(self.model, self.vocabulary, self.source_vocabulary, **options)

    def _save_parts(self, folder):
        if self.source_vocabulary is self.vocabulary:
            save_vocabularies(folder, {"joint": self.vocabulary})
        else:
            save_vocabularies(folder, {"source": self.source_vocabulary, "target": self.vocabulary})

    @classmethod
    def load(cls, folder, file, options, model=None):
        """Opens a run folder, see `loading`."""
        return load_decoding(cls, folder, file, options, model, single=False)

    def _run(self, text, max_length, search):
        ids = self.source_vocabulary.tokenize(text)
        some = ids.row_lengths() > 0  # (B,)
        source = self._source(tf.ragged.boolean_mask(ids, some))
        search = search.for_examples(tf.cast(tf.where(some)[:, 0], tf.int32))
        found = self._searched(self.model, source, max_length, search)
        results = {name: in_place(found[name], some) for name in ("text", "score", "log_prob", "finished")}
        return one_or_many({**results, "finished": results["finished"] | ~some[:, None]})

    def _source(self, ids):
        return padded(with_end(ids, self.source_vocabulary), self.source_vocabulary.pad_id)

    def _others(self):
        model, vocabulary = self.model, self.vocabulary

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
