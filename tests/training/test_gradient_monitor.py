import contextlib
import csv
import importlib.util
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_seq import distribution, optimizers, training
from keras_seq.training import gradient_monitor
from keras_seq.training.step_watch import Norms

ROWS, BATCH = 48, 8
X = np.random.default_rng(0).integers(1, 10, (ROWS, 4))
Y = (X.sum(1, keepdims=True) / 20).astype("float32")
FAILS = 2  # the number of the batch of `BAD` with a NaN, from 0
BAD = Y.copy()
BAD[FAILS * BATCH + 5] = np.nan


def build(mode: str = "") -> keras.Model:
    """A model with dropout and moving averages, in a scope, with an optimizer of the mode."""
    keras.utils.set_random_seed(1)
    options = {"gradient_accumulation_steps": 2} if "accumulation" in mode else {"global_clipnorm": 0.5}
    scope = contextlib.nullcontext()
    if "mirrored" in mode:
        scope = distribution.scope("mirrored", replicas=2)
    elif "one_device" in mode:
        scope = distribution.scope("one_device")
    with scope:
        layers = [keras.layers.Embedding(10, 3), keras.layers.GlobalAveragePooling1D(), keras.layers.Dropout(0.3)]
        model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.BatchNormalization(), keras.layers.Dense(1)])
        kind = keras.optimizers.Adam if "keras" in mode else optimizers.Adam
        optimizer = kind(0.1, **options)
        if "scaled" in mode:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
        how = {"steps_per_execution": 2 if "executions" in mode else 1, "run_eagerly": "eager" in mode}
        model.compile(optimizer, "mse", jit_compile="xla" in mode, **how)
    return model


def fit(model, y=Y, rows=ROWS, callbacks=(), **options):
    return model.fit(X[:rows], y[:rows], batch_size=BATCH, shuffle=False, verbose=0, callbacks=[*callbacks], **options)


def state(model) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in [*model.variables, *model.optimizer.variables]]


def rows_of(folder) -> list[dict[str, float]]:
    with open(folder / "gradients.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


QUICK = [""]
MODES = [
    *QUICK,
    "keras",
    "mirrored accumulation",
    "accumulation",
    "scaled",
    "xla",
    "eager",
    "executions",
    "one_device scaled",
    "mirrored",
]


@pytest.mark.parametrize("mode", [m if m in QUICK else pytest.param(m, marks=pytest.mark.long) for m in MODES])
def test_training_is_the_same_and_stops_before_the_update_that_fails(mode, tmp_path):
    plain, watched = build(mode), build(mode)
    fit(plain, rows=FAILS * BATCH)
    monitor = training.GradientMonitor(tmp_path, every=1)
    with pytest.raises(training.NotFiniteError, match="Training stopped at step 3") as raised:
        fit(watched, BAD, callbacks=[monitor])
    for ours, expected in zip(state(watched), state(plain), strict=True):
        np.testing.assert_array_equal(ours, expected)
    saved = training.load_step(raised.value.path)
    np.testing.assert_array_equal(saved.batch[0], X[FAILS * BATCH :][:BATCH])
    np.testing.assert_array_equal(saved.batch[1], BAD[FAILS * BATCH :][:BATCH])
    for diagnosis in (raised.value.diagnosis, saved.diagnose()):
        assert (diagnosis.origin.place, diagnosis.origin.kind) == ("label", "NaN")
        assert "row 5, feature 0" in diagnosis.origin.detail
    assert saved.facts["learning_rate"] == pytest.approx(0.1) and saved.facts["step"] == 3


def test_norms_are_those_of_numpy(tmp_path):
    x = np.random.default_rng(0).normal(size=(ROWS, 3)).astype("float32")
    y = np.ones((ROWS, 1), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False, name="line")])
    model.compile(keras.optimizers.SGD(0.1, clipnorm=1e-3), "mse")
    w, expected = model.get_weights()[0].astype("float64"), []
    for start in range(0, ROWS, BATCH):
        rows = x[start : start + BATCH]
        gradient = 2 * rows.T @ (rows @ w - 1) / BATCH
        norm = np.linalg.norm(gradient)
        w -= 0.1 * gradient * min(1, 1e-3 / norm)
        expected.append((norm, np.linalg.norm(w), min(0.1 * norm, 1e-4)))
    monitor = training.GradientMonitor(tmp_path, every=2)
    history = model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[monitor]).history
    found = rows_of(tmp_path)
    assert [row["step"] for row in found] == [1, 3, 5]
    names = ("gradient_norm", "weight_norm", "update_norm")
    np.testing.assert_allclose([[row[name] for name in names] for row in found], expected[::2], rtol=1e-3)
    assert all(row[f"{name}/line"] == row[name] for row in found for name in names)
    norms = [norm for norm, *_ in expected]
    np.testing.assert_allclose(history["gradient_norm"], [np.mean(norms)], rtol=1e-5)
    np.testing.assert_allclose(history["largest_gradient_norm"], [np.max(norms)], rtol=1e-5)


