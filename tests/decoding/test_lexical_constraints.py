import functools
import itertools
import math

import numpy as np
import pytest
from keras import ops

from keras_seq.decoding import (
    Beam,
    Greedy,
    RequiredPhrases,
    Sampling,
    generate,
    gnmt_penalty,
    padded_phrases,
    power_penalty,
    search,
)
from keras_seq.decoding.constraints import NoRepeat, Prefix
from keras_seq.decoding.protocol import Progress
from tests.decoding import literal
from tests.decoding.models import END, IDS, PAD, START, arrays, random_models, slow_on_jax
from tests.decoding.test_constraints import checked, compare, has, run
from tests.decoding.test_generate import TENSORFLOW, CopyModel, HistoryModel, Letters, compiled
from tests.reference import array, long_on_jax

A, B, C, D = 3, 4, 5, 6

CASES = {
    "none": [],
    "a word": [[A]],
    "two words": [[A], [B]],
    "the same twice": [[A], [A]],
    "two phrases": [[A, B], [B, A]],
    "one inside the other": [[B], [A, B]],
    "a beginning that comes twice": [[A, A, B]],
    "with the end": [[B, END], [A]],
    "with the start": [[START, A]],
    "the end and more": [[END, A]],
    "longer than all": [[A, B, A, B, A]],
}


def rule(phrases, max_length):
    def gained(tokens, log_p):
        over = tokens[-1] == END or len(tokens) == max_length
        return log_p if not over or all(has(tokens, phrase) for phrase in phrases) else -math.inf

    return gained


def come(tokens, phrase):
    """How many tokens of a phrase the others end with, fewer than all."""
    return max(j for j in range(len(phrase)) if tokens[len(tokens) - j :] == list(phrase[:j]) and j <= len(tokens))


def bank(tokens, phrases):
    phrases = {tuple(phrase) for phrase in phrases}
    said = {phrase for phrase in phrases if has(tokens, phrase)}
    return sum(map(len, said)) + max((come(tokens, phrase) for phrase in phrases - said), default=0)


def allotted(phrases, vocabulary_size):
    """The rule of `RequiredPhrases`, in place of `literal.best_first`."""

    def choose(candidates, num_beams):
        kept = []
        for _, group in itertools.groupby(candidates, key=lambda candidate: candidate[0]):
            group = sorted(group, key=lambda candidate: -candidate[2])
            before = group[0][1][:-1]
            wanted = {phrase[come(before, phrase)] for phrase in phrases if not has(before, phrase)}
            first = group[: min(2 * num_beams, vocabulary_size)]
            kept += first + [candidate for candidate in group if candidate[1][-1] in wanted and candidate not in first]
        kept.sort(key=lambda candidate: -candidate[2])
        places = []
        for number, candidate in enumerate(kept):
            own = bank(candidate[1], phrases)
            places.append((sum(bank(other[1], phrases) == own for other in kept[:number]), -own, number))
        return [kept[number] for _, _, number in sorted(places)][: 2 * num_beams]

    return choose


@pytest.fixture(scope="module")
def small():
    return random_models(15, 5, impossible=0.15, seed=31)


ON_JAX = ("none", "one inside the other", "longer than all")


@pytest.mark.parametrize(
    "phrases", [pytest.param(x, id=n, marks=[] if n in ON_JAX else [slow_on_jax]) for n, x in CASES.items()]
)
@long_on_jax
def test_a_beam_as_wide_as_the_space_finds_the_best_with_all_phrases(phrases, small):
    V, T = 5, 4
    K, penalty = V * (V - 1) ** (T - 1), power_penalty(0.7)
    found = checked(
        run(Beam(num_beams=K, num_return=K, length_penalty=penalty), small, RequiredPhrases(phrases)), small
    )
    for table, hypotheses in zip(small, found, strict=True):
        with_all = [tokens for tokens in literal.everything(V, T) if all(has(tokens, phrase) for phrase in phrases)]
        score = functools.partial(literal.score, table, rule(phrases, T), penalty)
        compare(hypotheses, literal.ranked([(tokens, score(tokens)) for tokens in with_all])[:K], score)


def drawn_phrases(rng, count, vocabulary_size, most):
    """For each of `count` sentences some phrases, of not more than `most` tokens together."""
    sentences = []
    for _ in range(count):
        phrases, left = [], rng.integers(most + 1)
        while left:
            length = rng.integers(1, min(left, 3) + 1)
            phrases.append(rng.integers(A, vocabulary_size, length).tolist())
            left -= length
        sentences.append(phrases)
    return sentences


