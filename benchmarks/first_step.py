"""Processor time to build a model, and of the first step of `fit`, in which TensorFlow traces it.

python -m benchmarks.first_step --rounds 3
"""

import dataclasses
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks import plain_keras, timing
from keras_seq import cli, distribution, losses, optimizers
from keras_seq.cli import option

ROWS, LENGTH = 128, 15  # of a batch


@dataclasses.dataclass(frozen=True)
class Options:
    """Builds models and trains them for a step, in processes of their own, in turn."""

    models: tuple[str, ...] = option(("transformer", "lstm"), "which models", choices=("transformer", "lstm"))
    vocabulary_size: int = option(8000, "words of the model")
    rounds: int = option(3, "processes for each program and model")
    core: int | None = option(0, "the core that everything runs on; none: the system decides")


def keras_seq_in_scope(name: str, size: int) -> keras.Model:
    with distribution.scope("one_device"):
        return keras_seq(name, size)


def keras_seq(name: str, size: int) -> keras.Model:
    model = timing.MODELS[name](size)
    model.compile(optimizers.Adam(1e-3, global_clipnorm=1.0), losses.TokenCrossentropy(), jit_compile=False)
    return model


def plain(name: str, size: int) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return timing.compiled(getattr(plain_keras, name)(size, dropout=timing.DROPOUT), loss)


PROGRAMS = {"keras_seq": keras_seq_in_scope, "keras_seq outside a scope": keras_seq, "plain Keras": plain}


def main(options: Options) -> None:
    print(f"{timing.machine()}\n")
    rows = []
    for name in options.models:
        measured = {program: [] for program in PROGRAMS}
        for number in range(options.rounds):
            for program in list(PROGRAMS)[:: -1 if number % 2 else 1]:
                measured[program].append(timing.in_new_process(measure, program, name, options))
                timing.log(f"{name}, {program}, round {number + 1}: {measured[program][-1]}")
        for program, found in measured.items():
            sums = [build + first for build, first, _ in found]
            others = [build + first for build, first, _ in measured["plain Keras"]]
            rows.append(
                [
                    timing.TITLES[name],
                    program,
                    *(f"{statistics.median(values):.1f}" for values in zip(*found, strict=True)),
                    timing.spread([ours / other for ours, other in zip(sums, others, strict=True)]),
                ]
            )
    head = [
        "model",
        "program",
        "build, CPU s",
        "first `fit` of a step",
        "second",
        "build and first / plain Keras (rounds)",
    ]
    print(timing.table(head, rows))


def measure(program: str, name: str, options: Options) -> tuple[float, float, float]:
    """CPU seconds to build, of the first `fit` of one step, and of the second."""
    timing.prepare(timing.Options(core=options.core))
    dataset = batch(options.vocabulary_size)
    next(iter(dataset))  # the first dataset of a process takes longer
    times = [time.process_time()]
    model = PROGRAMS[program](name, options.vocabulary_size)
    times.append(time.process_time())
    for _ in range(2):
        model.fit(dataset, verbose=0, shuffle=False)
        times.append(time.process_time())
    return tuple(round(after - before, 2) for before, after in zip(times, times[1:], strict=False))


def batch(vocabulary_size: int) -> tf.data.Dataset:
    source, target = np.random.default_rng(0).integers(4, vocabulary_size, (2, ROWS, LENGTH)).astype("int32")
    whole = ({"source": source, "target": target}, target, np.ones((ROWS, LENGTH), "float32"))
    return tf.data.Dataset.from_tensor_slices(whole).batch(ROWS)


if __name__ == "__main__":
    cli.run(main, Options)
