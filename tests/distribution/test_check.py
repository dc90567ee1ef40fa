import types

import keras
import numpy as np
import pytest

from keras_seq.distribution import check, check_distributed
from tests.distribution.bucketed import batches, compiled, small


@pytest.mark.long
def test_a_good_model_is_the_same_everywhere(two_devices):
    report = check_distributed(lambda: compiled(small(), keras.optimizers.SGD(0.1, momentum=0.9)), batches(21), steps=2)
    assert report.same, str(report)
    assert [difference.way for difference in report.differences] == ["2 replicas", "2 accumulated parts"]
    assert str(report).endswith("The same.")


def test_not_a_number_is_never_the_same():
    found = check.Difference("2 replicas", 0.0, "a", float("nan"), "b", 0.0, 0.0, 0.0)
    report = check.DistributedReport(1, 1e-4, (found,))
    assert not report.same
    assert "Later steps differ, most in b" in str(report)


class Batches(list):
    """Stands for a dataset."""

    def take(self, count):
        return Batches(self[:count])

    def cache(self):
        return self

    def flat_map(self, function):
        return Batches(part for batch in self for part in function(*batch))


class Weight(types.SimpleNamespace):
    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.value, dtype)


class Linear:
    """Stands for a compiled model: least squares, whose steps are written out. `fault(step)` is added to gradients."""

    def __init__(self, dtype, fault=lambda step: 0.0):
        values = {"slopes": np.array([3.0, -1.0], dtype), "bias": np.ones(1, dtype)}
        self.weights = [Weight(path=path, value=value) for path, value in values.items()]
        self.trainable_weights, self.trainable_variables, self.fault = self.weights, [], fault
        self.optimizer, self.train_function = keras.optimizers.SGD(0.1), "traced"

    def _flatten_layers(self):
        return [types.SimpleNamespace(name="drops", rate=0.0, dropout=None)]

    def get_weights(self):
        return [weight.value.copy() for weight in self.weights]

    def set_weights(self, values):
        for weight, value in zip(self.weights, values, strict=True):
            weight.value = value.copy()

    def predict(self, x, verbose):
        return np.asarray(x) @ self.weights[0].value + self.weights[1].value

    def evaluate(self, batches, verbose, return_dict=False):
        losses = [np.mean((self.predict(x, 0) - y) ** 2) for x, y in batches]
        return {"loss": np.mean(losses)} if return_dict else np.mean(losses)

    def fit(self, batches, verbose, shuffle):
        parts = self.optimizer.gradient_accumulation_steps or 1
        rate, momentum = float(self.optimizer.learning_rate), self.optimizer.momentum
        losses, sums, speeds = [], [0.0, 0.0], [0.0, 0.0]
        for step, (x, y) in enumerate(batches):
            error = self.predict(x, 0) - y
            losses.append(np.mean(error**2))
            gradients = [2 * x.T @ error / len(x) + self.fault(step), 2 * np.mean(error, keepdims=True)]
            sums = [total + gradient / parts for total, gradient in zip(sums, gradients, strict=True)]
            if (step + 1) % parts == 0:
                speeds = [momentum * speed - rate * total for speed, total in zip(speeds, sums, strict=True)]
                self.set_weights([w.value + speed for w, speed in zip(self.weights, speeds, strict=True)])
                sums = [0.0, 0.0]
        return types.SimpleNamespace(history={"loss": [np.mean(losses)]})


X, Y = np.random.default_rng(0).normal(size=(12, 2)), np.random.default_rng(1).normal(size=12)


@pytest.fixture
def checked(monkeypatch):
    """`checked(dtype, fault)` is the report on `Linear`, in which the fault is on several devices alone."""
    entered = []

    class Scope:
        def __init__(self, name, replicas=None):
            self.name = name

        def __enter__(self):
            entered.append(self.name)

        def __exit__(self, *exception):
            entered.pop()

    def split_rows(batch, count):
        return zip(*(np.split(each, count) for each in batch), strict=True)

    monkeypatch.setattr(check, "scope", Scope)
    monkeypatch.setattr(check, "split_rows", split_rows)

    def run(dtype="float64", fault=lambda step: 0.0, **options):
        batches = Batches((X[i : i + 4].astype(dtype), Y[i : i + 4].astype(dtype)) for i in (0, 4, 8))
        build = lambda: Linear(dtype, *([fault] if entered == ["mirrored"] else []))  # noqa: E731
        return check_distributed(build, batches, **options)

    return run


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 1e-4)])
def test_the_same_steps_are_the_same(checked, dtype, tolerance):
    report = checked(dtype, steps=2)
    assert (report.steps, report.tolerance, report.same) == (2, tolerance, True)
    replicas, parts = report.differences
    assert (replicas.way, parts.way) == ("2 replicas", "2 accumulated parts")
    assert replicas.gradient == replicas.weights == replicas.predictions == replicas.loss == replicas.evaluation == 0.0
    assert max(parts.gradient, parts.weights, parts.predictions, parts.loss, parts.evaluation) < tolerance
    assert str(report).endswith("\nThe same.")


def test_a_gradient_that_differs_is_measured_and_named(checked):
    report = checked(fault=lambda step: np.array([0.0, 7.0]), replicas=3, accumulation_steps=4, tolerance=0.5)
    assert (report.steps, report.tolerance) == (3, 0.5)
    first, parts = report.differences
    assert first.way == "3 replicas" and parts.way == "4 accumulated parts" and not report.same
    assert (first.gradient_of, first.weights_of) == ("slopes", "slopes") and parts.gradient < 1e-12
    error = X[:4] @ [3.0, -1.0] + 1.0 - Y[:4]
    largest = max(np.abs(2 * X[:4].T @ error / 4).max(), abs(2 * error.mean()))
    assert first.gradient == pytest.approx(7 / largest)
    assert "The first step differs already, most in the gradient of slopes." in str(report)
    assert str(report).endswith("\nNOT the same.")


def test_later_steps_that_differ_are_told_from_the_first(checked):
    report = checked(fault=lambda step: 0.5 * step, steps=2)
    assert report.differences[0].gradient == 0.0 and report.differences[0].evaluation > 0.01
    assert "The first step is the same. Later steps differ, most in slopes." in str(report)


@pytest.mark.long
def test_batch_normalization_parts_and_is_named(two_devices):
    def build():
        tokens = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(30, 8, name="tokens")(tokens)
        x = keras.layers.BatchNormalization()(keras.layers.Dense(8)(x))
        model = keras.Model(tokens, keras.layers.Dense(30)(x))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    dataset = batches().map(lambda inputs, labels, weights: (inputs["source"], inputs["source"]))
    report = check_distributed(build, dataset, steps=3)
    assert not report.same
    assert report.differences[0].gradient > 1e-3
    assert "The first step differs already, most in the gradient of" in str(report)


def test_dropout_is_refused(two_devices):
    def build():
        model = keras.Sequential([keras.layers.Embedding(30, 8), keras.layers.Dropout(0.5, name="drops")])
        model.compile("sgd", "mse")
        return model

    dataset = batches().map(lambda inputs, labels, weights: (inputs["source"], labels[..., None]))
    with pytest.raises(ValueError, match=r"drops \(rate=0.5\)"):
        check_distributed(build, dataset)


def test_an_empty_dataset_is_refused(two_devices):
    with pytest.raises(ValueError, match="empty"):
        check_distributed(lambda: compiled(small()), batches().take(0))
