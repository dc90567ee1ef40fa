"""What rules out a fast kernel for a layer: an option, its value, and the value that would not."""

import importlib
from typing import Any, NamedTuple

import keras


class Obstacle(NamedTuple):
    """An option that rules out a fast kernel.

    Attributes:
        option, value: the option and its value.
        remedy: a value, or several, with which the kernel would run.
    """

    option: str
    value: Any
    remedy: Any

    def __str__(self):
        return f"{self.option}={self.value}"


def found_obstacles(rules) -> list[Obstacle]:
    """The rules that are broken. A rule is an option, its value, and the value that it must have."""
    return [Obstacle(name, value, wanted) for name, value, wanted in rules if value != wanted]


def activation_name(activation):
    """The name of an activation. Any function that is not Keras's has its module too."""
    name = getattr(activation, "__name__", type(activation).__name__)
    if getattr(keras.activations, name, None) is activation:
        return name
    return f"{getattr(activation, '__module__', '')}.{name}".lstrip(".")


def cudnn_obstacles(layer) -> list[Obstacle]:
    """The options of an LSTM or GRU with which Keras (3.15) does not use cuDNN on a GPU of TensorFlow.

    The rule is Keras's own function. An option is an obstacle if that function refuses it beside the best values of
    all others.
    """
    if keras.backend.backend() != "tensorflow":
        return [Obstacle("backend", keras.backend.backend(), "tensorflow")]
    keras_rnn = _keras_rules()
    cell, good = layer.cell, {"unroll": False, "use_bias": True}
    good |= {"activation": keras.activations.tanh, "recurrent_activation": keras.activations.sigmoid}
    values = {"unroll": layer.unroll, **{name: getattr(cell, name) for name in good if name != "unroll"}}
    supported = keras_rnn._do_lstm_arguments_support_cudnn
    if isinstance(layer, keras.layers.GRU):
        supported = keras_rnn._do_gru_arguments_support_cudnn
        good, values = {**good, "reset_after": True}, {**values, "reset_after": cell.reset_after}
    # `inner_loop` of the layer looks at these two before it asks the function.
    found = found_obstacles([("recurrent_dropout", cell.recurrent_dropout or 0, 0)])
    if layer.use_cudnn is False:
        found.append(Obstacle("use_cudnn", False, "auto"))
    for name, value in values.items():
        if not supported(**{**good, name: value}):
            found.append(Obstacle(name, _shown(value), _shown(good[name])))
    return found


def _keras_rules():
    """Keras's module of the rules. An import statement would find the function of the same name."""
    return importlib.import_module("keras.src.backend.tensorflow.rnn")


def _shown(value):
    return activation_name(value) if callable(value) else value


def cudnn_mask_error(mask) -> str:
    """Why cuDNN raises an error for a mask, bool `(B, T)`, by Keras's functions. Empty if it does not."""
    keras_rnn = _keras_rules()
    if keras_rnn._has_fully_masked_sequence(mask):
        return "the mask has a row without a real step"
    return "" if keras_rnn._is_sequence_right_padded(mask) else "the mask is not right-padded"
