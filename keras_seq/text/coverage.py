"""Measures a vocabulary on a text: unknown tokens, tokens per word, and the share of the vocabulary that is used."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import tensorflow as tf

from keras_seq.text.vocabulary import SPECIAL_TOKENS, Vocabulary, texts

_BATCH = 1024  # lines, or words, tokenized by one call


@dataclass(frozen=True)
class Coverage:
    """The counts of `coverage`. `print(report)` shows them as a table.

    Attributes:
        lines, words, tokens: counts of the text. Words are separated by white space, and tokens exclude end ids.
        unknown_tokens: tokens with the unknown id.
        lines_with_unknown: lines with at least one of them.
        used: number of ids, without the special ones, that occur in the text.
        size: number of ids of the vocabulary, without the special ones.
        unknown_words: the most frequent words that contain the unknown id, and their counts.
        unknown_characters: the most frequent characters of unknown words that are in no piece, and their counts.
    """

    lines: int
    words: int
    tokens: int
    unknown_tokens: int
    lines_with_unknown: int
    used: int
    size: int
    unknown_words: list[tuple[str, int]]
    unknown_characters: list[tuple[str, int]]

    @property
    def unknown_share(self) -> float:
        """Unknown tokens / tokens."""
        return self.unknown_tokens / max(1, self.tokens)

    @property
    def fertility(self) -> float:
        """Tokens / words."""
        return self.tokens / max(1, self.words)

    @property
    def lines_with_unknown_share(self) -> float:
        return self.lines_with_unknown / max(1, self.lines)

    @property
    def used_share(self) -> float:
        return self.used / max(1, self.size)

    def __str__(self) -> str:
        rows = [
            ("lines", f"{self.lines:,}"),
            ("words", f"{self.words:,}"),
            ("tokens", f"{self.tokens:,}"),
            ("tokens per word", f"{self.fertility:.2f}"),
            ("unknown tokens", f"{self.unknown_tokens:,} ({self.unknown_share:.2%})"),
            ("lines with an unknown", f"{self.lines_with_unknown:,} ({self.lines_with_unknown_share:.2%})"),
            ("vocabulary used", f"{self.used:,} of {self.size:,} ({self.used_share:.1%})"),
        ]
        for name, counts in (("words", self.unknown_words), ("characters", self.unknown_characters)):
            if counts:
                rows.append((f"unknown {name}", " ".join(f"{_visible(thing)} {count:,}" for thing, count in counts)))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def coverage(vocabulary: Vocabulary, lines: Iterable, most_common: int = 20) -> Coverage:
    """Counts the tokens of a text in one pass, with memory for its different words.

    Args:
        vocabulary: vocabulary of any kind.
        lines: iterable, or `tf.data.Dataset`, of texts or of tuples of texts, all counted together. A text is a
            string, or a list of words, which `Words` look up whole.
        most_common: number of unknown words and characters to list, with ties in alphabetical order.

    Raises:
        ValueError: if `lines` is one string.
    Example:
        >>> found = text.coverage(text.Words.train(["a cat"]), ["a dog", "a cat"])
        >>> found.tokens, found.unknown_tokens, found.unknown_words
        (4, 1, [('dog', 1)])
    """
    line_count = tokens = unknown = lines_with_unknown = 0
    used = np.zeros(vocabulary.size, bool)
    words: Counter[str] = Counter()
    for batch in _batches(texts(lines, split=vocabulary.keeps_words)):
        ids = _ids(vocabulary, batch)
        values = ids.values.numpy()
        are_unknown = values == vocabulary.unknown_id
        line_count += len(batch)
        tokens += len(values)
        unknown += int(are_unknown.sum())
        lines_with_unknown += len(np.unique(ids.value_rowids().numpy()[are_unknown]))
        used[values] = True
        for line in batch:
            words.update(_words(line))
    unknown_words = Counter()
    if unknown:
        for batch in _batches(words):
            for word, there in zip(batch, _with_unknown(vocabulary, batch), strict=True):
                if there:
                    unknown_words[word.decode()] = words[word]
    return Coverage(
        lines=line_count,
        words=words.total(),
        tokens=tokens,
        unknown_tokens=unknown,
        lines_with_unknown=lines_with_unknown,
        used=int(used[len(SPECIAL_TOKENS) :].sum()),
        size=vocabulary.size - len(SPECIAL_TOKENS),
        unknown_words=_most_common(unknown_words, most_common),
        unknown_characters=_most_common(_unknown_characters(vocabulary, unknown_words), most_common),
    )


def _unknown_characters(vocabulary: Vocabulary, unknown_words: Counter) -> Counter:
    counts: Counter[str] = Counter()
    for word, count in unknown_words.items():
        for character in word:
            counts[character] += count
    characters = list(counts)
    # A character in a piece can be an unknown word; one in no piece can be normalized to one in a piece.
    lowers = getattr(vocabulary, "lowercase", False)
    known = set().union(*vocabulary.pieces(range(len(SPECIAL_TOKENS), vocabulary.size)))
    for batch in _batches(characters):
        for character, there in zip(batch, _with_unknown(vocabulary, batch), strict=True):
            if not there or (character.lower() if lowers else character) in known:
                del counts[character]
    return counts


def _words(text: str | list[str]) -> list[bytes]:
    if isinstance(text, str):
        return text.encode("utf-8", "replace").split()  # as bytes, since white space is that of ASCII, as for `Words`
    return [word.encode("utf-8", "replace") if isinstance(word, str) else word for word in text]


def _ids(vocabulary: Vocabulary, batch: list[str | list[str]]) -> tf.RaggedTensor:
    if not any(isinstance(text, list) for text in batch):
        return vocabulary.tokenize(batch)
    rows = [_words(text) for text in batch]
    words = tf.constant([word for row in rows for word in row], tf.string)
    return tf.RaggedTensor.from_row_lengths(vocabulary.lookup(words), [len(row) for row in rows])


def _with_unknown(vocabulary: Vocabulary, strings: list) -> np.ndarray:
    """Whether each of the strings, words or characters, contains the unknown id, bool `(B,)`."""
    ids = _ids(vocabulary, [[string] for string in strings] if vocabulary.keeps_words else strings)
    there = np.zeros(len(strings), bool)
    there[ids.value_rowids().numpy()[ids.values.numpy() == vocabulary.unknown_id]] = True
    return there


def _batches(things: Iterable) -> Iterator[list]:
    things = iter(things)
    while batch := list(islice(things, _BATCH)):
        yield batch


def _most_common(counts: Counter, number: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number]


def _visible(text: str) -> str:
    return text if text.isprintable() else ascii(text)
