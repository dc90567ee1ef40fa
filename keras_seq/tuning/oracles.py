"""KerasTuner's oracles, with a state that survives a kill at any moment, and with trials that fail or are invalid."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

import keras_tuner
import numpy as np
from keras_tuner.oracles import BayesianOptimizationOracle, GridSearchOracle, HyperbandOracle, RandomSearchOracle

from keras_seq.training import atomic_write
from keras_seq.tuning.records import read_trials

OracleName = Literal["bayesian", "random", "hyperband", "grid"]
FILE = "oracle.json"
FAILED, INVALID, COMPLETED = "FAILED", "INVALID", "COMPLETED"
_SEED_0 = 2**31 - 1  # in place of the seed 0, for which KerasTuner draws one
_INVALID_PER_TRIAL = 10  # so many invalid trials may a search have for each valid one


class WholeState:
    """Makes an oracle of KerasTuner safe to kill, and gives trials that failed the worst score.

    KerasTuner writes the state of a search into one file for each trial and one for the oracle, in place: a kill
    between two writes, or within one, loses trials or runs them twice. Here each change of the state is one atomic
    write of `oracle.json`, with the trials in it.

    A trial that failed has no score in KerasTuner, so that its oracles propose the like again, and a bracket of
    Hyperband with such a trial is never completed. Here it has the worst score of all trials while the oracle thinks.
    A trial that is invalid, since no model can have its values, does not count as one of `trials`.

    The first trial has the default values. Bayesian proposals depend on the seed and the trials alone, so a search that
    was interrupted continues as it would have.
    """

    def __init__(self, *, trials: int | None, tokens: float | None = None, **arguments: Any):
        # KerasTuner would stop at three failures in a row, in the middle of a write.
        super().__init__(max_consecutive_failed_trials=10**9, **arguments)
        self.max_trials = None  # it would count invalid trials
        self.trials_wanted, self.tokens_wanted = trials, tokens
        self._depth, self._changed = 0, False
        self.verbose = 0

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        valid = sum(trial.status != INVALID for trial in self.trials.values())
        invalid = len(self.trials) - valid
        if self.trials_wanted is not None and (
            valid >= self.trials_wanted or invalid >= _INVALID_PER_TRIAL * self.trials_wanted
        ):
            return {"status": "STOPPED", "values": None}
        if self.tokens_wanted is not None and self._tokens() >= self.tokens_wanted:
            return {"status": "STOPPED", "values": None}
        with self._failed_as_worst():
            return self._propose(trial_id)

    def _propose(self, trial_id: str) -> dict[str, Any]:
        return super().populate_space(trial_id)

    def _tokens(self) -> int:
        """The tokens of all trials."""
        return sum(trial.tokens for trial in read_trials(self._project_dir))

    def _random_values(self) -> dict[str, Any] | None:
        if self.trials:
            return super()._random_values()
        space = self.get_space()
        space.values = {}
        for hp in space.space:  # parents come first
            if space.is_active(hp):
                space.values[hp.name] = hp.default
        return space.values

    @contextlib.contextmanager
    def _failed_as_worst(self) -> Iterator[None]:
        """Within it, trials that failed or are invalid are completed, with the worst score of all."""
        scores = [trial.score for trial in self.trials.values() if trial.status == COMPLETED]
        failed = [trial for trial in self.trials.values() if trial.status in (FAILED, INVALID)]
        status = {trial.trial_id: trial.status for trial in failed}
        worst = min if self.objective.direction == "max" else max
        for trial in failed:
            trial.status, trial.score = COMPLETED, worst(scores, default=0.0)
        try:
            yield
        finally:
            for trial in failed:
                trial.status, trial.score = status[trial.trial_id], None

    def _retry(self, trial: Any) -> bool:
        return False  # the tuner decides, and an invalid trial stays invalid

    @keras_tuner.synchronized
    def release(self, tuner_id: str) -> str | None:
        """Takes the trial of a worker that died, for the next worker that asks. Returns the name of the trial."""
        with self._one_write():
            self.tuner_ids.discard(tuner_id)
            trial = self.ongoing_trials.pop(tuner_id, None)
            if trial is not None:
                self._retry_queue.append(trial.trial_id)
            self.save()
        return None if trial is None else trial.trial_id

    # Each change is one write.

    @contextlib.contextmanager
    def _one_write(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth and self._changed:
            self._write()

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        with self._one_write():
            return super().create_trial(tuner_id)

    @keras_tuner.synchronized
    def end_trial(self, trial: Any) -> None:
        with self._one_write():
            super().end_trial(trial)

    @keras_tuner.synchronized
    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
        with self._one_write():
            return super().update_trial(trial_id, metrics, step)

    def save(self) -> None:
        self._changed = True
        if not self._depth:
            self._write()

    def _save_trial(self, trial: Any) -> None:
        self._changed = True

    def _write(self) -> None:
        # As in `create_trial`, which pops the ongoing trial after the last `save`.
        state = self.get_state() | {"trials": {name: trial.get_state() for name, trial in self.trials.items()}}
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps(state) + "\n", encoding="utf-8")
        self._changed = False

    def reload(self) -> None:
        if not self._path.exists():
            return
        try:
            state = json.loads(self._path.read_text(encoding="utf-8"))
            trial = keras_tuner.engine.trial.Trial
            self.trials = {name: trial.from_state(each) for name, each in state.pop("trials").items()}
            self.set_state(state)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self._path} is damaged: {error}. Remove it to start the search over, or name another folder."
            ) from error
        # The trials that were running are given out again, and go on from their checkpoints.
        self._retry_queue += [trial.trial_id for trial in self.ongoing_trials.values()]
        self.ongoing_trials = {}

    @property
    def _path(self) -> pathlib.Path:
        return pathlib.Path(self._project_dir) / FILE


class Random(WholeState, RandomSearchOracle):
    """KerasTuner's random search."""


