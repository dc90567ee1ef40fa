"""Replaces words that are not in the target's vocabulary by source words, chosen by attention."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


def attended_positions(model, source, tokens, vocabulary, source_vocabulary=None) -> Any:
    """The place of the source word with the highest attention weight for each token, by one forced pass.

    Args:
        model: a model whose `encode` takes `attention_weights=True`, see `models.Seq2Seq`.
        source: int `(B, S)`, the source of the search.
        tokens: int `(B, R, T)`, as a search returns them.
        vocabulary: vocabulary of the target, and of the source by default. Must have `start_id`, `end_id`, `pad_id`.
        source_vocabulary: vocabulary of the source, if it is another one.
    Returns:
        int `(B, R, T)`, places in the source, meaningless past the end.
    """
    source_vocabulary = source_vocabulary or vocabulary
    B, R, T = ops.shape(tokens)
    state = model.encode(source, max_length=T, attention_weights=True)
    state = keras.tree.map_structure(lambda x: x if x is None else ops.repeat(x, R, axis=0), state)
    said = ops.reshape(tokens, (-1, T))  # (B, R, T) -> (B * R, T)
    start = ops.full_like(said[:, :1], vocabulary.start_id)
    _, state = model.decode(ops.concatenate([start, said[:, :-1]], axis=1), state)
    is_word = ops.logical_and(source != source_vocabulary.end_id, source != source_vocabulary.pad_id)
    is_word = ops.expand_dims(ops.repeat(is_word, R, axis=0), 1)  # (B * R, 1, S)
    places = ops.argmax(ops.where(is_word, ops.cast(state["attention"], "float32"), -1.0), axis=2)
    return ops.reshape(places, (-1, R, T))


def replace_unknown(
    texts: Sequence[str],
    tokens: np.ndarray,
    places: np.ndarray,
    vocabulary,
    *,
    source_vocabulary=None,
    dictionary: Mapping[str, str] | None = None,
) -> list[list[str]]:
    """Writes the results of a search as texts, with unknown words replaced by attended source words or their entries.

    Args:
        texts: B sources.
        tokens: int `(B, R, T)`.
        places: int `(B, R, T)`, result of `attended_positions`.
        vocabulary: vocabulary of the target, of whole words or characters. Must have `pieces`, `separator` and ids.
        source_vocabulary: vocabulary of the source, if it is another one. Must have `split`.
        dictionary: replacements of source words. A word without an entry stays as it is.
    Returns:
        B lists of R strings.
    Raises:
        ValueError: for a vocabulary whose pieces are parts of words.
    Source: Luong et al. 2015, arXiv:1410.8206, and, by attention, Jean et al. 2015, section 3.3, arXiv:1412.2007.
    """
    source_vocabulary = source_vocabulary or vocabulary
    _check_vocabularies((vocabulary, source_vocabulary))
    dictionary = dictionary or {}

    def written(words, ids, places):
        """The text as `detokenize` writes it, except for the unknown words."""
        ids = ids[: ids.index(vocabulary.end_id)] if vocabulary.end_id in ids else ids
        pieces = []
        for token, place, piece in zip(ids, places[: len(ids)], vocabulary.pieces(ids), strict=True):
            if token == vocabulary.unknown_id and words:
                piece = dictionary.get(words[place], words[place])
            if token not in (vocabulary.pad_id, vocabulary.start_id):
                pieces.append(piece)
        return vocabulary.separator.join(pieces)

    rows = zip(source_vocabulary.split(texts), np.asarray(tokens).tolist(), np.asarray(places).tolist(), strict=True)
    return [[written(words, *pair) for pair in zip(*both, strict=True)] for words, *both in rows]


def check(model, *vocabularies) -> None:
    """Checks the model and the vocabularies before a search.

    Raises:
        ValueError: for a model without attention, or a vocabulary whose pieces are parts of words.
    """
    if not getattr(model, "has_attention", False):
        raise ValueError(
            "Replacing unknown words requires a model with attention and `has_attention` set. "
            f"Received: {type(model).__name__} without it"
        )
    _check_vocabularies(vocabularies)


def _check_vocabularies(vocabularies) -> None:
    for vocabulary in vocabularies:
        if getattr(vocabulary, "separator", None) is None:
            raise ValueError(
                "Replacing unknown words requires ids of whole words (or characters) on both sides, such as those of "
                f"`text.Words` and `text.Characters`. Received: {type(vocabulary).__name__}"
            )
