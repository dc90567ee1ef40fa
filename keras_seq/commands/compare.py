"""`keras-seq compare RECIPE`: every architecture on one task, each at its best learning rate of a grid."""

import dataclasses
import functools
import importlib
import sys
import types
import typing
from typing import Any

from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option
from keras_seq.commands.recipe_verbs import recipe_fields, recipe_name, recipe_options, verb_options

# Budgets of a run, unless a flag gives one. A recipe may have others: `COMPARED = {"budget_tokens": 30_000}`.
BUDGETS = {"budget_tokens": 400_000, "budget_seconds": 60}
EQUAL = ("parameters", "tokens", "seconds")
_NEEDED = ("Options", "with_defaults", "read", "train", "monitor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareFlags:
    """Comparison"""

    learning_rates: tuple[float, ...] = option((1e-3, 3e-3, 1e-2), "peak learning rates to choose from")
    seeds: tuple[int, ...] = option((1, 2), "random seeds of the runs at each learning rate")
    equal: tuple[str, ...] = option(
        ("parameters", "tokens"), "quantities that are equal for all: parameters, and tokens or seconds", choices=EQUAL
    )
    parameters: int | None = option(
        None, "number of parameters of each backbone (default: about that of the LSTM with --units)"
    )
    tolerance: float = option(0.05, "greatest relative difference of the number of parameters")
    workers: int | None = option(None, "number of processes that share the runs (default: number of cores)")
    measure: bool = option(True, "measurement of times and memory after the training")
    rounds: int = option(5, "number of rounds of a run: equal parts, with a validation after each")


def architectures_of(module: types.ModuleType) -> tuple[str, ...]:
    """The architectures that a recipe has, in its order: `ARCHITECTURES`, and feed-forward if it has that."""
    return tuple(name for name in _choices(module) if name in (*ARCHITECTURES, "feedforward"))


def _choices(module: types.ModuleType) -> list[str]:
    """All architectures of a recipe."""
    parts = typing.get_args(typing.get_type_hints(module.Options)["architecture"])
    return [name for part in parts for name in (typing.get_args(part) or [part]) if isinstance(name, str)]


def compare_options(module: types.ModuleType) -> type:
    """The dataclass of flags of `keras-seq compare` for a recipe: those of the comparison, then those of the recipe."""
    name, known = recipe_name(module), recipe_fields(module)
    missing = [each for each in _NEEDED if not hasattr(module, each)]
    missing += [f"Options.{each}" for each in ("architecture", "units", "learning_rate") if each not in known]
    if missing:
        print(f"error: the recipe {name} cannot be compared: it has no {', '.join(missing)}.", file=sys.stderr)
        sys.exit(2)
    choices = _choices(module)

    shown = option(architectures_of(module), "architectures to compare", choices=choices)
    fields = [("architectures", tuple[str, ...], shown)]
    budgets = BUDGETS | getattr(module, "COMPARED", {})
    tokens = f"number of target tokens that each model is trained on (default: {budgets['budget_tokens']})"
    fields += [("budget_tokens", float | None, option(None, tokens))]
    seconds = f"seconds of training of each model, with --equal seconds (default: {budgets['budget_seconds']})"
    fields += [("budget_seconds", float | None, option(None, seconds))]
    for each, kind, instead in (("architecture", str, "architectures"), ("learning_rate", float, "learning-rates")):
        fields += [(each, kind | None, option(known[each].default, f"unused: --{instead} has the values to compare"))]
    about = f"Compares architectures on the task of the recipe {name}, each at its best learning rate."
    return verb_options(module, "compare", CompareFlags, fields, folder="folder of the comparison", description=about)


def compare(options: Any, module: types.ModuleType) -> None:
    """Runs the comparison, or continues it.

    Args:
        options: instance of `compare_options(module)`.
        module: module of the recipe.
    Raises:
        ValueError: for a wrong flag. Nothing is written then.
    """
    budget = _budget(options, module)
    for name, instead in (("architecture", "architectures"), ("learning_rate", "learning_rates")):
        if getattr(options, name) != recipe_fields(module)[name].default:
            raise ValueError(f"`{name}` is compared. Give its values by `{instead}`.")
    from keras_seq import comparison

    make = functools.partial(trainer, module.__name__, recipe_options(options, module, **budget))
    plan = comparison.Plan(
        architectures=tuple(options.architectures),
        learning_rates=tuple(options.learning_rates),
        seeds=tuple(options.seeds),
        budget={name.removeprefix("budget_"): value for name, value in budget.items() if value is not None}
        | {"rounds": options.rounds},
        equal_parameters="parameters" in options.equal,
        parameters=options.parameters,
        units=module.with_defaults(make.args[1]).units,
        tolerance=options.tolerance,
        recipe=recipe_name(module),
    )
    comparison.Comparison(make, plan, options.run, options.overwrite).run(options.workers, options.measure)


def trainer(module: str, options: Any) -> Any:
    """The trainer of a recipe, which each process of the comparison makes."""
    from keras_seq import experiment

    return experiment.RecipeTrainer(importlib.import_module(module), options)


def _budget(options: Any, module: types.ModuleType) -> dict[str, float | None]:
    """The equal budget, `budget_tokens` and `budget_seconds`, one of which is None."""
    if {"tokens", "seconds"} <= set(options.equal):
        raise ValueError("`equal` has tokens and seconds: runs with one of them equal differ in the other. Choose one.")
    by_time = "seconds" in options.equal
    given, other = ("budget_seconds", "budget_tokens") if by_time else ("budget_tokens", "budget_seconds")
    if getattr(options, other) is not None:
        raise ValueError(f"`{other}` is given, but `equal` is {' '.join(options.equal)}. Use `{given}`.")
    value, usual = getattr(options, given), BUDGETS | getattr(module, "COMPARED", {})
    return {given: float(usual[given] if value is None else value), other: None}
