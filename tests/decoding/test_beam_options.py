"""Groups that keep away from each other, coverage of the source, and the blocks in which the best tokens are found."""

import itertools
import math

import numpy as np
import pytest
from keras import ops

from keras_seq.decoding import Beam, get_search, power_penalty, search
from keras_seq.decoding.top_k import BLOCK, blockwise_top_k, logsumexp_from_max
from tests.decoding.models import (
    END,
    IDS,
    PAD,
    START,
    arrays,
    beam_search,
    forced,
    history_state,
    history_step,
    next_context,
    random_models,
    sentences,
    slow_on_jax,
)
from tests.reference import long_on_jax


def in_groups(table, num_beams, num_groups, diversity, max_length, penalty, num_return):
    """The rule of `Beam` with groups, word for word, for one sentence, on lists."""
    K = num_beams // num_groups
    live = [[([], 0.0)] for _ in range(num_groups)]
    finished = [[] for _ in range(num_groups)]
    for length in range(1, max_length + 1):
        said = []
        for g in range(num_groups):
            candidates = []
            for tokens, log_p in live[g]:
                context, last = 0, START
                for token in tokens:
                    context, last = next_context(context, last), token
                row = table[next_context(context, last)]
                for v in range(len(row)):
                    if row[v] > -math.inf:
                        candidates.append((log_p + row[v] - diversity * said.count(v), [*tokens, v], log_p + row[v]))
            candidates = sorted(candidates, key=lambda x: -x[0])[: 2 * K]
            ended = [x for x in candidates[:K] if x[1][-1] == END]
            finished[g] += [(tokens, log_p / float(penalty(length))) for _, tokens, log_p in ended]
            finished[g] = sorted(finished[g], key=lambda x: -x[1])[:K]
            live[g] = [(tokens, log_p) for _, tokens, log_p in candidates if tokens[-1] != END][:K]
            said += [tokens[-1] for tokens, _ in live[g]]
            if len(finished[g]) >= K:
                live[g] = []  # nothing more of this group, neither ends nor words that the others keep away from
    running = [(tokens, log_p / float(penalty(length))) for group in live for tokens, log_p in group]
    best = []
    for part in ([x for group in finished for x in group], running):
        for tokens, score in sorted(part, key=lambda x: -x[1]):
            if tokens not in [other for other, _ in best]:
                best.append((tokens, score))
    return best[:num_return]


@pytest.mark.parametrize(
    ("K", "G", "diversity", "R"),
    [(4, 2, 0.5, 4), *(pytest.param(*x, marks=slow_on_jax) for x in [(6, 3, 1.5, 3), (3, 3, 0.7, 3), (4, 2, 0.0, 2)])],
)
def test_groups_follow_the_rule_to_the_letter(K, G, diversity, R):
    tables = random_models(60, 7, impossible=0.3, seed=21)
    penalty = power_penalty(0.8)
    options = {"num_beams": K, "num_groups": G, "diversity": diversity, "num_return": R, "length_penalty": penalty}
    state = history_state(range(60), K)
    found = sentences(beam_search(history_step(tables), state, batch_size=60, max_length=6, **options, **IDS))
    full = same = 0
    for table, hypotheses in zip(tables, found, strict=True):
        expected = in_groups(table, K, G, diversity, 6, penalty, R)
        scores = [score for _, score in expected]
        np.testing.assert_allclose([h[2] for h in hypotheses], scores, atol=1e-5)
        same += [tokens for tokens, _, _ in hypotheses] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([h[1] for h in hypotheses], [forced(table, h[0]) for h in hypotheses], atol=1e-5)
        full += len(hypotheses) == R
    assert full > 20 and same >= 57  # two histories that share a context have equal scores, and either will do


@slow_on_jax
def test_groups_find_what_is_more_different():
    tables = random_models(60, 12, impossible=0.0, seed=22)

    def firsts(**options):
        state = history_state(range(60), 4)
        options |= {"num_beams": 4, "num_return": 4, "length_penalty": None}
        tokens = arrays(beam_search(history_step(tables), state, batch_size=60, max_length=5, **options, **IDS))[0]
        return np.mean([len({row[0] for row in rows.tolist()}) for rows in tokens])

    assert firsts(num_groups=4, diversity=5.0) > 3.5 > 3.0 > firsts()


@slow_on_jax
def test_one_group_is_a_beam_search():
    tables = random_models(40, 9, impossible=0.2, seed=23)
    options = {"batch_size": 40, "max_length": 7, "num_beams": 4, "num_return": 4, **IDS}
    plain = arrays(beam_search(history_step(tables), history_state(range(40), 4), **options))
    grouped = arrays(
        beam_search(history_step(tables), history_state(range(40), 4), num_groups=1, diversity=9.0, **options)
    )
    for one, other in zip(plain, grouped, strict=True):
        np.testing.assert_array_equal(one, other)


