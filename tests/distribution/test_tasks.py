"""Every task's model with the loss that its recipe gives it: several devices train what one device trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_seq import layers, losses, models, optimizers
from keras_seq.distribution import check_distributed
from tests.reference import quick

pytestmark = pytest.mark.usefixtures("double_precision")

ROWS = (3, 1, 4)  # two replicas: uneven halves, a replica without a row, whole halves
SMALL = {"units": 4, "num_layers": 1, "dropout": 0.0}
TOKENS = losses.TokenCrossentropy


def dataset(make, parts=ROWS):
    """Batches that `make(random, rows, steps)` makes, each of another length."""
    random = np.random.default_rng(0)
    batches = [make(random, rows, 5 + number) for number, rows in enumerate(parts)]

    def spec(*parts):
        lengths = zip(*(part.shape[1:] for part in parts), strict=True)
        known = [sizes[0] if len(set(sizes)) == 1 else None for sizes in lengths]
        return tf.TensorSpec((None, *known), parts[0].dtype)

    return tf.data.Dataset.from_generator(lambda: batches, output_signature=tf.nest.map_structure(spec, *batches))


def ids(random, rows, steps, largest=9):
    """Ids padded on the right, and the weights of the real ones."""
    lengths = random.integers(1, steps + 1, rows)
    real = np.arange(steps) < lengths[:, None]
    return (random.integers(4, largest, (rows, steps)) * real).astype("int32"), real.astype("float64")


def pairs(random, rows, steps):
    (source, _), (target, weights) = ids(random, rows, steps), ids(random, rows, steps + 1)
    return {"source": source, "target": target}, target, weights


def texts(random, rows, steps):
    return ids(random, rows, steps)[0], random.integers(0, 3, rows), random.uniform(0.5, 2, rows)


def tags(random, rows, steps):
    words, weights = ids(random, rows, steps)
    weights[:, 0] = random.integers(0, 2, rows)  # a real word without a tag
    return words, words % 3, weights


def lines(random, rows, steps):
    tokens, weights = ids(random, rows, steps + 1)
    return tokens[:, :-1], tokens[:, 1:], weights[:, 1:]


def windows(random, rows, steps):
    weights = random.integers(0, 2, (rows, 2, 2)).astype("float64")
    future = np.where(weights > 0, random.normal(size=(rows, 2, 2)), np.nan)  # gaps
    return random.normal(size=(rows, 6, 2)), future, weights


def points(random, rows, steps):
    return random.normal(size=(rows, 6, 2)), random.normal(size=(rows, 2, 2))


def recordings(random, rows, steps):
    """One of them has more labels than its frames can say, and costs nothing."""
    waveforms = random.normal(size=(rows, 400 * steps))
    labels = random.integers(0, 4, (rows, 2))
    labels[0] = 1
    return waveforms, np.repeat(labels, 9 if steps == 5 else 1, axis=1)


def spoken(random, rows, steps):
    target, weights = ids(random, rows, steps)
    return {"source": random.normal(size=(rows, 400 * steps)), "target": target}, target, weights


def clips(random, rows, steps):
    return random.random((rows, 3, 8, 8, 1)), random.integers(0, 3, rows)


def moving(random, rows, steps):
    frames = random.random((rows, 4, 8, 8, 1))
    return frames[:, :-1], frames[:, 1:]


def questions(random, rows, steps):
    return clips(random, rows, steps)[0], {"way": random.integers(0, 3, rows), "digit": random.integers(0, 4, rows)}


def front_end():
    return models.audio_front_end(4, num_mel_bins=6, num_masks=0, dropout=0.0)


def classes():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def of_speech(architecture="gru", **options):
    return lambda: models.recognizer(4, front_end=front_end(), architecture=architecture, **SMALL, **options)


def translator(cell, attention="additive"):
    return lambda: models.Seq2Seq(9, cell=cell, attention=attention, **SMALL)


TASKS = {
    "tagger, CRF": (
        lambda: models.tagger(9, 3, architecture="mingru", word_ngrams=2, crf=True, **SMALL),
        layers.CRFLoss,
        tags,
    ),
    "recognizer, CTC": (of_speech("mingru"), losses.CTCLoss, recordings),
    "forecaster, quantiles": (
        lambda: models.forecaster(2, 6, 2, patch_length=1, architecture="mingru", quantiles=(0.1, 0.9), **SMALL),
        lambda: losses.QuantileLoss((0.1, 0.9)),
        windows,
    ),
    "language model": (
        lambda: models.LanguageModel(9, layers.RecurrentStack("mingru", 4)),
        TOKENS,
        lines,
    ),
    "classifier": (lambda: models.classifier(9, 3, architecture="cnn", windows=(2,), **SMALL), classes, texts),
    "classifier, lstm": (lambda: models.classifier(9, 3, architecture="lstm", **SMALL), classes, texts),
    "classifier, transformer": (
        lambda: models.classifier(9, 3, architecture="transformer", num_heads=2, **SMALL),
        classes,
        texts,
    ),
    "tagger, softmax": (lambda: models.tagger(9, 3, architecture="lstm", **SMALL), TOKENS, tags),
    "tagger, CRF, lstm": (lambda: models.tagger(9, 3, architecture="lstm", crf=True, **SMALL), layers.CRFLoss, tags),
    "translator, lstm": (translator(cell="lstm"), lambda: TOKENS(0.1), pairs),
    "translator, location": (translator(cell="gru", attention="location"), TOKENS, pairs),
    "translator, transformer": (
        lambda: models.Transformer(9, num_heads=2, **SMALL),
        lambda: TOKENS(0.1),
        pairs,
    ),
    "language model, transformer": (
        lambda: models.LanguageModel(9, layers.TransformerStack(4, 2, 1, positions="learned", max_positions=16)),
        TOKENS,
        lines,
    ),
    "recognizer, CTC, lstm": (of_speech("lstm"), losses.CTCLoss, recordings),
    "recognizer, attention": (
        lambda: models.Seq2Seq(None, 9, source_front_end=front_end(), cell="gru", attention="location", **SMALL),
        TOKENS,
        spoken,
    ),
    "forecaster, points": (
        lambda: models.forecaster(2, 6, 2, patch_length=2, architecture="transformer", num_heads=2, **SMALL),
        lambda: "mse",
        points,
    ),
    "video": (
        lambda: models.video_classifier((8, 8, 1), 3, architecture="gru", filters=(2,), **SMALL),
        classes,
        clips,
    ),
    "video, two questions": (
        lambda: models.video_classifier((8, 8, 1), {"way": 3, "digit": 4}, architecture="gru", filters=(2,), **SMALL),
        classes,
        questions,
    ),
    "next pictures": (
        lambda: models.frame_predictor((8, 8, 1), architecture="gru", filters=(2, 2), **SMALL),
        lambda: "mse",
        moving,
    ),
}


def precision(loss):
    """TensorFlow's CTC knows float32 alone."""
    return 1e-5 if isinstance(loss, losses.CTCLoss) else 1e-9


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_trained_on_two_devices_as_on_one(task, two_devices):
    build, loss, make = TASKS[task]

    def compiled():
        model = build()
        model.compile(optimizers.AdamW(1e-2, weight_decay=0.01, global_clipnorm=1.0), loss(), jit_compile=False)
        return model

    # Spectra are float32 under any policy.
    tolerance = max(precision(loss()), 1e-6 if task.startswith("recognizer") else 0)
    report = check_distributed(compiled, dataset(make), steps=len(ROWS), tolerance=tolerance)
    assert report.same, str(report)


