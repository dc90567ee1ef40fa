"""A vocabulary of whole words, split on white space."""

from collections import Counter
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import tensorflow as tf

from keras_seq.text.normalize import lowercase as lower
from keras_seq.text.vocabulary import SPECIAL_TOKENS, UNKNOWN_ID, Vocabulary, texts, warn_of_omitted

_LOWERCASE_HEADER = "# lowercase"  # a line before the first special token


class Words(Vocabulary):
    """A vocabulary of words separated by white space. Other words become the unknown id, written `<unk>`.

    White space is that of ASCII, in the graph (`tf.strings.split`) as in training. Texts that are already split into
    words may have words with spaces inside, such as "10 000": `train` keeps them whole, and `lookup` finds them.

    Args:
        words: words of the vocabulary, without the special tokens. The first one gets id 4.
        lowercase: whether to lowercase text before it is split.

    Raises:
        ValueError: if there is no word, or one is repeated, a special token, only white space, or holds a line feed.
    Example:
        >>> words = text.Words.train(["the cat", "the dog"])
        >>> words.get_vocabulary()
        ['<pad>', '<unk>', '<s>', '</s>', 'the', 'cat', 'dog']
        >>> words.tokenize("the bird").numpy().tolist()
        [4, 1]
        >>> words.detokenize([[4, 6, 3]]).numpy().tolist()
        [b'the dog']
    """

    keeps_words = True
    separator = " "

    def __init__(self, words: list[str], lowercase: bool = False):
        super().__init__(name="words")
        words = list(words)
        if not words:
            raise ValueError("`words` must hold one word or more. Received: none")
        for word, count in Counter(words).items():
            if count > 1 or word in SPECIAL_TOKENS or not word.encode().strip() or "\n" in word:
                raise ValueError(
                    "`words` must hold each word once, none of them empty, without line feeds and without the special "
                    f"tokens {SPECIAL_TOKENS}. Received: {word!r} ({count} times)"
                )
        self.lowercase = lowercase
        self._tokens = (*SPECIAL_TOKENS, *words)
        self._strings = tf.constant(self._tokens)
        # Only words are looked up: "</s>" written in a text must not become an end id.
        ids = tf.range(len(SPECIAL_TOKENS), len(self._tokens))
        initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(words, tf.string), ids)
        self._ids = tf.lookup.StaticHashTable(initializer, default_value=UNKNOWN_ID)

    @classmethod
    def train(
        cls, lines, vocabulary_size: int | None = None, *, minimum_count: int = 1, lowercase: bool = False
    ) -> "Words":
        """Counts words and keeps the most frequent ones, with ties in alphabetical order.

        Args:
            lines: iterable, or `tf.data.Dataset`, of texts or of tuples of texts. A text is a string, or a list or
                array of words, which are kept whole.
            vocabulary_size: largest number of ids, including the four special ones. None keeps all words.
            minimum_count: minimum count of a word to be kept.
            lowercase: whether to lowercase text, here and whenever the vocabulary is used.

        Raises:
            ValueError: if no word is left, or a word holds a line feed.
        """
        counts = Counter()
        for words in _texts_of_words(lines):
            counts.update(lower(words).numpy().tolist() if lowercase and words else words)
        words = [(-count, word.decode()) for word, count in counts.items() if count >= minimum_count and word]
        words = [word for _, word in sorted(words) if word not in SPECIAL_TOKENS]
        if vocabulary_size is not None:
            words = words[: max(0, vocabulary_size - len(SPECIAL_TOKENS))]
        warn_of_omitted("words", counts, [word.encode() for word in words])
        if not words:
            raise ValueError(
                "No word is left for the vocabulary. Pass more text, a lower `minimum_count` or a larger "
                f"`vocabulary_size`. Received: {len(counts)} different words, {minimum_count=}, {vocabulary_size=}"
            )
        return cls(words, lowercase)

    @classmethod
    def load(cls, path: str | PathLike) -> "Words":
        """Reads a file written by `save`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a word list written by `save`.
        """
        try:
            lines = Path(path).read_bytes().decode().removesuffix("\n").split("\n")  # a word may hold a "\r"
            lowercase = lines[0] == _LOWERCASE_HEADER
            special, words = lines[lowercase:][: len(SPECIAL_TOKENS)], lines[lowercase:][len(SPECIAL_TOKENS) :]
            if tuple(special) != SPECIAL_TOKENS:
                raise ValueError(f"a word list must begin with the lines {SPECIAL_TOKENS}. Received: {special}")
            return cls(words, lowercase)
        except ValueError as error:  # includes text that is not UTF-8
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | PathLike) -> None:
        """Writes one token per line, in the order of the ids. End the file name in `.words` for `text.load`.

        The file of a vocabulary with `lowercase` has an extra line before the first token.
        """
        lines = [_LOWERCASE_HEADER, *self._tokens] if self.lowercase else self._tokens
        Path(path).write_text("\n".join(lines) + "\n", "utf-8", newline="\n")

    @property
    def size(self) -> int:
        return len(self._tokens)

    def tokenize(self, strings) -> tf.RaggedTensor:
        return self._ids.lookup(tf.strings.split(self._lowered(strings)))

    def lookup(self, words) -> tf.Tensor:
        return self._ids.lookup(self._lowered(words))

    def split(self, texts):
        return [[word.decode() for word in text.encode().split()] for text in texts]

    def _lowered(self, strings) -> tf.Tensor:
        strings = tf.convert_to_tensor(strings, tf.string)
        return lower(strings) if self.lowercase else strings

    def _join(self, ids):
        return tf.strings.reduce_join(tf.gather(self._strings, ids), axis=1, separator=" ")

    def pieces(self, ids):
        return [self._tokens[int(i)] for i in ids]


def _texts_of_words(lines) -> Iterator[list[bytes]]:
    """The words of each text: a string is split on white space, and a list is kept."""
    for text in texts(lines, split=True):
        if isinstance(text, str):
            yield text.encode().split()
        else:
            yield [word for word in map(str.encode, text) if word.strip()]
