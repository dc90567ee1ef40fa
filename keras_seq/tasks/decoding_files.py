"""Loading of models with a search from run folders: one model, or several that decode together."""

import copy
import pathlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from keras_seq.tasks.run_folder import check_decodes, check_vocabulary, load_keras, load_vocabulary, vocabulary_sides
from keras_seq.tasks.search_options import from_config


def load_decoding(
    kind: type, folder: pathlib.Path, file: pathlib.Path, options: dict, model: Any = None, *, single: bool
) -> Any:
    """Loads the task in a run folder.

    Args:
        kind: `Translation` or `Generation`.
        options: options from `task.json`.
        model: the model of the file, if it is loaded already.
        single: whether the model has one vocabulary.
    Raises:
        ValueError: if the model does not read text, or was trained with other vocabularies.
    """
    model = load_keras(file) if model is None else model
    check_decodes(model, file)
    if getattr(model, "source_front_end", None) is not None:
        raise ValueError(
            f"{file} does not read text: it has a `source_front_end`. For recordings use keras-seq transcribe, for "
            "other inputs use the model in Python."
        )
    source, target = files = vocabulary_sides(folder, single=single)
    vocabulary = load_vocabulary(target)
    sides = [vocabulary if source == target else load_vocabulary(source), vocabulary]
    place = SimpleNamespace(folder=folder, file=file)
    source_size = getattr(model, "source_vocabulary_size", None)
    target_size = getattr(model, "target_vocabulary_size", None) or source_size
    target_size = target_size or getattr(model, "vocabulary_size", None)
    for name, side, size in zip(("source", "target"), sides, (source_size, target_size), strict=True):
        if size is not None:
            check_vocabulary(place, side, [size], name=f"the {name} vocabulary")
    options = dict(options)
    if search := options.pop("search", None):
        options["search"] = from_config(search)
    options = {name: value for name, value in options.items() if value is not None}
    task = kind(model, vocabulary, **({} if single else {"source_vocabulary": sides[0]}), **options)
    task.folder, task.file, task.vocabulary_files = folder, file, files
    return task


def together(members: Sequence[Any], weights: Sequence[float] = ()) -> Any:
    """The task of the first member, with all models as one. See `decoding.Ensemble`.

    Raises:
        ValueError: for models of both kinds, or vocabularies that differ.
    """
    from keras_seq.decoding import Ensemble

    first = members[0]
    for member in members[1:]:
        _check_alike(first, member)
    task = copy.copy(first)
    task.model, task._predictors = Ensemble([member.model for member in members], weights or None), {}
    return task


def _check_alike(one: Any, other: Any) -> None:
    """Raises `ValueError` unless two models have the same vocabularies."""
    if type(one) is not type(other):
        language_model, translator = (other, one) if hasattr(one.model, "encode") else (one, other)
        raise ValueError(
            f"{language_model.file} is a language model, but {translator.file} is a translator. Models that decode "
            "together must be of one kind."
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
        return f"one is a {type(ours).__name__}, the other a {type(theirs).__name__}"
    if ours.size != theirs.size:
        return f"{ours.size:,} tokens and {theirs.size:,}"
    pairs = zip(ours.pieces(range(ours.size)), theirs.pieces(range(theirs.size)), strict=True)
    for number, (one, other) in enumerate(pairs):
        if one != other:
            return f"token {number} is {one!r} in one and {other!r} in the other"
    return "the same tokens, but texts are split differently"
