"""The model of the next frame: causal, with the frequencies of the features at its start."""

import keras
import numpy as np
import pytest

from keras_seq import layers, losses, metrics, models
from keras_seq.models import binary_frames
from keras_seq.optimizers import Adam
from tests.models.mapping import check_mapping
from tests.reference import array, backend_cases, long_on_jax, program, quick, tensorflow_only

learning = tensorflow_only("what a model learns is no backend's, and elsewhere a step takes minutes to compile")
LENGTHS = np.array([4, 2, 3])
FRAMES = np.random.default_rng(0).integers(0, 2, (3, 4, 5)) * (np.arange(4) < LENGTHS[:, None])[..., None]
FRAMES = FRAMES.astype("float32")
SMALL = {"units": 8, "dropout": 0.0, "num_heads": 2}


@pytest.mark.parametrize(
    "architecture", backend_cases(quick(layers.ARCHITECTURES, ["lstm", "transformer"]), on_jax=["gru"])
)
def test_promises(architecture, tmp_path):
    model = models.binary_frame_predictor(5, architecture=architecture, num_layers=2, **SMALL)
    logits = check_mapping(model, FRAMES, tmp_path, pads=0, real=np.arange(4) < LENGTHS[:, None])
    assert logits.shape == FRAMES.shape and (logits < 0).any()
    later = FRAMES.copy()
    later[:, 2] = 1 - later[:, 2]
    changed = np.abs(array(program(model)(later)) - logits).max(axis=(0, 2)) > 1e-5
    assert changed.tolist() == [False, False, True, True], "a frame depends on earlier ones alone"


@long_on_jax
def test_the_first_probabilities_are_the_shares(tmp_path):
    shares = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    model = models.binary_frame_predictor(5, feature_shares=shares, **SMALL)
    notes = models.probabilities(model)
    found = array(notes(0 * FRAMES))  # a recurrent layer without input stays at 0
    np.testing.assert_allclose(found[0, 0], shares.clip(1e-4, 1 - 1e-4), rtol=1e-4)
    np.testing.assert_allclose(array(notes(FRAMES)), 1 / (1 + np.exp(-array(model(FRAMES)))), rtol=1e-5)
    notes.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(FRAMES)), array(notes(FRAMES)), rtol=1e-6)


def test_dropout_acts_on_the_input_and_before_the_logits():
    keras.utils.set_random_seed(1)
    for rates in ({"input_dropout": 0.5}, {"dropout": 0.5}):
        model = models.binary_frame_predictor(5, **{**SMALL, **rates})
        one, other = (array(model(FRAMES, training=True)) for _ in range(2))
        assert np.abs(one - other).max() > 1e-3, rates
        np.testing.assert_array_equal(array(model(FRAMES)), array(model(FRAMES)))


@learning
def test_it_remembers_what_recurs():
    """Notes of period three whose order differs from piece to piece: only the pieces' first frames tell it."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    pieces = np.stack([np.eye(6, dtype="float32")[np.tile(random.permutation(6)[:3], 4)] for _ in range(300)])
    train, test = pieces[:250], pieces[250:]
    shares = train.mean(axis=(0, 1))
    model = models.binary_frame_predictor(6, architecture="gru", units=32, dropout=0.0, feature_shares=shares)
    model.compile(Adam(0.02), losses.FrameCrossentropy(), weighted_metrics=[metrics.FrameLoss()], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    weights = np.ones((len(train), 11), "float32")
    model.fit(train[:, :-1], train[:, 1:], sample_weight=weights, batch_size=50, epochs=15, verbose=0)
    found = array(models.probabilities(model)(test[:, :-1]))[:, 2:]  # from the fourth frame on
    assert (found.argmax(-1) == test[:, 3:].argmax(-1)).mean() > 0.95


def test_bad_shares_are_named():
    with pytest.raises(ValueError, match=r"`feature_shares` must be .* 5 features. Received: shape \(4,\)"):
        models.binary_frame_predictor(5, feature_shares=np.full(4, 0.5))


@pytest.mark.parametrize("architecture", ["transformer", "lstm"])
def test_a_transformer_alone_needs_frames_of_its_width(monkeypatch, architecture):
    monkeypatch.setattr(binary_frames, "sequence_backbone", lambda *given, **options: lambda x: (x, None))
    model = models.binary_frame_predictor(5, architecture=architecture, num_layers=1, **SMALL)
    kernels = [tuple(weight.shape) for weight in model.weights if len(weight.shape) > 1]
    assert kernels == ([(5, 8), (8, 5)] if architecture == "transformer" else [(5, 5)])
