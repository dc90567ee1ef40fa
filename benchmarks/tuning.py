"""Searches for better options of recipes.sentiment: keras_seq, KerasTuner and Optuna, at equal numbers of tokens.

    nice .venv/bin/python -m benchmarks.tuning --data-dir DIR      # 15 searches, hours; resumes after a kill
    nice .venv/bin/python -m benchmarks.tuning --total-tokens 1e5 --trial-tokens 2e4 --seeds 1 --out DIR    # minutes

All search the space of the recipe, train each trial by the code of the recipe, and begin a trial as long as fewer than
`--total-tokens` are used. Each search runs in a process of its own, on one thread. --out gets `results.jsonl`, a line
for each search with all of its trials.

- keras_seq: `tuning.Tuner` with the oracle "bayesian" and the median rule.
- KerasTuner: `BayesianOptimization` with its defaults. A trial is an epoch, or `--trial-tokens`, in one round.
- Optuna: `TPESampler` and `MedianPruner` with their defaults. The tokens of pruned trials go to further trials.

The score of a trial is the validation accuracy at its end, and that of a search is the best one of its trials. The best
of several noisy scores is optimistic, so the values that each search recommends are also trained with two other seeds.
"""

import collections
import concurrent.futures
import dataclasses
import gc
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from keras_seq import cli
from keras_seq.cli import option
from keras_seq.distribution.processes import die_with
from keras_seq.lazy import data, experiment, keras, text, training, tuning
from recipes import sentiment

TITLES = {"keras_seq": "keras_seq", "keras_tuner": "KerasTuner", "optuna": "Optuna"}
SCORE = "val_accuracy"
ENVIRONMENT = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Compares the searches of keras_seq, KerasTuner and Optuna at equal numbers of tokens."""

    data_dir: pathlib.Path | None = option(
        None, "folder of labeled sentences, as for recipes.sentiment; none: those of Pang and Lee, fetched once"
    )
    out: pathlib.Path = option(pathlib.Path("runs/tuning-benchmark"), "folder of the results")
    total_tokens: float = option(2e6, "tokens of a search, after which no trial begins")
    trial_tokens: float | None = option(None, "tokens of a trial (default: those of an epoch)")
    rounds: int = option(5, "validations of a trial, after each of which it may be stopped (KerasTuner: one)")
    seeds: int = option(5, "number of searches of each program")
    searches: tuple[str, ...] = option(tuple(TITLES), "programs", choices=tuple(TITLES))
    jobs: int = option(1, "number of searches that run at the same time")
    only: str | None = option(None, "the search that this process runs, such as optuna-3; none: all, as processes")


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial of a search: its values, its validation accuracy after each round, and the tokens it was trained on."""

    values: dict[str, Any]
    scores: tuple[float, ...]
    tokens: int

    @property
    def score(self) -> float:
        return self.scores[-1] if self.scores else -math.inf


class Trainer:
    """Trains trials by the code of the recipe, all of a search with the same seed."""

    def __init__(self, options: Options, seed: int, folder: pathlib.Path):
        data_dir = options.data_dir
        recipe_options = sentiment.Options(data_dir=data_dir, download=data_dir is None, seed=seed, run=folder)
        self.hypermodel = experiment.RecipeHyperModel(sentiment, recipe_options)
        self.rounds, self.seed, self.folder = options.rounds, seed, folder
        self.tokens = options.trial_tokens or tokens_of_an_epoch(sentiment.with_defaults(recipe_options))

    def train(self, values: dict[str, Any], *, rounds: int | None = None, callbacks: Sequence[Any] = ()) -> Trial:
        """Trains with these values. An exception of a callback ends the training, and leaves through this function."""
        keras.backend.clear_session()
        gc.collect()
        keras.utils.set_random_seed(self.seed)
        hp = self.hypermodel.space.hyperparameters()
        hp.values = dict(values)
        budget, run = tuning.Budget(self.tokens, rounds=rounds or self.rounds), self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        self.hypermodel.train(hp, run, budget, self.hypermodel.objective, callbacks)
        return self.last(values)

    def last(self, values: dict[str, Any]) -> Trial:
        """The latest trial, as far as it has been trained."""
        rows = training.read_history(self.folder / "run" / "history.csv")
        tokens = int(rows[-1]["trained_tokens"]) if rows else 0
        return Trial(dict(values), tuple(row[SCORE] for row in rows), tokens)


def tokens_of_an_epoch(options: Any) -> int:
    train = sentiment.read(options)["train"]
    vocabulary = text.Words.train(train.texts, options.vocabulary_size)
    lengths = data.lengths(train.dataset().apply(vocabulary.encoded()))
    return int(lengths[lengths < options.max_length].sum())


