import importlib
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.decoding import Banned, Hypotheses, power_penalty, search
from keras_seq.decoding.audit import Check, audit
from keras_seq.layers import RecurrentStack, TransformerStack
from keras_seq.models import LanguageModel, Seq2Seq, Transformer
from tests.decoding.models import next_context, random_models, slow_on_jax
from tests.reference import array, backend_cases, fill, long_on_jax, quick

module = importlib.import_module("keras_seq.decoding.audit")  # the package has the function under this name
IDS = {"pad_id": 0, "start_id": 2, "end_id": 3}
V, MAX_LENGTH = 7, 4
SOURCES = [[4, 5, 6], [6], [5, 5, 4, 6, 4]]
BEAM = {"num_beams": 3, "num_return": 3}
MODELS = {
    "Seq2Seq": lambda: Seq2Seq(V, units=4, cell="gru", num_layers=1, attention="general"),
    "Transformer": lambda: Transformer(V, units=4, num_heads=2, num_layers=1, dropout=0.0),
    "language model, GRU": lambda: LanguageModel(V, RecurrentStack("gru", 4)),
    "language model, Transformer": lambda: LanguageModel(V, TransformerStack(4, num_heads=2, num_layers=1)),
}
NAMES = ["forced score", "after the end", "lengths", "order", "duplicates", "beam of one", "alone", "wider", "texts"]


def run_audit(model, sources=SOURCES, max_length=MAX_LENGTH, **options):
    return audit(model, sources, max_length=max_length, **IDS, **{**BEAM, **options})


def failed(report):
    return [check.name for check in report.checks if not check.ok]


@slow_on_jax
@pytest.mark.parametrize("kind", quick(MODELS, few=["Seq2Seq"]))
def test_our_models_pass(kind):
    # A language model that is shown its own padding takes it for padding.
    options = {"batch_size": 2, "max_length": 3, "constraints": [Banned([[IDS["pad_id"]]])]}
    report = run_audit(fill(MODELS[kind](), scale=1.0), **options)
    assert report.ok, f"\n{report}"
    assert [check.name for check in report.checks] == NAMES
    lines = str(report).splitlines()
    assert len(lines) == len(NAMES) and all(line.split("  ")[0] in NAMES and " ok " in line for line in lines)


class Told:
    """A model of tables, quick on any backend; what it says follows from the source and the whole history.

    A context is a hash of both; a source is its ids added up, so that padding, 0, counts nothing.
    """

    tables = random_models(1, V, impossible=0.0, seed=21)[0]

    def __init__(self):
        self.table = ops.convert_to_tensor(self.tables.astype("float32"))

    def encode(self, source, max_length=None):
        return {"memory": source[:, :1] * 0, "context": ops.sum(source, axis=1, keepdims=True) % 31}

    def decode(self, tokens, state):
        context, contexts = state["context"], []
        for t in range(tokens.shape[1]):
            context = next_context(context, tokens[:, t : t + 1])
            contexts.append(context)
        logits = ops.take(self.table, ops.concatenate(contexts, axis=1), axis=0)
        return logits, {"memory": state["memory"], "context": context}


class LeaksPadding(Told):
    """As if the encoder took padding for a word."""

    def encode(self, source, max_length=None):
        return super().encode(ops.where(source == IDS["pad_id"], 1, source), max_length)


class ForgetsItsPast(Told):
    """Step by step it does not do what it does in one pass: as a cache that is written to the wrong place."""

    def decode(self, tokens, state):
        logits, after = super().decode(tokens, state)
        return logits, state if tokens.shape[1] == 1 else after


class MixesRows(Told):
    """Sees its neighbor in the batch."""

    def encode(self, source, max_length=None):
        return super().encode(source + ops.roll(source, 1, axis=0), max_length)


def changed(**changes):
    """A search whose results are spoilt: each change maps the arrays of all fields to the new one of its field."""

    def run(model, source, **options):
        fields = {name: array(x).copy() for name, x in search(model, source, **options)._asdict().items()}
        return Hypotheses(**{**fields, **{name: change(fields) for name, change in changes.items()}})

    return run


def after_end(fields):
    tokens = fields["tokens"]
    tokens[..., -1] = np.where(fields["lengths"] < tokens.shape[-1], 5, tokens[..., -1])
    return tokens


def reversed_rows(fields, name):
    return fields[name][:, ::-1]


