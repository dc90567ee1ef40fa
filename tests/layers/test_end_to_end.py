"""Every layer at work: in a model that learns its task, answers, and gives the same answers as a SavedModel."""

import keras
import numpy as np
import pytest

from keras_seq import layers
from keras_seq.optimizers import Adam
from tests.reference import array

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

import tensorflow as tf  # noqa: E402

N = 96


def fit(model, x, y, loss, epochs, learning_rate=0.01):
    """All epochs in one of Keras's, whose beginning and end take longer than the three steps between."""
    model.compile(Adam(learning_rate), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)  # TensorFlow traces twice what makes variables
    order = np.concatenate([np.random.default_rng(epoch).permutation(N) for epoch in range(epochs)])
    model.fit(x[order], y[order], batch_size=32, shuffle=False, verbose=0)


def assert_exports(model, x, folder):
    """The exported model gives what the model gives, for other sizes of batch too."""
    model.export(folder / "exported", verbose=False)
    loaded = tf.saved_model.load(folder / "exported")
    for rows in (1, 5):
        np.testing.assert_allclose(loaded.serve(tf.constant(x[:rows])), model(x[:rows]), rtol=1e-4, atol=1e-4)


# Each pooling with another cell. Where the last step is taken, it must remember the first.
@pytest.mark.parametrize(
    ("cell", "pooling"),
    [
        ("minlstm", "last"),
        *(
            pytest.param(cell, pooling, marks=pytest.mark.long)
            for cell, pooling in [("mingru", "attention"), ("rglru", "mean"), ("gru", "max")]
        ),
    ],
)
def test_a_classifier(cell, pooling, tmp_path):
    """Which of two tokens stands at a place of the sentence that changes with its length: at its beginning."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    lengths = random.integers(3, 9, N)
    x = random.integers(3, 7, (N, 8)).astype("int32")
    labels = random.integers(0, 2, N)
    x[:, 0] = 1 + labels
    x[np.arange(8) >= lengths[:, None]] = 0

    tokens = keras.Input((None,), dtype="int32")
    y = layers.TokenEmbedding(7, 16)(tokens)
    y, _ = layers.RecurrentStack(cell, 16, bidirectional=True)(y)
    pooled = layers.POOLINGS[pooling]()(y)
    model = keras.Model(tokens, keras.layers.Dense(2)(pooled))
    fit(model, x, labels, keras.losses.SparseCategoricalCrossentropy(from_logits=True), epochs=25)
    assert (np.argmax(model(x), -1) == labels).mean() > 0.97
    assert_exports(model, x, tmp_path)


@pytest.mark.long
def test_a_tagger(tmp_path):
    """Tags that the tokens tell only half of: tag 1 is followed by 2 and 2 by 1, whatever is read."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    first = random.integers(0, 2, N)
    tags = 1 + (first[:, None] + np.arange(7)) % 2
    x = np.full((N, 7), 3, "int32")
    told = random.integers(0, 7, N)  # the one place where the token tells the tag
    x[np.arange(N), told] = tags[np.arange(N), told]

    tokens = keras.Input((None,), dtype="int32")
    y = layers.TokenEmbedding(4, 8)(tokens)
    potentials = layers.CRF(3)(keras.layers.Dense(3)(y))
    model = keras.Model(tokens, potentials)
    fit(model, x, tags, layers.CRFLoss(), epochs=40, learning_rate=0.05)
    tagger = keras.Model(tokens, layers.ViterbiDecoder()(potentials))
    assert (array(tagger(x)) == tags).mean() > 0.99
    assert_exports(tagger, x, tmp_path)


@pytest.mark.long
def test_a_recognizer(tmp_path):
    """Two of three tones one after the other, by CTC."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    labels = np.stack([random.permutation(3)[:2] for _ in range(N)]) + 1  # 0 is the blank
    time = np.arange(800) / 8000
    tones = np.sin(2 * np.pi * np.array([300.0, 900.0, 2500.0])[:, None] * time)
    x = np.concatenate([tones[labels[:, 0] - 1], tones[labels[:, 1] - 1]], axis=1).astype("float32")
    x += 0.05 * random.standard_normal(x.shape).astype("float32")

    waveform = keras.Input((None,))
    y = layers.LogMel(num_mel_bins=16)(waveform)
    y = layers.SpecAugment(num_time_masks=1, time_mask=2, num_frequency_masks=1, frequency_mask=2)(y)
    y = layers.ConvSubsampling(16, num_layers=1, filters=4)(y)
    y, _ = layers.RecurrentStack("lstm", 16, bidirectional=True)(y)
    model = keras.Model(waveform, keras.layers.Dense(4)(y))

    def loss(labels, logits):
        sizes = tf.fill([tf.shape(logits)[0]], tf.shape(logits)[1]), tf.fill([tf.shape(labels)[0]], 2)
        return keras.ops.ctc_loss(labels, logits, sizes[1], sizes[0], mask_index=0)

    fit(model, x, labels, loss, epochs=30, learning_rate=0.02)
    logits = array(model(x))
    found, _ = keras.ops.ctc_decode(logits, np.full(N, logits.shape[1]), mask_index=0)
    assert (array(found)[0, :, :2] == labels).all(1).mean() > 0.95
    assert_exports(model, x, tmp_path)


@pytest.mark.long
def test_a_watcher(tmp_path):
    """Where a dot goes: left, right, up or down."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, N)
    steps = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]])[labels]  # (N, 2)
    places = (random.integers(0, 8, (N, 1, 2)) + np.arange(4)[:, None] * steps[:, None]) % 8  # (N, T, 2)
    x = np.zeros((N, 4, 8, 8, 1), "float32")
    x[np.arange(N)[:, None], np.arange(4), places[..., 0], places[..., 1], 0] = 1

    frames = keras.Input((None, 8, 8, 1))
    y = layers.FrameCNN(filters=(8,), units=32)(frames)
    y, _ = layers.RecurrentStack("gru", 32)(y)
    model = keras.Model(frames, keras.layers.Dense(4)(layers.LastPooling()(y)))
    fit(model, x, labels, keras.losses.SparseCategoricalCrossentropy(from_logits=True), epochs=40)
    assert (np.argmax(model(x), -1) == labels).mean() > 0.97
    assert_exports(model, x, tmp_path)
