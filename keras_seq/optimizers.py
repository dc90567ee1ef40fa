"""Optimizers of Keras with quicker updates and exact clipping on TensorFlow."""

from collections.abc import Iterable
from typing import Any

import keras

__all__ = ["Adam", "AdamW", "SGD"]


class _OneKernel:
    """The Adam of Keras with TensorFlow's fused kernel for the arithmetic of a weight.

    Keras builds the update of each weight from some forty operations, among them the bias correction and the schedule
    of the learning rate: two fifths of the tracing time of a training step. Here a weight takes one operation, and the
    bias correction is computed once a step. The results equal those of Keras up to rounding.
    """

    def one_kernel_obstacles(self) -> list[tuple]:
        """The reasons why the update is that of Keras: the option, its value, and the one with which it is not."""
        rules = [
            ("backend", keras.backend.backend(), "tensorflow"),
            ("amsgrad", bool(self.amsgrad), False),
        ]
        return [rule for rule in rules if rule[1] != rule[2]]

    def apply(self, grads, trainable_variables=None):
        if _on_tensorflow():
            import tensorflow as tf

            # Rows of an embedding that a batch uses several times are summed before anything is squared.
            grads = [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in grads]
        super().apply(grads, trainable_variables)

    def _apply_weight_decay(self, variables):
        if self.weight_decay is None or not _on_tensorflow():
            super()._apply_weight_decay(variables)
            return
        import tensorflow as tf

        def decay(strategy, share):
            for variable in variables:
                if self._use_weight_decay(variable):
                    strategy.extended.update(_value(variable), _shrink, args=(share,), group=False)

        merge = tf.__internal__.distribute.interim.maybe_merge_call
        merge(decay, self._distribution_strategy, self.weight_decay * self.learning_rate)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if not self.one_kernel_obstacles():
            step = keras.ops.cast(self.iterations + 1, "float64")
            # Values common to all weights, passed to `update_step` in the one argument that Keras forwards.
            learning_rate = (learning_rate, self.beta_1**step, self.beta_2**step)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient, variable, learning_rate):
        if not isinstance(learning_rate, tuple):
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        rate, power_1, power_2 = (tf.cast(x, variable.dtype) for x in learning_rate)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=power_1,
            beta2_power=power_2,
            lr=rate,
            beta1=tf.constant(self.beta_1, variable.dtype),
            beta2=tf.constant(self.beta_2, variable.dtype),
            epsilon=tf.constant(self.epsilon, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
        )


@keras.saving.register_keras_serializable("keras_seq")
class Adam(_OneKernel, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with one operation per weight: a shorter trace, the same numbers.

    On TensorFlow an embedding's gradients are summed by row before they are clipped and squared, where Keras handles
    each occurrence of a row separately. With `amsgrad`, and on other backends, the update is that of Keras.

    Args:
        args, kwargs: arguments of `keras.optimizers.Adam`.
    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model.compile(optimizers.Adam(1e-3, global_clipnorm=1.0), "mse")
    Source: Kingma and Ba 2015, arXiv:1412.6980.
    """


@keras.saving.register_keras_serializable("keras_seq")
class AdamW(_OneKernel, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with one operation per weight, and one for its decay, otherwise like `Adam`.

    Args:
        args, kwargs: arguments of `keras.optimizers.AdamW`.
    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """


@keras.saving.register_keras_serializable("keras_seq")
class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` whose updates of an embedding change only the rows of the batch, also when clipped.

    On TensorFlow the gradient of an embedding has a row for each token of a batch. Here equal rows are summed before
    the norm is computed, where Keras counts each occurrence separately. With `global_clipnorm`, without momentum and
    without weight decay, no tensor of the size of the embedding is made. On other backends the update is that of Keras.

    Args:
        args, kwargs: arguments of `keras.optimizers.SGD`.
    Source: clipping by the global norm: Pascanu et al. 2013, section 3.2, arXiv:1211.5063.
    """

    def _clip_gradients(self, grads):
        if not _on_tensorflow():
            return super()._clip_gradients(grads)
        grads = with_summed_rows(grads)
        if not self.global_clipnorm or self.clipnorm:
            return super()._clip_gradients(grads)
        import tensorflow as tf

        return tf.clip_by_global_norm(grads, self.global_clipnorm)[0]


def with_summed_rows(gradients: Iterable[Any]) -> list[Any]:
    """The gradients, of TensorFlow, with each row of an embedding once: those of equal indices are summed."""
    import tensorflow as tf

    def summed(slices):
        indices, places = tf.unique(slices.indices)
        values = tf.math.unsorted_segment_sum(slices.values, places, tf.shape(indices)[0])
        return tf.IndexedSlices(values, indices, slices.dense_shape)

    return [summed(each) if isinstance(each, tf.IndexedSlices) else each for each in gradients]


def _on_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


def _value(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable


def _shrink(variable, share):
    variable.assign_sub(variable * keras.ops.cast(share, variable.dtype))
