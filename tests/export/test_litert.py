import importlib
import warnings

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras_seq.export needs TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import decoding, export, layers, models
from tests.reference import fill, quick

module = importlib.import_module("keras_seq.export.litert")  # `export.litert` is the function

V = 20
IDS = np.array([[4, 9, 12, 5, 3, 0], [7, 6, 15, 3, 0, 0]], "int32")


def stack(cell, num_layers=1, **options):
    return layers.RecurrentStack(cell, units=8, num_layers=num_layers, **options)


def ears():
    return models.audio_front_end(8, num_mel_bins=8)


rng = np.random.default_rng(0)
PAIRS = {"source": IDS, "target": IDS[::-1, :4].copy()}
BITS = rng.integers(0, 2, (2, 10, 5)).astype("float32")
SERIES = rng.normal(size=(2, 10, 3)).astype("float32")
SOUND = rng.normal(size=(2, 2000)).astype("float32")
CLIP = rng.random((2, 4, 8, 8, 1), "float32")
WORDS = {"words": IDS, "characters": rng.integers(4, V, (2, 6, 5), "int32")}
SPELLED = {"units": 8, "character_vocabulary_size": V, "character_units": 8}
HEARD = {"units": 8, "head": "classes", "num_layers": 1}
FORWARD = {
    "classifier, lstm": lambda: (models.classifier(V, 3, units=8), IDS),
    "classifier, mingru": lambda: (models.classifier(V, 3, architecture="mingru", units=8), IDS),
    "classifier, cnn": lambda: (models.classifier(V, 3, architecture="cnn", units=8, windows=(2, 3)), IDS),
    "classifier, feedforward": lambda: (models.classifier(V, 3, architecture="feedforward", units=8), IDS),
    "classifier, transformer": lambda: (
        models.classifier(V, 3, architecture="transformer", units=8, num_heads=2),
        IDS,
    ),
    "tagger, gru": lambda: (models.tagger(V, 4, architecture="gru", units=8), IDS),
    "tagger, gru, n-grams, crf": lambda: (
        models.tagger(V, 4, architecture="gru", units=8, word_ngrams=3, crf=True),
        IDS,
    ),
    "tagger, lstm of characters": lambda: (models.tagger(V, 4, **SPELLED), WORDS),
    "tagger, crf, cnn of characters": lambda: (models.tagger(V, 4, crf=True, characters="cnn", **SPELLED), WORDS),
    "recognizer, ctc": lambda: (models.recognizer(4, units=8, num_layers=1, front_end=ears()), SOUND),
    "recognizer, classes": lambda: (models.recognizer(4, architecture="rnn", front_end=ears(), **HEARD), SOUND),
    "video classifier, two questions": lambda: (
        models.video_classifier((8, 8, 1), {"digit": 3, "way": 2}, units=8, filters=(4,)),
        CLIP,
    ),
    "video classifier, convlstm": lambda: (
        models.video_classifier((8, 8, 1), 3, architecture="convlstm", units=8, filters=(4,)),
        CLIP,
    ),
    "frame predictor, convlstm": lambda: (models.frame_predictor((8, 8, 1), filters=(4,)), CLIP),
    "frame predictor, gru": lambda: (
        models.frame_predictor((8, 8, 1), architecture="gru", units=8, filters=(4, 4)),
        CLIP,
    ),
    "binary frame predictor, gru": lambda: (
        models.binary_frame_predictor(5, architecture="gru", units=8),
        BITS,
    ),
    "binary frame predictor, transformer": lambda: (
        models.binary_frame_predictor(5, architecture="transformer", units=8, num_heads=2),
        BITS,
    ),
    "forecaster, transformer": lambda: (forecaster("transformer", num_heads=2), SERIES),
    "forecaster, transformer, relu": lambda: (
        forecaster("transformer", num_heads=2, architecture_options={"layer_options": {"activation": "relu"}}),
        SERIES,
    ),
    "forecaster, autoregressive quantiles": lambda: (
        forecaster("gru", patch_length=1, decoder="autoregressive", quantiles=(0.1, 0.9)),
        SERIES,
    ),
    "forecaster, linear": lambda: (forecaster("linear"), SERIES),
    "forecaster, dlinear": lambda: (forecaster("dlinear", series_normalization=None), SERIES),
    "language model, lstm": lambda: (models.LanguageModel(V, stack("lstm")), IDS),
    "language model, transformer": lambda: (models.LanguageModel(V, layers.TransformerStack(8, 2, 1)), IDS),
    "seq2seq, rnn": lambda: (models.Seq2Seq(V, units=8, num_layers=1, cell="rnn", bidirectional=False), PAIRS),
    "seq2seq, gru": lambda: (models.Seq2Seq(V, units=8, num_layers=1, cell="gru"), PAIRS),
    "seq2seq, lstm": lambda: (models.Seq2Seq(V, units=8, num_layers=2, cell="lstm"), PAIRS),
    "transformer": lambda: (models.Transformer(V, units=8, num_heads=2, num_layers=1), PAIRS),
    "seq2seq that hears": lambda: (
        models.Seq2Seq(None, V, source_front_end=ears(), units=8, num_layers=1),
        {"source": SOUND, "target": IDS},
    ),
    "transformer that hears": lambda: (
        models.Transformer(None, V, source_front_end=ears(), units=8, num_heads=2, num_layers=1),
        {"source": SOUND, "target": IDS},
    ),
}


