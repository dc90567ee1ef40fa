import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import data, text


def pairs_of_lengths(lengths):
    """Each pair tells its number, in every token, so that nobody can be lost or changed."""
    return tf.data.Dataset.from_generator(
        lambda: ((np.full(s, i + 1, np.int32), np.full(t, i + 1, np.int32)) for i, (s, t) in enumerate(lengths)),
        output_signature=(tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int32)),
    )


def positions(buckets, lengths):
    lengths = np.asarray(lengths).reshape(len(lengths), -1)
    maxima = np.asarray(buckets).reshape(len(buckets), -1)
    fits = (lengths[:, None] <= maxima[None]).all(axis=2)
    assert fits.any(axis=1).all()
    return int(np.where(fits, maxima.sum(axis=1), 10**9).min(axis=1).sum())


# Figures: OpenNMT-tf, dataset_test.py.
@pytest.mark.parametrize("width, longest, expected", [(3, 18, [4, 7, 10, 13, 16, 19, 22]), (1, 9, list(range(2, 12)))])
def test_even_boundaries(width, longest, expected):
    assert data.even_boundaries(width, longest) == expected


@pytest.mark.parametrize(
    "budget, multiple_of, expected",
    [
        ({"tokens_per_batch": 512}, 1, [170, 85, 56, 42, 1]),
        ({"tokens_per_batch": 512}, 8, [168, 80, 56, 40, 1]),
        ({"examples_per_batch": 15}, 8, [8, 8, 8, 8, 1]),
    ],
)
def test_batch_sizes(budget, multiple_of, expected):
    assert data.batch_sizes([4, 7, 10, 13], **budget, multiple_of=multiple_of) == expected
    squares = [(3, 3), (2, 6), (9, 1), (12, 12)]
    assert data.batch_sizes(squares, **budget, multiple_of=multiple_of) == expected


@given(width=st.integers(1, 9), longest=st.integers(1, 100))
def test_even_boundaries_cover(width, longest):
    boundaries = data.even_boundaries(width, longest)
    assert boundaries[-1] > longest and set(np.diff(boundaries)) <= {width}


def test_bad_arguments():
    with pytest.raises(ValueError, match="width=0"):
        data.even_boundaries(0, 5)
    with pytest.raises(ValueError, match="`tokens_per_batch` must be positive. Received: 0"):
        data.bucketed(0)
    with pytest.raises(ValueError, match="Received: -1"):
        data.bucketed(multiple_of=-1)
    with pytest.raises(ValueError, match="either"):
        data.batch_sizes([4], 5, examples_per_batch=5)
    with pytest.raises(ValueError, match="one of"):
        data.bucketed(width=2, boundaries=[3])
    with pytest.raises(ValueError, match="positive lengths"):
        data.bucketed(buckets=[])
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        data.fit_buckets([], 3)
    with pytest.raises(ValueError, match="Received: 0"):
        data.fit_buckets([1], 0)


side = st.integers(1, 14)
bucketings = st.one_of(
    st.builds(lambda maxima: {"buckets": maxima}, st.lists(st.tuples(side, side), min_size=1, max_size=6)),
    st.builds(
        lambda found: {"boundaries": sorted(found)}, st.lists(st.integers(2, 14), min_size=1, max_size=5, unique=True)
    ),
    st.builds(lambda width: {"width": width}, st.integers(1, 5)),
    st.just({}),
)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.tuples(side, side), min_size=1, max_size=60),
    tokens=st.integers(1, 60),
    multiple_of=st.integers(1, 3),
    bucketing=bucketings,
    to_boundary=st.booleans(),
)
def test_every_pair_once_and_no_batch_over_budget(lengths, tokens, multiple_of, bucketing, to_boundary):
    step = data.bucketed(tokens, **bucketing, multiple_of=multiple_of, pad_to_bucket_boundary=to_boundary)
    seen, sizes = [], {}
    for source, target in pairs_of_lengths(lengths).apply(step).as_numpy_iterator():
        assert len(source) == len(target) > 0
        for row, other in zip(source, target, strict=True):
            number = int(row[0])
            assert (int((row == number).sum()), int((other == number).sum())) == lengths[number - 1]
            assert set(row) | set(other) <= {0, number}
            seen.append(number)
        if len(source) > multiple_of:
            assert len(source) * max(source.shape[1], target.shape[1]) <= tokens
        longest = max(lengths[number - 1][i] for number in seen[-len(source) :] for i in (0, 1))
        assert to_boundary or max(source.shape[1], target.shape[1]) == longest
        sizes.setdefault((source.shape[1], target.shape[1]), []).append(len(source))
    assert sorted(seen) == list(range(1, len(lengths) + 1))
    if to_boundary and "buckets" in bucketing:
        covered = {tuple(shape) for shape in bucketing["buckets"]}
        alone = {shape for shape in sizes if shape not in covered}
        assert all(set(sizes[shape]) == {1} for shape in alone)
        assert not any(s <= b and t <= c for s, t in alone for b, c in covered)
        # Full batches first: no more than one partial batch of each shape.
        for shape in sizes.keys() & covered:
            full = data.batch_sizes([shape], tokens, multiple_of=multiple_of)[0]
            assert sum(size != full for size in sizes[shape]) <= 1


