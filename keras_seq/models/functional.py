"""A sequential model as a functional one."""

from typing import Any

import keras


def functional(model: Any) -> Any:
    """The model as one with `input` and `output`, which Keras's `Sequential` lacks: a functional model with the same
    layers and weights. Other models are returned as they are, and so is a `Sequential` that is not built yet.
    """
    if not isinstance(model, keras.Sequential) or not hasattr(model, "inputs"):
        return model
    (inputs,), outputs = model.inputs, model.outputs
    return keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name)
