"""`keras-seq tune RECIPE`: a search for better options of a recipe."""

import dataclasses
import json
import pathlib
import types
from typing import Any, Literal

from keras_seq.cli import option
from keras_seq.commands.recipe_verbs import recipe_name, recipe_options, verb_options


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneFlags:
    """Search"""

    trials: int | None = option(20, "number of trials (none: all of a grid, or of Hyperband's brackets)")
    oracle: Literal["bayesian", "random", "hyperband", "grid"] = option("bayesian", "oracle of KerasTuner")
    objective: str | None = option(
        None, "score of the epochs to search by, such as val_loss (default: the one that the recipe chooses epochs by)"
    )
    space: pathlib.Path | None = option(None, "search space as JSON (default: the recipe's, which --show-space prints)")
    show_space: bool = option(False, "printing of the search space, as a table and as JSON to edit, and no search")
    total_tokens: float | None = option(None, "target tokens of all trials, after which no trial begins")
    median_stopping: bool = option(True, "early end of trials that are worse than the median of the others")
    workers: int = option(1, "number of processes that share the search")


def tune_options(module: types.ModuleType) -> type:
    """The dataclass of flags of `keras-seq tune` for a recipe: those of the search, then those of the recipe."""
    budget = "number of target tokens that each trial is trained on"
    fields = [("budget_tokens", float | None, option(None, budget))]
    fields += [("budget_seconds", float | None, option(None, "seconds of training of each trial, in place of tokens"))]
    about = f"Searches for better options of the recipe {recipe_name(module)}, by trials with equal budgets."
    return verb_options(module, "tune", TuneFlags, fields, folder="folder of the search", description=about)


def tune(options: Any, module: types.ModuleType) -> None:
    """Runs the search, or continues it.

    Args:
        options: instance of `tune_options(module)`.
        module: module of the recipe.
    """
    if options.show_space:
        space = space_of(options, module)
        print(f"{space}\n\n{json.dumps(space.to_json(), indent=1)}")
        return
    if options.budget_tokens is None and options.budget_seconds is None:
        raise ValueError("`budget_tokens` is needed: the target tokens of each trial (or `budget_seconds`).")
    from keras_seq import experiment, tuning

    hypermodel = experiment.RecipeHyperModel(module, recipe_options(options, module))
    space = hypermodel.space if options.space is None else tuning.Space.read(options.space)
    hypermodel.check(space)
    tuner = tuning.Tuner(
        hypermodel,
        options.objective,
        directory=options.run,
        space=space,
        oracle=options.oracle,
        trials=options.trials,
        tokens=options.budget_tokens,
        seconds=options.budget_seconds,
        rounds=options.rounds,
        total_tokens=options.total_tokens,
        stopping=tuning.MedianRule() if options.median_stopping else None,
        seed=options.seed,
        overwrite=options.overwrite,
    )
    tuner.search(workers=options.workers)
    print(f"Train with them: keras-seq train {recipe_name(module)} --config {options.run / 'best.json'} --run DIR")


def space_of(options: Any, module: types.ModuleType) -> Any:
    """The search space of a recipe with its defaults for these options, or that of the file."""
    from keras_seq import tuning

    if options.space is not None:
        return tuning.Space.read(options.space)
    return module.search_space().with_defaults(vars(module.with_defaults(options)))
