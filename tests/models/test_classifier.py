import keras
import numpy as np
import pytest

from keras_seq import layers, models
from keras_seq.optimizers import Adam
from tests.cells import LeakyCell
from tests.models.mapping import check_mapping
from tests.reference import array, backend_cases, long_on_jax, quick, spread

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
V, N = 9, 3
TOKENS = np.array([[4, 5, 6, 7, 8], [8, 4, 0, 0, 0], [5, 0, 0, 0, 0]], "int32")
SMALL = {"units": 8, "dropout": 0.0, "num_heads": 2}
CASES = {
    **{architecture: {"architecture": architecture} for architecture in layers.ARCHITECTURES},
    "own": {"architecture": LeakyCell, "bidirectional": False, "pooling": "last"},
    "cnn": {"architecture": "cnn", "windows": (2, 3)},
    "cnn-one-window": {"architecture": "cnn", "windows": (2,)},
    "feedforward": {"architecture": "feedforward", "num_layers": 2},
    "lstm-deep-last": {"num_layers": 2, "pooling": "last", "embedding_dim": 5},
    "gru-causal-max": {"architecture": "gru", "bidirectional": False, "pooling": "max"},
    "transformer-causal-last": {"architecture": "transformer", "bidirectional": False, "pooling": "last"},
    "transformer-narrow-mean": {"architecture": "transformer", "embedding_dim": 4, "pooling": "mean"},
}

FEW = ["mingru", "transformer", "cnn", "feedforward", "cnn-one-window", "own", "lstm-deep-last"]


def small(**options):
    return models.classifier(V, N, **{**SMALL, **options})


@pytest.mark.parametrize("name", backend_cases(quick(CASES, FEW), on_jax=["lstm", *FEW[:4]]))
def test_promises(name, tmp_path):
    logits = check_mapping(small(**CASES[name]), TOKENS, tmp_path, pads=0)
    assert logits.shape == (3, N)


@pytest.mark.parametrize("name", ["lstm", "transformer", "cnn", "feedforward"])
@long_on_jax
def test_a_text_without_tokens_has_finite_logits(name):
    logits = array(small(**CASES[name])(np.array([[0, 0], [4, 5]], "int32")))
    assert np.isfinite(logits).all()


def test_last_has_read_the_text_both_ways():
    """The last real step alone, of a bidirectional layer, would know of the first token by its forward half only."""
    model = small(architecture="mingru", pooling="last")
    features = keras.Model(model.input, keras.tree.flatten(model.get_layer("encoder").output)[-1])
    before, after = (array(features(np.array([[first, 5, 6]], "int32"))) for first in (4, 7))
    assert (np.abs(before - after)[0, 4:] > 1e-6).all()


@long_on_jax
def test_a_causal_model_does_not_know_what_comes():
    model = small(architecture="transformer", bidirectional=False)
    features = keras.Model(model.input, keras.tree.flatten(model.get_layer("encoder").output)[0])
    changed = TOKENS[:1].copy()
    changed[0, -1] = 3
    before, after = (array(features(x)) for x in (TOKENS[:1], changed))
    np.testing.assert_allclose(before[:, :-1], after[:, :-1], atol=1e-6)
    assert np.abs(before[:, -1] - after[:, -1]).max() > 1e-3


def test_the_text_cnn_is_kims():
    """NumPy: all windows around real tokens, zeros beyond the text, relu, the maximum over the text."""
    model = models.classifier(V, N, architecture="cnn", units=2, windows=(3, 4), embedding_dim=3)
    weights = [spread(w.shape, start=5 * i) for i, w in enumerate(model.get_weights())]
    model.set_weights(weights)
    table, (kernel_3, bias_3, kernel_4, bias_4), (dense, dense_bias) = weights[0], weights[1:5], weights[5:]
    for row, length in zip(TOKENS, (5, 2, 1), strict=True):
        text = np.pad(table[row[:length]], ((1, 2), (0, 0)))  # a window of four looks one back and two ahead
        windows = [
            [max(0, np.einsum("td,td->", text[t : t + 3], kernel_3[..., f]) + bias_3[f]) for f in range(2)]
            + [max(0, np.einsum("td,td->", text[t : t + 4], kernel_4[..., f]) + bias_4[f]) for f in range(2)]
            for t in range(length)
        ]
        expected = np.max(windows, axis=0) @ dense + dense_bias
        np.testing.assert_allclose(array(model(row[None]))[0], expected, rtol=1e-5)


@pytest.mark.parametrize("trained", [True, False])
@long_on_jax
def test_given_vectors(trained, tmp_path):
    vectors = spread((V, 5))
    model = small(architecture="cnn", vectors=vectors, train_vectors=trained)
    embedding = model.get_layer("embedding")
    np.testing.assert_array_equal(array(embedding.embeddings), vectors)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=keras.backend.backend() == "tensorflow")
    model.train_on_batch(TOKENS, np.array([0, 1, 2]))
    assert (array(embedding.embeddings) != vectors).any() == trained
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(loaded.get_layer("embedding").embeddings), array(embedding.embeddings))
    assert loaded.get_layer("embedding").trainable == trained


def order_of_two_tokens(rows, length, seed):
    """Which of two tokens, anywhere in a text of others, comes first: no bag of words can tell."""
    random = np.random.default_rng(seed)
    x = random.integers(3, 9, (rows, length)).astype("int32")
    lengths = random.integers(length // 2, length + 1, rows)
    labels = random.integers(0, 2, rows)
    for row, size, label in zip(x, lengths, labels, strict=True):
        places = np.sort(random.choice(size, 2, replace=False))
        row[places] = (1, 2) if label else (2, 1)
        row[size:] = 0
    return x, labels


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="a step of training takes minutes to compile there")
@pytest.mark.parametrize("architecture", ["gru", pytest.param("transformer", marks=pytest.mark.long)])
def test_learns_an_order_and_keeps_it_in_texts_twice_as_long(architecture):
    keras.utils.set_random_seed(1)
    model = models.classifier(V, 2, architecture=architecture, units=16, num_heads=2, pooling="max", dropout=0.0)
    model.compile(Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    model.fit(*order_of_two_tokens(512, 8, 1), batch_size=64, epochs=25, verbose=0)
    for length in (8, 16):
        x, labels = order_of_two_tokens(256, length, 2)
        right = np.argmax(model.predict(x, verbose=0), -1) == labels
        assert right.mean() > 0.9, f"{right.mean():.2f} at length {length}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "lstn"}, "`architecture` must be one of .*'cnn'.* Received: 'lstn'"),
        ({"pooling": "sum"}, "`pooling` must be one of .* Received: 'sum'"),
        ({"vectors": np.zeros((V + 1, 4))}, r"`vectors` must be \(9, 4\).* Received: \(10, 4\)"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_windows_are_needed():
    with pytest.raises(ValueError, match=r"`windows` must not be empty. Received: \(\)"):
        models.classifier(V, N, architecture="cnn", windows=())
    with pytest.raises(ValueError, match="`windows` must be positive|`windows`.*Received: 0"):
        models.classifier(V, N, architecture="cnn", windows=(2, 0))


def test_the_state_of_a_stack_is_kept():
    with pytest.raises(ValueError, match="must keep the stack's state, which is pooled. Received: return_state=False"):
        models.classifier(V, N, architecture="gru", units=4, architecture_options={"return_state": False})
