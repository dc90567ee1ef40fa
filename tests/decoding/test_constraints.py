import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
from keras import ops

from keras_seq.decoding import (
    Allowed,
    Banned,
    Beam,
    Greedy,
    MaxLength,
    MinLength,
    NoRepeat,
    Prefix,
    RepetitionPenalty,
    Sampling,
    generate,
    gnmt_penalty,
    power_penalty,
    search,
)
from keras_seq.decoding.sampling import mixed, uniform
from tests.decoding import literal
from tests.decoding.models import (
    END,
    IDS,
    PAD,
    START,
    arrays,
    history_state,
    history_step,
    random_models,
    sentences,
    slow_on_jax,
)
from tests.decoding.test_generate import TENSORFLOW, CopyModel, HistoryModel, Letters, compiled
from tests.reference import long_on_jax

A, B = 3, 4
V, T, MODELS = 5, 4, 16
PREFIXES = [[], [A], [A, B], [B, END], [END], [A, A, B, B, A, START], [START, A, END, B], [B, B, B, B]]


@dataclasses.dataclass(frozen=True)
class Rule:
    """A constraint, and in plain Python what it means.

    `allows(tokens, sentence)`: of a whole sequence, or of its beginning, which is allowed where the whole is;
    `weight(tokens)`: what log p of the last of them counts.
    """

    make: Callable
    allows: Callable = lambda tokens, sentence: True
    weight: Callable = lambda tokens: 1.0

    def gained(self, sentence):
        return lambda tokens, log_p: self.weight(tokens) * log_p if self.allows(tokens, sentence) else -math.inf

    def points(self, tokens, log_probs, sentence):
        if not self.allows(tokens, sentence):
            return -math.inf
        return sum(self.weight(tokens[: i + 1]) * p for i, p in enumerate(log_probs))


def has(tokens, run):
    return any(tokens[i : i + len(run)] == list(run) for i in range(len(tokens) - len(run) + 1))


def without(*runs):
    return Rule(lambda: Banned(runs), lambda tokens, _: not any(has(tokens, run) for run in runs))


def at_least(length):
    return Rule(lambda: MinLength(length), lambda tokens, _: END not in tokens or len(tokens) >= length)


def at_most(length):
    def allows(tokens, _):
        return len(tokens) <= length and (len(tokens) < length or tokens[-1] == END)

    return Rule(lambda: MaxLength(length), allows)


def of(*allowed):
    return Rule(lambda: Allowed(allowed), lambda tokens, _: set(tokens) <= {*allowed, END})


def no_repeat(n):
    def allows(tokens, _):
        runs = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
        return len(set(runs)) == len(runs)

    return Rule(lambda: NoRepeat(n), allows)


def penalty(factor):
    return Rule(lambda: RepetitionPenalty(factor), weight=lambda tokens: factor if tokens[-1] in tokens[:-1] else 1.0)


def begun(pad=PAD, width=6):
    """Sentence after sentence another of `PREFIXES`."""
    rows = [PREFIXES[b % len(PREFIXES)] for b in range(MODELS)]
    padded = [row + [pad] * (width - len(row)) for row in rows]

    def allows(tokens, sentence):
        prefix = rows[sentence]
        return tokens[: len(prefix)] == prefix[: len(tokens)]

    return Rule(lambda: Prefix(np.array(padded), pad_id=pad), allows)


RULES = {
    "min_length 1": at_least(1),
    "min_length 3": at_least(3),
    "min_length beyond": at_least(T + 2),
    "max_length 1": at_most(1),
    "max_length 3": at_most(3),
    "max_length beyond": at_most(T + 2),
    "banned tokens": without([A], [START]),
    "banned runs": without([A, B], [B, PAD, B], [START, A, B], [A, END], [A, A, A, A, A, A, A]),
    "banned padding": without([PAD], [PAD, PAD], [START]),
    "banned end": without([END], [B, B]),
    "banned all": without([PAD], [START], [END], [A], [B]),
    "allowed": of(A, PAD),
    "allowed nothing": of(),
    "no_repeat 1": no_repeat(1),
    "no_repeat 2": no_repeat(2),
    "no_repeat 3": no_repeat(3),
    "no_repeat beyond": no_repeat(T + 3),
    "penalty 1.8": penalty(1.8),
    "penalty 0.5": penalty(0.5),
    "prefix": begun(),
    "prefix, other padding": begun(pad=-1),
}


