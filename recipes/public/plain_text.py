"""Files of running text, in the parts that a language model is trained, validated and tested on."""

from __future__ import annotations

import pathlib

from keras_seq.lazy import data, tf

HELD_OUT = 10  # where nothing else is there to validate on, the last tenth of the text is
BEGINNINGS = 16  # of so many rows of a batch one begins


def parts(folder: pathlib.Path) -> dict[str, list[str]]:
    """The documents, a file each, of the parts that there are; "train" and "valid" always.

    The training text is `train*.txt` or, without one, all `*.txt` of the folder, in the order of their names, that are
    of no other part. `.gz` may follow.

    Raises:
        FileNotFoundError: if there is no text to train on.
        ValueError: for a line that is not UTF-8, with its file and number.
    """
    paths = {part: [path] for part, path in data.find_splits(folder, ("txt",), needed=[]).items()}
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


def documents(parts: dict[str, list[str]], *, by_line: bool) -> dict[str, list[str]]:
    """The same texts, each line a document of its own where `by_line`; lines of white space are left out.

    Only a line feed ends a line: a form feed and other characters at which `splitlines` splits are part of one.

    Raises:
        ValueError: for a part that has not two characters.
    """
    if by_line:
        lines = {
            part: [line.rstrip("\r") for text in texts for line in text.split("\n")] for part, texts in parts.items()
        }
        parts = {part: [line for line in texts if line.strip()] for part, texts in lines.items()}
    for part, texts in parts.items():
        if sum(map(len, texts)) < 2:
            raise ValueError(f"There is no text to {'train on' if part == 'train' else 'measure'} ({part}): give more.")
    return parts


def held_out(documents: list[str]) -> tuple[list[str], list[str]]:
    """The documents without the last tenth of their characters, and that."""
    place, train, valid = sum(map(len, documents)) * (HELD_OUT - 1) // HELD_OUT, [], []
    for document in documents:
        train.append(document[:place])
        valid.append(document[place:])
        place = max(0, place - len(document))
    return [text for text in train if text], [text for text in valid if text]


def with_beginnings(batches: tf.data.Dataset, start_id: int) -> tf.data.Dataset:
    """One row in 16 of each batch, another one each time, begins: with the start token, and a stream with no state.

    Else a model would never learn what it is to begin, as each prompt does.

    Args:
        batches: of `data.blocks`, or of `data.streams`, whose rows begin also where the streams do.
    """

    def begun(number, batch):
        inputs, labels, weights = batch
        carries = isinstance(inputs, dict)
        tokens = inputs["tokens"] if carries else inputs  # (B, T)
        begins = (number + tf.range(tf.shape(tokens, tf.int64)[0])) % BEGINNINGS == 0  # (B,)
        if carries:
            begins |= inputs["starts"]
        tokens = tf.concat([tf.where(begins[:, None], start_id, tokens[:, :1]), tokens[:, 1:]], axis=1)
        return {"tokens": tokens, "starts": begins} if carries else tokens, labels, weights

    return batches.enumerate().map(begun)
