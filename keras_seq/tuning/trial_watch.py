"""Keeps the record of the trial that runs, and ends it: after its rounds, by the median rule, or if it diverges."""

import dataclasses
import math
import pathlib
from typing import TYPE_CHECKING

import keras

from keras_seq import training
from keras_seq.tuning.records import Round, Status, TrialRecord
from keras_seq.tuning.stopping import best_score

if TYPE_CHECKING:
    from keras_seq.tuning.tuner import Tuner


class SearchError(ValueError):
    """An error that concerns the whole search, not one trial."""


class Diverged(Exception):
    """A loss or an objective that is not finite."""


class TrialWatch(keras.callbacks.Callback):
    """Ends a trial that has had its rounds, or that the median rule stops, and keeps its record. Must come last.

    All decisions follow from the run's `history.csv`, so a trial that was interrupted ends as it would have.

    Attributes:
        trained: whether the training has begun.
        reason: why the trial was stopped, or "".
    """

    def __init__(self, tuner: "Tuner", trial: TrialRecord, run: pathlib.Path, rounds: int):
        super().__init__()
        self._tuner, self._trial, self._run, self._rounds = tuner, trial, run, rounds
        self.trained, self.reason = False, ""

    def on_train_begin(self, logs=None):
        self.trained = True
        self._trial = dataclasses.replace(self._trial, parameters=self.model.count_params())
        if self._is_over():
            self.model._initial_epoch = self.params["epochs"]  # as `training.EarlyStopping` does

    def on_epoch_end(self, epoch, logs=None):
        objective = self._tuner.trial_objective.name
        if objective not in logs:
            raise SearchError(f"No round logs the objective `{objective}`. The logs have: {', '.join(sorted(logs))}")
        self.model.stop_training = self._is_over() or self.model.stop_training

    def _is_over(self) -> bool:
        rounds = self._read()
        self.record("running").write(self._run.parent)
        self._tuner.show_round(self._trial)
        mode = self._tuner.trial_objective.direction
        if self._tuner.stopping is not None and rounds and len(rounds) < self._rounds:
            self.reason = self._tuner.stopping.reason(rounds, self._tuner.trials(), mode)
        return bool(self.reason) or len(rounds) >= self._rounds

    def _read(self) -> tuple[Round, ...]:
        """The rounds so far. Raises `Diverged` if the loss or the objective is not finite."""
        name, rows = self._tuner.trial_objective.name, training.read_history(self._run / "history.csv")
        unit = "examples" if rows and "trained_examples" in rows[0] else "tokens"
        rounds = tuple(
            Round(row["epoch"], int(row[f"trained_{unit}"]), row["seconds"], row.get(name, math.nan)) for row in rows
        )
        self._trial = dataclasses.replace(self._trial, rounds=rounds, unit=unit)
        for row in rows:
            for score in ("loss", name):
                if not math.isfinite(row.get(score, 0.0)):
                    raise Diverged(f"{score} is {row[score]} after round {row['epoch']}")
        return rounds

    def record(self, status: Status, reason: str = "") -> TrialRecord:
        """The record of the trial, which has a score unless it failed."""
        rounds, mode = self._trial.rounds, self._tuner.trial_objective.direction
        score = best_score(rounds, mode) if rounds and status not in ("failed", "invalid") else None
        return dataclasses.replace(self._trial, status=status, reason=reason, score=score)
