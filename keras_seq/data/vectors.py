"""Reads pretrained word vectors from the text files of word2vec, GloVe and fastText."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_seq.data.lines import read_lines


class Vectors(NamedTuple):
    """Vectors for the ids of a vocabulary.

    Attributes:
        values: float32 `(V, D)`, a row for each id.
        found: bool `(V,)`: whether the file has the token.
        read: number of lines of the file, without a header.
        bad: number of lines that were dropped, with no numbers or another number of them.
    """

    values: np.ndarray
    found: np.ndarray
    read: int
    bad: int

    def __str__(self) -> str:
        found, size, width = int(self.found.sum()), *self.values.shape
        bad = f", {self.bad:,} of them unusable" if self.bad else ""
        return f"{found:,} of {size:,} tokens ({found / size:.1%}) have a vector of {width}; {self.read:,} read{bad}"


def read_vectors(
    path, tokens: Sequence[str], *, zero: Sequence[int] = (0,), seed: int = 0, on_bad_line: str = "error"
) -> Vectors:
    """Reads the vectors of the tokens of a vocabulary line by line, from files of any size.

    Each line is a word and its numbers, separated by spaces. A first line of two numbers, as in files of word2vec and
    fastText, is a header. If a word is repeated, its first vector counts. Only lines of wanted words are fully checked.
    Tokens that are not in the file get random vectors with the same standard deviation as the found ones.

    Args:
        path: plain or `.gz`.
        tokens: tokens in the order of their ids, as returned by `vocabulary.pieces(range(vocabulary.size))`.
        zero: ids whose vectors are 0, such as padding.
        seed: seed of the random vectors.
        on_bad_line: "error", or "skip" to drop and count invalid lines.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line is not a word with the same number of numbers as the others, and `on_bad_line="error"`, or
            if no token was found.

    Source: the spread of the random vectors is that of Kim 2014, section 3.2, arXiv:1408.5882.
    """
    path, missing = Path(path), {token: number for number, token in reversed(list(enumerate(tokens)))}
    begin = {token.partition(" ")[0] for token in tokens}  # of words with a space in them, the text before it
    lines = read_lines(path, on_bad_line)
    first = next(lines, (1, ""))
    head = (first[1] or "").split()
    header = len(head) == 2 and all(field.isdecimal() for field in head)
    width = int(head[1]) if header else len(head) - 1
    if width < 1:
        raise ValueError(f"{path}:1: the line must be a word and its numbers. Received: {(first[1] or '')[:80]!r}")
    vectors, read, bad = {}, 0, 0
    for number, line in lines if header else itertools.chain([first], lines):
        read += 1
        if line is not None and line.partition(" ")[0] not in begin:
            continue
        # From the right: some files have words with a space in them, whose first half is another word.
        word, *fields = ("", "") if line is None else line.rstrip().rsplit(" ", width)
        vector = _numbers(fields, width)
        if vector is None:
            if on_bad_line == "error":
                raise ValueError(
                    f"{path}:{number}: {width} finite numbers must follow the word. Received: {line[:80]!r}. "
                    'Correct the line, or drop such lines with on_bad_line="skip".'
                )
            bad += 1
        elif word in missing:
            vectors[missing.pop(word)] = vector
    if not vectors:
        raise ValueError(f"{path} has no vector for any of the {len(tokens):,} tokens, {', '.join(tokens[:8])}, ...")
    ids, known = list(vectors), np.stack(list(vectors.values()))
    values = np.random.default_rng(seed).normal(0.0, known.std(), (len(tokens), width)).astype(np.float32)
    values[ids], values[list(zero)] = known, 0.0
    found = np.zeros(len(tokens), bool)
    found[ids] = True
    return Vectors(values, found, read, bad)


def _numbers(fields: Sequence[str], width: int) -> np.ndarray | None:
    try:
        vector = np.array(fields, np.float32)
    except ValueError:
        return None
    return vector if len(vector) == width and np.isfinite(vector).all() else None
