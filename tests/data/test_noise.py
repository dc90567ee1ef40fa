from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.data.noise import Noise, _count_of, local_swap, masking, span_masking, word_dropout
from tests.reference import quick

END, MASK, UNKNOWN = 3, 9000, 1
COMMON = {"end_id": END, "seed": 5}
STEPS = {
    "drop": lambda **options: word_dropout(0.3, **COMMON | options),
    "replace": lambda **options: word_dropout(0.3, replace_with=UNKNOWN, **COMMON | options),
    "swap": lambda **options: local_swap(2, **COMMON | options),
    "mask": lambda **options: masking(0.3, mask_id=MASK, **COMMON | options),
    "spans": lambda **options: span_masking(0.4, mask_id=MASK, **COMMON | options),
}


def sentences(*rows, dtype=tf.int32):
    rows = tf.ragged.constant(rows, dtype, ragged_rank=1)
    return tf.data.Dataset.from_tensor_slices(rows).map(lambda row: row)  # now dense by type


def plain(dataset):
    rows = next(iter(dataset.ragged_batch(10_000)))  # at once: many single ones take long to fetch
    return rows.to_list() if isinstance(rows, tf.RaggedTensor) else rows.numpy().tolist()


def draws(step, tokens, count):
    """The same sentence `count` times, each time with other noise."""
    return plain(tf.data.Dataset.from_tensors(np.asarray(tokens, np.int32)).repeat(count).apply(step))


def near(observed, expected, deviation, count):
    """Within five standard errors of the mean of `count` numbers."""
    assert abs(observed - expected) <= 5 * deviation / np.sqrt(count), (observed, expected)


@pytest.fixture(params=STEPS)
def step(request):
    return STEPS[request.param]


# What no step does by itself, but `Noise` for all: with the one that is quick to trace, and the one that draws most.
of_noise = pytest.mark.parametrize("step", quick(["drop", "spans"], few=["drop"]), indirect=True)


# -- what all of them keep


ROWS = [list(range(10, 10 + n)) + [END] for n in range(12)] * 8 + [[10, END, 11, 12, END, 13], [], [END, END], [10]]


def test_end_ids_stay_and_nothing_becomes_empty(step):
    for row, noisy in zip(ROWS, plain(sentences(*ROWS).apply(step())), strict=True):
        assert noisy.count(END) == row.count(END)
        if row and row[-1] == END:
            assert noisy[-1] == END
        tokens, kept = ([token for token in tokens if token != END] for tokens in (row, noisy))
        assert bool(tokens) == bool(kept)


@of_noise
def test_it_draws_nothing_but_what_it_is_given(step):
    dataset = sentences(*ROWS).apply(step())
    first, second = plain(dataset), plain(dataset)
    assert first != second
    one_thread = tf.data.Options()
    one_thread.threading.private_threadpool_size = 1
    assert plain(sentences(*ROWS).apply(step()).with_options(one_thread)) == first


@of_noise
def test_seed_epoch_and_place_decide(step):
    rows = ROWS
    dataset = sentences(*rows).apply(step())
    first, second = plain(dataset), plain(dataset)
    assert plain(sentences(*rows).apply(step(first_epoch=1))) == second
    again = step()
    noisy = sentences(*rows).apply(again)
    next(iter(noisy))  # a look at the first one uses up an epoch
    again.start_epoch(0)
    assert plain(noisy) == first
    for seed in (6, -5):
        assert plain(sentences(*rows).apply(step(seed=seed))) != first
    # What stands elsewhere has no say, only the place has.
    changed = [row if i % 2 else [20, 21, END] for i, row in enumerate(rows)]
    assert plain(sentences(*changed).apply(step()))[1::2] == first[1::2]
    assert plain(sentences(*rows).apply(step()).repeat(2)) == first + second


@of_noise
def test_the_source_only_by_default(step):
    tokens = tf.constant([[10, 11, 12, 13, 14, 15, 16, 17, END]] * 50)
    pairs = tf.data.Dataset.from_tensor_slices((tokens, tokens))
    clean = tokens.numpy().tolist()

    def sides(**options):
        return [
            [row.tolist() for row in side]
            for side in zip(*pairs.apply(step(**options)).as_numpy_iterator(), strict=True)
        ]

    source, target = sides()
    assert target == clean and source != clean
    source, target = sides(component=1)
    assert source == clean and target != clean
    named = tf.data.Dataset.from_tensor_slices({"label": tf.range(50), "source": tokens, "target": tokens})
    noisy = list(named.apply(step()).as_numpy_iterator())
    assert [row["label"] for row in noisy] == list(range(50))
    assert [row["target"].tolist() for row in noisy] == clean
    assert [row["source"].tolist() for row in noisy] != clean
    assert named.apply(step()).cardinality() == 50
    noisy = named.apply(step(component="target")).as_numpy_iterator()
    assert [row["source"].tolist() for row in noisy] == clean


