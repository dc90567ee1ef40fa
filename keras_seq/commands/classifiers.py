"""Models that tell which class a text is of, from run folders."""

import pathlib

from keras_seq.commands.model_files import (
    Served,
    check_vocabulary,
    damaged,
    input_sizes,
    is_saved_model,
    load_keras,
    load_single_vocabulary,
    run_files,
)


class Classifier:
    """A model from texts to classes, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled.
        vocabulary: of the texts.
        labels: the names of the classes.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        self.folder, self.file = folder, file
        self.labels = load_labels(labels_file(folder))
        self.model = load_keras(file, decodes=False)
        self.vocabulary = load_single_vocabulary(folder)
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


def open_classifier(path: pathlib.Path) -> Classifier | Served:
    """Opens what is there, for classes of texts."""
    return Served(path) if is_saved_model(path) else Classifier(*run_files(path))


def labels_file(folder: pathlib.Path) -> pathlib.Path:
    """Where the names of a run's classes are, if it has classes."""
    return folder / "vocabulary" / "labels.txt"


def load_labels(file: pathlib.Path) -> list[str]:
    from keras_seq import text

    if not file.exists():
        raise FileNotFoundError(
            f"{file} does not exist: the run has no classes of texts, or the file was not copied with it. It has their "
            "names, one a line."
        )
    with damaged(file):
        return text.load_labels(file)
