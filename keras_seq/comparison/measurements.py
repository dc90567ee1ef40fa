"""The cost of training, measured on the models and batches of a task: time, threads, memory."""

import ctypes
import gc
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_seq.comparison.contender import Contender, Stopped, Values
from keras_seq.data.token_counts import count_tokens

BATCHES = 12  # of a repeat
REPEATS = 5


class Captured(NamedTuple):
    """A model that is ready to train, and some batches.

    Attributes:
        model: the compiled model, whose weights are initial.
        step: function of an iterator over batches that does a training step, as in `fit`.
        batches: dataset of the batches, again and again.
        count, tokens: number of the batches, and of the target tokens in them.
    """

    model: keras.Model
    step: Callable[[Any], Any]
    batches: tf.data.Dataset
    count: int
    tokens: int


class _StopAtBatches(keras.callbacks.Callback):
    def __init__(self, count: int):
        super().__init__()
        self._count = count

    def on_train_begin(self, logs=None):
        step = self.model.train_function

        def collect(iterator):
            self.model.train_function = step
            batches = [batch for _, batch in zip(range(self._count), iterator, strict=False)]
            raise Stopped((self.model, step, iterator.element_spec, batches))

        self.model.train_function = collect


def captured(contender: Contender, values: Values, run: pathlib.Path, count: int = BATCHES) -> Captured:
    """The model of a contender and its first batches, without a training step.

    Args:
        contender: the task.
        values: options of the model.
        run: path of a run folder for files such as the vocabulary.
        count: number of batches.
    """
    try:
        contender.train({**values, "budget_tokens": None, "budget_seconds": None}, run, [_StopAtBatches(count)])
    except Stopped as stopped:
        model, step, spec, batches = stopped.value
        whole = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec).cache().repeat()
        tokens = sum(int(count_tokens(*batch)[0]) for batch in batches)
        return Captured(model, step, whole, len(batches), tokens)
    raise ValueError("The contender has trained no model with its callbacks.")


def training_costs(
    make: Callable[[], Contender], chosen: Mapping[str, Values], repeats: int = REPEATS
) -> dict[str, dict[str, float]]:
    """Times of training steps. Run it in a fresh process with the number of threads to measure.

    All models are built first. Each repeat then trains every model in turn on its batches, so that a slow moment of the
    machine concerns all of them, and medians are taken over the repeats.

    Args:
        make: function that makes the contender.
        chosen: options of the model of each architecture, by name.
        repeats: number of repeats.
    Returns:
        for each architecture: `first_step_seconds`, which include the tracing; `seconds_per_token` by the clock;
        `processor_seconds_per_token`, of all threads.
    """
    contender, ready, costs = make(), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in chosen.items():
            keras.utils.set_random_seed(values["seed"])
            capture = captured(contender, values, pathlib.Path(folder) / name)
            iterator = iter(capture.batches)
            begun = time.perf_counter()
            _finished(capture.step(iterator))
            costs[name] = {"first_step_seconds": time.perf_counter() - begun}
            ready[name] = (capture, iterator)
    clock, processor = ({name: [] for name in chosen} for _ in range(2))
    for repeat in range(repeats + 1):
        for name, (capture, iterator) in ready.items():
            times = _timed(capture, iterator)
            if repeat:  # the first one fills the cache of batches
                clock[name].append(times[0] / capture.tokens)
                processor[name].append(times[1] / capture.tokens)
    for name in chosen:
        costs[name]["seconds_per_token"] = statistics.median(clock[name])
        costs[name]["processor_seconds_per_token"] = statistics.median(processor[name])
    return costs


def _timed(capture: Captured, iterator: Any) -> tuple[float, float]:
    """Seconds by the clock and of the processor for one pass over the batches."""
    begun = time.perf_counter(), time.process_time()
    for _ in range(capture.count):
        _finished(capture.step(iterator))
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def _finished(logs: Any) -> None:
    """Waits for the end of a step."""
    for value in keras.tree.flatten(logs):
        keras.ops.convert_to_numpy(value)


def training_memory(make: Callable[[], Contender], values: Values) -> int:
    """Peak memory of training in bytes. Run it in a fresh process.

    The number is the peak of the resident memory over some steps after the first, less the memory before the model is
    built. It includes weights, optimizer, activations, the traced graph and the pipeline, and excludes the temporary
    memory of tracing.

    Args:
        make: function that makes the contender.
        values: options of the model.
    """
    contender = make()
    before = _fresh_peak()
    keras.utils.set_random_seed(values["seed"])
    with tempfile.TemporaryDirectory() as folder:
        capture = captured(contender, values, pathlib.Path(folder) / "run")
    iterator = iter(capture.batches)
    _finished(capture.step(iterator))
    _fresh_peak()
    _timed(capture, iterator)
    return _peak() - before


def can_measure_memory() -> bool:
    """Whether the system has what `training_memory` reads: that of Linux."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def _fresh_peak() -> int:
    """Gives freed memory back to the system, and begins a new peak. Returns the resident memory in bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is now the present memory: man 5 proc
    return _peak()


def _peak() -> int:
    """The peak of the resident memory of this process in bytes since the last `_fresh_peak`."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
