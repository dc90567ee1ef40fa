"""`scope(precision="float64")` is offered for every model: what is an integer stays one of 32 bits there."""

import keras
import numpy as np
import pytest

from keras_seq import decoding, layers, losses, models
from tests.reference import quick

if keras.backend.backend() != "tensorflow":
    pytest.skip("JAX has no float64 unless it is told at its start", allow_module_level=True)

IDS = np.array([[4, 5, 6, 3], [5, 3, 0, 0]], "int32")
SPECIAL = {"start_id": 2, "end_id": 3, "pad_id": 0}
X = np.random.default_rng(0).normal(size=(2, 12, 4))
SMALL = {"units": 8, "num_layers": 1}
TRANSLATORS = {
    "recurrent": lambda: models.Seq2Seq(9, cell="gru", attention="additive", **SMALL),
    "reversed": lambda: models.Seq2Seq(9, cell="lstm", attention=None, reverse_source=True, **SMALL),
    "location": lambda: models.Seq2Seq(9, cell="mingru", attention="location", **SMALL),
    "transformer": lambda: models.Transformer(9, num_heads=2, **SMALL),
}
SEARCHES = {
    "greedy": {"search": "greedy"},
    "beam": {"search": "beam", "num_beams": 3, "num_return": 2, "coverage_penalty": 0.2},
    "sampling": {"search": "sampling", "seed": 1, "top_k": 3, "top_p": 0.9},
    "constrained": {"search": "beam", "num_beams": 2, "constraints": [decoding.NoRepeat(2), decoding.MinLength(2)]},
}
BODIES = {
    "rnn": lambda: layers.RecurrentStack("rnn", 8),
    "rglru": lambda: layers.RecurrentStack("rglru", 8),
    "rotary": lambda: layers.TransformerStack(8, 2, 1, positions="rotary"),
    "alibi": lambda: layers.TransformerStack(8, 2, 1, positions="alibi"),
    "learned": lambda: layers.TransformerStack(8, 2, 1, positions="learned", max_positions=20),
}


@pytest.fixture(autouse=True)
def double_precision():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


@pytest.mark.parametrize("name", quick(TRANSLATORS, few=["location", "transformer"]))
def test_a_translator_learns(name):
    keras.utils.set_random_seed(1)
    model = TRANSLATORS[name]()
    model.compile(keras.optimizers.Adam(0.01), losses.TokenCrossentropy(0.1), run_eagerly=True)
    history = model.fit({"source": IDS, "target": IDS}, IDS, epochs=4, verbose=0).history["loss"]
    assert min(history[2:]) < history[0]
    assert {keras.backend.standardize_dtype(w.dtype) for w in model.trainable_weights} == {"float64"}


SEARCHED = [("recurrent", "greedy"), ("transformer", "greedy"), ("reversed", "beam"), ("transformer", "beam")]
SEARCHED += [("recurrent", "sampling"), ("location", "sampling"), ("location", "constrained")]


@pytest.mark.parametrize(
    ("name", "search"), quick([(name, search) for search in SEARCHES for name in TRANSLATORS], few=SEARCHED)
)
def test_all_searches_run(name, search):
    if name == "location" and search == "beam":
        pytest.skip("coverage is of the other attentions")
    options = dict(SEARCHES[search])
    if name == "reversed":
        options.pop("coverage_penalty", None)  # there is no attention to cover with
    found = decoding.search(TRANSLATORS[name](), IDS, max_length=4, **options, **SPECIAL)
    assert np.isfinite(found.log_probs).all() and found.tokens.shape[0] == 2


@pytest.mark.parametrize("name", BODIES)
def test_a_language_model_goes_on_and_searches(name):
    model = models.LanguageModel(9, BODIES[name]())
    whole = np.asarray(model(IDS))
    state = model.initial_state(2, max_length=4)
    first, state = model.decode(IDS[:, :2], state)
    second, _ = model.decode(IDS[:, 2:], state)
    real = IDS != 0
    np.testing.assert_allclose(np.concatenate([first, second], 1)[real], whole[real], atol=1e-9)
    found = decoding.search(decoding.PromptedModel(model, 0), IDS, search="greedy", max_length=3, **SPECIAL)
    assert np.isfinite(found.log_probs).all()


MAPPINGS = {
    "tagger, crf": (lambda: models.tagger(9, 3, architecture="rnn", units=8, crf=True), IDS),
    "classifier": (lambda: models.classifier(9, 3, architecture="cnn", units=8, pooling="attention"), IDS),
    "forecaster": (
        lambda: models.forecaster(4, 12, 3, architecture="gru", units=8, patch_length=4, quantiles=(0.1, 0.9)),
        X,
    ),
    "forecaster, steps": (
        lambda: models.forecaster(4, 12, 3, architecture="lstm", decoder="autoregressive", units=8, patch_length=1),
        X,
    ),
    "recognizer": (
        lambda: models.recognizer(
            9, front_end=models.audio_front_end(8, num_mel_bins=8), architecture="mingru", units=8
        ),
        np.random.default_rng(1).normal(size=(2, 1600)),
    ),
    "video": (
        lambda: models.video_classifier((8, 8, 1), 3, architecture="gru", filters=(4,), units=8),
        np.random.default_rng(1).random((2, 3, 8, 8, 1)),
    ),
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_models_without_a_decoder(name):
    build, x = MAPPINGS[name]
    outputs = keras.tree.flatten(build()(x))
    assert all(np.isfinite(np.asarray(y)).all() for y in outputs)


def test_the_loss_of_a_crf():
    emissions = np.random.default_rng(0).normal(size=(2, 4, 5))
    assert np.isfinite(float(layers.CRFLoss()(IDS % 5, layers.CRF(5)(emissions, mask=IDS != 0))))


def test_positions_have_all_digits():
    positions, x = np.array([[0, 1, 7]]), np.random.default_rng(0).normal(size=(1, 3, 2, 4))
    angles = positions[..., None] * 10_000.0 ** -(np.arange(2) / 2)  # (1, T, 2)
    sines = np.concatenate([np.sin(angles), np.cos(angles)], -1)
    np.testing.assert_allclose(layers.sinusoidal_positions(positions, 4, "float64"), sines, atol=1e-12)
    turned = (x[..., :2] + 1j * x[..., 2:]) * np.exp(1j * angles)[:, :, None]
    np.testing.assert_allclose(layers.rotate(x, positions), np.concatenate([turned.real, turned.imag], -1), atol=1e-12)
    bias = layers.distance_bias(positions, positions, 3, "float64")
    slopes = np.array([2.0**-4, 2.0**-8, 2.0**-2])[:, None, None]
    np.testing.assert_allclose(bias[0], -slopes * np.abs(positions - positions.T), atol=1e-12)


@pytest.mark.parametrize("normalization", ["mean", "last"])
def test_a_forecast_of_a_high_level_keeps_its_digits(normalization):
    model = models.forecaster(4, 12, 3, architecture="linear", series_normalization=normalization)
    future = np.asarray(model(X)) + 1e6
    np.testing.assert_allclose(np.asarray(model(X + 1e6)), future, rtol=0, atol=1e-6)
