"""Files of running text, split for training, validation and test of a language model."""

from __future__ import annotations

import pathlib

from keras_seq.lazy import data, tf

HELD_OUT = 10  # without a validation file, the last tenth of the training text is held out
BEGINNINGS = 16  # one in so many rows of a batch is a beginning


def parts(folder: pathlib.Path) -> dict[str, list[str]]:
    """Reads the documents of each split, a file each: "train" and "valid", and "test" if there is one.

    The training text is `train*.txt` or, without one, all `*.txt` of the folder that belong to no other split, in the
    order of their names. The names may also end in `.gz`.

    Raises:
        FileNotFoundError: if there is no training text.
        ValueError: for a line that is not UTF-8. The message names the file and the line.
    """
    paths = {part: [path] for part, path in data.find_splits(folder, ("txt",), needed=[]).items()}
    if "train" not in paths:
        others = {path for files in paths.values() for path in files}
        paths["train"] = sorted({*folder.glob("*.txt"), *folder.glob("*.txt.gz")} - others)
    if not paths["train"]:
        raise FileNotFoundError(f"{folder} has no text to train on: a file whose name ends in .txt or .txt.gz.")
    documents_of = {}
    for part, files in paths.items():
        text = data.read_text(files)
        print(f"{', '.join(map(str, files))}: {text.report}.")
        documents_of[part] = text.documents
    if "valid" not in documents_of:
        documents_of["train"], documents_of["valid"] = held_out(documents_of["train"])
    return documents_of


def documents(parts: dict[str, list[str]], *, by_line: bool) -> dict[str, list[str]]:
    """The texts of each split or, with `by_line`, their lines as documents, without lines of white space.

    Only a line feed ends a line. A form feed and other characters at which `splitlines` splits are part of a line.

    Raises:
        ValueError: for a split with fewer than two characters.
    """
    if by_line:
        lines = {
            part: [line.rstrip("\r") for text in texts for line in text.split("\n")] for part, texts in parts.items()
        }
        parts = {part: [line for line in texts if line.strip()] for part, texts in lines.items()}
    for part, texts in parts.items():
        if sum(map(len, texts)) < 2:
            raise ValueError(f"There is no text to {'train on' if part == 'train' else 'measure'} ({part}). Give more.")
    return parts


def held_out(documents: list[str]) -> tuple[list[str], list[str]]:
    """Splits off the last tenth of the characters of the documents."""
    place, train, valid = sum(map(len, documents)) * (HELD_OUT - 1) // HELD_OUT, [], []
    for document in documents:
        train.append(document[:place])
        valid.append(document[place:])
        place = max(0, place - len(document))
    return [text for text in train if text], [text for text in valid if text]


def with_beginnings(batches: tf.data.Dataset, start_id: int) -> tf.data.Dataset:
    """Turns one row in 16 of each batch into a beginning: it starts with the start token and, in a stream, with no
    state. The rows alternate from batch to batch.

    Without this, a model would never be trained on beginnings, such as those of prompts.

    Args:
        batches: batches of `data.blocks`, or of `data.streams`, whose streams also begin without a state.
        start_id: id of the start token.
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
