"""Every option of the builders with the architectures that have it; and values that are not allowed, named."""

import itertools

import keras
import numpy as np
import pytest

from keras_seq import distribution, layers, losses, models
from tests.reference import tensorflow_only

IDS = np.array([[4, 5, 6, 3], [5, 3, 0, 0], [7, 3, 0, 0]], "int32")
SMALL = {"units": 8, "num_layers": 1}
CLIP, SERIES = (8, 8, 1), {"num_columns": 2, "look_back": 12, "horizon": 4, "patch_length": 4}


def classifier(**options):
    return models.classifier(**{"vocabulary_size": 9, "num_classes": 3, **SMALL, **options})


def tagger(**options):
    return models.tagger(**{"vocabulary_size": 9, "num_tags": 3, **SMALL, **options})


def seq2seq(**options):
    return models.Seq2Seq(**{"source_vocabulary_size": 9, **SMALL, **options})


def transformer(**options):
    return models.Transformer(**{"source_vocabulary_size": 9, "num_heads": 2, **SMALL, **options})


def language_model(architecture="gru", vocabulary_size=9, backbone=None, backbone_options=None, **options):
    sizes = (
        {"num_heads": 2, "architecture_options": backbone_options}
        if architecture == "transformer"
        else {"architecture_options": backbone_options}
    )
    backbone = layers.sequence_backbone(architecture, 8, **sizes) if backbone is None else backbone
    return models.LanguageModel(vocabulary_size, backbone, **options)


def forecaster(**options):
    return models.forecaster(**{**SERIES, **SMALL, **options})


def front_end(**options):
    return models.audio_front_end(
        **{"units": 8, "num_mel_bins": 8, "frequency_mask_width": 2, "time_mask_width": 2, **options}
    )


def recognizer(**options):
    return models.recognizer(**{"num_labels": 4, "front_end": front_end(), **SMALL, **options})


def video(**options):
    return models.video_classifier(**{"frame_shape": CLIP, "num_classes": 3, "filters": (2,), **SMALL, **options})


def pictures(**options):
    return models.frame_predictor(**{"frame_shape": CLIP, "filters": (2, 2), **SMALL, **options})


def binary_frames(**options):
    return models.binary_frame_predictor(**{"num_features": 5, **SMALL, **options})


WRONG = {
    classifier: {
        "vocabulary_size": 0,
        "num_classes": 0,
        "architecture": "x",
        "units": 0,
        "num_layers": 0,
        "pooling": "x",
        "embedding_dim": 0,
        "vectors": np.zeros((3, 3)),
        "dropout": 1.5,
        "pad_id": 9,
        "num_heads": 0,
    },
    tagger: {"num_tags": 0, "architecture": "x", "characters": "x", "character_units": 0, "dropout": "a", "pad_id": -1},
    seq2seq: {
        "units": 0,
        "cell": "x",
        "num_layers": 0,
        "attention": "x",
        "bridge": "x",
        "dropout": 2,
        "recurrent_dropout": -0.1,
        "source_vocabulary_size": None,
        "pad_id": 9,
    },
    transformer: {
        "units": 7,
        "num_heads": 3,
        "layer_normalization": "x",
        "positions": "x",
        "num_key_value_heads": 3,
        "attention_window": -1,
        "num_layers": 0,
        "max_positions": 0,
        "dropout": 1,
    },
    language_model: {"vocabulary_size": 0, "dropout": 1.5, "streams": 0, "pad_id": 9},
    forecaster: {
        "num_columns": 0,
        "look_back": 0,
        "horizon": 0,
        "architecture": "x",
        "units": 0,
        "patch_length": 13,
        "patch_stride": 5,
        "series_normalization": "x",
        "decoder": "x",
        "decoder_stride": 3,
        "targets": [5],
        "num_known": -1,
        "num_static": -1,
        "quantiles": (0.5, 1.5),
        "num_heads": 3,
    },
    recognizer: {"num_labels": 0, "head": "x", "architecture": "x", "units": 0, "dropout": 3},
    front_end: {
        "sampling_rate": 0,
        "num_mel_bins": 0,
        "feature_normalization": "x",
        "conv_layers": 0,
        "num_masks": -1,
        "frequency_mask_width": 9,
    },
    video: {"frame_shape": (8, 8), "num_classes": 0, "architecture": "x", "pooling": "x", "filters": (), "dropout": 2},
    pictures: {"frame_shape": (7, 7, 1), "patch_size": 3, "architecture": "x", "filters": (0, 1)},
    binary_frames: {
        **{"num_features": 0, "architecture": "x", "units": 0, "num_layers": 0, "input_dropout": 1, "dropout": -1},
        "feature_shares": np.full(5, 1.5),
    },
}


