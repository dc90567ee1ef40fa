"""What `fit` does inside a scope, and for each override that plain Keras still needs it."""

import contextlib
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer

from keras_seq import layers, losses, models, optimizers
from keras_seq.distribution import keras_patches
from tests.distribution.bucketed import batches, compiled, small, weights
from tests.reference import quick

pytestmark = pytest.mark.usefixtures("double_precision")


def trained(scope, build, dataset, epochs=2, **options):
    keras.utils.set_random_seed(1)
    with scope:
        model = build()
    history = model.fit(dataset, epochs=epochs, verbose=0, shuffle=False, **options).history
    return model, history


def plain_mirrored():
    """TensorFlow's own strategy of the same devices, which is not one of ours."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice()).scope()


def same(ones, others, tolerance=1e-9):
    for (one, one_history), (other, other_history) in [(ones, others)]:
        np.testing.assert_allclose(weights(one), weights(other), rtol=0, atol=tolerance)
        assert one_history.keys() == other_history.keys()
        for name in one_history:
            np.testing.assert_allclose(one_history[name], other_history[name], rtol=0, atol=tolerance, err_msg=name)


# Many devices are one device


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(lambda: keras.optimizers.SGD(0.5), marks=pytest.mark.long),
        lambda: optimizers.Adam(1e-2, global_clipnorm=0.1),
        pytest.param(lambda: optimizers.Adam(1e-2, gradient_accumulation_steps=2), marks=pytest.mark.long),
        pytest.param(
            lambda: optimizers.AdamW(1e-2, weight_decay=0.1, clipnorm=0.1, use_ema=True), marks=pytest.mark.long
        ),
    ],
    ids=["sgd", "clipped", "accumulated", "decay and average"],
)
def test_two_replicas_are_one_device(optimizer, one_device, two_devices):
    def build():
        return compiled(small(), optimizer())

    dataset = batches()
    ones, twos = (
        trained(scope, build, dataset, validation_data=dataset.take(3)) for scope in (one_device, two_devices)
    )
    same(ones, twos)
    for inputs, *_ in [*dataset.take(1), *dataset.skip(int(dataset.reduce(0, lambda n, *_: n + 1)) - 1)]:
        one, two = (model.predict(inputs, verbose=0) for model, _ in (ones, twos))
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-9)


@pytest.mark.long
def test_logits_in_chunks_on_two_replicas(one_device, two_devices):
    def build(chunk_size):
        model = models.Seq2Seq(30, units=4, num_layers=1, attention=None, bidirectional=False)
        optimizer = optimizers.SGD(0.5, global_clipnorm=0.1)
        return compiled(model, optimizer, losses.TokenCrossentropy(0.1, chunk_size=chunk_size))

    dataset = batches(25)
    whole = trained(one_device, lambda: build(None), dataset, validation_data=dataset.take(3))
    assert whole[1]["loss"][0] > whole[1]["loss"][-1]
    for scope in (one_device, two_devices):
        same(whole, trained(scope, lambda: build(7), dataset, validation_data=dataset.take(3)))


def test_one_device_is_plain_keras(one_device):
    def build():
        return compiled(small(), optimizers.Adam(1e-2, global_clipnorm=0.1))

    dataset = batches()
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(list(dataset))))
    plain, plain_history = trained(contextlib.nullcontext(), build, dataset)
    scoped, scoped_history = trained(one_device, build, dataset)
    np.testing.assert_allclose(weights(plain), weights(scoped), rtol=0, atol=1e-12)
    np.testing.assert_allclose(plain_history["token_loss"], scoped_history["token_loss"], rtol=1e-12)


@pytest.mark.parametrize("replicas", quick([1, 2], few=[2]))
def test_accumulated_parts_are_the_whole(replicas, one_device, two_devices):
    """Steps 2 i and 2 i + 1 accumulated are one step on both batches put together, whatever their lengths; so is the
    average of the weights, with which `fit` ends."""
    dataset = batches()
    pairs = list(dataset.take(6))
    build = lambda **o: compiled(  # noqa: E731
        small(), keras.optimizers.SGD(0.5, momentum=0.9, use_ema=True, ema_momentum=0.5, **o)
    )
    scope = one_device if replicas == 1 else two_devices
    model, history = trained(scope, lambda: build(gradient_accumulation_steps=2), dataset.take(6), epochs=1)

    keras.utils.set_random_seed(1)
    reference = build()
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        with tf.GradientTape() as tape:
            sums, tokens = 0.0, 0.0
            for inputs, labels, sample_weight in (first, second):
                logits = reference(inputs, training=True)
                smooth = tf.one_hot(labels, 30, 0.9 + 0.1 / 30, 0.1 / 30, dtype="float64")
                values = tf.nn.softmax_cross_entropy_with_logits(smooth, logits)
                sums += tf.reduce_sum(values * tf.cast(sample_weight, "float64"))
                tokens += tf.reduce_sum(tf.cast(sample_weight, "float64"))
            loss = sums / tokens
        reference.optimizer.apply(tape.gradient(loss, reference.trainable_weights), reference.trainable_weights)
    reference.optimizer.finalize_variable_values(reference.trainable_weights)
    np.testing.assert_allclose(weights(model), weights(reference), rtol=0, atol=1e-9)
    assert int(model.optimizer.iterations) == 3


def test_overwriting_by_the_average_while_accumulating_is_refused(one_device):
    average = {"use_ema": True, "ema_overwrite_frequency": 10}
    with one_device, pytest.raises(ValueError, match="ema_overwrite_frequency.*Received: 10"):
        compiled(small(), keras.optimizers.SGD(0.5, gradient_accumulation_steps=2, **average))


def test_accumulated_padding_changes_nothing(one_device):
    dataset = batches(21).map(lambda inputs, labels, weights: (inputs, labels, tf.zeros_like(weights))).take(2)
    with one_device:
        model = compiled(small(), keras.optimizers.SGD(0.5, gradient_accumulation_steps=2))
    before = weights(model)
    model.fit(dataset, verbose=0)
    assert np.array_equal(before, weights(model))


def test_the_loss_of_an_epoch_is_the_loss_per_token(one_device, two_devices):
    dataset = batches(21)
    for scope in (one_device, two_devices):
        model, _ = trained(scope, lambda: compiled(small(), loss=fit_loss()), dataset, epochs=1)
        sums, tokens = 0.0, 0.0
        for inputs, labels, sample_weight in dataset:
            log_probs = tf.nn.log_softmax(model(inputs)).numpy()
            right = np.take_along_axis(log_probs, labels.numpy()[..., None], -1)[..., 0]
            sums -= (right * sample_weight.numpy()).sum()
            tokens += sample_weight.numpy().sum()
        assert model.evaluate(dataset, verbose=0)[0] == pytest.approx(sums / tokens, abs=1e-9)


def fit_loss():
    """Keras's own, with the reduction that divides by the weights."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")


