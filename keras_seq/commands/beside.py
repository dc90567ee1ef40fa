"""What a search is told of each line beside its text: its number, by which it draws, and lines of other files."""

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from keras_seq.commands.search_options import LineSearchOptions
from keras_seq.commands.streams import Failed, Line, lines

FILES = ("prefix", "force")  # the flags that name a file with a line for each line of the input


def with_beside(items: Iterable[Line | None], options: LineSearchOptions) -> Iterator[Any]:
    """Lines as tuples: the line, its number from 0, and the lines of `FILES` at the same place. Lines alone where the
    the search asks for nothing more. None, a pause, stays None.

    Raises:
        ValueError: where a file has more lines than there are items, or fewer.
    """
    if not _names(options):
        yield from items
        return
    paths = [getattr(options, name) for name in FILES if getattr(options, name) is not None]
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


class Beside:
    """Reads what `with_beside` gives, and hands it to a search in a graph.

    Args:
        vocabulary: of the output.
    """

    def __init__(self, options: LineSearchOptions, vocabulary: Any):
        self.vocabulary, self.names = vocabulary, _names(options)
        self._files = [name for name in FILES if getattr(options, name) is not None]

    def read(self, items: list) -> tuple[list[str], list[Any]]:
        """Texts, or tuples of texts -> the texts, and for each what is beside it and itself: a dict, or `Failed`."""
        rows = [item if isinstance(item, tuple) else (item, str(place)) for place, item in enumerate(items)]
        told: list[Any] = [{"text": row[0], "number": int(row[1])} for row in rows]
        for place, name in enumerate(self._files, 2):
            # A prefix is one phrase, and may be none at all; terms are some.
            texts = [[row[place]] if name == "prefix" else row[place].split("\t") for row in rows]
            for row, own in enumerate(self._phrases(name, texts)):
                if isinstance(told[row], Failed):
                    continue
                told[row] = own if isinstance(own, Failed) else told[row] | {name: own}
        return [row[0] for row in rows], told

    def _phrases(self, name: str, texts: list[list[str]]) -> list[list[list[int]] | Failed]:
        flat = [text for some in texts for text in some]
        ids = iter(self.vocabulary.tokenize(flat).to_list() if flat else [])
        found: list[list[list[int]] | Failed] = []
        for some in texts:
            pairs = [(text, next(ids)) for text in some]
            unknown = [text for text, phrase in pairs if self.vocabulary.unknown_id in phrase]
            told = Failed(f"--{name}: the vocabulary does not know all of {unknown[0][:80]!r}") if unknown else None
            found.append(told or [phrase for _, phrase in pairs if phrase])
        return found

    def signature(self) -> list:
        """Of what `tensors` gives."""
        import tensorflow as tf

        ranks = {"number": 1, "prefix": 2, "force": 3}
        return [tf.TensorSpec([None] * ranks[name], tf.int32) for name in self.names]

    def tensors(self, told: list[dict]) -> list:
        """What is beside the lines of a batch."""
        import numpy as np
        import tensorflow as tf

        from keras_seq import decoding

        found = []
        for name in self.names:
            values = [own[name] for own in told]
            if name == "number":
                found.append(np.array(values, "int32"))
                continue
            # (B, C, L); of prefixes (B, 1, P), or (B, 0, 0) where there are none
            padded = decoding.padded_phrases(values, self.vocabulary.pad_id)
            found.append(padded if name == "force" else padded.reshape(len(values), -1))
        return [tf.constant(x) for x in found]

    def applied(self, search: Any, tensors: list) -> tuple[Any, list]:
        """The search for the lines of a batch, and the constraints that are theirs."""
        from keras_seq import decoding

        told, constraints = dict(zip(self.names, tensors, strict=True)), []
        if "number" in told:
            search = search.for_sentences(told["number"])
        if "prefix" in told:
            constraints.append(decoding.Prefix(told["prefix"], self.vocabulary.pad_id))
        if "force" in told:
            constraints.append(decoding.Forced(told["force"], self.vocabulary.pad_id))
        return search, constraints


def _names(options: LineSearchOptions) -> list[str]:
    """What the search asks for."""
    numbers = ["number"] if options.search == "sampling" else []
    return numbers + [name for name in FILES if getattr(options, name) is not None]
