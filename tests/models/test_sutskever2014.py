"""The encoder-decoder of Sutskever et al. 2014, section 3.4, from the parts of the toolkit."""

import keras
import numpy as np

from keras_seq import losses, optimizers
from keras_seq.models import Seq2Seq
from tests.reference import array, spread, tensorflow_only


def paper(source=160, target=80, units=10, num_layers=4):
    return Seq2Seq(
        source,
        target,
        units=units,
        num_layers=num_layers,
        attention=None,
        bidirectional=False,
        reverse_source=True,
        tie_embeddings=False,
        initializer=keras.initializers.RandomUniform(-0.08, 0.08, seed=1),
    )


def parameters(source, target, units, num_layers):
    """Embeddings of both sides and the softmax; gates of (x, h) and their biases, in encoder and decoder."""
    return (source + 2 * target) * units, 2 * num_layers * 8 * units**2, 2 * num_layers * 4 * units


def test_the_number_of_parameters():
    assert paper().count_params() == sum(parameters(160, 80, 10, 4))
    embeddings, connections, biases = parameters(160_000, 80_000, 1000, 4)
    assert (embeddings, connections) == (320_000_000, 64_000_000)
    assert embeddings + connections == 384_000_000  # of the paper, which does not count the biases
    assert biases == 32_000


def test_the_sentence_is_the_last_state_of_every_layer():
    model = paper()
    state = model.encode(np.array([[5, 7, 3]], "int32"))
    assert sum(array(x).size for x in keras.tree.flatten(state["layers"])) == 2 * 4 * 10  # 8000 at full size
    assert not state["memory"]


def test_initial_weights_are_uniform():
    """Kolmogorov and Smirnov's statistic of each weight with its own numbers, below the value of the 0.1% level."""
    weights = [array(weight).ravel() for weight in paper().trainable_weights]
    for weight in [np.concatenate(weights), *(weight for weight in weights if weight.size >= 40)]:
        assert np.abs(weight).max() <= 0.08
        share = np.sort((weight + 0.08) / 0.16)
        places = np.arange(weight.size + 1) / weight.size
        distance = max((places[1:] - share).max(), (share - places[:-1]).max())
        assert distance * np.sqrt(weight.size) < 1.95
    biases = [array(weight) for weight in paper().trainable_weights if weight.name == "bias"]
    assert len(biases) == 8 and all(np.abs(bias).max() <= 0.08 for bias in biases)  # that of the forget gate too


@tensorflow_only("the gradient of a tape")
def test_a_step_is_the_papers():
    """The gradient of the summed log-probability over the batch, divided by its sentences, with norm 5 at most."""
    import tensorflow as tf

    model = paper(num_layers=1)
    model.set_weights([3 * spread(weight.shape, start=i) for i, weight in enumerate(model.get_weights())])
    before = [array(weight).astype("float64") for weight in model.trainable_weights]
    rng = np.random.default_rng(0)
    inputs = {"source": rng.integers(1, 160, (6, 7)), "target": rng.integers(1, 80, (6, 5))}
    labels, weights = rng.integers(1, 80, (6, 5)), (np.arange(5) < rng.integers(1, 6, (6, 1))).astype("float32")

    with tf.GradientTape() as tape:
        log_probs = tf.nn.log_softmax(model(inputs, training=True))
        right = tf.gather(log_probs, tf.constant(labels), batch_dims=2)
        total = -tf.reduce_sum(right * weights)
    gradients = [tf.convert_to_tensor(g).numpy() / 6 for g in tape.gradient(total, model.trainable_weights)]
    s = np.sqrt(sum((g.astype("float64") ** 2).sum() for g in gradients))
    assert s > 5

    model.compile(optimizers.SGD(0.7, global_clipnorm=5.0), losses.SequenceCrossentropy(chunk_size=8))
    model.train_on_batch(inputs, labels, sample_weight=weights)
    for weight, old, g in zip(model.trainable_weights, before, gradients, strict=True):
        np.testing.assert_allclose(array(weight), old - 0.7 * 5 * g / s, rtol=1e-5, atol=1e-5)