@slow_on_jax
def test_a_sound_model_of_tables_passes_and_so_does_what_draws():
    assert run_audit(Told(), sources=[[], [4, 6]]).ok
    backwards = changed(**{n: lambda f, n=n: reversed_rows(f, n) for n in Hypotheses._fields})
    report = run_audit(Told(), is_stochastic=True, run=backwards)
    assert report.ok and [check.name for check in report.checks] == NAMES[:3]


@pytest.mark.parametrize(
    ("model", "expected"),
    backend_cases(
        [
            (LeaksPadding, {"forced score", "alone", "wider", "texts"}),
            (ForgetsItsPast, {"forced score"}),
            (MixesRows, {"forced score", "alone", "wider", "texts"}),
        ],
        on_jax=[(LeaksPadding, {"forced score", "alone", "wider", "texts"})],
    ),
)
@long_on_jax
def test_a_faulty_model_is_found_out(model, expected):
    report = run_audit(model())
    assert set(failed(report)) == expected, f"\n{report}"
    assert "FAILED" in str(report) and not report.ok


@slow_on_jax
@pytest.mark.parametrize(
    ("run", "expected", "shown"),
    [
        (changed(log_probs=lambda f: f["log_probs"] * (1 + 0.01 * (f["lengths"] > 2))), ["forced score"], "returned"),
        (changed(tokens=after_end), ["after the end"], "1 more tokens after the end"),
        (changed(lengths=lambda f: f["lengths"] - 1), ["forced score", "lengths"], "counted"),
        (changed(**{n: lambda f, n=n: reversed_rows(f, n) for n in Hypotheses._fields}), ["order", "texts"], "then"),
        (changed(**{n: lambda f, n=n: f[n][:, [0, 0, 1]] for n in Hypotheses._fields}), ["duplicates"], "2 times"),
        (changed(log_probs=lambda f: f["log_probs"] * np.nan), ["forced score"], "nan"),
    ],
)  # fmt: skip
def test_a_faulty_search_is_found_out(run, expected, shown):
    report = run_audit(Told(), run=run)
    assert set(expected) <= set(failed(report)), f"\n{report}"
    kept = {"beam of one"} | ({"after the end", "alone", "wider"} - set(expected) if "nan" not in shown else set())
    assert not kept & set(failed(report)), f"\n{report}"
    assert shown in str(report)


@slow_on_jax
def test_texts_that_come_back_in_another_order_are_found_out(monkeypatch):
    honest = module.generate

    def careless(model, vocabulary, texts, **options):
        return honest(model, vocabulary, sorted(texts, key=len), **options)

    monkeypatch.setattr(module, "generate", careless)
    report = run_audit(Told())
    assert failed(report) == ["texts"] and "wrong" in report["texts"].worst


@slow_on_jax
def test_a_beam_of_one_that_is_not_greedy_is_found_out(monkeypatch):
    honest = module.Beam

    def wide(num_beams, **options):
        def search(step, state, **arguments):
            state = keras.tree.map_structure(lambda x: ops.repeat(x, 4, axis=0), state)
            return honest(num_beams=4, **options)(step, state, **arguments)

        return search

    monkeypatch.setattr(module, "Beam", wide)
    assert failed(run_audit(Told())) == ["beam of one"]


@slow_on_jax
def test_equal_hypotheses_that_change_places_are_ties():
    def swap(model, source, **options):
        """Alone, tokens 4 and 5 change places, which this model cannot tell apart."""
        found = search(model, source, **options)
        if source.shape[0] > 1:
            return found
        tokens = array(found.tokens)
        return found._replace(tokens=np.where(tokens == 4, 5, np.where(tokens == 5, 4, tokens)))

    class Indifferent(Told):
        def decode(self, tokens, state):
            row = np.log([0.01, 0.01, 0.01, 0.07, 0.4, 0.4, 0.1]).astype("float32")
            return ops.zeros((*tokens.shape, V)) + row, state

    report = run_audit(Indifferent(), run=swap)
    assert report["alone"].ok and "ties" in report["alone"].worst, f"\n{report}"


def best_of_all(source, length, penalty):
    """The best finished sequence's score, by plain recursion over the table."""
    context = sum(source + [IDS["end_id"]]) % 31

    def logs(tokens):
        total, now, last = 0.0, context, IDS["start_id"]
        for token in tokens:
            now = next_context(now, last)
            total, last = total + Told.tables[now % 31, token], token
        return total

    others = [token for token in range(V) if token != IDS["end_id"]]
    sequences = [(*t, IDS["end_id"]) for n in range(length) for t in itertools.product(others, repeat=n)]
    return max(logs(tokens) / penalty(len(tokens)) for tokens in sequences)


