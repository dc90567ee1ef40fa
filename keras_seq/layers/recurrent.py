"""Keras's SimpleRNN, GRU and LSTM, with a faster loop on a CPU."""

import math

import keras
from keras import ops

from keras_seq import products
from keras_seq.layers.kernels import Obstacle, activation_name, found_obstacles
from keras_seq.layers.masks import carried_mask, without_padding

if keras.backend.backend() == "tensorflow":
    from keras_seq.layers import recurrent_tensorflow


class _FastLoop:
    """Base of the three layers, which chooses the loop over the time steps.

    Keras's loop runs on other backends than TensorFlow, on a GPU (with cuDNN), and for options that the fast loop does
    not support: see `fast_loop_obstacles`.

    The layers also keep the mask. Keras's layers lose the mask of the sequences when called with an `initial_state`,
    and those of Keras 3.16 pass no mask to the layers after them.
    """

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape)
        self.supports_masking = True

    def call(self, sequences, initial_state=None, mask=None, training=False):
        mask = carried_mask(sequences, mask)
        sequences = without_padding(sequences, _flat_mask(mask))
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        step = self._fast_step()
        if step is None:
            return super().inner_loop(sequences, initial_state, mask=mask, training=training)
        cell = self.cell
        sequences, states = ops.cast(sequences, cell.compute_dtype), keras.tree.flatten(initial_state)
        if training and cell.dropout:
            sequences = sequences * cell.get_dropout_mask(sequences[:, 0, :])[:, None, :]
        state_dropout = cell.get_recurrent_dropout_mask(states[0]) if training and cell.recurrent_dropout else []
        outputs, states = recurrent_tensorflow.loop(
            step,
            sequences,
            states,
            cell.kernel,
            cell.recurrent_kernel,
            *self._biases(),
            mask=_flat_mask(mask),
            go_backwards=self.go_backwards,
            keep=bool(training) or recurrent_tensorflow.is_recorded(),
            bfloat16=products.in_bfloat16(training, sequences.dtype, math.prod(cell.recurrent_kernel.shape)),
            state_dropout=keras.tree.flatten(state_dropout),  # of a SimpleRNN one, else one for each gate
        )
        return outputs[:, -1], outputs, states

    def _fast_step(self):
        """The step for the fast loop, or None if Keras's loop must run."""
        return None if self.fast_loop_obstacles() else self._step()

    def fast_loop_obstacles(self) -> list[Obstacle]:
        """The reasons why Keras's loop runs instead of the fast one. Empty if the fast one runs."""
        if keras.backend.backend() != "tensorflow":
            return [Obstacle("backend", keras.backend.backend(), "tensorflow")]
        cell = self.cell
        # Keras sets implementation=1 for recurrent dropout. Then a dropout of the inputs has a mask for each gate too.
        implementation = 2 if cell.recurrent_dropout else getattr(cell, "implementation", 2)
        both = cell.recurrent_dropout and getattr(cell, "dropout_mask_count", None)
        rules = [
            ("unroll", bool(self.unroll), False),
            ("dropout", (cell.dropout or 0) if both else 0, 0),
            ("zero_output_for_mask", bool(self.zero_output_for_mask), False),
            ("implementation", implementation, 2),
            ("use_cudnn", getattr(self, "use_cudnn", "auto") or "auto", "auto"),
            *self._cell_rules(),
            ("device", "CPU" if recurrent_tensorflow.available() else "GPU", "CPU"),
        ]
        return found_obstacles(rules)

    def _cell_rules(self):
        """Options of the cell that the fast loop depends on: `(name, value, required value)` of each."""
        activations = {"activation": "tanh", "recurrent_activation": "sigmoid"}
        return [(name, activation_name(getattr(self.cell, name)), wanted) for name, wanted in activations.items()]

    def _biases(self):
        return self.cell.bias, None