def numbers(*shape):
    return np.random.default_rng(1).normal(size=shape)


EVEN = np.array([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0], [2.0, 0.0, 0.0]])
LOSSES = {
    "tokens": (TOKENS(0.1), np.array([[1, 2, -100], [3, 0, 1], [2, 99, -1]]), numbers(3, 3, 5), EVEN),
    "quantiles": (losses.QuantileLoss((0.1, 0.9)), np.where(EVEN, numbers(3, 3), np.nan), numbers(3, 3, 2), EVEN),
    "frames": (losses.FrameCrossentropy(), (numbers(3, 3, 5) > 0).astype("float64"), numbers(3, 3, 5), EVEN),
    "CTC": (losses.CTCLoss(), np.array([[1, 2], [3, 0], [1, 1]]), numbers(3, 6, 4), np.array([1.0, 0.5, 2.0])),
    "CRF": (layers.CRFLoss(), np.array([[1, 2, 0], [0, 0, 1], [2, 9, -1]]), numbers(3, 3, 3, 3), EVEN),
}


@pytest.mark.parametrize("first", quick([0, 2, 3], few=[0, 2]))
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_over_two_replicas_is_that_of_all_rows(name, first, two_devices):
    """Its value, and the gradient of each row; also where one replica has all of them."""
    loss, *tensors = LOSSES[name]
    tensors = [tf.constant(x) for x in tensors]

    def slopes(labels, outputs, weights):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = loss(labels, outputs, weights)
        return value, tape.gradient(value, outputs)

    expected, slope = slopes(*tensors)
    with two_devices:
        strategy = tf.distribute.get_strategy()

        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            bounds = tf.constant([0, first, 3])
            return slopes(*(x[bounds[number] : bounds[number + 1]] for x in tensors))

        values, found = tf.function(lambda: strategy.run(replica), autograph=False)()
    total = sum(float(each) for each in strategy.experimental_local_results(values))
    assert total == pytest.approx(float(expected), rel=precision(loss))
    together = np.concatenate([each.numpy() for each in strategy.experimental_local_results(found)])
    np.testing.assert_allclose(together, slope, atol=precision(loss))
