"""Checks that a model's output for a sequence depends only on that sequence."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_seq.inspection.sequences import Input, batch, drawn, sizes, widest

__all__ = ["Case", "Certificate", "ModelAdapter", "Row", "certify"]

KINDS = {
    "neighbors": "other sequences in a batch of the same shape",
    "order": "the same batch in another order",
    "padding": "the same batch with more padding",
    "under the padding": "other values under the padding",
    "batch shape": "a batch of another number of rows and another width",
    "alone": "a batch of this sequence alone, without padding",
}
FEWEST, MOST = 2, 5  # rows of a batch
WIDER = 4  # largest number of units of padding added to a batch


@dataclasses.dataclass(frozen=True)
class ModelAdapter:
    """The interface of `certify` to a model and its sequences.

    Attributes:
        inputs: the inputs by name.
        answers: `answers(batch) -> {name: array}`, with a row for each row of the batch.
        own: `own(answers, row, sequence) -> {name: array}`, the answers for the sequence in one row, without those for
            padding. None: the whole row.
        draw: `draw(random) -> sequence`. None: each input is drawn separately.
        others: other functions from the same batch to the answers, by name, such as an exported model.
    """

    inputs: Mapping[str, Input]
    answers: Callable[[dict], Mapping[str, np.ndarray]]
    own: Callable[[Mapping, int, Mapping], Mapping[str, np.ndarray]] | None = None
    draw: Callable[[np.random.Generator], dict] | None = None
    others: Mapping[str, Callable[[dict], Mapping[str, np.ndarray]]] = dataclasses.field(default_factory=dict)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cases that these inputs allow."""
        grows = any(each.lengths for each in self.inputs.values())
        hides = any(each.lengths and each.hides for each in self.inputs.values())
        allowed = {"padding": grows, "under the padding": hides}
        return (*(kind for kind in KINDS if allowed.get(kind, True)), *self.others)

    def drawn(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        return drawn(self.inputs, random) if self.draw is None else self.draw(random)

    def of(self, answers: Mapping[str, np.ndarray], row: int, sequence: Mapping) -> dict[str, np.ndarray]:
        if self.own is not None:
            return dict(self.own(answers, row, sequence))
        return {name: x[row] for name, x in answers.items()}


@dataclasses.dataclass(frozen=True)
class Case:
    """One sequence in two batches, with its answers from both.

    Attributes:
        number, kind: number and kind of the case. The number and the seed reproduce the case.
        sequence: an array for each input.
        shapes: shapes of the inputs in both batches, by the name of the input.
        one, other: the answers, by name.
        error: error of the model, if it raised one.
        difference: largest difference of two numbers, divided by the largest number if that exceeds 1. It is infinite
            for unequal strings, integers or shapes, for NaN, and after an error.
    """

    number: int
    kind: str
    sequence: dict[str, np.ndarray]
    shapes: tuple[dict[str, tuple], dict[str, tuple]]
    one: dict[str, np.ndarray]
    other: dict[str, np.ndarray]
    difference: float
    error: str = ""

    @property
    def size(self) -> int:
        """The number of values in both batches."""
        return sum(int(np.prod(shape)) for shapes in self.shapes for shape in shapes.values())


@dataclasses.dataclass(frozen=True)
class Row:
    """All cases of one kind: their number, the number of failures, and the largest difference."""

    kind: str
    cases: int
    failures: int
    largest: float


@dataclasses.dataclass(frozen=True)
class Certificate:
    """The result of `certify`.

    Attributes:
        rows: a row for each kind of case.
        varied: whether different sequences got different answers. If not, the test was void.
        smallest: failing case with the fewest values.
        ok: whether no case failed and the answers varied.
    """

    seed: int
    tolerance: float
    rows: tuple[Row, ...]
    varied: bool
    smallest: Case | None = None

    @property
    def cases(self) -> int:
        return sum(row.cases for row in self.rows)

    @property
    def failures(self) -> int:
        return sum(row.failures for row in self.rows)

    @property
    def ok(self) -> bool:
        return self.varied and self.failures == 0

    def cells(self) -> list[tuple[str, ...]]:
        """A table: a header, a row for each kind, and the total."""
        total = Row("all", self.cases, self.failures, max((row.largest for row in self.rows), default=0.0))
        told = [(r.kind, f"{r.cases:,}", f"{r.failures:,}", f"{r.largest:.1e}") for r in (*self.rows, total)]
        return [("kind of case", "cases", "failures", "largest difference"), *told]


def certify(
    asked: ModelAdapter,
    *,
    cases: int = 200,
    seed: int = 0,
    tolerance: float = 1e-5,
    progress: Callable[[int], Any] = lambda done: None,
) -> Certificate:
    """Draws random cases, of each kind in turn, and compares the answers for one sequence in two batches.

    Args:
        asked: the model.
        cases: number of cases.
        seed: random seed. Together with the number of a case it determines the case.
        tolerance: largest difference that passes; see `Case`.
        progress: a function that is called with the number of finished cases.
    Returns:
        a `Certificate`.
    Raises:
        ValueError: if there are no cases, or the tolerance is negative.
    """
    if cases < 1 or not tolerance >= 0:
        raise ValueError(f"`cases` must be positive, `tolerance` not negative. Received: {cases}, {tolerance}")
    found: dict[str, list[float]] = {kind: [] for kind in asked.kinds}
    first, varied, smallest = None, False, None
    for number in range(cases):
        case = tried(asked, seed, number)
        first = case if first is None or first.error else first
        varied = varied or (case.error + first.error == "" and difference(case.one, first.one) > tolerance)
        found[case.kind].append(case.difference)
        if not case.difference <= tolerance and (smallest is None or case.size < smallest.size):
            smallest = case
        progress(number + 1)
    rows = [Row(kind, len(x), sum(not d <= tolerance for d in x), max(x)) for kind, x in found.items() if x]
    return Certificate(seed, tolerance, tuple(rows), varied, smallest)


def tried(asked: ModelAdapter, seed: int, number: int) -> Case:
    """Draws the case of a seed and a number, and computes its answers."""
    random = np.random.default_rng([seed, number])
    kind = asked.kinds[number % len(asked.kinds)]
    rows = [asked.drawn(random) for _ in range(random.integers(FEWEST, MOST + 1))]
    place = int(random.integers(len(rows)))
    sequence = rows[place]
    one, (other, there) = _batch(asked, rows, sizes(asked.inputs, rows)), (None, place)
    if kind in KINDS:
        one, other, there = _SURROUNDINGS[kind](asked, random, rows, place)
    shapes = tuple({name: x.shape for name, x in each.items()} for each in (one, one if other is None else other))
    drawn = (number, kind, sequence, shapes)
    try:
        found = asked.answers(one), asked.answers(other) if kind in KINDS else asked.others[kind](one)
    except Exception as error:  # any error of the model
        return Case(*drawn, {}, {}, np.inf, f"{type(error).__name__}: {error}")
    answers, others = (asked.of(x, row, sequence) for x, row in zip(found, (place, there), strict=True))
    return Case(*drawn, answers, others, difference(answers, others))


def _batch(asked, rows, size, under=None):
    return batch(asked.inputs, rows, size, under)


def _neighbors(asked, random, rows, place):
    others = [asked.drawn(random) for _ in rows]
    others[place] = rows[place]
    size = widest(sizes(asked.inputs, rows), sizes(asked.inputs, others))
    return _batch(asked, rows, size), _batch(asked, others, size), place


def _order(asked, random, rows, place):
    order = random.permutation(len(rows)).tolist()
    if order == sorted(order):
        order.reverse()
    size = sizes(asked.inputs, rows)
    return _batch(asked, rows, size), _batch(asked, [rows[i] for i in order], size), order.index(place)


def _padding(asked, random, rows, place):
    size, wider = (sizes(asked.inputs, rows, extra) for extra in (0, int(random.integers(1, WIDER + 1))))
    return _batch(asked, rows, size), _batch(asked, rows, wider), place


def _under(asked, random, rows, place):
    size = sizes(asked.inputs, rows, int(random.integers(1, WIDER + 1)))
    return _batch(asked, rows, size), _batch(asked, rows, size, random), place


def _shape(asked, random, rows, place):
    others = [asked.drawn(random) for _ in range(random.integers(len(rows) + 1, 2 * MOST))]
    there = int(random.integers(len(others)))
    others[there] = rows[place]
    wider = sizes(asked.inputs, others, int(random.integers(WIDER + 1)))
    return _batch(asked, rows, sizes(asked.inputs, rows)), _batch(asked, others, wider), there


def _alone(asked, random, rows, place):
    lone = [rows[place]]
    return _batch(asked, rows, sizes(asked.inputs, rows)), _batch(asked, lone, sizes(asked.inputs, lone)), 0


_SURROUNDINGS = dict(zip(KINDS, (_neighbors, _order, _padding, _under, _shape, _alone), strict=True))


def difference(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """The largest difference between answers of the same name: see `Case`."""
    names = [name for name in one if name in other]
    if not names:
        raise ValueError(f"The answers have no name in common: {sorted(one)} and {sorted(other)}.")
    return max(_difference(np.asarray(one[name]), np.asarray(other[name])) for name in names)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return np.inf
    if not np.issubdtype(one.dtype, np.floating):
        return 0.0 if np.array_equal(one, other) else np.inf
    one, other = one.astype("float64"), other.astype("float64")
    alike = one == other  # infinities too
    apart = np.abs(np.where(alike, 0.0, one) - np.where(alike, 0.0, other))
    if not np.isfinite(apart).all():
        return np.inf
    scale = np.max(np.abs(other), initial=1.0, where=np.isfinite(other))
    return float(np.max(apart, initial=0.0) / scale)


def shown(case: Case, seed: int, most: int = 12) -> Sequence[str]:
    """A description of a case, one line each for the case, its inputs and its answers."""
    told = [f"case {case.number}, seed {seed}: {case.kind}, difference {case.difference:.1e}"]
    for name, x in case.sequence.items():
        told.append(f"  {name}: {_short(x, most)}, in batches of {case.shapes[0][name]} and {case.shapes[1][name]}")
    if case.error:
        told.append("  " + " ".join(case.error.split())[:600])
    for name in case.one:
        if name in case.other:
            gap = _difference(np.asarray(case.one[name]), np.asarray(case.other[name]))
            told.append(
                f"  {name}: {_short(case.one[name], most)} and {_short(case.other[name], most)}, {gap:.1e} apart"
            )
    return told


def _short(x: np.ndarray, most: int) -> str:
    x = np.asarray(x)
    if x.dtype == object and not x.ndim:
        return repr(x.item().decode("utf-8", "replace"))
    flat = np.array2string(x.ravel(), precision=6, threshold=most, edgeitems=3).replace("\n", "")
    return f"{flat} of shape {x.shape}" if x.ndim > 1 or x.size > most else flat
