import keras
import numpy as np
import pytest

from keras_seq import models
from keras_seq.optimizers import Adam
from tests.models.mapping import check_mapping
from tests.reference import array, backend_cases, fill, long_on_jax, program, quick, spread, tensorflow_only

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
LENGTHS = np.array([4, 3, 1])
CLIPS = np.abs(spread((3, 4, 6, 8, 2))) * (np.arange(4) < LENGTHS[:, None])[..., None, None, None]
learning = tensorflow_only("what a model learns is no backend's, and elsewhere a step takes minutes to compile")
SMALL = {"units": 8, "filters": (3, 4), "dropout": 0.0, "num_heads": 2}
CASES = {
    "gru": {},
    "lstm-both-ways-attention": {"architecture": "lstm", "bidirectional": True, "pooling": "attention"},
    "transformer": {"architecture": "transformer", "bidirectional": True, "pooling": "mean"},
    "convlstm": {"architecture": "convlstm"},
    "cnn": {"architecture": "cnn", "pooling": "max"},
}


# Keras's ConvLSTM2D takes no mask on JAX, whose loop broadcasts it, (B, 1), against (B, height, width, D).
@pytest.mark.parametrize("name", backend_cases(quick(CASES, few=["gru", "convlstm", "cnn"]), on_jax=["gru", "cnn"]))
def test_promises(name, tmp_path):
    questions = {"direction": 4, "digit": 3} if name in ("gru", "convlstm") else 4
    model = models.video_classifier((6, 8, 2), questions, **{**SMALL, **CASES[name]})
    logits = check_mapping(model, CLIPS, tmp_path, pads=0)
    shapes = keras.tree.map_structure(lambda x: x.shape, logits)
    assert shapes == ({"direction": (3, 4), "digit": (3, 3)} if isinstance(questions, dict) else (3, 4))


@pytest.mark.parametrize(
    "architecture",
    backend_cases(
        quick(["convlstm", "gru", "transformer"], few=["convlstm", "gru"]), on_jax=["convlstm", "transformer"]
    ),
)
@long_on_jax
def test_promises_of_the_predictor(architecture, tmp_path):
    model = models.frame_predictor((6, 8, 2), architecture=architecture, **SMALL)
    real = np.arange(4) < LENGTHS[:, None]
    pictures = check_mapping(model, CLIPS, tmp_path, pads=0, real=real)
    assert pictures.shape == CLIPS.shape
    assert (pictures > 0).all() and (pictures < 1).all()
    later = CLIPS.copy()
    later[:, 2] += 1
    changed = np.abs(array(program(model)(later)) - pictures).max(axis=(0, 2, 3, 4)) > 1e-5
    assert changed.tolist() == [False, False, True, True], "a picture must not know what comes after it"


def dots(rows, steps, seed):
    """A dot that goes left, right, up or down and comes back on the other side; and which of these it does."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, rows)
    moves = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]])[labels]  # (rows, 2)
    places = (random.integers(0, 8, (rows, 1, 2)) + np.arange(steps)[:, None] * moves[:, None]) % 8
    clips = np.zeros((rows, steps, 8, 8, 1), "float32")
    clips[np.arange(rows)[:, None], np.arange(steps), places[..., 0], places[..., 1], 0] = 1
    return clips, labels


@pytest.mark.long
@learning
@pytest.mark.parametrize("architecture", ["gru", pytest.param("convlstm", marks=pytest.mark.long)])
def test_answers_two_questions_of_clips_twice_as_long(architecture):
    keras.utils.set_random_seed(1)
    questions = {"direction": 4, "upright": 2}
    model = models.video_classifier(
        (8, 8, 1), questions, architecture=architecture, units=32, filters=(8,), dropout=0.0
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(0.01), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    clips, direction = dots(256, 4, 1)
    model.fit(clips, {"direction": direction, "upright": direction // 2}, batch_size=32, epochs=15, verbose=0)
    for steps in (4, 8):
        clips, direction = dots(128, steps, 2)
        found = model.predict(clips, verbose=0)
        assert (found["direction"].argmax(-1) == direction).mean() > 0.95, steps
        assert (found["upright"].argmax(-1) == direction // 2).mean() > 0.95, steps


@learning
@pytest.mark.long
@pytest.mark.parametrize("architecture", ["convlstm", "gru"])
def test_draws_what_comes_next(architecture):
    keras.utils.set_random_seed(1)
    model = models.frame_predictor((8, 8, 1), architecture=architecture, units=64, filters=(16,), patch_size=2)
    model.compile(Adam(0.01), "binary_crossentropy", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    clips, _ = dots(256, 5, 1)
    model.fit(clips[:, :-1], clips[:, 1:], batch_size=32, epochs=20, verbose=0)
    clips, _ = dots(64, 5, 2)
    # The first move is nobody's to know.
    drawn, next_ones = model.predict(clips[:, :-1], verbose=0)[:, 1:], clips[:, 2:]
    assert np.mean((drawn - next_ones) ** 2) < np.mean((clips[:, 1:-1] - next_ones) ** 2) / 3


@long_on_jax
def test_a_clip_is_gone_on_with_from_what_was_drawn():
    model = fill(models.frame_predictor((6, 8, 2), **SMALL))
    clips = CLIPS[:, :2]
    drawn = models.next_frames(model, clips, 3, batch_size=2)
    assert drawn.shape == (3, 3, 6, 8, 2)
    for _ in range(3):
        clips = np.concatenate([clips, array(program(model)(clips))[:, -1:]], axis=1)
    np.testing.assert_allclose(drawn, clips[:, 2:], atol=1e-5)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="`architecture` must be one of .* Received: 'slowfast'"):
        models.video_classifier((8, 8, 1), 3, architecture="slowfast")
    with pytest.raises(ValueError, match=r"`patch_size`.*\(8, 8, 1\).*Received: 3"):
        models.frame_predictor((8, 8, 1), patch_size=3)
    with pytest.raises(ValueError, match=r"`patch_size`.*\(None, 8, 1\).*Received: 2"):
        models.frame_predictor((None, 8, 1))


def test_clips_are_classified_whatever_the_size_of_their_pictures():
    model = fill(models.video_classifier((None, None, 2), 3, **SMALL))
    for clips in (CLIPS, CLIPS[:, :, :4, :5]):
        assert np.isfinite(array(program(model)(clips))).all()
