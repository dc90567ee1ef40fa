"""Memory: measures the number of steps over which each architecture can remember its inputs.

    python -m recipes.memory                                          all architectures, copy and addition
    python -m recipes.memory --architectures rnn lstm --lengths 10 20 40 80

Each architecture is trained on each task with all lengths mixed, and tested at each length and at twice the longest.
docs/memory.md explains the results. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time

import numpy as np

from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option, table
from keras_seq.experiment import Result
from keras_seq.lazy import export, keras, losses, metrics, models, optimizers, plots, tasks, text, tf

from .synthetic import copy_and_addition

SOLVED = 0.99  # share of right answers at which a length counts as solved
WHICH = ("tasks", "architectures")  # options that a resumed run may change, to add others


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains each architecture to remember, and reports the longest length that it solves."""

    tasks: tuple[str, ...] = option(copy_and_addition.TASKS, "tasks to learn", choices=copy_and_addition.TASKS)
    architectures: tuple[str, ...] = option(ARCHITECTURES, "architectures to compare", choices=ARCHITECTURES)
    lengths: tuple[int, ...] = option((5, 10, 20, 40), "numbers of steps to remember in training")
    examples: int = option(3_000, "number of training examples of each length")
    test_examples: int = option(500, "number of test examples of each length")

    units: int = option(64, "width of all models")
    num_layers: int = option(2, "number of layers of all models (cells without state in their gates need 2 to count)")
    num_heads: int = option(4, "number of attention heads of the transformer")

    epochs: int = option(10, "greatest number of epochs")
    tokens_per_batch: int = option(2048, "size of a batch in tokens: rows x the longest")
    learning_rate: float = option(5e-3, "peak learning rate")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    check(options)
    run = experiment.run_folder(options, scope, {}, may_change=WHICH)
    shares, best = {}, (-1.0, None)
    for name, architecture in itertools.product(options.tasks, options.architectures):
        started = time.monotonic()
        folder = options.run / f"{name}-{architecture}"
        model_options = dataclasses.replace(options, run=folder, tasks=(name,), architectures=(architecture,))
        keras.utils.set_random_seed(options.seed)  # independent of the models that an interrupted run has finished
        task = trained(model_options, scope)
        if not scope.chief:
            continue
        task.save(folder)
        shares[name, architecture] = tested(model_options, task)
        print(f"{name}, {architecture}: {time.monotonic() - started:.0f} s.")
        if (mean := np.mean(shares[name, architecture])) > best[0]:
            best = (mean, (name, task))
        scope.any_worker(False)  # the other workers have waited since the end of the fit
    if not scope.chief:
        scope.any_worker(False)
        return
    report(options, run, shares)
    name, task = best[1]
    show(name, task, options.lengths[0], options.seed)

    # Export
    export.saved_model(task, options.export, samples=written(name, options.lengths[-1], 20, options.seed))
    print(f"Run folders: in {run.path}. SavedModel of the best one, checked in a fresh process: {options.export}")
    scope.any_worker(False)


