"""The flags that verbs share, and what they stand for."""

import dataclasses
import pathlib
from typing import Any

from keras_seq.cli import option
from keras_seq.commands.streams import STDIN, check_files, lines

HELP = "run folder (best.keras, vocabulary/), another .keras file in it, or a SavedModel"
WEIGHTS = "run folder (best.keras, vocabulary/), or another .keras file in it"
SEVERAL = "given again for each further run folder, whose models then decode together"
SHARES = "how much a --model counts in the mean, given once for each, in their order (default: all the same)"


def loaded(paths: tuple[pathlib.Path, ...], weights: tuple[float, ...], *kinds: str) -> Any:
    """The task that --model and --model-weight name.

    Raises:
        ValueError: if it is of another kind; and as `tasks.load`.
    """
    from keras_seq.tasks.loading import load_as

    try:
        return load_as(paths, *kinds, weights=weights)
    except ValueError as error:
        raise ValueError(str(error).replace("`weights`", "--model-weight")) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model."""

    model: tuple[pathlib.Path, ...] = option(help=f"{HELP}; {SEVERAL}", repeated=True)
    model_weight: tuple[float, ...] = option((), SHARES, repeated=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineOptions:
    """How lines are read and written."""

    output: pathlib.Path | None = option(None, "file to write, .gz or plain (default: stdout)")
    json: bool = option(False, "write a JSON object for each line")
    chunk: int = option(2000, "lines that are read, sorted by length and worked on together")
    batch_tokens: int = option(2048, "rows of a batch times its padded length")
    max_source_length: int = option(1000, "longer lines, in tokens, get an empty result and a note")

    def check(self) -> None:
        """Raises `ValueError` for numbers that are not positive."""
        for name in ("chunk", "batch_tokens", "max_source_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1. Received: {getattr(self, name)}")

    @property
    def limits(self) -> dict[str, int]:
        """The arguments of a task's `predictor`."""
        return {"batch_tokens": self.batch_tokens, "max_source_length": self.max_source_length}


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnknownOptions:
    """What stands for unknown words."""

    replace_unknown: bool = option(False, "for an unknown word, write the source word that the model looked at")
    dictionary: pathlib.Path | None = option(
        None, "of --replace-unknown: what stands for a source word, each line a word, a tab and that; plain or .gz"
    )


def replacement(options: UnknownOptions) -> bool | dict[str, str]:
    """The `replace_unknown` of `decoding.generate`.

    Raises:
        ValueError: for a dictionary that is not asked for, or has a line that is none; names the line.
    """
    if options.dictionary is None:
        return options.replace_unknown
    if not options.replace_unknown:
        raise ValueError("--dictionary is of --replace-unknown: add that, or leave it out.")
    if options.dictionary == STDIN:
        raise ValueError("--dictionary must be a file: stdin is for the lines.")
    check_files([options.dictionary])
    return read_dictionary(options.dictionary)


def read_dictionary(file: pathlib.Path) -> dict[str, str]:
    """Of several lines with the same word the first one counts; blank lines do not."""
    entries: dict[str, str] = {}
    for line in lines([file]):
        if line.text is None:
            raise ValueError(f"{line.place}: {line.why}. Mend the dictionary.")
        if line.text.strip():
            word, tab, other = line.text.partition("\t")
            if not (word.strip() and tab and other.strip()):
                raise ValueError(
                    f"{line.place}: a line of a dictionary has a word, a tab and what stands for it. "
                    f"Received: {line.text[:80]!r}"
                )
            entries.setdefault(word.strip(), other.strip())
    return entries
