"""Lines of the input, each with the lines that stand beside it in other files."""

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from keras_seq.commands.lines import Line, lines
from keras_seq.commands.search_options import LineSearchOptions, side_inputs


def with_side_inputs(items: Iterable[Line | None], options: LineSearchOptions) -> Iterator[Any]:
    """Lines as tuples: the line, its number from 0, and those of the files at the same place. Lines alone where the
    the search asks for nothing more. None, a pause, stays None.

    Raises:
        ValueError: where a file has more lines than there are items, or fewer.
    """
    names = side_inputs(options)
    if not names and options.search != "sampling":
        yield from items
        return
    paths = [getattr(options, name) for name in names]
    others = [(line for line in lines([path]) if line is not None) for path in paths]
    number = 0
    for item in items:
        if item is None:
            yield None
            continue
        beside = [next(other, None) for other in others]
        if None in beside:
            raise _not_as_many(paths[beside.index(None)], f"{number:,}, the input more")
        yield (item, Line(item.place, str(number)), *beside)
        number += 1
    for path, other in zip(paths, others, strict=True):
        if next(other, None) is not None:
            raise _not_as_many(path, f"more, the input {number:,}")


def _not_as_many(path: pathlib.Path, told: str) -> ValueError:
    return ValueError(f"{path} must have a line for each line of the input. It has {told}.")
