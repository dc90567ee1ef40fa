"""Models that tag words, from run folders."""

import pathlib
from typing import Any

from keras_seq.commands.model_files import (
    Served,
    check_vocabulary,
    input_sizes,
    is_saved_model,
    load_beside,
    load_keras,
    load_vocabulary,
    run_files,
    vocabulary_files,
)


class Tagger:
    """A model from words to tags, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled; gives scores of the tags.
        vocabulary: of the words.
        characters: that of their characters; None: the model reads words alone.
        tags: their names.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        self.folder, self.file = folder, file
        self.tags = _load_tags(tags_file(folder))
        self.model = load_keras(file, decodes=False)
        files = vocabulary_files(folder)
        needed = ["words"] + ["characters"] * isinstance(self.model.input, dict)
        missing = [name for name in needed if name not in files]
        if missing:
            raise FileNotFoundError(
                f"{folder / 'vocabulary'} has no {' and no '.join(f'{name}.{name}' for name in missing)}, which "
                f"{file.name} reads. Copy it from the folder that the model was trained in."
            )
        self.vocabularies = {name: load_vocabulary(files[name]) for name in needed}
        self.vocabulary, self.characters = self.vocabularies["words"], self.vocabularies.get("characters")
        self._check()

    def _check(self) -> None:
        shape = getattr(getattr(self.model, "output", None), "shape", ())
        if len(shape) not in (3, 4) or shape[-1] != len(self.tags):
            raise ValueError(
                f"{self.file} gives {tuple(shape)}, and {tags_file(self.folder)} names {len(self.tags)} tags. A tagger "
                "gives each word a number for each of them: one of the two files is of another run."
            )
        sizes = input_sizes(self.model)
        for name, vocabulary in self.vocabularies.items():
            check_vocabulary(self, vocabulary, sizes, name=f"{name}.{name}", between=" and ")

    def task(self) -> Any:
        """What it is exported for, and served by."""
        from keras_seq.export import Tagging

        return Tagging(self.vocabulary, self.tags, characters=self.characters)


def open_tagger(path: pathlib.Path) -> Tagger | Served:
    """Opens what is there, for tags of words."""
    return Served(path) if is_saved_model(path) else Tagger(*run_files(path))


def tags_file(folder: pathlib.Path) -> pathlib.Path:
    """Where the names of a run's tags are, if it has tags."""
    return folder / "vocabulary" / "tags.txt"


def _load_tags(file: pathlib.Path) -> list[str]:
    from keras_seq import text

    missing = "the run tags no words, or the file was not copied with it. It has the names of the tags, one a line."
    return load_beside(file, text.load_labels, missing)
