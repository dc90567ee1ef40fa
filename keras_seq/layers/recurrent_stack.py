"""Stacks of recurrent layers, with every state in and every state out."""

import keras
from keras import ops

from keras_seq.layers.recurrent import GRU, LSTM, SimpleRNN

CELLS = {"rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}


@keras.saving.register_keras_serializable("keras_seq")
class RecurrentStack(keras.layers.Layer):
    """Several recurrent layers, one above the other.

    Args:
        cell: "rnn", "gru" or "lstm".
        units: width of the output, D. A bidirectional layer has `units / 2` in each direction.
        num_layers: how many.
        dropout: rate between the layers; the output of the last one is left whole.
        bidirectional: whether each layer reads the sequence both ways.
        initializer: of all kernels and biases; None leaves Keras's defaults (and the LSTM's forget bias of one).
    Call arguments:
        x: float `(B, T, Dx)`.
        initial_state: per layer a list of `(B, D)`, as returned; None means zeros.
        mask: bool `(B, T)`, padding on the right; steps of padding leave the state alone.
    Returns:
        `(x, states)`: float `(B, T, D)`, and per layer its final states, `[h]` or for an LSTM `[h, c]`, `(B, D)` each;
        those of the two directions joined on the last axis.
    Raises:
        ValueError: for a cell that is not known, and for odd `units` where the stack is bidirectional.
    """

    def __init__(self, cell, units, num_layers=1, dropout=0.0, bidirectional=False, initializer=None, **kwargs):
        super().__init__(**kwargs)
        if cell not in CELLS:
            raise ValueError(f"`cell` must be one of {sorted(CELLS)}. Received: {cell!r}")
        if num_layers < 1:
            raise ValueError(f"`num_layers` must be at least 1. Received: {num_layers}")
        if bidirectional and units % 2:
            raise ValueError(f"`units` must be even where `bidirectional=True`. Received: {units}")
        self.supports_masking = True
        self.cell = cell
        self.units = units
        self.num_layers = num_layers
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.initializer = initializer
        self.num_states = 2 if cell == "lstm" else 1
        self.forward_layers = [self._layer(f"forward_{i}") for i in range(num_layers)]
        self.backward_layers = (
            [self._layer(f"backward_{i}", go_backwards=True) for i in range(num_layers)] if bidirectional else []
        )
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def _layer(self, name, go_backwards=False):
        options = {}
        if self.initializer is not None:
            for part in ("kernel", "recurrent", "bias"):
                options[f"{part}_initializer"] = keras.initializers.get(self.initializer)
            if self.cell == "lstm":
                options["unit_forget_bias"] = False
        return CELLS[self.cell](
            self.units // 2 if self.bidirectional else self.units,
            return_sequences=True,
            return_state=True,
            go_backwards=go_backwards,
            name=name,
            dtype=self.dtype_policy,
            **options,
        )

    def zero_state(self, batch_size):
        """The state before the first step, in the nest that `call` takes and returns."""
        zeros = ops.zeros((batch_size, self.units), self.compute_dtype)
        return [[zeros] * self.num_states for _ in range(self.num_layers)]

    def call(self, x, initial_state=None, mask=None, training=False):
        states = []
        for i in range(self.num_layers):
            if i:
                x = self.dropout_layer(x, training=training)
            x, state = self._run_layer(i, x, None if initial_state is None else initial_state[i], mask, training)
            states.append(state)
        return x, states

    def _run_layer(self, i, x, state, mask, training):
        if not self.bidirectional:
            return _run(self.forward_layers[i], x, state, mask, training)
        halves = (None, None)
        if state is not None:
            halves = zip(*(ops.split(s, 2, axis=-1) for s in state), strict=True)
        forward, backward = (list(half) if half is not None else None for half in halves)
        ahead, ahead_state = _run(self.forward_layers[i], x, forward, mask, training)
        back, back_state = _run(self.backward_layers[i], x, backward, mask, training)
        x = ops.concatenate([ahead, ops.flip(back, axis=1)], axis=-1)  # (B, T, D)
        return x, [ops.concatenate(pair, axis=-1) for pair in zip(ahead_state, back_state, strict=True)]

    def get_config(self):
        return {
            **super().get_config(),
            "cell": self.cell,
            "units": self.units,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            "initializer": keras.initializers.serialize(keras.initializers.get(self.initializer))
            if self.initializer is not None
            else None,
        }


def _run(layer, x, state, mask, training):
    """Runs one Keras recurrent layer: `(x, final states)`."""
    if x.shape[1] == 1 and mask is None and state is not None and layer.built:
        # One step while decoding: the layer's cell itself, without a loop around a single iteration.
        x, state = layer.cell(x[:, 0], state, training=training)
        return x[:, None], list(state)
    x, *state = layer(x, initial_state=state, mask=mask, training=training)
    return x, state
