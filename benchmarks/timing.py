"""What the benchmarks share: a quiet process, Multi30k's pairs, two programs timed in turn, and tables."""

import dataclasses
import multiprocessing
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from os import sched_setaffinity
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq import data, models, text, training
from keras_seq.cli import option


@dataclasses.dataclass(frozen=True)
class Options:
    data_dir: pathlib.Path | None = option(None, "folder with train.* of both languages; none: Multi30k, fetched once")
    source: str = option("en", "source language")
    target: str = option("de", "target language")
    vocabulary_size: int = option(8000, "pieces of the joint BPE vocabulary")
    models: tuple[str, ...] = option(("transformer", "lstm"), "which models", choices=("transformer", "lstm"))
    rounds: int = option(5, "how often each program is timed, in turn")
    every: int = option(16, "a round takes each so-many-th batch of an epoch, another set each round")
    core: int | None = option(0, "the core that everything runs on; none: the system decides")
    keep_freed_memory: bool = option(True, "glibc keeps freed memory in the process")
    seed: int = option(1, "of weights and order")


# Transformer-Tiny of Wu et al. 2021, and the 2x256 LSTM with attention. The dropout's rate does not change its cost.
DROPOUT = 0.1
MODELS = {
    "transformer": lambda size: models.Transformer(
        size, units=128, num_heads=4, intermediate_dim=256, num_layers=4, dropout=DROPOUT
    ),
    "lstm": lambda size: models.Seq2Seq(
        size, units=256, cell="lstm", num_layers=2, attention="general", dropout=DROPOUT
    ),
}


def never_ending(model: keras.Model, end_id: int) -> keras.Model:
    """Gives the end token a score so low that no search ever takes it: all hypotheses then have one length.

    It is done by weights, since a constraint would be work of its own: one unit of what is multiplied with the
    embeddings is made 1 at every step, and the end token's embedding is far below zero there.
    """
    embeddings = model.target_embedding.embeddings
    embeddings.assign(ops.where(ops.arange(embeddings.shape[1]) == 0, 0.0, embeddings))
    embeddings.assign(ops.slice_update(embeddings, (end_id, 0), ops.full((1, 1), -1e4)))
    first = np.eye(1, embeddings.shape[1], dtype="float32")[0]
    norm = getattr(model, "decoder_norm", None)
    if norm is not None:
        norm.gamma.assign(norm.gamma * (1 - first))
        norm.beta.assign(first)
    else:  # tanh of 20
        model.output_dense.kernel.assign(model.output_dense.kernel * (1 - first))
        model.output_dense.bias.assign(20 * first)
    return model


TITLES = {"transformer": "Transformer-Tiny, 4+4 x 128", "lstm": "LSTM 2 x 256, attention"}


def prepare(options: Options) -> None:
    """One thread on one core, memory that stays, one seed. Call it before the first tensor is made."""
    if options.keep_freed_memory:
        training.keep_freed_memory()
    if options.core is not None:
        for thread in pathlib.Path("/proc/self/task").iterdir():  # imports have started some already
            sched_setaffinity(int(thread.name), {options.core})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(options.seed)


def folder(data_dir: pathlib.Path | None) -> pathlib.Path:
    """The folder given, or that of Multi30k."""
    return data.fetch("multi30k") if data_dir is None else data_dir


def encoded_pairs(options: Options) -> tuple[tf.data.Dataset, text.Subwords]:
    """The training pairs as vectors of ids, in memory, and their vocabulary."""
    files = [folder(options.data_dir) / f"train.{language}" for language in (options.source, options.target)]
    pairs = data.read_parallel_text(*files)
    log(f"{pairs.report}; learning the vocabulary")
    subwords = text.Subwords.train([*pairs.sources, *pairs.targets], options.vocabulary_size)
    return pairs.dataset().apply(subwords.encoded()).cache(), subwords


