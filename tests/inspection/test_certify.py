import keras
import numpy as np
import pytest

from keras_seq.inspection import certify, certify_adapters
from keras_seq.inspection.certify import ModelAdapter
from keras_seq.inspection.sequences import Input, batch, drawn, ids, numbers, sizes, spelled, texts

INPUTS = {
    "words": Input(ids(9), (None,), longest=5),
    "characters": Input(spelled(9), (None, None), like="words", longest=4, hides=True),
    "past": Input(numbers, (None, 2), shortest=3, longest=4, front=True),
    "static": Input(numbers, (2,)),
}


def test_sequences_are_padded_as_their_inputs_say():
    random = np.random.default_rng(0)
    rows = [drawn(INPUTS, random) for _ in range(4)]
    size = sizes(INPUTS, rows, extra=2)
    made = batch(INPUTS, rows, size, under=random)
    assert size["words"] == (max(len(row["words"]) for row in rows) + 2,) and size["static"] == ()
    for number, row in enumerate(rows):
        length, width = row["characters"].shape
        assert len(row["words"]) == length and 3 <= len(row["past"]) <= 4
        np.testing.assert_array_equal(made["words"][number, :length], row["words"])
        assert not made["words"][number, length:].any(), "ids hide nothing"
        np.testing.assert_array_equal(made["characters"][number, :length, :width], row["characters"])
        assert not made["characters"][number, :length, width:].any(), "a word has no characters behind its own"
        assert made["characters"][number, length:].any(axis=-1).all(), "anything may stand in a word that is none"
        np.testing.assert_array_equal(made["past"][number, -len(row["past"]) :], row["past"])
        np.testing.assert_array_equal(made["static"][number], row["static"])


def asked(answers, hides=False, **options):
    return ModelAdapter(
        {"x": Input(ids(50), (None,), hides=hides)}, lambda batch: {"y": answers(batch["x"])}, **options
    )


def sums(x):
    return x.sum(1).astype("float32")


def spoilt(x, value):
    """Sums, to which something is added that is none of the row's business."""
    return sums(x) + np.float32(value)


# What an answer must not depend on, and the kinds of case that find it out.
SPOILT = {
    "padding": (lambda x: spoilt(x, x.shape[1]), {"padding", "batch shape", "alone"}),
    "rows": (lambda x: spoilt(x, len(x)), {"batch shape", "alone"}),
    "order": (lambda x: spoilt(x, np.arange(len(x))), {"order", "batch shape", "alone"}),
    "neighbors": (lambda x: spoilt(x, x.max()), {"neighbors", "batch shape", "alone", "under the padding"}),
    "under": (sums, {"under the padding"}),
}


@pytest.mark.parametrize("name", SPOILT)
def test_each_dependence_is_found_by_its_kinds(name):
    answers, kinds = SPOILT[name]
    found = certify.certify(asked(answers, hides=name in ("under", "neighbors")), cases=120)
    assert {row.kind for row in found.rows if row.failures} == kinds and not found.ok
    smallest = found.smallest
    again = certify.tried(asked(answers, hides=name in ("under", "neighbors")), 0, smallest.number)
    assert (again.kind, again.difference, again.size) == (smallest.kind, smallest.difference, smallest.size)
    told = "\n".join(certify.shown(smallest, 0))
    assert f"case {smallest.number}, seed 0: {smallest.kind}" in told and f"{smallest.one['y']:g}" in told


def test_a_good_model_passes_and_the_kinds_take_turns():
    found = certify.certify(asked(sums), cases=53, seed=4)
    assert found.ok and found.cases == 53 and [row.cases for row in found.rows] == [11, 11, 11, 10, 10]
    assert [cells[1] for cells in found.cells()] == ["cases", "11", "11", "11", "10", "10", "53"]


def test_other_ways_to_the_answers_are_compared():
    ways = {"as exported": lambda batch: {"y": sums(batch["x"]) * np.float32(1 + 1e-4), "more": batch["x"]}}
    found = certify.certify(asked(sums, others=ways), cases=60, tolerance=1e-3)
    assert found.ok and found.rows[-1].kind == "as exported"
    assert found.rows[-1].largest == pytest.approx(1e-4, rel=1e-2)
    assert certify.certify(asked(sums, others=ways), cases=60).rows[-1].failures == 10


def test_the_same_answer_to_everything_proves_nothing():
    found = certify.certify(asked(lambda x: np.ones(len(x), "float32")), cases=20)
    assert found.failures == 0 and not found.varied and not found.ok


def test_an_error_is_a_failure():
    def answers(x):
        if x.shape[1] > 12:
            raise RuntimeError("no room for 13")
        return sums(x)

    found = certify.certify(asked(answers), cases=40)
    assert found.failures and found.smallest.difference == np.inf and found.varied
    assert "RuntimeError: no room for 13" in "\n".join(certify.shown(found.smallest, 0))


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5 / 2.5),
        ([0.1, 0.2], [0.1, 0.3], 0.1),
        ([-np.inf, 1.0], [-np.inf, 1.0], 0.0),
        ([-np.inf, 1.0], [-3.0, 1.0], np.inf),
        ([np.nan], [np.nan], np.inf),
        ([1.0], [1.0, 2.0], np.inf),
        ([3, 4], [3, 4], 0.0),
        ([3, 4], [3, 5], np.inf),
        ([b"a"], [b"a"], 0.0),
        ([b"a"], [b"b"], np.inf),
    ],
)
def test_differences(one, other, difference):
    one, other = (np.array(x, object if isinstance(x[0], bytes) else None) for x in (one, other))
    assert certify.difference({"y": one}, {"y": other}) == pytest.approx(difference)


