"""Files of running text, in the parts that a language model is trained, validated and tested on."""

import pathlib

from keras_seq import data

HELD_OUT = 10  # where nothing else is there to validate on, the last tenth of the text is


def parts(folder: pathlib.Path) -> dict[str, list[str]]:
    """The documents, a file each, of the parts that there are; "train" and "valid" always.

    The training text is `train*.txt` or, without one, all `*.txt` of the folder, in the order of their names, that are
    of no other part. `.gz` may follow.

    Raises:
        FileNotFoundError: if there is no text to train on.
        ValueError: for a line that is not UTF-8, with its file and number.
    """
    paths = {part: [path] for part, path in data.find_parts(folder, ("txt",), needed=[]).items()}
    if "train" not in paths:
        others = {path for found in paths.values() for path in found}
        paths["train"] = sorted({*folder.glob("*.txt"), *folder.glob("*.txt.gz")} - others)
    if not paths["train"]:
        raise FileNotFoundError(f"{folder} has no text to train on: a file whose name ends in .txt or .txt.gz.")
    found = {}
    for part, files in paths.items():
        text = data.read_text(files)
        print(f"{', '.join(map(str, files))}: {text.report}.")
        found[part] = text.documents
    if "valid" not in found:
        found["train"], found["valid"] = held_out(found["train"])
    return found


def held_out(documents: list[str]) -> tuple[list[str], list[str]]:
    """The documents without the last tenth of their characters, and that."""
    place, train, valid = sum(map(len, documents)) * (HELD_OUT - 1) // HELD_OUT, [], []
    for document in documents:
        train.append(document[:place])
        valid.append(document[place:])
        place = max(0, place - len(document))
    return [text for text in train if text], [text for text in valid if text]
