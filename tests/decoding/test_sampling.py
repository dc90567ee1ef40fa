import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.decoding import MinLength, Prefix, Sampling, generate, search
from keras_seq.decoding.sampling import drawn, filter_logits, mixed, uniform
from tests.decoding.models import (
    END,
    IDS,
    NUM_CONTEXTS,
    PAD,
    arrays,
    forced,
    history_state,
    history_step,
    next_context,
    random_models,
    slow_on_jax,
)
from tests.reference import array, long_on_jax, quick

NONE = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None}


def sample(tables, models=None, max_length=6, constraints=(), **options):
    models = range(len(tables)) if models is None else models
    search = Sampling(**options)
    return arrays(
        search(
            history_step(tables),
            history_state(models, search.rows_per_example),
            batch_size=len(models),
            max_length=max_length,
            constraints=constraints,
            **IDS,
        )
    )


def by_hand(row, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """What is left of one distribution, in plain Python: {token: probability}."""
    weights = {v: math.exp(x / temperature) for v, x in enumerate(row) if x > -math.inf}
    ranked = sorted(weights, key=lambda v: -weights[v])
    if top_k is not None:
        ranked = ranked[:top_k]
    if top_p is not None:
        total, kept, so_far = sum(weights[v] for v in ranked), [], 0.0
        for v in ranked:
            if kept and so_far >= top_p:
                break
            kept.append(v)
            so_far += weights[v] / total
        ranked = kept
    if min_p is not None:
        ranked = [v for v in ranked if weights[v] >= min_p * weights[ranked[0]]]
    total = sum(weights[v] for v in ranked)
    return {v: weights[v] / total for v in ranked}


@pytest.mark.parametrize(
    "options",
    [
        {}, {"temperature": 0.5}, {"temperature": 2.0, "top_k": 3}, {"top_k": 1}, {"top_k": 500}, {"top_p": 0.6},
        {"top_p": 1.0}, {"top_p": 1e-6}, {"min_p": 0.2}, {"min_p": 1.0}, {"top_k": 4, "top_p": 0.7, "min_p": 0.3},
    ],
)  # fmt: skip
def test_what_is_drawn_from_is_the_part_that_the_options_leave(options):
    rows = random_models(1, 40, impossible=0.3, seed=1)[0].astype("float32")
    found = ops.convert_to_numpy(ops.softmax(filter_logits(ops.convert_to_tensor(rows), **{**NONE, **options}), axis=1))
    for row, probs in zip(rows, found, strict=True):
        expected = by_hand(row.tolist(), **options)
        assert set(np.flatnonzero(probs)) == set(expected)
        np.testing.assert_allclose([probs[v] for v in expected], list(expected.values()), rtol=1e-4)


def test_options_may_be_tensors_a_number_for_each_row():
    rows = random_models(1, 40, impossible=0.3, seed=2)[0].astype("float32")
    options = [
        {"temperature": 0.5 + i / 10, "top_k": 1 + i % 7, "top_p": (i + 1) / 40, "min_p": i / 100} for i in range(31)
    ]
    columns = {name: np.array([[row[name]] for row in options]) for name in NONE}
    columns = {name: ops.convert_to_tensor(x.astype("float32")) for name, x in columns.items()}
    found = ops.convert_to_numpy(ops.softmax(filter_logits(ops.convert_to_tensor(rows), **columns), axis=1))
    for row, probs, one in zip(rows, found, options, strict=True):
        assert set(np.flatnonzero(probs)) == set(by_hand(row.tolist(), **one))


def test_a_number_stands_for_the_token_whose_interval_it_is_in():
    probs = np.array([[0.25, 0.0, 0.5, 0.25]] * 6, "float32")
    with np.errstate(divide="ignore"):
        points = ops.convert_to_tensor(np.log(probs))
    numbers = ops.convert_to_tensor(np.array([0.0, 0.24, 0.25, 0.74, 0.76, 1 - 2**-23], "float32"))
    assert ops.convert_to_numpy(drawn(points, numbers)).tolist() == [0, 0, 2, 2, 3, 3]


def test_hashes_are_even_and_do_not_follow_each_other():
    seeds, rows, steps = np.meshgrid(np.arange(5), np.arange(100), np.arange(100), indexing="ij")
    seeds, rows, steps = (ops.convert_to_tensor(x.astype("uint32")) for x in (seeds, rows, steps))
    numbers = ops.convert_to_numpy(uniform(mixed(mixed(seeds, rows), steps)))  # (5, 100, 100)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, 100, (0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 99 + 6 * math.sqrt(2 * 99)  # chi-squared, six deviations
    for axis in range(3):
        one, other = np.delete(numbers, 0, axis), np.delete(numbers, -1, axis)
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / math.sqrt(one.size)


@slow_on_jax
def test_frequencies_are_the_models_probabilities():
    tables = random_models(1, 5, impossible=0.2, seed=3)
    tokens, lengths, _, _ = sample(tables, num_return=4000, max_length=3, seed=7)
    counts = {}
    for row, n in zip(tokens[0], lengths[0], strict=True):
        counts[tuple(row[:n].tolist())] = counts.get(tuple(row[:n].tolist()), 0) + 1
    others = [v for v in range(5) if v != END]
    everything = [(*row, END) for n in range(3) for row in itertools.product(others, repeat=n)]
    everything += list(itertools.product(others, repeat=3))
    chances = {row: math.exp(forced(tables[0], row)) for row in everything}
    assert sum(chances.values()) == pytest.approx(1.0)
    assert set(counts) <= {row for row in everything if chances[row] > 0}
    for row, p in chances.items():
        assert abs(counts.get(row, 0) - 4000 * p) <= 5 * math.sqrt(4000 * p * (1 - p)) + 1e-9


@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=slow_on_jax), {"temperature": 0.7, "top_k": 4, "top_p": 0.9}]
)
@long_on_jax
def test_log_probs_are_the_models_own_and_ends_are_ends(options):
    tables = random_models(30, 9, impossible=0.3, seed=4)
    tokens, lengths, log_probs, scores = sample(tables, num_return=3, seed=1, **options)
    assert tokens.shape == (30, 3, 6) and tokens.dtype == np.int32
    ended = 0
    for b, r in itertools.product(range(30), range(3)):
        n = lengths[b, r]
        kept = tokens[b, r, :n].tolist()
        assert END not in kept[:-1] and (tokens[b, r, n:] == PAD).all() and (n == 6 or kept[-1] == END)
        ended += kept[-1] == END
        assert log_probs[b, r] == pytest.approx(forced(tables[b], kept), abs=1e-5)
        # Each token is one that the options leave.
        context, last = 0, IDS["start_id"]
        for token in kept:
            context = next_context(context, last)
            assert token in by_hand(tables[b, context].tolist(), **options)
            last = token
    assert 10 < ended < 90
    np.testing.assert_allclose(scores, log_probs)