@pytest.mark.parametrize("masked", quick([True, False], few=[True]))
def test_a_users_own_model_and_keras_losses(masked, one_device, two_devices):
    """A functional model with a mask or none, two outputs, a regularizer, L2; no weights given."""

    def build():
        tokens = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(30, 8, mask_zero=masked, embeddings_regularizer="l2")(tokens)
        x = keras.layers.Dense(8, activation="tanh")(x)
        tags, pooled = keras.layers.Dense(30, name="tags")(x), keras.layers.GlobalAveragePooling1D()(x)
        model = keras.Model(tokens, {"tags": tags, "length": keras.layers.Dense(1, name="length")(pooled)})
        sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(
            keras.optimizers.SGD(0.1), {"tags": sparse, "length": "mse"}, loss_weights={"tags": 1.0, "length": 0.01}
        )
        return model

    def labeled(inputs, labels, weights):
        length = tf.math.count_nonzero(inputs["source"], axis=1, keepdims=True)
        return inputs["source"], {"tags": inputs["source"], "length": tf.cast(length, "float64")}

    dataset = batches().map(labeled)
    (one, one_history), (two, two_history) = (trained(s, build, dataset) for s in (one_device, two_devices))
    np.testing.assert_allclose(weights(one), weights(two), rtol=0, atol=1e-9)
    np.testing.assert_allclose(one_history["loss"], two_history["loss"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "how",
    [{"steps_per_execution": 2}, pytest.param({"run_eagerly": True}, marks=pytest.mark.long)],
    ids=["two steps", "eager"],
)
def test_other_ways_to_run(how, one_device, two_devices):
    dataset = batches(21).take(2 if "run_eagerly" in how else 4)
    same(*(trained(s, lambda: compiled(small(), **how), dataset, 1) for s in (one_device, two_devices)))


def test_arrays_and_a_step_of_ones_own(one_device, two_devices):
    class Own(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum((self(x) - y) ** 2)
            self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
            return {"own": loss}

    x = np.arange(10.0)[:, None] / 10
    results = []
    for scope in (one_device, two_devices):
        with scope:
            model = Own([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
            model.compile(keras.optimizers.SGD(0.01))
        model.fit(x, 2 * x, batch_size=3, epochs=2, verbose=0, shuffle=False)
        results.append(weights(model))
    np.testing.assert_allclose(*results, rtol=0, atol=1e-12)


def test_a_dataset_of_unknown_length_ends(two_devices):
    with two_devices:
        model = compiled(small())
    unknown = batches(21).filter(lambda *batch: True)
    assert unknown.cardinality() < 0
    history = model.fit(unknown, epochs=2, verbose=0).history
    assert len(history["loss"]) == 2
    assert history["loss"][1] < history["loss"][0]


@pytest.mark.parametrize("dtype", ["bfloat16", "bool", "int8", "float32", "int64"])
def test_predictions_of_any_dtype_are_gathered(dtype, two_devices):
    """TensorFlow gathers those of workers in float and wide ints alone. The long tests have two workers."""
    with two_devices:
        inputs = keras.Input((2,))
        model = keras.Model(inputs, keras.layers.Lambda(lambda x: keras.ops.cast(x, dtype))(inputs))
    x = np.arange(12.0).reshape(6, 2) % 3
    found = np.asarray(model.predict(x, batch_size=4, verbose=0))
    assert str(found.dtype) == dtype
    np.testing.assert_array_equal(found.astype("float64"), x if dtype != "bool" else x > 0)


def test_building_does_not_use_up_an_epoch(two_devices):
    """`data.shuffled` counts iterations: the first epoch of the fit must be its epoch 0."""

    def labels(dataset):
        return [batch[1].numpy().tolist() for batch in dataset]

    fresh, dataset = (batches(21, order=3) for _ in range(2))
    first, second = labels(fresh), labels(fresh)
    with two_devices:
        model = compiled(small())
    model.fit(dataset, verbose=0)
    assert labels(dataset) == second != first


# What is refused


def test_an_optimizer_from_outside(two_devices):
    optimizer = keras.optimizers.Adam()
    with two_devices:
        model = small()
        with pytest.raises(ValueError, match="outside the scope"):
            compiled(model, optimizer)


def test_float16_on_several_replicas(two_devices):
    with two_devices, pytest.raises(ValueError, match="bfloat16"):
        compiled(small(), keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))


def test_float16_on_one_device(one_device):
    with one_device:
        model = compiled(small(), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


# Plain Keras, unmended: when one of these fails, the override that it is named after can go.


def equal_shapes():
    """Batches that Keras's own fit can take on two devices, with unequal numbers of tokens in the two halves."""
    sources = np.array([[5, 6, 7, 8], [9, 5, 0, 0], [5, 0, 0, 0], [6, 0, 0, 0]], "int32")
    sources = np.concatenate([sources, sources[::-1], sources[[0, 2, 1, 3]]])
    inputs = {"source": sources, "target": sources}
    return tf.data.Dataset.from_tensor_slices((inputs, sources, (sources > 0).astype("float64"))).batch(4)


def apart(build) -> float:
    """How far two devices of plain Keras are from one."""
    one, _ = trained(contextlib.nullcontext(), build, equal_shapes())
    two, _ = trained(plain_mirrored(), build, equal_shapes())
    return np.abs(weights(one) - weights(two)).max()


def with_dropout():
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(1)(keras.layers.Dropout(0.5)(x)))
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "mse", jit_compile=False)
    return model


def five_batches(known):
    numbers = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((numbers, numbers[:, :, :1]))
    return dataset if known else dataset.filter(lambda *batch: True)


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_call_that_finds_the_end_of_the_data_changes_nothing(replicas, one_device, two_devices):
    scope = one_device if replicas == 1 else two_devices
    (known, history), (unknown, other) = (trained(scope, with_dropout, five_batches(each)) for each in (True, False))
    assert int(known.optimizer._iterations.numpy()) == int(unknown.optimizer._iterations.numpy()) == 10
    for one, another in zip(known.variables, unknown.variables, strict=True):
        np.testing.assert_array_equal(one, another, err_msg=one.path)
    assert history == other


def test_wait_for_batch_is_needed():
    model, _ = trained(contextlib.nullcontext(), with_dropout, five_batches(known=False), epochs=1)
    assert int(model.optimizer._iterations.numpy()) == 6


def test_build_from_spec_is_needed():
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([np.zeros((2, 3), "int32"), np.zeros((2, 5), "int32")] * 2),
        output_signature=tf.TensorSpec((None, None), tf.int32),
    ).map(lambda x: (x, x[:, :1]))
    unequal = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
    with unequal.scope():
        model = keras.Sequential(
            [keras.layers.Embedding(5, 3), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)]
        )
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    per_replica = unequal.distribute_datasets_from_function(lambda context: dataset)
    with pytest.raises(Exception, match="[Ss]hape"):
        model.fit(per_replica, steps_per_epoch=2, verbose=0)