# The searches. Each returns its trials, and the values that it recommends.


def search_keras_seq(trainer: Trainer, total_tokens: float) -> tuple[list[Trial], dict[str, Any]]:
    tuner = tuning.Tuner(
        trainer.hypermodel,
        directory=trainer.folder / "search",
        space=trainer.hypermodel.space,
        oracle="bayesian",
        trials=None,
        tokens=trainer.tokens,
        rounds=trainer.rounds,
        total_tokens=total_tokens,
        seed=trainer.seed,
    )
    found = tuner.search()
    return [Trial(t.values, tuple(each.score for each in t.rounds), t.tokens) for t in found], tuner.best().values


def search_keras_tuner(trainer: Trainer, total_tokens: float) -> tuple[list[Trial], dict[str, Any]]:
    import keras_tuner

    trials = []

    class Tuner(keras_tuner.BayesianOptimization):
        def run_trial(self, trial, *args, **kwargs):
            trials.append(trainer.train(trial.hyperparameters.values, rounds=1))
            return {SCORE: trials[-1].score}

    tuner = Tuner(
        objective=keras_tuner.Objective(SCORE, "max"),
        max_trials=math.ceil(total_tokens / trainer.tokens),
        hyperparameters=trainer.hypermodel.space.hyperparameters(),
        tune_new_entries=False,
        seed=trainer.seed,
        directory=trainer.folder,
        project_name="search",
    )
    tuner.search()
    return trials, tuner.get_best_hyperparameters()[0].values


def search_optuna(trainer: Trainer, total_tokens: float) -> tuple[list[Trial], dict[str, Any]]:
    import optuna

    class Report(keras.callbacks.Callback):
        def __init__(self, trial):
            super().__init__()
            self._trial = trial

        def on_epoch_end(self, epoch, logs=None):
            self._trial.report(logs[SCORE], epoch)
            if epoch + 1 < trainer.rounds and self._trial.should_prune():
                raise optuna.TrialPruned

    trials = []

    def objective(trial):
        values = suggested(trial, trainer.hypermodel.space)
        try:
            trained = trainer.train(values, callbacks=[Report(trial)])
        finally:
            trials.append(trainer.last(values))
        return trained.score

    def end(study, trial):
        if sum(each.tokens for each in trials) >= total_tokens:
            study.stop()

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=trainer.seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    study.optimize(objective, callbacks=[end])
    return trials, study.best_params


def suggested(trial: Any, space: Any) -> dict[str, Any]:
    """Optuna's values for the parameters of the space that exist with them."""
    values = {}
    for each in space:
        if any(values.get(parent) not in allowed for parent, allowed in each.when.items()):
            continue
        if each.kind in ("choice", "fixed"):
            values[each.name] = trial.suggest_categorical(each.name, list(each.values))
        else:
            suggest = trial.suggest_int if each.kind == "int" else trial.suggest_float
            step = {} if each.step is None else {"step": each.step}
            values[each.name] = suggest(each.name, each.low, each.high, log=each.log, **step)
    return values


SEARCHES = {"keras_seq": search_keras_seq, "keras_tuner": search_keras_tuner, "optuna": search_optuna}


# The processes.


def run_search(options: Options) -> None:
    """Runs the search `options.only` in this process, and writes `result.json` into its folder."""
    program, _, seed = options.only.rpartition("-")
    folder = options.out / options.only
    begun = time.perf_counter()
    trainer = Trainer(options, int(seed), folder)
    trials, values = SEARCHES[program](trainer, options.total_tokens)
    again = []
    for other in (1_000 + int(seed), 2_000 + int(seed)):
        again.append(Trainer(options, other, folder).train(values).score)
    result = settings(options, program, int(seed)) | {
        "score": max(each.score for each in trials),
        "best_round": max(max(each.scores, default=-math.inf) for each in trials),
        "retrained": again,
        "values": values,
        "tokens": sum(each.tokens for each in trials),
        "tokens_per_trial": trainer.tokens,
        "seconds": round(time.perf_counter() - begun, 1),
        "trials": [dataclasses.asdict(each) for each in trials],
    }
    training.write_json(folder / "result.json", result)


def settings(options: Options, program: str, seed: int) -> dict[str, Any]:
    """The values that identify the result of a search."""
    names = ("total_tokens", "trial_tokens", "rounds")
    return {"program": program, "seed": seed} | {name: getattr(options, name) for name in names}


