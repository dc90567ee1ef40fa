import keras
import numpy as np
import pytest

from keras_seq import decoding, models
from keras_seq.losses import CTCLoss
from keras_seq.optimizers import Adam
from tests.models.mapping import check_mapping
from tests.reference import array, arrays, backend_cases, fill, long_on_jax, program, quick, spread, tensorflow_only

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
learning = tensorflow_only("what a model learns is no backend's, and elsewhere a step takes minutes to compile")
LENGTHS = np.array([1600, 1000, 340])
WAVES = spread((3, 1600)) * (np.arange(1600) < LENGTHS[:, None])
REAL = np.arange(5) < np.array([5, 4, 2])[:, None]  # frames of 80 samples, and four of these


def small_front_end(units=8, **options):
    return models.audio_front_end(units, **{"num_mel_bins": 8, "frequency_mask_width": 2, "dropout": 0.0, **options})


def small(feature_normalization="recording", **options):
    options = {"units": 8, "num_layers": 1, "dropout": 0.0, "num_heads": 2, **options}
    return models.recognizer(4, front_end=small_front_end(feature_normalization=feature_normalization), **options)


@pytest.mark.parametrize(
    "architecture",
    backend_cases(quick(["lstm", "mingru", "transformer", "cnn"], few=["transformer", "cnn"]), on_jax=["mingru"]),
)
def test_promises_of_ctc(architecture, tmp_path):
    model = small(architecture=architecture)
    logits = check_mapping(model, WAVES, tmp_path, pads=0, real=REAL, more=700, tolerance=1e-4)
    assert logits.shape == (3, 5, 4)
    assert (logits[~REAL].argmax(-1) == 0).all(), "padding says the blank"
    alone = array(program(model)(WAVES[1:2, :1000]))[0]
    np.testing.assert_allclose(logits[1, :4], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    backend_cases(
        [
            {},
            pytest.param({"architecture": "gru", "pooling": "last"}, marks=pytest.mark.long),
            {"architecture": "feedforward", "pooling": "max"},
        ],
        on_jax=[{"architecture": "feedforward", "pooling": "max"}],
    ),
    ids=lambda options: options.get("architecture", "lstm"),
)
def test_promises_of_classes(options, tmp_path):
    logits = check_mapping(small(head="classes", **options), WAVES, tmp_path, pads=0, more=700, tolerance=1e-4)
    assert logits.shape == (3, 4)


SMALL = {"units": 8, "num_layers": 1}
ATTENTIVE = {
    "recurrent": lambda: models.Seq2Seq(None, 9, source_front_end=small_front_end(6), cell="gru", **SMALL),
    "reversed": lambda: models.Seq2Seq(
        None, 9, source_front_end=small_front_end(6), attention=None, reverse_source=True, **SMALL
    ),
    "transformer": lambda: models.Transformer(
        None, 9, source_front_end=small_front_end(8), units=8, num_heads=2, num_layers=1, dropout=0.0
    ),
}
TARGET = np.array([[2, 4, 5, 6], [2, 7, 4, 0], [2, 5, 0, 0]], "int32")


# `LogMel` inside of a model's own symbolic call: Keras's STFT wants a number there, on JAX.
decoding_of_sound = tensorflow_only("on JAX no such model is built while the number of samples is not known")


@pytest.mark.long
@decoding_of_sound
@pytest.mark.parametrize("name", ATTENTIVE)
def test_a_model_that_decodes_reads_sound_through_a_front_end(name, tmp_path):
    model = fill(ATTENTIVE[name](), 1.0)
    expected = array(model({"source": WAVES, "target": TARGET}))
    wider = array(model({"source": np.pad(WAVES, ((0, 0), (0, 700))), "target": TARGET}))
    np.testing.assert_allclose(wider, expected, atol=1e-5)
    assert np.abs(expected - array(model({"source": WAVES[::-1], "target": TARGET}))).max() > 1e-3

    state = model.encode(WAVES, max_length=6)
    for t in range(4):
        step, state = model.decode(TARGET[:, t : t + 1], state)
        np.testing.assert_allclose(array(step)[:, 0], expected[:, t], atol=1e-5)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded({"source": WAVES, "target": TARGET})), expected, atol=1e-6)
    ours, theirs = ({**each.get_config(), "source_front_end": None} for each in (loaded, model))
    assert ours == theirs  # the names of the operations in the front end are counted anew


@decoding_of_sound
def test_a_search_takes_waveforms():
    model = fill(ATTENTIVE["recurrent"](), 1.0)
    ids = {"start_id": 2, "end_id": 3, "pad_id": 0}
    found = decoding.search(model, WAVES, max_length=4, num_beams=2, **ids)
    assert found.tokens.shape == (3, 1, 4)


TONES = np.array([300.0, 900.0, 2500.0])


