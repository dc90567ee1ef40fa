"""N-best lists in the format of Moses: `number ||| text ||| name= value name= value ||| score`.

Our lists have a feature `finished`, which is 0 for a truncated candidate. A sentence without candidates has a line with
its number only, so that no sentence is lost.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from keras_seq.commands.lines import BadLines, Line

BAR = "|||"
FINISHED = "finished"
LARGEST_GAP = 100_000  # numbers that a list may skip at once; a larger step is treated as an error


class Entry(NamedTuple):
    """One candidate: its place, the number of its sentence (from 0), its text, and its scores by name. `score` is the
    last field of the line."""

    place: str
    number: int
    text: str
    scores: dict[str, float]

    @property
    def is_placeholder(self) -> bool:
        """Whether the entry stands for a sentence without candidates."""
        return not (self.text or self.scores)


def written(number: int, text: str, features: Mapping[str, float], score: float | None) -> str:
    """Formats a line. The text is not escaped, not even bars: the fields around it mark where it ends."""
    named_values = " ".join(f"{name}= {value:.6g}" for name, value in features.items())
    fields = [str(number), text, named_values, *([f"{score:.6g}"] if score is not None else [])]
    return f" {BAR} ".join(fields)


def without_candidates(number: int) -> str:
    """The line of a sentence without candidates."""
    return written(number, "", {}, None).rstrip()


def parsed(line: Line) -> Entry:
    """Parses a line. Features may be written `name= 1 2` or `name: 1 2`. Several values become `name.1`, `name.2`.

    Raises:
        ValueError: for a line in another format. The message names the problem.
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
    # Moses adds a space after the last word. Our lists do not.
    text = text.removeprefix(" ").removesuffix(" ") if FINISHED in scores else text.strip(" ")
    return Entry(line.place, int(number), text, scores)


def _place_of_features(fields: list[str]) -> int:
    """Index of the field with the features: the last one in their format. The fields before it are the text, which may
    contain bars. A field after the score has the alignment that Moses writes."""
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
    """The entries of all valid lines. Bad lines are counted and left out of their lists."""
    last, jumped = 0, None  # a number far ahead is an error if the next line has a smaller one
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
            numbers_read = f"Received: {jumped.number} between {last} and {entry.number}"
            bad.add(jumped.place, f"the numbers of the sentences must ascend. {numbers_read}")
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
