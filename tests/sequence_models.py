"""Small untrained models of every task, as `inspection.certify` asks them."""

import keras

from keras_seq import decoding, layers, models
from keras_seq.commands.certified import with_tags
from keras_seq.commands.certified_decoders import traced
from keras_seq.inspection import certify_adapters
from tests.models import cases
from tests.reference import fill

V = 20
MAX_LENGTH = 8
FRONT_END = {"num_mel_bins": 8, "frequency_mask_width": 2}


def mapped(make, vocabulary_sizes=None, longest=None, scale=0.5):
    def ask(compiled=traced):
        model = fill(make(), scale)
        return certify_adapters.mapping(model, vocabulary_sizes=vocabulary_sizes, longest=longest, compiled=compiled)

    return ask


def classifier(architecture="lstm", **options):
    return mapped(lambda: models.classifier(V, 3, architecture=architecture, units=8, num_heads=2, **options))


def tagger(architecture="lstm", **options):
    sizes = {"words": V, "characters": V} if "character_vocabulary_size" in options else None
    options = {"units": 8, "num_heads": 2, "character_units": 8, **options}
    return mapped(lambda: with_tags(models.tagger(V, 4, architecture=architecture, **options)), sizes)


def forecaster(architecture="transformer", **options):
    options = {"units": 8, "num_layers": 1, "num_heads": 2, "patch_length": 4, **options}
    return mapped(lambda: models.forecaster(3, 12, 4, architecture=architecture, **options))


def recognizer(architecture="lstm", **options):
    def make():
        front_end = models.audio_front_end(
            8, **FRONT_END, feature_normalization=options.pop("feature_normalization", None)
        )
        options_ = {"units": 8, "num_layers": 1, "num_heads": 2, "front_end": front_end, **options}
        return models.recognizer(5, architecture=architecture, **options_)

    return mapped(make)


def video(architecture="gru", **options):
    options = {"units": 8, "filters": (4,), "num_heads": 2, **options}
    return mapped(lambda: models.video_classifier((8, 8, 1), {"a": 3, "b": 2}, architecture=architecture, **options))


def frames(architecture="convlstm"):
    return mapped(lambda: models.frame_predictor((8, 8, 1), architecture=architecture, units=8, filters=(4,)))


def binary_frames(architecture):
    options = {"units": 8, "num_heads": 2}
    return mapped(lambda: models.binary_frame_predictor(5, architecture=architecture, **options))


def searched(model, search, **options):
    """The function from sources to what is found, as arrays with a row for each."""

    def find(source):
        found = decoding.search(model, source, max_length=MAX_LENGTH, search=search, **cases.IDS, **options)
        return {"tokens": found.tokens, "lengths": found.lengths, "scores": found.scores, "log_probs": found.log_probs}

    return find


def translator(make, search="beam", source=None, vocabulary_size=None, scale=1.0):
    def ask(compiled=traced):
        model = fill(make(), scale)
        size = vocabulary_size or model.target_vocabulary_size or model.source_vocabulary_size
        found = searched(model, search, **({"num_beams": 3} if search == "beam" else {}))
        heard = None if source is None else certify_adapters.floats(model._flatten_layers(), source)
        given = {"start_id": cases.START, "vocabulary_size": size, "source": heard}
        return certify_adapters.decoding(model, search=found, compiled=compiled, **given)

    return ask


def language_model(backbone, search="greedy"):
    def ask(compiled=traced):
        model = fill(models.LanguageModel(V, backbone()), 1.0)
        found = searched(decoding.PromptedModel(model, cases.PAD), search)
        given = {"start_id": cases.START, "vocabulary_size": V, "room_for": MAX_LENGTH}
        return certify_adapters.decoding(model, search=found, compiled=compiled, **given)

    return ask


def attending(make):
    front_end = lambda: models.audio_front_end(8, **FRONT_END)  # noqa: E731
    return translator(lambda: make(front_end()), source=(None,), vocabulary_size=7)