def tones(rows, most, seed):
    """Up to `most` of three tones, one after the other, each as long as it likes, in noise; and which they are."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, most + 1, rows)
    labels = np.zeros((rows, most), "int32")
    waves = np.zeros((rows, most * 1000), "float32")
    for wave, label, count in zip(waves, labels, counts, strict=True):
        label[:count] = random.integers(1, 4, count)
        sizes = random.integers(700, 1001, count)
        end = 0
        for one, size in zip(label[:count], sizes, strict=True):
            time = np.arange(size - 300) / 8000  # and a pause, by which two equal ones are told apart
            wave[end : end + size - 300] = np.sin(2 * np.pi * TONES[one - 1] * time)
            end += size
        wave[:end] += 0.05 * random.standard_normal(end).astype("float32")
    return waves, labels


@pytest.mark.long
@learning
def test_learns_by_ctc_what_is_said_and_reads_twice_as_much():
    keras.utils.set_random_seed(1)
    front_end = small_front_end(16, num_mel_bins=16, conv_layers=1)
    model = models.recognizer(4, front_end=front_end, architecture="gru", units=16, num_layers=1, dropout=0.0)
    model.compile(Adam(0.02), CTCLoss(), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    model.fit(*tones(192, 2, 1), batch_size=32, epochs=15, verbose=0)
    for most in (2, 4):
        waves, labels = tones(64, most, 2)
        logits = model.predict(waves, verbose=0)
        found = arrays(decoding.ctc(logits, np.full(64, logits.shape[1])).tokens)[:, 0, :most]
        assert (found == labels).all(1).mean() > 0.9


@pytest.mark.long
@learning
def test_learns_a_class():
    keras.utils.set_random_seed(1)
    model = models.recognizer(
        3,
        head="classes",
        front_end=small_front_end(16, num_mel_bins=16),
        architecture="transformer",
        units=16,
        num_heads=2,
        num_layers=1,
        dropout=0.0,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(0.01), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    waves, labels = tones(96, 1, 1)
    model.fit(waves, labels[:, 0] - 1, batch_size=32, epochs=16, verbose=0)
    waves, labels = tones(64, 1, 2)
    assert (model.predict(waves, verbose=0).argmax(-1) == labels[:, 0] - 1).mean() > 0.95


@long_on_jax
def test_augmentation_is_for_training_alone():
    front_end = small_front_end()
    once, again = (array(front_end(WAVES, training=training)) for training in (False, True))
    assert np.abs(once - again).max() > 1e-3
    still = small_front_end(num_masks=0)
    np.testing.assert_array_equal(array(still(WAVES, training=True)), array(still(WAVES)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(head="attention"), "`head` must be one of .* Received: 'attention'"),
        (lambda: small(architecture="wav2vec"), "`architecture` must be one of .* Received: 'wav2vec'"),
        (lambda: models.Seq2Seq(None, 9), "either `source_vocabulary_size` or `source_front_end`. Received: None and"),
        (lambda: models.Seq2Seq(9, 9, source_front_end=small_front_end()), "Received: 9 and <Functional"),
        (lambda: models.Seq2Seq(None, source_front_end=small_front_end()), "needs a `target_vocabulary_size`"),
        (
            lambda: models.Seq2Seq(None, 9, source_front_end=keras.layers.Dense(3)),
            r"functional `keras.Model` .* Received: <Dense",
        ),
        (
            lambda: models.Transformer(None, 9, units=8, num_heads=2, source_front_end=small_front_end(6)),
            "as wide as `units`=8. Received: 6",
        ),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("normalization", ["recording", "batch", None])
def test_padding_changes_no_normalization(normalization):
    model = models.audio_front_end(4, num_mel_bins=8, feature_normalization=normalization)
    model = keras.Model.from_config(model.get_config())
    waveform = np.random.default_rng(0).normal(size=(1, 1600)).astype("float32")
    alone, padded = (array(program(model)(x)) for x in (waveform, np.pad(waveform, ((0, 0), (0, 800)))))
    np.testing.assert_allclose(padded[:, : alone.shape[1]], alone, atol=1e-4)


@tensorflow_only("what a layer of Keras counts is no backend's, and elsewhere each operation is compiled by itself")
def test_batch_normalization_learns_of_real_frames_and_is_kept(tmp_path):
    model = small(head="classes", feature_normalization="batch")
    normalization = model.get_layer("front_end").get_layer("normalization")
    padded = np.pad(WAVES[:1, :800], ((0, 0), (0, 4000)))
    means = []
    for waveform in (WAVES[:1, :800], padded):
        normalization.moving_mean.assign(np.zeros(8))
        model(waveform, training=True)
        means.append(array(normalization.moving_mean))
    assert np.abs(means[0]).min() > 1e-3
    np.testing.assert_allclose(means[1], means[0], rtol=1e-5)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(WAVES)), array(model(WAVES)), atol=1e-6)


def test_another_normalization_is_named():
    with pytest.raises(ValueError, match="Received: 'speaker'"):
        models.audio_front_end(4, feature_normalization="speaker")