@slow_on_jax
def test_near_temperature_zero_it_is_greedy_search():
    tables = random_models(50, 9, impossible=0.3, seed=5)
    found = sample(tables, temperature=1e-4)
    state = history_state(range(50))
    expected = arrays(search_greedy(history_step(tables), state))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def search_greedy(step, state):
    from keras_seq.decoding import Greedy

    return Greedy()(step, state, batch_size=50, max_length=6, **IDS)


class HistoryModel:
    """The random models behind encode and decode; a source row is `[model, ...]`."""

    def __init__(self, tables):
        self.step = history_step(tables)

    def encode(self, source, max_length):
        return {"memory": {"model": source[:, 0]}, "context": ops.zeros_like(source[:, :1])}

    def decode(self, tokens, state):
        logits, new = self.step(tokens, {"model": state["memory"]["model"], "context": [state["context"]]})
        return logits, {**state, "context": new["context"][0]}


@slow_on_jax
def test_neither_batches_nor_the_number_of_samples_change_what_is_drawn():
    tables = random_models(12, 9, impossible=0.2, seed=6)
    together = sample(tables, num_return=3, seed=5)
    fewer = sample(tables, num_return=1, seed=5)
    np.testing.assert_array_equal(fewer[0][:, 0], together[0][:, 0])
    some = Sampling(num_return=3, seed=5).for_examples(ops.convert_to_tensor([7, 2], "int32"))
    found = some(history_step(tables), history_state([7, 2], 3), batch_size=2, max_length=6, **IDS)
    np.testing.assert_array_equal(arrays(found)[0], together[0][[7, 2]])
    own = Sampling(temperature=np.array([1.0, 2.0, 3.0], "float32")).for_examples(np.array([2, 0]))
    assert array(own.temperature).tolist() == [3.0, 1.0]
    other = sample(tables, num_return=3, seed=6)
    assert (other[0] != together[0]).any(axis=2).mean() > 0.5
    assert (together[0][:, 0] != together[0][:, 1]).any(axis=1).mean() > 0.5


@slow_on_jax
def test_a_seed_and_a_temperature_for_each_sentence():
    tables = random_models(1, 9, impossible=0.2, seed=8)
    seeds = ops.convert_to_tensor(np.array([3, 4, 3, 3], "int32"))
    temperature = ops.convert_to_tensor(np.array([1.0, 1.0, 1.0, 1e-4], "float32"))
    tokens = sample(tables, models=[0] * 4, seed=seeds, temperature=temperature, max_length=12)[0][:, 0]
    assert (tokens[0] == tokens[2]).all()
    assert (tokens[0] != tokens[1]).any() and (tokens[0] != tokens[3]).any()


@long_on_jax
def test_constraints_come_before_the_draw():
    tables = random_models(40, 9, impossible=0.0, seed=9)
    prefixes = np.array([[3 + i % 5, PAD if i % 2 else 4] for i in range(40)], "int32")
    options = {"constraints": [MinLength(4), Prefix(prefixes)], "top_k": 3, "num_return": 2, "seed": 3}
    tokens, lengths, log_probs, scores = sample(tables, max_length=7, **options)
    assert lengths.min() >= 4
    for b, r in itertools.product(range(40), range(2)):
        kept = [token for token in prefixes[b].tolist() if token != PAD]
        assert tokens[b, r, : len(kept)].tolist() == kept
        row = tokens[b, r, : lengths[b, r]].tolist()
        assert log_probs[b, r] == pytest.approx(forced(tables[b], row), abs=1e-5)


