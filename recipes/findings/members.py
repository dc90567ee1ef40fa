"""The models that the findings compare: variants of the recipe's model, each with several seeds."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_seq import experiment, text, training

# The options of a variant that differ from those of the paper's model.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "reversed": {},
    "forward": {"reverse_source": False},
    "1 layer": {"num_layers": 1},
    "2 layers": {"num_layers": 2},
    "3 layers": {"num_layers": 3},
    "4 layers": {"num_layers": 4},
    "unclipped": {"clipnorm": 0.0},
    "attention": {"attention": "general", "reverse_source": False},
    # Without warm-up and with SGD, a Transformer does not train.
    "transformer": {"architecture": "transformer", "optimizer": "adam", "learning_rate": 1e-3, "dropout": 0.1},
}


@dataclasses.dataclass(frozen=True)
class Member:
    """A model of a variant and a seed. It has its run folder in the folder of the findings, such as `reversed/1`."""

    variant: str
    seed: int

    @property
    def architecture(self) -> str:
        return self.values.get("architecture", "lstm")

    @property
    def folder(self) -> pathlib.Path:
        return pathlib.Path(folder_of(self.variant)) / str(self.seed)

    @property
    def values(self) -> dict[str, Any]:
        """The options of the recipe that the member sets."""
        return {**VARIANTS[self.variant], "seed": self.seed}

    def __str__(self) -> str:
        return f"{self.variant}, seed {self.seed}"


def folder_of(variant: str) -> str:
    """The name of the folder with the members of a variant."""
    return variant.replace(" ", "_")


def members(variant: str, seeds: int) -> list[Member]:
    """The members of a variant with the seeds 1, 2, ..."""
    return [Member(variant, seed) for seed in range(1, seeds + 1)]


def timed(options: Any, train: Any) -> tuple[tuple[Any, Any], Any]:
    """The vocabularies of source and target, and the paper's model with them, compiled, for measurements of time."""
    from .. import sutskever2014 as recipe

    sizes = (options.source_vocabulary_size, options.target_vocabulary_size)
    sides = zip((train.sources, train.targets), sizes, strict=True)
    source_words, target_words = (text.Words.train(side, size) for side, size in sides)
    model = recipe.build(options, source_words.size, target_words.size)
    return (source_words, target_words), recipe.compiled(options, model, updates=10**6)


class Trainer(experiment.RecipeTrainer):
    """Trains members. Their run folders can be opened by `keras_seq.load`."""

    def train(self, values: Mapping[str, Any], run: pathlib.Path, callbacks: Sequence[Any] = ()) -> Any:
        task = super().train(values, run, callbacks)
        task.save(training.Run(run, self.options_of(values, run=run).identity()))
        return task


def trainer(options: Any) -> Trainer:
    """The trainer of all members, which each process makes."""
    from .. import sutskever2014

    return Trainer(sutskever2014, options)
