"""Stacks of recurrent layers that take all states and return all states."""

import difflib
import inspect

import keras
from keras import ops

from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.initializers import seeded_copies
from keras_seq.layers.masks import carried_mask, without_padding
from keras_seq.layers.parallel_recurrent import RGLRU, MinGRU, MinLSTM
from keras_seq.layers.recurrent import GRU, LSTM, SimpleRNN

CELLS = {"rnn": SimpleRNN, "gru": GRU, "lstm": LSTM, "mingru": MinGRU, "minlstm": MinLSTM, "rglru": RGLRU}
KERAS_CELLS = {
    cell.__name__: cell for cell in (keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell)
}


@keras.saving.register_keras_serializable("keras_seq")
class RecurrentStack(CompositeLayer):
    """Several recurrent layers on top of each other.

    Args:
        cell: a name of `CELLS`; a Keras cell class, such as `keras.layers.GRUCell`; a custom class, registered with
            Keras, that takes `units` and is a cell (as for `keras.layers.RNN`) or a recurrent layer; or the registered
            name of such a class.
        units: width of the output, D. A bidirectional layer has `units / 2` in each direction.
        num_layers: number of layers.
        dropout: rate of dropout between the layers. The output of the last layer has none.
        recurrent_dropout: rate of dropout on the state, of the same units at all steps (Gal and Ghahramani 2016,
            arXiv:1512.05287).
        bidirectional: whether each layer processes the sequence in both directions.
        residual_from: first layer, counted from 0, whose input is added to its output. None for no layer.
        layer_norm: whether each layer's input is normalized.
        initializer: initializer of all kernels and biases, with different random numbers for each. None keeps the
            defaults (and the LSTM's forget bias of one).
        cell_options: more arguments of the cell, as a dict: `{"reset_after": False}`.
        return_state: whether to return the final states too. `keras.Sequential` and `keras.layers.TimeDistributed`
            require False, since they take layers with one output.
    Call arguments:
        x: float `(B, T, Dx)`.
        initial_state: for each layer a list of `(B, D)`, as returned. None means zeros.
        mask: bool `(B, T)`, padding on the right. Padding does not change the state. Defaults to the Keras mask of x.
    Returns:
        `(x, states)`: float `(B, T, D)`, and the final states of each layer, `[h]` or for an LSTM `[h, c]`, `(B, D)`
        each. The states of two directions are concatenated. With `return_state=False`, x alone.
    Raises:
        ValueError: if a cell is unknown or not registered, `num_layers` is below 1, `units` is odd in a bidirectional
            stack, the cell does not have one of `cell_options` or `recurrent_dropout`, or a layer with a residual
            connection changes the width.
    Example:
        >>> stack = layers.RecurrentStack("gru", units=8, num_layers=2, bidirectional=True)
        >>> outputs, states = stack(np.zeros((4, 10, 3), "float32"))
        >>> tuple(outputs.shape), len(states)
        ((4, 10, 8), 2)
    """

    def __init__(
        self,
        cell,
        units,
        num_layers=1,
        dropout=0.0,
        recurrent_dropout=0.0,
        bidirectional=False,
        residual_from=None,
        layer_norm=False,
        initializer=None,
        cell_options=None,
        return_state=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"`num_layers` must be at least 1. Received: {num_layers}")
        if bidirectional and units % 2:
            raise ValueError(f"`units` must be even if `bidirectional=True`. Received: {units}")
        self.supports_masking = True
        self.cell = cell_name(cell)
        self.units = units
        self.num_layers = num_layers
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.bidirectional = bidirectional
        self.residual_from = residual_from
        self.layer_norm = layer_norm
        self.initializer = initializer
        self.cell_options = dict(cell_options or {})
        self.return_state = return_state
        _check_options(self.cell_options)
        initializers = seeded_copies(initializer)
        self.forward_layers = [self._layer(f"forward_{i}", initializers) for i in range(num_layers)]
        self.backward_layers = [
            self._layer(f"backward_{i}", initializers, go_backwards=True)
            for i in range(num_layers if bidirectional else 0)
        ]
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-5, name=f"norm_{i}", dtype=self.dtype_policy)
            for i in range(num_layers if layer_norm else 0)
        ]
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def _layer(self, name, initializers, go_backwards=False):
        make = CELLS.get(self.cell) or registered_class(self.cell)
        takes = inspect.signature(make.__init__).parameters
        options = {"dtype": self.dtype_policy, **self.cell_options}
        if self.recurrent_dropout:
            if "recurrent_dropout" not in takes:
                raise ValueError(
                    f"`recurrent_dropout` needs a cell that supports it. {self.cell!r} does not. "
                    f"Received: {self.recurrent_dropout}"
                )
            options["recurrent_dropout"] = self.recurrent_dropout
        if self.initializer is not None:
            for argument in ("kernel_initializer", "recurrent_initializer", "bias_initializer"):
                if argument in takes:
                    options[argument] = next(initializers)
            if "unit_forget_bias" in takes:
                options["unit_forget_bias"] = False
        units = self.units // 2 if self.bidirectional else self.units
        loop = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards, "name": name}
        if "return_sequences" in takes:
            return make(units, **options, **loop)
        loop = keras.layers.RNN(make(units, **options), dtype=self.dtype_policy, **loop)
        loop.supports_masking = True  # it does support masking, but Keras 3.16 would warn
        return loop

    def get_initial_state(self, batch_size, max_length=None):
        """The state before the first step, in the structure of `call`. Its size does not depend on the length."""
        states = []
        for i in range(self.num_layers):
            directions = [each[i].get_initial_state(batch_size) for each in self._directions()]
            states.append([_joined(halves) for halves in zip(*directions, strict=True)])
        return states

    def _directions(self):
        return [self.forward_layers, self.backward_layers] if self.bidirectional else [self.forward_layers]

    def call(self, x, initial_state=None, mask=None, training=False):
        mask, states = carried_mask(x, mask), []
        if self.layer_norm or self.cell not in CELLS:  # our layers do this themselves
            x = without_padding(x, mask)
        for i in range(self.num_layers):
            below = x
            if i:
                x = self.dropout_layer(x, training=training)
            if self.layer_norm:
                x = self.norms[i](x)
            x, state = self._run_layer(i, x, None if initial_state is None else initial_state[i], mask, training)
            if self.residual_from is not None and i >= self.residual_from:
                if below.shape[-1] != x.shape[-1]:
                    raise ValueError(
                        f"`residual_from`={self.residual_from} needs layer {i}'s input to be as wide as its output, "
                        f"{x.shape[-1]}. Received: {below.shape[-1]}"
                    )
                x = x + below
            states.append(state)
        return (x, states) if self.return_state else x

    def compute_output_shape(self, x_shape, initial_state_shape=None):
        states = []
        for layer in self.forward_layers:
            x_shape, *state = layer.compute_output_shape(x_shape)
            joined = [(*s[:-1], s[-1] * len(self._directions())) for s in (x_shape, *state)]
            x_shape, states = joined[0], [*states, joined[1:]]
        return (x_shape, states) if self.return_state else x_shape

    def _run_layer(self, i, x, state, mask, training):
        if not self.bidirectional:
            return _run(self.forward_layers[i], x, state, mask, training)
        halves = (None, None)
        if state is not None:
            halves = zip(*(ops.split(s, 2, axis=-1) for s in state), strict=True)
        forward, backward = (list(half) if half is not None else None for half in halves)
        ahead, ahead_state = _run(self.forward_layers[i], x, forward, mask, training)
        back, back_state = _run(self.backward_layers[i], x, backward, mask, training)
        x = _joined([ahead, ops.flip(back, axis=1)])  # (B, T, D)
        return x, [_joined(pair) for pair in zip(ahead_state, back_state, strict=True)]

    def get_config(self):
        return {
            **super().get_config(),
            "cell": self.cell,
            "units": self.units,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "bidirectional": self.bidirectional,
            "residual_from": self.residual_from,
            "layer_norm": self.layer_norm,
            "initializer": keras.initializers.serialize(keras.initializers.get(self.initializer)),
            "cell_options": self.cell_options,
            "return_state": self.return_state,
        }


