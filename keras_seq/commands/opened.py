"""Models that translate or go on with a text, from run folders; and whatever else `--model` names."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_seq.commands.classifiers import Classifier, labels_file
from keras_seq.commands.forecasters import Forecaster, columns_file
from keras_seq.commands.mappers import Mapper
from keras_seq.commands.model_files import (
    Served,
    check_vocabulary,
    is_saved_model,
    load_keras,
    load_vocabulary,
    run_files,
    vocabulary_sides,
)
from keras_seq.commands.recognizers import Recognizer, writes_down
from keras_seq.commands.taggers import Tagger, tags_file


class Trained:
    """A model with its weights and its vocabularies, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled.
        vocabulary: of what the model says.
        source_vocabulary: of what it reads; the same object where it is the same vocabulary.
        vocabulary_files: where they are from, the source's first.

    Args:
        model: what is in the file, if it has been read already.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path, model: Any = None):
        self.folder, self.file = folder, file
        self.model = load_keras(file) if model is None else model
        if getattr(self.model, "source_front_end", None) is not None:
            raise ValueError(
                f"{file} reads no text: it has a `source_front_end`. keras-seq transcribe takes recordings; use "
                "another model in Python."
            )
        self.vocabulary_files = vocabulary_sides(folder, single=self.is_language_model)
        self.source_vocabulary, self.vocabulary = _vocabularies(*self.vocabulary_files)
        self._check()

    def _check(self) -> None:
        model = self.model
        source = getattr(model, "source_vocabulary_size", None)
        target = getattr(model, "target_vocabulary_size", None) or source or getattr(model, "vocabulary_size", None)
        for side, vocabulary, size in (
            ("source", self.source_vocabulary, source),
            ("target", self.vocabulary, target),
        ):
            if size is not None:
                check_vocabulary(self, vocabulary, [size], name=f"the {side} vocabulary")

    @property
    def is_language_model(self) -> bool:
        return not hasattr(self.model, "encode")


class Together(Trained):
    """The models of several run folders as one; folder, file and vocabularies are the first's.

    Raises:
        ValueError: for models of both kinds, or vocabularies that differ.
    """

    def __init__(self, members: Sequence[Trained], weights: Sequence[float]):
        from keras_seq.decoding import Ensemble

        first = members[0]
        for member in members[1:]:
            _check_alike(first, member)
        self.folder, self.file, self.vocabulary_files = first.folder, first.file, first.vocabulary_files
        self.model = Ensemble([member.model for member in members], weights or None)
        self.source_vocabulary, self.vocabulary = first.source_vocabulary, first.vocabulary


def open_model(path: pathlib.Path) -> Trained | Served:
    """Opens what is there.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is neither, or damaged; names the file and the remedy.
    """
    if is_saved_model(path):
        return Served(path)
    return Trained(*run_files(path))


def open_weights(path: pathlib.Path, verb: str) -> Trained:
    """Opens a run folder, for a verb that needs more than a SavedModel has."""
    _refuse_saved_model(path, verb)
    return Trained(*run_files(path))


def open_run(path: pathlib.Path, verb: str) -> Any:
    """Opens a run folder of any kind: what has columns is a `Forecaster`, what has names of tags a `Tagger`, what has
    names of classes a `Classifier`; of the others, what writes down sound is a `Recognizer`, what decodes and hears or
    sees nothing `Trained`, and what is left a `Mapper`."""
    _refuse_saved_model(path, verb)
    folder, file = run_files(path)
    if columns_file(folder).exists():
        return Forecaster(folder, file)
    if tags_file(folder).exists():
        return Tagger(folder, file)
    if labels_file(folder).exists():
        return Classifier(folder, file)
    model = load_keras(file, decodes=False)
    if writes_down(model):
        return Recognizer(folder, file, model)
    decodes = callable(getattr(model, "decode", None)) and getattr(model, "source_front_end", None) is None
    return (Trained if decodes else Mapper)(folder, file, model)


def open_models(paths: Sequence[pathlib.Path], weights: Sequence[float] = (), verb: str | None = None) -> Any:
    """Opens what there is at one path, or the run folders at several, whose models then decode as one.

    Args:
        weights: of the models, or none.
        verb: of a verb that needs more than a SavedModel has; None: one SavedModel will do.
    Returns:
        `Trained`, or `Served`.
    Raises:
        FileNotFoundError, ValueError: as `open_model`; and for weights that are not one positive number for each path.
    """
    if weights and (len(weights) != len(paths) or not all(0 < weight < math.inf for weight in weights)):
        told = " ".join(f"{weight:g}" for weight in weights)
        raise ValueError(
            f"--model-weight must be a positive number, given for each of {len(paths)} --model or for none. "
            f"Received: {told}"
        )
    if len(paths) == 1:
        return open_weights(paths[0], verb) if verb else open_model(paths[0])
    return Together([open_weights(path, verb or "with more than one --model") for path in paths], weights)


def _refuse_saved_model(path: pathlib.Path, verb: str) -> None:
    if is_saved_model(path):
        raise ValueError(
            f"{path} is a SavedModel, and keras-seq {verb} needs the weights and the vocabulary that lie in a run "
            "folder. Give the run folder that it was exported from."
        )


def _vocabularies(source: pathlib.Path, target: pathlib.Path) -> tuple[Any, Any]:
    vocabulary = load_vocabulary(target)
    return (vocabulary if source == target else load_vocabulary(source)), vocabulary


def _check_alike(one: Trained, other: Trained) -> None:
    """Whether two models read and say the same tokens."""
    if one.is_language_model != other.is_language_model:
        language_model, translator = (one, other) if one.is_language_model else (other, one)
        raise ValueError(
            f"{language_model.file} is a language model, and {translator.file} translates. Models that decode together "
            "must be of one kind."
        )
    sides = zip(one.vocabulary_files, other.vocabulary_files, strict=True)
    vocabularies = [(x.source_vocabulary, x.vocabulary) for x in (one, other)]
    for files, (ours, theirs) in zip(sides, zip(*vocabularies, strict=True), strict=True):
        if files[0].read_bytes() != files[1].read_bytes():
            raise ValueError(
                f"{files[0]} and {files[1]} differ: {_difference(ours, theirs)}. Models that decode together must have "
                "been trained with the same vocabularies."
            )


def _difference(ours: Any, theirs: Any) -> str:
    if type(ours) is not type(theirs):
        return f"one is of {type(ours).__name__}, the other of {type(theirs).__name__}"
    if ours.size != theirs.size:
        return f"{ours.size:,} tokens and {theirs.size:,}"
    pairs = zip(ours.pieces(range(ours.size)), theirs.pieces(range(theirs.size)), strict=True)
    for number, (one, other) in enumerate(pairs):
        if one != other:
            return f"token {number} is {one!r} in one and {other!r} in the other"
    return "the same tokens, but texts are not split alike"
