"""The results of tasks for one input each: a result of the task's kind, or a failure with its reason."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Failure(NamedTuple):
    """Stands in for a result, with the reason for its absence."""

    reason: str


class Generated(NamedTuple):
    """The outputs of a search for one input, best first.

    Attributes:
        finished: whether each output ended by itself, rather than at the maximum length.
        prompt: the input, if it is to be written before each of the texts.
    """

    texts: list[str]
    scores: list[float]
    log_probs: list[float]
    finished: list[bool]
    prompt: str = ""


class Attention(NamedTuple):
    """Attention weights `(T, S)` of the tokens of an output over the tokens of its source, end tokens counted.

    A Transformer's weights are those of the last layer, averaged over the heads.
    """

    weights: "np.ndarray"
    source: list[str]
    target: list[str]


class Classified(NamedTuple):
    """The likeliest class, its probability, and the probabilities of all classes by label."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Tagged(NamedTuple):
    """Words, and a tag for each."""

    words: list[str]
    tags: list[str]


class Transcript(NamedTuple):
    """The text of a recording, the score of the search, and the model's log-probability."""

    text: str
    score: float
    log_prob: float


class Forecast(NamedTuple):
    """Numbers `(H, names)` in the units of the series, the names of their columns, and the times of the rows as text or
    numbers (None if the input has no times)."""

    values: "np.ndarray"
    names: list[str]
    times: list | None = None


class Scored(NamedTuple):
    """The tokens of a given text, the end token last, and the log-probability of each token."""

    tokens: list[str]
    log_probs: list[float]

    @property
    def total(self) -> float:
        return math.fsum(self.log_probs)


class Outputs(NamedTuple):
    """The outputs of a model that maps tensors to tensors: arrays by name."""

    arrays: dict[str, Any]


def finite(value: Any) -> Any:
    """A nest for JSON: NaN and infinity are None, arrays are lists, and other values are strings."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return value if value is None or isinstance(value, str | int) else str(value)


def one_line(error: BaseException) -> str:
    """The message of an error, shortened to one line of at most 300 characters."""
    message = " ".join(str(error).split()) or type(error).__name__
    return message if len(message) <= 300 else f"{message[:300]}..."


def generated(texts, scores, log_probs, finished, prompt: str = "") -> Generated | Failure:
    """The result of a search for one input, without the empty slots of the n-best list."""
    count = int((scores > -math.inf).sum())
    if not count:
        return Failure("no output satisfies all the given constraints")
    texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts[:count]]
    return Generated(texts, scores[:count].tolist(), log_probs[:count].tolist(), finished[:count].tolist(), prompt)


def strings(array: "np.ndarray") -> list[str]:
    """Bytes `(N,)` as text."""
    return [text.decode("utf-8", "replace") for text in array.tolist()]
