"""Files of parallel text: flags and reading."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

from keras_seq.cli import option
from keras_seq.lazy import data

NOT_LANGUAGES = ("txt", "tsv", "csv", "tok", "bpe", "src", "tgt")  # endings of files of any language
Files = tuple[pathlib.Path | None, pathlib.Path | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelTextFlags:
    """Files of pairs, in place of a folder"""

    train_source: pathlib.Path | None = option(None, "training text, plain or .gz, in place of --data-dir")
    train_target: pathlib.Path | None = option(
        None, "translations of the training text (not for a .tsv or .csv file of both sides)"
    )
    valid_source: pathlib.Path | None = option(None, "validation text")
    valid_target: pathlib.Path | None = option(None, "reference translations of the validation text")
    test_source: pathlib.Path | None = option(None, "test text, used once, at the end (default: none)")
    test_target: pathlib.Path | None = option(None, "reference translations of the test text")
    on_bad_line: Literal["error", "skip"] = option("error", "treatment of lines that are not UTF-8 or hold a NUL")

    def read_parts(
        self, folder: pathlib.Path | None, source: str, target: str, *, stream: bool = False
    ) -> dict[str, data.ParallelText | data.ParallelFiles]:
        """Reads the splits "train" and "valid", and "test" if there is one, and prints their reports.

        Args:
            folder: folder of the files (None: the flags name them).
            source, target: endings of the names of the files in the folder.
            stream: whether "train" is a `ParallelFiles`, which is read again in each epoch.
        Raises:
            ValueError: if a file is missing or cannot be used.
        """
        files = self._named_files() if folder is None else _files_of(folder, source, target)
        parts = {part: _read(*pair, self.on_bad_line, stream and part == "train") for part, pair in files.items()}
        reports = [f"{part}: {_told(text)}" for part, text in parts.items()]
        print("; ".join(reports) + ".")
        return parts

    def languages(self, source: str, target: str) -> tuple[str, str]:
        """The two languages: the endings of the files that the flags name, else `source` and `target`."""
        if self.train_source is None or self.train_target is None:
            return source, target
        endings = [path.name.removesuffix(".gz").rpartition(".") for path in (self.train_source, self.train_target)]
        if not all(start and 2 <= len(end) <= 3 and end not in NOT_LANGUAGES for start, _, end in endings):
            return source, target
        return endings[0][2], endings[1][2]

    def _named_files(self) -> dict[str, Files]:
        names = ("train", "valid", "test")
        files = {part: (getattr(self, f"{part}_source"), getattr(self, f"{part}_target")) for part in names}
        if files["test"] == (None, None):
            del files["test"]  # the validation text is reported instead
        missing = [
            flag
            for part, (source, target) in files.items()
            for flag, path in ((f"--{part}-source", source), (f"--{part}-target", target))
            if path is None and not (source and _has_pairs(source))
        ]
        if missing:
            raise ValueError(
                "Training and validation text are required, of both languages. "
                f"Missing beside --train-source: {', '.join(missing)}"
            )
        return files


def _files_of(folder: pathlib.Path, source: str, target: str) -> dict[str, Files]:
    """Source and target of each split in the folder. The target is None if the source file has both sides."""
    try:
        return data.find_parallel_splits(folder, source, target)
    except FileNotFoundError:
        if not data.find_splits(folder, ["tsv"], needed=[]):
            raise
        return {part: (path, None) for part, path in data.find_splits(folder, ["tsv"], ("train", "valid")).items()}


def _has_pairs(path: pathlib.Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".tsv", ".csv"))


def _read(source: pathlib.Path, target: pathlib.Path | None, on_bad_line: str, stream: bool):
    if stream and target is None:
        raise ValueError(f"{source} has both sides. To stream, give a file for each side.")
    if stream:
        return data.ParallelFiles(source, target, on_bad_line=on_bad_line)
    if target is None:
        return data.read_pairs(source, on_bad_line=on_bad_line)
    return data.read_parallel_text(source, target, on_bad_line=on_bad_line)


def _told(text: data.ParallelText | data.ParallelFiles) -> str:
    return str(text.report) if text.report is not None else f"{text.pairs:,} pairs of lines, read in each epoch"