@pytest.mark.parametrize(
    ("K", "R", "penalty", "early_stop"),
    [pytest.param(1, 1, None, "first", marks=slow_on_jax), (2, 2, power_penalty(1.0), "safe"),
     pytest.param(4, 3, gnmt_penalty(0.8), "first", marks=slow_on_jax),
     pytest.param(7, 7, power_penalty(0.5), "first", marks=[slow_on_jax, pytest.mark.long])],
)  # fmt: skip
def test_narrow_beams_are_allotted_by_the_rule(K, R, penalty, early_stop):
    V, T, models = 9, 8, 24
    tables = random_models(models, V, impossible=0.1, seed=32)
    phrases = drawn_phrases(np.random.default_rng(33), models, V, most=6)
    options = {"num_beams": K, "num_return": R, "early_stop": early_stop}
    forced = RequiredPhrases(padded_phrases(phrases))
    found = checked(run(Beam(length_penalty=penalty, **options), tables, forced, max_length=T), tables)
    for table, own, hypotheses in zip(tables, phrases, found, strict=True):
        options |= {"max_length": T, "penalty": penalty, "choose": allotted(own, V)}
        expected = literal.beam(table, rule(own, T), **options)
        compare(hypotheses, expected, functools.partial(literal.score, table, rule(own, T), penalty))


@pytest.mark.parametrize(
    "K", [1, pytest.param(2, marks=[slow_on_jax, pytest.mark.long]), pytest.param(5, marks=slow_on_jax)]
)
@long_on_jax
def test_whatever_the_phrases_they_are_said_where_there_is_room(K):
    V, T, models = 70, 7, 60  # most words are far from the 2K likeliest
    tables = random_models(models, V, impossible=0.0, seed=34)
    phrases = drawn_phrases(np.random.default_rng(35), models, V, most=T)
    forced = RequiredPhrases(padded_phrases(phrases))
    found = checked(run(Beam(num_beams=K, num_return=K), tables, forced, max_length=T), tables)
    for own, hypotheses in zip(phrases, found, strict=True):
        assert hypotheses and all(has(h[0], phrase) for h in hypotheses for phrase in own)
    without = checked(run(Beam(num_beams=K, num_return=K), tables, max_length=T), tables)
    wanted = [(h[0][0], own) for h, own in zip(without, phrases, strict=True) if own]
    assert sum(all(has(tokens, phrase) for phrase in own) for tokens, own in wanted) < 0.2 * len(wanted)


@slow_on_jax
def test_no_phrases_change_nothing(small):
    find, other = Beam(num_beams=3, num_return=3), NoRepeat(2)
    expected = arrays(run(find, small, other))
    for phrases in ([], np.zeros((15, 0, 0), "int32"), np.full((15, 2, 3), PAD)):
        for one, two in zip(arrays(run(find, small, RequiredPhrases(phrases), other)), expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-6)


def test_beside_other_constraints(small):
    prefix = np.array([[A] if b % 2 else [B] for b in range(15)])
    found = checked(
        run(Beam(num_beams=4, num_return=4), small, Prefix(prefix), RequiredPhrases([[A, B], [C - 1]]), NoRepeat(2)),
        small,
    )
    assert sum(map(bool, found)) > 10
    for b, hypotheses in enumerate(found):
        for tokens, _, _ in hypotheses:
            pairs = list(itertools.pairwise(tokens))
            assert tokens[0] == prefix[b, 0] and has(tokens, [A, B]) and len(set(pairs)) == len(pairs)