class Looking:
    """A random model of which every token looks at a place of the source of its own: row v of `looks` for token v."""

    pad_id = PAD

    def __init__(self, tables, looks):
        self.step, self.looks = history_step(tables), ops.convert_to_tensor(looks.astype("float32"))

    def encode(self, source, max_length, attention_weights=False):
        state = {"memory": {"model": source[:, 0] - 3}, "context": ops.zeros_like(source[:, :1])}
        if attention_weights:
            state["attention"] = ops.zeros((*source.shape[:1], 1, source.shape[1]))
        return state

    def decode(self, tokens, state):
        logits, new = self.step(tokens, {"model": state["memory"]["model"], "context": [state["context"]]})
        state = {**state, "context": new["context"][0]}
        if "attention" in state:
            state["attention"] = ops.take(self.looks, tokens, axis=0)  # (N, 1, S)
        return logits, state


@pytest.mark.parametrize("early_stop", ["first", pytest.param("safe", marks=slow_on_jax)])
@long_on_jax
def test_coverage_makes_the_score_and_finds_what_exhaustive_search_finds(early_stop):
    V, T, S, weight = 4, 4, 5, 0.3
    tables = random_models(50, V, impossible=0.25, seed=24)
    looks = np.random.default_rng(24).dirichlet(np.full(S, 0.3), V)
    looks[:, -1] = 0  # padding
    looks /= looks.sum(axis=1, keepdims=True)
    source = np.array([[3 + i, 3, 3, 3, PAD] for i in range(50)], "int32")
    K = V * (V - 1) ** (T - 1)
    options = {"num_beams": K, "num_return": K, "coverage_penalty": weight, "early_stop": early_stop}
    found = sentences(search(Looking(tables, looks), source, max_length=T, **options, **IDS))

    def score(table, tokens):
        seen = looks[[START, *tokens[:-1]]].sum(axis=0)[:-1]  # each step attends before it knows what it will say
        penalty = weight * np.log(np.clip(seen, 1e-37, 1.0)).sum()
        return forced(table, tokens) / len(tokens) + penalty

    others = [v for v in range(V) if v != END]
    for table, hypotheses in zip(tables, found, strict=True):
        everything = [[*row, END] for n in range(T) for row in itertools.product(others, repeat=n)]
        finished = sorted((score(table, row) for row in everything), reverse=True)
        finished = [x for x in finished if x > -math.inf]
        running = sorted((score(table, list(row)) for row in itertools.product(others, repeat=T)), reverse=True)
        expected = (finished + [x for x in running if x > -math.inf])[:K]
        np.testing.assert_allclose([h[2] for h in hypotheses], expected, atol=1e-4)
        for tokens, log_prob, found_score in hypotheses:
            assert found_score == pytest.approx(score(table, tokens), abs=1e-4)
            assert log_prob == pytest.approx(forced(table, tokens), abs=1e-5)


@pytest.mark.parametrize("V", [5, 4 * 10 * BLOCK, 4 * 10 * BLOCK + 1, 8000])
def test_the_largest_are_the_largest(V):
    rng = np.random.default_rng(V)
    x = rng.normal(size=(40, V)).astype("float32")
    x[:10] = np.round(x[:10], 1)  # many equal ones
    x[10:20] = -np.inf
    x[10:20, rng.integers(V, size=3)] = 1.0  # fewer than k that are possible
    x[20] = -np.inf
    k = min(10, V)
    values, index = (ops.convert_to_numpy(part) for part in blockwise_top_k(ops.convert_to_tensor(x), k))
    assert index.dtype == np.int32 and index.min() >= 0 and index.max() < V
    np.testing.assert_array_equal(values, -np.sort(-x, axis=1)[:, :k])
    np.testing.assert_array_equal(np.take_along_axis(x, index, axis=1), values)
    for row in range(40):
        possible = index[row][values[row] > -np.inf]
        assert len(set(possible.tolist())) == len(possible)
        expected = np.lexsort((np.arange(V), -x[row]))[:k]  # of equal ones the first
        np.testing.assert_array_equal(possible, expected[: len(possible)])


def test_the_logarithm_of_the_sum_of_exponentials():
    x = 30 * np.random.default_rng(0).normal(size=(20, 500)).astype("float32")
    x[5, 3:] = -np.inf
    found = ops.convert_to_numpy(logsumexp_from_max(ops.convert_to_tensor(x), x.max(axis=1, keepdims=True)))
    expected = np.log(np.exp(x.astype("float64")).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["diversity", "coverage_penalty"])
def test_options_may_be_zero(name):
    assert getattr(Beam(num_beams=4, num_groups=2, **{name: 0.0}), name) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_groups": 2}, "num_groups.*`num_beams`=5.*2"),
        ({"num_groups": 0}, "num_groups.*0"),
        ({"diversity": -1.0}, "diversity.*-1.0"),
        ({"coverage_penalty": -0.1}, "coverage_penalty.*-0.1"),
        ({"search": "breadth"}, "one of.*beam.*breadth"),
        ({"search": "greedy", "num_beams": 3}, "greedy.*length_penalty.*num_beams"),
        ({"search": Beam(), "num_beams": 3}, "has its options already.*num_beams"),
    ],
)
def test_options_out_of_range_are_named_with_their_value(options, message):
    with pytest.raises(ValueError, match=message):
        get_search(**options)
