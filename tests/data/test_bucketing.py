import collections
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import data
from keras_seq.data import number_batches
from keras_seq.data.batch_plan import plan_batches
from keras_seq.data.lengths import longer_than
from tests.reference import quick


def pairs_of_lengths(lengths):
    """Each pair tells its number, in every token, so that nobody can be lost or changed."""
    return tf.data.Dataset.from_generator(
        lambda: ((np.full(s, i + 1, np.int32), np.full(t, i + 1, np.int32)) for i, (s, t) in enumerate(lengths)),
        output_signature=(tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int32)),
    )


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
        ({"tokens_per_batch": 40}, 8, [8, 6, 4, 3, 1]),  # fewer than 8 rows where the budget holds no 8
        ({"tokens_per_batch": 5}, 4, [1, 1, 1, 1, 1]),
        ({"examples_per_batch": 3}, 4, [3, 3, 3, 3, 1]),
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
    with pytest.raises(ValueError, match="`width` must be positive. Received: 0"):
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
    with pytest.raises(ValueError, match="positive lengths"):
        data.bucketed(boundaries=[1, 5])
    with pytest.raises(ValueError, match="as many lengths as an example, one or more"):
        data.bucketed(buckets=[(3, 3), 4])
    with pytest.raises(ValueError, match="as many lengths as an example, 2"):
        pairs_of_lengths([(1, 1)]).apply(data.bucketed(buckets=[3, 4]))
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        data.fit_buckets([], 3)
    with pytest.raises(ValueError, match="Received: 0"):
        data.fit_buckets([1], 0)
    with pytest.raises(ValueError, match="`longer_than\\(0\\)`. Received: 0"):
        data.fit_buckets([0, 3], 2)
    with pytest.raises(ValueError, match="`fit_boundaries` fits the longest. Received: shape \\(2, 3\\)"):
        data.fit_buckets([[1, 2, 3], [1, 1, 1]], 2)


class Kind(NamedTuple):
    """An element of some shape. `make(number, *lengths)` tells its number in its first component."""

    num_lengths: int
    make: Callable
    spec: object
    axes: object = None


def vector(dtype, *dims):
    return tf.TensorSpec([None, *dims], dtype)


def frames(number, length):
    return np.arange(1, 2 * length + 1, dtype=np.float32).reshape(length, 2) + number


FILLERS = {"i": -3, "f": 0, "b": False, "O": b"", "S": b""}
KINDS = {
    "ids": Kind(1, lambda i, n: np.full(n, i, np.int32), vector(tf.int32)),
    "ids, label": Kind(
        1, lambda i, n: (np.full(n, i, np.int64), np.float32(i)), (vector(tf.int64), tf.TensorSpec([], tf.float32))
    ),
    "source, target": Kind(
        2, lambda i, s, t: (np.full(s, i, np.int32), np.full(t, -i, np.int32)), (vector(tf.int32),) * 2
    ),
    "waveform, labels": Kind(
        2,
        lambda i, t, n: {"labels": np.full(t, i, np.int32), "waveform": np.arange(1, n + 1, dtype=np.float32) / i},
        {"labels": vector(tf.int32), "waveform": vector(tf.float32)},
    ),
    "words, tags": Kind(
        1,
        lambda i, n: (np.full(n, i, np.int32), np.array([b"word %d" % i] * n)),
        (vector(tf.int32), vector(tf.string)),
        ("T", "T"),
    ),
    "three": Kind(
        3,
        lambda i, n, m, k: (np.full(n, i, np.int32), (frames(i, m), np.ones(k, bool))),
        (vector(tf.int32), (vector(tf.float32, 2), vector(tf.bool))),
    ),
    "one that does not count": Kind(
        1,
        lambda i, n: (np.full(n, i, np.int32), np.ones((n * i) % 3, np.int32)),
        (vector(tf.int32), vector(tf.int32)),
        ("T", None),
    ),
}


def examples_of(kind, lengths):
    elements = [kind.make(i + 1, *each) for i, each in enumerate(lengths)]
    return tf.data.Dataset.from_generator(lambda: iter(elements), output_signature=kind.spec), elements


def expected_row(component, shape):
    row = np.full(shape, FILLERS[component.dtype.kind], object if component.dtype.kind == "S" else component.dtype)
    row[: len(component)] = component
    return row