def test_the_call_that_finds_the_end_of_the_data_has_no_row(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((X.astype("float32"), Y)).batch(BATCH).filter(lambda *batch: True)
    model.fit(data, verbose=0, callbacks=[training.GradientMonitor(tmp_path, every=1)])
    assert [row["step"] for row in rows_of(tmp_path)] == list(range(1, ROWS // BATCH + 1))


def test_rows_of_an_embedding_are_summed_before_they_are_squared(tmp_path):
    ids = np.array([[1, 1, 2], [1, 3, 3]])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(5, 1, name="table")])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    monitor = training.GradientMonitor(tmp_path)
    table = model.get_weights()[0]
    model.fit(ids, np.ones((2, 3, 1), "float32"), verbose=0, callbacks=[monitor])
    slopes = 2 * np.bincount(ids.ravel(), minlength=5)[:, None] * (table - 1) / 6  # the mean of 6 squares
    assert rows_of(tmp_path)[0]["gradient_norm/table"] == pytest.approx(np.linalg.norm(slopes), rel=1e-5)


def test_an_overflow_that_the_loss_scale_skips_is_no_fault():
    model = build("scaled")
    model.compile(keras.optimizers.LossScaleOptimizer(optimizers.Adam(0.1), initial_scale=2.0**127), "mse")
    monitor = training.GradientMonitor()
    fit(model, Y * 10, callbacks=[monitor], epochs=3)  # the first gradients overflow
    scale, steps = float(model.optimizer.dynamic_scale.numpy()), int(model.optimizer.iterations.numpy())
    assert scale < 2.0**127 and 0 < steps < 3 * ROWS // BATCH and not monitor._watch.failed


def test_a_gradient_that_no_scale_makes_finite_is_a_fault():
    @tf.custom_gradient
    def broken(x):
        return tf.identity(x), lambda slope: slope * np.float32(np.nan)

    class Broken(keras.layers.Layer):
        def call(self, x):
            return broken(x)

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), Broken(name="culprit"), keras.layers.Dense(1)], name="sequential"
    )
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=4.0), "mse")
    with pytest.raises(training.NotFiniteError) as raised:
        model.fit(X, Y, batch_size=4, verbose=0, callbacks=[training.GradientMonitor()])
    origin = raised.value.diagnosis.origin
    assert (origin.place, origin.layer, origin.operation) == ("backward", "sequential/culprit", "Mul")
    assert "in <lambda>" in origin.source and "test_gradient_monitor.py" in origin.source


def test_a_weight_that_no_batch_uses_is_seen_at_the_next_row():
    model = build()
    monitor = training.GradientMonitor(every=2)
    table = model.get_weights()[0]
    table[0] = np.inf  # X has no 0
    model.layers[0].set_weights([table])
    with pytest.raises(training.NotFiniteError, match=r"before step 2: weights .*\n.*/embeddings"):
        fit(model, callbacks=[monitor])


