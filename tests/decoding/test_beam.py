import itertools
import math

import keras
import numpy as np
import pytest

from keras_seq.decoding import Beam, Greedy, gnmt_penalty, power_penalty, sockeye_penalty
from tests.decoding.models import (
    END,
    IDS,
    PAD,
    arrays,
    beam_search,
    forced,
    greedy_search,
    history_state,
    history_step,
    next_context,
    random_models,
    scripted_step,
    sentences,
    slow_on_jax,
)
from tests.reference import backend_cases, long_on_jax

PENALTIES = {"none": None, "power 1": power_penalty(1.0), "power 0.6": power_penalty(0.6), "gnmt": gnmt_penalty(0.8)}
PENALTIES |= {"sockeye": sockeye_penalty(1.2, 2.0)}
A, B, C = 3, 4, 5


def exhaustive(table, max_length, penalty):
    """All sequences of non-zero probability: the finished ones, best first, then the unfinished, best first."""
    others = [v for v in range(table.shape[1]) if v != END]
    finished, unfinished = [], []
    for length in range(1, max_length + 1):
        divisor = float(penalty(length)) if penalty else 1.0
        for tokens in itertools.product(others, repeat=length - 1):
            finished.append(([*tokens, END], forced(table, [*tokens, END]) / divisor))
    for tokens in itertools.product(others, repeat=max_length):
        unfinished.append((list(tokens), forced(table, tokens) / divisor))
    ranked = [sorted(part, key=lambda pair: -pair[1]) for part in (finished, unfinished)]
    return [pair for part in ranked for pair in part if pair[1] > -math.inf]


def literal(table, num_beams, max_length, penalty, num_return, early_stop):
    """The rule of `beam_search`, word for word, for one sentence, on lists."""

    def divide(log_p, length):
        return log_p / float(penalty(length)) if penalty else log_p

    live, finished, done = [([], 0.0)], [], False
    for length in range(1, max_length + 1):
        if done:
            break
        candidates = []
        for tokens, log_p in live:
            context, last = 0, IDS["start_id"]
            for token in tokens:
                context, last = next_context(context, last), token
            row = table[next_context(context, last)]
            candidates += [([*tokens, v], log_p + row[v]) for v in range(len(row)) if row[v] > -math.inf]
        candidates = sorted(candidates, key=lambda pair: -pair[1])[: 2 * num_beams]
        for tokens, log_p in candidates[:num_beams]:
            if tokens[-1] == END:
                finished.append((tokens, divide(log_p, length)))
        live = [pair for pair in candidates if pair[0][-1] != END][:num_beams]
        finished.sort(key=lambda pair: -pair[1])
        if early_stop == "never":
            done = not live
        elif early_stop == "first":
            done = len(finished) >= num_beams or not live
        elif len(finished) >= num_return or not live:
            reach = [divide(log_p, later) for _, log_p in live for later in range(length + 1, max_length + 1)]
            done = all(score <= finished[num_return - 1][1] for score in reach)
    unfinished = [] if done else [(tokens, divide(log_p, max_length)) for tokens, log_p in live]
    return (finished + sorted(unfinished, key=lambda pair: -pair[1]))[:num_return]


@pytest.mark.parametrize("penalty", backend_cases(PENALTIES, on_jax=["power 0.6"]))
def test_a_beam_as_wide_as_the_space_finds_what_exhaustive_search_finds(penalty):
    V, T, models = 4, 4, 200
    tables = random_models(models, V, impossible=0.25, seed=1)
    K = V * (V - 1) ** (T - 1)  # as many as there are continuations, at most
    found = sentences(
        beam_search(
            history_step(tables), history_state(range(models), K), batch_size=models, num_beams=K, max_length=T,
            length_penalty=PENALTIES[penalty], num_return=K, **IDS,
        )
    )  # fmt: skip
    for table, hypotheses in zip(tables, found, strict=True):
        expected = exhaustive(table, T, PENALTIES[penalty])[:K]
        assert len(hypotheses) == len(expected)
        np.testing.assert_allclose([h[2] for h in hypotheses], [score for _, score in expected], atol=1e-5)
        own = {tuple(tokens): score for tokens, score in expected}  # equal scores may change places
        assert {tuple(h[0]) for h in hypotheses} == set(own)
        np.testing.assert_allclose([h[2] for h in hypotheses], [own[tuple(h[0])] for h in hypotheses], atol=1e-5)


