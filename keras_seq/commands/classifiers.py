"""Models that tell which class a text is of, or a sound or a clip, from run folders."""

import pathlib
from typing import Any

from keras_seq.commands.model_files import (
    Served,
    check_vocabulary,
    input_sizes,
    is_saved_model,
    load_beside,
    load_keras,
    load_single_vocabulary,
    reads_tokens,
    run_files,
)


class Classifier:
    """A model from texts to classes, or from sounds or clips, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled.
        vocabulary: of the texts; None: the model reads none.
        labels: the names of the classes.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        self.folder, self.file = folder, file
        self.labels = load_labels(labels_file(folder))
        self.model = load_keras(file, decodes=False)
        self.vocabulary = load_single_vocabulary(folder) if reads_tokens(self.model) else None
        self._check()

    def _check(self) -> None:
        shape = getattr(getattr(self.model, "output", None), "shape", ())
        if len(shape) != 2 or shape[1] != len(self.labels):
            raise ValueError(
                f"{self.file} gives {tuple(shape)}, and {labels_file(self.folder)} names {len(self.labels)} classes. "
                "A classifier gives one number for each of them: one of the two files is of another run."
            )
        sizes = input_sizes(self.model)
        if sizes:
            check_vocabulary(self, self.vocabulary, sizes)

    def task(self) -> Any:
        """What it is exported for, and served by."""
        from keras_seq.export import Classification

        return Classification(self.vocabulary, self.labels)


def open_classifier(path: pathlib.Path) -> Classifier | Served:
    """Opens what is there, for classes of texts."""
    if is_saved_model(path):
        return Served(path)
    opened = Classifier(*run_files(path))
    if opened.vocabulary is None:
        raise ValueError(
            f"{opened.file} classifies {', '.join(x.name for x in opened.model.inputs)}, and keras-seq classify takes "
            "lines of text. Write a SavedModel of it with keras-seq export, and call that one in Python."
        )
    return opened


def labels_file(folder: pathlib.Path) -> pathlib.Path:
    """Where the names of a run's classes are, if it has classes."""
    return folder / "vocabulary" / "labels.txt"


def load_labels(file: pathlib.Path) -> list[str]:
    from keras_seq import text

    missing = "the run has no classes of texts, or the file was not copied with it. It has their names, one a line."
    return load_beside(file, text.load_labels, missing)
