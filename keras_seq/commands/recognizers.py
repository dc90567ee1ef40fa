"""Models that write down what is said, from run folders."""

import pathlib
from typing import Any

from keras_seq.commands.model_files import (
    Served,
    check_vocabulary,
    is_saved_model,
    load_keras,
    load_single_vocabulary,
    run_files,
)


class Recognizer:
    """A model from recordings to texts, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled; with CTC, or with `encode` and `decode` and a front end.
        vocabulary: of the texts.
        sample_rate: samples a second of what the model hears.
        attends: whether the model decodes; else it has CTC.

    Args:
        model: what is in the file, if it has been read already.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path, model: Any = None):
        from keras_seq.export.transcription import sample_rate

        self.folder, self.file = folder, file
        self.model = load_keras(file, decodes=False) if model is None else model
        if not writes_down(self.model):
            raise ValueError(
                f"{file} is a {type(self.model).__name__} that writes down no sound: it has no `LogMel` layer, or "
                "gives no labels of frames. keras-seq transcribe takes models as recipes.speech trains them for "
                "strings; give another run folder."
            )
        self.sample_rate = sample_rate(self.model)
        self.attends = hasattr(self.model, "encode")
        self.vocabulary = load_single_vocabulary(folder)
        self._check()

    def _check(self) -> None:
        size = self.model.target_vocabulary_size if self.attends else self.model.output.shape[2]
        check_vocabulary(self, self.vocabulary, [size])

    def task(self, **options) -> Any:
        """What it is exported for, and served by; options are those of `export.Transcription`."""
        from keras_seq.export import Transcription

        return Transcription(self.vocabulary, **options)


def writes_down(model: Any) -> bool:
    """Whether a model hears sound, and says tokens or labels of frames."""
    from keras_seq.export.transcription import sample_rate

    if sample_rate(model) is None:
        return False
    return hasattr(model, "encode") or len(getattr(getattr(model, "output", None), "shape", ())) == 3


def open_recognizer(path: pathlib.Path) -> Recognizer | Served:
    """Opens what is there, for texts of recordings."""
    return Served(path) if is_saved_model(path) else Recognizer(*run_files(path))