def test_a_pair_goes_to_the_cheapest_bucket_that_holds_it():
    buckets = [(10, 10), (3, 9), (9, 3)]
    step = data.bucketed(examples_per_batch=1, buckets=buckets, pad_to_bucket_boundary=True)
    lengths = [(3, 9), (9, 3), (4, 4), (1, 1), (10, 1), (11, 1)]
    shapes = [(s.shape[1], t.shape[1]) for s, t in pairs_of_lengths(lengths).apply(step).as_numpy_iterator()]
    assert shapes == [(3, 9), (9, 3), (10, 10), (3, 9), (10, 10), (11, 1)]


def test_over_long_pairs_travel_alone():
    lengths = [(2, 2)] * 7 + [(50, 3), (3, 60), (50, 3)]
    batches = list(pairs_of_lengths(lengths).apply(data.bucketed(8, boundaries=[3])).as_numpy_iterator())
    assert sorted((s.shape, t.shape) for s, t in batches) == sorted(
        [((4, 2), (4, 2)), ((3, 2), (3, 2)), ((1, 50), (1, 3)), ((1, 50), (1, 3)), ((1, 3), (1, 60))]
    )


def test_drop_remainder_and_padding_value():
    lengths = [(2, 2), (1, 2), (2, 1)]
    batches = list(pairs_of_lengths(lengths).apply(data.bucketed(4, boundaries=[3], drop_remainder=True, pad_id=9)))
    assert len(batches) == 1 and batches[0][0].numpy().tolist() == [[1, 1], [2, 9]]


histograms = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 50)), min_size=1, max_size=9)


@given(histogram=histograms, max_shapes=st.integers(1, 6))
def test_one_length_is_fitted_as_well_as_brute_force(histogram, max_shapes):
    lengths = np.repeat(*np.array(histogram).T)
    found = data.fit_buckets(lengths, max_shapes)
    values = np.unique(lengths).tolist()
    best = min(
        positions([*some, values[-1]], lengths)
        for k in range(min(max_shapes, len(values)))
        for some in itertools.combinations(values[:-1], k)
    )
    assert positions(found, lengths) == best
    assert found == sorted(found) and len(found) <= max_shapes
    assert data.fit_boundaries(lengths, max_shapes) == [longest + 1 for longest in found]


def brute_force_pairs(lengths, max_shapes):
    sides = [np.unique(np.array(lengths)[:, i]).tolist() for i in (0, 1)]
    shapes = [shape for shape in itertools.product(*sides)]
    covers = [c for c in itertools.combinations(shapes, min(max_shapes, len(shapes)))]
    costs = [np.min([np.where((np.array(lengths) <= b).all(1), sum(b), 10**6) for b in cover], 0) for cover in covers]
    return int(min(cost.sum() for cost in costs))


def test_two_lengths_are_fitted_nearly_as_well_as_brute_force():
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(40):
        pairs = generator.integers(1, generator.integers(3, 30), (generator.integers(1, 12), 2))
        pairs[:, 0] = generator.choice(pairs[:, 0], 4)[generator.integers(0, 4, len(pairs))]
        pairs[:, 1] = generator.choice(pairs[:, 1], 4)[generator.integers(0, 4, len(pairs))]
        max_shapes = int(generator.integers(1, 5))
        found = data.fit_buckets(pairs, max_shapes)
        assert len(found) <= max_shapes
        ratios.append(positions(found, pairs) / brute_force_pairs(pairs.tolist(), max_shapes))
    assert min(ratios) == 1  # never better than the best, which would be a wrong count
    assert np.mean(ratios) < 1.01 and max(ratios) < 1.1


@given(
    pairs=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=80),
    max_shapes=st.integers(1, 10),
)
@settings(max_examples=40, deadline=None)
def test_two_lengths_beat_one(pairs, max_shapes):
    found = data.fit_buckets(pairs, max_shapes)
    square = [(longest, longest) for longest in data.fit_buckets(np.max(pairs, axis=1), max_shapes)]
    assert positions(found, pairs) <= positions(square, pairs)
    assert found == sorted(found, key=lambda bucket: (sum(bucket), bucket))
    assert {tuple(map(type, bucket)) for bucket in found} == {(int, int)}


def test_enough_shapes_leave_no_padding():
    pairs = [(1, 5), (2, 2), (7, 3)]
    assert data.fit_buckets(pairs, 100) == [(2, 2), (1, 5), (7, 3)]
    assert data.fit_buckets([4, 1, 4], 100) == [1, 4]


def test_many_distinct_lengths_are_thinned_out():
    generator = np.random.default_rng(0)
    assert data.fit_buckets(generator.permutation(5000) + 1, 4) == pytest.approx([1250, 2500, 3750, 5000], rel=0.01)
    pairs = generator.integers(1, 300, (2000, 2))
    assert positions(data.fit_buckets(pairs, 5), pairs) < positions(data.fit_buckets(pairs, 1), pairs)


def test_multi30k(real_data):
    folder = real_data("multi30k")
    pairs = data.read_parallel_text(folder / "train.en", folder / "train.de")
    subwords = text.Subwords.train([*pairs.sources, *pairs.targets], 8000)
    encoded = pairs.dataset().apply(subwords.encoded()).cache()
    lengths = data.lengths(encoded)
    assert len(lengths) == 29_000
    for max_shapes, share in ((12, 0.105), (24, 0.065), (40, 0.048)):
        buckets = data.fit_buckets(lengths, max_shapes)
        assert len(buckets) == max_shapes
        assert 1 - lengths.sum() / positions(buckets, lengths) <= share
    batches = encoded.take(5000).apply(data.bucketed(4096, buckets=buckets, pad_to_bucket_boundary=True))
    assert data.padding(batches) <= share
