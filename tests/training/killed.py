"""A tiny training to be killed, as a program: for each line that it reads, a process trains in the folder named there.

    python -m tests.training.killed        a line in: {"folder": ..., "after": "fork" or "step", "seconds": ...}
                                           a line out: its exit code, and the seconds from its first step to its end

It is killed so many seconds after that moment, if it has not come to its end before. TensorFlow takes seconds to load,
so it is loaded once, and each training is a fork: safe, as long as TensorFlow was not used before.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from keras_seq import data, distribution, training

EPOCHS = 3


def examples() -> tuple[tf.data.Dataset, np.ndarray]:
    draw = np.random.default_rng(5)
    lengths = draw.integers(1, 13, 70)
    ids = [draw.integers(1, 20, length).astype("int32") for length in lengths]
    ragged, labels = tf.ragged.constant([row.tolist() for row in ids], dtype=tf.int32), [row.sum() % 2 for row in ids]
    return tf.data.Dataset.from_tensor_slices((ragged, labels)).map(lambda row, label: (row + 0, label)), lengths


def build() -> keras.Model:
    layers = [keras.layers.Embedding(20, 8), keras.layers.Dropout(0.3), keras.layers.GlobalAveragePooling1D()]
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers, keras.layers.Dense(1)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["mae"], jit_compile=False)
    return model


def train(folder: str, tell: Callable[[int], None], scope: distribution.scope | None = None) -> None:
    """Trains on one device, or inside the scope; calls `tell` after each step."""
    keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()
    order, batch_order, rest = data.shuffled(3), data.shuffled(4, 100), data.from_step(0)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=1, min_delta=10.0)
    chief, agree = (True, None) if scope is None else (scope.chief, scope.any_worker)
    run = training.Run(folder, chief=chief)
    epoch_aware = [order, batch_order, rest]
    resume = training.Resume(run, keep=2, save_every=2, callbacks=[plateau], epoch_aware=epoch_aware, agree=agree)

    dataset, lengths = examples()
    shapes = {"examples_per_batch": 4, "buckets": [4, 8, 12]}
    count = tf.data.experimental.assert_cardinality(data.count_batches(lengths, **shapes))
    batches = dataset.apply(order).apply(data.bucketed(**shapes)).apply(count).apply(batch_order).apply(rest)

    with scope or contextlib.nullcontext():
        model = build()
    telling = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: tell(batch))
    stopping = training.EarlyStopping(run, "loss", patience=5)
    model.fit(batches.prefetch(2), epochs=EPOCHS, verbose=0, callbacks=[plateau, resume, stopping, telling])
    if not chief:
        return
    np.savez(f"{folder}/final.npz", *[np.asarray(v) for v in [*model.weights, *model.optimizer.variables]])


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        assert context.context()._context_handle is None, "TensorFlow was used before the fork."
        reading, writing = os.pipe()
        started = time.monotonic()
        process = os.fork()
        if not process:
            code = 1
            try:
                train(order["folder"], lambda batch, pipe=writing: os.write(pipe, b"."))
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        if order["after"] == "step":
            os.read(reading, 1)  # comes back with nothing if the process has ended
            started = time.monotonic()
        killed = False
        while not (status := os.waitpid(process, os.WNOHANG))[0]:
            if not killed and time.monotonic() - started > order["seconds"]:
                os.kill(process, signal.SIGKILL)
                killed = True
            time.sleep(0.002)
        os.close(reading)
        print(json.dumps([os.waitstatus_to_exitcode(status[1]), time.monotonic() - started]), flush=True)


if __name__ == "__main__":
    main()
