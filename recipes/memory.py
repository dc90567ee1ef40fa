"""Memory: trains an architecture to remember its inputs, and measures over how many steps it does.

    python -m recipes.memory                                          copy, 5 to 40 steps, a minute
    python -m recipes.memory --task addition --architecture lstm      sums of two digits far apart
    python -m recipes.memory --task adding                            the adding problem, T = 600
    python -m recipes.memory --task copy_memory                       copy memory, T = 1000

`keras-seq compare memory` compares architectures. docs/memory.md explains the tasks and the results. Run the same
command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any, Literal

import numpy as np

from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option
from keras_seq.experiment import Result, preset
from keras_seq.lazy import data, keras, layers, losses, metrics, models, optimizers, plots, tasks, text, tf, tuning

from .synthetic import copy_and_addition, published_memory

SOLVED = 0.99  # share of right answers at which a length counts as solved
METRICS = {"copy": "accuracy", "addition": "accuracy", "adding": "MSE", "copy_memory": "loss"}
LABELS = {"accuracy": "share of right answers", "MSE": "mean squared error", "loss": "loss, nats per step"}
GATED = ("gru", "lstm", "mingru", "minlstm")  # cells whose gates have a bias for chrono initialization
COMPARED = {"budget_tokens": 180_000}  # answers that `keras-seq compare` trains each model on


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains an architecture to remember, and reports its score at each length and at twice the longest."""

    task: Literal["copy", "addition", "adding", "copy_memory"] = option("copy", "task to learn")
    lengths: tuple[int, ...] | None = preset(
        (5, 10, 20, 40), "numbers of steps to remember in training", adding=(600,), copy_memory=(1000,)
    )
    examples: int | None = preset(
        3_000, "number of training examples of each length in an epoch", adding=5_000, copy_memory=2_000
    )
    test_examples: int | None = preset(
        500, "number of validation and of test examples of each length", adding=1_000, copy_memory=1_000
    )

    architecture: Literal[*ARCHITECTURES, "cnn", "feedforward"] = option("gru", "architecture of the model")
    units: int | None = preset(64, "width", adding=128, copy_memory=128)
    num_layers: int | None = preset(
        2, "number of layers (cells without state in their gates need 2 to count)", adding=1, copy_memory=1
    )
    num_heads: int = option(4, "number of attention heads of a transformer")
    chrono_steps: int | None = option(
        None, f"longest memory of the initial gates in steps: chrono initialization of {', '.join(GATED)}"
    )

    epochs: int | None = preset(10, "greatest number of epochs", adding=20, copy_memory=20)
    tokens_per_batch: int | None = preset(
        2048, "size of a batch in steps: rows x the longest", adding=32 * 600, copy_memory=32 * 1020
    )
    learning_rate: float | None = preset(5e-3, "peak learning rate", adding=2e-3, copy_memory=2e-3)
    patience: int | None = preset(
        8, "number of epochs without a better validation score before training ends", adding=100, copy_memory=100
    )


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts)
    task = train(options, parts, run, scope)
    if scope.chief:
        report(options, run, task, parts)
        experiment.finish(options, run, scope, task, samples=inputs_of(options, parts["test"][options.lengths[0]])[:20])


