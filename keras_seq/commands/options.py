"""Flags that verbs share, and the values that they stand for."""

import dataclasses
import pathlib
from typing import Any

from keras_seq.cli import option
from keras_seq.commands.lines import STDIN, check_files, lines

HELP = "run folder (best.keras, vocabulary/), another .keras file in it, or a SavedModel"
WEIGHTS = "run folder (best.keras, vocabulary/), or another .keras file in it"
SEVERAL = "repeated for an ensemble of run folders"
SHARES = "weight of each --model in the mean, repeated in their order (default: equal weights)"


def loaded(paths: tuple[pathlib.Path, ...], weights: tuple[float, ...], *kinds: str) -> Any:
    """Loads the task that --model and --model-weight name.

    Args:
        kinds: names of the accepted tasks (default: any).
    Raises:
        ValueError: if the task is of another kind, and as `tasks.load`.
    """
    from keras_seq.tasks.loading import load, load_as

    try:
        return load_as(paths, *kinds, weights=weights) if kinds else load(paths, weights)
    except ValueError as error:
        raise ValueError(str(error).replace("`weights`", "--model-weight")) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model."""

    model: tuple[pathlib.Path, ...] = option(help=f"{HELP}; {SEVERAL}", repeated=True)
    model_weight: tuple[float, ...] = option((), SHARES, repeated=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineOptions:
    """Reading and writing of lines."""

    output: pathlib.Path | None = option(None, "file to write, .gz or plain (default: stdout)")
    json: bool = option(False, "JSON output, an object for each line")
    chunk: int = option(2000, "number of lines that are read, sorted by length and processed together")
    batch_tokens: int = option(2048, "size of a batch in tokens: rows times the padded length")
    max_source_length: int = option(1000, "longest line in tokens (a longer one gets an empty result and a note)")

    def check(self) -> None:
        """Raises `ValueError` for numbers below 1."""
        for name in ("chunk", "batch_tokens", "max_source_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1. Received: {getattr(self, name)}")

    @property
    def limits(self) -> dict[str, int]:
        """The arguments of a task's `predictor`."""
        return {"batch_tokens": self.batch_tokens, "max_source_length": self.max_source_length}


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnknownOptions:
    """Unknown words."""

    replace_unknown: bool = option(False, "replacement of each unknown word by the source word with the most attention")
    dictionary: pathlib.Path | None = option(
        None, "translations of source words for --replace-unknown, plain or .gz, a line each: word, tab, translation"
    )


def replacement(options: UnknownOptions) -> bool | dict[str, str]:
    """Value of the argument `replace_unknown` of `decoding.generate`.

    Raises:
        ValueError: for a dictionary without --replace-unknown, or with a line in another format. The message names the
            line.
    """
    if options.dictionary is None:
        return options.replace_unknown
    if not options.replace_unknown:
        raise ValueError("--dictionary requires --replace-unknown.")
    if options.dictionary == STDIN:
        raise ValueError("--dictionary must be a file: stdin is for the input lines.")
    check_files([options.dictionary])
    return read_dictionary(options.dictionary)


def read_dictionary(file: pathlib.Path) -> dict[str, str]:
    """Reads a dictionary. The first of several lines with the same word counts. Blank lines are ignored."""
    entries: dict[str, str] = {}
    for line in lines([file]):
        if line.text is None:
            raise ValueError(f"{line.place}: {line.why}. Fix the dictionary.")
        if line.text.strip():
            word, tab, other = line.text.partition("\t")
            if not (word.strip() and tab and other.strip()):
                raise ValueError(
                    f"{line.place}: a line of a dictionary must have a word, a tab and its translation. "
                    f"Received: {line.text[:80]!r}"
                )
            entries.setdefault(word.strip(), other.strip())
    return entries