class Bayesian(WholeState, BayesianOptimizationOracle):
    """Bayesian optimization by a Gaussian process.

    KerasTuner's own takes each score for exact and categories for ordered numbers: after a few trials it repeats the
    best of them with small changes. It also predicts thousands of points one by one, which takes many seconds.
    """

    def _propose(self, trial_id: str) -> dict[str, Any]:
        finished = [trial for trial in self.trials.values() if trial.status == COMPLETED]
        if len(finished) < self.num_initial_points:
            return self._random_populate_space()
        from keras_seq.tuning.proposals import propose  # scikit-learn takes a second to load

        sign = 1 if self.objective.direction == "max" else -1
        values = propose(
            self.get_space(),
            [(trial.hyperparameters.values, sign * trial.score) for trial in finished],
            [trial.hyperparameters.values for trial in self.ongoing_trials.values()],
            # A function of the seed and the trials, since no state of a generator is saved.
            np.random.RandomState([self.seed % 2**32, len(self.trials)]),
            noise=self.alpha,
            unseen=lambda values: not self._duplicate(values),
        )
        return self._random_populate_space() if values is None else {"status": "RUNNING", "values": values}


class Hyperband(WholeState, HyperbandOracle):
    """KerasTuner's Hyperband, whose epochs are the rounds of the budget."""


class Grid(WholeState, GridSearchOracle):
    """KerasTuner's grid search, which begins with the default values. Its place in the grid is saved too."""

    def get_state(self) -> dict[str, Any]:
        order = self.start_order[:1]
        while order and (following := self._ordered_ids.next(order[-1])) is not None:
            order.append(following)
        return super().get_state() | {"order": order, "populate_next": self._populate_next}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._populate_next = state["populate_next"]
        for name in state["order"]:
            self._ordered_ids.insert(name)


def make_oracle(
    name: OracleName,
    objective: keras_tuner.Objective,
    *,
    trials: int | None,
    tokens: float | None,
    seed: int,
    rounds: int,
    space: keras_tuner.HyperParameters | None,
) -> WholeState:
    """The oracle of that name.

    Args:
        name: "bayesian", "random", "hyperband" or "grid".
        objective: the objective.
        trials: number of trials. None: all of Hyperband's brackets, or the whole grid.
        tokens: greatest number of tokens of all trials, after which no trial begins. None: no limit.
        seed: random seed.
        rounds: rounds of a trial, the greatest number of "epochs" of Hyperband.
        space: the search space. None: that of the hypermodel, found when it is built.
    Raises:
        ValueError: for an unknown name, or without a number of trials where one is needed.
    """
    kinds = {"bayesian": Bayesian, "random": Random, "hyperband": Hyperband, "grid": Grid}
    if name not in kinds:
        raise ValueError(f"`oracle` must be one of {', '.join(kinds)}. Received: {name!r}")
    if trials is None and tokens is None and name in ("bayesian", "random"):
        raise ValueError(f'`trials` or `total_tokens` is needed with the oracle "{name}".')
    arguments: dict[str, Any] = {"objective": objective, "seed": seed or _SEED_0}
    if space is not None:
        arguments |= {"hyperparameters": space, "tune_new_entries": False}
    if name == "hyperband":
        arguments |= {"max_epochs": rounds, "factor": 3}
    elif name == "bayesian":
        # KerasTuner draws three trials for each parameter at random: more than most searches have. A process fitted to
        # few trials goes to a corner of the space, and cannot leave it. alpha is the noise of the scores, as a share of
        # their variance.
        arguments |= {"num_initial_points": max(5, (trials or 20) // 2), "alpha": 5e-2}
    return kinds[name](trials=trials, tokens=tokens, **arguments)
