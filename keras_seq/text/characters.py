"""A vocabulary of characters: Unicode code points."""

import json
from collections import Counter
from os import PathLike
from pathlib import Path

import tensorflow as tf

from keras_seq.text.vocabulary import SPECIAL_TOKENS, UNKNOWN_ID, Vocabulary, texts, warn_of_omitted

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # written form of unknown characters and of bytes that are not UTF-8
_FORMAT = "keras_seq characters"


class Characters(Vocabulary):
    """A vocabulary with one id for each character (Unicode code point) of the training text, including white space.

    Text of characters in the vocabulary is restored exactly. Others become the unknown id, which is written U+FFFD, and
    so do bytes that are not UTF-8, unless U+FFFD is in the vocabulary.

    Args:
        characters: characters of the vocabulary, as a string or a list. The first one gets id 4.

    Raises:
        ValueError: if there is no character, or one is repeated, not a single code point, or a surrogate, which UTF-8
            cannot hold.

    Example:
        >>> characters = text.Characters("abc ")
        >>> characters.tokenize("a cab").numpy().tolist()
        [4, 7, 6, 4, 5]
    """

    separator = ""

    def __init__(self, characters):
        super().__init__(name="characters")
        characters = list(characters)
        if not characters:
            raise ValueError("`characters` must hold one character or more. Received: none")
        for character, count in Counter(characters).items():
            if count > 1 or len(character) != 1 or 0xD800 <= ord(character) <= 0xDFFF:
                raise ValueError(
                    "`characters` must hold each character once, single code points that UTF-8 can write. "
                    f"Received: {character!r} ({count} times)"
                )
        self._tokens = (*SPECIAL_TOKENS, *characters)
        codes = [ord(character) for character in characters]
        self._codes = tf.constant([ord(_REPLACEMENT)] * len(SPECIAL_TOKENS) + codes)  # id -> code point
        ids = tf.range(len(SPECIAL_TOKENS), len(self._tokens))
        initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(codes, tf.int32), ids)
        self._ids = tf.lookup.StaticHashTable(initializer, default_value=UNKNOWN_ID)

    @classmethod
    def train(cls, lines, vocabulary_size: int | None = None, *, minimum_count: int = 1) -> "Characters":
        """Counts characters and keeps the most frequent ones, with ties in the order of their code points.

        Args:
            lines: iterable, or `tf.data.Dataset`, of strings or of tuples of strings.
            vocabulary_size: largest number of ids, including the four special ones. None keeps all characters.
            minimum_count: minimum count of a character to be kept.

        Raises:
            ValueError: if no character is left.
        """
        counts = Counter()
        for line in texts(lines):
            counts.update(line)
        kept = sorted((-count, character) for character, count in counts.items() if count >= minimum_count)
        if vocabulary_size is not None:
            kept = kept[: max(0, vocabulary_size - len(SPECIAL_TOKENS))]
        warn_of_omitted("characters", counts, [character for _, character in kept])
        if not kept:
            raise ValueError(
                "No character is left for the vocabulary. Pass more text, a lower `minimum_count` or a larger "
                f"`vocabulary_size`. Received: {len(counts)} different ones, {minimum_count=}, {vocabulary_size=}"
            )
        return cls(character for _, character in kept)

    @classmethod
    def load(cls, path: str | PathLike) -> "Characters":
        """Reads a file written by `save`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a list of characters written by `save`.
        """
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError(f'its "format" must be {_FORMAT!r}. Received: {content["format"]!r}')
            return cls(content["characters"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a list of characters written by `Characters.save`: {error}") from error

    def save(self, path: str | PathLike) -> None:
        """Writes JSON. End the file name in `.characters` for `text.load`."""
        content = {"format": _FORMAT, "characters": "".join(self._tokens[len(SPECIAL_TOKENS) :])}
        Path(path).write_text(json.dumps(content) + "\n", "utf-8", newline="\n")

    @property
    def size(self) -> int:
        return len(self._tokens)

    def tokenize(self, strings) -> tf.RaggedTensor:
        return self._ids.lookup(tf.strings.unicode_decode(tf.convert_to_tensor(strings, tf.string), "UTF-8"))

    def split(self, texts):
        return [list(text) for text in texts]

    def _join(self, ids):
        return tf.strings.unicode_encode(tf.gather(self._codes, ids), "UTF-8")

    def pieces(self, ids):
        return [self._tokens[int(i)] for i in ids]