# One of each kind: every rule has a narrow beam.
FEW = ("min_length 3", "max_length 3", "banned runs", "allowed", "no_repeat 2", "penalty 1.8", "prefix")


def by_rule(*on_jax):
    """All rules, few of them in the quick tests; on JAX, which compiles each case anew, those that are named."""
    cases = []
    for name, rule in RULES.items():
        marks = [slow_on_jax] * (name not in on_jax) + [pytest.mark.long] * (name not in FEW)
        cases.append(pytest.param(rule, id=name, marks=marks))
    return pytest.mark.parametrize("rule", cases)


@pytest.fixture(scope="module")
def tables():
    return random_models(MODELS, V, impossible=0.15, seed=21)


@pytest.fixture(scope="module")
def everything(tables):
    """For each model all sequences, with what it thinks of each token."""
    return [
        [(tokens, list(literal.log_probs(table, tokens))) for tokens in literal.everything(V, T)] for table in tables
    ]


def run(search, tables, *constraints, max_length=T, rows=None):
    """`search` over the models, jitted where the backend is JAX."""
    rows = range(len(tables)) if rows is None else rows
    state = history_state(rows, search.rows_per_example)
    options = {"batch_size": len(rows), "max_length": max_length, "constraints": constraints, **IDS}

    def decode():
        return search(history_step(tables), state, **options)

    if TENSORFLOW:
        return decode()
    import jax

    return jax.jit(decode)()


def checked(result, tables):
    """What was found, as `sentences` gives it; empty slots are empty in all respects, and log p is the model's own."""
    tokens, lengths, log_probs, scores = arrays(result)
    empty = lengths == 0
    assert (empty == (scores == -np.inf)).all() and (empty == (log_probs == -np.inf)).all()
    assert (tokens[empty] == PAD).all() and not np.isnan(scores).any() and not np.isnan(log_probs).any()
    found = sentences(result)
    for table, hypotheses in zip(tables, found, strict=True):
        for tokens, log_prob, _ in hypotheses:
            assert log_prob == pytest.approx(literal.log_p(table, tokens), abs=1e-5)
    return found


def compare(hypotheses, expected, score):
    """The same scores in the same order, and each hypothesis has its own, once; of two equal ones either will do.

    `score(tokens)` says it again; -inf for what may not be.
    """
    np.testing.assert_allclose([h[2] for h in hypotheses], [score for _, score in expected], atol=1e-5)
    np.testing.assert_allclose([h[2] for h in hypotheses], [score(h[0]) for h in hypotheses], atol=1e-5)
    assert len({tuple(h[0]) for h in hypotheses}) == len(hypotheses)


@by_rule("banned runs", "max_length 3", "no_repeat 2", "penalty 1.8")
def test_a_beam_as_wide_as_the_space_finds_the_best_that_is_allowed(rule, tables, everything):
    K = V * (V - 1) ** (T - 1)
    length_penalty = power_penalty(0.7)
    find = Beam(num_beams=K, num_return=K, length_penalty=length_penalty)
    found = checked(run(find, tables, rule.make()), tables)
    for b, hypotheses in enumerate(found):
        points = {tuple(tokens): rule.points(tokens, log_ps, b) for tokens, log_ps in everything[b]}
        scores = {tokens: value / length_penalty(len(tokens)) for tokens, value in points.items()}
        compare(hypotheses, literal.ranked(scores.items())[:K], lambda tokens, scores=scores: scores[tuple(tokens)])


NARROW = [
    (1, 1, None, "first"),
    (2, 2, power_penalty(1.0), "first"),
    (3, 2, gnmt_penalty(0.8), "safe"),
    (4, 4, power_penalty(0.6), "first"),
]


def rules_and_beams():
    """Each rule with two of the beams, in turn, one of them long; on JAX two of the rules with one of them."""
    for i, (name, rule) in enumerate(RULES.items()):
        for beam in (NARROW[(i + 1) % 4], NARROW[(i + 2) % 4]):
            on_jax = name in ("banned runs", "prefix") and beam[0] == 2
            first = beam == NARROW[(i + 1) % 4] or name in FEW[-2:]
            marks = [slow_on_jax] * (not on_jax) + [pytest.mark.long] * (not (first or on_jax))
            yield pytest.param(rule, *beam, id=f"{name}-{beam[0]}", marks=marks)


