"""Models that write down what is said, from run folders."""

import pathlib

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
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        self.folder, self.file = folder, file
        self.model = load_keras(file, decodes=False)
        layers = [layer for layer in self.model._flatten_layers() if hasattr(layer, "sampling_rate")]
        if not layers or not (hasattr(self.model, "encode") or len(self.model.output.shape) == 3):
            raise ValueError(
                f"{file} is a {type(self.model).__name__} that writes down no sound: it has no `LogMel` layer, or "
                "gives no labels of frames. keras-seq transcribe takes models as recipes.speech trains them for "
                "strings; give another run folder."
            )
        self.sample_rate = layers[0].sampling_rate
        self.vocabulary = load_single_vocabulary(folder)
        self._check()

    def _check(self) -> None:
        model = self.model
        size = model.target_vocabulary_size if hasattr(model, "encode") else model.output.shape[2]
        check_vocabulary(self, self.vocabulary, [size])


def open_recognizer(path: pathlib.Path) -> Recognizer | Served:
    """Opens what is there, for texts of recordings."""
    return Served(path) if is_saved_model(path) else Recognizer(*run_files(path))
