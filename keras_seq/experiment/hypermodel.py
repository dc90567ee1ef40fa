"""A recipe as a hypermodel of KerasTuner: a trial is a run of the recipe with some options of the search space."""

import dataclasses
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner

from keras_seq import tuning
from keras_seq.experiment.options import NOT_IDENTITY, Options
from keras_seq.experiment.recipe_trainer import RecipeTrainer

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
        self._trainer = RecipeTrainer(recipe, options)
        self.objective = keras_tuner.Objective(*self._trainer.monitor)
        self.space = recipe.search_space().with_defaults(vars(self._trainer.defaults))

    def check(self, space: tuning.Space) -> None:
        """Raises `ValueError` if a parameter is not an option of the recipe, or has a value that the option cannot."""
        fields = [field.name for field in dataclasses.fields(self._trainer.recipe.Options)]
        searched = [name for name in fields if name not in _NOT_SEARCHED and name not in self._trainer.of_the_data]
        for parameter in space:
            if parameter.name not in searched:
                known = "no option of the recipe" if parameter.name not in fields else "the same in all trials"
                raise ValueError(
                    f"The search space: `{parameter.name}` is {known}. What can be searched: {', '.join(searched)}"
                )
            bounds = parameter.values or (parameter.low, parameter.high)
            for value in bounds:
                try:
                    self._trainer.check_value(parameter.name, value)
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
        self._trainer.train(tuning.own_values(hp) | _options_of(budget), run, callbacks)

    def config(self, values: Mapping[str, Any], budget: tuning.Budget) -> dict[str, Any]:
        """The options of the recipe with these values, as `--config` reads them."""
        return self._trainer.options_of(dict(values) | _options_of(budget), average=3).identity()

    def identity(self) -> dict[str, Any]:
        return self._trainer.identity()


def _options_of(budget: tuning.Budget) -> dict[str, Any]:
    return {"budget_tokens": budget.tokens, "budget_seconds": budget.seconds, "rounds": budget.rounds}
