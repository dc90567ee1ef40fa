"""What Keras's `fit` lacks under tf.distribute, for the strategies of our own scopes and no others.

Each override is one function below, with its reason. `tests/distribution/test_keras_patches.py` has for each a test on
plain Keras that fails on the day Keras needs it no more.

The losses. Keras divides by what one replica has, and averages the replicas: a mean of means, which is not what one
device computes. Here each replica's sum is divided by the tokens of all replicas, so that the gradients add up to that
of one device. The tokens that a step was divided by are kept until the step ends, for the two who want them: the
`loss` of the epoch, and gradient accumulation, which for the same reason must weigh each step by its tokens.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import optimizer as keras_optimizer
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.losses import loss as keras_loss
from keras.src.trainers import compile_utils
from keras.src.utils.tracking import no_automatic_dependency_tracking

from keras_seq.distribution.sharding import distributed

NO_FLOAT16 = (
    "float16 scales its loss, and Keras's LossScaleOptimizer lets each replica decide by itself whether a step counts, "
    'so that weights part. Use precision="bfloat16" (policy "mixed_bfloat16"), which needs no scaling, or one device.'
)
_MARK = "_keras_seq_fits"


def patch_keras(strategy: tf.distribute.Strategy) -> None:
    """Lets models that are built under this strategy be fit by it; the overrides come to stand on the first call."""
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
    base.compile = _compile(base.compile)  # a saved model is compiled by this one alone
    keras_trainer.TFEpochIterator.__init__ = _split_batches(keras_trainer.TFEpochIterator.__init__)
    keras_trainer.reduce_per_replica = _reduce_scalars(keras_trainer.reduce_per_replica)
    keras_loss.reduce_weighted_values = _divide_by_all_tokens(keras_loss.reduce_weighted_values)
    compile_utils.CompileLoss.call = _count_tokens(compile_utils.CompileLoss.call)
    optimizer.build = _with_token_count(optimizer.build)
    optimizer._backend_apply_gradients = _apply_reduced(optimizer._backend_apply_gradients)
    optimizer._all_reduce_sum_gradients = _unless_reduced(optimizer._all_reduce_sum_gradients)
    scaled = keras.optimizers.LossScaleOptimizer
    scaled.check_finite = _of_all_values(scaled.check_finite)


def _owner(kind: type, method: str) -> type:
    """The class that a method is from: Keras 3.16 gives its trainers other names."""
    return next(base for base in kind.__mro__ if method in vars(base))


# The batches


def _build_from_spec(original: Callable) -> Callable:
    """Keras builds a model from the mean of the first batch over the replicas, which cannot be taken where they hold
    different shapes, crashes with several workers, and uses up a batch of an epoch. The dataset says its shapes."""

    @functools.wraps(original)
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not is_patched(self._distribute_strategy):
            return original(self, iterator, data_batch)
        if iterator is not None:
            data_batch = keras.tree.map_structure(_first_replica, iterator.data_adapter.get_tf_dataset().element_spec)
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    return _maybe_symbolic_build


def _first_replica(spec):
    return getattr(spec, "_value_specs", [spec])[0]


def _split_batches(original: Callable) -> Callable:
    """TensorFlow may give workers different batches, or one of them more. `split` gives each its rows of the same."""

    @functools.wraps(original)
    def __init__(self, distribute_strategy=None, *args, **kwargs):
        if not is_patched(distribute_strategy):
            return original(self, distribute_strategy, *args, **kwargs)
        super(keras_trainer.TFEpochIterator, self).__init__(*args, **kwargs)
        self._distribute_strategy = distribute_strategy
        self._distributed_dataset = distributed(self.data_adapter.get_tf_dataset(), distribute_strategy)

    return __init__


def _reduce_scalars(original: Callable) -> Callable:
    """With several workers Keras takes the mean of scalar logs over an axis that they lack (keras-team/keras#20585)."""

    @functools.wraps(original)
    def reduce_per_replica(values, strategy, reduction):
        if not is_patched(strategy) or reduction not in ("auto", "mean"):
            return original(values, strategy, reduction)
        return keras.tree.map_structure(lambda v: strategy.reduce(tf.distribute.ReduceOp.MEAN, v, axis=None), values)

    return reduce_per_replica


# The loss


class _Step(threading.local):
    """What a training step hands on within the thread of its replica: the tokens its loss was divided by."""

    divisors: list | None = None
    tokens: tf.Tensor | None = None
    reduced: bool = False


_step = _Step()


def _tokens_of_step() -> tf.Tensor | None:
    """None where the loss was not Keras's to reduce: in a `train_step` that computes its own."""
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
    """Keras divides by the tokens of one replica, and by the number of replicas."""

    def reduce_weighted_values(values, sample_weight=None, mask=None, reduction="sum_over_batch_size", dtype=None):
        context = tf.distribute.get_replica_context()
        if reduction in (None, "none", "sum") or context is None or not is_patched():
            return original(values, sample_weight, mask, reduction, dtype)
        counted = sample_weight if reduction == "mean_with_sample_weight" else None
        # Of no rows Keras gives back none, in place of their sum.
        total = tf.reduce_sum(original(values, sample_weight, mask, "sum", dtype))
        # Without a gradient: a replica that knows its shapes would have none, and the others would wait for its part.
        ones = keras.ops.ones_like(tf.stop_gradient(values))
        tokens = tf.reduce_sum(original(ones, counted, mask, "sum", dtype))
        if context.num_replicas_in_sync > 1:
            tokens = context.all_reduce(tf.distribute.ReduceOp.SUM, tokens)
        if _step.divisors is not None:
            _step.divisors.append(tokens)
        return tf.math.divide_no_nan(total, tokens)

    return reduce_weighted_values


class _LossPerToken(keras.metrics.Mean):
    """Keras weighs the loss of a batch by its rows."""

    def update_state(self, values, sample_weight=None):
        # The values come times the number of replicas, which Keras takes for means of their own.
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
                "The optimizer was made outside the scope that the model was built in: call `compile`, with the "
                f"optimizer made in it, inside `with scope:`. Received: {self.optimizer}"
            )
        if strategy.num_replicas_in_sync > 1 and isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            raise ValueError(NO_FLOAT16)
        if strategy.num_replicas_in_sync > 1:
            _refuse_carried_states(self)
        if getattr(self.optimizer, "gradient_accumulation_steps", None) and self.optimizer.ema_overwrite_frequency:
            raise ValueError(
                "`ema_overwrite_frequency` counts steps, of which accumulation makes several for each update; leave it "
                f"out: `fit` ends with the average anyway. Received: {self.optimizer.ema_overwrite_frequency}, with "
                f"gradient_accumulation_steps={self.optimizer.gradient_accumulation_steps}"
            )
        with strategy.scope():
            self._loss_tracker = _LossPerToken(name="loss")

    return compile