def test_an_update_of_0_by_0_is_found_in_the_weight_that_it_broke(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="first"), keras.layers.Dense(1)], name="sequential"
    )
    model.compile(keras.optimizers.Adam(0.1, epsilon=0.0), "mse")
    x = X.astype("float32")
    x[:, 2] = 0  # the gradient of a row of the kernel is 0
    with pytest.raises(training.NotFiniteError, match="before step 2") as raised:
        model.fit(x, Y, batch_size=BATCH, verbose=0, callbacks=[training.GradientMonitor(tmp_path)])
    origin = raised.value.diagnosis.origin
    assert (origin.place, origin.name, origin.layer) == ("weight", "sequential/first/kernel", "sequential/first")
    assert raised.value.diagnosis.bad_weights == (origin.name,) and "positive `epsilon`" in str(raised.value)


def test_a_second_fit_traces_nothing_again():
    traced = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            traced.append(1)
            return x

    model = keras.Sequential([keras.Input((4,)), Counting(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    monitor = training.GradientMonitor()
    fit(model, callbacks=[monitor])
    before = len(traced)
    fit(model, callbacks=[monitor])
    assert len(traced) == before > 0
    fit(model)  # without the callback Keras's own step is traced
    assert len(traced) > before and not monitor._watch.attached


def test_a_resumed_run_has_each_row_once_and_the_norms_of_the_whole_epoch(tmp_path):
    def train(folder, stop=None):
        monitor = training.GradientMonitor(folder, every=1)
        rest = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)
        from keras_seq import data

        start = data.from_step(0)
        resume = training.Resume(folder, save_every=2, callbacks=[monitor], epoch_aware=[start])

        def interrupt(batch, logs):
            if batch == stop:
                raise KeyboardInterrupt

        callbacks = [monitor, resume, keras.callbacks.LambdaCallback(on_train_batch_begin=interrupt)]
        with contextlib.suppress(KeyboardInterrupt):
            build().fit(rest.apply(start), callbacks=callbacks, verbose=0)
        return training.read_history(folder / "history.csv")

    train(tmp_path / "stopped", stop=5)
    (whole,), (resumed,) = train(tmp_path / "whole"), train(tmp_path / "stopped")
    for name in ("gradient_norm", "largest_gradient_norm"):
        assert resumed[name] == pytest.approx(whole[name], rel=1e-5)
    steps, expected = ([row["step"] for row in rows_of(tmp_path / name)] for name in ("stopped", "whole"))
    assert steps == expected == [1, 2, 3, 4, 5, 6]


def test_tensorboard_gets_the_norms(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(build(), callbacks=[training.GradientMonitor(every=3, tensorboard=tmp_path)])
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert {"gradient_norm", "weight_norm", "update_norm", "gradient_norm/dense"} <= {
        name.rstrip("_0123456789") for name in events.Tags()["tensors"]
    }
    assert [event.step for event in events.Tensors("gradient_norm")] == [1, 4]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`every` must be at least 1. Received: 0"):
        training.GradientMonitor(every=0)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice()).scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="in the scopes of keras_seq only"):
        fit(model, callbacks=[training.GradientMonitor()])


# Without a training: the monitor with stand-ins for its watch and its model.


class Watch:
    """A watch whose steps had these norms. `failed`: the squares of the gradients of the step that failed."""

    attached, batch, steps, loss, weights = True, None, 6, 0.5, ()

    def __init__(self, norms=Norms(0.0, 0.0, 0), **attributes):  # noqa: B008  immutable
        self.collect_norms, self.squares = lambda: norms, attributes.pop("failed_squares", np.zeros(0))
        self.failed = False
        vars(self).update(attributes)

    def gradient_squares(self, failed=False):
        return self.squares if failed else np.ones(len(self.weights))

    def detach(self):
        self.attached = False


def watching(run=None, replicas=1, workers=1, **watch):
    monitor = training.GradientMonitor(run)
    strategy = SimpleNamespace(
        num_replicas_in_sync=replicas, extended=SimpleNamespace(worker_devices=("CPU",) * (replicas // workers))
    )
    monitor.set_model(SimpleNamespace(distribute_strategy=strategy, optimizer=SimpleNamespace(learning_rate=0.1)))
    monitor._watch, monitor._before, monitor._layers = Watch(**watch), None, {"dense": [0]}
    monitor._norm_sum, monitor._norm_max, monitor._norm_steps = 0.0, 0.0, 0
    return monitor


@pytest.mark.parametrize(("watch", "asked"), [(None, 0), (Watch(), 1), (Watch(attached=False), 0)])
def test_only_the_validation_of_a_fit_waits_for_its_steps(monkeypatch, watch, asked):
    monitor, calls = training.GradientMonitor(), []
    monkeypatch.setattr(monitor, "_stop_if_failed", lambda wait: calls.append(wait))
    monitor._watch = watch
    monitor.on_test_begin()
    assert calls == [True] * asked


def test_an_epoch_without_a_step_has_no_norms():
    monitor, logs = watching(), {"loss": 1.0}
    monitor.on_epoch_end(0, logs)
    assert logs == {"loss": 1.0}
    monitor = watching(norms=Norms(9.0, 5.0, 3))
    monitor.on_epoch_end(0)
    assert monitor._norm_steps == 3
    monitor.on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "gradient_norm": 3.0, "largest_gradient_norm": 5.0}


def test_gradients_that_are_finite_when_the_step_is_repeated_are_told(monkeypatch):
    found = training.Diagnosis(None, 0.25)
    monkeypatch.setattr(gradient_monitor, "diagnose", lambda model, batch: found)
    weights = [SimpleNamespace(path=f"dense/{name}", value=np.ones(2, "float32")) for name in ("kernel", "bias")]
    monitor = watching(weights=weights, failed_squares=np.array([np.inf, 1.0]), batch=("x", "y"))
    with pytest.raises(training.NotFiniteError) as raised:
        monitor.on_train_batch_begin(1)
    assert str(raised.value).splitlines() == [
        "Training stopped at step 7: its loss or a gradient is NaN or infinite, so nothing was updated.",
        "The step is finite: the loss is 0.25.",
        "  `fit` had gradients that were not finite: dense/kernel.",
        "  Learning rate 0.1. Loss of the last good step: 0.5.",
        "  Norm of the gradients then: 1. Largest: dense 1.",
        "  Norm of the weights then: 1.414. Largest: dense 1.41.",
        "  The step was not saved, since `GradientMonitor` has no folder: GradientMonitor(run).",
    ]
    assert raised.value.diagnosis is found and not monitor._watch.attached


@pytest.mark.parametrize(
    ("chief", "error", "path", "told"),
    [
        (True, None, "nan-step-7", "  Saved with the weights before the step: keras-seq replay nan-step-7"),
        (False, None, None, "  The chief has saved the step."),
        (True, NotImplementedError("no config"), None, "  The step could not be saved: no config"),
    ],
)
def test_what_is_told_of_a_saved_step(tmp_path, monkeypatch, chief, error, path, told):
    def save_step(folder, model, batch, step, facts, of_chief):
        assert (folder, batch, step, facts, of_chief) == (tmp_path, "batch", 7, {}, chief)
        if error:
            raise error
        return "nan-step-7"

    monkeypatch.setattr(gradient_monitor, "save_step", save_step)
    monitor = watching(training.Run(tmp_path, chief=chief))
    assert monitor._save("batch", 7, {}) == (path, told)


def test_a_step_of_several_replicas_is_diagnosed_from_its_folder(monkeypatch):
    found = training.Diagnosis(None, 0.25)
    steps = {"one": SimpleNamespace(diagnose=lambda: found)}
    monkeypatch.setattr(gradient_monitor, "load_step", lambda path: steps[path])
    told, note = "The step is finite: the loss is 0.25.", "\n  The batch has the rows of this worker only."
    assert watching(replicas=2)._diagnosis("batch", "one") == (found, told)
    assert watching(replicas=4, workers=2)._diagnosis("batch", "one") == (found, told + note)
    alone = "  With several replicas, only a saved step is diagnosed, by the chief."
    assert watching(replicas=2)._diagnosis("batch", None) == (None, alone)
    error = "  The step could not be repeated eagerly: KeyError: 'other'"
    assert watching(replicas=2)._diagnosis("batch", "other") == (None, error)


def test_tensorboard_needs_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"`tensorboard` needs the package: pip install \"keras-seq\[tensorboard\]\""):
        training.GradientMonitor(tensorboard=tmp_path)
