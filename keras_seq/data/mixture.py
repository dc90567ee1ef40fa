"""Mixes several corpora: repeats small ones, and never cuts large ones short silently."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from keras_seq.data.arguments import check_positive
from keras_seq.data.shuffling import Epochs

_BLOCK = 1 << 16  # choices drawn at a time


class Mixture:
    """A mixture of corpora, each with a fixed share of every epoch.

    Corpus i of n_i examples gets a share in proportion to n_i ** (1 / temperature), or to `weights[i]`. At
    temperature 1 the shares are the sizes, and an epoch has each example once. Higher temperatures even out the shares.

    An epoch is just long enough for every corpus to pass at least once: the largest relative to its share passes once,
    the others are repeated. The numbers, `examples` of each, are exact and not random. A corpus continues where it
    stopped in the epoch before, so that in the long run all of its examples are used equally often. The order in which
    the corpora take turns is drawn uniformly, from (`seed`, epoch). Each corpus keeps its order, so shuffle afterwards:
    `mixture(corpora).apply(shuffled(seed))`.

    Each new iteration of the dataset is an epoch, as in `shuffled`.

    Args:
        datasets: the corpora, with the same element spec.
        weights: shares, instead of those by size. Any positive numbers.
        temperature: temperature of the shares, by default 1 without `weights`. 5 is usual for many languages.
        sizes: numbers of examples, for datasets of unknown cardinality. Checked while reading.
        examples_per_epoch: length of an epoch, instead of the one above. If it is shorter, the larger corpora pass in
            parts.
        seed: a whole number.
        first_epoch: epoch of the first iteration.

    Attributes:
        examples: number of examples that an epoch takes from each corpus.
        passes: number of passes of an epoch over each corpus.

    Raises:
        ValueError: if the numbers do not fit the datasets, a corpus is empty, or its size is unknown.

    Source: Arivazhagan et al. 2019, arXiv:1907.05019 (shares by temperature).
    """

    def __init__(
        self,
        datasets: Sequence[tf.data.Dataset],
        weights: Sequence[float] | None = None,
        temperature: float | None = None,
        *,
        sizes: Sequence[int] | None = None,
        examples_per_epoch: int | None = None,
        seed: int = 0,
        first_epoch: int = 0,
    ):
        if weights is not None and temperature is not None:
            raise ValueError(f"Give `weights` or `temperature`, not both. Received: {weights=}, {temperature=}")
        check_positive(temperature=1.0 if temperature is None else temperature)
        if seed < 0:
            raise ValueError(f"`seed` must not be negative. Received: {seed}")
        self._datasets = list(datasets)
        if not self._datasets:
            raise ValueError("`datasets` must hold at least one dataset. Received: none")
        for number, dataset in enumerate(self._datasets):
            if dataset.element_spec != self._datasets[0].element_spec:
                raise ValueError(
                    f"The datasets must have one type of element. Received: datasets[0] of "
                    f"{self._datasets[0].element_spec} and datasets[{number}] of {dataset.element_spec}"
                )
        self.sizes = _sizes(self._datasets, sizes)
        self.examples = _shares(self.sizes, weights, 1.0 if temperature is None else temperature, examples_per_epoch)
        self.passes = [count / size for count, size in zip(self.examples, self.sizes, strict=True)]
        self._seed = seed
        self._epochs = Epochs(first_epoch)

    def __str__(self) -> str:
        parts = zip(self.sizes, self.examples, self.passes, strict=True)
        return f"{sum(self.examples):,} examples per epoch: " + "; ".join(
            f"corpus {number} of {size:,}: {count:,} examples, {passes:.2f} passes"
            for number, (size, count, passes) in enumerate(parts)
        )

    def start_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epochs.start(epoch)

    def dataset(self) -> tf.data.Dataset:
        """The mixed examples, one epoch per iteration."""

        def epoch_of(epoch):
            choices = tf.data.Dataset.from_generator(
                self._choices, args=(epoch,), output_signature=tf.TensorSpec([None], tf.int64)
            ).unbatch()
            corpora = []
            for dataset, size, count in zip(self._datasets, self.sizes, self.examples, strict=True):
                begin = epoch * count % size  # where the epoch before stopped
                whole = dataset.apply(tf.data.experimental.assert_cardinality(size))
                corpora.append(whole.skip(begin).concatenate(whole.repeat()))
            return tf.data.Dataset.choose_from_datasets(corpora, choices)

        mixed = self._epochs.dataset().flat_map(epoch_of)
        return mixed.apply(tf.data.experimental.assert_cardinality(sum(self.examples)))

    def _choices(self, epoch: int) -> Iterator[np.ndarray]:
        """Yields the next corpora, a block at a time: a random arrangement of `examples[i]` times i."""
        draw = np.random.default_rng((self._seed, int(epoch)))
        left = np.array(self.examples, np.int64)
        while total := left.sum():
            # The number of each among the next ones if all arrangements are equally likely.
            counts = draw.multivariate_hypergeometric(left, min(_BLOCK, total), method="marginals")
            left -= counts
            yield draw.permutation(np.repeat(np.arange(len(left)), counts))


def mixture(
    datasets: Sequence[tf.data.Dataset],
    weights: Sequence[float] | None = None,
    temperature: float | None = None,
    **options,
) -> tf.data.Dataset:
    """A dataset of several mixed corpora. Logs the number of passes of an epoch over each.

    `Mixture(...).dataset()` is the same, and gives access to the numbers.

    Args, Raises: those of `Mixture`.
    """
    mixed = Mixture(datasets, weights, temperature, **options)
    logging.getLogger("keras_seq").info("mixture: %s", mixed)
    return mixed.dataset()


def _sizes(datasets: list[tf.data.Dataset], sizes: Sequence[int] | None) -> list[int]:
    known = [int(dataset.cardinality()) for dataset in datasets]
    given = known if sizes is None else [int(size) for size in sizes]
    if len(given) != len(datasets):
        raise ValueError(f"`sizes` must have one number for each of the {len(datasets)} datasets. Received: {sizes}")
    for number, (size, own) in enumerate(zip(given, known, strict=True)):
        if size < 0:
            raise ValueError(f"datasets[{number}] has an unknown number of examples or is endless. Pass `sizes`.")
        if size == 0:
            raise ValueError(f"datasets[{number}] is empty.")
        if own not in (size, tf.data.UNKNOWN_CARDINALITY):
            raise ValueError(f"datasets[{number}] has {own} examples (-1: endless). Received: `sizes`={sizes}")
    return given


def _shares(
    sizes: list[int], weights: Sequence[float] | None, temperature: float, examples_per_epoch: int | None
) -> list[int]:
    """The number of examples of each corpus in an epoch."""
    if weights is None:
        # Divided by the largest, since a low temperature would overflow floats.
        weights = [(size / max(sizes)) ** (1 / temperature) for size in sizes]
    if len(weights) != len(sizes) or not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(
            f"`weights` must have one positive number for each of the {len(sizes)} datasets. Received: {weights}"
        )
    if examples_per_epoch is None:
        once = max(size / weight for size, weight in zip(sizes, weights, strict=True))
        # Rounding, for example of 2.9999999996, must not drop an example.
        return [max(size, round(once * weight)) for size, weight in zip(sizes, weights, strict=True)]
    check_positive(examples_per_epoch=examples_per_epoch)
    exact = [examples_per_epoch * weight / sum(weights) for weight in weights]
    counts = [int(share) for share in exact]
    nearest_up = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in nearest_up[: examples_per_epoch - sum(counts)]:
        counts[i] += 1
    return counts
