"""A recipe as a hypermodel of KerasTuner: a trial is a run of the recipe with some options of the search space."""

import dataclasses
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner

from keras_seq import data, experiment, training, tuning
from keras_seq.cli_config import convert
from keras_seq.experiment.options import NOT_IDENTITY, Options

# A search gives these their values, or they mean nothing within one. Nor are those searched that `read` reads.
_NOT_SEARCHED = (*NOT_IDENTITY, "data_dir", "seed", "epochs", "budget_tokens", "budget_seconds", "rounds", "patience")


class RecipeHyperModel(tuning.HyperModel):
    """A recipe for `tuning.Tuner`. It reads the data once, and each trial trains as the recipe does.

    Args:
        recipe: module of a recipe: `Options`, `with_defaults`, `read`, `train`, `monitor` and `search_space`.
        options: options of the recipe that are the same in all trials.
    Attributes:
        objective: score that the recipe chooses its best epoch by.
        space: search space of the recipe, whose defaults are the options.
    """

    def __init__(self, recipe: types.ModuleType, options: Options):
        super().__init__()
        self._recipe = recipe
        self._scope = experiment.setup(options)
        defaults = recipe.with_defaults(options)
        watched, self._of_the_data = _watched(defaults)
        self._parts = recipe.read(watched)
        # The other defaults may depend on values of a trial. The weights are those of its best round.
        fetched = {"download": False} if hasattr(options, "download") else {}
        if hasattr(options, "data_dir"):
            fetched["data_dir"] = defaults.data_dir
        self._options = dataclasses.replace(options, **fetched, average=1)
        name, mode = recipe.monitor(defaults, self._parts)
        self.objective = keras_tuner.Objective(name, mode)
        self.space = recipe.search_space().with_defaults(vars(defaults))

    def check(self, space: tuning.Space) -> None:
        """Raises `ValueError` if a parameter is not an option of the recipe, or has a value that the option cannot."""
        fields = {field.name: field for field in dataclasses.fields(self._recipe.Options)}
        searched = [name for name in fields if name not in _NOT_SEARCHED and name not in self._of_the_data]
        hints = typing.get_type_hints(self._recipe.Options)
        for parameter in space:
            if parameter.name not in searched:
                known = "no option of the recipe" if parameter.name not in fields else "the same in all trials"
                raise ValueError(
                    f"The search space: `{parameter.name}` is {known}. What can be searched: {', '.join(searched)}"
                )
            bounds = parameter.values or (parameter.low, parameter.high)
            for value in bounds:
                try:
                    choices = fields[parameter.name].metadata.get("choices")
                    convert(hints[parameter.name], value, choices)
                except TypeError:
                    raise ValueError(f"The search space: `{parameter.name}` cannot be {value!r}.") from None

    def train(
        self,
        hp: keras_tuner.HyperParameters,
        run: pathlib.Path,
        budget: tuning.Budget,
        objective: keras_tuner.Objective,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        options = self._options_of(tuning.own_values(hp), budget, run=run)
        folder = training.Run(run, options.identity())
        self._recipe.train(options, self._parts, folder, self._scope, callbacks)

    def _options_of(self, values: Mapping[str, Any], budget: tuning.Budget, **others: Any) -> Options:
        budget = {"budget_tokens": budget.tokens, "budget_seconds": budget.seconds, "rounds": budget.rounds}
        return self._recipe.with_defaults(dataclasses.replace(self._options, **values, **budget, **others))

    def config(self, values: Mapping[str, Any], budget: tuning.Budget) -> dict[str, Any]:
        """The options of the recipe with these values, as `--config` reads them."""
        return self._options_of(values, budget, average=3).identity()

    def identity(self) -> dict[str, Any]:
        parts = {pathlib.PurePath(name).name: part for name, part in self._parts.items()}
        digests = {name: data.fingerprint(part) for name, part in parts.items() if name not in ("test", "long")}
        return {"recipe": self._options.recipe, "options": self._options.identity(), "data": digests}


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
