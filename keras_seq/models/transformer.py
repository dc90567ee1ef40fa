"""The Transformer encoder-decoder."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_seq.layers import (
    TokenEmbedding,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
    causal_mask,
    create_cache,
    positions_from,
    sinusoidal_positions,
)
from keras_seq.layers.multi_head_attention import within_room
from keras_seq.layers.positions import LearnedPositions, check_positions
from keras_seq.layers.transformer import feed_forward_activation, normalization_layer, serialized_activation
from keras_seq.models.numbers import check_counts, check_rates
from keras_seq.models.source_front_end import (
    build_by_call,
    check_source,
    serialized_front_end,
    source_spec,
    source_vectors,
    with_front_end,
)
from keras_seq.models.token_model import TokenModel


@keras.saving.register_keras_serializable("keras_seq")
class Transformer(TokenModel):
    """A Transformer encoder-decoder for sequences of ids.

    Args:
        source_vocabulary_size: number of source ids. None with a `source_front_end`.
        target_vocabulary_size: number of target ids. None: one vocabulary and one embedding matrix for both sides.
        source_front_end: a `keras.Model` that maps a non-token source (such as audio) to vectors, from one input to
            float `(B, S, D)` with its Keras mask. See `audio_front_end`.
        units: width, D.
        num_heads: number of attention heads. Must divide `units`.
        intermediate_dim: width of the feed-forward networks.
        num_layers: number of layers of the encoder.
        num_decoder_layers: number of layers of the decoder. None: `num_layers`.
        dropout: rate of dropout on the embeddings and after each part of every layer.
        intermediate_dropout: rate of dropout inside the feed-forward networks, absent in the paper. None: `dropout`.
        activation: activation of the feed-forward networks. "reglu", "geglu" and "swiglu" select a gated hidden layer.
        normalize_first: pre-norm (True), or post-norm as in the paper.
        layer_normalization: "layer" or "rms".
        num_key_value_heads: number of heads of keys and values in the decoder, and so in its caches. None: `num_heads`.
            The encoder has all heads, since it has no cache (Ainslie et al. 2023, arXiv:2305.13245).
        positions: "sinusoidal", "learned" (both are added to the embeddings), "rotary" or "alibi" (both act in every
            self-attention).
        max_positions: length of the tables of "learned" positions.
        attention_window: largest distance of the self-attentions, in the encoder to either side. None: no limit.
        tie_embeddings: whether the scores are computed with the target embedding matrix.
        pad_id: id of padding.
    Call arguments:
        inputs: `{"source": int (B, S), "target": int (B, T)}`. The target starts with the start token. With a
            `source_front_end`, the source is its input.
    Returns:
        logits, float `(B, T, V)`.
    Example:
        >>> model = models.Transformer(100, units=8, num_heads=2, num_layers=1)
        >>> tuple(model({"source": np.array([[5, 6, 3]]), "target": np.array([[2, 7]])}).shape)
        (1, 2, 100)
    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    has_attention = True  # `encode` supports `attention_weights`

    shares_memory = True  # `decode` takes several adjacent rows of tokens for each row of the memory

    def __init__(
        self,
        source_vocabulary_size: int | None,
        target_vocabulary_size: int | None = None,
        *,
        units: int = 256,
        num_heads: int = 4,
        intermediate_dim: int | None = None,
        num_layers: int = 4,
        num_decoder_layers: int | None = None,
        dropout: float = 0.1,
        intermediate_dropout: float | None = None,
        activation: str | Callable | None = "relu",
        normalize_first: bool = True,
        layer_normalization: str = "layer",
        num_key_value_heads: int | None = None,
        positions: str = "sinusoidal",
        max_positions: int = 512,
        attention_window: int | None = None,
        tie_embeddings: bool = True,
        source_front_end: keras.Model | None = None,
        pad_id: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_source(source_vocabulary_size, target_vocabulary_size, source_front_end, units)
        check_counts(
            source_vocabulary_size=source_vocabulary_size,
            target_vocabulary_size=target_vocabulary_size,
            units=units,
            num_heads=num_heads,
            intermediate_dim=intermediate_dim,
            num_layers=num_layers,
            num_decoder_layers=num_decoder_layers,
            num_key_value_heads=num_key_value_heads,
            max_positions=max_positions,
        )
        check_rates(dropout=dropout, intermediate_dropout=intermediate_dropout)
        check_positions(positions, units)
        self.source_vocabulary_size = source_vocabulary_size
        self.target_vocabulary_size = target_vocabulary_size
        self.units = units
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim or 4 * units
        self.num_layers = num_layers
        self.num_decoder_layers = num_decoder_layers or num_layers
        self.dropout = dropout
        self.intermediate_dropout = intermediate_dropout
        self.activation = feed_forward_activation(activation)
        self.normalize_first = normalize_first
        self.layer_normalization = layer_normalization
        self.num_key_value_heads = num_key_value_heads or num_heads
        self.positions = positions
        self.max_positions = max_positions
        self.attention_window = attention_window
        self.tie_embeddings = tie_embeddings
        self.source_front_end = source_front_end
        self.pad_id = pad_id

        policy = self.dtype_policy
        embedding = {"pad_id": pad_id, "scale": True, "dtype": policy}
        self.target_embedding = TokenEmbedding(
            target_vocabulary_size or source_vocabulary_size,
            units,
            tie_weights=tie_embeddings,
            name="target_embedding",
            **embedding,
        )
        self.source_embedding = self.target_embedding
        if source_front_end is not None:
            self.source_embedding = None
        elif target_vocabulary_size is not None:
            self.source_embedding = TokenEmbedding(source_vocabulary_size, units, name="source_embedding", **embedding)
        block = {
            "units": units,
            "num_heads": num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": dropout,
            "intermediate_dropout": intermediate_dropout,
            "activation": activation,
            "normalize_first": normalize_first,
            "layer_normalization": layer_normalization,
            "relative_positions": positions if positions in ("rotary", "alibi") else None,
            "attention_window": attention_window,
            "dtype": policy,
        }
        self.encoder_layers = [TransformerEncoderLayer(name=f"encoder_{i}", **block) for i in range(self.num_layers)]
        self.decoder_layers = [
            TransformerDecoderLayer(name=f"decoder_{i}", num_key_value_heads=num_key_value_heads, **block)
            for i in range(self.num_decoder_layers)
        ]
        self.encoder_norm = self.decoder_norm = None
        if normalize_first:  # the last layer's output is not normalized yet
            self.encoder_norm = normalization_layer(layer_normalization, name="encoder_norm", dtype=policy)
            self.decoder_norm = normalization_layer(layer_normalization, name="decoder_norm", dtype=policy)
        self.source_positions = self.target_positions = None
        if positions == "learned":
            self.source_positions = LearnedPositions(max_positions, units, name="source_positions", dtype=policy)
            self.target_positions = LearnedPositions(max_positions, units, name="target_positions", dtype=policy)
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=policy)
        self.build()

    def build(self, input_shape=None):
        if not self.built:
            self.output_spec = build_by_call(
                self, {"source": source_spec(self), "target": keras.KerasTensor((None, None), "int32")}
            )
            self.built = True

    def call(self, inputs, training=False):
        state = self.encode(inputs["source"], training=training)
        with self._for_the_loss():
            logits, _ = self.decode(inputs["target"], state, training=training)
        return logits

    def _placed(self, x, learned_positions, positions, training):
        """Adds positions to the vectors, and applies dropout."""
        if learned_positions is not None:
            x = x + learned_positions(positions)
        elif self.positions == "sinusoidal":
            x = x + sinusoidal_positions(positions, self.units, self.compute_dtype)
        return self.dropout_layer(x, training=training)

    def encode(
        self, source, max_length=None, attention_weights=False, hidden_states=False, training=False
    ) -> dict[str, Any]:
        """Encodes the source.

        Args:
            source: int `(B, S)`, or the input of the `source_front_end`.
            max_length: length of the caches, in target steps. None: no caches, so the single `decode` that follows must
                get all steps at once, as in training.
            attention_weights: whether `decode` stores the weights of its steps in `state["attention"]`, `(B, T, S)`:
                those of the last layer, averaged over the heads. Needs `max_length`.
            hidden_states: whether `decode` stores the vectors from which the scores are computed in `state["hidden"]`,
                `(B, T, D)`.
        Returns:
            the decoder's first state: a dict, whose "memory" does not change while decoding.
        """
        x, mask = source_vectors(self, source, training)
        B, S = ops.shape(mask)
        x = self._placed(x, self.source_positions, ops.arange(S, dtype="int32")[None, :], training)
        for layer in self.encoder_layers:
            x = layer(x, mask=mask, training=training)
        if self.encoder_norm is not None:
            x = self.encoder_norm(x)
        memory = {"layers": [layer.project_memory(x) for layer in self.decoder_layers], "mask": mask}
        state = {"memory": memory, "position": ops.zeros((B,), "int32")}
        if max_length is not None:
            room = (B, max_length, self.num_key_value_heads, self.units // self.num_heads, self.compute_dtype)
            state["caches"] = [create_cache(*room) for _ in self.decoder_layers]
        if attention_weights:
            if max_length is None:
                raise ValueError("`attention_weights=True` needs `max_length`. Received: max_length=None")
            state["attention"] = ops.zeros((B, 1, S), self.compute_dtype)
        if hidden_states:
            state["hidden"] = ops.zeros((B, 1, self.units), self.compute_dtype)
        return state

    def decode(self, tokens, state, training=False) -> tuple[Any, dict[str, Any]]:
        """Continues from `state` with the given target tokens, one or many.

        Args:
            tokens: int `(B, T)`.
        Returns:
            `(logits, state)`: float `(B, T, V)`, and the state after the last token.
        """
        T = ops.shape(tokens)[1]
        caches = state.get("caches")
        if caches is None:
            caches = [None] * len(self.decoder_layers)
            positions = ops.arange(T, dtype="int32")[None, :]  # (1, T)
            self_mask = causal_mask(positions, positions)
        else:
            positions = positions_from(state["position"], T)  # (B, T)
            self_mask = causal_mask(positions, ops.arange(ops.shape(caches[0]["keys"])[2], dtype="int32")[None, :])
            if "attention" in state:
                caches = [*caches[:-1], {**caches[-1], "attention": state["attention"]}]

        x = self._placed(self.target_embedding(tokens), self.target_positions, positions, training)
        x = x if caches[0] is None else within_room(x, positions, caches[0])
        memory = state["memory"]
        filled = []
        for layer, source, cache in zip(self.decoder_layers, memory["layers"], caches, strict=True):
            x, cache = layer(x, source, memory["mask"], cache, positions, self_mask, training=training)
            filled.append(cache)
        if self.decoder_norm is not None:
            x = self.decoder_norm(x)
        logits = self._logits(x, self.target_embedding)

        state = {**state, "position": state["position"] + T}
        if "attention" in state:
            state["attention"] = filled[-1].pop("attention")
        if "caches" in state:
            state["caches"] = filled
        if "hidden" in state:
            state["hidden"] = x
        return logits, state

    def get_config(self):
        return {
            **super().get_config(),
            "source_vocabulary_size": self.source_vocabulary_size,
            "target_vocabulary_size": self.target_vocabulary_size,
            "units": self.units,
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "num_layers": self.num_layers,
            "num_decoder_layers": self.num_decoder_layers,
            "dropout": self.dropout,
            "intermediate_dropout": self.intermediate_dropout,
            "activation": serialized_activation(self.activation),
            "normalize_first": self.normalize_first,
            "layer_normalization": self.layer_normalization,
            "num_key_value_heads": self.num_key_value_heads,
            "positions": self.positions,
            "max_positions": self.max_positions,
            "attention_window": self.attention_window,
            "tie_embeddings": self.tie_embeddings,
            "source_front_end": serialized_front_end(self.source_front_end),
            "pad_id": self.pad_id,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**with_front_end(config))
