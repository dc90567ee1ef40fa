"""What a task gives for one input: a result of its kind, or why there is none."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Failure(NamedTuple):
    """Takes the place of a result: why there is none."""

    reason: str


class Generated(NamedTuple):
    """The outputs of a search for one input, best first.

    Attributes:
        finished: whether each ended by itself, and was not cut off at the longest length.
        prompt: the input itself, where it is to be written before each of the texts.
    """

    texts: list[str]
    scores: list[float]
    log_probs: list[float]
    finished: list[bool]
    prompt: str = ""


class Classified(NamedTuple):
    """The likeliest class, its probability, and the probabilities of all by their labels."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Tagged(NamedTuple):
    """Words and as many tags."""

    words: list[str]
    tags: list[str]


class Transcript(NamedTuple):
    """The text of a recording, the score of the search, and the model's log-probability."""

    text: str
    score: float
    log_prob: float


class Forecast(NamedTuple):
    """Numbers `(H, names)` in the units of the series, the names of their columns, and the times of the rows as text or
    numbers; None where the input has no times."""

    values: "np.ndarray"
    names: list[str]
    times: list | None = None


class Scored(NamedTuple):
    """The tokens of a given text, the end token last, and the log-probability of each."""

    tokens: list[str]
    log_probs: list[float]

    @property
    def total(self) -> float:
        return math.fsum(self.log_probs)


class Outputs(NamedTuple):
    """The outputs of a model from tensors to tensors, arrays by their names."""

    arrays: dict[str, Any]


def one_line(error: BaseException) -> str:
    """The message of an error, in one line of bearable length."""
    message = " ".join(str(error).split()) or type(error).__name__
    return message if len(message) <= 300 else f"{message[:300]}..."


def generated(texts, scores, log_probs, finished, prompt: str = "") -> Generated | Failure:
    """The result of a search for one input, without the empty slots of the n-best list."""
    count = int((scores > -math.inf).sum())
    if not count:
        return Failure("no output was found that is as the flags ask")
    texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts[:count]]
    return Generated(texts, scores[:count].tolist(), log_probs[:count].tolist(), finished[:count].tolist(), prompt)


def strings(array: "np.ndarray") -> list[str]:
    """Bytes `(N,)` as text."""
    return [text.decode("utf-8", "replace") for text in array.tolist()]
