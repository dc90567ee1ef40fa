"""What `certify` draws for a SavedModel, by its signature."""

import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq.commands import certified_served
from keras_seq.commands.certify import Certify

TEXTS = tf.TensorSpec([None], tf.string, "text")


def signature(inputs, call=None, outputs=None):
    """As TensorFlow loads one: a function with the specs of its inputs and outputs."""
    call = call or (lambda **tensors: tensors)
    specs = {"structured_input_signature": ((), inputs), "structured_outputs": outputs or {}}
    return type("Signature", (), {"__call__": lambda self, **tensors: call(**tensors), **specs})()


def opened(module=None, **signatures):
    return types.SimpleNamespace(folder="saved", module=module, signatures_by_name=signatures)


def drawn(spec, name="x", words=None, look_back=None, **options):
    return certified_served._input(name, spec, words, look_back, Certify(model="saved", **options))


@pytest.mark.parametrize(
    ("shape", "name", "look_back", "options", "expected"),
    [
        ((None, 8), "x", None, {}, (1, 16, 1, False)),
        ((None, 8), "x", None, {"longest": 5}, (1, 5, 1, False)),
        ((None, 4, 4, 1), "x", None, {}, (1, 6, 1, False)),  # a clip
        ((None,), "x", None, {}, (200, 4000, 100, False)),  # a waveform
        ((None,), "x", None, {"longest": 150}, (150, 150, 100, False)),
        ((None, 2), "past", 24, {}, (24, 40, 1, True)),
        ((None, 2), "past", None, {}, (16, 32, 1, True)),
        ((None, 2), "past", None, {"longest": 3}, (3, 19, 1, True)),
    ],
)
def test_lengths_of_numbers(shape, name, look_back, options, expected):
    found = drawn(tf.TensorSpec([None, *shape], tf.float32), name, look_back=look_back, **options)
    assert found.shape == shape
    assert (found.shortest, found.longest, found.unit, found.front) == expected
    assert found.hides == (look_back is not None)


@pytest.mark.parametrize(("options", "most", "longest"), [({}, 9, 16), ({"ids": 3, "longest": 50}, 2, 50)])
def test_ids_are_below_their_number(options, most, longest):
    found = drawn(tf.TensorSpec([None, None], tf.int32), **options)
    values = found.values(np.random.default_rng(0), (1000,))
    assert (values.min(), values.max(), found.longest) == (1, most, longest)


def test_texts_are_of_the_given_words_or_of_made_up_ones():
    random = np.random.default_rng(0)
    found = drawn(TEXTS, words=[b"one", b"two"])
    assert found.shape == () and set(b" ".join(found.values(random, (20,))).split()) == {b"one", b"two"}
    words = set(b" ".join(drawn(TEXTS).values(random, (200,))).split())
    assert len(words) > 100 and all(1 <= len(word) <= 7 and word.isalpha() and word.islower() for word in words)


def test_the_words_of_a_file(tmp_path):
    file = tmp_path / "words"
    file.write_bytes("b a\n\na ä".encode())
    assert certified_served._words(file) == [b"a", b"b", "ä".encode()]
    file.write_text(" \n")
    with pytest.raises(ValueError, match="words has no words. Give a file of text with words of the model's vocab"):
        certified_served._words(file)


@pytest.mark.parametrize(("outputs", "steps"), [({}, None), ({"look_back": None}, 24)])
def test_the_look_back_is_what_the_file_describes(outputs, steps):
    describe = signature({}, lambda: {"look_back": tf.constant(24)}, outputs)
    assert certified_served._look_back(opened(describe=describe)) == steps
    assert certified_served._look_back(opened(forecast=describe)) is None


def test_a_search_gets_the_same_length_in_every_batch():
    options = {"text": TEXTS, "max_length": tf.TensorSpec([], tf.int64), "alpha": tf.TensorSpec([], tf.float32)}
    calls = []
    module = types.SimpleNamespace(translate_with_options=lambda text, max_length: calls.append((text, max_length)))
    saved = opened(module, translate=signature({"text": TEXTS}), translate_with_options=signature(options))
    certified_served._with_length(saved, "translate", 7)("a text")
    ((text, length),) = calls
    assert text == "a text" and length.dtype == tf.int64 and int(length) == 7
    assert certified_served._with_length(saved, "generate", 7) is None
    saved.module = None  # the function is not to be called by its name
    assert certified_served._with_length(saved, "translate", 7) is None


def test_a_search_that_draws_is_refused():
    options = {name: tf.TensorSpec([], tf.int32, name) for name in ("temperature", "max_length", "seed")}
    module = types.SimpleNamespace(generate_with_options=None)
    with pytest.raises(ValueError, match=r"saved draws its output at random \(it takes seed, temperature\)"):
        certified_served._with_length(opened(module, generate_with_options=signature(options)), "generate", 7)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("own", "another"),
            "saved has none of the signatures translate, .* It has: another, own. Give the run folder.",
        ),
        ((), "It has: none. Give the run folder."),
    ],
)
def test_a_file_of_other_signatures(names, message):
    saved = opened(**dict.fromkeys(names))
    with (
        pytest.raises(ValueError, match=message),
        certified_served.adapter_of_saved_model(saved, Certify(model="saved")),
    ):
        pass


def test_a_tagger_of_texts(tmp_path):
    def tags(text):
        words = tf.strings.split(text).to_tensor(b"")
        return {"length": tf.strings.length(words)}

    saved = opened(tag=signature({"text": TEXTS}, tags, {"length": tf.TensorSpec([None, None], tf.int32)}))
    (tmp_path / "words").write_text("one three")
    options = Certify(model="saved", text=tmp_path / "words")
    with certified_served.adapter_of_saved_model(saved, options) as (adapter, left_out):
        assert left_out == {
            "padding": "A SavedModel that takes text pads it itself: see `neighbors` and `batch shape`."
        }
        answers = adapter.answers({"text": np.array([b"one three", b"one"], object)})
        assert answers["length"].tolist() == [[3, 5], [3, 0]]
        assert adapter.of(answers, 1, {"text": np.array(b"one")})["length"].tolist() == [3]
        assert "padding" not in adapter.kinds


def test_a_model_of_ids_is_compared_without_its_padding():
    spec = tf.TensorSpec([None, None], tf.int32, "ids")
    outputs = {"twice": spec, "sum": tf.TensorSpec([None, 3], tf.int32)}
    call = signature({"ids": spec}, lambda ids: {"twice": 2 * ids, "sum": ids[:, :1] + [[0, 1, 2]]}, outputs)
    with certified_served.adapter_of_saved_model(opened(serve=call), Certify(model="saved")) as (adapter, left_out):
        assert not left_out and "padding" in adapter.kinds
        answers = adapter.answers({"ids": np.array([[1, 2, 0, 0]])})
        found = adapter.of(answers, 0, {"ids": np.array([1, 2])})
    assert {name: x.tolist() for name, x in found.items()} == {"twice": [2, 4], "sum": [1, 2, 3]}
