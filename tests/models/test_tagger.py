import keras
import numpy as np
import pytest

from keras_seq import layers, models
from keras_seq.losses import TokenCrossentropy
from keras_seq.optimizers import Adam
from tests.models.mapping import check_mapping
from tests.reference import array, backend_cases, fill, long_on_jax, program, quick

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
V, C, N = 9, 7, 3
WORDS = np.array([[4, 5, 6, 7], [8, 4, 0, 0], [5, 0, 0, 0]], "int32")
CHARACTERS = np.zeros((3, 4, 3), "int32")
CHARACTERS[:, :, 0] = (3 + np.arange(12).reshape(3, 4) % 4) * (WORDS > 0)
CHARACTERS[0, 1:3, 1:] = [[4, 5], [6, 0]]
FEATURES = (4 + np.arange(24).reshape(3, 4, 2) % 3) * (WORDS > 0)[..., None]
SPELLED = {"words": WORDS, "characters": CHARACTERS}
SMALL = {"units": 8, "dropout": 0.0, "num_heads": 2, "character_units": 4}
WITH_FEATURES = {"architecture": "gru", "feature_vocabulary_size": 7, "num_features": 2, "feature_dim": 3}
CASES = {
    **{architecture: {"architecture": architecture} for architecture in (*layers.ARCHITECTURES, "cnn", "feedforward")},
    "lstm-crf": {"crf": True},
    "gru-causal": {"architecture": "gru", "bidirectional": False},
    "lstm-characters-crf": {"character_vocabulary_size": C, "crf": True},
    "gru-characters-affixes": {"architecture": "gru", "character_vocabulary_size": C, "affixes": 2},
    "gru-features": WITH_FEATURES,
    "gru-features-ngrams-crf": {**WITH_FEATURES, "word_ngrams": 2, "feature_ngrams": 3, "crf": True},
    "transformer-characters": {"architecture": "transformer", "character_vocabulary_size": C, "characters": "cnn"},
}

FEW = ["lstm-characters-crf", "gru-features-ngrams-crf", "transformer-characters", "mingru", "cnn", "feedforward"]
FEW += ["gru-causal"]


def small(**options):
    return models.tagger(V, N, **{**SMALL, **options})


@pytest.mark.parametrize("name", backend_cases(quick(CASES, FEW), on_jax=["gru", *FEW[:2]]))
def test_promises(name, tmp_path):
    model = small(**CASES[name])
    spelled = "character_vocabulary_size" in CASES[name]
    inputs, pads = (SPELLED, {"words": 0, "characters": 0}) if spelled else (WORDS, 0)
    if "features" in name:
        inputs, pads = {"words": WORDS, "features": FEATURES.astype("int32")}, {"words": 0, "features": 0}
    scores = check_mapping(model, inputs, tmp_path, pads=pads, real=WORDS > 0)
    assert scores.shape == (3, 4, N, N) if "crf" in name else (3, 4, N)
    if spelled:  # longer words in another sentence change nothing either
        longer = {"words": WORDS, "characters": np.pad(CHARACTERS, ((0, 0), (0, 0), (0, 2)))}
        np.testing.assert_allclose(array(program(model)(longer))[WORDS > 0], scores[WORDS > 0], atol=1e-5)
        under = {"words": WORDS, "characters": np.where(WORDS[..., None] > 0, CHARACTERS, 5)}
        np.testing.assert_allclose(array(program(model)(under))[WORDS > 0], scores[WORDS > 0], atol=1e-5)
        other = {"words": WORDS, "characters": CHARACTERS[::-1]}
        assert np.abs(array(program(model)(other))[0] - scores[0]).max() > 1e-4, "the spelling must matter"


@long_on_jax
def test_ngrams_add_to_the_scores_of_the_network():
    model, plain = fill(small(**WITH_FEATURES, word_ngrams=2, feature_ngrams=1)), small(**WITH_FEATURES)
    direct = model.get_layer("ngrams")
    plain.set_weights([w for w, v in zip(model.get_weights(), model.weights, strict=True) if v is not direct.table])
    x = {"words": WORDS, "features": FEATURES.astype("int32")}
    added = array(model(x)) - array(plain(x))
    np.testing.assert_allclose(added, array(direct([x["words"], x["features"]])), atol=1e-5)
    assert np.abs(added).max() > 0.1