@long_on_jax
def test_one_trace_serves_phrases_of_any_size():
    model = HistoryModel(random_models(20, 9, impossible=0.1, seed=36))
    find = Beam(num_beams=3, num_return=2)

    def decode(source, phrases, max_length=6):
        return search(model, source, max_length=max_length, search=find, constraints=[RequiredPhrases(phrases)], **IDS)

    traced = compiled()(decode)
    if TENSORFLOW:
        import tensorflow as tf

        shapes = ([None, 1], [None, None, None], [])
        signature = [tf.TensorSpec(shape, tf.int32) for shape in shapes]
        traced = tf.function(decode, input_signature=signature, autograph=False)
    rng = np.random.default_rng(37)
    for count, most, max_length in ((20, 5, 6), (7, 3, 9), (1, 2, 4), (4, 0, 3)) if TENSORFLOW else ((20, 5, 6),):
        source = np.arange(count, dtype="int32")[:, None]
        phrases = padded_phrases(drawn_phrases(rng, count, 9, most))
        length = [ops.convert_to_tensor(max_length, "int32")] if TENSORFLOW else []
        found = traced(ops.convert_to_tensor(source), ops.convert_to_tensor(phrases), *length)
        for one, other in zip(arrays(found), arrays(decode(source, phrases, max_length)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
    if TENSORFLOW:
        assert traced.experimental_get_tracing_count() == 1


@pytest.mark.long
def test_generate_gives_each_text_its_own_phrases():
    texts = ["hello", "", "a", "barrels", "zebra", "bee"]
    words = [[[19, 20]], [[5]], [], [[21], [22]], [[29]], [[4, 5]]]  # pq; b, of a text that says nothing; r, s; z; ab
    told = [["pq"], [], [], ["r", "s"], ["z"], ["ab"]]
    options = {"num_beams": 4, "max_length": 9, "constraints": [RequiredPhrases(padded_phrases(words))]}
    found = generate(CopyModel(), Letters(), texts, batch_tokens=10_000, compiled=compiled(), **options)
    assert found[2:5] == ["a", "barrels", "zebra"]
    assert all(word in text for text, own in zip(found, told, strict=True) for word in own)
    if TENSORFLOW:
        assert found == generate(CopyModel(), Letters(), texts, batch_tokens=16, **options)


class Untouched:
    """A model, a vocabulary and a step, none of which may be asked anything."""

    def __getattr__(self, name):
        raise AssertionError(name)


@pytest.mark.parametrize("find", [Greedy(), Sampling(), Beam(num_beams=4, num_groups=2)])
def test_other_searches_refuse_before_any_work(find):
    forced = RequiredPhrases([[A]])
    with pytest.raises(
        ValueError, match="`RequiredPhrases` needs a beam search without groups.*" + type(find).__name__
    ):
        search(Untouched(), None, max_length=3, search=find, constraints=[forced], **IDS)
    with pytest.raises(ValueError, match="`RequiredPhrases` needs a beam search"):
        generate(Untouched(), Untouched(), ["a"], search=find, constraints=[forced])
    with pytest.raises(ValueError, match="`RequiredPhrases` needs a beam search"):
        find(Untouched(), {}, batch_size=1, max_length=3, constraints=[forced], **IDS)


@long_on_jax
def test_a_beam_of_one_stays_a_beam():
    tables = random_models(8, 9, impossible=0.0, seed=38)
    source, forced = np.arange(8, dtype="int32")[:, None], RequiredPhrases([[A, B], [D]])
    found = search(HistoryModel(tables), source, max_length=6, num_beams=1, constraints=[forced], **IDS)
    for hypotheses in checked(found, tables):
        assert has(hypotheses[0][0], [A, B]) and has(hypotheses[0][0], [D])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RequiredPhrases([A]), "phrases.*3"),
        (lambda: RequiredPhrases([[A], []]), r"phrases.*\[\]"),
        (lambda: RequiredPhrases([[A, PAD]]), "phrases.*`pad_id`=0"),
        (lambda: run(Beam(), random_models(1, 5, 0, 1), RequiredPhrases([[A, 7]])), "phrases.*V=5.*7"),
        (
            lambda: run(Beam(), random_models(1, 5, 0, 1), RequiredPhrases([[A]]), RequiredPhrases([[B]])),
            "one `RequiredPhrases`",
        ),
        (
            lambda: run(Beam(), random_models(2, 5, 0, 1), RequiredPhrases(padded_phrases([[[A]]] * 3))),
            "phrases.*each of 2 sent",
        ),
    ],
)
def test_what_is_out_of_range_is_named_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_phrases_of_some_sentences():
    phrases = padded_phrases([[[A]], [[B, C], [D]], []], PAD)
    found = RequiredPhrases(phrases, PAD).for_examples(np.array([1, 2, 1]))
    assert found.per_sentence and found.pad_id == PAD
    assert array(found.phrases).tolist() == [[[B, C], [D, PAD]], [[PAD] * 2] * 2, [[B, C], [D, PAD]]]


@pytest.mark.parametrize("of_tensors", [False, True])
def test_what_may_end_a_hypothesis(of_tensors):
    """In the last step only what completes the phrase, in the one before all but the end, unless it is complete."""
    phrases = padded_phrases([[[A, B]]], PAD)
    constraint = RequiredPhrases(ops.convert_to_tensor(phrases) if of_tensors else phrases, PAD)
    tokens = np.array([[A, B, PAD], [C, A, PAD], [C, D, PAD]], "int32")
    for length, possible in ((2, [set(range(7)), {B}, set()]), (1, [set(range(7)) - {END}] * 3)):
        progress = Progress(ops.convert_to_tensor(tokens), length, np.zeros(3, "int32"), END)
        log_probs = array(constraint(ops.zeros((3, 7)), progress))
        assert [set(np.flatnonzero(row == 0).tolist()) for row in log_probs] == possible
