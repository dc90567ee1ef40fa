"""Log-probabilities and perplexity of given texts, by forced decoding in batches of similar length."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_seq.decoding.forced_scoring import score
from keras_seq.decoding.generate import padded, padded_width


@dataclass(frozen=True, eq=False)
class PerplexityReport:
    """Log-probabilities of texts, in nats, and figures derived from them.

    Attributes:
        token_log_probs: for each text a float32 vector, one number per token, the end token last.
    """

    token_log_probs: list[np.ndarray]

    @property
    def log_probs(self) -> np.ndarray:
        """log p of each text, float64 `(B,)`."""
        return np.array([np.sum(values, dtype="float64") for values in self.token_log_probs])

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each text, the end token counted, int64 `(B,)`."""
        return np.array([len(values) for values in self.token_log_probs], "int64")

    @property
    def nats_per_token(self) -> np.ndarray:
        """-log p of each text per token, float64 `(B,)`."""
        return -self.log_probs / self.lengths

    @property
    def total(self) -> float:
        """log p of all texts together."""
        return float(self.log_probs.sum())

    @property
    def num_tokens(self) -> int:
        return int(self.lengths.sum())

    @property
    def corpus_nats_per_token(self) -> float:
        """-log p of all texts per token: a long text weighs more than a short one."""
        return -self.total / self.num_tokens

    @property
    def perplexity(self) -> float:
        """exp of `corpus_nats_per_token` (inf if a text is impossible)."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.corpus_nats_per_token))

    def __str__(self) -> str:
        return (
            f"{len(self.token_log_probs)} texts, {self.num_tokens} tokens, log p {self.total:.4f}, "
            f"{self.corpus_nats_per_token:.4f} nats a token, perplexity {self.perplexity:.4f}"
        )


def perplexity(
    model,
    vocabulary,
    texts: Sequence[str],
    *,
    sources: Sequence[str] | None = None,
    source_vocabulary=None,
    batch_tokens: int = 2048,
    compiled: Callable | None = None,
) -> PerplexityReport:
    """Measures how well a model predicts texts: running texts, or translations of given sources.

    The batches change no number beyond rounding. The end token of each text counts. An empty text has no other token.

    Args:
        model: a language model with `initial_state(batch_size, max_length)` and `decode`, or a translator with `encode`
            and `decode`, also for a source with only an end token.
        vocabulary: vocabulary of the texts, and of the sources by default. Must have `tokenize`, `start_id`, `end_id`,
            `pad_id`.
        texts: at least one text.
        sources: source of each text (None for a language model).
        source_vocabulary: vocabulary of the sources, if it is another one.
        batch_tokens: token budget of a batch: number of rows times the padded length of its texts or its sources,
            whichever is longer.
        compiled: wrapper of the one function of tensors that does the work: `tf.function`, `jax.jit`. It costs a trace
            for every shape and saves far more on all but a few texts. Default: eager.
    Raises:
        ValueError: if there is no text, or if the numbers of sources and texts differ.
        TypeError: for a single string in place of a list.
    """
    for name, given in (("texts", texts), ("sources", sources)):
        if isinstance(given, (str, bytes)):
            raise TypeError(f"`{name}` must be a list of strings. Received: {given!r}")
    if not len(texts):
        raise ValueError("`texts` must hold at least one text. Received: none")
    if sources is not None and len(sources) != len(texts):
        raise ValueError(
            f"There must be one source for each text. Received: {len(sources)} sources, {len(texts)} texts"
        )
    run = forced_pass(model, vocabulary, compiled)
    targets = with_end(vocabulary, texts)
    source_vocabulary = source_vocabulary or vocabulary
    ids = with_end(source_vocabulary, sources) if sources is not None else None
    found = [np.zeros(0, "float32")] * len(targets)
    pads = {"pad_id": vocabulary.pad_id, "source_pad_id": source_vocabulary.pad_id}
    for rows, log_probs in forced_log_probs(run, targets, ids, range(len(targets)), batch_tokens=batch_tokens, **pads):
        for row, values in zip(rows, log_probs, strict=True):
            found[row] = values[: len(targets[row])].copy()
    return PerplexityReport(found)


def with_end(vocabulary, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, and the end token."""
    texts = list(texts)
    return [[*ids, vocabulary.end_id] for ids in vocabulary.tokenize(texts).to_list()] if texts else []


def forced_pass(model, vocabulary, compiled: Callable | None = None) -> Callable:
    """Returns a function for many batches.

    It maps `(target (P, T), source (U, S) or None, index (P,) or None)` to `token_log_probs (P, T)`. `index` has the
    row of each target's source, so that each source is encoded once for all of its targets.
    """

    def run(target, source, index):
        if source is None:
            state = model.initial_state(*ops.shape(target))
        else:
            # No room for steps: the one `decode` that follows receives all of them, as in training.
            state = keras.tree.map_structure(
                lambda x: x if x is None else ops.take(x, index, axis=0), model.encode(source, max_length=None)
            )
        return score(model.decode, state, target, pad_id=vocabulary.pad_id, start_id=vocabulary.start_id)[0]

    return compiled(run) if compiled else run


def forced_log_probs(
    run: Callable,
    targets: Sequence[Sequence[int]],
    sources: Sequence[Sequence[int]] | None,
    source_of: Sequence[int],
    *,
    pad_id: int,
    source_pad_id: int,
    batch_tokens: int,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Runs on batches of targets of similar length, and yields their numbers and `token_log_probs (P, T)`.

    Args:
        run: result of `forced_pass`.
        targets, sources: ids, with end token.   source_of: number of each target's source.
    """
    for rows in _batches(targets, sources, source_of, batch_tokens):
        target = ops.convert_to_tensor(padded([targets[row] for row in rows], pad_id))
        source = index = None
        if sources is not None:
            needed, index = np.unique([source_of[row] for row in rows], return_inverse=True)
            # Powers of two: otherwise every batch would have another count, and so another shape.
            count = 2 ** math.ceil(math.log2(len(needed)))
            needed = np.concatenate([needed, np.repeat(needed[:1], count - len(needed))])
            source = ops.convert_to_tensor(padded([sources[row] for row in needed], source_pad_id))
            index = ops.convert_to_tensor(index.astype("int32"))
        yield rows, ops.convert_to_numpy(run(target, source, index))


def _batches(targets, sources, source_of, batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of targets in batches of similar length, longest first, with the targets of one source side by side."""

    def widths(row):
        return _width(len(sources[source_of[row]])) if sources is not None else 0, _width(len(targets[row]))

    batch, widest = [], 0
    for row in sorted(range(len(targets)), key=lambda row: (*(-width for width in widths(row)), source_of[row])):
        wider = max(widest, *widths(row))
        if batch and (len(batch) + 1) * wider > batch_tokens:
            yield batch
            batch, wider = [], max(widths(row))
        batch.append(row)
        widest = wider
    if batch:
        yield batch


def _width(length: int) -> int:
    """Padded width of a sequence of this length, with the end token counted."""
    return padded_width(length - 1)