def test_reduce_replicas_is_needed(two_devices):
    """With several workers Keras asks for this, which no strategy can do for a scalar."""
    original = keras_trainer.reduce_per_replica.__wrapped__
    assert 'strategy.reduce("MEAN", v, axis=0)' in inspect.getsource(original)
    with pytest.raises(Exception, match="axis|rank|scalar|dimension"):
        two_devices.strategy.reduce("MEAN", tf.constant(1.0), axis=0)


def test_other_reductions_are_those_of_keras(one_device):
    asked = []
    reduce = keras_patches._reduce_replicas(lambda *arguments: asked.append(arguments) or "reduced")
    for strategy, reduction in ((one_device.strategy, "sum"), (tf.distribute.get_strategy(), "mean")):
        assert reduce("values", strategy, reduction) == "reduced"
        assert asked.pop() == ("values", strategy, reduction)


@pytest.mark.long
def test_divide_by_all_tokens_is_needed():
    assert apart(lambda: compiled(small())) > 1e-6


@pytest.mark.long
def test_apply_reduced_is_needed_for_clipping():
    """With as many tokens in each half the means agree, and what is left is the clipping."""

    def build():
        tokens = keras.Input((None,), dtype="int32")
        x = keras.layers.Dense(30)(keras.layers.Embedding(30, 8)(tokens))
        model = keras.Model(tokens, x)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(1.0, global_clipnorm=0.01), loss)
        return model

    dataset = equal_shapes().map(lambda inputs, labels, weights: (inputs["source"], labels))
    one, _ = trained(contextlib.nullcontext(), build, dataset)
    two, _ = trained(plain_mirrored(), build, dataset)
    assert np.abs(weights(one) - weights(two)).max() > 1e-6