@st.composite
def bucketings(draw, num_lengths):
    side = st.integers(1, 14)
    how = draw(st.sampled_from(["buckets", "boundaries", "width", None]))
    if how == "buckets":
        bucket = side if num_lengths == 1 else st.tuples(*[side] * num_lengths)
        return {"buckets": draw(st.lists(bucket, min_size=1, max_size=6))}
    if how == "boundaries":
        return {"boundaries": sorted(draw(st.lists(st.integers(2, 14), min_size=1, max_size=5, unique=True)))}
    return {"width": draw(st.integers(1, 5))} if how else {}


@pytest.mark.parametrize("name", quick(KINDS, few=["source, target", "three", "one that does not count"]))
@settings(max_examples=5)
@given(drawn=st.data())
def test_every_example_once_and_no_batch_over_its_budget(name, drawn):
    kind = KINDS[name]
    lengths = drawn.draw(st.lists(st.tuples(*[st.integers(1, 14)] * kind.num_lengths), min_size=1, max_size=60))
    multiple_of = drawn.draw(st.integers(1, 4))
    budget = drawn.draw(st.integers(1, 60))
    by_examples = drawn.draw(st.booleans())
    options = {
        **({"examples_per_batch": budget} if by_examples else {"tokens_per_batch": budget}),
        **drawn.draw(bucketings(kind.num_lengths)),
        "multiple_of": multiple_of,
        "pad_to_bucket_boundary": drawn.draw(st.booleans()),
    }
    dataset, elements = examples_of(kind, lengths)
    order = drawn.draw(st.none() | st.builds(data.shuffled, st.integers(0, 9), st.sampled_from([5, 100])))
    dataset = dataset if order is None else dataset.apply(order)
    batches = list(dataset.apply(data.bucketed(**options, pad_id=-3, axes=kind.axes)).as_numpy_iterator())

    seen, made, covered = [], [], collections.Counter()
    counting = [i for i, axis in enumerate(tf.nest.flatten(kind.axes or kind.spec)) if axis is not None]
    for batch in map(tf.nest.flatten, batches):
        rows = len(batch[0])
        for row in range(rows):
            number = int(batch[0][row][0])
            seen.append(number)
            for component, original in zip(batch, tf.nest.flatten(elements[number - 1]), strict=True):
                assert len(component) == rows
                if component.ndim > 1:
                    assert np.array_equal(component[row], expected_row(original, component.shape[1:]))
                else:
                    assert component[row] == original
        sides = [batch[i].shape[1] for i in counting if batch[i].ndim > 1]
        assert rows == 1 or (rows <= budget if by_examples else rows * max(sides) <= budget)
        holds = budget if by_examples else budget // max(sides)
        whole = rows % multiple_of == 0 or rows == holds < multiple_of or rows == 1
        made.append((rows, *sides[: kind.num_lengths]))
        covered[tuple(sides)] += not whole
        if not options["pad_to_bucket_boundary"]:
            own = [lengths[number - 1] for number in seen[-rows:]]
            assert tuple(sides[: kind.num_lengths]) == tuple(np.max(own, axis=0))
    assert sorted(seen) == list(range(1, len(lengths) + 1))
    if options["pad_to_bucket_boundary"]:
        assert max(covered.values()) <= 1  # of each shape, only the last batch is a partial one

    plan = plan_batches([lengths[number - 1] for number in seen] if order else lengths, **options)
    assert sorted(plan.rows.tolist()) == sorted(rows for rows, *_ in made)
    if order is None or options["pad_to_bucket_boundary"]:
        found = sorted((rows, *shape) for rows, shape in zip(plan.rows.tolist(), plan.shapes.tolist(), strict=True))
        assert found == sorted(made)


