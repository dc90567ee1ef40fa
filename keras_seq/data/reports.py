"""The base of the reports of all readers, and the loop of the readers of whole files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar


def count(description: str, title: str = "dropped: ") -> Any:
    """A field of a report, shown after its title, if it is not 0, with this description."""
    return field(default=0, metadata={"description": description, "title": title})


@dataclass(frozen=True)
class Report:
    """The number of examples that were `read` and `kept`. A subclass adds its `count`s."""

    read: int = 0
    kept: int = 0
    unit: ClassVar[str] = "row"

    def __str__(self) -> str:
        shown = {}
        for each in fields(self):
            if "title" in each.metadata and (number := getattr(self, each.name)):
                shown.setdefault(each.metadata["title"], []).append(f"{number:,} {each.metadata['description']}")
        text = f"{self.read:,} {self.unit}s read, {self.kept:,} kept{self._details()}"
        return "; ".join([text, *(title + ", ".join(counts) for title, counts in shown.items())])

    def _details(self) -> str:
        """A description of the kept examples."""
        return ""

    def check(self, source: Any) -> None:
        """Raises a `ValueError` if no example was kept."""
        if not self.kept:
            raise ValueError(f"{source}: no {self.unit} is left to use ({self}).")


def read_files(
    source: Any, paths: Sequence[Path], read: Callable[[Path], Any], on_bad_file: str
) -> tuple[list, list[ValueError]]:
    """The results of `read` for the files, and the errors of the files that were skipped.

    Raises:
        ValueError: the error of a file if `on_bad_file="error"`, or if no file can be used.
    """
    found, errors = [], []
    for path in paths:
        try:
            found.append(read(path))
        except ValueError as error:
            if on_bad_file == "error":
                raise
            errors.append(error)
    if not found:
        raise ValueError(f"{source}: none of {len(paths):,} files can be used. {' '.join(map(str, errors[:1]))}")
    return found, errors