def check(options: Options) -> None:
    if not options.lengths or list(options.lengths) != sorted(set(options.lengths)) or min(options.lengths) < 2:
        raise ValueError(f"--lengths must be numbers from 2, each larger than the last. Received: {options.lengths}")
    for name in ("examples", "test_examples"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1. Received: {getattr(options, name)}")


def asked_lengths(options: Options) -> tuple[int, ...]:
    """The lengths of the test: those of training, and twice the longest."""
    return (*options.lengths, 2 * options.lengths[-1])


def drawn(task: str, length: int, count: int, seed: int, part: str) -> copy_and_addition.Examples:
    """Draws examples that depend on these arguments alone."""
    key = [seed, copy_and_addition.TASKS.index(task), length, ("train", "valid", "test").index(part)]
    return copy_and_addition.examples(task, length, count, np.random.default_rng(key))


def dataset(options: Options, task: str, part: str, count: int) -> tf.data.Dataset:
    """Examples of all training lengths, one length after the other: (tokens, answers, mask of the answers)."""
    lengths = [drawn(task, length, count, options.seed, part) for length in options.lengths]
    one_by_one = [tf.data.Dataset.from_tensor_slices(tuple(examples)).map(_of_any_length) for examples in lengths]
    return functools.reduce(lambda before, other: before.concatenate(other), one_by_one)


def _of_any_length(*example):
    return tuple(tf.ensure_shape(part, [None]) for part in example)


def trained(options: Options, scope) -> tasks.Tagging:
    """Trains one architecture on one task."""
    (task,), (architecture,) = options.tasks, options.architectures
    words, answers = copy_and_addition.vocabulary(task), copy_and_addition.ANSWERS[task]

    # Data
    batches, valid = experiment.batches(
        options,
        dataset(options, task, "train", options.examples),
        dataset(options, task, "valid", options.test_examples),
        tokens_per_batch=options.tokens_per_batch,
        max_length=2 * options.lengths[-1] + 2 * copy_and_addition.COPIED,
        shapes=len(options.lengths),
        replicas=scope.replicas,
        axes=("T", "T", "T"),
    )
    run = experiment.run_folder(options, scope, {}, may_change=WHICH)
    if scope.chief:
        words.save(run.vocabulary / "words.words")
        text.save_labels(run.vocabulary / "tags.txt", answers)

    # Model
    with scope:
        model = models.tagger(
            words.size,
            len(answers),
            architecture=architecture,
            units=options.units,
            num_layers=options.num_layers,
            bidirectional=False,  # the state must keep earlier inputs
            num_heads=options.num_heads,
            dropout=0.0,
        )
        model.compile(
            optimizers.Adam(experiment.learning_rate(options, batches), global_clipnorm=1.0),
            losses.TokenCrossentropy(),
            weighted_metrics=[metrics.TokenAccuracy("accuracy")],
            jit_compile=False,
        )

    # Fit
    experiment.fit(options, model, batches, valid, run, scope, monitor="val_accuracy", mode="max")
    return tasks.Tagging(model, words, answers)


def tested(options: Options, task: tasks.Tagging) -> list[float]:
    """The share of right answers at each length, on examples of no other split."""
    (name,), shares = options.tasks, []
    for length in asked_lengths(options):
        examples = drawn(name, length, options.test_examples, options.seed, "test")
        predicted = task([words_of(name, row) for row in examples.tokens])
        right = np.array(predicted) == np.array(copy_and_addition.ANSWERS[name])[examples.answers]
        shares.append(float(np.average(right, weights=examples.asked)))
    return shares


def words_of(task: str, tokens: np.ndarray) -> list[str]:
    return copy_and_addition.written(task, tokens).split()


def written(task: str, length: int, count: int, seed: int) -> list[str]:
    return [copy_and_addition.written(task, row) for row in drawn(task, length, count, seed, "test").tokens]


def report(options: Options, run, reached: dict[tuple[str, str], list[float]]) -> None:
    """Prints and draws the accuracy of each architecture at each length, and writes it into the run folder."""
    lengths = asked_lengths(options)
    for task in options.tasks:
        shares = {architecture: reached[task, architecture] for architecture in options.architectures}
        names = [str(length) for length in lengths]
        names[-1] += " (not trained)"
        rows = [(f"{task}, length", *names, "solved to")]
        for architecture, values in shares.items():
            rows.append((architecture, *(f"{value:.1%}" for value in values), str(solved_to(lengths, values))))
            results = [
                *(Result(f"accuracy, length {n}", value) for n, value in zip(lengths, values, strict=True)),
                Result("longest length solved", solved_to(lengths, values)),
            ]
            experiment.record(options, run, results, task=task, data="generated", architecture=architecture)
        print("\n" + "\n".join(f"  {line}" for line in table(rows)))
        path = run.plots / f"{task}.png"
        plots.shares(list(shares.values()), list(shares), names, path, rows="architecture", columns=f"length, {task}")


def solved_to(lengths: tuple[int, ...], shares: list[float]) -> int:
    """The longest length at which, and below which, all lengths are solved. 0 if the shortest is not."""
    reached = 0
    for length, share in zip(lengths, shares, strict=True):
        if share < SOLVED:
            break
        reached = length
    return reached


def show(name: str, task: tasks.Tagging, length: int, seed: int) -> None:
    """Prints some examples and a model's answers."""
    examples = drawn(name, length, 3, seed, "test")
    predicted = task([words_of(name, row) for row in examples.tokens])
    right = np.array(copy_and_addition.ANSWERS[name])[examples.answers]

    def answers(rows):
        return [" ".join(np.array(row)[asked > 0]) for row, asked in zip(rows, examples.asked, strict=True)]

    shown = [copy_and_addition.written(name, row) for row in examples.tokens]
    experiment.samples({"shown": shown, "right": answers(right), "predicted": answers(predicted)})


if __name__ == "__main__":
    cli.run(main, Options)
