"""Finds the training, validation and test files of a corpus."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

SPLIT_NAMES = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}  # prefixes of file names


def find_splits(
    folder: str | PathLike, endings: Sequence[str], needed: Sequence[str] = tuple(SPLIT_NAMES)
) -> dict[str, Path]:
    """Finds the files of "train", "valid" and "test" by their names: `train.tsv`, `val.tsv.gz`, `test_2016.tsv`.

    Args:
        folder: folder of the files, or a file, which is the split "train" then.
        endings: accepted endings of their names, without a leading dot. `.gz` may follow.
        needed: required splits. The others may be missing.

    Raises:
        FileNotFoundError: if the folder does not exist, or has no file for a required split.
        ValueError: if several files match a split.
    """
    folder = Path(folder)
    ends = tuple(f".{ending}{packed}" for ending in endings for packed in ("", ".gz"))
    if folder.is_file():
        if folder.name.endswith(ends) and set(needed) <= {"train"}:
            return {"train": folder}
        wanted = _names("train", endings)
        raise FileNotFoundError(f"{folder} is a file. Put it into a folder, with a name such as {wanted} (or .gz).")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    parts = {}
    for part, starts in SPLIT_NAMES.items():
        found = [name for name in names if name.startswith(starts) and name.endswith(ends)]
        if len(found) > 1:
            raise ValueError(f"{folder}: several files match: {', '.join(found)}. Name the files one by one.")
        if found:
            parts[part] = folder / found[0]
        elif part in needed:
            raise FileNotFoundError(f"{folder} has no file named {_names(part, endings)} (or .gz).")
    return parts


def _names(part: str, endings: Sequence[str]) -> str:
    return " or ".join(f"{start}*.{ending}" for ending in endings for start in SPLIT_NAMES[part])