def _check_options(options):
    """Raises a `ValueError` for options that belong to the stack, not to the cell."""
    own = {"return_sequences", "return_state", "go_backwards", "stateful", "name"} & set(options)
    if own:
        raise ValueError(
            "`cell_options` are the arguments of the cell. A stack returns all steps and states, and takes states as "
            f"`initial_state`, so `cell_options` must not have {sorted(own)}. Received: {options}"
        )


def cell_name(cell):
    """The name of a cell: one of `CELLS`, of `KERAS_CELLS`, or the name under which a custom class is registered.

    Raises:
        ValueError: if a name is unknown, a class is not registered, or a cell is an instance instead of a class.
    """
    if isinstance(cell, keras.layers.Layer):
        name = type(cell).__name__
        raise ValueError(
            f"`cell` must be a name or a class, which is called with `units` for each layer: `cell={name}, units=...`, "
            f"and `cell_options={{...}}` for its other arguments. Received an instance: {cell!r}"
        )
    name = cell if isinstance(cell, str) else keras.saving.get_registered_name(cell)
    if name in CELLS or registered_class(name) is not None:
        return name
    raise ValueError(
        f"`cell` must be one of {sorted(CELLS)}, or a registered class: decorate it with "
        f"`@keras.saving.register_keras_serializable()`. Received: {cell!r}{suggestion(name, CELLS)}"
    )


def suggestion(name, names):
    """The end of an error message: the name that was probably meant, if one is similar."""
    similar = difflib.get_close_matches(name.lower(), names, n=1)
    return f". Did you mean {similar[0]!r}?" if similar else ""


def registered_class(name):
    """The class that is registered with Keras under `name`, or one of `KERAS_CELLS`, or None.

    The global registry comes first: within `load_model` Keras's scope still has the placeholders of our classes.
    """
    registered = keras.saving.get_custom_objects().get(name) or keras.saving.get_registered_object(name)
    return registered or KERAS_CELLS.get(name)


def _joined(parts):
    """Concatenates the directions. A single one is returned unchanged."""
    return parts[0] if len(parts) == 1 else ops.concatenate(list(parts), axis=-1)


def _run(layer, x, state, mask, training):
    """Runs one recurrent layer: `(x, final states)`."""
    one_step = x.shape[1] == 1 and mask is None and state is not None and not training
    if one_step and layer.built and hasattr(layer, "cell"):
        # When decoding, the layer's cell alone, without a loop around a single iteration.
        x, state = layer.cell(x[:, 0], list(state))
        return x[:, None], keras.tree.flatten(state)
    x, *state = layer(x, initial_state=state, mask=mask, training=training)
    return x, state