@pytest.mark.parametrize("early_stop", ["first", "safe"])
@pytest.mark.parametrize(
    ("K", "R", "penalty"),
    backend_cases(
        [(1, 1, "power 1"), (2, 1, "none"), (3, 3, "gnmt"), (5, 2, "power 0.6"), (5, 5, "power 1")],
        on_jax=[(3, 3, "gnmt")],
    ),
)
def test_narrow_beams_follow_the_rule_to_the_letter(K, R, penalty, early_stop):
    tables = random_models(100, 7, impossible=0.3, seed=2)
    found = sentences(
        beam_search(
            history_step(tables), history_state(range(100), K), batch_size=100, num_beams=K, max_length=8,
            length_penalty=PENALTIES[penalty], num_return=R, early_stop=early_stop, **IDS,
        )
    )  # fmt: skip
    chosen = 0
    for table, hypotheses in zip(tables, found, strict=True):
        expected = literal(table, K, 8, PENALTIES[penalty], R, early_stop)
        np.testing.assert_allclose([h[2] for h in hypotheses], [score for _, score in expected], atol=1e-5)
        assert len({tuple(h[0]) for h in hypotheses}) == len(hypotheses)
        np.testing.assert_allclose([h[1] for h in hypotheses], [forced(table, h[0]) for h in hypotheses], atol=1e-5)
        pairs = [(h[0], tokens) for h, (tokens, _) in zip(hypotheses, expected, strict=True) if h[0] != tokens]
        # Of two sequences of one length whose log p are equal up to float32's rounding, that chooses.
        assert all(len(a) == len(b) and abs(forced(table, a) - forced(table, b)) < 1e-6 for a, b in pairs)
        chosen += len(pairs)
    assert chosen <= 1


@slow_on_jax
@pytest.mark.parametrize("penalty", PENALTIES)
def test_safe_finds_what_a_search_that_never_stops_finds(penalty):
    tables = random_models(100, 7, impossible=0.2, seed=8)
    options = {"num_beams": 4, "num_return": 2, "length_penalty": PENALTIES[penalty], "early_stop": "safe"}
    state = history_state(range(100), 4)
    found = sentences(beam_search(history_step(tables), state, batch_size=100, max_length=9, **options, **IDS))
    for table, hypotheses in zip(tables, found, strict=True):
        expected = literal(table, 4, 9, PENALTIES[penalty], 2, "never")
        np.testing.assert_allclose([h[2] for h in hypotheses], [score for _, score in expected], atol=1e-5)


@slow_on_jax
def test_results_are_consistent_with_themselves_and_with_the_model():
    tables = random_models(100, 12, impossible=0.2, seed=3)
    result = beam_search(
        history_step(tables),
        history_state(range(100), 4),
        batch_size=100,
        num_beams=4,
        max_length=7,
        num_return=4,
        **IDS,
    )
    tokens, lengths, log_probs, scores = arrays(result)
    assert tokens.shape == (100, 4, 7) and tokens.dtype == np.int32
    finished = 0
    for b, r in itertools.product(range(100), range(4)):
        n = lengths[b, r]
        kept = tokens[b, r, :n].tolist()
        assert n > 0 and END not in kept[:-1]
        assert (tokens[b, r, n:] == PAD).all()
        assert n == 7 or kept[-1] == END
        finished += kept[-1] == END
        np.testing.assert_allclose(log_probs[b, r], forced(tables[b], kept), atol=1e-5)
        np.testing.assert_allclose(scores[b, r], log_probs[b, r] / n, atol=1e-5)
    assert 100 < finished < 400  # of both kinds some
    ended = tokens[np.arange(7) == lengths[..., None] - 1].reshape(100, 4) == END
    assert (np.diff(ended.astype(int), axis=1) <= 0).all()  # finished before unfinished
    both = ended[:, 1:] == ended[:, :-1]
    assert (np.diff(scores, axis=1)[both] <= 0).all()  # and best first within each


