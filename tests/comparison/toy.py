"""A task of few seconds for tests of comparisons: `python -m tests.comparison.toy FOLDER` compares on it."""

import functools
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from keras_seq import comparison, data, training

ROUNDS, TOKENS = 2, 200


class Toy:
    """Predicts whether a sequence has more large than small ids. The rate 5 diverges. The architecture "broken" fails.

    Args:
        pause: seconds that each training step waits.
    """

    monitor = ("val_accuracy", "max")
    memory_task = "sums"

    def __init__(self, pause: float = 0.0):
        self.pause, self.trained = pause, []

    def train(self, values, run, callbacks):
        if values["architecture"] == "broken":
            raise RuntimeError("out of order")
        self.trained.append(run)
        order = data.shuffled(values["seed"])
        budget = {"tokens": TOKENS, "rounds": ROUNDS} if "budget_tokens" not in values else {"epochs": 1}
        amount = training.TrainingData(examples(0).apply(order).padded_batch(10), [order], **budget)
        model = build(values)
        folder = training.Run(run, dict(values))
        resume = training.Resume(folder, keep=1, epoch_aware=amount.epoch_aware)
        best = training.EarlyStopping(folder, *self.monitor, patience=ROUNDS)
        pause = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: time.sleep(self.pause))
        model.fit(
            amount.batches,
            validation_data=examples(1).padded_batch(40),
            epochs=amount.epochs,
            verbose=0,
            callbacks=[*amount.callbacks(), pause, resume, best, *callbacks],
        )
        return model

    def identity(self):
        return {"task": "sums"}

    def width_step(self, architecture):
        return 1

    def shape(self):
        return {"num_layers": 1, "num_heads": 1, "bidirectional": False}

    def scores_by_length(self, values, task):
        return [{"from": 2, "to": 2, "rows": 2, "score": 0.5}, {"from": 3, "to": 3, "rows": 1, "score": 1.0}]

    def feedforward(self, runs):
        return {"wasted_share": 0.5, "length": len(runs)}

    def chance(self):
        return 0.5

    def data_name(self):
        return "sums"


def build(values) -> keras.Model:
    name, units = values["architecture"], values["units"]
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(20, units, mask_zero=True, name="embedding")(tokens)
    x = keras.layers.Dense(units, name=f"{name}_0")(keras.layers.GlobalAveragePooling1D()(x))
    if name == "feedforward":
        x = keras.layers.Dense(units, name=f"{name}_1")(x)
    model = keras.Model(tokens, keras.layers.Dense(2)(x))
    rate = float("nan") if values["learning_rate"] == 5 else values["learning_rate"]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"], run_eagerly=True, jit_compile=False)
    return model


def examples(seed: int) -> tf.data.Dataset:
    random = np.random.default_rng(seed)
    rows = [random.integers(1, 20, random.integers(2, 8)).tolist() for _ in range(40)]
    labels = [int(np.mean(np.array(row) > 9) > 0.5) for row in rows]
    pairs = tf.data.Dataset.from_tensor_slices((tf.ragged.constant(rows, tf.int32), tf.constant(labels, tf.int32)))
    return pairs.map(lambda tokens, label: (tf.ensure_shape(tokens, [None]), label))


PLAN = comparison.Plan(("cnn", "feedforward"), (0.1, 5.0), (1, 2), {"tokens": TOKENS}, units=20, tolerance=0.2)


def main() -> None:
    comparison.Comparison(functools.partial(Toy, 0.1), PLAN, sys.argv[1]).run(workers=2, measured=False)


if __name__ == "__main__":
    main()
