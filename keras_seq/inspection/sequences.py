"""Sequences drawn at random, and batches made of them: what `certify` asks a model with."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

LONGEST = 16  # steps of a sequence, unless told otherwise


@dataclasses.dataclass(frozen=True)
class Input:
    """One input of a model: how a sequence of it is drawn, and what a batch is padded with.

    Attributes:
        values: `values(random, shape) -> array`, without padding.
        shape: of one sequence; None for an axis that has a length.
        pad: the value that padding consists of.
        shortest, longest: steps of the axes that have a length.
        like: the name of an input that has the same first length; None: the length is this input's own.
        front: whether padding stands before the sequence, as the past of a series does.
        hides: whether anything may stand under the padding, because the model has another way to know it.
        unit: steps by which a batch is made wider, at least; so many samples of a waveform are one frame, say.
    """

    values: Callable[[np.random.Generator, tuple], np.ndarray]
    shape: tuple[int | None, ...]
    pad: Any = 0
    shortest: int = 1
    longest: int = LONGEST
    like: str | None = None
    front: bool = False
    hides: bool = False
    unit: int = 1

    @property
    def lengths(self) -> int:
        """How many axes have a length; they come first."""
        return sum(size is None for size in self.shape)

    def drawn(self, random: np.random.Generator, first: int | None) -> np.ndarray:
        """One sequence, its first length given or drawn."""
        lengths = random.integers(self.shortest, self.longest + 1, self.lengths).tolist()
        if first is not None and lengths:
            lengths[0] = first
        return self.values(random, (*lengths, *self.shape[self.lengths :]))


def drawn(inputs: Mapping[str, Input], random: np.random.Generator) -> dict[str, np.ndarray]:
    """One sequence, an array for each input."""
    found: dict[str, np.ndarray] = {}
    for name, each in inputs.items():
        found[name] = each.drawn(random, None if each.like is None else len(found[each.like]))
    return found


def sizes(
    inputs: Mapping[str, Input], sequences: Sequence[Mapping[str, np.ndarray]], extra: int = 0
) -> dict[str, tuple[int, ...]]:
    """For each input the sizes of the axes that have a length, of the batch that holds these sequences.

    Args:
        extra: units by which the first of these axes is wider than it must be.
    """
    found = {}
    for name, each in inputs.items():
        shapes = [x[name].shape[: each.lengths] for x in sequences]
        size = [max(lengths) for lengths in zip(*shapes, strict=True)]
        found[name] = tuple([size[0] + extra * each.unit, *size[1:]] if size else [])
    return found


def widest(one: Mapping[str, tuple], other: Mapping[str, tuple]) -> dict[str, tuple[int, ...]]:
    """The sizes of the batch that has room for either."""
    return {name: tuple(map(max, one[name], other[name])) for name in one}


def batch(
    inputs: Mapping[str, Input],
    sequences: Sequence[Mapping[str, np.ndarray]],
    size: Mapping[str, tuple],
    under: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Sequences side by side, an array with a batch axis for each input.

    Args:
        size: of the axes that have a length.
        under: draws what stands under the padding of inputs that hide it; None: padding.
    """
    return {name: _batch(each, [x[name] for x in sequences], size[name], under) for name, each in inputs.items()}


def _batch(each: Input, rows: Sequence[np.ndarray], size: tuple, under: np.random.Generator | None) -> np.ndarray:
    shape = (len(rows), *size, *rows[0].shape[each.lengths :])
    x = np.full(shape, each.pad, rows[0].dtype)
    if under is not None and each.hides:
        x[...] = each.values(under, shape)
    for number, row in enumerate(rows):
        place = (number, *_steps(each, size, row))
        x[place] = each.pad  # a word that is one has no characters behind its own
        x[(*place, *map(slice, row.shape[1 : len(size)]))] = row[()]  # a lone string as it is
    return x


def _steps(each: Input, size: tuple, row: np.ndarray) -> tuple[slice, ...]:
    """Where a row stands along the first axis that has a length, if there is one."""
    if not size:
        return ()
    return (slice(size[0] - len(row), None) if each.front else slice(len(row)),)


def ids(size: int, first: int = 1) -> Callable:
    """Draws ids from `first` to `size` - 1."""
    return lambda random, shape: random.integers(first, size, shape).astype("int32")


def spelled(size: int) -> Callable:
    """Draws words of ids, each with a length of its own: `(T, C)`, 0 behind the shorter ones."""

    def values(random, shape):
        x = random.integers(1, size, shape).astype("int32")
        lengths = random.integers(1, shape[-1] + 1, shape[:-1])
        return np.where(np.arange(shape[-1]) < lengths[..., None], x, 0).astype("int32")

    return values


def numbers(random: np.random.Generator, shape: tuple) -> np.ndarray:
    """Draws normal numbers."""
    return random.normal(size=shape).astype("float32")


def texts(words: Sequence[bytes]) -> Callable:
    """Draws texts of 1 to `LONGEST` of these words."""

    def values(random, shape):
        x = np.empty(shape, object)
        for place in np.ndindex(*shape):
            x[place] = b" ".join(words[i] for i in random.integers(0, len(words), random.integers(1, LONGEST + 1)))
        return x

    return values
