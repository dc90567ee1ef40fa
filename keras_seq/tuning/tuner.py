"""Searches with KerasTuner: trials at equal tokens or seconds, which an interruption does not lose."""

import contextlib
import dataclasses
import gc
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import keras_tuner

from keras_seq import training
from keras_seq.tuning import report
from keras_seq.tuning.hypermodels import Budget, HyperModel, own_values, train_trial
from keras_seq.tuning.oracles import OracleName, make_oracle
from keras_seq.tuning.records import FILE, TrialRecord, best_of, read_trial, read_trials
from keras_seq.tuning.space import Space
from keras_seq.tuning.stopping import MedianRule
from keras_seq.tuning.trial_watch import Diverged, SearchError, TrialWatch
from keras_seq.tuning.workers import Workers

MAY_CHANGE = ("trials", "total_tokens")  # a search may be continued with more of them
_MIN = ("loss", "perplexity", "error", "mse", "mae", "nll", "rate")  # ends of names whose smallest value is best
_MOST_ERRORS, _MOST_INVALID = 3, 10  # so many of the first trials may have no score, before a search gives up


class Tuner(keras_tuner.Tuner):
    """A tuner of KerasTuner that gives each trial an equal budget, and survives interruptions.

        space = tuning.Space().choice("units", [64, 128]).float("learning_rate", 1e-4, 1e-2, log=True)
        tuner = tuning.Tuner(
            Sentiment(), "val_accuracy", directory="runs/search", space=space, trials=20, tokens=200_000
        )
        tuner.search()
        tuner.best().values

    After a kill at any moment the same program continues the search: no finished trial is repeated, and the one that
    ran resumes from its last checkpoint. The folder has `trial_0007/trial.json` and the run folder `trial_0007/run` of
    each trial, `best.json`, `oracle.json`, `plots/` and event files for TensorBoard's HParams.

    A trial whose loss is not finite has failed. A trial whose model cannot be built is invalid: it is left out, and
    another one takes its place. The oracle gets both as the worst trials.

    Args:
        hypermodel: a `HyperModel`, or one of KerasTuner (or a function from `hp` to a compiled model). For the latter,
            `search` takes the training batches, `validation_data` and, optionally, `epoch_aware`.
        objective: name of a score in the logs, or `keras_tuner.Objective`. Its direction follows from its name: the
            smallest loss, error or perplexity is best, and the largest of other scores. By default, that of the
            hypermodel.
        directory: folder of the search.
        space: search space. None: the parameters that `build` declares.
        oracle: "bayesian", "random", "hyperband" or "grid": KerasTuner's, with the proposals of "bayesian" by
            `proposals.propose`.
        trials: number of trials. None: as many as Hyperband's brackets or the grid have.
        tokens, seconds, rounds: budget of each trial, see `Budget`. Hyperband's trials use up to all of it.
        total_tokens: tokens of all trials together, after which no trial begins.
        stopping: rule that stops trials early, or None. Hyperband stops trials by itself.
        seed: random seed of the oracle and of each trial.
        overwrite: whether to start over. The trials in the folder are removed.
    Raises:
        ValueError: for a wrong argument, an empty space, or a folder with another search. Nothing is written then.
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model],
        objective: str | keras_tuner.Objective | None = None,
        *,
        directory: str | os.PathLike,
        space: Space | None = None,
        oracle: OracleName = "bayesian",
        trials: int | None = 20,
        tokens: float | None = None,
        seconds: float | None = None,
        rounds: int = 10,
        total_tokens: float | None = None,
        stopping: MedianRule | None = MedianRule(),  # noqa: B008  frozen
        seed: int = 1,
        overwrite: bool = False,
    ):
        self.budget = Budget(tokens, seconds, rounds)
        self.trial_objective = find_objective(objective or getattr(hypermodel, "objective", None))
        self.stopping = None if oracle == "hyperband" else stopping
        self.seed = seed
        self._screen = sys.stdout  # the output of a trial goes into its log
        self._errors: list[str] | None = []  # "failed" or "invalid" for each of the first trials, until one is neither
        self.directory = pathlib.Path(directory)
        if trials is not None and trials < 1:
            raise ValueError(f"`trials` must be at least 1. Received: {trials}")
        if space is not None and not len(space):
            raise ValueError("The search space is empty. Add a parameter: `space.choice(...)`")
        arguments = {"trials": trials, "tokens": total_tokens, "seed": seed, "rounds": rounds}
        hyperparameters = None if space is None else space.hyperparameters()
        made = make_oracle(oracle, self.trial_objective, space=hyperparameters, **arguments)
        identity = {
            "objective": f"{self.trial_objective.direction} {self.trial_objective.name}",
            "oracle": oracle,
            "budget": dataclasses.asdict(self.budget),
            "space": None if space is None else space.to_json(),
            "stopping": None if self.stopping is None else dataclasses.asdict(self.stopping),
            "seed": seed,
            "trials": trials,
            "total_tokens": total_tokens,
        } | (hypermodel.identity() if isinstance(hypermodel, HyperModel) else {})
        if not self._is_worker():
            self._open(identity, overwrite)
        super().__init__(made, hypermodel, directory=self.directory.parent, project_name=self.directory.name)
        self.directory = pathlib.Path(directory)
        if not self.oracle.get_space().space:
            raise ValueError("The search space is empty: the hypermodel declares no parameter.")
        if not self._is_worker():
            self.oracle.reload()
            self.save()

    def _open(self, identity: dict[str, Any], overwrite: bool) -> None:
        """Checks that the folder has this search or none, and writes `search.json`."""
        path = self.directory / "search.json"
        if overwrite and path.exists():
            shutil.rmtree(self.directory)
        if self.directory.exists() and not self.directory.is_dir():
            raise ValueError(f"A search needs a folder, but {self.directory} is a file.")
        present = sorted(each.name for each in self.directory.iterdir()) if self.directory.exists() else []
        if present and not path.exists():
            raise ValueError(
                f"The folder {self.directory} is not empty and has no search in it (it has {', '.join(present[:3])}). "
                "Name another folder."
            )
        before = training.read_config(path)
        if before and (differences := training.config_differences(before, identity, MAY_CHANGE)):
            raise ValueError(
                f"The folder {self.directory} holds another search: {differences}. Name another folder, or start over "
                "in it (`overwrite=True`)."
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        training.write_json(path, identity)

    # The state of the search is that of the oracle.

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()

    def search(self, *fit_args: Any, workers: int = 1, **fit_kwargs: Any) -> list[TrialRecord]:
        """Runs the trials that are left, and writes `best.json`, plots and event files.

        Args:
            fit_args, fit_kwargs: for a hypermodel of KerasTuner: the training batches of an epoch, `validation_data`,
                `epoch_aware`, and further arguments of its `fit`.
            workers: number of processes on this machine that share the search. Each runs this program again, as a
                worker of KerasTuner, and this process is their chief. A worker that dies gives its trial to the next.
        Returns:
            All trials.
        Raises:
            SearchError: if no round logs the objective, the first trials all fail, or all workers die.
        """
        if workers < 1:
            raise ValueError(f"`workers` must be at least 1. Received: {workers}")
        if self._is_worker():
            super().search(*fit_args, **fit_kwargs)
            return self.trials()
        begun = {trial.trial for trial in self.trials() if trial.status != "running"}
        if begun:
            print(f"{self.directory}: {len(begun)} finished trials, the search continues.")
        if workers > 1:
            with Workers(workers, self.directory) as processes:
                self._lead(processes)
        super().search(*fit_args, **fit_kwargs)  # after workers, only the trial of one that died last is left
        self._finish()
        return self.trials()

    def _lead(self, processes: Workers) -> None:
        """Serves the workers as KerasTuner's chief, until they have ended."""
        shown = {trial.trial for trial in self.trials() if trial.status != "running"}
        server = processes.serve(super().search)
        while processes.running() and server.is_alive():  # it ends when all workers have got the end of the search
            time.sleep(0.2)
            for name, how in processes.died():
                trial = self.oracle.release(name)
                given = "" if trial is None else f" Its trial {trial} is given to the next worker."
                print(f"Worker {name} died: {how}.{given} Its output: {processes.log(name)}", file=sys.stderr)
            self._show_ended(shown)
        self._show_ended(shown)
        if server.is_alive() and processes.all_died():
            raise SearchError(f"All workers died. Their output: {processes.log('worker-*')}")

    def _show_ended(self, shown: set[str]) -> None:
        """Shows the trials that have ended and are not among the shown, and adds them."""
        for trial in self.trials():
            if trial.status != "running" and trial.trial not in shown:
                shown.add(trial.trial)
                self._show(trial)

    def trials(self) -> list[TrialRecord]:
        """The records of all trials, in the order in which they were made."""
        return read_trials(self.directory)

    def best(self) -> TrialRecord | None:
        """The trial with the best score, or None."""
        return best_of(self.trials(), self.trial_objective.direction)

    def load_model(self, trial: Any) -> keras.Model:
        """The model of a trial, such as `best()`, with the weights of its best round."""
        number = trial.trial if isinstance(trial, TrialRecord) else trial.trial_id
        return keras.models.load_model(self._folder(number) / "run" / "best.keras")

    def _finish(self) -> None:
        trials, mode, name = self.trials(), self.trial_objective.direction, self.trial_objective.name
        best = best_of(trials, mode)
        print("\n" + "\n".join(report.table(trials, mode, name)))
        if best is None:
            reasons = "; ".join(dict.fromkeys(trial.reason for trial in trials if trial.reason))
            raise SearchError(f"No trial has a score: {reasons}")
        own = isinstance(self.hypermodel, HyperModel)
        config = self.hypermodel.config(best.values, self.budget) if own else best.values
        training.write_json(self.directory / "best.json", config)
        report.draw(trials, self.directory, mode=mode, objective=name)
        print(f"Best: trial {best.trial}, {name} {best.score:.4g}. Its values: {self.directory / 'best.json'}")

    # One trial.

    def _populate_initial_space(self) -> None:
        if not self.oracle.get_space().space:  # no space was given: `build` declares it
            super()._populate_initial_space()

    def pre_create_trial(self) -> None:
        """KerasTuner asks an oracle that waits for other workers again and again."""
        now = time.monotonic()
        if now - getattr(self, "_asked", 0.0) < 0.5:
            time.sleep(0.5)
        self._asked = now

    def _try_run_and_update_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> None:
        record = self.run_trial(trial, *fit_args, **fit_kwargs)
        if record.has_score:
            scores = [each.score for each in record.rounds]
            metrics = {self.trial_objective.name: record.score}
            self.oracle.update_trial(trial.trial_id, metrics, step=scores.index(record.score) + 1)
            trial.status = "COMPLETED"
        else:
            trial.status, trial.message = record.status.upper(), record.reason
        if not self._is_worker():
            self._show(record)

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        errors = self._errors or []
        if errors.count("failed") >= _MOST_ERRORS or len(errors) >= _MOST_INVALID:
            raise SearchError(f"The first {len(errors)} trials all have an error. The last one: {trial.message}")

    def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> TrialRecord:
        """Runs a trial, or resumes it, and returns its record, also if it failed."""
        hp, folder = trial.hyperparameters, self._folder(trial.trial_id)
        if (folder / FILE).exists() and (record := read_trial(folder / FILE)).status != "running":
            return record  # it had ended when the search was interrupted
        rounds = hp.values.get("tuner/epochs", self.budget.rounds)  # those of a bracket of Hyperband, or all
        watch = TrialWatch(self, self._begin(trial, folder), folder / "run", rounds)
        keras.backend.clear_session()
        gc.collect()
        keras.utils.set_random_seed(self.seed)
        status, reason = "completed", ""
        try:
            with _output_to(folder / "log.txt"):
                self._train(hp, folder / "run", [watch], *fit_args, **fit_kwargs)
            if watch.reason:
                status, reason = "stopped", watch.reason
        except SearchError:
            raise
        except (Diverged, training.NotFiniteError) as error:
            status, reason = "failed", _in_one_line(error)
            self._errors = None
        except ValueError as error:
            status, reason = ("failed" if watch.trained else "invalid"), _in_one_line(error)
        except Exception as error:  # one trial must not end the search: memory, a bug for some value
            status, reason = "failed", f"{type(error).__name__}: {_in_one_line(error)}"
        if self._errors is not None:
            self._errors = None if status in ("completed", "stopped") else [*self._errors, status]
        record = watch.record(status, reason)
        record.write(folder)
        return record

    def _begin(self, trial: Any, folder: pathlib.Path) -> TrialRecord:
        """The record of a trial that begins. A trial that Hyperband continues gets a copy of the run of the other."""
        values = trial.hyperparameters.values
        run, other = folder / "run", values.get("tuner/trial_id")
        if other is not None and not run.exists():
            copy = folder / ".copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self._folder(other) / "run", copy)
            copy.rename(run)
        own = own_values(trial.hyperparameters)
        record = TrialRecord(trial.trial_id, "running", own, seed=self.seed, worker=self.tuner_id)
        record.write(folder)
        return record

    def _train(self, hp: Any, run: pathlib.Path, callbacks: Sequence[Any], *fit_args: Any, **fit_kwargs: Any) -> None:
        common = (hp, run, self.budget, self.trial_objective, callbacks)
        if isinstance(self.hypermodel, HyperModel):
            self.hypermodel.train(*common)
            return
        if len(fit_args) != 1:
            raise SearchError("`search` needs the training batches: a tf.data.Dataset of an epoch.")
        batches = (fit_args[0], fit_kwargs.pop("validation_data", None), fit_kwargs.pop("epoch_aware", ()))
        train_trial(self.hypermodel, *common, batches, **fit_kwargs)

    def _folder(self, trial_id: str) -> pathlib.Path:
        return self.directory / f"trial_{trial_id}"

    def _show(self, trial: TrialRecord) -> None:
        best, start = self.best(), "\r\x1b[K" if self._screen.isatty() else ""  # in place of the line of its rounds
        line = report.line(trial, is_best=best is not None and best.trial == trial.trial)
        print(f"{start}{line}", file=self._screen, flush=True)

    def show_round(self, trial: TrialRecord) -> None:
        """Shows the last round of a trial that runs, on a terminal. `log.txt` has a line for each round."""
        if self._screen.isatty() and trial.rounds:
            last = trial.rounds[-1]
            text = f"  {trial.trial}  round {last.number} of {self.budget.rounds}  {last.score:.4f}"
            print(f"\r\x1b[K{text}", end="", file=self._screen, flush=True)


def find_objective(objective: str | keras_tuner.Objective | None) -> keras_tuner.Objective:
    """The objective of that name, whose direction follows from the name.

    Raises:
        ValueError: for None.
    """
    if objective is None:
        raise ValueError("`objective` is needed: the name of a score in the logs, such as val_loss.")
    if isinstance(objective, str):
        return keras_tuner.Objective(objective, "min" if objective.lower().endswith(_MIN) else "max")
    return objective


@contextlib.contextmanager
def _output_to(path: pathlib.Path) -> Iterator[None]:
    """Writes the output of Python within it to the end of a file."""
    with open(path, "a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        yield


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
