import importlib
import warnings

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras_seq.export needs TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import decoding, export, layers, models
from tests.reference import fill

module = importlib.import_module("keras_seq.export.litert")  # `export.litert` is the function

V = 20
IDS = np.array([[4, 9, 12, 5, 3, 0], [7, 6, 15, 3, 0, 0]], "int32")


def mapping(body, pooling=None, series=False):
    """A functional model: ids, or three series, to four numbers for each step or, pooled, for each row."""
    inputs = keras.Input((None, 3)) if series else keras.Input((None,), dtype="int32")
    x = inputs if series else layers.TokenEmbedding(V, 8)(inputs)
    x, _ = body(x)
    return fill(keras.Model(inputs, keras.layers.Dense(4)(x if pooling is None else pooling(x))))


def stack(cell, num_layers=1, **options):
    return layers.RecurrentStack(cell, units=8, num_layers=num_layers, **options)


def transformer(**options):
    return fill(models.Transformer(V, units=8, num_heads=2, num_layers=1, **options))


PAIRS = {"source": IDS, "target": IDS[::-1, :4].copy()}
SERIES = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
FORWARD = {
    "classifier, lstm": lambda: (mapping(stack("lstm"), layers.AttentionPooling()), IDS),
    "tagger, gru both ways": lambda: (mapping(stack("gru", bidirectional=True)), IDS),
    "forecaster, rnn": lambda: (mapping(stack("rnn"), layers.AttentionPooling(), series=True), SERIES),
    "classifier, mingru": lambda: (mapping(stack("mingru"), layers.AttentionPooling()), IDS),
    "language model, lstm": lambda: (fill(models.LanguageModel(V, stack("lstm"))), IDS),
    "language model, transformer": lambda: (fill(models.LanguageModel(V, layers.TransformerStack(8, 2, 1))), IDS),
    "seq2seq, rnn": lambda: (fill(models.Seq2Seq(V, units=8, num_layers=1, cell="rnn")), PAIRS),
    "seq2seq, gru": lambda: (fill(models.Seq2Seq(V, units=8, num_layers=1, cell="gru")), PAIRS),
    "seq2seq, lstm": lambda: (fill(models.Seq2Seq(V, units=8, num_layers=2, cell="lstm")), PAIRS),
    "transformer": lambda: (transformer(), PAIRS),
}
STEPS = ("language model, lstm", "language model, transformer", "seq2seq, rnn", "seq2seq, gru", "seq2seq, lstm")
STEPS += ("transformer",)
QUICK = ("classifier, lstm", "language model, transformer", "seq2seq, rnn")


def cases(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in names]


def interpreter(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tf.lite.Interpreter(str(path))


@pytest.mark.parametrize("name", cases(FORWARD))
def test_the_file_computes_what_the_model_computes(name, tmp_path):
    model, example = FORWARD[name]()
    path = export.litert(model, tmp_path / "new" / "a.tflite", example)
    loaded = interpreter(path)
    run = loaded.get_signature_runner("serve")
    # Not the example: other ids, other lengths.
    rng = np.random.default_rng(1)
    other = keras.tree.map_structure(
        lambda x: rng.normal(size=x.shape).astype("float32") if x.ndim == 3 else rng.integers(4, V, x.shape, "int32"),
        example,
    )
    found = run(**(other if isinstance(other, dict) else {"inputs": other}))["outputs"]
    np.testing.assert_allclose(found, model(other), atol=1e-4)
    assert not any(op["op_name"].startswith("Flex") for op in loaded._get_ops_details())
    assert [p.name for p in path.parent.iterdir()] == ["a.tflite"]


@pytest.mark.parametrize("name", cases(STEPS))
def test_step_by_step_it_is_the_greedy_search(name, tmp_path):
    model, _ = FORWARD[name]()
    path = export.litert(model, tmp_path / "a.tflite", IDS, steps=7)
    loaded = interpreter(path)
    decode = loaded.get_signature_runner("decode")
    if "language" in name:
        first = model.initial_state(2, 7)
        state = {key: np.zeros(x["shape"], x["dtype"]) for key, x in decode.get_input_details().items()}
        state.pop("tokens")
    else:
        first = model.encode(IDS, max_length=7)
        state = loaded.get_signature_runner("encode")(source=IDS)
    expected = decoding.Greedy()(model.decode, first, batch_size=2, max_length=7, start_id=2, end_id=3, pad_id=0)
    tokens, found = np.full((2, 1), 2, "int32"), []
    for _ in range(7):
        state = decode(tokens=tokens, **state)
        tokens = state.pop("logits").argmax(-1).astype("int32")
        found.append(tokens[:, 0])
    for row, ours, length in zip(np.array(found).T, expected.tokens[:, 0], expected.lengths[:, 0], strict=True):
        assert row[: int(length)].tolist() == np.asarray(ours)[: int(length)].tolist()


def test_what_computes_otherwise_is_found_out(tmp_path, monkeypatch):
    model, example = mapping(stack("rnn")), IDS
    path = export.litert(model, tmp_path / "a.tflite", example)
    before = path.read_bytes()
    model.weights[-1].assign(model.weights[-1] + 1e-3)
    monkeypatch.setattr(module, "_converted", lambda *_: before)
    with pytest.raises(RuntimeError, match=r"computes otherwise: its 'outputs' of shape \(2, 6, 4\) is up to 0.001"):
        export.litert(model, path, example)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.tflite"]


class Unknown(keras.layers.Layer):
    def call(self, x):
        return tf.raw_ops.Betainc(a=1.0 + x * x, b=2.0 + x * x, x=tf.sigmoid(x))


def test_what_litert_has_not_is_an_error_that_says_so(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Unknown()(inputs))
    with pytest.raises(RuntimeError, match="LiteRT has not all operations of this model.*[Bb]etainc"):
        export.litert(model, tmp_path / "a.tflite", np.ones((1, 4), "float32"))
    assert not list(tmp_path.iterdir())


def test_a_path_is_checked_first(tmp_path):
    (tmp_path / "b.tflite").mkdir()
    (tmp_path / "c.tflite").write_text("mine")
    for name, options, message in (
        ("a.lite", {}, "must end in '.tflite'"),
        ("b.tflite", {}, "is a folder"),
        ("c.tflite", {"overwrite": False}, "is there already.*`overwrite=True`"),
    ):
        with pytest.raises(ValueError, match=message):
            export.litert(None, tmp_path / name, IDS, **options)
    assert (tmp_path / "c.tflite").read_text() == "mine"