def with_defaults(options: Options) -> Options:
    """The options with the defaults of the task."""
    options = experiment.with_defaults(options, options.task)
    lengths = options.lengths
    if not lengths or list(lengths) != sorted(set(lengths)) or min(lengths) < 2:
        raise ValueError(f"--lengths must be numbers from 2, each larger than the last. Received: {lengths}")
    for name in ("examples", "test_examples"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1. Received: {getattr(options, name)}")
    if options.chrono_steps is not None and options.architecture not in GATED:
        raise ValueError(
            f"--chrono-steps is for --architecture {', '.join(GATED)}. Leave it out. Received: {options.architecture}"
        )
    return options


def read(options: Options) -> dict[str, Any]:
    """The splits: "train", "valid" and "test", and "long" of twice the longest length. Each maps lengths to arrays, but
    the published tasks have an endless "train", `published_memory.Fresh`."""
    task, lengths, count, seed = options.task, options.lengths, options.test_examples, options.seed
    published = task in published_memory.TASKS
    draw = published_memory.drawn if published else drawn
    parts: dict[str, Any] = {part: {n: draw(task, n, count, seed, part) for n in lengths} for part in ("valid", "test")}
    parts["long"] = {2 * lengths[-1]: draw(task, 2 * lengths[-1], count, seed, "test")}
    if published:
        return {"train": published_memory.Fresh(task, lengths, options.examples, seed), **parts}
    return {"train": {n: drawn(task, n, options.examples, seed, "train") for n in lengths}, **parts}


def drawn(task: str, length: int, count: int, seed: int, part: str) -> copy_and_addition.Examples:
    """Draws examples that depend on these arguments alone."""
    key = [seed, copy_and_addition.TASKS.index(task), length, ("train", "valid", "test").index(part)]
    return copy_and_addition.examples(task, length, count, np.random.default_rng(key))


def train(options: Options, parts: dict[str, Any], run, scope, callbacks=()) -> tasks.Tagging | tasks.Tensors:
    """Trains a tagger, whose tags are the answers, or for adding a model of one number."""
    # Data
    batches, valid = (fresh_batches if options.task in published_memory.TASKS else bucketed)(options, parts, scope)
    words, answers = words_and_answers(options.task)
    if scope.chief and words is not None:
        words.save(run.vocabulary / "words.words")
        text.save_labels(run.vocabulary / "tags.txt", answers)

    # Model
    with scope:
        model = adder(options) if words is None else reciter(options, words, answers)
        model.compile(
            optimizers.Adam(experiment.learning_rate(options, batches), global_clipnorm=1.0),
            "mse" if words is None else losses.TokenCrossentropy(),
            weighted_metrics=[] if words is None else [metrics.TokenAccuracy("accuracy")],
            jit_compile=False,  # compiling takes longer than it saves
        )
    experiment.initialize(options, model, run, {})

    # Fit
    name, mode = monitor(options, parts)
    experiment.fit(options, model, batches, valid, run, scope, monitor=name, mode=mode, watching=callbacks)
    return tasks.Tensors(model) if words is None else tasks.Tagging(model, words, answers)


def monitor(options: Options, parts: dict[str, Any]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return ("val_accuracy", "max") if METRICS[options.task] == "accuracy" else ("val_loss", "min")


def search_space() -> tuning.Space:
    """The options that `keras-seq tune memory` searches. The defaults are those of the recipe."""
    return (
        tuning.Space()
        .choice("architecture", ["gru", "lstm", "mingru", "minlstm", "rglru", "transformer"])
        .choice("units", [32, 64, 128])
        .choice("num_layers", [1, 2])
        .choice("num_heads", [2, 4], when={"architecture": "transformer"})
        .float("learning_rate", 5e-4, 2e-2, log=True)
        .choice("tokens_per_batch", [1024, 2048, 4096])
    )


def words_and_answers(task: str) -> tuple[text.Words | None, list[str]]:
    """The words of the inputs and the answers. None for adding, whose inputs and outputs are numbers."""
    if task == "adding":
        return None, []
    if task == "copy_memory":
        return published_memory.vocabulary(), list(published_memory.ANSWERS)
    return copy_and_addition.vocabulary(task), list(copy_and_addition.ANSWERS[task])


def bucketed(options: Options, parts: dict[str, Any], scope):
    """Training and validation batches of copy and addition: ids, answers, and the mask of the answers."""

    def dataset(part):
        lengths = parts[part].values()
        one_by_one = [tf.data.Dataset.from_tensor_slices(tuple(examples)) for examples in lengths]
        return functools.reduce(lambda before, other: before.concatenate(other), one_by_one)

    return experiment.batches(
        options,
        data.InMemory(dataset("train")),
        dataset("valid"),
        tokens_per_batch=options.tokens_per_batch,
        max_length=2 * options.lengths[-1] + 2 * copy_and_addition.COPIED,
        shapes=len(options.lengths),
        replicas=scope.replicas,
        axes=("T", "T", "T"),
    )


def fresh_batches(options: Options, parts: dict[str, Any], scope):
    """Training and validation batches of adding and copy memory."""
    longest = published_memory.steps(options.task, options.lengths[-1])
    rows = max(1, options.tokens_per_batch // longest // scope.replicas) * scope.replicas
    order = parts["train"].batches(rows)
    one_by_one = [tf.data.Dataset.from_tensor_slices(tuple(x)).batch(rows) for x in parts["valid"].values()]
    valid = functools.reduce(lambda before, other: before.concatenate(other), one_by_one)
    return experiment.training_data(options, order.dataset(), [order]), valid


def stack_of(options: Options) -> dict[str, Any]:
    """The arguments of the stack of layers, which reads from left to right: the state must keep earlier inputs."""
    stack = {"architecture": options.architecture, "units": options.units, "num_layers": options.num_layers}
    stack |= {"bidirectional": False, "num_heads": options.num_heads, "dropout": 0.0}
    if options.chrono_steps is not None:
        chrono = layers.chrono_options(options.architecture, options.chrono_steps)
        stack["architecture_options"] = {"cell_options": chrono}
    return stack


def reciter(options: Options, words: text.Words, answers: list[str]) -> keras.Model:
    """A model of ids `(B, T)` that scores the answers at each step."""
    return models.tagger(words.size, len(answers), **stack_of(options), name="reciter")


def adder(options: Options) -> keras.Model:
    """A model of values and marks `(B, T, 2)` that returns one number, `(B, 1)`, after the last step."""
    steps = keras.Input((None, 2), name="steps")
    x, _ = models.building_blocks.encode_sequence(steps, **stack_of(options))
    x = layers.LastPooling(name="last_step")(x)
    return keras.Model(steps, keras.layers.Dense(1, name="sum")(x), name="adder")


def inputs_of(options: Options, examples) -> list:
    """The inputs of the task: steps of adding, else texts."""
    if options.task == "adding":
        return list(examples[0])
    words, _ = words_and_answers(options.task)
    return [" ".join(words.pieces(row)) for row in examples[0]]


def answers_of(options: Options, task: tasks.Tagging, examples) -> np.ndarray:
    """The predicted answers at all steps, strings `(N, T)`."""
    limits = {"batch_tokens": options.tokens_per_batch, "max_source_length": sys.maxsize}
    return np.array([result.tags for result in task.details(inputs_of(options, examples), **limits)])


def scores(options: Options, task, examples) -> np.ndarray:
    """The score of each example, floats `(N,)`: the share of right answers, the squared error, or the mean loss."""
    if options.task == "adding":
        return np.square(np.stack(task(list(examples[0]))) - examples[1])[:, 0]
    if options.task == "copy_memory":
        logits = task.model.predict(examples[0], batch_size=32, verbose=0)
        return keras.ops.convert_to_numpy(losses.token_crossentropy(examples[1], logits)).mean(axis=1)
    right = answers_of(options, task, examples) == np.array(task.tags)[examples.answers]
    return (right * examples.asked).sum(axis=1) / examples.asked.sum(axis=1)


def guessing(task: str, length: int) -> float:
    """The expected score without memory."""
    if task == "copy_memory":
        return published_memory.guessing(length)
    return {"copy": 1 / len(copy_and_addition.SYMBOLS), "addition": 1 / 10, "adding": published_memory.MEAN_ERROR}[task]


def chance(options: Options, parts: dict[str, Any]) -> float:
    """The expected validation score without memory."""
    return float(np.mean([guessing(options.task, length) for length in parts["valid"]]))


def scores_by_length(options: Options, task, parts: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The number of steps to remember, `(N,)`, and the score, `(N,)`, of each validation example, and of examples of
    twice the longest in training."""
    parts = {**parts["valid"], **parts["long"]}
    found = [scores(options, task, examples) for examples in parts.values()]
    return np.repeat(list(parts), [len(each) for each in found]), np.concatenate(found)


def report(options: Options, run, task, parts: dict[str, Any]) -> None:
    """Prints and draws the score at each length, and some outputs, and writes them into the run folder."""
    name, metric, longest = options.task, METRICS[options.task], options.lengths[-1]
    form = {"accuracy": ".1%", "MSE": ".2e", "loss": ".5f"}[metric]
    found, results = {}, []
    for part in ("test", "long"):
        for length, examples in parts[part].items():
            found[length] = float(scores(options, task, examples).mean())
            note = f"guessing: {guessing(name, length):{form}}" + "; not trained" * (part == "long")
            of_length = metric if name in published_memory.TASKS and length == longest else f"{metric}, length {length}"
            results.append(Result(of_length, found[length], form, note, part))
    columns = outputs(options, task, parts["test"][longest])
    if metric == "accuracy":
        results.append(Result("longest length solved", solved_to(found), "d", f"at least {SOLVED:.0%} right"))
    if name == "copy_memory":
        right, predicted = (np.array([row.split() for row in columns[side]]) for side in ("right", "predicted"))
        results.append(Result("accuracy", np.mean(right == predicted), ".1%", "symbols; guessing: 12.5%"))
    data = {"adding": "adding", "copy_memory": "copy"}.get(name, "generated")
    title = f"{options.architecture}, {name}, {options.test_examples:,} test examples of each length"
    experiment.report(options, run, results, title=title, task=name, data=data, architecture=options.architecture)
    experiment.samples(columns)
    experiment.write_rows(run, "test.txt", columns)
    plots.score_by_length(
        found,
        run.plots / "score_by_length.png",
        metric=LABELS[metric],
        guessing={length: guessing(name, length) for length in found},
        trained_to=longest,
        title=f"{name}, {options.architecture}: {found[longest]:{form}} at {longest} steps, "
        f"{found[2 * longest]:{form}} at {2 * longest} (not trained)",
    )


def solved_to(shares: dict[int, float]) -> int:
    """The longest length at which, and below which, all lengths are solved. 0 if the shortest is not."""
    reached = 0
    for length, share in shares.items():
        if share < SOLVED:
            break
        reached = length
    return reached


def outputs(options: Options, task, examples) -> dict[str, list[str]]:
    """The outputs for examples of one length as text: right and predicted ones."""
    if options.task == "adding":
        return {
            "marked": [" + ".join(f"{x:.3f}" for x, mark in row if mark) for row in examples[0]],
            "right": [f"{total:.4f}" for (total,) in examples[1]],
            "predicted": [f"{total:.4f}" for (total,) in task(list(examples[0]))],
        }
    asked = examples[1] > 0 if options.task == "copy_memory" else examples.asked > 0
    rows = {"right": np.array(task.tags)[examples[1]], "predicted": answers_of(options, task, examples)}
    return {name: [" ".join(row[at]) for row, at in zip(rows[name], asked, strict=True)] for name in rows}


if __name__ == "__main__":
    cli.run(main, Options)
