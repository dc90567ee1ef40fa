"""Lines of the input, each with the matching lines of other files."""

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from keras_seq.commands.lines import Line, lines
from keras_seq.commands.search_options import LineSearchOptions, side_inputs


def with_side_inputs(items: Iterable[Line | None], options: LineSearchOptions) -> Iterator[Any]:
    """Adds side inputs to lines: tuples of the line, its number from 0, and the matching lines of the files. Lines stay
    as they are if the search needs no side inputs. None, a pause, stays None.

    Raises:
        ValueError: if a file has more or fewer lines than there are items.
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
        matches = [next(other, None) for other in others]
        if None in matches:
            raise _wrong_length(paths[matches.index(None)], f"{number:,}, the input has more")
        yield (item, Line(item.place, str(number)), *matches)
        number += 1
    for path, other in zip(paths, others, strict=True):
        if next(other, None) is not None:
            raise _wrong_length(path, f"more, the input has {number:,}")


def _wrong_length(path: pathlib.Path, counts: str) -> ValueError:
    return ValueError(f"{path} must have a line for each line of the input. It has {counts}.")