@pytest.mark.parametrize("name", quick(KINDS, few=["words, tags", "three"]))
@settings(max_examples=5)
@given(drawn=st.data())
def test_the_same_batches_from_memory(name, drawn):
    kind = KINDS[name]
    lengths = drawn.draw(st.lists(st.tuples(*[st.integers(1, 14)] * kind.num_lengths), max_size=60))
    options = {
        "tokens_per_batch": drawn.draw(st.integers(1, 60)),
        **drawn.draw(bucketings(kind.num_lengths)),
        "multiple_of": drawn.draw(st.integers(1, 4)),
        "pad_to_bucket_boundary": drawn.draw(st.booleans()),
        "drop_remainder": drawn.draw(st.booleans()),
        "pad_id": -3,
        "axes": kind.axes,
    }
    order = data.shuffled(drawn.draw(st.integers(0, 9)), drawn.draw(st.sampled_from([5, 100])))
    dataset, _ = examples_of(kind, lengths)
    in_memory = data.InMemory(dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_batches, "_NUMBERS_AT_A_TIME", drawn.draw(st.sampled_from([1, 7, 100])))
        faster = in_memory.numbers().apply(order).apply(data.bucketed(**options, examples=in_memory))
    slower = dataset.apply(order).apply(data.bucketed(**options))
    tf.nest.map_structure(assert_compatible, faster.element_spec, slower.element_spec)
    for epoch in (0, 1):
        both = []
        for batches in (faster, slower):
            order.start_epoch(epoch)
            both.append(list(batches.as_numpy_iterator()))
        assert len(both[0]) == len(both[1])
        for ours, theirs in zip(*both, strict=True):
            tf.nest.map_structure(assert_equal, ours, theirs)


def assert_compatible(ours, theirs):
    assert ours.dtype == theirs.dtype and ours.shape.is_compatible_with(theirs.shape)


def assert_equal(ours, theirs):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


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


@pytest.mark.parametrize("lengths", [[(3, 2), (0, 4)], [(3, 2), (4, 0)]])
def test_an_empty_sequence_is_an_error_with_a_remedy(lengths):
    pairs = pairs_of_lengths([*lengths, (1, 1)])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"a row of padding only.*longer_than\(0\).*`axes`"):
        list(pairs.apply(data.bucketed()))
    assert len(list(pairs.apply(longer_than(0)).apply(data.bucketed(examples_per_batch=1)))) == 2
    with pytest.raises(ValueError, match=r"1 of 3 examples have an empty sequence.*`longer_than\(0\)`"):
        plan_batches([*lengths, (1, 1)])
    with pytest.raises(ValueError, match="1 of 2 examples have an empty sequence"):
        plan_batches([(0, 0), (1, 1)])
    (batch,) = pairs.apply(longer_than(0, axes=("S", None))).apply(data.bucketed(axes=("S", None))).take(1)
    assert batch[1].shape[1] > 0


def test_unequal_lengths_of_one_axis_are_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="equally long"):
        list(pairs_of_lengths([(2, 2), (2, 3)]).apply(data.bucketed(axes=("T", "T"))))


def test_what_has_a_fixed_length_and_does_not_count_keeps_it():
    dataset = tf.data.Dataset.range(1, 9).map(lambda n: (tf.ones([n], tf.int32), tf.fill([6], 1.0)))
    dataset = dataset.map(lambda ids, speaker: (ids, tf.ensure_shape(speaker, [6])))
    step = data.bucketed(30, buckets=[4, 10], axes=("T", None), pad_to_bucket_boundary=True)
    shapes = {(ids.shape, speaker.shape) for ids, speaker in dataset.apply(step).as_numpy_iterator()}
    assert shapes == {((4, 4), (4, 6)), ((3, 10), (3, 6)), ((1, 10), (1, 6))}