@pytest.mark.parametrize(("rule", "K", "R", "length_penalty", "early_stop"), rules_and_beams())
def test_narrow_beams_keep_the_best_that_is_allowed(rule, K, R, length_penalty, early_stop, tables):
    options = {"num_beams": K, "num_return": R, "early_stop": early_stop}
    search = Beam(length_penalty=length_penalty, **options)
    found = checked(run(search, tables, rule.make(), max_length=7), tables)
    for b, hypotheses in enumerate(found):
        expected = literal.beam(tables[b], rule.gained(b), max_length=7, penalty=length_penalty, **options)
        compare(hypotheses, expected, functools.partial(literal.score, tables[b], rule.gained(b), length_penalty))


@by_rule("prefix")
def test_greedy_says_the_likeliest_that_is_allowed(rule, tables):
    found = checked(run(Greedy(), tables, rule.make(), max_length=7), tables)
    for b, hypotheses in enumerate(found):
        expected = literal.stepwise(tables[b], rule.gained(b), lambda gained, _: gained.index(max(gained)), 7)
        score = functools.partial(literal.score, tables[b], rule.gained(b), None)
        compare(hypotheses, [] if expected is None else [expected], score)


@by_rule("penalty 1.8")
def test_samples_are_drawn_from_what_is_allowed(rule, tables):
    R = 3
    found = checked(run(Sampling(seed=5, num_return=R), tables, rule.make(), max_length=7), tables)
    sentence, sample, step = np.ogrid[:MODELS, :R, :7]
    keys = mixed(mixed(ops.convert_to_tensor(np.uint32(5)), sentence.astype("int32")), sample.astype("int32"))
    numbers = ops.convert_to_numpy(uniform(mixed(keys, step.astype("int32")))).astype("float64")
    for b, hypotheses in enumerate(found):

        def pick(gained, step, numbers):
            """The inverse of the distribution function."""
            sums = np.cumsum(np.exp(np.array(gained) - max(gained)))
            return int(np.searchsorted(sums, numbers[step] * sums[-1], side="right"))

        drawn = [
            literal.stepwise(tables[b], rule.gained(b), functools.partial(pick, numbers=numbers[b, r]), 7)
            for r in range(R)
        ]
        expected = [pair for pair in drawn if pair is not None]
        assert [h[0] for h in hypotheses] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([h[2] for h in hypotheses], [points for _, points in expected], atol=1e-5)


def together():
    """One of each kind that is the same for all sentences."""
    constraints = [MinLength(3), MaxLength(8), Banned([[START], [A, B, A], [B, B]]), NoRepeat(3), Allowed([A, B, 5, 6])]
    return [*constraints, RepetitionPenalty(1.3)]


@pytest.mark.parametrize("size", [8, 2**31, 10**20])
def test_n_grams_longer_than_the_sequence_never_repeat(size):
    model = HistoryModel(random_models(4, 6, impossible=0.1, seed=3))
    free, constrained = (
        search(
            model, np.arange(4, dtype="int32")[:, None], max_length=7, search=Greedy(), constraints=constraints, **IDS
        ).tokens
        for constraints in ((), (NoRepeat(size),))
    )
    np.testing.assert_array_equal(constrained, free)


SEARCHES = {
    "greedy": Greedy(),
    "beam": Beam(num_beams=4, num_return=2),
    "groups": Beam(num_beams=4, num_return=4, num_groups=2, diversity=0.7),
    "sampling": Sampling(seed=3, num_return=2, top_p=0.9),
}