def test_apply_reduced_is_needed_for_accumulation():
    with pytest.raises(RuntimeError, match="merge_call"):
        trained(
            plain_mirrored(),
            lambda: compiled(small(), keras.optimizers.SGD(0.5, gradient_accumulation_steps=2)),
            equal_shapes(),
        )


def test_loss_per_token_is_needed(one_device):
    dataset = batches()
    build = lambda: compiled(small(), keras.optimizers.SGD(0.0), fit_loss())  # noqa: E731
    _, plain = trained(contextlib.nullcontext(), build, dataset, epochs=1)
    _, scoped = trained(one_device, build, dataset, epochs=1)
    assert abs(plain["loss"][0] - plain["token_loss"][0]) > 1e-6
    assert scoped["loss"][0] == pytest.approx(scoped["token_loss"][0], abs=1e-12)


def test_models_outside_are_left_alone(one_device):
    model = compiled(small())
    assert not keras_patches.is_patched(model.distribute_strategy)
    assert type(model._loss_tracker) is keras.metrics.Mean


def test_a_saved_model_is_loaded_compiled(one_device, tmp_path):
    with one_device:
        model = compiled(small(), "adam", fit_loss())
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").compiled


@pytest.mark.parametrize("carried", ["streams", "stateful"])
def test_a_state_that_is_carried_is_for_one_device(carried, one_device, two_devices):
    def build():
        if carried == "streams":
            model = models.LanguageModel(9, layers.RecurrentStack("rnn", 4), streams=4)
        else:
            model = keras.Sequential([keras.Input(batch_shape=(4, 3, 2)), layers.LSTM(2, stateful=True)])
        model.compile("sgd", "mse")

    with one_device:
        build()
    with two_devices, pytest.raises(ValueError, match=f"`{carried}`.*one_device"):
        build()


