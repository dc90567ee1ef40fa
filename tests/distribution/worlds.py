"""Trains on bucketed text in one way of distribution, and writes down what came of it: weights, logs, predictions.

python tests/distribution/worlds.py '{"strategy": "mirrored", "replicas": 2, "out": "mirrored.npz"}'

Started as a process of its own, since workers and devices must be known before TensorFlow computes anything.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_seq import data, distribution, losses, metrics, models, text, training
from tests.distribution import bucketed


def main(
    out,
    strategy="one_device",
    replicas=None,
    architecture="small",
    precision="float64",
    steps=12,
    rate=0.5,
    accumulation=None,
    corpus=None,
    run=None,
    poisoned=None,
):
    """
    Args:
        run: folder of `training.GradientMonitor`.
        poisoned: number of a batch whose last row has a NaN.
    """
    scope = distribution.scope(strategy, replicas=replicas, precision=precision)
    keras.utils.set_random_seed(1)
    if corpus is None:
        size, train = 30, bucketed.batches(order=5)
    else:
        size, train = multi30k(corpus, steps)
    valid = train.take(4)
    with scope:
        model = {
            "small": bucketed.small,
            "lstm": lambda: models.Seq2Seq(size, units=16, cell="lstm", attention="general", dropout=0.0),
            "transformer": lambda: models.Transformer(
                size, units=16, num_layers=2, num_heads=2, intermediate_dim=32, dropout=0.0
            ),
        }[architecture]()
        optimizer = keras.optimizers.SGD(rate, global_clipnorm=1.0, gradient_accumulation_steps=accumulation)
        model.compile(
            optimizer, losses.TokenCrossentropy(0.1), weighted_metrics=[metrics.TokenLoss()], jit_compile=False
        )
    train = train.take(steps)
    if poisoned is not None:
        train = train.enumerate().map(lambda number, batch: (*batch[:2], poison(batch[2], number == poisoned)))
    callbacks, error = [], ""
    if run is not None:
        folder = training.Run(run, {"kind": "test"}, chief=scope.chief)
        callbacks = [training.GradientMonitor(folder, every=2)]
    try:
        fitted = model.fit(train, validation_data=valid, verbose=0, shuffle=False, callbacks=callbacks)
        history = fitted.history
    except training.NotFiniteError as raised:
        history, error = {}, str(raised)
    predictions = [np.asarray(model.predict(batch[0], verbose=0)) for batch in valid.take(2)]
    agreed = [scope.any_worker(not scope.chief), scope.any_worker(False)]
    if scope.chief:
        np.savez(
            out,
            weights=bucketed.weights(model),
            predictions=np.concatenate([p.astype("float64").ravel() for p in predictions]),
            agreed=agreed,
            workers=scope.workers,
            error=error,
            **{name: np.float64(values) for name, values in history.items()},
        )


def poison(weights, is_bad):
    rows = tf.shape(weights)[0]
    return tf.where(is_bad & (tf.range(rows) == rows - 1)[:, None], np.nan, weights)


def multi30k(corpus, steps):
    """Batches of real text, the partial ones of the end among the first `steps`."""
    lines = data.read_parallel_text(f"{corpus}/train.en", f"{corpus}/train.de")
    sources, targets = lines.sources[:3000], lines.targets[:3000]
    words = text.Words.train([*sources, *targets], 500)
    pairs = tf.data.Dataset.from_tensor_slices((sources, targets)).apply(words.encoded())
    pairs = pairs.apply(data.shuffled(5)).apply(data.bucketed(tokens_per_batch=1024, width=4))
    batches = pairs.apply(data.shuffled(6, 1_000)).apply(data.teacher_forcing(words.start_id))
    return words.size, batches


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