def search_in_process(options: Options, name: str) -> dict[str, Any]:
    """Runs a search in a process of its own, and returns its result.

    Raises:
        RuntimeError: if the process fails.
    """
    folder = options.out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given = {"out": options.out, "total-tokens": options.total_tokens, "rounds": options.rounds, "only": name}
    given |= {"data-dir": options.data_dir, "trial-tokens": options.trial_tokens}
    flags = [f"--{flag}={value}" for flag, value in given.items() if value is not None]
    log = folder / "log.txt"
    with open(log, "w") as file:
        code = subprocess.run(
            [sys.executable, "-m", "benchmarks.tuning", *flags],
            stdout=file,
            stderr=file,
            env={**os.environ, **ENVIRONMENT},
            preexec_fn=die_with(os.getpid()),
        ).returncode
    if code:
        raise RuntimeError(f"The search {name} has ended with status {code}: {log}")
    result = json.loads((folder / "result.json").read_text())
    for run in folder.glob("**/run"):  # checkpoints of the trials, some hundred megabytes
        shutil.rmtree(run)
    return result


def read_results(path: pathlib.Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]  # a kill may have cut the last one


def is_result_of(result: dict[str, Any], options: Options, program: str, seed: int) -> bool:
    return all(result.get(name) == value for name, value in settings(options, program, seed).items())


def main(options: Options) -> None:
    if options.only:
        run_search(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    path, results = options.out / "results.jsonl", []
    known = read_results(path)
    if options.data_dir is None:
        data.fetch("rt_polarity")  # once, not in each process
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        waiting = []
        for seed in range(1, options.seeds + 1):
            for program in options.searches:
                before = [each for each in known if is_result_of(each, options, program, seed)]
                results += before[-1:]
                if not before:
                    waiting.append(pool.submit(search_in_process, options, f"{program}-{seed}"))
        try:
            for done in concurrent.futures.as_completed(waiting):
                result = done.result()
                results.append(result)
                with open(path, "a") as file:
                    file.write(json.dumps(result) + "\n")
                print(progress(result), file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    print("\n".join(report(results)))


# The tables.


def progress(result: dict[str, Any]) -> str:
    again = ", ".join(f"{score:.4f}" for score in result["retrained"])
    return (
        f"{result['program']}-{result['seed']}: {result['score']:.4f}, with other seeds {again}; "
        f"{len(result['trials'])} trials, {result['tokens']:,} tokens, {result['seconds']:,.0f} s"
    )


def spread(scores: Sequence[float]) -> str:
    """Four cells: mean, standard deviation, smallest and largest."""
    deviation = f"{statistics.stdev(scores):.4f}" if len(scores) > 1 else "-"
    return f"{statistics.mean(scores):.4f} | {deviation} | {min(scores):.4f} | {max(scores):.4f}"


def report(results: Iterable[dict[str, Any]]) -> list[str]:
    """Two tables in Markdown: the scores of each program, and those of each search."""
    by_program = collections.defaultdict(list)
    for result in sorted(results, key=lambda each: (list(TITLES).index(each["program"]), each["seed"])):
        by_program[result["program"]].append(result)
    columns = ["best accuracy, mean", "sd", "min", "max", "with other seeds, mean", "sd", "min", "max"]
    columns += ["trials", "ended early", "tokens"]
    lines = [f"| search | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for program, found in by_program.items():
        again = [statistics.mean(each["retrained"]) for each in found]
        full = [each["tokens_per_trial"] for each in found]
        early = [
            sum(trial["tokens"] < tokens for trial in each["trials"]) for each, tokens in zip(found, full, strict=True)
        ]
        counts = [statistics.mean(len(each["trials"]) for each in found), statistics.mean(early)]
        tokens = statistics.mean(each["tokens"] for each in found)
        lines.append(
            f"| {TITLES[program]} | {spread([each['score'] for each in found])} | {spread(again)} | "
            f"{counts[0]:.1f} | {counts[1]:.1f} | {tokens:,.0f} |"
        )
    seeds = sorted({each["seed"] for found in by_program.values() for each in found})
    lines += ["", f"| search | {' | '.join(f'seed {seed}' for seed in seeds)} |", "| --- |" + " --- |" * len(seeds)]
    for program, found in by_program.items():
        cells = {each["seed"]: f"{each['score']:.4f}; {statistics.mean(each['retrained']):.4f}" for each in found}
        lines.append(f"| {TITLES[program]} | {' | '.join(cells.get(seed, '-') for seed in seeds)} |")
    return lines


if __name__ == "__main__":
    cli.run(main, Options)
