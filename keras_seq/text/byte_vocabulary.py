"""A vocabulary of bytes, which needs no training and has no unknown text."""

from os import PathLike
from pathlib import Path

import tensorflow as tf

from keras_seq.text.vocabulary import SPECIAL_TOKENS, Vocabulary, texts

_FIRST_ID = len(SPECIAL_TOKENS)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
_FORMAT = "keras_seq bytes\n"


class Bytes(Vocabulary):
    """A vocabulary of the 256 bytes, byte b with id b + 4: 260 ids that can write any text in any script.

    Any byte string is converted to ids without loss. `detokenize` returns text: bytes that are not UTF-8, as a model
    may generate, are replaced by U+FFFD.

    Example:
        >>> text.Bytes().tokenize("ö").numpy().tolist()
        [199, 186]

    Source: Xue et al. 2022 (ByT5), arXiv:2105.13626.
    """

    def __init__(self):
        super().__init__(name="bytes")
        self._strings = tf.constant([_REPLACEMENT] * _FIRST_ID + [bytes([b]) for b in range(256)])

    @classmethod
    def train(cls, lines=()) -> "Bytes":
        """Returns a vocabulary without training, for the same interface as the other kinds."""
        next(iter(texts(lines)), None)  # rejects a single string, as the other kinds do
        return cls()

    @classmethod
    def load(cls, path: str | PathLike) -> "Bytes":
        """Reads a file written by `save`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file has other content.
        """
        content = Path(path).read_bytes()
        if content != _FORMAT.encode():
            raise ValueError(f"{path} must hold {_FORMAT!r}, as `Bytes.save` writes it. Received: {content[:80]!r}")
        return cls()

    def save(self, path: str | PathLike) -> None:
        """Writes one line that names the format. End the file name in `.bytes` for `text.load`."""
        Path(path).write_bytes(_FORMAT.encode())

    @property
    def size(self) -> int:
        return _FIRST_ID + 256

    def tokenize(self, strings) -> tf.RaggedTensor:
        # Each byte is one character of Latin-1, whose code point is the byte.
        strings = tf.convert_to_tensor(strings, tf.string)
        return tf.strings.unicode_decode(strings, "ISO-8859-1") + _FIRST_ID

    def _join(self, ids):
        joined = tf.strings.reduce_join(tf.gather(self._strings, ids), axis=1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8")

    def pieces(self, ids):
        return [SPECIAL_TOKENS[i] if i < _FIRST_ID else _written(i - _FIRST_ID) for i in map(int, ids)]


def _written(byte: int) -> str:
    return chr(byte) if 0x20 < byte < 0x7F else f"<0x{byte:02X}>"
