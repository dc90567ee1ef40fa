"""Decodes texts into texts."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_seq.decoding import unknown_words
from keras_seq.decoding.prompting import PromptedModel
from keras_seq.decoding.search import get_search, search_with_vocabulary

NEW_TOKENS = 100  # default `max_length` of a language model
_log = logging.getLogger(__name__)
WIDTH_MULTIPLE = 8  # sources are padded to a multiple of this: few shapes, so few traces of a compiled search


def generate(
    model: Any,
    vocabulary: Any,
    texts: Iterable[str],
    *,
    source_vocabulary: Any = None,
    max_length: int | None = None,
    search: str | Callable = "beam",
    constraints: Iterable = (),
    replace_unknown: bool | Mapping[str, str] = False,
    batch_tokens: int = 2048,
    compiled: Callable | None = None,
    **options: Any,
) -> list:
    """Decodes texts into texts, in batches of similar length. The results are in the order of the texts.

    Args:
        model: see `search`, or a language model with `initial_state` and `decode`, which continues each text.
        vocabulary: vocabulary of the target, and of the source by default. Must have `tokenize`, `detokenize`,
            `start_id`, `end_id`, `pad_id`.
        texts: a list of strings. A text without any token has an empty result.
        source_vocabulary: vocabulary of the source, if it is another one.
        max_length: maximum length of a result, the end token counted. Default: twice the longest source of the batch,
            plus 10. Default for a language model: 100.
        search, constraints, options: see `search`. Values for each sentence are values for each text.
        replace_unknown: whether to replace each unknown word of the output by the source word with the highest
            attention weight, or a dict from source words to the words that replace them. Both vocabularies must be of
            whole words, and the model must have attention: see `replace_unknown`.
        batch_tokens: token budget of a batch: number of rows times padded source length.
        compiled: wrapper of the one function of tensors that does the work: `tf.function`, `jax.jit`. It costs a trace
            for every shape and saves far more on all but a few texts. A task (`keras_seq.tasks`) is compiled once for
            all calls and shapes. The function takes the source `(B, S)` and, if the search is stochastic or has values
            for each text, the numbers of the texts `(B,)`. Default: eager.
    Returns:
        A list of strings or, for a search with `num_return` above 1, a list of lists of strings, best first.
    Raises:
        ValueError: for an option out of its range, or a vocabulary whose size differs from the model's.
        TypeError: for a single string in place of a list.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"`texts` must be a list of strings. Received: {texts!r}")
    texts, constraints, source_vocabulary = list(texts), tuple(constraints), source_vocabulary or vocabulary
    find = get_search(search, **options)
    find.check(constraints, len(texts))
    check_vocabularies(model, vocabulary, source_vocabulary)
    replacing = replace_unknown is not False
    if replacing:
        unknown_words.check(model, vocabulary, source_vocabulary)
    continues = not hasattr(model, "encode")
    if continues:
        model, max_length = PromptedModel(model, vocabulary.pad_id), max_length or NEW_TOKENS
    matters = find.is_stochastic or any(getattr(constraint, "per_sentence", False) for constraint in constraints)

    def translate(source, numbers=None):
        own = [c.for_examples(numbers) if getattr(c, "per_sentence", False) else c for c in constraints]
        tokens = search_with_vocabulary(
            model,
            vocabulary,
            source,
            max_length=max_length,
            search=find if numbers is None else find.for_examples(numbers),
            constraints=own,
        ).tokens
        if not replacing:
            return (tokens,)
        return tokens, unknown_words.attended_positions(model, source, tokens, vocabulary, source_vocabulary)

    def written(rows, tokens, places=None):
        """R texts for each row, given tokens `(B, R, T)`."""
        if replacing:
            dictionary = None if replace_unknown is True else replace_unknown
            given = {"source_vocabulary": source_vocabulary, "dictionary": dictionary}
            return unknown_words.replace_unknown([texts[row] for row in rows], tokens, places, vocabulary, **given)
        lines = vocabulary.detokenize(tokens.reshape(-1, tokens.shape[-1])).numpy().tolist()  # (B * R,)
        lines = [line.decode("utf-8", "replace") if isinstance(line, bytes) else line for line in lines]
        return [lines[first : first + find.num_return] for first in range(0, len(lines), find.num_return)]

    translate = compiled(translate) if compiled else translate
    results = [[""] * find.num_return for _ in texts]
    sources = source_vocabulary.tokenize(texts).to_list() if texts else []
    warn_of_unknown_tokens(sources, getattr(source_vocabulary, "unknown_id", None))
    if continues:
        sources = [[vocabulary.start_id, *source] for source in sources]
    else:
        sources = [[*source, source_vocabulary.end_id] if source else [] for source in sources]
    for rows in _batches([len(source) for source in sources], batch_tokens):
        batch = padded([sources[row] for row in rows], source_vocabulary.pad_id)
        inputs = [batch, np.array(rows, "int32")] if matters else [batch]
        found = map(ops.convert_to_numpy, translate(*map(ops.convert_to_tensor, inputs)))  # each (B, R, T)
        for row, lines in zip(rows, written(rows, *found), strict=True):
            results[row] = lines
    return results if find.num_return > 1 else [best for (best,) in results]


def check_vocabularies(model, vocabulary, source_vocabulary):
    """Raises a `ValueError` if the model defines the sizes of its vocabularies, and these have other sizes."""
    source = getattr(model, "source_vocabulary_size", None)
    target = getattr(model, "target_vocabulary_size", None) or source or getattr(model, "vocabulary_size", None)
    for what, size, given in (("target", target, vocabulary), ("source", source, source_vocabulary)):
        found = getattr(given, "size", size)
        if size is not None and found != size:
            raise ValueError(
                f"The model has a {what} vocabulary of {size:,} ids. Received: {found:,} ids. Pass the vocabulary of "
                "the target and, if the source has another one, pass that as `source_vocabulary`."
            )


def warn_of_unknown_tokens(sources: Sequence[Sequence[int]], unknown_id: int | None) -> None:
    """Logs a warning if most tokens of the sources are unknown, as with the vocabulary of the wrong side."""
    total, unknown = sum(map(len, sources)), sum(source.count(unknown_id) for source in sources)
    if unknown > total / 2:
        _log.warning(
            "%d of the %d tokens of the texts are not in the vocabulary. If the source has another vocabulary, pass it "
            "as `source_vocabulary`.",
            *(unknown, total),
        )


def padded_width(length):
    """The width of a batch whose longest source has `length` tokens (a number or a tensor), plus the end token."""
    return -(-(length + 1) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def _batches(lengths: list[int], batch_tokens: int):
    """Row numbers of the non-empty sources, in batches of similar length, longest first, so that memory fails early."""
    rows = sorted((row for row, length in enumerate(lengths) if length), key=lambda row: -lengths[row])
    while rows:
        count = max(1, batch_tokens // padded_width(lengths[rows[0]] - 1))
        yield rows[:count]
        rows = rows[count:]


def padded(sources: Sequence[Sequence[int]], pad_id: int) -> np.ndarray:
    """Rows of ids, with the end token, as one batch, int32 `(B, S)`, of a padded width."""
    width = padded_width(max(len(source) for source in sources) - 1)
    batch = np.full((len(sources), width), pad_id, "int32")
    for row, source in zip(batch, sources, strict=True):
        row[: len(source)] = source
    return batch