@of_noise
def test_int64_and_no_end_id(step):
    rows = [[10, 11, 12, END, 13, 14, 15, 16]] * 40
    noisy = sentences(*rows, dtype=tf.int64).apply(step(end_id=None))
    assert noisy.element_spec == tf.TensorSpec([None], tf.int64)
    assert {row.count(END) for row in plain(noisy)} != {1} or {tuple(row).index(END) for row in plain(noisy)} != {3}


@of_noise
def test_what_it_cannot_change(step):
    vectors = tf.zeros([4, 3], tf.int32)
    for dataset, remedy in (
        (tf.data.Dataset.from_tensors(vectors), "before `bucketed`"),
        (tf.data.Dataset.from_tensor_slices((tf.constant(["a"]), [1])), "after `encoded`"),
        (tf.data.Dataset.from_tensor_slices({"text": vectors}), "'source'"),
        (tf.data.Dataset.from_tensor_slices(tf.zeros([4, 3])), "vectors of ids"),
    ):
        with pytest.raises(ValueError, match=remedy):
            dataset.apply(step())
    for component in ("source", 2):
        with pytest.raises(ValueError, match=f"component {component!r}"):
            tf.data.Dataset.from_tensor_slices((vectors, vectors)).apply(step(component=component))
    spec = tf.TensorSpec([None], tf.int32)  # one and the same object for both components
    pairs = tf.data.Dataset.from_generator(lambda: [([10] * 9, [10] * 9)] * 9, output_signature=(spec, spec))
    assert all(source.tolist() == [10] * 9 for source, _ in pairs.apply(step(component=1)).as_numpy_iterator())


def test_two_steps_draw_independently():
    """With the same numbers, dropout would leave only what a replacement of the same rate then leaves alone."""
    rows = tf.data.Dataset.from_tensors(tf.range(10, 60)).repeat(200)
    dropped = rows.apply(masking(0.5, mask_id=MASK, **COMMON)).apply(word_dropout(0.5, **COMMON))
    noisy = np.concatenate(list(dropped.as_numpy_iterator()))
    near((noisy == MASK).mean(), 0.5, 0.5, len(noisy))


