"""Overrides of Keras's `fit` for tf.distribute, for the strategies of our scopes only.

Each override is one function below, with its reason. `tests/distribution/test_keras_patches.py` has a test on plain
Keras for each, which fails once Keras no longer needs it.

The losses: Keras divides by the number of tokens of one replica, and averages over the replicas. This mean of means
differs from the loss on one device. Here each replica's sum is divided by the tokens of all replicas, so the gradients
add up to those of one device. The token count of a step is kept until the step ends, for the `loss` of the epoch and
for gradient accumulation, which must weight each step by its tokens.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf
from keras.src.backend import compute_output_spec
from keras.src.backend.tensorflow import optimizer as keras_optimizer
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.losses import loss as keras_loss
from keras.src.models.functional import Functional
from keras.src.trainers import compile_utils
from keras.src.utils.tracking import no_automatic_dependency_tracking

from keras_seq.distribution.sharding import distributed

NO_FLOAT16 = (
    "float16 scales its loss, and Keras's LossScaleOptimizer decides on each replica separately whether a step counts, "
    'so the weights diverge. Use precision="bfloat16" (policy "mixed_bfloat16"), which needs no scaling, or one device.'
)
_MARK = "_keras_seq_fits"


def patch_keras(strategy: tf.distribute.Strategy) -> None:
    """Allows models that are built under this strategy to be fit with it. The first call installs the overrides."""
    setattr(strategy, _MARK, True)
    _override()


def is_patched(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether the strategy (the current one by default) belongs to one of our scopes."""
    return hasattr(strategy or tf.distribute.get_strategy(), _MARK)


@functools.cache
def _override() -> None:
    trainer = _owner(keras.Model, "_maybe_symbolic_build")
    base = _owner(keras.Model, "compile")
    optimizer = keras_optimizer.TFOptimizer
    trainer._maybe_symbolic_build = _build_from_spec(trainer._maybe_symbolic_build)
    functions = _owner(keras.Model, "_make_function")
    functions._make_function = _wait_for_batch(functions._make_function)
    base.compile = _compile(base.compile)  # a loaded model is compiled by this one only
    keras_trainer.TFEpochIterator.__init__ = _split_batches(keras_trainer.TFEpochIterator.__init__)
    keras_trainer.reduce_per_replica = _reduce_replicas(keras_trainer.reduce_per_replica)
    keras_loss.reduce_weighted_values = _divide_by_all_tokens(keras_loss.reduce_weighted_values)
    compile_utils.CompileLoss.call = _count_tokens(compile_utils.CompileLoss.call)
    optimizer.build = _with_token_count(optimizer.build)
    optimizer._backend_apply_gradients = _apply_reduced(optimizer._backend_apply_gradients)
    optimizer._all_reduce_sum_gradients = _unless_reduced(optimizer._all_reduce_sum_gradients)
    scaled = keras.optimizers.LossScaleOptimizer
    scaled.check_finite = _of_all_values(scaled.check_finite)


def _owner(kind: type, method: str) -> type:
    """The class that defines a method. Keras 3.16 has other names for its trainers."""
    return next(base for base in kind.__mro__ if method in vars(base))


# The batches


def _build_from_spec(original: Callable) -> Callable:
    """Keras builds a model from the mean of the first batch over the replicas. That is impossible if their shapes
    differ, crashes with several workers, and consumes a batch of the epoch. Here the dataset's shapes are used."""

    @functools.wraps(original)
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not is_patched(self._distribute_strategy):
            return original(self, iterator, data_batch)
        if iterator is not None:
            data_batch = keras.tree.map_structure(_first_replica, iterator.data_adapter.get_tf_dataset().element_spec)
        outputs = _known_outputs(self)
        with self.distribute_strategy.scope():
            if outputs is None:
                self._symbolic_build(data_batch=data_batch)
            else:
                _build_compiled(self, keras.tree.map_structure(_symbolic, data_batch), outputs)

    return _maybe_symbolic_build


def _known_outputs(model: keras.Model):
    """The specs of the outputs of a built model, if no call is needed to find them. None otherwise."""
    if not all(layer.built for layer in model._flatten_layers()):
        return None
    functional = model._functional if isinstance(model, keras.Sequential) else model
    if getattr(type(functional), "call", None) is Functional.call:  # a Sequential may have no graph, hence None
        return functional.output
    return getattr(model, "output_spec", None)


