"""Predicted FLOP beside measured seconds: forward passes and training steps of several models on one core.

taskset -c 0 python -m benchmarks.cost
"""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from keras_seq import cli, layers, losses, models, optimizers
from keras_seq.cli import option
from keras_seq.inspection import cost, fast_path, hardware

V = 4000  # ids
B, T = 32, 32
MODELS = {
    "lstm": ("LSTM language model, 256", lambda: models.LanguageModel(V, layers.RecurrentStack("lstm", 256))),
    "mingru": ("MinGRU language model, 256", lambda: models.LanguageModel(V, layers.RecurrentStack("mingru", 256))),
    "classifier": (
        "GRU classifier, 128 in each direction",
        lambda: models.classifier(V, 2, architecture="gru", units=256),
    ),
    "seq2seq": ("Seq2Seq, 2 + 2 x 128, additive", lambda: models.Seq2Seq(V, units=128, num_layers=2)),
    "transformer": (
        "Transformer, 2 + 2 x 128",
        lambda: models.Transformer(V, units=128, num_heads=4, num_layers=2),
    ),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Times a forward pass and a training step of each model, on one thread of one core."""

    models: tuple[str, ...] = option(tuple(MODELS), "which models", choices=tuple(MODELS))
    rounds: int = option(9, "how often each program is timed")
    core: int | None = option(0, "the core that everything runs on; none: the system decides")
    keep_freed_memory: bool = option(True, "glibc keeps freed memory in the process")
    seed: int = option(1, "of weights and ids")


def main(options: Options) -> None:
    timing.prepare(options)
    core = measured_core(options.rounds)
    peak = core.peak["float32"]
    print(f"{timing.machine()}; one thread; {B} rows of {T} tokens, {V:,} ids")
    print(f"A product of 1024 x 1024: {peak / 1e9:.0f} GFLOP/s. A copy of 256 MB: {core.bandwidth / 1e9:.1f} GB/s.\n")
    rows = []
    for name in options.models:
        title, make = MODELS[name]
        rows += measured(title, make(), core, options.rounds)
        timing.log(str(rows[-1]))
    head = [
        "model",
        "pass",
        "MFLOP",
        "of them products",
        "ms",
        "GFLOP/s",
        "of the peak",
        "roofline, ms",
        "measured / roofline",
    ]
    print(timing.table(head, rows))


def measured(title: str, model: keras.Model, core: hardware.Hardware, rounds: int) -> list[list[str]]:
    random = np.random.default_rng(0)
    ids = random.integers(1, V, (B, T)).astype("int32")
    pair = isinstance(model, (models.Seq2Seq, models.Transformer))
    inputs = {"source": ids, "target": ids} if pair else ids
    labels = np.ones((B,), "int32") if model.name == "classifier" else ids
    loss = losses.TokenCrossentropy()
    if model.name == "classifier":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.Adam(), loss, jit_compile=False)
    found = cost.cost(model, inputs)
    timing.log(fast_path.shown(fast_path.explain_fast_path(model)))
    batches = itertools.repeat((inputs, labels))
    forward = tf.function(lambda: model(inputs, training=False))
    seconds = in_turn([forward, lambda: model.train_on_batch(*next(batches))], rounds)
    rows = []
    for step, spent in zip(("forward", "training"), seconds, strict=True):
        training = step == "training"
        flop = found.training_flop if training else found.flop
        products = sum(row.training_products if training else row.products for row in found.rows)
        floor = hardware.expected_seconds(found, core, training)
        rows.append(
            [
                title,
                step,
                f"{flop / 1e6:,.0f}",
                f"{products / flop:.0%}",
                f"{1000 * spent:,.1f}",
                f"{flop / spent / 1e9:.1f}",
                f"{flop / spent / core.peak['float32']:.0%}",
                f"{1000 * floor:,.1f}",
                f"{spent / floor:.2f}",
            ]
        )
    return rows


def in_turn(programs: list[Callable], rounds: int) -> list[float]:
    """The median processor time of each program, which runs in turn with the others."""
    for program in programs:
        program(), program()
    spent = [[] for _ in programs]
    for _ in range(rounds):
        for program, times in zip(programs, spent, strict=True):
            start = time.process_time()
            program()
            times.append(time.process_time() - start)
    return [statistics.median(times) for times in spent]


def measured_core(rounds: int) -> hardware.Hardware:
    """This core: the speed of a large product, and of a copy of 256 MB."""
    n, size = 1024, 2**25
    square, long = tf.random.normal((n, n)), tf.zeros(2 * size)
    product, copy = in_turn([lambda: tf.matmul(square, square), lambda: long + 1.0], rounds)
    return hardware.Hardware("this core", {"float32": 2 * n**3 / product}, 2 * 4 * 2 * size / copy, efficiency=1.0)


if __name__ == "__main__":
    cli.run(main, Options)
