"""Cost of watching the gradients: a training step with `training.GradientMonitor` against the same step without it.

taskset -c 0 .venv/bin/python -m benchmarks.gradient_monitor
"""

import dataclasses
import statistics
import tempfile
import time

import keras
import numpy as np

from benchmarks import timing
from keras_seq import cli, layers, losses, models, optimizers, training
from keras_seq.cli import option

# Title, units, size of the vocabulary, rows and steps of a batch.
MODELS = {
    "lstm": ("language model, LSTM 2 x 256", 256, 4000, 16, 20),
    "transformer": ("language model, Transformer 4 x 128", 128, 4000, 16, 20),
    "gru": ("classifier, GRU 64", 64, 2000, 16, 20),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains each model with and without the callback, in turn, on the same random batches."""

    models: tuple[str, ...] = option(tuple(MODELS), "models", choices=tuple(MODELS))
    rounds: int = option(5, "number of turns of each program")
    steps: int = option(25, "number of steps of a turn, with a row of gradients.csv")
    core: int | None = option(0, "core that everything runs on (none: the system decides)")
    keep_freed_memory: bool = option(True, "glibc keeps freed memory in the process")
    seed: int = option(1, "random seed of weights and batches")


def build(architecture: str, units: int, vocabulary_size: int) -> keras.Model:
    if architecture == "gru":
        model = models.classifier(vocabulary_size, 2, architecture="gru", units=units)
    else:
        layers_ = 4 if architecture == "transformer" else 2
        backbone = layers.sequence_backbone(architecture, units, layers_, num_heads=4)
        model = models.LanguageModel(vocabulary_size, backbone)
    model.compile(optimizers.AdamW(1e-4, global_clipnorm=1.0), losses.TokenCrossentropy(), jit_compile=False)
    return model


def batches(architecture: str, vocabulary_size: int, rows: int, length: int, steps: int, seed: int) -> tuple:
    rng = np.random.default_rng(seed)
    x = rng.integers(1, vocabulary_size, (rows * steps, length)).astype("int32")
    return x, x[:, 0] % 2 if architecture == "gru" else np.roll(x, -1, 1)


def measure(architecture: str, options: Options) -> list[str]:
    name, units, size, rows, length = MODELS[architecture]
    x, y = batches(architecture, size, rows, length, options.steps, options.seed)
    programs = {}
    with tempfile.TemporaryDirectory() as folder:
        for program in ("plain", "watched"):
            keras.utils.set_random_seed(options.seed)
            callbacks = [training.GradientMonitor(folder, options.steps)] if program == "watched" else []
            programs[program] = build(architecture, units, size), callbacks
        seconds = {program: [] for program in programs}
        for turn in range(options.rounds + 1):
            for program in list(programs)[:: -1 if turn % 2 else 1]:
                model, callbacks = programs[program]
                watch = _Turn()
                fit = {"batch_size": rows, "shuffle": False, "verbose": 0}
                model.fit(x, y, callbacks=[watch, *callbacks], **fit)
                if turn:  # the first turn traces
                    seconds[program].append(watch.seconds / (options.steps - 1))
    ratios = [watched / plain for watched, plain in zip(seconds["watched"], seconds["plain"], strict=True)]
    timing.log(f"{name}: {timing.spread(ratios)}")
    medians = [statistics.median(seconds[program]) * 1e3 for program in programs]
    return [name, *(f"{median:.2f}" for median in medians), timing.spread(ratios)]


class _Turn(keras.callbacks.Callback):
    """Processor time from the first step to the end of the epoch, without the start of `fit`."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1:  # the first step wakes the input pipeline
            self._start = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.process_time() - self._start


def main(options: Options) -> None:
    timing.prepare(options)
    print(f"{timing.machine()}\n\n{options.rounds} turns of {options.steps} steps, each with a row\n")
    rows = [measure(name, options) for name in options.models]
    print(timing.table(["CPU ms of a step", "without", "with the callback", "with / without (turns)"], rows))


if __name__ == "__main__":
    cli.run(main, Options)
