"""A loss with a `chunk_size` gives the numbers of one without, from logits that are never held all at once."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers, models, products
from keras_seq.deferred_logits import DeferredLogits
from keras_seq.losses import SequenceCrossentropy, TokenCrossentropy
from keras_seq.metrics import Perplexity, TokenAccuracy, TokenLoss
from tests.reference import array, quick, spread, tensorflow_only

V, B, T = 11, 3, 5
LENGTHS = np.array([5, 2, 3])


def seq2seq(**options):
    return models.Seq2Seq(9, V, units=4, num_layers=1, attention=None, bidirectional=False, **options)


def transformer(**options):
    return models.Transformer(V, units=4, num_heads=1, num_layers=1, dropout=0.0, **options)


def language_model(**options):
    return models.LanguageModel(V, layers.RecurrentStack("gru", 4, num_layers=1), **options)


BUILDERS = {"seq2seq": seq2seq, "transformer": transformer, "language model": language_model}


def batch(name):
    rng = np.random.default_rng(0)
    target, labels = rng.integers(1, V, (2, B, T)).astype("int32")
    weights = (np.arange(T) < LENGTHS[:, None]) * np.array([[1.0], [0.5], [2.0]], "float32")
    source = rng.integers(1, 9, (B, 4)).astype("int32")
    return target if name == "language model" else {"source": source, "target": target}, labels, weights


def trained(name, loss, **options):
    """The history, the evaluation and the weights after three updates."""
    keras.utils.set_random_seed(0)
    model = BUILDERS[name](**options)
    model.compile(keras.optimizers.SGD(0.5), loss, weighted_metrics=[Perplexity(), TokenAccuracy()])
    x, labels, sample_weight = batch(name)
    arguments = {"sample_weight": sample_weight, "batch_size": B, "verbose": 0}
    history = model.fit(x, labels, epochs=3, shuffle=False, **arguments).history
    return {**history, "evaluation": model.evaluate(x, labels, **arguments)}, model


def equal(ones, others, rtol=1e-5):
    assert ones[0].keys() == others[0].keys()
    for name in ones[0]:
        np.testing.assert_allclose(ones[0][name], others[0][name], rtol=rtol, err_msg=name)
    for one, other in zip(ones[1].get_weights(), others[1].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=10 * rtol, atol=1e-6)


@pytest.mark.parametrize("chunk_size", quick([1, 4, 100], few=[4]))
@pytest.mark.parametrize("name", quick(BUILDERS, few=["language model", "seq2seq"]))
@pytest.mark.parametrize("tie_embeddings", quick([True, False], few=[True]))
def test_training_and_evaluation_are_those_without_chunks(name, chunk_size, tie_embeddings):
    options = {"tie_embeddings": tie_embeddings}
    whole = trained(name, TokenCrossentropy(0.1), **options)
    equal(trained(name, TokenCrossentropy(0.1, chunk_size=chunk_size), **options), whole)
    assert whole[0]["loss"][0] > whole[0]["loss"][-1]


def gradients(logits, loss, labels, weights, inputs):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(labels, logits(*inputs), weights)
    return array(value), [array(x) for x in tape.gradient(value, inputs)]


@tensorflow_only("the gradient of a tape")
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("scale", [1.0, 100.0])  # with 100, probabilities too small for a float
@pytest.mark.parametrize("kind", [TokenCrossentropy, SequenceCrossentropy])
def test_gradients(transposed, label_smoothing, scale, kind):
    x, kernel = scale * spread((B, T, 6)), spread((V, 6) if transposed else (6, V))
    _, labels, weights = batch("seq2seq")
    inputs = [ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)]
    loss = kind(label_smoothing, ignore_class=3)

    def whole(x, kernel):
        return ops.matmul(x, ops.transpose(kernel) if transposed else kernel)

    def deferred(x, kernel):
        return DeferredLogits(x, kernel, transposed=transposed, chunk_size=4)

    value, expected = gradients(whole, loss, labels, weights, inputs)
    ours, slopes = gradients(deferred, loss, labels, weights, inputs)
    assert ours == pytest.approx(value, rel=1e-5)
    for one, other in zip(slopes, expected, strict=True):
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


@tensorflow_only("the gradient of a tape")
def test_what_has_no_weight_has_no_effect():
    x, kernel = spread((B, T, 6)), spread((V, 6))
    _, labels, weights = batch("seq2seq")
    hidden = weights == 0

    def found(x, labels):
        inputs = [ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)]
        deferred = functools.partial(DeferredLogits, transposed=True, chunk_size=4)
        return gradients(deferred, TokenCrossentropy(), labels, weights, inputs)

    expected, slopes = found(x, labels)
    value, others = found(np.where(hidden[..., None], np.nan, x).astype("float32"), np.where(hidden, -7, labels))
    assert value == expected
    for one, other in zip(slopes, others, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not slopes[0][hidden].any()


@pytest.mark.parametrize("rows", [0, 2])
def test_a_batch_without_weights(rows):
    x = ops.zeros((rows, T, 6))
    deferred = DeferredLogits(x, ops.convert_to_tensor(spread((V, 6))), transposed=True, chunk_size=4)
    labels, weights = np.zeros((rows, T), "int32"), np.zeros((rows, T), "float32")
    assert float(TokenCrossentropy()(labels, deferred, weights)) == 0


def test_a_wrong_label_is_told():
    x = ops.convert_to_tensor(spread((B, T, 6)))
    deferred = DeferredLogits(x, ops.convert_to_tensor(spread((V, 6))), transposed=True, chunk_size=4)
    labels = np.full((B, T), V, "int32")
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(ValueError, match=f"0 to {V - 1}"):
            TokenCrossentropy()(labels, deferred)
    else:
        assert np.isnan(float(TokenCrossentropy()(labels, deferred)))


def test_a_metric_of_other_tokens_is_computed_for_them():
    _, labels, weights = batch("seq2seq")
    x, kernel = ops.convert_to_tensor(spread((B, T, 6))), ops.convert_to_tensor(spread((V, 6)))
    deferred = DeferredLogits(x, kernel, transposed=True, chunk_size=4, correct=True)
    TokenCrossentropy(ignore_class=int(labels[0, 0]))(labels, deferred, weights)
    for kind in (TokenLoss, TokenAccuracy):
        metric, expected = kind(), kind()
        metric.update_state(labels, deferred, weights)
        expected.update_state(labels, ops.matmul(x, ops.transpose(kernel)), weights)
        assert float(metric.result()) == pytest.approx(float(expected.result()), rel=1e-5)


def test_elsewhere_the_model_returns_logits():
    _, model = trained("seq2seq", TokenCrossentropy(chunk_size=4))
    x, *_ = batch("seq2seq")
    for logits in (model(x, training=True), model(x), model.predict(x, verbose=0)):
        assert array(logits).shape == (B, T, V)


@tensorflow_only("the trainer of JAX calls metrics before the step")
def test_metrics_that_need_all_logits_are_refused():
    model = seq2seq()
    model.compile("adam", TokenCrossentropy(chunk_size=4), metrics=[keras.metrics.TopKCategoricalAccuracy()])
    x, labels, _ = batch("seq2seq")
    with pytest.raises(ValueError, match=r"metrics\.Perplexity.*TopK"):
        model.fit(x, labels, verbose=0)
    with pytest.raises(ValueError, match="`chunk_size` must be at least 1"):
        TokenCrossentropy(chunk_size=0)


@tensorflow_only("a saved file is of either")
def test_a_saved_model_keeps_its_chunks(tmp_path):
    _, model = trained("seq2seq", TokenCrossentropy(chunk_size=4))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.chunk_size == 4
    x, labels, weights = batch("seq2seq")
    evaluations = [m.evaluate(x, labels, sample_weight=weights, verbose=0) for m in (model, loaded)]
    np.testing.assert_allclose(*evaluations, rtol=1e-6)


def test_capped_logits_are_refused():
    embedding = layers.TokenEmbedding(V, 6, logit_soft_cap=30.0)
    with pytest.raises(ValueError, match="`chunk_size`.*30"):
        embedding.deferred_logits(ops.zeros((B, T, 6)), chunk_size=4)


@tensorflow_only("the model is run eagerly")
def test_no_operation_has_all_logits(monkeypatch):
    import tensorflow as tf

    shapes = []
    matmul = tf.matmul
    monkeypatch.setattr(tf, "matmul", lambda *args, **options: _noted(matmul(*args, **options), shapes))
    model = language_model()
    model.compile(keras.optimizers.SGD(0.5), TokenCrossentropy(chunk_size=4), run_eagerly=True)
    x, labels, weights = batch("language model")
    model.fit(x, labels, sample_weight=weights, batch_size=B, verbose=0)
    assert (4, V) in shapes
    assert not any(V in shape and np.prod(shape) >= B * T * V for shape in shapes)


def _noted(x, shapes):
    shapes.append(tuple(x.shape))
    return x


@tensorflow_only("TensorFlow draws the words")
@pytest.mark.parametrize("transposed", [False, True])
def test_sampled_words_give_the_loss_of_tensorflow(transposed, monkeypatch):
    """Given drawn words, one of them a label, in float64: its loss, and its gradients."""
    import tensorflow as tf

    drawn = tf.constant([3, 0, 7, 5], tf.int64)
    expected = tf.linspace(tf.constant(0.2, tf.float64), 0.9, V)
    labels, weights = np.arange(B * T).reshape(B, T) % V, (np.arange(T) < LENGTHS[:, None]).astype("float32")
    sampled = (drawn, tf.gather(expected, labels.reshape(-1, 1)), tf.gather(expected, drawn))
    monkeypatch.setattr(tf.random, "log_uniform_candidate_sampler", lambda *args: sampled)
    vectors, kernel = (tf.constant(spread(shape, start=3).astype("float64")) for shape in ((B, T, 4), (V, 4)))
    given = kernel if transposed else tf.transpose(kernel)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([vectors, kernel, given])
        deferred = DeferredLogits(vectors, given, transposed=transposed, num_sampled=4)
        ours = deferred.scored(labels, weights, label_smoothing=0.0).values
        theirs = tf.nn.sampled_softmax_loss(
            kernel,
            tf.zeros(V, tf.float64),
            labels.reshape(-1, 1),
            tf.reshape(vectors, (-1, 4)),
            num_sampled=4,
            num_classes=V,
            sampled_values=sampled,
        )
        theirs = tf.reshape(theirs, (B, T)) * weights
    np.testing.assert_allclose(array(ours), array(theirs), rtol=1e-12)
    np.testing.assert_allclose(array(tape.gradient(ours, vectors)), array(tape.gradient(theirs, vectors)), atol=1e-12)
    pairs = ((ours, given), (theirs, kernel))
    found, wanted = (array(tf.convert_to_tensor(tape.gradient(*pair))) for pair in pairs)
    np.testing.assert_allclose(found if transposed else found.T, wanted, atol=1e-12)


@tensorflow_only("products in bfloat16 are TensorFlow's")
def test_the_scores_of_sampled_words_are_rounded_where_that_is_faster(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(products, "SMALLEST", 1)
    vectors, kernel = (tf.constant(spread(shape, start=3)) for shape in ((B, T, 4), (V, 4)))
    labels, values = np.full((B, T), 2), {}
    for dtype in ("float32", "bfloat16"):
        monkeypatch.setattr(products, "_dtype", dtype)
        keras.utils.set_random_seed(1)
        deferred = DeferredLogits(vectors, kernel, transposed=True, num_sampled=4)
        values[dtype] = array(deferred.scored(labels, label_smoothing=0.0).values)
    np.testing.assert_allclose(values["bfloat16"], values["float32"], atol=0.02)
    assert (values["bfloat16"] != values["float32"]).any()


@tensorflow_only("TensorFlow draws the words")
@pytest.mark.parametrize("chunk_size", quick([None, 4], few=[4]))
def test_sampled_words_train_a_model_that_is_evaluated_on_all_words(chunk_size):
    loss = SequenceCrossentropy(num_sampled=5, chunk_size=chunk_size)
    keras.utils.set_random_seed(0)
    model = seq2seq()
    model.compile(keras.optimizers.SGD(0.3), loss, weighted_metrics=[Perplexity()])
    x, labels, sample_weight = batch("seq2seq")
    before = model.evaluate(x, labels, sample_weight=sample_weight, verbose=0, return_dict=True)
    whole = SequenceCrossentropy()(labels, model(x), sample_weight)
    assert before["loss"] == pytest.approx(float(whole), rel=1e-5)
    model.fit(x, labels, sample_weight=sample_weight, epochs=60, batch_size=B, verbose=0)
    after = model.evaluate(x, labels, sample_weight=sample_weight, verbose=0, return_dict=True)
    assert after["loss"] < 0.5 * before["loss"]
    assert after["perplexity"] < before["perplexity"]
    again = SequenceCrossentropy.from_config(loss.get_config())
    assert (again.num_sampled, again.chunk_size) == (5, chunk_size)


def test_sampled_words_are_refused_where_they_mean_nothing():
    with pytest.raises(ValueError, match="`num_sampled` must be at least 1"):
        TokenCrossentropy(num_sampled=0)
    with pytest.raises(ValueError, match="cannot smooth"):
        TokenCrossentropy(0.1, num_sampled=3)
    model = seq2seq()
    model.compile("sgd", TokenCrossentropy(num_sampled=3), weighted_metrics=[TokenAccuracy()])
    x, labels, sample_weight = batch("seq2seq")
    with pytest.raises(ValueError, match="Leave out `metrics.TokenAccuracy`"):
        model.fit(x, labels, sample_weight=sample_weight, verbose=0)


@tensorflow_only("TensorFlow draws the words")
def test_more_sampled_words_than_there_are():
    deferred = DeferredLogits(spread((B, T, 4)), spread((V, 4)), transposed=True, num_sampled=V + 1)
    with pytest.raises(ValueError, match=f"`num_sampled` must be at most {V}, the size of the vocabulary. .*{V + 1}"):
        deferred.scored(np.ones((B, T), "int32"), label_smoothing=0.0)