TRANSFORMER = {"num_heads": 2, "num_layers": 1}
MODELS = {
    **{f"classifier {a}": classifier(a) for a in (*layers.ARCHITECTURES, "cnn", "feedforward")},
    **{f"classifier {p}": classifier("gru", pooling=p, bidirectional=False) for p in ("mean", "max", "last")},
    "classifier deep last": classifier("lstm", pooling="last", num_layers=2),
    "tagger lstm": tagger(),
    "tagger gru causal": tagger("gru", bidirectional=False),
    "tagger crf": tagger(crf=True, num_layers=2),
    "tagger characters crf": tagger(crf=True, character_vocabulary_size=V),
    "tagger transformer characters": tagger("transformer", character_vocabulary_size=V, characters="cnn"),
    "tagger cnn": tagger("cnn"),
    "tagger mingru": tagger("mingru"),
    **{f"translator {name}": translator(lambda make=make: make("float32")) for name, make in cases.CASES.items()},
    "translator greedy": translator(lambda: cases.CASES["gru-additive-reversed-deep"]("float32"), "greedy"),
    "translator contrastive": translator(lambda: cases.CASES["transformer-pre"]("float32"), "contrastive"),
    **{
        f"language model {cell}": language_model(lambda cell=cell: layers.RecurrentStack(cell, 8, 2))
        for cell in ("rnn", "gru", "lstm", "mingru", "rglru")
    },
    "language model transformer": language_model(lambda: layers.TransformerStack(8, **TRANSFORMER), "beam"),
    "language model rotary": language_model(lambda: layers.TransformerStack(8, positions="rotary", **TRANSFORMER)),
    "language model learned": language_model(
        lambda: layers.TransformerStack(8, positions="learned", max_positions=24, **TRANSFORMER), "contrastive"
    ),
    "forecaster": forecaster(),
    "forecaster quantiles": forecaster("gru", quantiles=(0.1, 0.5, 0.9), targets=[1]),
    "forecaster step by step": forecaster("gru", decoder="autoregressive", series_normalization="last"),
    "forecaster linear": forecaster("linear", series_normalization="last"),
    "forecaster dlinear": forecaster("dlinear", series_normalization=None),
    "forecaster residual": forecaster("lstm", residual=True, channel_independent=False),
    "forecaster known": forecaster(num_known=2, num_static=2),
    "recognizer ctc": recognizer(feature_normalization="recording"),
    "recognizer ctc transformer": recognizer("transformer"),
    "recognizer ctc batch": recognizer("gru", feature_normalization="batch"),
    "recognizer classes": recognizer("gru", head="classes", pooling="mean"),
    "recognizer attention": attending(lambda f: models.Seq2Seq(None, 7, source_front_end=f, units=8, num_layers=1)),
    "recognizer transformer": attending(
        lambda f: models.Transformer(None, 7, source_front_end=f, units=8, **TRANSFORMER)
    ),
    "video gru": video(),
    "video transformer": video("transformer", pooling="attention"),
    "video cnn": video("cnn", pooling="max"),
    "binary frames gru": binary_frames("gru"),
    "binary frames transformer": binary_frames("transformer"),
    "video convlstm": video("convlstm"),
    "frames convlstm": frames(),
    "frames gru": frames("gru"),
}


def leaky(compiled=traced):
    """A model whose answers depend on its padding: it has no mask."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(V, 4)(tokens)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(tokens, keras.layers.Dense(3)(x))
    return certify_adapters.mapping(fill(model, 1.0), compiled=compiled)


def batch_mean(compiled=traced):
    """A model whose answers depend on the rows beside each."""
    x = keras.Input((2,), name="x")
    model = keras.Model(x, x - keras.ops.mean(x, axis=0, keepdims=True) * 0.1)
    return certify_adapters.mapping(model, compiled=compiled)