class Numbers:
    """A vocabulary whose texts are ids written out."""

    pad_id, start_id, end_id = PAD, IDS["start_id"], END

    def tokenize(self, texts):
        return _Rows([[int(token) for token in text.split()] for text in texts])

    def detokenize(self, ids):
        return _Rows([" ".join(map(str, row)).encode() for row in np.asarray(ids).tolist()])


class _Rows(list):
    def to_list(self):
        return list(self)

    def numpy(self):
        return np.array(self, dtype=object)


@slow_on_jax
@pytest.mark.parametrize("batch_tokens", quick([1, 30, 10_000], few=[30, 10_000]))
def test_a_text_gets_the_same_draw_in_any_batch(batch_tokens):
    model = HistoryModel(random_models(20, 9, impossible=0.0, seed=10))
    texts = [" ".join([str(3 + i)] + ["4"] * (3 * i % 13)) for i in range(6)]
    options = {"search": "sampling", "seed": 2, "num_return": 2, "max_length": 5}
    expected = generate(model, Numbers(), texts, batch_tokens=40, **options)
    assert generate(model, Numbers(), texts, batch_tokens=batch_tokens, **options) == expected
    # A prefix for each text goes with its text.
    prefixes = np.array([[3 + i % 4] for i in range(6)], "int32")
    found = generate(model, Numbers(), texts, batch_tokens=batch_tokens, constraints=[Prefix(prefixes)], **options)
    assert [[line.split()[0] for line in lines] for lines in found] == [[str(3 + i % 4)] * 2 for i in range(6)]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph with dynamic sizes")
def test_a_graph_of_one_trace_draws_what_is_drawn_eagerly():
    import tensorflow as tf

    model = HistoryModel(random_models(20, 9, impossible=0.2, seed=11))

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.int32), *[tf.TensorSpec([], x) for x in ("int32",) * 3]])
    def run(source, max_length, seed, top_k):
        options = {"seed": seed, "top_k": top_k, "top_p": 0.9, "num_return": 3}
        return search(model, source, max_length=max_length, search="sampling", **options, **IDS)

    for count, length, seed, top_k in ((20, 9, 1, 4), (1, 2, 5, 9), (0, 4, 1, 1)):
        source = np.arange(count, dtype="int32")[:, None]
        found = run(source, length, seed, top_k)
        assert found.tokens.shape == (count, 3, length)
        if count:
            options = {"seed": seed, "top_k": top_k, "top_p": 0.9, "num_return": 3}
            expected = search(model, source, max_length=length, search="sampling", **options, **IDS)
            np.testing.assert_array_equal(found.tokens, expected.tokens)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="jax.jit")
def test_sampling_can_be_jitted():
    import jax

    model = HistoryModel(random_models(20, 9, impossible=0.2, seed=11))
    source = np.arange(20, dtype="int32")[:, None]

    def run(source, seed):
        return search(model, source, max_length=5, search="sampling", seed=seed, top_k=4, num_return=2, **IDS)

    np.testing.assert_array_equal(jax.jit(run)(source, 3).tokens, run(source, 3).tokens)


@slow_on_jax
def test_nothing_possible_is_an_empty_slot():
    tables = np.full((2, NUM_CONTEXTS, 6), -np.inf)
    tokens, lengths, log_probs, scores = sample(tables, num_return=2)
    assert (tokens == PAD).all() and (lengths == 0).all() and (log_probs == -np.inf).all() and (scores == -np.inf).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature.*0"),
        ({"temperature": None}, "temperature.*None"),
        ({"temperature": math.nan}, "temperature.*nan"),
        ({"top_k": 0}, "top_k.*0"),
        ({"top_k": 2.5}, "top_k.*2.5"),
        ({"top_p": 0.0}, "top_p.*0.0"),
        ({"top_p": 1.1}, "top_p.*1.1"),
        ({"min_p": -0.1}, "min_p.*-0.1"),
        ({"min_p": "much"}, "min_p.*much"),
        ({"seed": 0.5}, "seed.*0.5"),
        ({"num_return": 0}, "num_return.*0"),
        ({"length_penalty": 2}, "length_penalty.*2"),
        ({"beams": 2}, "has the options temperature, top_k.*beams"),
    ],
)
def test_options_out_of_range_are_named_with_their_value(options, message):
    with pytest.raises(ValueError, match=message):
        search(None, np.zeros((1, 1)), max_length=3, search="sampling", **IDS, **options)


def test_a_number_of_tokens_may_be_a_tensor():
    logits = np.array([[1.0, 3.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]], "float32")
    kept = array(filter_logits(ops.convert_to_tensor(logits), 2.0, ops.convert_to_tensor([[2], [3]]), None, None))
    np.testing.assert_allclose(kept, [[-np.inf, 1.5, 1.0, -np.inf], [-np.inf, 0.5, 1.0, 1.5]])
