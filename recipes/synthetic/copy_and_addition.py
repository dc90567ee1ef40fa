"""Two tasks of any length that require only memory: copy and addition.

    copy, length 6        4 c 1 7 a 7 d 0 3 > > >         output the letters at the three >: c a d
    addition, length 6    3 8* 0 4 7* 1 =                 output the sum of the two marked digits at the =: 15

The length is the number of digits. Letters or marked digits must be remembered over most of them. In the copy task,
digits are distractors, and the letters are anywhere among them. In the addition task, one digit is marked in each half.
So no position has a fixed role.

Source: Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5 (the adding problem), and Arjovsky et al.
2016, section 4 (copying, there with the letters first and no distractors), arXiv:1511.06464.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_seq.lazy import text

SYMBOLS = tuple("abcdefgh")
COPIED = 3
RECALL, SUM = ">", "="
DIGITS = tuple("0123456789")
MARKED = tuple(f"{digit}*" for digit in DIGITS)

WORDS = {"copy": (*SYMBOLS, *DIGITS, RECALL), "addition": (*DIGITS, *MARKED, SUM)}
ANSWERS = {"copy": SYMBOLS, "addition": tuple(str(total) for total in range(19))}
TASKS = tuple(WORDS)


class Examples(NamedTuple):
    """Examples of one length.

    Attributes:
        tokens: ids of `vocabulary(task)`, int32 `(N, T)`.
        answers: indices into `ANSWERS[task]`, int32 `(N, T)`, 0 at steps without an answer.
        asked: mask of the answers, float32 `(N, T)`: 1.0 at steps with an answer, else 0.0.
    """

    tokens: np.ndarray
    answers: np.ndarray
    asked: np.ndarray


def vocabulary(task: str) -> text.Words:
    return text.Words(list(WORDS[task]))


def examples(task: str, length: int, count: int, random: np.random.Generator) -> Examples:
    """Draws examples.

    Raises:
        ValueError: for a length below 1, or below 2 in addition.
    """
    if length < (1 if task == "copy" else 2):
        raise ValueError(f"The length must be at least {1 if task == 'copy' else 2}. Received: {length}")
    return (_copy if task == "copy" else _addition)(length, count, random)


def _copy(length: int, count: int, random: np.random.Generator) -> Examples:
    words = len(SYMBOLS) + random.integers(0, len(DIGITS), (count, COPIED + length))
    places = np.sort(random.permuted(np.tile(np.arange(COPIED + length), (count, 1)), axis=1)[:, :COPIED], axis=1)
    symbols = random.integers(0, len(SYMBOLS), (count, COPIED))
    np.put_along_axis(words, places, symbols, axis=1)
    recalling = np.full((count, COPIED), len(SYMBOLS) + len(DIGITS))
    nothing = np.zeros((count, COPIED + length), int)
    return _examples(
        "copy",
        np.concatenate([words, recalling], axis=1),
        np.concatenate([nothing, symbols], axis=1),
        np.concatenate([nothing, np.ones_like(symbols)], axis=1),
    )


def _addition(length: int, count: int, random: np.random.Generator) -> Examples:
    digits = random.integers(0, len(DIGITS), (count, length))
    rows = np.arange(count)
    marked = [random.integers(0, length // 2, count), random.integers(length // 2, length, count)]
    total = sum(digits[rows, place] for place in marked)
    for place in marked:
        digits[rows, place] += len(DIGITS)
    end = np.full((count, 1), len(DIGITS) + len(MARKED))
    nothing = np.zeros((count, length), int)
    return _examples(
        "addition",
        np.concatenate([digits, end], axis=1),
        np.concatenate([nothing, total[:, None]], axis=1),
        np.concatenate([nothing, np.ones_like(end)], axis=1),
    )


def _examples(task: str, words: np.ndarray, answers: np.ndarray, asked: np.ndarray) -> Examples:
    ids = vocabulary(task).lookup(list(WORDS[task])).numpy()
    return Examples(ids[words].astype("int32"), answers.astype("int32"), asked.astype("float32"))


def written(task: str, tokens: np.ndarray) -> str:
    """Formats the ids of an example as text."""
    return " ".join(vocabulary(task).pieces(tokens))