def test_an_infinite_gradient_of_a_row_is_seen_whatever_follows_it(one_device):
    """A row of an embedding has a gradient for each of its tokens."""
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    for values, finite in (([np.inf, 1.0], False), ([1.0, np.inf], False), ([1.0, 2.0], True)):
        slices = tf.IndexedSlices(tf.constant([[value] for value in values]), tf.constant([3, 3]), tf.constant([5, 1]))
        assert bool(optimizer.check_finite([slices])) == finite
    plain = inspect.unwrap(keras.optimizers.LossScaleOptimizer.check_finite)
    slices = tf.IndexedSlices(tf.constant([[np.inf], [1.0]]), tf.constant([3, 3]), tf.constant([5, 1]))
    assert bool(plain(optimizer, [slices]))


def test_a_sequential_model_that_is_built_without_a_graph(one_device):
    class Own(keras.layers.Dense):
        def compute_output_spec(self, *args, **kwargs):
            raise NotImplementedError

    with one_device:
        model = keras.Sequential([Own(1)])
        model.build((None, 3))
        model.compile("sgd", "mse", jit_compile=False)
    history = model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0).history
    assert np.isfinite(history["loss"][0])


def test_losses_and_metrics_are_built_with_weights_before_the_step_and_without_a_call(one_device):
    calls = []

    class Watched(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            calls.append(("loss", sample_weight is not None, training))
            return super().compute_loss(x, y, y_pred, sample_weight, training=training)

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            calls.append(("metrics", sample_weight is not None))
            return super().compute_metrics(x, y, y_pred, sample_weight)

    class WatchedLayer(keras.layers.Dense):
        def call(self, inputs):
            calls.append("call")
            return super().call(inputs)

    inputs = keras.Input([3])
    with one_device:
        model = Watched(inputs, WatchedLayer(1)(inputs))
        model.compile("sgd", "mse", weighted_metrics=["mae"])
    calls.clear()
    x = np.ones((4, 3))
    model.fit(x, x[:, :1], sample_weight=x[:, 0], verbose=0)
    assert calls == [("metrics", True), ("loss", True, False), "call", ("loss", True, True), ("metrics", True)]


@pytest.mark.parametrize("ours", [True, False])
def test_only_our_strategies_split_batches_by_rows(ours, two_devices, monkeypatch):
    split, calls = keras_patches.distributed, []
    monkeypatch.setattr(keras_patches, "distributed", lambda *arguments: calls.append(1) or split(*arguments))
    with two_devices if ours else plain_mirrored():
        model = keras.Sequential([keras.Input([3]), keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
    model.predict(np.ones((4, 3)), verbose=0)
    assert calls == [1] * ours