def test_plan_by_hand():
    lengths = [(2, 2)] * 7 + [(50, 3), (3, 60), (1, 2), (5, 5), (5, 6)]
    plan = plan_batches(lengths, 8, buckets=[(2, 2), (9, 9)], pad_to_bucket_boundary=True)
    assert plan.rows.tolist() == [4, 4, 1, 1, 1, 1]
    assert plan.shapes.tolist() == [[2, 2], [2, 2], [9, 9], [9, 9], [50, 3], [3, 60]]
    assert plan.tokens.tolist() == [16, 15, 10, 11, 53, 63]
    assert plan.batch.tolist() == [0] * 4 + [1] * 3 + [4, 5, 1, 2, 3]
    assert (plan.oversized, plan.partial, plan.dropped) == (
        4,
        0,
        0,
    )  # two fit no bucket; 9 is more than the budget of 8
    assert (plan.batches, plan.positions) == (6, 8 * 4 + 2 * 18 + 53 + 63)
    assert plan.padding == 1 - 168 / plan.positions
    assert (plan.distinct_shapes, plan.traces) == (4, 4)

    plan = plan_batches([3, 1, 4, 4, 2, 9], examples_per_batch=2, buckets=[2, 4])
    assert plan.shapes.tolist() == [[2], [4], [4], [9]] and plan.rows.tolist() == [2, 2, 1, 1]
    assert (plan.oversized, plan.partial, plan.traces) == (1, 1, 4)
    plan = plan_batches([3, 1, 4, 4, 2, 9], examples_per_batch=2, buckets=[2, 4], drop_remainder=True)
    assert plan.batch.tolist() == [1, 0, 1, -1, 0, 2]
    assert (plan.rows.tolist(), plan.dropped, plan.oversized, plan.partial) == ([2, 2, 1], 1, 1, 0)
    for nothing in (plan_batches([]), plan_batches(np.zeros((0, 2)), drop_remainder=True)):
        assert (nothing.batches, nothing.padding, nothing.traces) == (0, 0, 0)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=80),
    budget=st.integers(1, 60),
    buckets=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    multiple_of=st.integers(1, 3),
    drop_remainder=st.booleans(),
)
def test_plan_agrees_with_its_examples(lengths, budget, buckets, multiple_of, drop_remainder):
    plan = plan_batches(lengths, budget, buckets=buckets, multiple_of=multiple_of, drop_remainder=drop_remainder)
    kept = [i for i in range(len(lengths)) if plan.batch[i] >= 0]
    assert plan.dropped == len(lengths) - len(kept) and (drop_remainder or not plan.dropped)
    for number in range(plan.batches):
        inside = [lengths[i] for i in kept if plan.batch[i] == number]
        assert (len(inside), max(inside), sum(inside)) == (
            plan.rows[number],
            plan.shapes[number, 0],
            plan.tokens[number],
        )
    assert sum(plan.rows) == len(kept)
    smallest = [min((b for b in buckets if b >= n), default=None) for n in lengths]
    assert plan.oversized == sum(b is None or b > budget for b in smallest)
    if drop_remainder:
        assert plan.partial == 0
    else:
        assert plan.batches == data.count_batches(lengths, buckets, budget, multiple_of=multiple_of)


def test_a_budget_that_looks_like_a_number_of_rows_is_told(caplog):
    data.bucketed(32)
    assert "4 rows of 8 tokens" in caplog.text and "examples_per_batch=32" in caplog.text
    caplog.clear()
    data.bucketed(examples_per_batch=32), data.bucketed(512), data.bucketed()
    assert not caplog.records


def test_a_budget_of_samples_with_the_default_width_is_told(caplog):
    data.bucketed(400_000, width=4_000)
    data.bucketed(40_000)
    assert not caplog.records
    data.bucketed(400_000)
    assert "100000 buckets" in caplog.text and "width=10000" in caplog.text


def examples(lengths):
    dataset = tf.data.Dataset.from_tensor_slices(np.array(lengths, np.int32)).map(tf.ones)
    return dataset.map(lambda ids: tf.ensure_shape(tf.cast(ids, tf.int32), [None]))


def test_other_examples_go_into_the_same_shapes_and_are_counted():
    lengths = np.array([2, 2, 2, 5, 5, 9])
    buckets = data.Buckets(lengths, tokens_per_batch=10, shapes=2)
    assert buckets.shapes == data.fit_buckets(lengths, 2)
    for part in (lengths, np.array([1, 4, 8, 12])):
        batched = examples(part).apply(buckets.batched(part, pad_id=7))
        batches = [batch.numpy() for batch in batched]
        assert len(batches) == int(batched.cardinality())
        assert sorted(np.concatenate([(batch == 1).sum(axis=1) for batch in batches])) == sorted(part)
        assert {int(value) for batch in batches for value in batch.ravel()} <= {1, 7}


def test_the_number_of_shapes_follows_the_size_of_an_epoch():
    lengths = np.arange(1, 101)
    assert len(data.Buckets(lengths, tokens_per_batch=5050).shapes) == 1
    assert len(data.Buckets(lengths, tokens_per_batch=101).shapes) == 10  # 50 full batches
    assert len(data.Buckets(np.repeat(lengths, 100), tokens_per_batch=101).shapes) == 40
    pairs = np.stack([lengths, lengths[::-1]], axis=1)
    assert len(data.Buckets(pairs, tokens_per_batch=1000).shapes) == 1


def test_rows_are_a_multiple_and_nothing_is_refused():
    buckets = data.Buckets(np.full(20, 3), tokens_per_batch=15, multiple_of=2)
    batches = list(examples([3] * 20).apply(buckets.batched(np.full(20, 3))))
    assert {len(batch) for batch in batches} == {4}
    with pytest.raises(ValueError, match="lengths"):
        data.Buckets(np.zeros(0, int), tokens_per_batch=15)