def _symbolic(value):
    return None if value is None else keras.KerasTensor(value.shape, keras.backend.standardize_dtype(value.dtype))


def _build_compiled(model: keras.Model, batch, outputs) -> None:
    """What Keras's `_symbolic_build` does after its call of the model, which takes a tenth of the time of a first step:
    builds the metrics, the loss and the optimizer."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    if model._compile_metrics is not None and not model._compile_metrics.built:
        compute_output_spec(model.compute_metrics, x, y, outputs, sample_weight=weights)
    if model._compile_loss is not None and not model._compile_loss.built:
        compute_output_spec(model._compute_loss, x, y, outputs, sample_weight=weights, training=False)
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    model._post_build()


def _first_replica(spec):
    return getattr(spec, "_value_specs", [spec])[0]


def _split_batches(original: Callable) -> Callable:
    """TensorFlow may give workers different batches, or an unequal number. Here each gets its rows of every batch."""

    @functools.wraps(original)
    def __init__(self, distribute_strategy=None, *args, **kwargs):
        if not is_patched(distribute_strategy):
            return original(self, distribute_strategy, *args, **kwargs)
        super(keras_trainer.TFEpochIterator, self).__init__(*args, **kwargs)
        self._distribute_strategy = distribute_strategy
        self._distributed_dataset = distributed(self.data_adapter.get_tf_dataset(), distribute_strategy)

    return __init__


def _wait_for_batch(original: Callable) -> Callable:
    """If the number of batches is unknown, `fit` calls its step once more, to learn that there is none left. TensorFlow
    then runs the parts of the step that no batch is needed for: the optimizer counts a step, so that gradient
    accumulation ends a batch early from then on, and the random states of dropout change. Here they wait."""

    @functools.wraps(original)
    def _make_function(self, step_function):
        if not is_patched(self._distribute_strategy):
            return original(self, step_function)

        @functools.wraps(step_function)
        def waiting(data):
            with tf.control_dependencies(list(filter(tf.is_tensor, tf.nest.flatten(data, expand_composites=True)))):
                return step_function(data)

        return original(self, waiting)

    return _make_function


def _reduce_replicas(original: Callable) -> Callable:
    """With several workers Keras takes the mean of scalar logs over an axis that they lack (keras-team/keras#20585).
    TensorFlow gathers outputs of few dtypes from workers. Others, such as bfloat16, are cast for it."""

    @functools.wraps(original)
    def reduce_per_replica(values, strategy, reduction):
        if not is_patched(strategy):
            return original(values, strategy, reduction)
        if reduction in ("auto", "mean"):
            mean = functools.partial(strategy.reduce, tf.distribute.ReduceOp.MEAN, axis=None)
            return keras.tree.map_structure(mean, values)
        if reduction == "concat":
            return keras.tree.map_structure(lambda value: _gathered(original, value, strategy), values)
        return original(values, strategy, reduction)

    return reduce_per_replica


# TensorFlow's collectives take float16, float32, float64, int32 and int64.
_GATHERED_AS = {tf.bfloat16: tf.float32, tf.bool: tf.int32, tf.int8: tf.int32, tf.int16: tf.int32, tf.uint8: tf.int32}


def _gathered(original, value, strategy):
    """The outputs of all replicas, joined on axis 0."""
    dtype = strategy.experimental_local_results(value)[0].dtype
    if dtype not in _GATHERED_AS:
        return original(value, strategy, "concat")
    value = strategy.run(tf.cast, (value, _GATHERED_AS[dtype]))
    return tf.cast(original(value, strategy, "concat"), dtype)


# The loss


class _Step(threading.local):
    """Values of a training step, in the thread of its replica: the number of tokens by which its loss was divided."""

    divisors: list | None = None
    tokens: tf.Tensor | None = None
    reduced: bool = False


_step = _Step()


def _tokens_of_step() -> tf.Tensor | None:
    """The tokens of the current step. None if Keras did not reduce the loss, as in a custom `train_step`."""
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    return _step.tokens if getattr(_step.tokens, "graph", None) is graph else None


def _count_tokens(original: Callable) -> Callable:
    @functools.wraps(original)
    def call(self, y_true, y_pred, sample_weight=None):
        if not is_patched():
            return original(self, y_true, y_pred, sample_weight)
        _step.divisors = []
        try:
            loss = original(self, y_true, y_pred, sample_weight)
            _step.tokens = tf.add_n(_step.divisors) if _step.divisors else None
        finally:
            _step.divisors = None
        return loss

    return call


def _divide_by_all_tokens(original: Callable) -> Callable:
    """Keras divides by the tokens of one replica, and by the number of replicas. Here by the tokens of all."""

    def reduce_weighted_values(values, sample_weight=None, mask=None, reduction="sum_over_batch_size", dtype=None):
        context = tf.distribute.get_replica_context()
        if reduction in (None, "none", "sum") or context is None or not is_patched():
            return original(values, sample_weight, mask, reduction, dtype)
        counted = sample_weight if reduction == "mean_with_sample_weight" else None
        # For no rows, Keras returns the empty values instead of their sum.
        total = tf.reduce_sum(original(values, sample_weight, mask, "sum", dtype))
        # Without a gradient: a replica with static shapes would have none, and the others would wait for it.
        ones = keras.ops.ones_like(tf.stop_gradient(values))
        tokens = tf.reduce_sum(original(ones, counted, mask, "sum", dtype))
        if context.num_replicas_in_sync > 1:
            tokens = context.all_reduce(tf.distribute.ReduceOp.SUM, tokens)
        if _step.divisors is not None:
            _step.divisors.append(tokens)
        return tf.math.divide_no_nan(total, tokens)

    return reduce_weighted_values


class _LossPerToken(keras.metrics.Mean):
    """The mean loss per token. Keras weights the loss of a batch by its rows."""

    def update_state(self, values, sample_weight=None):
        # The values are multiplied by the number of replicas, since Keras takes them for a mean on each replica.
        tokens = _tokens_of_step()
        if tokens is not None:
            sample_weight = tokens / tf.distribute.get_strategy().num_replicas_in_sync
        super().update_state(values, sample_weight)


def _compile(original: Callable) -> Callable:
    @functools.wraps(original)
    @no_automatic_dependency_tracking
    def compile(self, *args, **kwargs):
        original(self, *args, **kwargs)
        strategy = self.distribute_strategy
        if not is_patched(strategy):
            return
        of_optimizer = getattr(self.optimizer, "_distribution_strategy", strategy)
        if of_optimizer is not strategy:
            raise ValueError(
                "The optimizer was made outside the scope of the model. Inside `with scope:`, make the optimizer and "
                f"call `compile`. Received: {self.optimizer}"
            )
        if strategy.num_replicas_in_sync > 1 and isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            raise ValueError(NO_FLOAT16)
        if strategy.num_replicas_in_sync > 1:
            _refuse_carried_states(self)
        if getattr(self.optimizer, "gradient_accumulation_steps", None) and self.optimizer.ema_overwrite_frequency:
            raise ValueError(
                "`ema_overwrite_frequency` counts steps, and accumulation takes several steps per update. Leave it "
                f"out: `fit` ends with the average anyway. Received: {self.optimizer.ema_overwrite_frequency}, with "
                f"gradient_accumulation_steps={self.optimizer.gradient_accumulation_steps}"
            )
        with strategy.scope():
            self._loss_tracker = _LossPerToken(name="loss")

    return compile


def _refuse_carried_states(model: keras.Model) -> None:
    """Refuses layers that carry a row's state to the next batch, since a replica has other rows there."""
    for layer in model._flatten_layers():
        carried = "stateful" if getattr(layer, "stateful", False) else "streams"
        if getattr(layer, carried, None):
            raise ValueError(
                f"{layer.name!r} carries the state of each row to the next batch (`{carried}`). With several replicas, "
                "the rows there are different. Train on one device: scope('one_device')."
            )


# The gradients


def _with_token_count(original: Callable) -> Callable:
    @functools.wraps(original)
    def build(self, variables):
        original(self, variables)
        if is_patched(self._distribution_strategy) and self.gradient_accumulation_steps:
            self._accumulated_tokens = self.add_variable(
                (), name="accumulated_tokens", aggregation="only_first_replica"
            )

    return build


@contextlib.contextmanager
def _already_reduced() -> Iterator[None]:
    before, _step.reduced = _step.reduced, True
    try:
        yield
    finally:
        _step.reduced = before


def apply_reduced_if(condition: tf.Tensor, apply: Callable, grads: list[tf.Tensor]) -> None:
    """Calls `apply(grads)` in each replica if the condition holds. To be called in a replica, as part of its step.

    A replica cannot hold a condition around an update, so the condition is one of all replicas.

    Args:
        condition: bool scalar, the same in all replicas.
        apply: the update of an optimizer, `_backend_apply_gradients` of certain variables.
        grads: gradients that are summed over the replicas already.
    """
    tokens = _tokens_of_step()

    def in_replica(grads, *tokens):
        before, _step.tokens = _step.tokens, tf.identity(tokens[0]) if tokens else None  # a tensor of this graph
        try:
            with _already_reduced():
                apply(grads)
        finally:
            _step.tokens = before

    def across(strategy, condition, *args):
        condition = strategy.experimental_local_results(condition)[0]
        tf.cond(condition, lambda: strategy.extended.call_for_each_replica(in_replica, args=args), lambda: None)

    args = (condition, list(grads), *(() if tokens is None else (tokens,)))
    tf.distribute.get_replica_context().merge_call(across, args=args)


def _unless_reduced(original: Callable) -> Callable:
    @functools.wraps(original)
    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars if _step.reduced else original(self, grads_and_vars)

    return _all_reduce_sum_gradients


def _apply_reduced(original: Callable) -> Callable:
    """Keras clips the gradients of each replica before it sums them, averages accumulated steps regardless of their
    tokens, and has a condition around the update, which MirroredStrategy does not allow within a replica."""

    @functools.wraps(original)
    def _backend_apply_gradients(self, grads, trainable_variables):
        strategy, context = self._distribution_strategy, tf.distribute.get_replica_context()
        if not is_patched(strategy):
            return original(self, grads, trainable_variables)
        grads = list(grads)
        if context.num_replicas_in_sync > 1 and not _step.reduced:
            grads = context.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        if not self.gradient_accumulation_steps:
            with _already_reduced():
                return original(self, grads, trainable_variables)
        tokens = _tokens_of_step()
        tokens = tf.ones(()) if tokens is None else tokens
        context.merge_call(_accumulate, args=(self, grads, trainable_variables, tokens))

    return _backend_apply_gradients


def _accumulate(strategy, optimizer, grads, variables, tokens) -> None:
    """Sums the gradients, weighted by tokens, and after the last accumulated step updates variables by their mean."""
    totals = [optimizer._accumulated_gradients[optimizer._get_variable_index(v)].value for v in variables]
    seen = optimizer._accumulated_tokens.value

    def each(variables, function, *args):
        for variable, *own in zip(variables, *args, strict=True):
            strategy.extended.update(variable, function, args=tuple(own), group=False)

    def update():
        with _already_reduced():
            means = optimizer._clip_gradients([tf.math.divide_no_nan(t, tf.cast(seen, t.dtype)) for t in totals])
            optimizer._apply_weight_decay(variables)
            optimizer._backend_update_step(means, variables, optimizer.learning_rate)
            if optimizer.use_ema:  # Keras (3.15) averages at every step, also at those that change nothing
                optimizer._update_model_variables_moving_average(optimizer._trainable_variables)

    def update_everywhere():
        strategy.extended.call_for_each_replica(update)
        each([*totals, seen], lambda variable: variable.assign(tf.zeros_like(variable)))

    weights = [tokens] * len(totals)
    each(totals, lambda total, g, tokens: total.assign_add(g * tf.cast(tokens, total.dtype)), grads, weights)
    each([seen], lambda seen, tokens: seen.assign_add(tf.cast(tokens, seen.dtype)), [tokens])
    full = (optimizer._iterations + 1) % optimizer.gradient_accumulation_steps == 0
    tf.cond(full, update_everywhere, lambda: None)


def _of_all_values(original: Callable) -> Callable:
    """The gradient of an embedding has a row for each token. Of equal rows, Keras checks only the last: an infinite
    one before it passes as finite, and its update makes the row NaN."""

    @functools.wraps(original)
    def check_finite(self, grads):
        return original(self, [grad.values if isinstance(grad, tf.IndexedSlices) else grad for grad in grads])

    return check_finite
