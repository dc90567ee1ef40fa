import contextlib

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import schedules
from keras_seq.layers import ScheduledSampling
from keras_seq.losses import TokenCrossentropy
from keras_seq.models import Seq2Seq
from keras_seq.optimizers import Adam
from tests.models.cases import END, INPUTS, PAD, START, TARGET, V
from tests.reference import array, backend_cases, long_on_jax, quick, spread

LABELS = np.array([[4, 5, 6, END], [6, END, PAD, PAD], [5, 4, END, PAD]], "int32")
REAL = TARGET != PAD
TENSORFLOW = keras.backend.backend() == "tensorflow"  # an eager step is quicker there than to trace one


def rises(to=1.0, over=10):
    """Keras's own schedule of a linear rise."""
    return keras.optimizers.schedules.PolynomialDecay(0.0, over, to)


RATES = [0.5, rises(), schedules.InverseSigmoid(0.5, 100)]
MODELS = [{}, {"attention": "location", "num_layers": 2}, {"attention": None, "cell": "mingru"}]


def translator(rate, **options):
    options = {"units": 4, "cell": "gru", "num_layers": 1, "attention": "general", **options}
    model = Seq2Seq(V, scheduled_sampling=rate, **options)
    weights = [spread(w.shape, start=7 * i) for i, w in enumerate(model.trainable_variables)]
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
    return model


def said(model):
    """The target, each token but the first replaced by what the model says after the true ones, in NumPy."""
    logits = array(model(INPUTS))
    own = TARGET.copy()
    for b in range(len(TARGET)):
        for t in range(1, TARGET.shape[1]):
            if TARGET[b, t] != PAD:
                own[b, t] = logits[b, t - 1].argmax()
    return own


def test_without_it_nothing_is_there():
    plain, model = translator(0.0), translator(0)
    assert model.sampling is None and len(model.variables) == len(translator(1.0).variables) - 1  # its draws
    np.testing.assert_array_equal(array(model(INPUTS, training=True)), array(plain(INPUTS)))


@pytest.mark.parametrize("options", backend_cases(MODELS, on_jax=MODELS[-1:]))
@long_on_jax
def test_rate_one_goes_on_from_the_models_own_tokens_and_no_others(options):
    model = translator(1.0, **options)
    own = said(model)
    assert (own != TARGET).sum() > 3 and (own[:, 0] == START).all() and (own[~REAL] == PAD).all()
    expected = array(model({**INPUTS, "target": own}))
    np.testing.assert_allclose(array(model(INPUTS, training=True)), expected, atol=1e-6)
    assert np.abs(expected - array(model(INPUTS)))[REAL].max() > 1e-2


@long_on_jax
def test_evaluating_and_decoding_stay_as_they_are():
    plain, model = translator(0.0), translator(1.0)
    np.testing.assert_array_equal(array(model(INPUTS)), array(plain(INPUTS)))
    np.testing.assert_array_equal(array(model(INPUTS, training=False)), array(plain(INPUTS)))
    for each in (plain, model):
        each.compile(loss=TokenCrossentropy(), run_eagerly=TENSORFLOW)
    losses = [each.evaluate(INPUTS, LABELS, sample_weight=REAL, verbose=0) for each in (plain, model)]
    assert losses[0] == losses[1]


@long_on_jax
def test_no_gradient_flows_through_the_first_pass():
    """The gradient is that of the second pass alone, whose inputs are given numbers."""
    model, given = translator(1.0), translator(0.0)
    own = said(model)
    for each, target in ((model, TARGET), (given, own)):
        each.compile(keras.optimizers.SGD(0.5), TokenCrossentropy(), run_eagerly=TENSORFLOW)
        each.train_on_batch({**INPUTS, "target": target}, LABELS, REAL)
    for one, other in zip(model.trainable_variables, given.trainable_variables, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-6, err_msg=one.path)


def own_everywhere(B, T):
    """Logits by which token 1 would be said everywhere."""
    return ops.one_hot(ops.ones((B, T), "int32"), 5)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9, 1.0])
