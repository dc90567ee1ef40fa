"""Computes the decoder's initial states from the encoder's final states."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_seq")
class Bridge(keras.layers.Layer):
    """Passes the encoder's final states to the decoder.

    Args:
        kind: "copy" passes them unchanged, "dense" through a tanh layer for each state. "zero" passes zeros.
    Call arguments:
        states: nested list, for each layer a list of states `(B, D)`.
    Returns:
        the states, in the same structure.
    Raises:
        ValueError: if `kind` is not one of these.
    Source: copy: Sutskever et al. 2014; dense: Bahdanau et al. 2015, appendix A.2.2.
    """

    KINDS = ("copy", "dense", "zero")

    def __init__(self, kind="copy", **kwargs):
        super().__init__(**kwargs)
        if kind not in self.KINDS:
            raise ValueError(f"`kind` must be one of {self.KINDS}. Received: {kind!r}")
        self.kind = kind
        self.denses = []

    def build(self, states_shape):
        if self.kind == "dense":
            for layer_shapes in states_shape:
                row = [keras.layers.Dense(s[-1], activation="tanh", dtype=self.dtype_policy) for s in layer_shapes]
                for dense, shape in zip(row, layer_shapes, strict=True):
                    dense.build(shape)
                self.denses.append(row)

    def call(self, states):
        if self.kind == "copy":
            return states
        if self.kind == "zero":
            return [[ops.zeros_like(state) for state in layer] for layer in states]
        return [
            [dense(state) for dense, state in zip(row, layer, strict=True)]
            for row, layer in zip(self.denses, states, strict=True)
        ]

    def compute_output_shape(self, states_shape):
        return states_shape

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}