def _refuse_carried_states(model: keras.Model) -> None:
    """The rows of a batch go on in the next one, and each replica has other rows in each."""
    for layer in model._flatten_layers():
        carried = "stateful" if getattr(layer, "stateful", False) else "streams"
        if getattr(layer, carried, None):
            raise ValueError(
                f"{layer.name!r} carries the state of each row to the next batch (`{carried}`); on several replicas "
                "the rows there are others. Train it on one device: scope('one_device')."
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
    _step.reduced = True
    try:
        yield
    finally:
        _step.reduced = False


def _unless_reduced(original: Callable) -> Callable:
    @functools.wraps(original)
    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars if _step.reduced else original(self, grads_and_vars)

    return _all_reduce_sum_gradients


def _apply_reduced(original: Callable) -> Callable:
    """Keras clips the gradients of each replica before it adds them up, averages those of accumulated steps, whatever
    their tokens, and has a condition around the update, which MirroredStrategy does not allow within a replica."""

    @functools.wraps(original)
    def _backend_apply_gradients(self, grads, trainable_variables):
        strategy, context = self._distribution_strategy, tf.distribute.get_replica_context()
        if not is_patched(strategy):
            return original(self, grads, trainable_variables)
        grads = list(grads)
        if context.num_replicas_in_sync > 1:
            grads = context.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        if not self.gradient_accumulation_steps:
            with _already_reduced():
                return original(self, grads, trainable_variables)
        tokens = _tokens_of_step()
        tokens = tf.ones(()) if tokens is None else tokens
        context.merge_call(_accumulate, args=(self, grads, trainable_variables, tokens))

    return _backend_apply_gradients


def _accumulate(strategy, optimizer, grads, variables, tokens) -> None:
    """Adds the gradients up, each times its tokens, and every so many steps updates the variables by their mean."""
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
    """Of the gradients of an embedding, in which a row stands once for each token, Keras looks at the last one of each
    row: an infinite one before it passes for finite, and its update makes the row NaN."""

    @functools.wraps(original)
    def check_finite(self, grads):
        return original(self, [grad.values if isinstance(grad, tf.IndexedSlices) else grad for grad in grads])

    return check_finite