def test_the_share_that_is_replaced(rate):
    B, T = 200, 101
    layer = ScheduledSampling(rate, seed=3)
    target = np.full((B, T), 4, "int32")
    target[:, 60:] = PAD
    replaced = [array(layer(target, own_everywhere(B, T), training=True)) for _ in range(2)]
    for tokens in replaced:
        assert tokens.dtype == np.int32
        assert (tokens[:, 0] == 4).all() and (tokens[:, 60:] == PAD).all()
        share = (tokens[:, 1:60] == 1).mean()
        assert abs(share - rate) < 5 * (rate * (1 - rate) / (B * 59)) ** 0.5 + 1e-9  # five standard deviations
        assert set(np.unique(tokens[:, 1:60])) <= {1, 4}
    if 0 < rate < 1:
        assert (replaced[0] != replaced[1]).any(), "each call draws anew"
        by_place = (replaced[0][:, 1:60] == 1).mean(0)
        assert by_place.max() - by_place.min() < 0.35  # no place is favored
        again = array(ScheduledSampling(rate, seed=3)(target, own_everywhere(B, T), training=True))
        np.testing.assert_array_equal(again, replaced[0])
        other = array(ScheduledSampling(rate, seed=4)(target, own_everywhere(B, T), training=True))
        assert (other != replaced[0]).any()
    np.testing.assert_array_equal(array(layer(target, own_everywhere(B, T))), target)


def test_a_schedule_counts_the_batches_it_has_trained_on():
    layer = ScheduledSampling(rises(to=0.5, over=4), seed=1)
    target = np.full((300, 101), 4, "int32")
    shares = []
    for _ in range(6):
        shares.append((array(layer(target, own_everywhere(300, 101), training=True))[:, 1:] == 1).mean())
        layer(target, own_everywhere(300, 101))  # not one of them
    np.testing.assert_allclose(shares, [0, 0.125, 0.25, 0.375, 0.5, 0.5], atol=0.02)
    assert shares[0] == 0 and int(array(layer.batches.value)) == 6


@pytest.mark.parametrize("rate", backend_cases(quick(RATES, few=RATES[-1:]), on_jax=RATES[-1:]))
def test_it_trains_and_its_file_holds_all(rate, tmp_path):
    model = translator(rate, dropout=0.1)
    model.compile(Adam(0.02), TokenCrossentropy())
    model.optimizer.build(model.trainable_variables)
    losses = [model.train_on_batch(INPUTS, LABELS, REAL) for _ in range(15)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_allclose(array(loaded(INPUTS)), array(model(INPUTS)), atol=1e-6)
    if callable(rate):
        assert int(array(loaded.sampling.batches.value)) == 15
        assert type(loaded.scheduled_sampling) is type(rate)
        assert loaded.scheduled_sampling.get_config() == rate.get_config()


def test_a_file_from_before_there_was_such_an_option():
    config = translator(0.0).get_config()
    assert config.pop("scheduled_sampling") == 0
    assert Seq2Seq.from_config(config).sampling is None


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute")
def test_under_a_distribution_scope():
    """Of rate 1 there is nothing to draw: two replicas make the updates of one device. A schedule counts batches, not
    replicas."""
    import tensorflow as tf

    from keras_seq import distribution

    dataset = tf.data.Dataset.from_tensors((INPUTS, LABELS, REAL)).repeat(3)
    dataset = dataset.map(lambda inputs, labels, real: (inputs, labels, tf.cast(real, tf.float32)))
    trained = []
    for strategy, rate in (("one_device", 1.0), ("mirrored", 1.0), ("mirrored", rises())):
        with distribution.scope(strategy) if strategy == "mirrored" else contextlib.nullcontext():
            model = translator(rate, cell="rnn", attention="dot")
            options = {"run_eagerly": strategy != "mirrored", "jit_compile": False}
            model.compile(keras.optimizers.SGD(0.1), TokenCrossentropy(), **options)
        model.fit(dataset, verbose=0, shuffle=False)
        trained.append(model)
    for one, other in zip(trained[0].trainable_variables, trained[1].trainable_variables, strict=True):
        np.testing.assert_allclose(array(one.value), array(other.value), atol=1e-5, err_msg=one.path)
    assert trained[2].sampling.batches.value.numpy() == 3


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="`rate` must be from 0 to 1"):
        Seq2Seq(V, units=4, scheduled_sampling=rate)


@pytest.mark.parametrize("rate", [0.25, rises(0.8, 4), schedules.InverseSigmoid(0.5, 100)])
def test_its_configuration_has_the_rate_and_its_schedule(rate):
    layer = ScheduledSampling(rate, pad_id=7, seed=3, name="sampled")
    again = ScheduledSampling.from_config(layer.get_config())
    assert (again.name, again.pad_id, again.seed, type(again.rate)) == ("sampled", 7, 3, type(rate))
    for step in (0, 3) if callable(rate) else ():
        assert float(again.rate(step)) == float(rate(step))
    assert again.rate == rate or callable(rate)
