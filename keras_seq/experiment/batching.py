"""From encoded examples to the batches of an epoch."""

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from keras_seq import data

_BATCHES_SHUFFLED = 1_000  # held in memory; an epoch of Multi30k has 500

Step = Callable[[tf.data.Dataset], tf.data.Dataset]


def batches(
    train: tf.data.Dataset,
    valid: tf.data.Dataset | None,
    *,
    tokens_per_batch: int,
    max_length: int,
    seed: int,
    shapes: int | None = None,
    replicas: int = 1,
    axes: Any = None,
    noise: Iterable[Step] = (),
    finish: Step = lambda dataset: dataset,
) -> tuple[tf.data.Dataset, tf.data.Dataset | None, list[Any]]:
    """Batches of like lengths, in shapes that keep padding low and are few; those of training in another order each
    epoch.

    Args:
        train, valid: datasets of encoded examples, any nest that `data.bucketed` takes; let `cache` stand behind what
            is slow to make. Validation examples are never dropped; None where there are none.
        tokens_per_batch: the budget of a batch, as for `data.bucketed`.
        max_length: training examples with a side as long or longer are dropped and counted.
        seed: of the order.
        shapes: how many, at most; see `data.Buckets`.
        replicas: rows of a batch are a multiple of this number.
        axes: which components of an example share a length, as for `data.bucketed`.
        noise: steps for the training examples that change no length: `data.masking(...)`.
        finish: a step for batches: `data.teacher_forcing(...)`.
    Returns:
        Training batches, validation batches, and what must be told which epoch begins: `fit(..., epoch_aware=...)`.
    Raises:
        ValueError: if no training example is short enough.
    """
    lengths = data.lengths(train, axes)
    valid_lengths = data.lengths(valid, axes) if valid is not None else ()
    short = lengths < max_length if lengths.ndim == 1 else (lengths < max_length).all(axis=1)
    dropped = f" ({(~short).sum():,} more dropped as over-long)" * (not short.all())
    print(f"{short.sum():,} examples for training{dropped}, {len(valid_lengths):,} for validation.")
    if not short.any():
        raise ValueError(f"No training example is shorter than --max-length {max_length} tokens.")
    buckets = data.Buckets(lengths[short], tokens_per_batch, shapes, multiple_of=replicas)
    # Batches that are not full come last; left there, one length after the other, they spoil what an epoch has taught.
    epoch_aware = [data.shuffled(seed), *noise, data.shuffled(seed, _BATCHES_SHUFFLED)]
    examples = train.apply(data.shorter_than(max_length, axes))
    for step in epoch_aware[:-1]:
        examples = examples.apply(step)
    train = examples.apply(buckets.batched(lengths[short], axes=axes)).apply(finish).apply(epoch_aware[-1])
    if valid is not None:
        valid = valid.apply(buckets.batched(valid_lengths, axes=axes)).apply(finish).cache()
    return train, valid, epoch_aware
