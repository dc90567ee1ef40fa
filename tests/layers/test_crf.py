"""The conditional random field against all N^T paths, written out."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers import TokenEmbedding
from keras_seq.layers.crf import CRF, CRFLoss, ViterbiAccuracy, ViterbiDecoder, log_likelihood, log_partition, viterbi
from keras_seq.optimizers import Adam
from tests.checks import check_layer
from tests.reference import array, arrays, backend_cases, compiled, fill, long_on_jax, spread

B, T, N = 5, 5, 3
EMISSIONS = 2 * spread((B, T, N))
TAGS = np.abs(100 * spread((B, T), start=8)).astype("int32") % N
MASKS = {
    "none": None,
    "right": np.arange(T) < np.array([[5], [3], [2], [1], [0]]),
    "left": np.arange(T) >= np.array([[0], [1], [3], [4], [5]]),
    "holes": np.array([[1, 0, 1, 1, 0], [0, 1, 0, 1, 1], [1, 0, 0, 0, 1], [0, 0, 1, 0, 0], [0] * 5], "bool"),
}
NAMES = backend_cases(MASKS, on_jax=["holes"])
masks = pytest.mark.parametrize("mask", [MASKS[name] for name in NAMES], ids=NAMES)


def filled(num_tags=N):
    layer = CRF(num_tags)
    layer.build((None, None, num_tags))
    return fill(layer, 1.5)


LAYER = filled()
WEIGHTS = [w.astype("float64") for w in LAYER.get_weights()]


def score(emissions, tags):
    transitions, start, end = WEIGHTS
    if not len(tags):
        return 0.0
    edges = sum(transitions[i, j] for i, j in itertools.pairwise(tags))
    return start[tags[0]] + end[tags[-1]] + edges + sum(e[tag] for e, tag in zip(emissions, tags, strict=True))


def real(mask):
    """For each row: the emissions and tags of its real steps, and all paths with their scores."""
    for b in range(B):
        keep = np.ones(T, "bool") if mask is None else mask[b]
        emissions = EMISSIONS[b, keep].astype("float64")
        paths = {path: score(emissions, path) for path in itertools.product(range(N), repeat=keep.sum())}
        yield keep, tuple(TAGS[b, keep].tolist()), paths


def logsumexp(values):
    values = np.array(list(values))
    return values.max() + np.log(np.exp(values - values.max()).sum())


@masks
def test_partition_likelihood_and_best_path_are_those_of_all_paths(mask):
    partition, likelihood, (tags, scores) = arrays(
        compiled(
            lambda: (
                LAYER.log_partition(EMISSIONS, mask),
                LAYER.log_likelihood(EMISSIONS, TAGS, mask),
                LAYER.decode(EMISSIONS, mask),
            )
        )()
    )
    for b, (keep, given, paths) in enumerate(real(mask)):
        assert partition[b] == pytest.approx(logsumexp(paths.values()), abs=1e-5)
        assert likelihood[b] == pytest.approx(paths[given] - logsumexp(paths.values()), abs=1e-5)
        best = max(paths, key=paths.get)
        assert tags[b][keep].tolist() == list(best)
        assert (tags[b][~keep] == 0).all()
        assert scores[b] == pytest.approx(paths[best], abs=1e-5)


@masks
def test_without_labels_the_likelihood_is_a_sum_over_what_is_missing(mask):
    labeled = np.array([[1, 0, 1, 0, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 1, 0, 0, 1]], "bool")
    found = array(compiled(lambda: log_likelihood(LAYER(EMISSIONS, mask=mask), TAGS, labeled))())
    for b, (keep, given, paths) in enumerate(real(mask)):
        known = labeled[b, keep]
        agree = [s for p, s in paths.items() if all(a == g for a, g, k in zip(p, given, known, strict=True) if k)]
        assert found[b] == pytest.approx(logsumexp(agree) - logsumexp(paths.values()), abs=1e-5)


def gradient(function, x):
    if keras.backend.backend() == "jax":
        import jax

        return np.array(jax.jit(jax.grad(function))(x))
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return array(tape.gradient(y, x))


@masks
def test_the_gradient_of_the_partition_is_the_probability_of_each_edge(mask):
    potentials = array(LAYER(EMISSIONS, mask=mask))
    edges = gradient(lambda x: ops.sum(log_partition(x)), potentials)
    np.testing.assert_allclose(edges.sum((2, 3)), 1, atol=1e-5)
    for b, (keep, _, paths) in enumerate(real(mask)):
        total = logsumexp(paths.values())
        marginals = np.zeros((keep.sum(), N))
        for path, value in paths.items():
            marginals[np.arange(len(path)), list(path)] += np.exp(value - total)
        np.testing.assert_allclose(edges[b, keep].sum(1), marginals, atol=1e-5)


@masks
def test_padding_changes_nothing(mask):
    mask = np.ones((B, T), "bool") if mask is None else mask
    emissions = np.where(mask[:, :, None], EMISSIONS, 50.0).astype("float32")
    wider = np.pad(emissions, ((0, 0), (2, 3), (0, 0)), constant_values=-50.0)
    pairs = []
    for x, m in ((EMISSIONS, mask), (wider, np.pad(mask, ((0, 0), (2, 3))))):
        potentials = LAYER(x, mask=m)
        tags = np.pad(TAGS, ((0, 0), (2, 3)), constant_values=1)[:, : x.shape[1]] if x is wider else TAGS
        loss = compiled(lambda p, t: CRFLoss()(t, p))(potentials, tags)
        pairs.append((array(loss), array(compiled(log_partition)(potentials)), array(compiled(viterbi)(potentials)[0])))
    (loss, partition, best), (loss2, partition2, best2) = pairs
    np.testing.assert_allclose(loss2, loss, rtol=1e-5)
    np.testing.assert_allclose(partition2, partition, atol=1e-5)
    np.testing.assert_array_equal(best2[:, 2:-3], best)


def test_the_loss_counts_real_steps():
    mask = MASKS["right"]
    potentials, loss = array(LAYER(EMISSIONS, mask=mask)), compiled(CRFLoss())
    likelihood = array(compiled(LAYER.log_likelihood)(EMISSIONS, TAGS, mask)).astype("float64")
    assert float(loss(TAGS, potentials)) == pytest.approx(-likelihood.sum() / mask.sum(), rel=1e-5)
    assert float(loss(TAGS, potentials, mask)) == pytest.approx(-likelihood.sum() / mask.sum(), rel=1e-5)
    rows = np.array([1.0, 0.5, 0.0, 2.0, 1.0], "float32")
    expected = -(likelihood * rows).sum() / (mask * rows[:, None]).sum()
    for weights in (rows, rows[:, None], mask * rows[:, None]):
        assert float(loss(TAGS, potentials, weights)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(TAGS[4:], potentials[4:])) == 0.0


def test_the_accuracy_counts_real_steps():
    mask = MASKS["right"]
    potentials = array(LAYER(EMISSIONS, mask=mask))
    tags = array(compiled(viterbi)(potentials)[0])
    wrong = np.where(np.arange(T) == 1, (tags + 1) % N, tags)  # one step of each of the three rows longer than one
    metric = ViterbiAccuracy()
    metric.update_state(wrong, potentials)
    assert float(metric.result()) == pytest.approx(8 / 11)


@pytest.mark.parametrize("name", backend_cases(["holes", "none"], on_jax=["holes"]))
def test_promises_of_a_layer(name):
    mask = MASKS[name]
    inputs = {"emissions": EMISSIONS} if mask is None else {"emissions": EMISSIONS, "mask": mask}
    check_layer(CRF(N), inputs)
    check_layer(CRF(N, transitions_initializer="zeros"), inputs)
    potentials = check_layer(LAYER, inputs)
    assert potentials.dtype == "float32"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_decodes_what_single_precision_decodes(policy):
    layer = CRF(N, dtype=policy)
    layer.build((None, None, N))
    layer.set_weights(LAYER.get_weights())
    mask = MASKS["holes"]
    tags = array(compiled(lambda: ViterbiDecoder(dtype=policy)(layer(EMISSIONS, mask=mask)))())
    np.testing.assert_array_equal(tags, array(compiled(LAYER.decode)(EMISSIONS, mask)[0]))


def alternating(rows=256, length=8):
    """Tags 1 and 2 by turns. One token of each row tells its tag, 4 for tag 1 and 5 for tag 2; the others are 3."""
    random = np.random.default_rng(0)
    lengths = random.integers(2, length + 1, rows)
    tags = 1 + (np.arange(length) + random.integers(0, 2, (rows, 1))) % 2
    telling = np.arange(length) == random.integers(0, lengths)[:, None]
    tokens = np.where(telling, 3 + tags, 3)
    keep = np.arange(length) < lengths[:, None]
    return (tokens * keep).astype("int32"), (tags * keep).astype("int32"), keep


def tagger(num_tags=3):
    tokens = keras.Input((None,), dtype="int32")
    emissions = keras.layers.Dense(num_tags)(TokenEmbedding(6, 8)(tokens))
    potentials = CRF(num_tags)(emissions)
    model = keras.Model(tokens, potentials)
    model.compile(Adam(0.05), CRFLoss(), metrics=[ViterbiAccuracy()])
    model.optimizer.build(model.trainable_variables)
    return model, keras.Model(tokens, ViterbiDecoder()(potentials))


@long_on_jax
def test_transitions_settle_what_emissions_cannot_say(tmp_path):
    """A softmax over each step alone is a coin toss wherever the token tells nothing."""
    tokens, tags, _ = alternating()
    model, served = tagger()
    history = model.fit(tokens, tags, batch_size=64, epochs=15, verbose=0).history
    assert history["accuracy"][-1] == 1.0
    assert history["loss"][-1] < 0.1
    decode = compiled(served)
    np.testing.assert_array_equal(array(decode(tokens)), tags)

    served.save(tmp_path / "served.keras")
    loaded = compiled(keras.saving.load_model(tmp_path / "served.keras"))
    np.testing.assert_array_equal(array(loaded(tokens)), tags)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(tokens, tags, batch_size=128, verbose=0, return_dict=True)["accuracy"] == 1.0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")
def test_an_exported_tagger_gives_the_same_tags(tmp_path):
    import tensorflow as tf

    tokens, _, _ = alternating(rows=6)
    _, served = tagger()
    served.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(tmp_path)
    for some in (tokens, tokens[:2, :5]):
        np.testing.assert_array_equal(array(loaded.serve(tf.constant(some))), array(served(some)))


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles with XLA anyway")
def test_under_xla_too():
    import tensorflow as tf

    x = tf.constant(EMISSIONS)

    def slopes():
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = CRFLoss()(TAGS, LAYER(x, mask=MASKS["holes"]))
        return loss, tape.gradient(loss, x), LAYER.decode(x, MASKS["holes"])[0]

    plain, under_xla = (arrays(tf.function(slopes, jit_compile=jit_compile)()) for jit_compile in (False, True))
    for ours, theirs in zip(under_xla, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("thing", [CRFLoss(), ViterbiAccuracy(name="mine"), ViterbiDecoder()])
def test_serialization(thing):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(thing))
    assert type(copy) is type(thing)
    assert copy.get_config() == thing.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CRF(1), "`num_tags` must be at least 2. Received: 1"),
        (lambda: CRF(4)(EMISSIONS), "must be `num_tags`=4 wide. Received: 3"),
    ],
)
def test_errors_name_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_nan_of_a_real_step_is_not_taken_for_padding():
    layer = CRF(3)
    emissions = np.zeros((2, 4, 3), "float32")
    emissions[1, 2] = np.nan
    found = ops.convert_to_numpy(layer.log_partition(emissions))
    assert np.isfinite(found[0]) and np.isnan(found[1])
    loss = CRFLoss()(np.zeros((2, 4), "int32"), layer(emissions))
    assert np.isnan(ops.convert_to_numpy(loss))


@long_on_jax
def test_a_call_of_the_loss_is_the_likelihood_of_each_row():
    layer = filled()
    expected = -array(layer.log_likelihood(EMISSIONS[:2, :3], TAGS[:2, :3]))
    np.testing.assert_allclose(array(CRFLoss().call(TAGS[:2, :3], layer(EMISSIONS[:2, :3]))), expected, rtol=1e-5)