def test_bad_arguments():
    for build, message in (
        (lambda: word_dropout(1.0, **COMMON), "`rate`"),
        (lambda: word_dropout(-0.1, **COMMON), "`rate`"),
        (lambda: local_swap(-1, **COMMON), "`max_distance`"),
        (lambda: masking(1.1, mask_id=MASK, **COMMON), "`share`"),
        (lambda: masking(0.1, mask_id=MASK, random_share=0.6, kept_share=0.6, **COMMON), "random_share"),
        (lambda: masking(0.1, mask_id=MASK, random_share=0.1, **COMMON), "`random_ids"),
        (lambda: masking(0.1, mask_id=MASK, random_share=0.1, random_ids=(4, 4), **COMMON), "`random_ids"),
        (lambda: span_masking(-0.1, mask_id=MASK, **COMMON), "`share`"),
        (lambda: span_masking(0.1, 0.5, mask_id=MASK, **COMMON), "`mean_length`"),
        (lambda: Noise(lambda tokens, *_: tokens, "none", end_id=None, seed=0, first_epoch=-1), "`first_epoch`"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_none_at_all_changes_nothing():
    rows = [row for row in ROWS if row]
    for step in (
        word_dropout(0.0, **COMMON),
        local_swap(0, **COMMON),
        masking(0.0, mask_id=MASK, **COMMON),
        span_masking(0.0, mask_id=MASK, **COMMON),
    ):
        assert plain(sentences(*rows).apply(step)) == rows


# -- word dropout


def test_dropout_takes_each_token_with_the_same_chance():
    tokens = [*range(10, 20), END]
    rows = draws(word_dropout(0.3, **COMMON), tokens, 3000)
    assert all(row == sorted(row[:-1]) + [END] for row in rows)  # what is left keeps its order
    counts = Counter(token for row in rows for token in row)
    for token in tokens[:-1]:
        near(counts[token] / 3000, 0.7, np.sqrt(0.21), 3000)
    # Tokens go one by one: the number left is binomial.
    near(np.var([len(row) - 1 for row in rows]), 10 * 0.21, 10 * 0.21 * np.sqrt(2), 3000)


def test_where_all_would_go_each_is_as_likely_to_stay():
    rows = draws(word_dropout(0.999, **COMMON), [10, 11, 12, END], 1500)
    assert all(len(row) >= 2 for row in rows)
    counts = Counter(row[0] for row in rows)
    for token in (10, 11, 12):
        near(counts[token] / 1500, 1 / 3, np.sqrt(2) / 3, 1500)


def test_replaced_tokens_keep_their_places():
    tokens = [*range(10, 20), END]
    rows = np.array(draws(word_dropout(0.3, replace_with=UNKNOWN, **COMMON), tokens, 2000))
    assert ((rows == tokens) | (rows == UNKNOWN)).all()
    near((rows[:, :-1] == UNKNOWN).mean(), 0.3, np.sqrt(0.21), rows[:, :-1].size)


def test_each_id_may_have_a_chance_of_its_own():
    rates = np.zeros(20)
    rates[10:13] = [0.1, 0.5, 0.9]
    tokens = [10, 11, 12, 13, END]
    rows = np.array(draws(word_dropout(rates, replace_with=UNKNOWN, **COMMON), tokens, 2000))
    for place, rate in enumerate([0.1, 0.5, 0.9, 0.0, 0.0]):
        near((rows[:, place] == UNKNOWN).mean(), rate, np.sqrt(rate * (1 - rate)), 2000)
    for wrong in (np.array([0.5, 1.0]), np.array([-0.1, 0.5]), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="rate"):
            word_dropout(wrong, **COMMON)


# -- local swap


@settings(max_examples=5)
@given(
    st.lists(st.lists(st.booleans(), max_size=30), min_size=1, max_size=20),
    st.integers(0, 5),
    st.integers(-(2**40), 2**40),
)
def test_no_token_moves_far_or_past_an_end(rows, max_distance, seed):
    # Each token its own id, so that places can be followed; True stands for an end id.
    rows = [[END if end else 10 + i for i, end in enumerate(row)] for row in rows]
    noisy = plain(sentences(*rows).apply(local_swap(max_distance, end_id=END, seed=seed)))
    for row, other in zip(rows, noisy, strict=True):
        assert sorted(row) == sorted(other)
        assert [i for i, t in enumerate(row) if t == END] == [i for i, t in enumerate(other) if t == END]
        for i, token in enumerate(other):
            if token != END:
                assert abs(token - 10 - i) <= max_distance
                assert END not in row[min(i, token - 10) : max(i, token - 10)]


def test_swaps_are_distributed_as_in_the_paper():
    count = 4000
    observed = Counter(map(tuple, draws(local_swap(2, **COMMON), [0, 1, 2, 4], count)))  # 4 at place 3: END is 3
    random = np.random.default_rng(0)
    keys = np.arange(4) + random.uniform(0, 3, (40_000, 4))
    expected = Counter(tuple(np.array([0, 1, 2, 4])[row]) for row in np.argsort(keys, axis=1).tolist())
    assert set(observed) <= set(expected)
    for order, times in expected.items():
        share = times / 40_000
        near(observed[order] / count, share, np.sqrt(share), count)


# -- masking


@pytest.mark.parametrize("share", [0.15, 0.5, 1.0])
def test_the_share_of_masks_is_exact(share):
    for row, noisy in zip(ROWS, plain(sentences(*ROWS).apply(masking(share, mask_id=MASK, **COMMON))), strict=True):
        tokens = len(row) - row.count(END)
        assert noisy.count(MASK) == min(tokens, max(1, round(share * tokens)))
        assert all(b in (a, MASK) for a, b in zip(row, noisy, strict=True))


def test_masked_places_and_what_stands_there():
    tokens = np.array([*range(10, 30), END])
    options = {"random_share": 0.2, "kept_share": 0.3, "random_ids": (100, 105)}
    rows = np.array(draws(masking(0.5, mask_id=MASK, **options, **COMMON), tokens, 2000))
    changed = rows != tokens
    near(changed.mean(axis=0)[:-1].max(), 0.35, 0.5, 2000)
    near(changed.mean(axis=0)[:-1].min(), 0.35, 0.5, 2000)
    assert not changed[:, -1].any()
    assert (changed.sum(axis=1) <= 10).all()
    near((rows == MASK).sum() / (10 * 2000), 0.5, 0.5, 10 * 2000)
    others = rows[changed & (rows != MASK)]
    near(len(others) / (10 * 2000), 0.2, 0.4, 10 * 2000)
    assert set(others) == set(range(100, 105))
    for token in range(100, 105):
        near((others == token).mean(), 0.2, 0.4, len(others))


# -- span masking


def poisson_spans(covered, mean, random):
    """The lengths of spans, as the docstring has them, one after the other."""
    lengths = []
    while sum(lengths) < covered:
        lengths.append(min(random.poisson(mean), covered - sum(lengths)))
    return lengths


def simulated(tokens, share, mean, random):
    covered = max(0, min(max(1, round(share * len(tokens))), len(tokens) - 1))
    slots = [None] * (len(tokens) - covered) + poisson_spans(covered, mean, random)
    random.shuffle(slots)
    row, place = [], 0
    for slot in slots:
        row.append(tokens[place] if slot is None else MASK)
        place += 1 if slot is None else slot
    return row


def test_spans_cover_their_share_and_the_rest_keeps_its_order():
    rows = [row for row in ROWS if row.count(END) == 1] + [list(range(10, 210)) + [END]] * 20
    for row, noisy in zip(rows, plain(sentences(*rows).apply(STEPS["spans"]())), strict=True):
        kept = [token for token in noisy if token != MASK]
        tokens = len(row) - 1
        covered = max(0, min(max(1, round(0.4 * tokens)), tokens - 1))
        assert kept == sorted(kept[:-1]) + [END] and set(kept) <= set(row)
        assert len(kept) == len(row) - covered
        assert bool(covered) == (MASK in noisy)


def test_an_end_inside_a_span_stays():
    rows = draws(span_masking(0.9, mask_id=MASK, **COMMON), [10, 11, END, 12, 13, END], 200)
    assert {len([t for t in row if t not in (MASK, END)]) for row in rows} == {1}
    for row in rows:
        first = row.index(END)
        assert not {12, 13} & set(row[:first]) and not {10, 11} & set(row[first:])


@pytest.mark.parametrize("mean", [3.0, pytest.param(1.0, marks=pytest.mark.long)])
def test_spans_are_distributed_as_stated(mean):
    tokens, share, count = list(range(10, 30)), 0.4, 1500
    rows = draws(span_masking(share, mean, mask_id=MASK, **COMMON), tokens, count)
    random = np.random.default_rng(0)
    expected = [simulated(tokens, share, mean, random) for _ in range(4 * count)]

    def compare(statistic):
        observed, wanted = (np.array([statistic(row) for row in some], float) for some in (rows, expected))
        near(observed.mean(), wanted.mean(), 1.2 * wanted.std() + 1e-9, count)

    compare(lambda row: row.count(MASK))
    compare(lambda row: row.count(MASK) ** 2)
    compare(lambda row: row[0] == MASK)
    compare(lambda row: row[-1] == MASK)
    compare(lambda row: sum(a == b == MASK for a, b in zip(row, row[1:], strict=False)))  # spans that touch
    compare(lambda row: sum(b == a + 1 for a, b in zip(row, row[1:], strict=False)))  # tokens that still do
    for token in (10, 19, 29):
        compare(lambda row, token=token: token in row)


def test_a_chance_for_each_id_has_one_axis():
    with pytest.raises(ValueError, match=r"`rate` must be a number or one number per id. Received: shape \(2, 3\)"):
        word_dropout(np.full((2, 3), 0.1), end_id=None, seed=0)


@pytest.mark.parametrize(
    ("share", "bounds", "expected"),
    [
        (0.0, {"at_least": 1}, 0),
        (0.5, {}, 2),  # of three, rounded to even
        (0.1, {"at_least": 1}, 1),
        (1.0, {"left_over": 1}, 2),
        (1.0, {"at_least": 9, "left_over": 4}, 0),
    ],
)
def test_a_share_of_the_tokens_without_the_end(share, bounds, expected):
    assert int(_count_of(share, tf.constant([False, False, True, False]), **bounds)) == expected
