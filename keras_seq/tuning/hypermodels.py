"""Trains a trial: any hypermodel of KerasTuner, on data that is batched anew for each trial, up to a budget."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import tensorflow as tf

from keras_seq import training


@dataclasses.dataclass(frozen=True)
class Budget:
    """The amount of training of each trial: one of target tokens and seconds, cut into rounds.

    Args:
        tokens: target tokens, or frames, rows or examples for data without tokens, as `data.Rounds` counts them.
        seconds: seconds of training steps.
        rounds: number of equal parts, with a validation after each.
    Raises:
        ValueError: unless exactly one of both is given, or if a number is not positive.
    """

    tokens: float | None = None
    seconds: float | None = None
    rounds: int = 10

    def __post_init__(self):
        if (self.tokens is None) == (self.seconds is None):
            raise ValueError(f"Give one of `tokens` and `seconds`. Received: {self.tokens} and {self.seconds}")
        for name in ("tokens", "seconds", "rounds"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be above 0. Received: {getattr(self, name)}")


class HyperModel(keras_tuner.HyperModel):
    """A hypermodel with its data, which may depend on the parameters too.

    class Sentiment(tuning.HyperModel):
        def build(self, hp):
            model = models.classifier(vocabulary.size, 2, units=hp.get("units"))
            model.compile(keras.optimizers.Adam(hp.get("learning_rate")), "sparse_categorical_crossentropy")
            return model

        def batches(self, hp):
            order = data.shuffled(1)
            train = examples.apply(order).apply(data.bucketed(hp.get("tokens_per_batch")))
            return train, valid, [order]
    """

    def batches(self, hp: keras_tuner.HyperParameters) -> tuple[tf.data.Dataset, tf.data.Dataset | None, Iterable[Any]]:
        """Training batches of an epoch, validation batches, and the steps that depend on the epoch."""
        raise NotImplementedError

    def train(
        self,
        hp: keras_tuner.HyperParameters,
        run: pathlib.Path,
        budget: Budget,
        objective: keras_tuner.Objective,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Trains a trial in its run folder, or resumes it.

        Args:
            hp: values of the trial.
            run: path of the run folder.
            budget: amount of training.
            objective: score by which the best round is kept.
            callbacks: the tuner's callbacks, which must come last.
        """
        train_trial(self, hp, run, budget, objective, callbacks, self.batches(hp))

    def config(self, values: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
        """The content of `best.json` for the values of the best trial."""
        return dict(values)

    def identity(self) -> dict[str, Any]:
        """JSON values that must be the same when a search is continued."""
        return {}


def train_trial(
    hypermodel: keras_tuner.HyperModel,
    hp: keras_tuner.HyperParameters,
    run: pathlib.Path,
    budget: Budget,
    objective: keras_tuner.Objective,
    callbacks: Sequence[keras.callbacks.Callback],
    batches: Sequence[Any],
    **fit: Any,
) -> None:
    """Trains a trial of any hypermodel of KerasTuner: `build(hp)`, then `fit(hp, model, ...)`.

    Args:
        hypermodel, hp, run, budget, objective, callbacks: see `HyperModel.train`.
        batches: training batches, validation data or None, and optionally the steps that depend on the epoch.
        fit: further arguments of `fit`.
    """
    train, valid, *epoch_aware = batches
    amount = training.TrainingData(train, *epoch_aware, **dataclasses.asdict(budget))
    model = hypermodel.build(hp)
    folder = training.Run(run, {"values": own_values(hp)})
    resume = training.Resume(folder, keep=1, epoch_aware=amount.epoch_aware, callbacks=amount.stateful())
    best = training.EarlyStopping(folder, objective.name, objective.direction, patience=amount.epochs)
    hypermodel.fit(
        hp,
        model,
        amount.batches,
        **{
            **fit,
            "validation_data": valid,
            "epochs": amount.epochs,
            "verbose": 2,
            "callbacks": [*fit.get("callbacks", ()), *amount.callbacks(), resume, best, *callbacks],
        },
    )


def own_values(hp: keras_tuner.HyperParameters) -> dict[str, Any]:
    """The values of the parameters that exist in a trial.

    Without those that Hyperband adds, "tuner/epochs", ..., and without the defaults of inactive parameters, which
    KerasTuner adds when it sends a trial to a worker.
    """
    return {name: value for name, value in hp.values.items() if hp.is_active(name)}
