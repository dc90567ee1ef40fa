"""A recipe that trains many models on data that is read once: the trials of a search, the runs of a comparison."""

import dataclasses
import math
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_seq import data, experiment, training
from keras_seq.cli_config import convert
from keras_seq.experiment.options import Options


class RecipeTrainer:
    """A recipe whose models differ in some options. It reads the data once.

    Args:
        recipe: module of a recipe: `Options`, `with_defaults`, `read`, `train` and `monitor`. Three functions
            are optional: `scores_by_length(options, task, parts)`, the lengths `(N,)` of the validation examples and
            their scores `(N,)`; `chance(options, parts)`, the score of the best answer that ignores the input; and
            `feedforward(options, parts, runs)`, the result of `comparison.feedforward.measure` beside trained models.
        options: options of the recipe that are the same for all models.
    Attributes:
        monitor: name of the score that the recipe chooses its best epoch by, and "max" or "min".
        defaults: the options with the defaults of the recipe.
        of_the_data: names of the options that the reading of the data depends on.
        parts: the data by split.
        memory_task: task of a recipe whose lengths are numbers of steps to remember. None for another recipe.
    """

    def __init__(self, recipe: types.ModuleType, options: Options):
        if getattr(options, "folds", 0):
            raise ValueError(
                "`folds` cross-validates a single model. Searches and comparisons judge all models on one validation "
                f"text: leave it out. Received: {options.folds}"
            )
        self.recipe = recipe
        self._scope = experiment.setup(options)
        self.defaults = recipe.with_defaults(options)
        watched, self.of_the_data = _watched(self.defaults)
        self.parts = recipe.read(watched)
        # The other defaults may depend on values of a model. The weights are those of its best round.
        fetched = {"download": False} if hasattr(options, "download") else {}
        if hasattr(options, "data_dir"):
            fetched["data_dir"] = self.defaults.data_dir
        self.options = dataclasses.replace(options, **fetched, average=1)
        self.memory_task: str | None = self._option("task", None)
        self.monitor: tuple[str, str] = recipe.monitor(self.defaults, self.parts)

    def options_of(self, values: Mapping[str, Any], **others: Any) -> Options:
        """The options of a model, with all defaults."""
        return self.recipe.with_defaults(dataclasses.replace(self.options, **values, **others))

    def train(
        self, values: Mapping[str, Any], run: pathlib.Path, callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> Any:
        """Trains a model in its run folder, or resumes it, and returns the task.

        Args:
            values: options of this model, by name.
            run: path of the run folder.
            callbacks: further callbacks, which come last.
        """
        options = self.options_of(values, run=run)
        return self.recipe.train(options, self.parts, training.Run(run, options.identity()), self._scope, callbacks)

    def identity(self) -> dict[str, Any]:
        """JSON values that must be the same when training is continued."""
        parts = {pathlib.PurePath(name).name: part for name, part in self.parts.items()}
        digests = {name: data.fingerprint(part) for name, part in parts.items() if name not in ("test", "long")}
        return {"recipe": self.options.recipe, "options": self.options.identity(), "data": digests}

    def width_step(self, architecture: str) -> int:
        """The number of which the valid widths of an architecture are multiples."""
        heads = self._option("num_heads", 1) if architecture == "transformer" else 1
        # The two numbers of a pair of a head are rotated, and the two directions have half of the units each.
        return math.lcm(2 * heads if heads > 1 else 1, 2 if self._option("bidirectional", False) else 1)

    def shape(self) -> dict[str, Any]:
        """The number of layers and of heads, and whether the models are bidirectional."""
        return {
            "num_layers": self._option("num_layers", 1),
            "num_heads": self._option("num_heads", 4),
            "bidirectional": self._option("bidirectional", False),
        }

    def _option(self, name: str, default: Any) -> Any:
        return getattr(self.defaults, name, default)

    def scores_by_length(self, values: Mapping[str, Any], task: Any) -> list[dict[str, Any]] | None:
        """The mean score of the validation examples of each length. None if the recipe does not give them.

        Returns:
            `[{"from": 3, "to": 3, "rows": 12, "score": 0.75}, ...]`, where `rows` is the number of examples.
        """
        scores_of = getattr(self.recipe, "scores_by_length", None)
        if scores_of is None:
            return None
        lengths, scores = map(np.asarray, scores_of(self.options_of(values), task, self.parts))
        groups = [(int(length), scores[lengths == length]) for length in np.unique(lengths)]
        return [{"from": each, "to": each, "rows": len(group), "score": float(group.mean())} for each, group in groups]

    def feedforward(self, runs: Mapping[str, pathlib.Path]) -> dict[str, Any] | None:
        """Measurements of a network with a fixed input. None if the recipe does not give them.

        Args:
            runs: run folders of trained models by architecture.
        """
        measured = getattr(self.recipe, "feedforward", None)
        return None if measured is None else measured(self.defaults, self.parts, runs)

    def chance(self) -> float | None:
        """The score of the best answer that ignores the input. None if the recipe does not give it."""
        chance = getattr(self.recipe, "chance", None)
        return None if chance is None else chance(self.defaults, self.parts)

    def data_name(self) -> str:
        """The name of the data, or of the task for which it is generated."""
        folder = self._option("data_dir", None)
        return (self.memory_task or "generated") if folder is None else pathlib.Path(folder).name

    def check_value(self, name: str, value: Any) -> None:
        """Raises `TypeError` if an option of the recipe cannot have a value."""
        field = self.recipe.Options.__dataclass_fields__[name]
        convert(typing.get_type_hints(self.recipe.Options)[name], value, field.metadata.get("choices"))


def _watched(options: Options) -> tuple[Options, set[str]]:
    """A copy of the options, and a set to which the name of each attribute is added when it is read."""
    names: set[str] = set()

    class Watched(type(options)):
        __module__ = type(options).__module__

        def __getattribute__(self, name: str) -> Any:
            names.add(name)
            return super().__getattribute__(name)

    copy = object.__new__(Watched)
    copy.__dict__.update(vars(options))
    return copy, names
