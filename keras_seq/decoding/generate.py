"""From texts to texts."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_seq.decoding import unknown_words
from keras_seq.decoding.prompting import PromptedModel
from keras_seq.decoding.search import get_search, search_with_vocabulary

NEW_TOKENS = 100  # that a language model says, unless told otherwise
_log = logging.getLogger(__name__)
WIDTH_MULTIPLE = 8  # sources are padded up to a multiple of it: few shapes, so few traces of a compiled search


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
    """Decodes texts into texts; sentences of like length travel together and come back in the order they were given.

    Args:
        model: see `search`; or a language model, `initial_state` and `decode`, which says what follows each text.
        vocabulary: of the target; and of the source, unless that has its own. Asked for `tokenize`, `detokenize`,
            `start_id`, `end_id`, `pad_id`.
        texts: a list of strings; to one without any token the translation is empty.
        source_vocabulary: when it is not the same.
        max_length: of a result, the end token counted. Default: twice the longest source of the batch, and 10; of a
            language model, 100.
        search, constraints, options: see `search`; what is given for each sentence is given for each text.
        replace_unknown: whether the source word that the model looked at stands in the text where the model says that
            it does not know the word; or a dict, by which another word stands for it. Both sides have vocabularies of
            whole words, and the model has attention: see `replace_unknown`.
        batch_tokens: rows of a batch times its padded source length.
        compiled: wraps the one function of tensors that does the work: `tf.function`, `jax.jit`. It costs a trace for
            every shape and saves far more on all but a few texts. The function takes the source `(B, S)` and, where the
            search draws or something is given for each text, the texts' numbers `(B,)`. Default: eager.
    Returns:
        A list of strings; of a search whose `num_return` is above 1, a list of lists of strings, best first.
    Raises:
        ValueError: for an option out of its range, or a vocabulary of another size than the model's.
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
        """R texts for each row, of tokens `(B, R, T)`."""
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
    _tell_of_unknown(sources, getattr(source_vocabulary, "unknown_id", None))
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
    """Raises a `ValueError` where a model tells the sizes of its vocabularies, and these have others."""
    source = getattr(model, "source_vocabulary_size", None)
    target = getattr(model, "target_vocabulary_size", None) or source or getattr(model, "vocabulary_size", None)
    for what, size, given in (("target", target, vocabulary), ("source", source, source_vocabulary)):
        found = getattr(given, "size", size)
        if size is not None and found != size:
            raise ValueError(
                f"The model has a {what} vocabulary of {size:,} ids. Received: {found:,} ids. Give the vocabulary of "
                "the target and, where the source has another, that one as `source_vocabulary`."
            )


def _tell_of_unknown(sources: Sequence[Sequence[int]], unknown_id: int | None) -> None:
    total, unknown = sum(map(len, sources)), sum(source.count(unknown_id) for source in sources)
    if unknown > total / 2:
        _log.warning(
            "%d of the %d tokens of the texts are unknown to the vocabulary: is it that of the source? Another one is "
            "given as `source_vocabulary`.",
            *(unknown, total),
        )


def padded_width(length):
    """The width of a batch whose longest source has `length` tokens (a number or a tensor), with the end token."""
    return -(-(length + 1) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def _batches(lengths: list[int], batch_tokens: int):
    """Row numbers of the non-empty sources, in batches of like length, longest first: memory fails early or never."""
    rows = sorted((row for row, length in enumerate(lengths) if length), key=lambda row: -lengths[row])
    while rows:
        count = max(1, batch_tokens // padded_width(lengths[rows[0]] - 1))
        yield rows[:count]
        rows = rows[count:]


def padded(sources: Sequence[Sequence[int]], pad_id: int) -> np.ndarray:
    """Rows of ids, the end token in, as one batch int32 `(B, S)` of a padded width."""
    width = padded_width(max(len(source) for source in sources) - 1)
    batch = np.full((len(sources), width), pad_id, "int32")
    for row, source in zip(batch, sources, strict=True):
        row[: len(source)] = source
    return batch