def _flat_mask(mask):
    """The mask as bool `(B, T)`, or None, from any form that Keras takes: numbers, a list of one, a last axis of 1."""
    masks = [] if mask is None else keras.tree.flatten(mask)
    if not masks:
        return None
    mask = ops.cast(masks[0], "bool")
    return mask[..., 0] if len(mask.shape) == 3 else mask


@keras.saving.register_keras_serializable("keras_seq")
class SimpleRNN(_FastLoop, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` with a faster loop on a CPU: the same arguments, weights and numbers.

    Fast for the activations tanh, relu, sigmoid and linear. Second-order gradients are not supported.

    Example:
        >>> tuple(layers.SimpleRNN(8, return_sequences=True)(np.zeros((4, 10, 3), "float32")).shape)
        (4, 10, 8)
    """

    def _step(self):
        return recurrent_tensorflow.SimpleRNNStep(self.cell.activation.__name__)

    def _cell_rules(self):
        name, known = activation_name(self.cell.activation), recurrent_tensorflow.SimpleRNNStep.ACTIVATIONS
        return [("activation", name, name if name in known else " or ".join(known))]


@keras.saving.register_keras_serializable("keras_seq")
class GRU(_FastLoop, keras.layers.GRU):
    """`keras.layers.GRU` with a faster loop on a CPU: the same arguments, weights and numbers.

    Fast for the usual activations and `reset_after=True`. Second-order gradients are not supported.

    Example:
        >>> tuple(layers.GRU(8, return_sequences=True)(np.zeros((4, 10, 3), "float32")).shape)
        (4, 10, 8)
    """

    def _step(self):
        return recurrent_tensorflow.GRUStep()

    def _cell_rules(self):
        return [*super()._cell_rules(), ("reset_after", bool(self.cell.reset_after), True)]

    def _biases(self):
        return ops.unstack(self.cell.bias) if self.cell.use_bias else (None, None)


@keras.saving.register_keras_serializable("keras_seq")
class LSTM(_FastLoop, keras.layers.LSTM):
    """`keras.layers.LSTM` with a faster loop on a CPU: the same arguments, weights and numbers.

    Fast for the usual activations. Second-order gradients are not supported.

    Example:
        >>> tuple(layers.LSTM(8, return_sequences=True)(np.zeros((4, 10, 3), "float32")).shape)
        (4, 10, 8)
    """

    def _step(self):
        return recurrent_tensorflow.LSTMStep()


def with_fast_recurrent_layers(model):
    """Copies a Keras model with our SimpleRNN, GRU and LSTM in place of Keras's, at any depth.

    `custom_objects` cannot do this, since Keras resolves the names of its own layers first.

    Args:
        model: a model that can be made from its configuration. It stays compiled.
    Returns:
        a new model with the same weights.
    Raises:
        ValueError: if the model has a `Lambda` of Python code, which Keras cannot make from a configuration.
    """
    ours = {layer.__name__: layer for layer in (SimpleRNN, GRU, LSTM)}

    def replaced(config):
        if isinstance(config, (list, tuple)):
            return type(config)(replaced(each) for each in config)
        if not isinstance(config, dict):
            return config
        config = {name: replaced(value) for name, value in config.items()}
        if config.get("module") == "keras.layers" and config.get("class_name") in ours:
            name = config["class_name"]
            config |= {"module": ours[name].__module__, "registered_name": f"keras_seq>{name}"}
        return config

    try:
        copy = keras.saving.deserialize_keras_object(replaced(keras.saving.serialize_keras_object(model)))
    except ValueError as error:
        if "Lambda" not in str(error):
            raise
        raise ValueError(
            "`with_fast_recurrent_layers` copies the model by its configuration, but Keras cannot make a `Lambda` of "
            "Python code from one. Write a layer instead, or register the function: "
            "@keras.saving.register_keras_serializable()."
        ) from error
    copy.set_weights(model.get_weights())
    return copy