@pytest.mark.parametrize(("build", "option"), [(build, option) for build, wrong in WRONG.items() for option in wrong])
def test_a_value_that_is_not_allowed_is_named(build, option):
    """In one line of our own, before anything is traced."""
    with pytest.raises(ValueError, match=f"`[^`]*{option}.*Received") as error:
        build(**{option: WRONG[build][option]})
    assert "Exception encountered" not in str(error.value)


def pairwise(choices):
    """Rows in which each value of each option meets each value of every other: greedily, the most new pairs first."""
    names = list(choices)
    left = {((a, x), (b, y)) for a, b in itertools.combinations(names, 2) for x in choices[a] for y in choices[b]}
    rows = []
    while left:
        (a, x), (b, y) = min(left, key=str)
        row = {a: x, b: y}
        for name in names:
            if name not in row:
                row[name] = max(choices[name], key=lambda v, n=name, r=row: _new(left, r, n, v))  # noqa: B023
        rows.append({name: row[name] for name in names})
        left -= set(itertools.combinations(rows[-1].items(), 2))
    return rows


def _new(left, row, name, value):
    return sum(((name, value), pair) in left or (pair, (name, value)) in left for pair in row.items())


POLICIES = ("float32", "float64", "mixed_float16", "mixed_bfloat16")
CELLS = ("rnn", "gru", "lstm", "mingru", "minlstm", "rglru")
CHOICES = {
    classifier: {
        "architecture": (*CELLS, "transformer", "cnn", "feedforward"),
        "policy": POLICIES,
        "bidirectional": (True, False),
        "pooling": ("attention", "mean", "max", "last"),
        "num_layers": (1, 2),
        "embedding_dim": (None, 6),
    },
    tagger: {
        "architecture": (*CELLS, "transformer", "cnn", "feedforward"),
        "policy": POLICIES,
        "crf": (True, False),
        "bidirectional": (True, False),
        "num_layers": (1, 2),
    },
    seq2seq: {
        "cell": CELLS,
        "policy": POLICIES,
        "attention": (None, "additive", "dot", "general", "scaled_dot", "location"),
        "bidirectional": (True, False),
        "reverse_source": (True, False),
        "num_layers": (1, 2),
        "tie_embeddings": (True, False),
        "layer_norm": (True, False),
        "bridge": ("copy", "dense", "zero"),
        "scheduled_sampling": (0.0, 0.5),
    },
    transformer: {
        "positions": ("sinusoidal", "learned", "rotary", "alibi"),
        "policy": POLICIES,
        "activation": ("relu", "gelu", "swiglu"),
        "normalize_first": (True, False),
        "layer_normalization": ("layer", "rms"),
        "num_key_value_heads": (None, 1),
        "attention_window": (None, 2),
        "tie_embeddings": (True, False),
        "num_decoder_layers": (None, 2),
    },
    language_model: {"architecture": (*CELLS, "transformer"), "policy": POLICIES, "tie_embeddings": (True, False)},
    forecaster: {
        "architecture": (*CELLS, "transformer", "linear", "dlinear", "cnn", "feedforward"),
        "policy": POLICIES,
        "patch_length": (1, 4),
        "channel_independent": (True, False),
        "series_normalization": ("mean", "last", None),
        "quantiles": (None, (0.1, 0.9)),
        "targets": (None, (1,)),
        "num_known": (0, 2),
        "num_static": (0, 3),
    },
    recognizer: {
        "architecture": (*CELLS, "transformer", "cnn", "feedforward"),
        "policy": POLICIES,
        "head": ("ctc", "classes"),
        "bidirectional": (True, False),
        "pooling": ("attention", "mean", "max", "last"),
    },
    video: {
        "architecture": (*CELLS, "transformer", "cnn", "feedforward", "convlstm"),
        "policy": POLICIES,
        "pooling": (None, "attention", "mean", "max", "last"),
        "bidirectional": (True, False),
    },
    pictures: {"architecture": (*CELLS, "transformer", "convlstm"), "policy": POLICIES, "patch_size": (2, 4)},
    binary_frames: {"architecture": (*CELLS, "transformer"), "policy": POLICIES, "num_layers": (1, 2)},
}
ROWS = [(build, row) for build, choices in CHOICES.items() for row in pairwise(choices)]