@pytest.mark.parametrize(
    "name",
    [
        "beam",
        pytest.param("sampling", marks=slow_on_jax),
        *(pytest.param(x, marks=[slow_on_jax, pytest.mark.long]) for x in ("greedy", "groups")),
    ],
)
@long_on_jax
def test_one_trace_serves_batches_prefixes_and_lengths_of_any_size(name):
    find = SEARCHES[name]
    model = HistoryModel(random_models(20, 8, impossible=0.1, seed=22))

    def decode(source, prefix, max_length=6):
        constraints = [*together(), Prefix(prefix)]
        return search(model, source, max_length=max_length, search=find, constraints=constraints, **IDS)

    traced = compiled()(decode)
    if TENSORFLOW:
        import tensorflow as tf

        signature = [tf.TensorSpec([None, 1], tf.int32), tf.TensorSpec([None, None], tf.int32)]
        signature.append(tf.TensorSpec([], tf.int64))
        traced = tf.function(decode, input_signature=signature, autograph=False)
    rng = np.random.default_rng(23)
    for count, width, max_length in ((20, 2, 6), (7, 0, 4), (1, 9, 1), (0, 1, 3)) if TENSORFLOW else ((20, 2, 6),):
        source = np.arange(count, dtype="int32")[:, None]
        prefix = rng.integers(A, 7, (count, width)).astype("int32")
        prefix[::2, 1:] = PAD
        length = [ops.convert_to_tensor(max_length, "int64")] if TENSORFLOW else []
        found = traced(ops.convert_to_tensor(source), ops.convert_to_tensor(prefix), *length)
        assert tuple(found.tokens.shape) == (count, find.num_return, max_length)
        expected = decode(source, prefix, max_length) if count else found
        for one, other in zip(arrays(found), arrays(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
    if TENSORFLOW:
        assert traced.experimental_get_tracing_count() == 1


def test_groups_stay_within_what_is_allowed(tables):
    rules = [RULES[name] for name in ("banned runs", "no_repeat 2", "min_length 3")]
    find = Beam(num_beams=4, num_return=4, num_groups=2, length_penalty=None)
    found = checked(run(find, tables, *(rule.make() for rule in rules), max_length=6), tables)
    assert sum(map(len, found)) > 2 * MODELS
    for b, hypotheses in enumerate(found):
        for tokens, log_prob, score in hypotheses:
            assert all(rule.allows(tokens, b) for rule in rules) and score == pytest.approx(log_prob, abs=1e-5)


def test_any_function_is_a_constraint(tables):
    def odd(log_probs, progress):
        """Tokens of odd number at odd steps."""
        wrong = (ops.arange(V)[None, :] % 2 == 1) != (progress.length % 2 == 1)
        return ops.where(wrong, -float("inf"), log_probs)

    found = checked(run(Beam(num_beams=3, num_return=3), tables, odd), tables)
    assert all(token % 2 == i % 2 for hypotheses in found for h in hypotheses for i, token in enumerate(h[0]))


def test_generate_gives_each_text_its_own_prefix():
    texts = ["hello", "", "a", "barrels", "zebra"]
    said = [[19], [18], [], [20, 21], [4, 4]]  # p, o, nothing, qr, aa
    padded = np.array([row + [PAD] * (2 - len(row)) for row in said])
    ways = [{"search": "greedy", "compiled": compiled(), "batch_tokens": 10_000}]
    ways += [{"num_beams": 2, "batch_tokens": 1}, {"search": "greedy", "batch_tokens": 16}] if TENSORFLOW else []
    for options in ways:
        found = generate(CopyModel(), Letters(), texts, constraints=[Prefix(padded)], max_length=9, **options)
        assert found == ["pello", "", "a", "qrrrels", "aabra"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinLength(0), "length.*0"),
        (lambda: MaxLength(-1), "length.*-1"),
        (lambda: Banned([5]), "phrases.*5"),
        (lambda: Banned("ab"), "phrases.*ab"),
        (lambda: Banned([["4"]]), "phrases.*'4'"),
        (lambda: Banned([[[4]]]), r"phrases.*\[\[\[4"),
        (lambda: Banned([[4], []]), r"phrases.*\[\]"),
        (lambda: NoRepeat(0), "size.*0"),
        (lambda: RepetitionPenalty(0.0), "penalty.*0.0"),
        (lambda: RepetitionPenalty(math.nan), "penalty.*nan"),
        (lambda: RepetitionPenalty(math.inf), "penalty.*inf"),
        (lambda: Prefix([1, 2]), r"tokens.*\(2,\)"),
        (lambda: run(Greedy(), random_models(2, V, 0, 1), Prefix([[4]] * 3)), r"tokens.*each of 2 sentences.*\(3, 1\)"),
        (lambda: generate(None, None, ["a"], constraints=[Prefix([[4]] * 3)]), r"tokens.*each of 1 sent.*\(3, 1\)"),
        (lambda: run(Greedy(), random_models(1, V, 0, 1), Banned([[4], [7, 4]])), "phrases.*V=5.*7"),
        (lambda: run(Greedy(), random_models(1, V, 0, 1), Allowed([4, -1])), "tokens.*V=5.*-1"),
    ],
)
def test_what_is_out_of_range_is_named_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_constraint_is_the_same_for_all_sentences():
    constraint = NoRepeat(2)
    assert not constraint.per_sentence and constraint.for_examples(np.array([3, 1])) is constraint
