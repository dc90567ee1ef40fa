"""Stacks of Transformer layers that take all caches and return all caches: the counterpart of `RecurrentStack`."""

import keras
from keras import ops

from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.masks import carried_mask, without_padding
from keras_seq.layers.multi_head_attention import create_cache, within_room
from keras_seq.layers.positions import LearnedPositions, check_positions, positions_from, sinusoidal_positions
from keras_seq.layers.transformer import TransformerDecoderLayer, TransformerEncoderLayer, normalization_layer


@keras.saving.register_keras_serializable("keras_seq")
class TransformerStack(CompositeLayer):
    """Several Transformer layers without cross-attention on top of each other.

    Args:
        units: width, D.
        num_heads: number of attention heads, H (divides `units`).
        num_layers: number of layers.
        intermediate_dim: width of the feed-forward networks. None: 4 D.
        dropout: rate of dropout on the input and after each part of every layer.
        positions: "sinusoidal", "learned" (both are added to the input), "rotary" or "alibi" (both act in every
            self-attention).
        max_positions: length of the table of "learned" positions.
        bidirectional: whether each step attends to all real steps, or only to itself and earlier ones.
        layer_options: more arguments of the layers, as a dict: `{"activation": "swiglu"}`.
        return_state: whether to return the state too. `keras.Sequential` and `keras.layers.TimeDistributed` require
            False, since they take layers with one output.
    Call arguments:
        x: float `(B, T, D)`, padding on the right, to which no real step attends.
        initial_state: state as returned, or from `get_initial_state`. None: x is the whole sequence.
        mask: bool `(B, T)`. True marks a real step. With an `initial_state` it sets the next position of each row.
    Returns:
        `(x, state)`: float `(B, T, D)`, and `{"position": int (B,), "caches"}`, or `{}` without an `initial_state`.
        With `return_state=False`, x alone.
    Raises:
        ValueError: if `num_layers` is below 1, `positions` is unknown, x has another width, or a bidirectional stack
            gets an `initial_state`, and as for the layers.
    Example:
        >>> stack = layers.TransformerStack(units=8, num_heads=2, num_layers=1, bidirectional=True, return_state=False)
        >>> tuple(stack(np.zeros((4, 10, 8), "float32")).shape)
        (4, 10, 8)
    Source: Vaswani et al. 2017, arXiv:1706.03762. Causal: Liu et al. 2018, arXiv:1801.10198; Radford et al. 2018.
    """

    def __init__(
        self,
        units,
        num_heads=4,
        num_layers=4,
        intermediate_dim=None,
        dropout=0.0,
        positions="rotary",
        max_positions=512,
        bidirectional=False,
        layer_options=None,
        return_state=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"`num_layers` must be at least 1. Received: {num_layers}")
        check_positions(positions, units)
        self.supports_masking = True
        self.units = units
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.intermediate_dim = intermediate_dim or 4 * units
        self.dropout = dropout
        self.positions = positions
        self.max_positions = max_positions
        self.bidirectional = bidirectional
        self.layer_options = dict(layer_options or {})
        self.return_state = return_state
        policy = self.dtype_policy
        make, kind = TransformerDecoderLayer, {"cross_attention": False}
        if bidirectional:
            make, kind = TransformerEncoderLayer, {}
        self.transformer_layers = [
            make(
                units,
                num_heads,
                self.intermediate_dim,
                dropout=dropout,
                relative_positions=positions if positions in ("rotary", "alibi") else None,
                name=f"layer_{i}",
                dtype=policy,
                **kind,
                **self.layer_options,
            )
            for i in range(num_layers)
        ]
        last = self.transformer_layers[-1]
        self.norm = None
        if last.normalize_first:  # its output is not normalized yet
            self.norm = normalization_layer(last.layer_normalization, name="norm", dtype=policy)
        self.table = None
        if positions == "learned":
            self.table = LearnedPositions(max_positions, units, name="positions", dtype=policy)
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=policy)

    def get_initial_state(self, batch_size, max_length):
        """The state before the first step, with caches for `max_length` steps, including padding."""
        if max_length is None:
            raise ValueError("A `TransformerStack` needs `max_length`, the length of its caches. Received: None")
        attention = self.transformer_layers[0].self_attention
        room = (batch_size, max_length, attention.num_key_value_heads, attention.head_dim, self.compute_dtype)
        caches = [create_cache(*room) for _ in self.transformer_layers]
        return {"position": ops.zeros((batch_size,), "int32"), "caches": caches}

    def call(self, x, initial_state=None, mask=None, training=False):
        if x.shape[-1] != self.units:
            raise ValueError(f"x must be as wide as `units`={self.units}. Received: shape {tuple(x.shape)}")
        T, mask = ops.shape(x)[1], carried_mask(x, mask)
        x = without_padding(x, mask)
        caches, positions = [None] * self.num_layers, ops.arange(T, dtype="int32")[None, :]  # (1, T)
        if initial_state is not None:
            if self.bidirectional:
                raise ValueError("`bidirectional=True` does not allow an `initial_state`. Received: an initial_state")
            caches, positions = initial_state["caches"], positions_from(initial_state["position"], T)  # (B, T)
            x = within_room(x, positions, caches[0])
        if self.table is not None:
            x = x + self.table(positions)
        elif self.positions == "sinusoidal":
            x = x + sinusoidal_positions(positions, self.units, self.compute_dtype)
        x = self.dropout_layer(x, training=training)
        filled = []
        for layer, cache in zip(self.transformer_layers, caches, strict=True):
            if self.bidirectional:
                x = layer(x, mask=mask, training=training)
                continue
            x, cache = layer(x, cache=cache, positions=positions, training=training)
            filled.append(cache)
        if self.norm is not None:
            x = self.norm(x)
        state = {}  # functional models do not accept None
        if initial_state is not None:
            # Cache entries of padding are never attended to, and the next real steps overwrite them.
            steps = T if mask is None else ops.sum(ops.cast(mask, "int32"), axis=1)
            state = {"position": initial_state["position"] + steps, "caches": filled}
        return (x, state) if self.return_state else x

    def compute_output_shape(self, x_shape, initial_state_shape=None):
        return (x_shape, dict(initial_state_shape or {})) if self.return_state else x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_heads": self.num_heads,
            "num_layers": self.num_layers,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "positions": self.positions,
            "max_positions": self.max_positions,
            "bidirectional": self.bidirectional,
            "layer_options": self.layer_options,
            "return_state": self.return_state,
        }