@pytest.mark.parametrize("penalty", backend_cases(["none", "gnmt"], on_jax=["gnmt"]))
def test_a_beam_of_one_is_greedy(penalty):
    tables = random_models(200, 6, impossible=0.3, seed=4)
    options = {"batch_size": 200, "max_length": 9, "length_penalty": PENALTIES[penalty], **IDS}
    beam = beam_search(history_step(tables), history_state(range(200)), num_beams=1, **options)
    greedy = greedy_search(history_step(tables), history_state(range(200)), **options)
    for one, other in zip(arrays(beam), arrays(greedy), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_only_a_plain_beam_of_one_becomes_a_greedy_search():
    assert Beam(num_beams=1).simplify() == Greedy(Beam().length_penalty)
    for options in ({"num_beams": 2}, {"early_stop": "safe"}, {"coverage_penalty": 1.0}):
        options = {"num_beams": 1} | options
        assert Beam(**options).simplify() == Beam(**options)


@pytest.mark.parametrize("early_stop", backend_cases(["first", "safe"], on_jax=["safe"]))
@long_on_jax
def test_a_sentence_does_not_see_the_others_of_its_batch(early_stop):
    tables = random_models(12, 6, impossible=0.3, seed=5)

    def search(models):
        return arrays(
            beam_search(
                history_step(tables), history_state(models, 3), batch_size=len(models), num_beams=3, max_length=7,
                num_return=3, early_stop=early_stop, **IDS,
            )
        )  # fmt: skip

    together = search(range(12))
    for model in (0, 11):
        for all_of_them, alone in zip(together, search([model]), strict=True):
            np.testing.assert_allclose(all_of_them[model], alone[0], rtol=1e-6)


def run_script(script, K, T, V=6, **options):
    step = scripted_step(script, V)
    state = np.zeros((K, 1), "int32")
    return sentences(beam_search(step, state, batch_size=1, num_beams=K, max_length=T, **IDS, **options))[0]


def check(found, expected):
    assert [h[0] for h in found] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([math.exp(h[1]) for h in found], [p for _, p in expected], atol=1e-5)


@slow_on_jax
def test_an_end_token_below_the_first_k_does_not_count():
    script = {(): {A: 0.5, B: 0.3, END: 0.2}, (A,): {END: 0.9, A: 0.1}, (B,): {END: 0.5, B: 0.5}}
    found = run_script(script, K=2, T=2, num_return=2, length_penalty=None)
    check(found, [([A, END], 0.45), ([B, END], 0.15)])  # and not [END], 0.2


@slow_on_jax
def test_a_finished_hypothesis_takes_no_live_beams_place():
    script = {(): {END: 0.5, A: 0.3, B: 0.2}, (A,): {END: 0.1, A: 0.9}, (B,): {END: 1.0}}
    found = run_script(script, K=2, T=3, num_return=2, length_penalty=None)
    check(found, [([END], 0.5), ([B, END], 0.2)])


@slow_on_jax
def test_first_stops_when_k_have_finished_and_safe_when_nothing_can_still_win():
    script = {(): {END: 0.51, A: 0.49}, (A,): {END: 1.0}}
    check(run_script(script, K=1, T=5, early_stop="first"), [([END], 0.51)])
    check(run_script(script, K=1, T=5, early_stop="safe"), [([A, END], 0.49)])
    check(run_script(script, K=1, T=5, early_stop="safe", length_penalty=None), [([END], 0.51)])


@slow_on_jax
def test_safe_knows_a_penalty_that_shrinks_with_length():
    # The best that is still to come is then reached at the very next length, not at the last.
    script = {(): {END: 0.51, A: 0.49}, (A,): {END: 1.0}}

    def penalty(length):
        return 3.0 - 1.0 * (length - 2.0) ** 2 / 4.0  # 2.75, 3, 2.75, 2, 0.75

    check(run_script(script, K=1, T=5, early_stop="safe", length_penalty=penalty), [([A, END], 0.49)])


@slow_on_jax
def test_unfinished_hypotheses_come_after_the_finished_ones():
    script = {(): {A: 0.6, B: 0.3, END: 0.1}, (A,): {A: 0.7, B: 0.3}, (B,): {END: 0.9, B: 0.1}}
    found = run_script(script, K=3, T=2, num_return=3, length_penalty=power_penalty(1.0))
    check(found, [([B, END], 0.27), ([END], 0.1), ([A, A], 0.42)])
    np.testing.assert_allclose(found[2][2], math.log(0.42) / 2, atol=1e-5)


def test_slots_that_nothing_fills_are_empty():
    script = {(): {A: 1.0}, (A,): {END: 1.0}}  # there is but one sequence in this world
    result = beam_search(
        scripted_step(script, 6),
        np.zeros((3, 1), "int32"),
        batch_size=1,
        num_beams=3,
        max_length=4,
        num_return=3,
        **IDS,
    )
    tokens, lengths, log_probs, scores = arrays(result)
    assert tokens[0].tolist() == [[A, END, PAD, PAD], [PAD] * 4, [PAD] * 4]
    assert lengths[0].tolist() == [2, 0, 0]
    assert log_probs[0].tolist() == [0.0, -np.inf, -np.inf] and scores[0].tolist() == [0.0, -np.inf, -np.inf]


@pytest.mark.parametrize("search", ["beam", "greedy"])
@long_on_jax
def test_a_row_without_any_possible_token_gives_an_empty_slot_and_no_nan(search):
    def step(tokens, state):
        return keras.ops.full((*tokens.shape, 5), -np.inf), state

    beams = 2 if search == "beam" else 1
    options = {"batch_size": 2, "max_length": 3, **IDS}
    run = (lambda *a, **k: beam_search(*a, num_beams=2, **k)) if search == "beam" else greedy_search
    tokens, lengths, log_probs, scores = arrays(run(step, np.zeros((2 * beams, 1), "int32"), **options))
    assert (tokens == PAD).all() and (lengths == 0).all() and (log_probs == -np.inf).all() and (scores == -np.inf).all()


@slow_on_jax
def test_a_vocabulary_smaller_than_two_beams_works():
    tables = random_models(20, 3, impossible=0.0, seed=6)
    found = sentences(
        beam_search(history_step(tables), history_state(range(20), 8), batch_size=20, num_beams=8, max_length=3,
                    num_return=8, length_penalty=None, **IDS)
    )  # fmt: skip
    for table, hypotheses in zip(tables, found, strict=True):
        expected = literal(table, 8, 3, None, 8, "first")
        assert [h[0] for h in hypotheses] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([h[2] for h in hypotheses], [score for _, score in expected], atol=1e-5)


@long_on_jax
def test_half_precision_logits_are_summed_in_single():
    tables = random_models(10, 6, impossible=0.2, seed=7)
    step = history_step(tables)

    def half(tokens, state):
        logits, state = step(tokens, state)
        return keras.ops.cast(logits, "float16"), state

    options = {"batch_size": 10, "num_beams": 3, "max_length": 6, **IDS}
    one = arrays(beam_search(step, history_state(range(10), 3), **options))
    other = arrays(beam_search(half, history_state(range(10), 3), **options))
    assert other[2].dtype == np.float32
    np.testing.assert_allclose(one[2], other[2], atol=0.02)


def test_a_state_may_be_empty_or_hold_nothing_in_places():
    def step(tokens, state):
        assert state in ({}, {"cache": None, "parts": ()})
        return keras.ops.one_hot(keras.ops.full_like(tokens, END), 4) * 50.0, state

    for state in ({}, {"cache": None, "parts": ()}):
        result = beam_search(step, state, batch_size=2, num_beams=2, max_length=3, **IDS)
        assert arrays(result)[1].tolist() == [[1], [1]]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="counts the steps of an eager loop")
