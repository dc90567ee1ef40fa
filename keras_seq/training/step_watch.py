"""Sees the gradients of the step that `fit` runs, and leaves out the update of a step that is not finite.

Nothing is computed twice: the optimizer of the model hands over its gradients while Keras traces the step. Their
squared norms are stored in variables, which the host reads when it needs them. From the first step with a loss or a
gradient that is not finite, no step changes the model, the optimizer or a random state. The batch of that step is kept,
so it can be repeated.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_seq.distribution import keras_patches
from keras_seq.optimizers import with_summed_rows

_LEAST_SCALE = 2.0**-4


class Norms(NamedTuple):
    """The sum and the largest of the global norms of the gradients of some steps, and the number of steps."""

    total: float
    largest: float
    steps: int


class _Tracing(threading.local):
    """Values of the step that a thread traces or runs: its loss, and whether that was noted with its gradients."""

    loss: tf.Tensor | None = None
    noted: bool = False


class StepWatch:
    """Watches the training steps of a compiled and built model, between `attach` and `detach`.

    Args:
        model: compiled model, built.
    Attributes:
        batch: the first batch whose step was not finite, as `fit` got it: `(x, y, sample_weight)` or shorter. None
            before. It is there once that step has run, also while later steps are still in the queue of a device.
    Raises:
        ValueError: if the model was built under a strategy with several replicas that is not of `distribution.scope`.
    """

    def __init__(self, model: keras.Model):
        strategy = model.distribute_strategy
        if strategy.num_replicas_in_sync > 1 and not keras_patches.is_patched(strategy):
            raise ValueError(
                "Gradients of several replicas are watched in the scopes of keras_seq only. Build and compile the "
                f"model in `with keras_seq.distribution.scope(...)`. Received: {strategy}"
            )
        self.model, self.optimizer = model, model.optimizer
        # The optimizer that gets the gradients after the loss scale was taken out of them.
        self._inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        self.weights = list(model.trainable_variables)
        self.batch: Any = None
        self._tracing = _Tracing()
        self._function, self._compiled_loss = None, None
        count = len(self.weights)
        with strategy.scope():
            if not self.optimizer.built:
                self.optimizer.build(model.trainable_variables)
            self._good = self._variable("last_good_squares", (count,))
            self._bad = self._variable("failed_squares", (count,))
            self._sums = self._variable("norms", (3,))  # sum and maximum of the norms, number of steps
            self._loss = self._variable("loss", ())
            self._failed = self._variable("failed", (), tf.bool)
            self._updates = self._variable("updates", (), tf.int64)

    def _variable(self, name: str, shape: tuple[int, ...], dtype: tf.DType = tf.float32) -> tf.Variable:
        aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA
        return tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name, aggregation=aggregation)

    # The functions of Keras

    def attach(self) -> None:
        """Makes `fit` run watched steps. To be called after `fit` has made its train function (`on_train_begin`)."""
        for optimizer, name, hook in self._hooks():
            vars(optimizer)[name] = hook(getattr(type(optimizer), name).__get__(optimizer))
        if self._function is not None and self._compiled_loss is self.model._compile_loss:
            self.model.train_function = self._function  # traced by an earlier `fit`
            return
        model, step = self.model, self.model.train_step
        convert = model._autoconvert_optionals
        vars(model)["train_step"] = functools.wraps(step)(self._watched_step(step))
        # Keras puts this around the compiled step: the place for operations that XLA does not have.
        vars(model)["_autoconvert_optionals"] = lambda function: self._keeping_batch(convert(function))
        try:
            model.make_train_function(force=True)
        finally:
            del vars(model)["train_step"], vars(model)["_autoconvert_optionals"]
        self._function, self._compiled_loss = model.train_function, model._compile_loss

    def detach(self) -> None:
        """Restores the functions of Keras. A later `attach` traces nothing again, unless the model was recompiled."""
        for optimizer, name, _ in self._hooks():
            vars(optimizer).pop(name, None)
        self.model.train_function = None

    def _hooks(self) -> tuple[tuple[keras.optimizers.Optimizer, str, Callable], ...]:
        return (
            (self._inner, "_backend_apply_gradients", self._watched_update),
            (self.optimizer, "scale_loss", self._seen_loss),
        )

    # Within the step of a replica

    def _watched_step(self, step: Callable) -> Callable:
        def train_step(data):
            self._tracing.loss, self._tracing.noted = None, False
            outputs = step(data)
            if self._tracing.loss is not None and not self._tracing.noted:
                failed = ~tf.math.is_finite(_summed([self._tracing.loss])[0])
                if self._inner is not self.optimizer:
                    # The loss scale is halved at each step with an infinite gradient, at last for another reason.
                    failed |= self.optimizer.dynamic_scale < min(1.0, self.optimizer.initial_scale) * _LEAST_SCALE
                self._failed.assign(self._failed | failed)
            return outputs

        return train_step

    def _seen_loss(self, original: Callable) -> Callable:
        def scale_loss(loss):
            self._tracing.loss = tf.cast(tf.convert_to_tensor(loss), tf.float32)
            return original(loss)

        return scale_loss

    def _watched_update(self, original: Callable) -> Callable:
        def _backend_apply_gradients(grads, variables):
            loss = tf.zeros(()) if self._tracing.loss is None else self._tracing.loss
            *grads, loss = _summed([*grads, loss])
            # Rows of an embedding that a batch uses several times are summed before they are squared.
            values = [getattr(grad, "values", grad) for grad in with_summed_rows(grads)]
            good = self._note(values, variables, loss)
            self._tracing.noted = self._inner is self.optimizer
            keras_patches.apply_reduced_if(good, lambda grads: original(grads, variables), grads)

        return _backend_apply_gradients

    def _note(self, grads: list[tf.Tensor], variables: list, loss: tf.Tensor) -> tf.Tensor:
        """Stores the norms of a step. Returns whether it may change the weights."""
        squares = [2 * tf.cast(tf.nn.l2_loss(grad), tf.float32) for grad in grads]
        total = tf.add_n(squares)
        # The squares of finite numbers above 1e19 are infinite.
        finite = tf.math.is_finite(total) | tf.cond(tf.math.is_finite(total), lambda: True, lambda: _all_finite(grads))
        finite &= tf.math.is_finite(loss)
        good, first = finite & ~self._failed, ~finite & ~self._failed
        places = {id(weight): place for place, weight in enumerate(self.weights)}
        by_place = {places[id(weight)]: square for weight, square in zip(variables, squares, strict=True)}
        all_squares = tf.stack([by_place.get(place, tf.zeros(())) for place in range(len(self.weights))])
        norm, (summed, largest, steps) = tf.sqrt(total), tf.unstack(self._sums)
        self._good.assign(tf.where(good, all_squares, self._good))
        self._bad.assign(tf.where(first, all_squares, self._bad))
        self._sums.assign(tf.where(good, tf.stack([summed + norm, tf.maximum(largest, norm), steps + 1]), self._sums))
        self._loss.assign(tf.where(good, loss, self._loss))
        self._updates.assign_add(tf.cast(good, tf.int64))
        self._failed.assign(self._failed | ~finite)
        return good

    # Around the step of all replicas

    def _keeping_batch(self, run: Callable) -> Callable:
        def step(data):
            state = self._state()
            before = [tf.convert_to_tensor(variable) for variable in state]
            outputs = run(data)
            parts, batch = self._parts_of(data)

            def keep():
                for variable, value in zip(state, before, strict=True):
                    variable.assign(value)
                tf.numpy_function(functools.partial(self._keep, batch), parts, Tout=[])

            tf.cond(tf.convert_to_tensor(self._failed), keep, lambda: None)
            return outputs

        return step

    def _state(self) -> list[tf.Variable]:
        """The variables that a step changes besides the update: random states, statistics, the counts of optimizers."""
        optimizers = {id(each): each for each in (self.optimizer, self._inner)}.values()
        counts = [each._iterations for each in optimizers]
        if self._inner is not self.optimizer:
            counts += [self.optimizer.step_counter, self.optimizer.dynamic_scale]
        variables = [*self.model.non_trainable_variables, *counts]
        return list({id(v): getattr(v, "value", v) for v in variables}.values())

    def _parts_of(self, data: Any) -> tuple[list[tf.Tensor], Callable]:
        """The tensors of a batch, those of each replica in turn, and a function from their arrays to the batch."""
        leaves = tf.nest.flatten(data)
        local = [self.model.distribute_strategy.experimental_local_results(leaf) for leaf in leaves]
        replicas = [list(map(_dense, parts)) for parts in zip(*local, strict=True)]
        present = [part is not None for part in replicas[0]]

        def batch(*arrays: np.ndarray) -> Any:
            count = sum(present)
            by_replica = [arrays[start : start + count] for start in range(0, len(arrays), count)]
            joined = iter(
                [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*by_replica, strict=True)]
            )
            return tf.nest.pack_sequence_as(data, [next(joined) if each else None for each in present])

        return [part for parts in replicas for part in parts if part is not None], batch

    def _keep(self, batch: Callable, *arrays: np.ndarray) -> None:
        if self.batch is None:
            self.batch = batch(*map(np.array, arrays))

    # On the host

    def watches(self, model: keras.Model) -> bool:
        """Whether this is the watch of that model, with the same optimizer and trainable weights."""
        same = model is self.model and model.optimizer is self.optimizer
        return same and [*map(id, model.trainable_variables)] == [*map(id, self.weights)] and self.batch is None

    @property
    def attached(self) -> bool:
        return "_backend_apply_gradients" in vars(self._inner)

    @property
    def steps(self) -> int:
        """The number of steps that the optimizer has made."""
        return int(self._inner._iterations.numpy())

    @property
    def updates(self) -> int:
        """The number of updates seen. Keras may count a step more, when it finds the end of the data."""
        return int(self._updates.numpy())

    @property
    def failed(self) -> bool:
        """Whether a step was not finite. Waits for the device."""
        return bool(self._failed.numpy())

    @property
    def loss(self) -> float:
        """The loss of the last good step, as it was minimized: with the penalties of the layers."""
        return float(self._loss.numpy())

    def reset(self) -> None:
        """Starts the sums of norms again."""
        self._sums.assign(tf.zeros_like(self._sums))

    def collect_norms(self) -> Norms:
        """The norms since the last call or `reset`."""
        total, largest, steps = self._sums.numpy().tolist()
        self.reset()
        return Norms(total, largest, int(steps))

    def gradient_squares(self, failed: bool = False) -> np.ndarray:
        """The squared norm of each weight's gradient in the last good step, or in the step that failed."""
        return (self._bad if failed else self._good).numpy()


def _summed(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """The sums over the replicas. Several workers join the tensors of a call, so each dtype has its own."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return tensors
    sums = list(tensors)
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, [tensors[place] for place in places])
        for place, value in zip(places, reduced, strict=True):
            sums[place] = value
    return sums


def _all_finite(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors])


def _dense(leaf: Any) -> tf.Tensor | None:
    if leaf is None or isinstance(leaf, tf.experimental.Optional):
        return None
    if isinstance(leaf, tf.RaggedTensor):
        return leaf.to_tensor()
    return tf.sparse.to_dense(leaf) if isinstance(leaf, tf.SparseTensor) else tf.convert_to_tensor(leaf)