def forecaster(architecture, **options):
    return models.forecaster(
        3, 8, 4, architecture=architecture, **{"units": 8, "patch_length": 4, "patch_stride": 2, **options}
    )


def built(name):
    """The model, with weights none of which is zero, and an example of what it is called with."""
    model, example = FORWARD[name]()
    return fill(model), example


def dense():
    """The least of models, and an example."""
    inputs = keras.Input((6,))
    return fill(keras.Model(inputs, keras.layers.Dense(3)(inputs))), rng.normal(size=(2, 6)).astype("float32")


def changed(x, rows, length):
    """Other numbers of another shape."""
    random = np.random.default_rng(1)
    shape = (rows, length, *x.shape[2:])
    return (
        random.normal(size=shape).astype("float32") if x.dtype == "float32" else random.integers(4, V, shape, "int32")
    )


STEPS = ("language model, lstm", "language model, transformer", "seq2seq, rnn", "seq2seq, gru", "seq2seq, lstm")
STEPS += ("transformer", "seq2seq that hears", "transformer that hears")
QUICK = ("classifier, feedforward", "language model, lstm", "seq2seq, rnn")


def interpreter(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tf.lite.Interpreter(str(path))


@pytest.mark.parametrize("name", quick(FORWARD, few=QUICK))
def test_the_file_computes_what_the_model_computes(name, tmp_path):
    model, example = built(name)
    path = export.litert(model, tmp_path / "new" / "a.tflite", example)
    loaded = interpreter(path)
    other = keras.tree.map_structure(lambda x: changed(x, *x.shape[:2]), example)
    found = loaded.get_signature_runner("serve")(**(other if isinstance(other, dict) else {"inputs": other}))
    expected = model(other)
    for key, y in (expected if isinstance(expected, dict) else {"outputs": expected}).items():
        np.testing.assert_allclose(found[key], y, atol=1e-4)
    assert not any(op["op_name"].startswith("Flex") for op in loaded._get_ops_details())
    assert [p.name for p in path.parent.iterdir()] == ["a.tflite"]


@pytest.mark.parametrize("name", quick(STEPS, few=["language model, lstm"]))
def test_step_by_step_it_is_the_greedy_search(name, tmp_path):
    model, example = built(name)
    source = example["source"] if isinstance(example, dict) else example
    path = export.litert(model, tmp_path / "a.tflite", source, steps=7)
    loaded = interpreter(path)
    decode = loaded.get_signature_runner("decode")
    if "language" in name:
        first = model.initial_state(2, 7)
        state = {key: np.zeros(x["shape"], x["dtype"]) for key, x in decode.get_input_details().items()}
        state.pop("tokens")
    else:
        first = model.encode(source, max_length=7)
        state = loaded.get_signature_runner("encode")(source=source)
    expected = decoding.Greedy()(model.decode, first, batch_size=2, max_length=7, start_id=2, end_id=3, pad_id=0)
    tokens, found = np.full((2, 1), 2, "int32"), []
    for _ in range(7):
        state = decode(tokens=tokens, **state)
        tokens = state.pop("logits").argmax(-1).astype("int32")
        found.append(tokens[:, 0])
    for row, ours, length in zip(np.array(found).T, expected.tokens[:, 0], expected.lengths[:, 0], strict=True):
        assert row[: int(length)].tolist() == np.asarray(ours)[: int(length)].tolist()


def test_what_computes_otherwise_is_found_out(tmp_path, monkeypatch):
    model, example = dense()
    path = export.litert(model, tmp_path / "a.tflite", example)
    before = path.read_bytes()
    model.weights[-1].assign(model.weights[-1] + 1.5e-4)
    monkeypatch.setattr(module, "_converted", lambda *_: before)
    with pytest.raises(
        RuntimeError, match=r"computes other results: its 'outputs' of shape \(2, 3\) differs by up to 0.00015"
    ):
        export.litert(model, path, example)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.tflite"]


@pytest.mark.long
def test_the_best_path_of_a_crf_is_beyond_litert(tmp_path):
    model = models.best_tags(models.tagger(V, 4, crf=True, units=8))
    with pytest.raises(RuntimeError, match="LiteRT lacks operations of this model: (\\w+, )*BitwiseAnd"):
        export.litert(model, tmp_path / "a.tflite", IDS)


class Unknown(keras.layers.Layer):
    def call(self, x):
        return tf.raw_ops.Betainc(a=1.0 + x * x, b=2.0 + x * x, x=tf.sigmoid(x))


def test_what_litert_has_not_is_an_error_that_says_so(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Unknown()(inputs))
    with pytest.raises(RuntimeError, match="LiteRT lacks operations of this model: Betainc"):
        export.litert(model, tmp_path / "a.tflite", np.ones((1, 4), "float32"))
    assert not list(tmp_path.iterdir())


def test_a_path_is_checked_first(tmp_path):
    (tmp_path / "b.tflite").mkdir()
    (tmp_path / "c.tflite").write_text("mine")
    for name, options, message in (
        ("a.lite", {}, "must end in '.tflite'"),
        ("b.tflite", {}, "is a folder"),
        ("c.tflite", {"overwrite": False}, "exists already.*`overwrite=True`"),
    ):
        with pytest.raises(ValueError, match=message):
            export.litert(None, tmp_path / name, IDS, **options)
    assert (tmp_path / "c.tflite").read_text() == "mine"


class Sum:
    """Adds each token to the sum of the source, and scores the sums."""

    def encode(self, source, max_length):
        assert max_length == 9
        return {"sum": tf.reduce_sum(source, axis=1, keepdims=True)}

    def decode(self, tokens, state):
        total = state["sum"] + tokens
        return tf.one_hot(total % 5, 5), {"sum": total}


def test_the_signatures_of_a_model_with_a_source():
    source = np.array([[1, 2], [3, 4]], "int64")
    signatures = module._steps(Sum(), source, 9)
    assert list(signatures) == ["decode", "encode"]
    encode, specs = signatures["encode"]
    assert specs == {"source": tf.TensorSpec((2, 2), tf.int32, "source")}
    assert encode(source)["state_sum"].numpy().tolist() == [[3], [7]]
    decode, specs = signatures["decode"]
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in specs.items()} == {
        "tokens": ([2, 1], tf.int32),
        "state_sum": ([2, 1], tf.int32),
    }
    found = decode(tokens=tf.constant([[1], [2]]), state_sum=tf.constant([[3], [7]]))
    assert found["state_sum"].numpy().tolist() == [[4], [9]]


@pytest.mark.parametrize("off", [0, 1])
def test_steps_after_a_source_are_compared(off):
    source = np.array([[1, 2], [3, 4]])
    signatures, steps = module._steps(Sum(), source, 9), []

    def decode(**tensors):
        steps.append(tensors["tokens"].ravel().tolist())
        found = signatures["decode"][0](**tensors)
        return {**found, "logits": found["logits"].numpy() + off * (len(steps) == 3)}

    run = {"encode": lambda source: signatures["encode"][0](source), "decode": decode}
    if off:
        with pytest.raises(RuntimeError, match="LiteRT's interpreter computes other results: its 'logits'"):
            module._compare_steps(signatures, run, source, 4)
    else:
        module._compare_steps(signatures, run, source, 4)
        assert steps[:2] == [[1, 1], [4, 3]] and len(steps) == 4  # from 3 and 7: the sums modulo 5


def test_another_backend_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="A LiteRT file needs Keras's TensorFlow backend. Received: 'jax'"):
        export.litert(None, tmp_path / "a.tflite", IDS)
