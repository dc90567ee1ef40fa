import json
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import data
from keras_seq.data import doctor

ONE = st.lists(st.integers(1, 30), min_size=1, max_size=60)
TWO = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 30)), min_size=1, max_size=60)


def examples_of(lengths):
    """Ids 1, 1, 1, ... of these lengths: vectors, or pairs of them."""
    lengths = np.asarray(lengths)
    spec = tf.TensorSpec([None], tf.int32)
    if lengths.ndim == 1:
        return tf.data.Dataset.from_generator(lambda: (np.ones(n, np.int32) for n in lengths), output_signature=spec)
    pairs = ((np.ones(s, np.int32), np.ones(t, np.int32)) for s, t in lengths)
    return tf.data.Dataset.from_generator(lambda: pairs, output_signature=(spec, spec))


def batches_of(report, dataset):
    """What the lines of the suggestion make, run as they stand."""
    names = {"data": data, "dataset": dataset}
    exec(report.code, names)
    return [[np.asarray(side) for side in tf.nest.flatten(batch)] for batch in names["batches"]]


def check_against_batches(report, batches):
    tokens = np.array([sum(np.count_nonzero(side) for side in batch) for batch in batches])
    positions = sum(side.size for batch in batches for side in batch)
    plan = report.suggestion
    assert report.examples == sum(len(batch[0]) for batch in batches)
    assert report.tokens == tokens.sum() == sum(side.tokens for side in report.sides)
    assert plan.padding == pytest.approx(1 - tokens.sum() / positions, abs=1e-12)
    assert plan.shapes == len({tuple(side.shape[1] for side in batch) for batch in batches})
    assert plan.traces == len({tuple(side.shape for side in batch) for batch in batches})
    assert plan.batches == len(batches)
    spread = plan.tokens_per_batch
    assert (spread.minimum, spread.maximum) == (tokens.min(), tokens.max())
    assert (spread.mean, spread.spread) == pytest.approx((tokens.mean(), tokens.std() / tokens.mean()))

    if report.replicas == 1:
        assert report.imbalance is None
        return
    excess = []
    for batch in batches:
        rows = sum(np.count_nonzero(side, axis=1) for side in batch)
        share = -(-len(rows) // report.replicas)
        shares = [rows[r * share : (r + 1) * share].sum() for r in range(report.replicas)]
        excess.append(max(shares) / np.mean(shares) - 1)
    assert (report.imbalance.mean, report.imbalance.worst) == pytest.approx((np.mean(excess), max(excess)))


@settings(max_examples=5)
@given(
    lengths=ONE | TWO,
    tokens_per_batch=st.integers(5, 100),
    max_shapes=st.integers(1, 8),
    replicas=st.integers(1, 3),
    max_length=st.none() | st.integers(2, 30),
    truncate=st.booleans(),
)
def test_the_suggestion_is_what_its_code_makes(lengths, tokens_per_batch, max_shapes, replicas, max_length, truncate):
    lengths = np.array(lengths)
    longest = lengths if lengths.ndim == 1 else lengths.max(axis=1)
    truncate = truncate and max_length is not None
    too_long = 0 if max_length is None else int((longest >= max_length).sum())
    options = {
        "tokens_per_batch": tokens_per_batch,
        "max_shapes": max_shapes,
        "replicas": replicas,
        "max_length": max_length,
        "truncate": truncate,
        "dropped": {"empty": 2},
    }
    if too_long == len(lengths) and not truncate:
        with pytest.raises(ValueError, match="No example is left"):
            doctor.analyze_lengths(lengths, **options)
        return
    report = doctor.analyze_lengths(lengths, **options)
    # A generator is used up by one pass: the fit needs one, the batches another.
    kept = list(examples_of(lengths))
    spec = examples_of(lengths).element_spec
    dataset = tf.data.Dataset.from_generator(lambda: iter(kept), output_signature=spec)
    check_against_batches(report, batches_of(report, dataset))
    assert report.suggestion.shapes <= max_shapes
    assert report.truncated == (too_long if truncate else 0)
    assert report.examples + sum(report.dropped.values()) == len(lengths) + 2


@settings(max_examples=50)
@given(lengths=ONE | TWO, tokens_per_batch=st.integers(5, 100), max_shapes=st.integers(1, 50))
def test_plans(lengths, tokens_per_batch, max_shapes):
    report = doctor.analyze_lengths(lengths, tokens_per_batch=tokens_per_batch, max_shapes=max_shapes)
    assert report.suggestion in report.plans and report.suggestion.fitted
    first, *others = report.plans
    assert first.name == "one bucket" and first.shapes == 1
    assert first.padding == pytest.approx(1 - np.mean(lengths) / np.mean(np.max(lengths, axis=0)))
    fitted = [plan for plan in others if plan.fitted]
    assert all(len(plan.buckets) == plan.shapes for plan in report.plans)
    assert all(plan.shapes <= max_shapes for plan in fitted) and "even widths of 4" in [plan.name for plan in others]
    padding = [first.padding, *(plan.padding for plan in fitted)]
    assert (np.diff(padding) <= 1e-12).all()  # more shapes never pad more
    rows = np.array(lengths).reshape(len(lengths), -1)
    for plan in fitted:  # the first bucket that an example fits into, by rising sum
        shapes = sorted((np.ravel(bucket).tolist() for bucket in plan.buckets), key=lambda shape: (sum(shape), shape))
        own = [next(shape for shape in shapes if (row <= shape).all()) for row in rows]
        assert plan.oversized == sum(max(shape) > tokens_per_batch for shape in own)


def test_half_a_point_pays_for_no_shape_and_few_batches_count():
    # 20 lengths, equally frequent: 20 shapes pad nothing.
    many = doctor.analyze_lengths(np.repeat(np.arange(1, 21), 1000), tokens_per_batch=200)
    assert many.suggestion.padding == 0 and many.suggestion.shapes == 20
    # All but one example in ten thousand of two lengths: a third shape saves next to nothing.
    lengths = np.array([10] * 5000 + [20] * 5000 + [15])
    rare = doctor.analyze_lengths(lengths, tokens_per_batch=200, max_shapes=3)
    assert rare.suggestion.padding == 0 and rare.suggestion.shapes == 3
    more = doctor.analyze_lengths(np.concatenate([lengths, [11, 12, 13]]), tokens_per_batch=200)
    assert more.suggestion.shapes == 3 and 0 < more.suggestion.padding < 0.005
    # Forty lengths of one example each: as many batches as shapes.
    few = doctor.analyze_lengths(np.arange(1, 41), tokens_per_batch=200)
    assert few.plans[-1].batches == 40 and few.suggestion.batches < 15


@settings(max_examples=50)
@given(lengths=ONE | TWO, outlier=st.integers(0, 5000))
def test_sides_against_numpy(lengths, outlier):
    lengths = np.array(lengths * 5)
    if outlier:
        lengths[0] = outlier
    report = doctor.analyze_lengths(lengths)
    sides = [lengths] if lengths.ndim == 1 else lengths.T
    assert [side.side for side in report.sides] == (["tokens"] if lengths.ndim == 1 else ["source", "target"])
    for side, values in zip(report.sides, sides, strict=True):
        assert (side.minimum, side.maximum, side.tokens) == (values.min(), values.max(), values.sum())
        assert side.mean == pytest.approx(values.mean())
        for share, value in side.quantiles.items():
            assert value == np.quantile(values, float(share), method="inverted_cdf")
        edges = side.first + side.width * np.arange(len(side.counts) + 1)
        edges[-1] = max(edges[-1], values.max() + 1)
        columns = zip(edges[:-1], edges[1:], strict=True)
        assert list(side.counts) == [((low <= values) & (values < high)).sum() for low, high in columns]
        assert len(side.counts) <= 61


def test_unknown_tokens_of_dropped_examples_are_not_counted():
    lengths, unknown = [3, 9, 4], [1, 5, 2]
    assert doctor.analyze_lengths(lengths).unknown is None
    assert doctor.analyze_lengths(lengths, unknown=unknown).unknown == 8
    assert doctor.analyze_lengths(lengths, unknown=unknown, max_length=9).unknown == 3


def test_report_as_json():
    report = doctor.analyze_lengths(
        [(3, 4), (5, 2), (9, 9)], iter([[1]] * 3), dropped={"empty": 1, "bad": 2}, replicas=2
    )
    found = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert (found["examples"], found["tokens"], found["dropped"]) == (3, 32, 3)
    assert found["dropped_by_reason"] == {"empty": 1, "bad": 2}
    for name in ("padding", "shapes", "traces", "batches", "oversized"):
        assert found[name] == getattr(report.suggestion, name)
    assert [tuple(bucket) for bucket in found["buckets"]] == list(report.suggestion.buckets)
    assert found["timing"]["batches"] == 2 and found["imbalance"]["worst"] > 0


@pytest.mark.parametrize(
    ("lengths", "options", "told"),
    [
        (np.zeros((3, 3)), {}, "shape \\(3, 3\\)"),
        ([], {}, "No example is left"),
        ([3, 0], {}, "longer_than\\(0\\)"),
        ([3], {"max_shapes": 0}, "`max_shapes` must be positive. Received: 0"),
        ([3], {"replicas": 0}, "`replicas` must be positive. Received: 0"),
        ([3], {"tokens_per_batch": 0}, "`tokens_per_batch` must be positive. Received: 0"),
        ([3], {"max_length": 1}, "Received: 1"),
        ([3], {"truncate": True}, "`truncate` needs a `max_length`"),
        ([3, 4], {"max_length": 3}, "'too_long': 2"),
    ],
)
def test_bad_arguments(lengths, options, told):
    with pytest.raises(ValueError, match=told):
        doctor.analyze_lengths(lengths, **options)


def test_time_batches():
    def pipeline():
        time.sleep(0.3)  # buffers fill
        for _ in range(5):
            yield np.array([[5, 6, 0], [7, 0, 0]]), np.ones((2, 3), np.float32), np.array([1, 0])
            time.sleep(0.02)

    timing = doctor.time_batches(pipeline())
    assert timing.first_batch >= 0.3 and timing.batches == 4
    assert 0.02 <= timing.median <= timing.first_batch and timing.mean >= 0.02
    assert timing.tokens_per_second == pytest.approx(3 / timing.mean)
    assert doctor.time_batches([1]) is None and doctor.time_batches([]) is None