def example(build, options):
    """What the model is called with, and labels and a loss for what comes out."""
    random = np.random.default_rng(0)
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if build is classifier:
        return IDS, np.array([0, 2, 1]), classes
    if build is tagger:
        return IDS, IDS % 3, layers.CRFLoss() if options["crf"] else losses.TokenCrossentropy()
    if build in (seq2seq, transformer):
        return {"source": IDS, "target": IDS[:, :3]}, IDS[:, 1:], losses.TokenCrossentropy(0.1)
    if build is language_model:
        return IDS[:, :-1], IDS[:, 1:], losses.TokenCrossentropy()
    if build is forecaster:
        inputs = {"past": random.normal(size=(3, 12, 2))}
        inputs |= {"known_future": random.normal(size=(3, 4, 2))} if options["num_known"] else {}
        inputs |= {"static": random.normal(size=(3, 3))} if options["num_static"] else {}
        future = random.normal(size=(3, 4, 1 if options["targets"] else 2))
        loss = losses.QuantileLoss(options["quantiles"]) if options["quantiles"] else "mse"
        return inputs if len(inputs) > 1 else inputs["past"], future, loss
    if build is recognizer:
        waveforms = random.normal(size=(3, 1600))
        ctc = options["head"] == "ctc"
        return waveforms, np.array([[1, 2], [3, 0], [1, 0]])[:, : 2 if ctc else 1], losses.CTCLoss() if ctc else classes
    if build is binary_frames:
        rolls = random.integers(0, 2, (3, 4, 5)).astype("float32")
        return rolls[:, :-1], rolls[:, 1:], losses.FrameCrossentropy()
    frames = random.random((3, 4, *CLIP))
    return (frames, np.array([0, 2, 1]), classes) if build is video else (frames[:, :-1], frames[:, 1:], "mse")


@pytest.fixture
def policy_of():
    before = keras.config.floatx(), keras.config.dtype_policy()

    def choose(policy):
        keras.config.set_floatx("float64" if policy == "float64" else "float32")
        keras.config.set_dtype_policy(policy)

    yield choose
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def few(number):
    """Of each builder one row is quick."""
    firsts = {build: [i for i, (other, _) in enumerate(ROWS) if other is build] for build in CHOICES}
    return any(number == rows[1] for rows in firsts.values())


@tensorflow_only("float64 and mixed_float16 are TensorFlow's here")
@pytest.mark.parametrize(
    ("build", "options"),
    [
        pytest.param(*row, marks=() if few(i) else pytest.mark.long, id=f"{row[0].__name__}-{i}")
        for i, row in enumerate(ROWS)
    ],
)
def test_options_meet(build, options, policy_of, tmp_path):
    keras.utils.set_random_seed(1)
    options = dict(options)
    policy_of(options.pop("policy"))
    with distribution.scope("one_device"):  # which mends what float16 has of an embedding's gradients
        model = build(**options)
        inputs, labels, loss = example(build, options)
        model.compile("sgd", loss, run_eagerly=True)
    before = [np.array(w) for w in model.trainable_weights]
    # In float16 Keras leaves steps out until the scale of its loss, 2 ** 15 at first, is small enough.
    for _ in range(16 if keras.config.dtype_policy().compute_dtype == "float16" else 1):
        assert np.isfinite(model.train_on_batch(inputs, labels))
        after = [np.array(w) for w in model.trainable_weights]
        assert all(np.isfinite(w).all() for w in after)
        if any((a != b).any() for a, b in zip(before, after, strict=True)):
            break
    else:
        pytest.fail("no weight was changed")
    expected = model.predict_on_batch(inputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for ours, theirs in zip(keras.tree.flatten(loaded(inputs)), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(np.asarray(ours, "float64"), np.asarray(theirs, "float64"), rtol=2e-2, atol=2e-2)
