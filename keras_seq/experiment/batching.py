"""Training and validation batches from encoded examples."""

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from keras_seq import data, training
from keras_seq.experiment.budget import training_data
from keras_seq.experiment.options import Options

_BATCHES_SHUFFLED = 1_000  # batches held in memory (an epoch of Multi30k has 500)

Step = Callable[[tf.data.Dataset], tf.data.Dataset]


def batches(
    options: Options,
    train: data.InMemory | tf.data.Dataset,
    valid: tf.data.Dataset | None,
    *,
    tokens_per_batch: int,
    max_length: int,
    shapes: int | None = None,
    replicas: int = 1,
    axes: Any = None,
    noise: Iterable[Step] = (),
    finish: Step = lambda dataset: dataset,
) -> tuple[training.TrainingData, tf.data.Dataset | None]:
    """Batches examples of similar length, in few shapes with little padding. The order of the training batches differs
    in each epoch, by the seed of the options.

    Args:
        options: options of the recipe.
        train: encoded examples, any nest that `data.bucketed` takes. In memory, batches are made fastest. For a dataset
            call `cache` after slow steps.
        valid: dataset of encoded examples, of which none are dropped. None: no validation.
        tokens_per_batch: token budget of a batch, as for `data.bucketed`.
        max_length: length from which training examples are dropped and counted, if one side reaches it.
        shapes: greatest number of shapes, as for `data.Buckets`.
        replicas: number of which the rows of a batch are a multiple.
        axes: name of each component's length (equal names share a length), as for `data.bucketed`.
        noise: steps for single training examples that keep their lengths, such as `data.masking(...)`.
        finish: step for batches, such as `data.teacher_forcing(...)`.
    Returns:
        Training data and validation batches.
    Raises:
        ValueError: if no training example is short enough, or for a wrong budget.
    """
    noise = list(noise)
    if noise and isinstance(train, data.InMemory):
        train = train.dataset()
    in_memory = train if isinstance(train, data.InMemory) else None
    lengths = data.lengths(train, axes) if in_memory is None else in_memory.lengths(axes)
    valid_lengths = data.lengths(valid, axes) if valid is not None else ()
    short = lengths < max_length if lengths.ndim == 1 else (lengths < max_length).all(axis=1)
    dropped = f" ({(~short).sum():,} more dropped as too long)" * (not short.all())
    print(f"{short.sum():,} examples for training{dropped}, {len(valid_lengths):,} for validation.")
    if not short.any():
        raise ValueError(f"No training example is shorter than --max-length {max_length} tokens.")
    buckets = data.Buckets(lengths[short], tokens_per_batch, shapes, multiple_of=replicas)
    # Partial batches come last, one length after the other. Unshuffled, they undo some of the epoch's training.
    epoch_aware = [data.shuffled(options.seed), *noise, data.shuffled(options.seed, _BATCHES_SHUFFLED)]
    examples = train.apply(data.shorter_than(max_length, axes)) if in_memory is None else in_memory.numbers(short)
    for step in epoch_aware[:-1]:
        examples = examples.apply(step)
    batched = examples.apply(buckets.batched(lengths[short], axes=axes, examples=in_memory)).apply(finish)
    if valid is not None:
        valid = valid.apply(buckets.batched(valid_lengths, axes=axes)).apply(finish).cache()
    return training_data(options, batched.apply(epoch_aware[-1]), epoch_aware), valid
