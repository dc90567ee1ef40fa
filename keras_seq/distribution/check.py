"""Checks on a user's model that training on several devices is equivalent to training on one."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_seq.distribution.sharding import split_rows
from keras_seq.distribution.strategy import scope


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference between one way of training and training on one device.

    Attributes:
        way: name of the way, such as "2 replicas".
        gradient: largest difference of a gradient in the first step, divided by the largest gradient.
        gradient_of: name of the weight with that difference.
        weights: largest difference of a weight after the last step, divided by the largest change of a weight.
        weights_of: name of the weight with that difference.
        loss: difference of the logged loss.
        evaluation: difference of `evaluate` after the last step.
        predictions: largest difference of `predict` after the last step, divided by the largest prediction.
    """

    way: str
    gradient: float
    gradient_of: str
    weights: float
    weights_of: str
    loss: float
    evaluation: float
    predictions: float

    @property
    def largest(self) -> float:
        """The largest difference, or NaN if one is NaN, which exceeds every tolerance."""
        return float(np.max([self.gradient, self.weights, self.loss, self.evaluation, self.predictions]))


@dataclasses.dataclass(frozen=True)
class DistributedReport:
    """The result of `check_distributed`. `str` is a table. `same` is whether all differences are within `tolerance`."""

    steps: int
    tolerance: float
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        return all(difference.largest <= self.tolerance for difference in self.differences)

    def __str__(self) -> str:
        lines = [f"Compared with one device: {self.steps} steps, tolerance {self.tolerance:.0e}"]
        lines.append(f"{'':24}{'gradient':>10}{'weights':>10}{'loss':>10}{'evaluate':>10}{'predict':>10}")
        for found in self.differences:
            numbers = (found.gradient, found.weights, found.loss, found.evaluation, found.predictions)
            lines.append(f"{found.way:24}" + "".join(f"{number:10.1e}" for number in numbers))
            if not found.gradient <= self.tolerance:
                lines.append(f"    The first step differs already, most in the gradient of {found.gradient_of}.")
            elif not found.weights <= self.tolerance:
                lines.append(f"    The first step is the same. Later steps differ, most in {found.weights_of}.")
        return "\n".join([*lines, "The same." if self.same else "NOT the same."])


def check_distributed(
    build_model: Callable[[], keras.Model],
    dataset: tf.data.Dataset,
    *,
    steps: int = 10,
    replicas: int = 2,
    accumulation_steps: int = 2,
    tolerance: float | None = None,
) -> DistributedReport:
    """Trains a model on one device, on several, and with accumulated gradients, and compares the results.

    To test accumulation, each batch is split into `accumulation_steps` parts, one step each, and the model's optimizer
    is replaced by SGD with momentum. Keras's adaptive optimizers (3.15, TensorFlow) square the gradient of each
    occurrence of an embedding row, instead of the row's gradient. No sum of gradients can reproduce that.

    Layers that depend on the whole batch, such as batch normalization, give other results for a part, and the report
    shows that. Random operations differ too: build the model without dropout.

    Args:
        build_model: a function that returns a new, compiled model. It is called within each scope. All models get the
            initial weights of the first one.
        dataset: batches of any shapes, the same in every iteration.
        steps: number of updates.
        replicas: number of devices. Without GPUs the CPU is divided, which must happen before anything else is
            computed: call `distribution.divide_cpu(replicas)` first.
        accumulation_steps: number of parts of each batch, at least 2.
        tolerance: largest relative difference. By default 1e-9 if all weights are float64, else 1e-4.
    Returns:
        A `DistributedReport`. Print it, and assert its `same`.
    Raises:
        ValueError: if the model has dropout, or the dataset is empty.
        RuntimeError: if there are too few devices and the CPU can no longer be divided.
    """
    many = scope("mirrored", replicas=replicas)
    one = scope("one_device")
    batches = dataset.take(steps).cache()
    steps = sum(1 for _ in batches)
    if not steps:
        raise ValueError("`dataset` is empty: there is nothing to train on.")
    divided = batches.flat_map(lambda *batch: split_rows(batch, accumulation_steps))
    exact = _Trained(one, build_model, batches)
    initial = exact.initial
    if tolerance is None:
        tolerance = 1e-9 if all(weight.dtype == np.float64 for weight in initial) else 1e-4
    replicated = _Trained(many, build_model, batches, initial)
    differences = [_difference(f"{replicas} replicas", replicated, exact)]
    whole = _Trained(one, build_model, batches, initial, _momentum)
    accumulated = _Trained(one, build_model, divided, initial, _momentum, accumulation_steps)
    differences += [_difference(f"{accumulation_steps} accumulated parts", accumulated, whole)]
    return DistributedReport(steps, tolerance, tuple(differences))


