"""A search of few seconds, for tests that kill it: `python -m tests.tuning.search_program FOLDER [options]`."""

import argparse
import os
import signal

import keras
import numpy as np
import tensorflow as tf

from keras_seq import data, tuning
from keras_seq.tuning import oracles


class Sums(tuning.HyperModel):
    """Predicts whether a sequence has more large than small ids."""

    def build(self, hp):
        tokens = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(20, hp.get("units"), mask_zero=True)(tokens)
        model = keras.Model(tokens, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))
        if hp.get("learning_rate") > 0.5:
            raise ValueError("no such rate")
        rate = float("nan") if hp.get("units") == 3 else hp.get("learning_rate")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"], run_eagerly=True, jit_compile=False)
        return model

    def batches(self, hp):
        order = data.shuffled(3)
        train = examples(0).apply(order).padded_batch(hp.get("batch_size"))
        return train, examples(1).padded_batch(40), [order]


def examples(seed: int) -> tf.data.Dataset:
    random = np.random.default_rng(seed)
    rows = [random.integers(1, 20, random.integers(2, 8)) for _ in range(40)]
    pairs = [(row.astype("int32"), int(np.mean(row > 9) > 0.5)) for row in rows]
    spec = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
    return tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=spec).cache()


def space() -> tuning.Space:
    return (
        tuning.Space()
        .choice("units", [2, 3, 4, 8], default=4)
        .float("learning_rate", 1e-2, 0.6, log=True, default=0.1)
        .choice("batch_size", [5, 10])
    )


def tuner(folder: str, **options) -> tuning.Tuner:
    options = {"trials": 10, "tokens": 600, "rounds": 3, "space": space(), "seed": 2} | options
    return tuning.Tuner(Sums(), "val_accuracy", directory=folder, **options)


def kill_in_write(number: int) -> None:
    """Kills the process in the middle of the oracle's write of that number."""
    write, count = oracles.WholeState._write, iter(range(1, 10**6))

    def counted(oracle):
        if next(count) == number:
            oracle._path.with_name(".writing-0-oracle.json").write_text("{")
            os.kill(os.getpid(), signal.SIGKILL)
        write(oracle)

    oracles.WholeState._write = counted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--oracle", default="bayesian")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kill-in-write", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.kill_in_write:
        kill_in_write(arguments.kill_in_write)
    tf.config.experimental.enable_op_determinism()
    tuner(arguments.folder, oracle=arguments.oracle, trials=arguments.trials).search(workers=arguments.workers)


if __name__ == "__main__":
    main()
