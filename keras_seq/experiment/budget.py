"""The amount of training that the options of a recipe ask for, and the learning rate over it."""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_seq import schedules
from keras_seq.experiment.options import Options
from keras_seq.training import TrainingData

# A budget of seconds has no number of updates: its schedule has as many steps, of which the first are the warm-up.
_STEPS, _WARMUP = 1_000, 50


def training_data(options: Options, batches: tf.data.Dataset, epoch_aware: Iterable[Any] = ()) -> TrainingData:
    """The amount of training that the options ask for.

    Args:
        options: options of the recipe.
        batches: batches of an epoch, with a finite cardinality, whose order is a function of the epoch.
        epoch_aware: steps that depend on the epoch, such as `data.shuffled` and noise.
    Raises:
        ValueError: for two budgets, one that is not positive, or one that is smaller than a batch.
    """
    budget = {"tokens": options.budget_tokens, "seconds": options.budget_seconds, "rounds": options.rounds}
    if options.budget_tokens is None and options.budget_seconds is None:
        return TrainingData(batches, epoch_aware, epochs=options.epochs)
    if None not in (options.budget_tokens, options.budget_seconds):
        raise ValueError("`budget_tokens` and `budget_seconds` exclude each other. Leave one out.")
    if options.data_service:
        raise ValueError("`data_service` serves whole epochs. Leave it out, or leave out the budget.")
    return TrainingData(batches, epoch_aware, **budget)


def learning_rate(options: Options, amount: TrainingData) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate schedule of the options for the amount of training.

    On very little data the warm-up is cut to a quarter of all updates, and a note is printed. With a budget of seconds,
    the schedule follows the time, and its warm-up takes the first twentieth.
    """
    if amount.updates is None:
        return schedules.Progress(_schedule(options, _WARMUP, _STEPS), _STEPS)
    total = max(2, amount.updates)
    warmup = max(1, min(options.warmup_steps, total // 4))
    if warmup < options.warmup_steps:
        print(f"Warm-up: {warmup:,} updates, a quarter of all {total:,}, in place of {options.warmup_steps:,}.")
    return _schedule(options, warmup, total)


def _schedule(options: Options, warmup: int, total: int) -> keras.optimizers.schedules.LearningRateSchedule:
    peak = options.learning_rate
    if options.schedule == "linear":
        return schedules.LinearDecay(peak, warmup, total)
    if options.schedule == "inverse_square_root":
        return schedules.InverseSquareRoot(peak, warmup)
    rising = {"initial_learning_rate": peak / warmup, "warmup_target": peak, "warmup_steps": warmup}
    return keras.optimizers.schedules.CosineDecay(decay_steps=total - warmup, **rising)
