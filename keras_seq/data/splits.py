"""The files of a corpus that is divided into a part for training, one for validation and one for testing."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

SPLIT_NAMES = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}  # what the names begin with


def find_splits(
    folder: str | PathLike, endings: Sequence[str], needed: Sequence[str] = tuple(SPLIT_NAMES)
) -> dict[str, Path]:
    """Finds the files of "train", "valid" and "test" by their names: `train.tsv`, `val.tsv.gz`, `test_2016.tsv`.

    Args:
        folder: where they are.
        endings: of their names, without a dot in front, any of which will do; `.gz` may follow.
        needed: the parts that must be there; the others may be missing.

    Raises:
        FileNotFoundError: if there is no folder, or no file for a part that is needed.
        ValueError: if several files could be meant.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    ends = tuple(f".{ending}{packed}" for ending in endings for packed in ("", ".gz"))
    parts = {}
    for part, starts in SPLIT_NAMES.items():
        found = [name for name in names if name.startswith(starts) and name.endswith(ends)]
        if len(found) > 1:
            raise ValueError(f"{folder}: which of {', '.join(found)} is meant? Name the files one by one.")
        if found:
            parts[part] = folder / found[0]
        elif part in needed:
            wanted = " or ".join(f"{start}*.{ending}" for ending in endings for start in starts)
            raise FileNotFoundError(f"{folder} has no file named {wanted} (or .gz).")
    return parts
