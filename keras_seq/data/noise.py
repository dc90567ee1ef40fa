"""Noise for training on encoded examples, before batching: reproducible across runs, different in each epoch.

    pairs.cache().apply(shuffled(seed)).apply(word_dropout(0.1, end_id=vocabulary.end_id, seed=seed))

A step changes one component of an element, by default the source, and never an end id. A sequence with a token keeps a
token, or has a mask in its place. Put a `cache` before such a step: a `cache` after it would freeze one epoch's noise.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_seq.data.shuffling import Epochs, as_many

# (ids (T,), whether each is an end id (T,), seed (2,)) -> ids (T',)
NoiseFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Noise:
    """A dataset step that randomly changes id vectors, as a function of only (`seed`, epoch, place in the data).

    The noise thus depends neither on the number of parallel calls nor on interruptions of the run. Steps of different
    names draw independently of each other. Two steps of the same name need different seeds.

    Each new iteration of the dataset is an epoch, including iterations for other purposes than training. To make the
    noise independent of those, call `start_epoch` at the start of each training epoch, as for `shuffled`.

    Args:
        function: `(tokens, is_end, seed) -> tokens`, run in a graph, made of stateless random operations.
        name: name of the step, for seeds and errors.
        end_id: id that is never changed. None if the vectors have none.
        seed: a whole number.
        component: component of an element to change: an index in a tuple, or a key in a dict. By default the first, or
            "source". Not needed for elements that are a single vector.
        first_epoch: epoch of the first iteration, for a run that resumes.

    Raises:
        ValueError: if the elements lack that component, or if it is not a vector of whole numbers. Raised when the
            step is applied.
    """

    def __init__(
        self,
        function: NoiseFunction,
        name: str,
        *,
        end_id: int | None,
        seed: int,
        component: int | str | None = None,
        first_epoch: int = 0,
    ):
        self._function = function
        self._name = name
        self._end_id = end_id
        self._component = component
        # Steps with the same seed must not draw the same numbers, or dropout would keep the tokens that masking spares.
        seeds = np.random.SeedSequence([abs(int(seed)), int(seed < 0), zlib.crc32(f"{name} {component}".encode())])
        self._seed = int(seeds.generate_state(1, np.uint64)[0] >> 1)
        self._epochs = Epochs(first_epoch)

    def start_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epochs.start(epoch)

    def _key(self, epoch: tf.Tensor) -> tf.Tensor:
        """A number derived from seed and epoch."""
        return tf.random.stateless_uniform((), tf.stack([self._seed, epoch]), None, None, tf.int64, alg="philox")

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        place = self._place(dataset.element_spec)

        def noisy(key, number, element):
            parts = tf.nest.flatten(element)
            tokens = parts[place]
            is_end = tf.zeros_like(tokens, tf.bool) if self._end_id is None else tokens == self._end_id
            parts[place] = tf.ensure_shape(self._function(tokens, is_end, tf.stack([key, number])), [None])
            return tf.nest.pack_sequence_as(element, parts)

        keys = self._epochs.dataset().flat_map(lambda epoch: tf.data.Dataset.from_tensors(self._key(epoch)).repeat())
        numbered = tf.data.Dataset.zip((keys, tf.data.Dataset.range(tf.int64.max), dataset))
        changed = numbered.map(noisy, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return as_many(dataset, changed)

    def _place(self, spec) -> int:
        """The index of the component in the flattened element."""
        parts = tf.nest.flatten(spec)
        places = tf.nest.pack_sequence_as(spec, range(len(parts)))
        component = self._component
        if component is None:
            component = "source" if isinstance(spec, dict) else 0
        try:
            place = places if component == 0 and places == 0 else places[component]
        except (KeyError, IndexError, TypeError):
            raise ValueError(
                f"`{self._name}` needs elements with a component {component!r}. Received: {spec}"
            ) from None
        part = parts[place] if isinstance(place, int) else place
        if not isinstance(part, tf.TensorSpec) or part.shape.rank != 1 or not part.dtype.is_integer:
            raise ValueError(
                f"`{self._name}` changes vectors of ids (T,). Apply it after `encoded` and before `bucketed`. "
                f"Received: {part} as component {component!r}"
            )
        return place


def word_dropout(
    rate: float | Sequence[float] | np.ndarray,
    *,
    replace_with: int | None = None,
    end_id: int | None,
    seed: int,
    component: int | str | None = None,
    first_epoch: int = 0,
) -> Noise:
    """A dataset step that drops or replaces tokens.

    Each token is dropped independently with probability `rate`. If all would be dropped, one of them, uniformly chosen,
    stays.

        word_dropout(0.25 / (0.25 + counts), replace_with=vocabulary.unknown_id, ...)

    replaces rare words by the unknown id more often than frequent ones, which trains a tagger to handle unseen words.

    Args:
        rate: dropout rate, at least 0 and less than 1, or one rate for each id, `(V,)`.
        replace_with: id, such as the unknown id, that replaces dropped tokens. None removes them.
        end_id, seed, component, first_epoch: those of `Noise`.

    Sources: Iyyer et al. 2015 (removal), aclanthology.org/P15-1162; Bowman et al. 2016 (unknown id),
    arXiv:1511.06349; rare words: Kiperwasser and Goldberg 2016, section 4.1, arXiv:1603.04351.
    """
    rates = np.asarray(rate, np.float32)
    if rates.ndim > 1:
        raise ValueError(f"`rate` must be a number or one number per id. Received: shape {rates.shape}")
    for value in (rates.min(), rates.max()) if rates.size else ():
        _check_share("rate", float(value) if rates.ndim else rate, below_one=True)

    def drop(tokens, is_end, draw):
        chance = _uniform(tf.shape(tokens), draw)
        stays = ~is_end & (chance >= (tf.gather(rates, tokens) if rates.ndim else rates))
        luckiest = tf.reduce_max(tf.where(is_end, -1.0, chance))
        kept = is_end | tf.cond(tf.reduce_any(stays), lambda: stays, lambda: chance >= luckiest)
        if replace_with is None:
            return tf.boolean_mask(tokens, kept)
        return tf.where(kept, tokens, tf.cast(replace_with, tokens.dtype))

    return Noise(drop, "word_dropout", end_id=end_id, seed=seed, component=component, first_epoch=first_epoch)


def local_swap(
    max_distance: int = 3,
    *,
    end_id: int | None,
    seed: int,
    component: int | str | None = None,
    first_epoch: int = 0,
) -> Noise:
    """A dataset step that shuffles tokens locally: no token moves more than `max_distance` positions.

    Token i gets the key i + u, u uniform from 0 to `max_distance` + 1, and tokens are sorted by their keys. No token
    moves past an end id.

    Args:
        max_distance: the k of the paper, which uses 3. 0 changes nothing.
        end_id, seed, component, first_epoch: those of `Noise`.

    Source: Lample et al. 2018, section 2.3, arXiv:1711.00043.
    """
    if max_distance < 0:
        raise ValueError(f"`max_distance` must not be negative. Received: {max_distance}")
    width = float(max_distance + 1)

    def swap(tokens, is_end, draw):
        moves = width * _uniform(tf.shape(tokens), draw, tf.float64)
        # An end id gets a key above all keys before it and below all keys after it.
        ends = tf.cumsum(tf.cast(is_end, tf.float64))
        keys = (
            tf.cast(tf.range(tf.size(tokens)), tf.float64)
            + tf.where(is_end, tf.zeros_like(moves), moves)
            + width * ends
        )
        return tf.gather(tokens, tf.argsort(keys, stable=True))

    return Noise(swap, "local_swap", end_id=end_id, seed=seed, component=component, first_epoch=first_epoch)


def masking(
    share: float = 0.15,
    *,
    mask_id: int,
    random_share: float = 0.0,
    kept_share: float = 0.0,
    random_ids: tuple[int, int] | None = None,
    end_id: int | None,
    seed: int,
    component: int | str | None = None,
    first_epoch: int = 0,
) -> Noise:
    """A dataset step that replaces tokens by a mask. Lengths stay the same.

    Of N tokens round(`share` N), at least one, are chosen uniformly. Each of these independently becomes a random id
    with probability `random_share`, stays with probability `kept_share`, and becomes `mask_id` otherwise. BERT has
    0.15, 0.1 and 0.1.

    Args:
        share: share of the tokens to choose, from 0 (nothing changes) to 1.
        mask_id: id of the mask: the unknown id or a dedicated one.
        random_share, kept_share: probabilities of a random id and of no change.
        random_ids: range (first, last + 1) of the random ids, drawn uniformly, such as `(4, vocabulary.size)`.
        end_id, seed, component, first_epoch: those of `Noise`.

    Source: Devlin et al. 2019, appendix A.1, arXiv:1810.04805.
    """
    for name, value in (("share", share), ("random_share", random_share), ("kept_share", kept_share)):
        _check_share(name, value)
    _check_share("random_share + kept_share", random_share + kept_share)
    if random_share and (random_ids is None or random_ids[0] >= random_ids[1]):
        raise ValueError(f"`random_share` needs `random_ids=(first, last + 1)`. Received: {random_ids}")
    first, behind = random_ids or (mask_id, mask_id + 1)

    def mask(tokens, is_end, draw):
        length = tf.size(tokens)
        draws = _uniform(tf.stack([3, length]), draw)
        order = tf.where(is_end, 2.0, draws[0])
        chosen = _first(order, _count_of(share, is_end, at_least=1), length)
        others = first + tf.cast(draws[2] * (behind - first), tokens.dtype)  # floor: float32 is below 1
        others = tf.minimum(others, tf.cast(behind - 1, tokens.dtype))  # since the product may be rounded up
        masks = tf.where(draws[1] < random_share, others, tf.cast(mask_id, tokens.dtype))
        return tf.where(chosen & (draws[1] < 1.0 - kept_share), masks, tokens)

    return Noise(mask, "masking", end_id=end_id, seed=seed, component=component, first_epoch=first_epoch)


def span_masking(
    share: float = 0.3,
    mean_length: float = 3.0,
    *,
    mask_id: int,
    end_id: int | None,
    seed: int,
    component: int | str | None = None,
    first_epoch: int = 0,
) -> Noise:
    """A dataset step that replaces each of several spans by one mask: the text infilling of BART.

    Spans cover round(`share` N) of N tokens, at least one and at most N - 1. Their lengths are drawn from
    Poisson(`mean_length`) until they reach that number, and the last one is cut to it. A span of length 0 inserts a
    mask between tokens. All placements of the spans among the remaining tokens are equally likely, and two spans may
    touch. An end id inside a span keeps its place.

    Args:
        share: share of the tokens to cover, from 0 (nothing changes) to 1.
        mean_length: mean span length, at least 1. BART has 3.
        mask_id: id of the mask: the unknown id or a dedicated one.
        end_id, seed, component, first_epoch: those of `Noise`.

    Source: Lewis et al. 2020, section 2.2, arXiv:1910.13461. The bounds are those of Raffel et al. 2020,
    arXiv:1910.10683.
    """
    _check_share("share", share)
    if mean_length < 1:
        raise ValueError(f"`mean_length` must be at least 1. Received: {mean_length}")
    cumulative = tf.constant(_poisson_cumulative(mean_length))

    def infill(tokens, is_end, draw):
        places = tf.where(~is_end)[:, 0]  # (N,)
        covered = _count_of(share, is_end, at_least=1, left_over=1)
        uncovered = tf.size(places) - covered
        chances = _uniform(
            [2 * covered + 8], draw + tf.constant([1, 0], tf.int64)
        )  # a seed other than that of the order below
        lengths = tf.searchsorted(cumulative, chances, "right")
        lengths = tf.concat([lengths, [covered]], axis=0)  # enough even if all drawn lengths are 0
        before = tf.cumsum(lengths, exclusive=True)
        lengths = tf.minimum(tf.boolean_mask(lengths, before < covered), covered - before[before < covered])
        spans = tf.size(lengths)

        # A slot is a span or an uncovered token. It begins after the tokens of all slots before it.
        slots = spans + uncovered
        order = tf.math.top_k(_uniform([slots], draw), spans, sorted=True).indices[:, tf.newaxis]
        is_span = tf.scatter_nd(order, tf.ones([spans], tf.bool), [slots])
        begins = tf.cumsum(tf.tensor_scatter_nd_update(tf.ones([slots], tf.int32), order, lengths), exclusive=True)

        # Reinsert the end ids: each token is preceded by a number of masks, and is itself written once or dropped.
        length = tf.size(tokens)
        places = tf.cast(tf.concat([places, places[-1:] + 1], axis=0), tf.int32)
        masked = tf.gather(places, tf.boolean_mask(begins, is_span))[:, tf.newaxis]
        kept = tf.gather(places, tf.boolean_mask(begins, ~is_span))[:, tf.newaxis]
        masks = tf.scatter_nd(masked, tf.ones([spans], tf.int32), [length + 1])
        once = tf.tensor_scatter_nd_update(tf.pad(tf.cast(is_end, tf.int32), [[0, 1]]), kept, tf.ones_like(kept[:, 0]))
        values = tf.stack([tf.fill([length + 1], tf.cast(mask_id, tokens.dtype)), tf.pad(tokens, [[0, 1]])], axis=1)
        return tf.repeat(tf.reshape(values, [-1]), tf.reshape(tf.stack([masks, once], axis=1), [-1]))

    return Noise(infill, "span_masking", end_id=end_id, seed=seed, component=component, first_epoch=first_epoch)


def _check_share(name: str, value: float, below_one: bool = False) -> None:
    if not 0 <= value <= 1 or (below_one and value == 1):
        raise ValueError(f"`{name}` must be from 0 {'to below' if below_one else 'to'} 1. Received: {value}")


def _uniform(shape, seed, dtype=tf.float32) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, dtype=dtype, alg="philox")  # the same on every machine


def _count_of(share: float, is_end: tf.Tensor, at_least: int = 0, left_over: int = 0) -> tf.Tensor:
    """round(share * N) of the N tokens that are not end ids, within bounds, or 0 for a share of 0."""
    tokens = tf.reduce_sum(tf.cast(~is_end, tf.int32))
    if not share:
        return tf.zeros_like(tokens)
    count = tf.cast(tf.round(share * tf.cast(tokens, tf.float64)), tf.int32)
    return tf.maximum(0, tf.minimum(tf.maximum(count, at_least), tokens - left_over))


def _first(order: tf.Tensor, count: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Marks the positions of the `count` smallest numbers: bool `(T,)`."""
    places = tf.math.top_k(-order, count, sorted=False).indices[:, tf.newaxis]
    return tf.scatter_nd(places, tf.ones([count], tf.bool), [length])


def _poisson_cumulative(mean: float) -> np.ndarray:
    """P(length <= k) for k = 0, 1, ... until the rest is negligible, float32."""
    k = np.arange(int(mean + 20 * np.sqrt(mean) + 20))
    log_factorials = np.cumsum(np.log(np.maximum(k, 1)))
    return np.cumsum(np.exp(k * np.log(mean) - mean - log_factorials)).astype(np.float32)