@pytest.mark.parametrize("options", [{"cases": 0}, {"tolerance": -1.0}, {"tolerance": float("nan")}])
def test_bad_numbers_are_named(options):
    with pytest.raises(ValueError, match=r"`cases` must be positive, `tolerance` not negative\. Received"):
        certify.certify(asked(sums), **options)


def test_answers_and_models_that_cannot_be_compared_are_named():
    with pytest.raises(ValueError, match=r"The answers have no name in common: \['y'\] and \['z'\]"):
        certify.difference({"y": np.zeros(1)}, {"z": np.zeros(1)})
    with pytest.raises(ValueError, match="A Layer has no list of its inputs. Pass `inputs`."):
        certify_adapters.inputs_of(keras.layers.Layer(), {}, None)


def test_a_model_of_several_inputs_in_a_list():
    first, second = (keras.Input((None, 2), name=name) for name in ("first", "second"))
    model = keras.Model([first, second], keras.layers.Add()([first, second]))
    adapter = certify_adapters.mapping(model)
    assert list(adapter.inputs) == ["first", "second"]
    given = {"second": np.ones((1, 3, 2), "float32"), "first": np.zeros((1, 3, 2), "float32")}
    assert np.array_equal(adapter.answers(given)["outputs"], given["second"])


def test_frames_of_padding_are_no_answer_of_the_sequence():
    """Such a frame has all labels but one below the least."""
    own = certify_adapters.Own({"x": Input(numbers, (None, 2))}, ["y", "z"])
    frames = np.array([[0.1, 0.2, 0.3], [0.0, -1e9, -1e9], [-1e9, 0.5, 0.6], [0.0, -1e9, -1e9]])
    answers = {"y": frames[None], "z": np.arange(4.0)[None], "whole": np.arange(9.0)[None]}
    found = own(answers, 0, {"x": np.zeros((3, 2))})
    assert found["y"].tolist() == frames[[0, 2]].tolist() and found["z"].tolist() == [0.0, 1.0, 2.0]
    assert found["whole"].tolist() == answers["whole"][0].tolist()
    assert own({"y": frames[None, :1]}, 0, {"x": np.zeros((3, 2))})["y"].tolist() == frames[:1].tolist()
    alone = np.full((1, 3, 1), -1e9)  # a single label has no others
    assert own({"y": alone}, 0, {"x": np.zeros((2, 2))})["y"].shape == (2, 1)


def test_given_inputs_replace_those_of_the_model():
    x = keras.Input((None, 2), name="x")
    model = keras.Model(x, keras.layers.ReLU()(x))
    given = {"x": Input(numbers, (None, 2), longest=3)}
    adapter = certify_adapters.mapping(model, inputs=given)
    assert adapter.inputs is given
    answers = adapter.answers({"x": np.array([[[-1.0, 2.0]]], "float32")})
    assert answers["outputs"].tolist() == [[[0.0, 2.0]]]


def test_a_language_model_goes_on_from_beginnings_with_the_start_token():
    class Model:
        """Its logits are the tokens that it was given."""

        def _flatten_layers(self):
            return []

        def __call__(self, tokens, training):
            assert training is False
            return tokens

    found = []
    search = lambda source: found.append(source) or {"length": np.array([len(source)])}  # noqa: E731
    options = {"start_id": 7, "vocabulary_size": 5, "search": search, "room_for": 4, "longest": 10}
    adapter = certify_adapters.decoding(Model(), **options)
    assert list(adapter.inputs) == ["source", "target"]
    assert [each.longest for each in adapter.inputs.values()] == [10 - 1 - 4] * 2
    rows = [drawn(adapter.inputs, np.random.default_rng(seed)) for seed in range(9)]
    assert all(row[name][0] == 7 and (row[name][1:] < 5).all() for row in rows for name in ("source", "target"))
    given = {"source": np.array([[7, 1]]), "target": np.array([[7, 2, 3]])}
    answers = adapter.answers(given)
    assert answers["logits"].tolist() == [[7, 2, 3]] and answers["length"].tolist() == [1]
    assert found[0].tolist() == [[7, 1]]
    own = Input(ids(9), (None,))
    assert certify_adapters.decoding(Model(), **options, source=own).inputs["source"] is own


def test_a_text_is_shown_as_it_is_written():
    assert certify._short(np.array(b"a \xc3\xa4", object), 3) == "'a ä'"
    drawn_text = texts([b"a", b"b"])(np.random.default_rng(0), (2,))
    assert all(set(text.split()) <= {b"a", b"b"} and text for text in drawn_text)