@pytest.mark.parametrize("crf", [False, True])
@long_on_jax
def test_best_tags_are_the_best(crf, tmp_path):
    model = fill(small(architecture="feedforward", crf=crf), 4.0)
    tagged = models.best_tags(model)
    tags = array(tagged(WORDS))
    assert str(tags.dtype) == "int32"
    scores = model(WORDS)
    expected = array(layers.viterbi(scores)[0]) if crf else array(scores).argmax(-1) * (WORDS > 0)
    np.testing.assert_array_equal(tags, expected)
    assert (tags[WORDS == 0] == 0).all() and (tags > 0).any()
    tagged.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(keras.saving.load_model(tmp_path / "model.keras")(WORDS)), tags)


def letters(sentences, length, seed):
    """Unknown words: a character of each, 5 or 6, tells its tag; after a word with 6 the two tags are swapped."""
    random = np.random.default_rng(seed)
    lengths = random.integers(length // 2, length + 1, sentences)
    words = (np.arange(length) < lengths[:, None]).astype("int32")
    sizes = random.integers(1, 5, words.shape)
    characters = random.integers(2, 5, (*words.shape, 4)).astype("int32")
    telling = random.integers(5, 7, words.shape)
    np.put_along_axis(characters, (random.random(words.shape) * sizes).astype(int)[..., None], telling[..., None], -1)
    characters[np.arange(4) >= sizes[..., None]] = 0
    characters[words == 0] = 0
    before = np.pad(telling[:, :-1], ((0, 0), (1, 0)))
    tags = 1 + ((telling == 6) ^ (before == 6))
    return {"words": words, "characters": characters}, tags.astype("int32"), words.astype("float32")


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="a step of training takes minutes to compile there")
@pytest.mark.parametrize(("characters", "crf"), [pytest.param("gru", False, marks=pytest.mark.long), ("cnn", True)])
def test_learns_from_spelling_and_context_for_sentences_twice_as_long(characters, crf):
    keras.utils.set_random_seed(1)
    model = models.tagger(
        4, 3, character_vocabulary_size=C, characters=characters, architecture="gru", units=16, crf=crf, dropout=0.0
    )
    loss = layers.CRFLoss() if crf else TokenCrossentropy()
    model.compile(Adam(0.01), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    x, tags, weights = letters(256, 6, 1)
    model.fit(x, tags, sample_weight=weights, batch_size=32, epochs=12, verbose=0)
    tagged = models.best_tags(model)
    for length in (6, 12):
        x, tags, weights = letters(128, length, 2)
        right = (tagged.predict(x, verbose=0) == tags)[weights > 0]
        assert right.mean() > 0.97, f"{right.mean():.2f} at length {length}"


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="`architecture` must be one of .* Received: 'crf'"):
        small(architecture="crf")
    with pytest.raises(ValueError, match="`characters` must be 'cnn', one of .* Received: 'word'"):
        small(character_vocabulary_size=C, characters="word")
    with pytest.raises(ValueError, match="`word_ngrams` must be an integer of at least 1. Received: -1"):
        small(word_ngrams=-1)
    with pytest.raises(ValueError, match="`feature_ngrams` needs `feature_vocabulary_size`. Received: .*=3"):
        small(feature_ngrams=3)
    with pytest.raises(ValueError, match="read later words, which `bidirectional=False` excludes.*word_ngrams=2"):
        small(word_ngrams=2, bidirectional=False)
    with pytest.raises(ValueError, match="`affixes` needs `character_vocabulary_size`. Received: affixes=4"):
        small(affixes=4)


@pytest.mark.parametrize(
    ("options", "width"), [({"embedding_dim": 3}, 3), ({}, 4), ({"vectors": np.ones((V, 5), "float32")}, 5)]
)
def test_the_width_of_the_embedding(options, width):
    model = models.tagger(V, N, architecture="feedforward", units=4, num_layers=1, **options)
    assert tuple(model.get_layer("embedding").embeddings.shape) == (V, width)