def test_the_loop_ends_with_the_last_sentence():
    calls = []

    def step(tokens, state):
        calls.append(1)
        return keras.ops.one_hot(keras.ops.full_like(tokens, END), 4) * 50.0, state

    greedy_search(step, {}, batch_size=2, max_length=100, **IDS)
    assert len(calls) == 1
    beam_search(step, {}, batch_size=2, num_beams=2, max_length=100, **IDS, early_stop="safe")
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams.*0"),
        ({"num_return": 4}, "num_return.*`num_beams`=3.*4"),
        ({"num_return": 0}, "num_return.*0"),
        ({"max_length": 0}, "max_length.*0"),
        ({"early_stop": "never"}, "early_stop.*never"),
        ({"length_penalty": 0.6}, "length_penalty.*0.6"),
        ({"end_id": 9}, "end_id.*V=4.*9"),
    ],
)
def test_options_out_of_range_are_named_with_their_value(options, message):
    options = {"batch_size": 1, "num_beams": 3, "max_length": 5, **IDS, **options}
    with pytest.raises(ValueError, match=message):
        beam_search(lambda tokens, state: (keras.ops.zeros((3, 1, 4)), state), {}, **options)


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        beam_search(
            lambda tokens, state: (keras.ops.zeros((3, 4)), state), {}, batch_size=1, num_beams=3, max_length=5, **IDS
        )
