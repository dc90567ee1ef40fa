"""Random sequences, and batches of them, for `certify`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Input", "ids", "numbers", "spelled", "texts"]

LONGEST = 16  # default of the largest number of steps in a sequence


@dataclasses.dataclass(frozen=True)
class Input:
    """One input of a model, with the distribution of its sequences and the padding of its batches.

    Attributes:
        values: `values(random, shape) -> array`, without padding.
        shape: shape of one sequence, with None for an axis that has a length.
        pad: value of padding.
        shortest, longest: smallest and largest number of steps of the axes that have a length.
        like: name of another input with the same first length. None: the length is independent.
        front: whether padding comes before the sequence, as for the past of a series.
        hides: whether any values may be under the padding, because the model detects padding in another way.
        unit: smallest number of steps by which a batch grows, for example the samples of one frame of a waveform.
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
        """The number of axes that have a length. They come first."""
        return sum(size is None for size in self.shape)

    def drawn(self, random: np.random.Generator, first: int | None) -> np.ndarray:
        """Draws one sequence. Its first length is given or drawn."""
        lengths = random.integers(self.shortest, self.longest + 1, self.lengths).tolist()
        if first is not None and lengths:
            lengths[0] = first
        return self.values(random, (*lengths, *self.shape[self.lengths :]))


def drawn(inputs: Mapping[str, Input], random: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws one sequence: an array for each input."""
    found: dict[str, np.ndarray] = {}
    for name, each in inputs.items():
        found[name] = each.drawn(random, None if each.like is None else len(found[each.like]))
    return found


def sizes(
    inputs: Mapping[str, Input], sequences: Sequence[Mapping[str, np.ndarray]], extra: int = 0
) -> dict[str, tuple[int, ...]]:
    """For each input, the sizes of the axes that have a length, in a batch of these sequences.

    Args:
        extra: number of units by which the first of these axes is wider than necessary.
    """
    found = {}
    for name, each in inputs.items():
        shapes = [x[name].shape[: each.lengths] for x in sequences]
        size = [max(lengths) for lengths in zip(*shapes, strict=True)]
        found[name] = tuple([size[0] + extra * each.unit, *size[1:]] if size else [])
    return found


def widest(one: Mapping[str, tuple], other: Mapping[str, tuple]) -> dict[str, tuple[int, ...]]:
    """The sizes of a batch that can contain either."""
    return {name: tuple(map(max, one[name], other[name])) for name in one}


def batch(
    inputs: Mapping[str, Input],
    sequences: Sequence[Mapping[str, np.ndarray]],
    size: Mapping[str, tuple],
    under: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
    """A batch of sequences: for each input, an array with a batch axis.

    Args:
        size: sizes of the axes that have a length.
        under: random generator for the values under the padding of inputs that hide it. None: padding.
    """
    return {name: _batch(each, [x[name] for x in sequences], size[name], under) for name, each in inputs.items()}


def _batch(each: Input, rows: Sequence[np.ndarray], size: tuple, under: np.random.Generator | None) -> np.ndarray:
    shape = (len(rows), *size, *rows[0].shape[each.lengths :])
    x = np.full(shape, each.pad, rows[0].dtype)
    if under is not None and each.hides:
        x[...] = each.values(under, shape)
    for number, row in enumerate(rows):
        place = (number, *_steps(each, size, row))
        x[place] = each.pad  # a word has padding after its characters
        x[(*place, *map(slice, row.shape[1 : len(size)]))] = row[()]  # a single string unchanged
    return x


def _steps(each: Input, size: tuple, row: np.ndarray) -> tuple[slice, ...]:
    """The position of a row along the first axis that has a length, if there is one."""
    if not size:
        return ()
    return (slice(size[0] - len(row), None) if each.front else slice(len(row)),)


def ids(size: int, first: int = 1) -> Callable:
    """Draws ids from `first` to `size` - 1."""
    return lambda random, shape: random.integers(first, size, shape).astype("int32")


def spelled(size: int) -> Callable:
    """Draws words of ids, each with a random length: `(T, C)`, with 0 after the shorter ones."""

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
