"""The cross-entropy over a large vocabulary in chunks (`losses.TokenCrossentropy(chunk_size=)`), against all at once.

taskset -c 0 .venv/bin/python -m benchmarks.crossentropy
"""

import dataclasses
import resource
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from keras_seq import cli, layers, losses
from keras_seq.cli import option


@dataclasses.dataclass(frozen=True)
class Options:
    """Times the scores, the loss and the gradients of a batch, in turn, and measures peak memory in new processes."""

    vocabulary_size: int = option(80_000, "number of words")
    units: int = option(1000, "width of the vectors")
    rows: int = option(128, "number of rows of the batch")
    length: int = option(30, "number of steps of the batch")
    padding: float = option(0.0, "share of steps without weight")
    tied: bool = option(False, "kernel with a row for each word, as of tied embeddings")
    dtype: str = option("float32", "compute dtype", choices=("float32", "bfloat16"))
    label_smoothing: float = option(0.0, "label smoothing")
    chunk_sizes: tuple[int, ...] = option((512, 1024), "numbers of tokens of a chunk")
    rounds: int = option(3, "number of turns of each program")
    core: int | None = option(0, "core that everything runs on (none: the system decides)")
    keep_freed_memory: bool = option(False, "glibc keeps freed memory in the process")
    seed: int = option(1, "random seed")


class Batch:
    """Random vectors and labels, and the layer that scores them."""

    def __init__(self, options: Options):
        rng = np.random.default_rng(options.seed)
        shape = options.rows, options.length
        policy = "mixed_bfloat16" if options.dtype == "bfloat16" else "float32"
        self.embedding = layers.TokenEmbedding(
            options.vocabulary_size, options.units, tie_weights=options.tied, dtype=policy
        )
        self.embedding.build()
        self.vectors = tf.constant(rng.normal(size=(*shape, options.units)), options.dtype)
        self.labels = tf.constant(rng.integers(0, options.vocabulary_size, shape), tf.int32)
        self.weights = tf.constant(rng.random(shape) >= options.padding, tf.float32)

    def step(self, chunk_size: int | None, label_smoothing: float):
        """A compiled function to the loss and the gradients of vectors and kernel."""
        loss = losses.TokenCrossentropy(label_smoothing, chunk_size=chunk_size)
        kernel = self.embedding.trainable_variables[-1].value

        @tf.function(jit_compile=False)
        def step():
            with tf.GradientTape() as tape:
                tape.watch(self.vectors)
                logits = (
                    self.embedding(self.vectors, reverse=True)
                    if chunk_size is None
                    else self.embedding.deferred_logits(self.vectors, chunk_size=chunk_size, training=True)
                )
                value = loss(self.labels, logits, self.weights)
            return value, *tape.gradient(value, [self.vectors, kernel])

        return step


def peak_memory(options: Options, chunk_size: int | None) -> int:
    """The growth of the peak of this process in its first two steps, in bytes."""
    timing.prepare(options)
    batch = Batch(options)
    step = batch.step(chunk_size, options.label_smoothing)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def seconds_in_turn(options: Options, programs: list[int | None]) -> dict[int | None, list[float]]:
    batch = Batch(options)
    steps = {program: batch.step(program, options.label_smoothing) for program in programs}
    results = {program: [x.numpy() for x in map(tf.convert_to_tensor, step())] for program, step in steps.items()}
    for program in programs[1:]:
        pairs = zip(results[program], results[None], strict=True)
        differences = [np.abs(ours - whole).max() / np.abs(whole).max() for ours, whole in pairs]
        timing.log(f"chunks of {program}: relative differences of loss and gradients {differences}")
    del results
    seconds = {program: [] for program in programs}
    for turn in range(options.rounds):
        for program in programs[:: -1 if turn % 2 else 1]:
            start = time.process_time()
            steps[program]()
            seconds[program].append(time.process_time() - start)
    return seconds


def main(options: Options) -> None:
    programs = [None, *options.chunk_sizes]
    memory = {program: timing.in_new_process(peak_memory, options, program) for program in programs}
    timing.prepare(options)
    keras.utils.set_random_seed(options.seed)
    seconds = seconds_in_turn(options, programs)
    print(f"{timing.machine()}; {options}\n")
    rows = []
    for program in programs:
        ratios = [ours / whole for ours, whole in zip(seconds[program], seconds[None], strict=True)]
        rows.append(
            [
                "all at once" if program is None else f"{program} at a time",
                f"{memory[program] / 2**30:.2f}",
                f"{memory[None] / memory[program]:.1f}",
                f"{statistics.median(seconds[program]):.2f}",
                timing.spread(ratios),
            ]
        )
    print(timing.table(["tokens", "peak GiB", "times less", "CPU s a step", "of all at once (turns)"], rows))


if __name__ == "__main__":
    cli.run(main, Options)