def _momentum(accumulation_steps: int | None) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=accumulation_steps)


class _Trained:
    """A trained model: initial and final weights, first gradients, logs and predictions."""

    def __init__(self, scope, build_model, batches, initial=None, optimizer=None, accumulation_steps=None):
        with scope:
            model = build_model()
            model.optimizer = model.optimizer if optimizer is None else optimizer(accumulation_steps)
        model.evaluate(batches.take(1), verbose=0)  # builds it
        _refuse_dropout(model)
        self.names = [weight.path for weight in model.trainable_weights]
        self.initial = model.get_weights() if initial is None else initial
        model.set_weights(self.initial)
        before = _values(model)
        (self.loss,) = model.fit(batches, verbose=0, shuffle=False).history["loss"]
        self.weights = _values(model)
        self.evaluation = model.evaluate(batches, verbose=0, return_dict=True)["loss"]
        self.predictions = [model.predict(batch, verbose=0) for batch in _inputs_of(batches, accumulation_steps)]
        self.changed = max(np.abs(w - b).max() for w, b in zip(self.weights, before, strict=True))

        # With plain SGD and a learning rate of 1, the gradient is the change in a step.
        model.set_weights(self.initial)
        with scope:
            model.optimizer = keras.optimizers.SGD(1.0, gradient_accumulation_steps=accumulation_steps)
            model.optimizer.build(model.trainable_variables)
        model.train_function = None
        model.fit(batches.take(accumulation_steps or 1), verbose=0, shuffle=False)
        self.gradients = [b - w for w, b in zip(_values(model), before, strict=True)]


def _inputs_of(batches, accumulation_steps):
    """The inputs of whole batches, so that the predictions of parts can be compared with the whole."""
    inputs = [keras.utils.unpack_x_y_sample_weight(batch)[0] for batch in batches]
    size = accumulation_steps or 1
    groups = [inputs[first : first + size] for first in range(0, len(inputs), size)]
    return [tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *group) for group in groups]


def _values(model) -> list[np.ndarray]:
    return [np.asarray(weight, np.float64) for weight in model.trainable_weights]


def _refuse_dropout(model) -> None:
    names = ("rate", "dropout", "recurrent_dropout")
    random = [
        f"{layer.name} ({name}={getattr(layer, name)})"
        for layer in model._flatten_layers()
        for name in names
        if isinstance(getattr(layer, name, None), float) and getattr(layer, name) > 0
    ]
    if random:
        raise ValueError(
            f"Random operations give different results each time. Build the model without dropout. It has {random[0]}"
            f"{f' and {len(random) - 1} more' if len(random) > 1 else ''}."
        )


def _difference(way: str, trained: _Trained, exact: _Trained) -> Difference:
    def apart(found, expected, scale):
        gaps = [np.abs(f - e).max() if f.size else 0.0 for f, e in zip(found, expected, strict=True)]
        worst = int(np.argmax(gaps))
        return float(gaps[worst] / scale) if scale else float(gaps[worst]), worst

    gradient, gradient_of = apart(trained.gradients, exact.gradients, max(np.abs(g).max() for g in exact.gradients))
    weights, weights_of = apart(trained.weights, exact.weights, exact.changed)
    found, expected = ([np.asarray(x) for x in tf.nest.flatten(p)] for p in (trained.predictions, exact.predictions))
    predictions, _ = apart(found, expected, max(np.abs(p).max() for p in expected))
    return Difference(
        way,
        gradient,
        exact.names[gradient_of],
        weights,
        exact.names[weights_of],
        abs(trained.loss - exact.loss),
        abs(trained.evaluation - exact.evaluation),
        predictions,
    )
