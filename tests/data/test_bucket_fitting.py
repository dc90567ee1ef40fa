"""Fitted buckets against brute force, and against what a search found on real data."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import data, text
from keras_seq.data import bucket_fitting
from keras_seq.data.batch_plan import plan_batches
from keras_seq.data.bucket_fitting import distinct_rows


def positions(buckets, lengths):
    lengths = np.asarray(lengths).reshape(len(lengths), -1)
    maxima = np.asarray(buckets).reshape(len(buckets), -1)
    fits = (lengths[:, None] <= maxima[None]).all(axis=2)
    assert fits.any(axis=1).all()
    return int(np.where(fits, maxima.sum(axis=1), 10**9).min(axis=1).sum())


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
    pairs = np.stack([lengths, np.ones_like(lengths)], axis=1)
    assert data.fit_boundaries(pairs, max_shapes) == [longest + 1 for longest in found]


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
@settings(max_examples=40)
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


@pytest.mark.long
def test_multi30k(real_data):
    folder = real_data("multi30k")
    pairs = data.read_parallel_text(folder / "train.en", folder / "train.de")
    subwords = text.Subwords.train([*pairs.sources, *pairs.targets], 8000)
    encoded = pairs.dataset().apply(subwords.encoded()).cache()
    lengths = data.lengths(encoded)
    assert len(lengths) == 29_000
    for max_shapes, share in ((12, 0.105), (24, 0.065), (40, 0.048)):
        shapes = {"buckets": data.fit_buckets(lengths, max_shapes), "pad_to_bucket_boundary": True}
        plan = plan_batches(lengths, 4096, **shapes)
        assert (plan.distinct_shapes, plan.oversized, plan.dropped) == (max_shapes, 0, 0)
        assert plan.padding <= share
        assert 1 - lengths.sum() / positions(shapes["buckets"], lengths) == pytest.approx(plan.padding)
    batches = encoded.take(5000).apply(data.bucketed(4096, **shapes))
    assert data.padding(batches) == pytest.approx(plan_batches(lengths[:5000], 4096, **shapes).padding)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([1, 2**20, 2**62])), max_size=30))
def test_distinct_rows_as_numpy_finds_them(rows):
    rows = np.array(rows, np.int64).reshape(-1, 2)
    expected = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    for ours, theirs in zip(distinct_rows(rows), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs.reshape(ours.shape))


@pytest.mark.parametrize(("swaps", "expected"), [(0, [0, 1]), (1, [3, 1]), (100, [3, 2])])
def test_exchanges_end_at_the_best_shapes_or_at_their_number(swaps, expected, monkeypatch):
    cost = np.array([[9, 9, 9], [5, 5, 9], [1, 6, 9], [9, 1, 1]], float)  # (shapes, lengths)
    monkeypatch.setattr(bucket_fitting, "_MAX_SWAPS", swaps)
    chosen = [0, 1]
    assert bucket_fitting._exchange(chosen, cost, np.ones(3)) == expected and chosen == [0, 1]