def compiled(model: keras.Model, loss) -> keras.Model:
    optimizer = keras.optimizers.Adam(1e-3, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0)
    model.compile(optimizer, loss, jit_compile=False)
    return model


class Epoch:
    """The batches of one epoch, in memory: what is timed is the training and not the input.

    Args:
        batches: of `teacher_forcing`.
        pad_id: fills them.
    """

    def __init__(self, batches: tf.data.Dataset, pad_id: int = 0):
        start = time.process_time()
        cached = batches.cache()
        self.rows = []  # per batch: target tokens; tokens and positions of both sides
        for inputs, labels, _ in cached:
            target = int(tf.math.count_nonzero(labels != pad_id))
            source = int(tf.math.count_nonzero(inputs["source"] != pad_id))
            self.rows.append((target, target + source, int(tf.size(labels)) + int(tf.size(inputs["source"]))))
        self.cpu_seconds = time.process_time() - start  # what the input costs: one epoch, made and counted
        self.dataset = cached.apply(tf.data.experimental.assert_cardinality(len(self.rows)))
        self.target_tokens, self.tokens, self.positions = map(sum, zip(*self.rows, strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def padding(self) -> float:
        return 1 - self.tokens / self.positions

    def sample(self, every: int, number: int) -> tuple[tf.data.Dataset, int]:
        """Each `every`-th batch, and how many target tokens they hold. `every` samples make up the epoch."""
        first = number % every
        return self.dataset.shard(every, first), sum(row[0] for row in self.rows[first::every])


class Speed(NamedTuple):
    """Target tokens per second of the clock, and per second of the processor's time, which others do not take."""

    clock: float
    cpu: float


def train_in_turn(programs: Mapping[str, tuple[keras.Model, Epoch]], options: Options) -> dict[str, list[Speed]]:
    """Trains each program on a sample of its batches, one after the other, `rounds` times, each time first another."""
    for name, (model, epoch) in programs.items():
        start = time.perf_counter()
        model.fit(epoch.dataset.shard(max(1, len(epoch) // 4), 0), shuffle=False, verbose=0)
        log(f"{name}: traced and warm after {time.perf_counter() - start:.0f} s")
    speeds = {name: [] for name in programs}
    for number in range(options.rounds):
        for name in list(programs)[:: -1 if number % 2 else 1]:
            model, epoch = programs[name]
            batches, tokens = epoch.sample(options.every, number)
            start, cpu_start = time.perf_counter(), time.process_time()
            model.fit(batches, shuffle=False, verbose=0)
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
            speeds[name].append(Speed(tokens / seconds, tokens / cpu_seconds))
        each = (f"{name} {speeds[name][-1].cpu:.0f} ({speeds[name][-1].clock:.0f})" for name in programs)
        log(f"round {number + 1}, target tokens per CPU second (per second): {', '.join(each)}")
    return speeds


def in_new_process(function: Callable, *args: Any) -> Any:
    """The result of a function in a process of its own, whose peak memory is that of the function."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def median(speeds: Sequence[Speed]) -> Speed:
    return Speed(*map(statistics.median, zip(*speeds, strict=True)))


def shown(speed: Speed) -> str:
    return f"{speed.cpu:,.0f} ({speed.clock:,.0f})"


def ratios(speeds: Sequence[Speed], others: Sequence[Speed]) -> list[str]:
    """How much faster, round by round, in the processor's time and by the clock: medians, and the extremes beside."""
    pairs = list(zip(speeds, others, strict=True))
    return [spread([getattr(ours, kind) / getattr(other, kind) for ours, other in pairs]) for kind in ("cpu", "clock")]


def spread(values: Sequence[float]) -> str:
    """The median, and the extremes beside it."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def machine() -> str:
    found = training.run_folder.versions()
    return f"{training.run_folder.hardware()}; " + ", ".join(
        f"{name} {found[name]}" for name in ("tensorflow", "keras")
    )


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
