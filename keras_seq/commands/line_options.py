"""The flags of verbs that run a model over lines."""

import dataclasses
import pathlib

from keras_seq.cli import option
from keras_seq.commands.model_files import HELP, SEVERAL, SHARES


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