@slow_on_jax
def test_the_gap_to_exhaustive_search():
    sources, length, penalty = [*SOURCES, [4, 4], [6, 5], [5]], 3, power_penalty(1.0)
    options = {"exhaustive_length": length, "is_stochastic": True}  # so that nothing else costs time
    wide = run_audit(Told(), exhaustive_penalty=penalty, num_beams=40, num_return=1, **options)
    assert wide["exhaustive"].ok and "the best of 43 sequences for 3 of 3 sources" in wide["exhaustive"].worst, wide

    narrow = run_audit(Told(), sources=sources, exhaustive_penalty=penalty, num_beams=2, num_return=2, **options)
    gaps = []
    for source in sources:
        found = search(Told(), np.array([[*source, 3]], "int32"), max_length=length, num_beams=2, num_return=2, **IDS)
        finished = (array(found.tokens)[0] == 3).any(-1)
        gaps.append(best_of_all(source, length, penalty) - max(array(found.scores)[0][finished], default=-np.inf))
    assert max(gaps) > 0.01, "some source must have a gap, or nothing is tested"
    assert narrow["exhaustive"].ok and f"worst gap {max(gaps):.4f}" in narrow["exhaustive"].worst, narrow

    boastful = changed(log_probs=lambda f: f["log_probs"] + 3.0)
    report = run_audit(Told(), run=boastful, **options)
    assert not report["exhaustive"].ok and "worst gap -" in report["exhaustive"].worst


def test_what_cannot_be_audited_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        run_audit(Told(), sources=[])
    with pytest.raises(ValueError, match="72,559,411"):
        run_audit(Told(), exhaustive_length=11)


class Prompted:
    """A language model that prefers the token after the latest one."""

    def initial_state(self, batch_size, max_length):
        return {"steps": ops.zeros((batch_size, 1), "int32")}

    def decode(self, tokens, state):
        return 2.0 * ops.one_hot((ops.cast(tokens, "int32") + 1) % V, V), state


def told(tokens, lengths, log_probs):
    """Hypotheses, whose scores are their log-probabilities."""
    log_probs = np.array(log_probs, "float32")
    return Hypotheses(np.array(tokens, "int32"), np.array(lengths), log_probs, log_probs)


@slow_on_jax
def test_the_sources_of_a_language_model_are_prompts():
    likely, other = np.log(np.exp([2.0, 0.0]) / (np.exp(2.0) + V - 1))
    seen = []

    def run(model, source, **options):
        seen.append((type(model).__name__, array(source).tolist(), options))
        return told([[[6, 3, 0]]], [[2]], [[likely + other]])

    report = audit(Prompted(), [[4, 5]], max_length=3, run=run, is_stochastic=True, **IDS)
    assert seen == [("PromptedModel", [[IDS["start_id"], 4, 5]], {"max_length": 3, **IDS})]
    assert report.ok and [check.name for check in report.checks] == NAMES[:3]


def test_what_comes_after_an_end_is_shown():
    sound = told([[[4, 3, 0], [5, 6, 4]]], [[2, 3]], [[-1.0, -2.0]])
    assert module._after_end(sound, 3, 0) == Check("after the end", True, "2 hypotheses, 1 with an end token")
    check = module._after_end(told([[[4, 3, 0], [3, 6, 4]]], [[2, 1]], [[-1.0, -2.0]]), 3, 0)
    assert not check.ok and check.worst.endswith(": 2 more tokens after the end: [3, 6, 4]")


def test_one_hypothesis_is_in_order():
    check = module._order(told([[[4, 3]], [[5, 3]]], [[2], [2]], [[-1.0], [-9.0]]), 3)
    assert check == Check("order", True, "one hypothesis for each source")


def test_a_text_with_another_result_is_wrong_unless_it_is_as_likely(monkeypatch):
    alone = told([[[4, 3]], [[5, 3]], [[6, 3]]], [[2], [2], [2]], [[-1.0], [-2.0], [-3.0]])
    results = {"4": "4 3", "5": ["6 3", "5 3"], "6": "4 4 3"}
    monkeypatch.setattr(
        module, "generate", lambda model, vocabulary, texts, **options: [results[text] for text in texts]
    )
    forced = {1: -2.0, 2: -7.0}
    check = module._texts(None, None, [[4], [5], [6]], alone, lambda row, tokens: forced[row], 1e-4)
    assert check == Check("texts", False, "source 2: [4, 4, 3] (-7.000000), alone [6, 3] (-3.000000); 1 ties; 1 wrong")
