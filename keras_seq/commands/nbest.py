"""N-best lists as Moses writes them: `number ||| text ||| name= value name= value ||| score`.

Those of ours have a feature `finished`: 0 for a candidate that was cut off. A sentence without candidates has a line
with nothing in it but its number, so that no sentence is lost.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from keras_seq.commands.lines import BadLines, Line

BAR = "|||"
FINISHED = "finished"
LARGEST_GAP = 100_000  # numbers that a list may leave out at once; beyond, the number is taken for a mistake


class Entry(NamedTuple):
    """One candidate: the number of its sentence, from 0; its scores by name, `score` being the last field."""

    place: str
    number: int
    text: str
    scores: dict[str, float]

    @property
    def is_placeholder(self) -> bool:
        """Whether it stands for a sentence without candidates."""
        return not (self.text or self.scores)


def written(number: int, text: str, features: Mapping[str, float], score: float | None) -> str:
    """A line. The text stands in it as it is, bars too: what comes before and behind it tells where it ends."""
    told = " ".join(f"{name}= {value:.6g}" for name, value in features.items())
    fields = [str(number), text, told, *([f"{score:.6g}"] if score is not None else [])]
    return f" {BAR} ".join(fields)


def without_candidates(number: int) -> str:
    """The line of a sentence that has none."""
    return written(number, "", {}, None).rstrip()


def parsed(line: Line) -> Entry:
    """Features may be written `name= 1 2` or `name: 1 2`; of several values, they are `name.1`, `name.2`.

    Raises:
        ValueError: says what is wrong with the line.
    """
    fields = line.text.split(BAR)
    if len(fields) < 3:
        raise ValueError(f"`number {BAR} text {BAR} features {BAR} score` is expected")
    number, place = fields[0].strip(), _place_of_features(fields)
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"the number of the sentence must be a whole number. Received: {number[:40]!r}")
    values: dict[str, list[float]] = {}
    name = "feature"
    for word in fields[place].split():
        if word[-1] in "=:" and len(word) > 1:
            name = word[:-1]
        else:
            values.setdefault(name, []).append(_number(word))
    scores = {}
    for name, numbers in values.items():
        named = [(name, numbers[0])] if len(numbers) == 1 else [(f"{name}.{i}", n) for i, n in enumerate(numbers, 1)]
        scores |= dict(named)
    if fields[place + 1 :] and fields[place + 1].strip():
        scores["score"] = _number(fields[place + 1].strip())
    text = BAR.join(fields[1:place])
    # Moses writes a space more behind the last word; ours end as the text does.
    text = text.removeprefix(" ").removesuffix(" ") if FINISHED in scores else text.strip(" ")
    return Entry(line.place, int(number), text, scores)


def _place_of_features(fields: list[str]) -> int:
    """Which field has the features: the last one that looks so. Those before it are the text, which may hold bars; one
    behind the score has what Moses tells of the alignment."""
    numbers = [_is_number(field) for field in fields] + [True]
    for place in range(len(fields) - 1, 1, -1):
        words = fields[place].split()
        names = [word for word in words if word[-1] in "=:" and len(word) > 1]
        if names and numbers[place + 1] and all(_is_number(word) for word in words if word not in names):
            return place
    return len(fields) - 2 if len(fields) > 4 and numbers[len(fields) - 1] else 2


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def entries(lines: Iterable[Line | None], bad: BadLines) -> Iterator[Entry]:
    """Those of all good lines; bad ones are counted, and left out of their lists."""
    last, jumped = 0, None  # a number far ahead is a mistake if the next line goes on before it
    for line in lines:
        if line is None:
            continue
        bad.total += 1
        try:
            if line.text is None:
                raise ValueError(line.why)
            entry = parsed(line)
            if not last <= entry.number <= last + LARGEST_GAP:
                raise ValueError(f"the numbers of the sentences must ascend. Received: {entry.number} after {last}")
        except ValueError as error:
            bad.add(line.place, str(error))
            continue
        if jumped is not None and entry.number < jumped.number:
            told = f"Received: {jumped.number} between {last} and {entry.number}"
            bad.add(jumped.place, f"the numbers of the sentences must ascend. {told}")
        elif jumped is not None:
            last = jumped.number
            yield jumped
        jumped = entry if entry.number > last + 1 else None
        if jumped is None:
            last = entry.number
            yield entry
    if jumped is not None:
        yield jumped


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"a score must be a number. Received: {word[:40]!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"a score must be finite. Received: {word[:40]!r}")
    return value
