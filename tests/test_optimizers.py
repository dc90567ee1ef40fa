"""One kernel a weight: the numbers are Keras's, but for the rows of an embedding that a batch has twice."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_seq import optimizers
from tests.reference import array, quick, spread, tensorflow_only

OPTIONS = {
    "plain": {},
    "as for Transformers": {"beta_2": 0.98, "epsilon": 1e-9, "global_clipnorm": 1.0},
    "clipped, averaged": {"clipnorm": 0.1, "use_ema": True, "ema_overwrite_frequency": 3},
    "accumulated": {"gradient_accumulation_steps": 2},
    "amsgrad": {"amsgrad": True},
    "scheduled": {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 20, warmup_target=0.2, warmup_steps=3)},
    "decayed": {"weight_decay": 0.1},
}


def gradient(shape, step):
    return spread(shape, start=3.0 * step) * (step % 4 > 0)


def stepped(optimizer, dtype="float32", steps=20):
    """Two weights after updates by given gradients, some of them zero."""
    shapes = {"kernel": (3, 4), "bias": (5,)}
    weights = [keras.Variable(spread(shape), dtype=dtype, name=name) for name, shape in shapes.items()]
    for step in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(gradient(w.shape, step), dtype) for w in weights], weights)
    return [array(w) for w in weights], optimizer


OURS = tensorflow_only("elsewhere the update is Keras's own")


@OURS
@pytest.mark.parametrize(
    ("name", "dtype"),
    quick(
        [(name, dtype) for dtype in ("float32", "float64") for name in OPTIONS],
        few=[*((name, "float32") for name in OPTIONS), ("plain", "float64")],
    ),
)
def test_the_numbers_are_keras_own(name, dtype):
    options = OPTIONS[name]
    ours, theirs = optimizers.Adam, keras.optimizers.Adam
    if "weight_decay" in options:
        ours, theirs = optimizers.AdamW, keras.optimizers.AdamW
    options = {"learning_rate": 0.1, **options}
    (found, optimizer), (expected, reference) = (stepped(kind(**options), dtype) for kind in (ours, theirs))
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(theirs - spread(theirs.shape)).max() > 0.05
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)  # Keras casts its constants by way of float32
    assert [v.path.partition("/")[2] for v in optimizer.variables] == [
        v.path.partition("/")[2] for v in reference.variables
    ]
    for ours, theirs in zip(optimizer.variables, reference.variables, strict=True):
        np.testing.assert_allclose(array(ours), array(theirs), rtol=2e-5, atol=1e-6)


@OURS
def test_the_numbers_are_the_papers():
    """Algorithm 1 of Kingma and Ba, with the epsilon of the formula before their section 2.1."""
    found, _ = stepped(optimizers.Adam(0.125, beta_1=0.8, beta_2=0.95, epsilon=1e-3), "float64")
    w, m, v = spread((3, 4)).astype("float64"), 0.0, 0.0
    for t in range(1, 21):
        g = gradient((3, 4), t - 1).astype("float64")
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        w = w - 0.125 * np.sqrt(1 - 0.95**t) / (1 - 0.8**t) * m / (np.sqrt(v) + 1e-3)
    np.testing.assert_allclose(found[0], w, rtol=1e-12)


@OURS
def test_weights_that_are_left_out_do_not_decay():
    optimizer = optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    kernel, bias = (keras.Variable(np.ones(3, "float32"), name=name) for name in ("kernel", "bias"))
    optimizer.apply([keras.ops.zeros(3)] * 2, [kernel, bias])
    np.testing.assert_allclose(array(kernel), 1 - 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(array(bias), 1)


@tensorflow_only("elsewhere gradients of embeddings are dense")
def test_the_gradients_of_a_row_are_summed_first():
    """A row that stands three times in a batch: its gradient is the sum, which is clipped and squared as one."""
    import tensorflow as tf

    rows = rows_of_an_embedding()
    found = []
    for gradient in (rows, tf.convert_to_tensor(rows)):
        table = keras.Variable(spread((5, 2)))
        optimizer = optimizers.Adam(0.1, global_clipnorm=0.5)
        for _ in range(3):
            optimizer.apply([gradient], [table])
        found.append(array(table))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert (found[0][0] == spread((5, 2))[0]).all() and (found[0][1] != spread((5, 2))[1]).all()


def rows_of_an_embedding():
    """The gradient of a table (5, 2), of which a row stands three times in the batch."""
    import tensorflow as tf

    return tf.IndexedSlices(tf.constant(spread((4, 2))), tf.constant([1, 3, 1, 1]), tf.constant([5, 2]))


@tensorflow_only("elsewhere gradients of embeddings are dense")
@pytest.mark.parametrize(
    "options",
    [{}, {"global_clipnorm": 0.5}, {"global_clipnorm": 5.0}, {"clipnorm": 0.3}, {"clipvalue": 0.2}]
    + [{"momentum": 0.9}, {"weight_decay": 0.1}, {"gradient_accumulation_steps": 2}],
    ids=str,
)
def test_sgd_of_rows_is_that_of_the_whole_table(options):
    import tensorflow as tf

    found = []
    for rows in (rows_of_an_embedding(), tf.convert_to_tensor(rows_of_an_embedding())):
        weights = [keras.Variable(spread((5, 2))), keras.Variable(spread((3,)))]
        optimizer = optimizers.SGD(0.1, **options)
        for _ in range(4):
            optimizer.apply([rows, tf.constant(spread((3,), start=9))], weights)
        found.append([array(weight) for weight in weights])
    for sparse, dense in zip(*found, strict=True):
        np.testing.assert_allclose(sparse, dense, rtol=1e-6)
    assert (found[0][0][1] != spread((5, 2))[1]).all()


@tensorflow_only("elsewhere gradients of embeddings are dense")
@pytest.mark.parametrize("threshold", [0.5, 50.0])
def test_the_clipping_of_sgd_is_the_formula(threshold):
    """g = threshold * g / s for s = ||g|| > threshold (Sutskever et al. 2014, section 3.4)."""
    import tensorflow as tf

    rows, bias = rows_of_an_embedding(), spread((3,), start=9).astype("float64")
    table = np.zeros((5, 2))
    np.add.at(table, rows.indices.numpy(), rows.values.numpy().astype("float64"))
    s = np.sqrt((table**2).sum() + (bias**2).sum())
    scale = threshold / s if s > threshold else 1.0
    weights = [keras.Variable(np.zeros((5, 2), "float32")), keras.Variable(np.zeros(3, "float32"))]
    optimizers.SGD(0.7, global_clipnorm=threshold).apply([rows, tf.constant(bias, "float32")], weights)
    np.testing.assert_allclose(array(weights[0]), -0.7 * scale * table, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(array(weights[1]), -0.7 * scale * bias, rtol=1e-6)


@tensorflow_only("a graph of operations is TensorFlow's")
def test_an_update_of_rows_makes_nothing_of_the_size_of_the_table():
    import tensorflow as tf

    table = keras.Variable(np.zeros((1000, 2), "float32"))
    optimizer = optimizers.SGD(0.7, global_clipnorm=1.0)
    optimizer.build([table])

    @tf.function(autograph=False)
    def update():
        slices = rows_of_an_embedding()
        optimizer.apply([tf.IndexedSlices(slices.values, slices.indices, tf.constant([1000, 2]))], [table])

    outputs = [x for op in update.get_concrete_function().graph.get_operations() for x in op.outputs]
    assert outputs and not any(x.shape == (1000, 2) for x in outputs)


@tensorflow_only("a graph of operations is TensorFlow's")
def test_a_weight_is_one_operation():
    import tensorflow as tf

    def operations(kind):
        optimizer, weights = kind(0.1, weight_decay=0.1), [keras.Variable(np.ones(3, "float32")) for _ in range(30)]
        optimizer.build(weights)
        graph = tf.function(lambda: optimizer.apply([w.value for w in weights], weights), autograph=False)
        return len(graph.get_concrete_function().graph.get_operations())

    assert 3 * operations(optimizers.AdamW) < operations(keras.optimizers.AdamW)


def test_a_model_is_saved_and_goes_on_with_what_the_optimizer_has(tmp_path):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizers.AdamW(0.1, beta_2=0.9, weight_decay=0.01), "mse")
    x, y = spread((8, 3)), spread((8, 2), start=5)
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is optimizers.AdamW
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for each in (model, loaded):
        each.train_on_batch(x, y)
    np.testing.assert_array_equal(array(loaded.layers[0].kernel), array(model.layers[0].kernel))


@OURS
@pytest.mark.long
def test_whoever_imports_models_can_load_what_was_compiled_with_it(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizers.AdamW(0.1), "mse")
    model.save(tmp_path / "model.keras")
    program = "import sys, keras; from keras_seq import models; print(keras.models.load_model(sys.argv[1]).optimizer)"
    command = [sys.executable, "-c", program, str(tmp_path / "model.keras")]
    done = subprocess.run(command, cwd=pathlib.Path(__file__).parents[1], capture_output=True, text=True)
    assert "keras_seq.optimizers.AdamW" in done.stdout, done.stderr[-2000:]


@OURS
def test_keras_own_weights_of_an_optimizer_fit(tmp_path):
    """A run that began with Keras's Adam goes on with this one."""
    _, theirs = stepped(keras.optimizers.Adam(0.1), steps=5)
    _, ours = stepped(optimizers.Adam(0.1), steps=1)
    store = {}
    theirs.save_own_variables(store)
    ours.load_own_variables(store)
    for one, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(array(one), array(other))
