"""The recurrent encoder-decoder."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from keras_seq.layers import (
    ATTENTIONS,
    Bridge,
    Dense,
    RecurrentStack,
    ScheduledSampling,
    TokenEmbedding,
    cell_name,
    reverse_tokens,
)
from keras_seq.layers.initializers import seeded_copies
from keras_seq.layers.masks import at_least_float32, carried_mask, with_mask
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
class Seq2Seq(TokenModel):
    """A recurrent encoder and decoder, connected by the final states, by attention, or by both.

    The output of the decoder's first layer is the attention query. The context vector is concatenated to that output as
    the input of the upper layers, and to the last output for the scores. Attention does not depend on past outputs of
    later layers, so in training all steps attend at once. Only "location" needs its earlier weights and runs step by
    step.

    Args:
        source_vocabulary_size: number of source ids. None with a `source_front_end`.
        target_vocabulary_size: number of target ids. None: one vocabulary and one embedding matrix for both sides.
        source_front_end: a `keras.Model` that maps a non-token source (such as audio) to vectors, from one input to
            float `(B, S, Dx)` with its Keras mask. See `audio_front_end`.
        units: width of every recurrent layer, D.
        cell: a name of `CELLS` ("rnn", "gru", "lstm", ...), or a registered custom class: see `RecurrentStack`.
        num_layers: number of layers of the encoder, and of the decoder.
        attention: None or a name of `ATTENTIONS`: "additive", "dot", "general", "scaled_dot", "location".
        bidirectional: whether the encoder processes the source in both directions, with `units / 2` in each.
        reverse_source: whether the encoder gets the source tokens in reverse order (Sutskever et al. 2014). Memory and
            attention weights keep the order of the source.
        embedding_dim: width of the embeddings. None: `units`.
        tie_embeddings: whether the scores are computed with the target embedding matrix.
        dropout: rate of dropout on the embeddings, between layers and before the scores.
        recurrent_dropout, layer_norm, initializer: options of the recurrent layers, as in `RecurrentStack`.
        cell_options: more arguments of the cell, as a dict.
        residual_from: first layer, counted from 0, whose input is added to its output. None: no layer. The decoder's
            layer 0 never has a residual connection. With attention, layer 1 has none either, since its input is wider.
        bridge: "copy", "dense" or "zero".
        scheduled_sampling: probability, in training, that a predicted token replaces a target token: a rate, or a
            schedule of it, see `layers.ScheduledSampling`. The predictions come from a first pass without dropout and
            without a gradient, which is skipped if this is 0.
        initializer: initializer of embeddings and recurrent layers. None for the defaults.
        pad_id: id of padding.
    Call arguments:
        inputs: `{"source": int (B, S), "target": int (B, T)}`. The target starts with the start token. With a
            `source_front_end`, the source is its input.
    Returns:
        logits, float `(B, T, V)`.
    Example:
        >>> model = models.Seq2Seq(100, units=8, num_layers=1, cell="gru", attention="additive")
        >>> tuple(model({"source": np.array([[5, 6, 3]]), "target": np.array([[2, 7]])}).shape)
        (1, 2, 100)
    Source: Sutskever et al. 2014, arXiv:1409.3215; Bahdanau et al. 2015, arXiv:1409.0473; Luong et al. 2015,
        arXiv:1508.04025. Attention from the first layer: Wu et al. 2016, section 3, arXiv:1609.08144.
    """

    def __init__(
        self,
        source_vocabulary_size: int | None,
        target_vocabulary_size: int | None = None,
        *,
        units: int = 256,
        cell: str | type = "lstm",
        num_layers: int = 2,
        attention: str | None = "additive",
        bidirectional: bool = True,
        reverse_source: bool = False,
        embedding_dim: int | None = None,
        tie_embeddings: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        residual_from: int | None = None,
        layer_norm: bool = False,
        bridge: str = "copy",
        initializer: Any = None,
        cell_options: Mapping[str, Any] | None = None,
        scheduled_sampling: float | Callable = 0.0,
        source_front_end: keras.Model | None = None,
        pad_id: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_source(source_vocabulary_size, target_vocabulary_size, source_front_end)
        check_counts(
            source_vocabulary_size=source_vocabulary_size,
            target_vocabulary_size=target_vocabulary_size,
            units=units,
            num_layers=num_layers,
            embedding_dim=embedding_dim,
        )
        check_rates(dropout=dropout, recurrent_dropout=recurrent_dropout)
        if attention is not None and attention not in ATTENTIONS:
            raise ValueError(f"`attention` must be None or one of {sorted(ATTENTIONS)}. Received: {attention!r}")
        if bridge not in Bridge.KINDS:
            raise ValueError(f"`bridge` must be one of {Bridge.KINDS}. Received: {bridge!r}")
        self.source_vocabulary_size = source_vocabulary_size
        self.target_vocabulary_size = target_vocabulary_size
        self.units = units
        self.cell = cell_name(cell)
        self.num_layers = num_layers
        self.attention_name = attention
        self.bidirectional = bidirectional
        self.reverse_source = reverse_source
        self.embedding_dim = embedding_dim or units
        self.tie_embeddings = tie_embeddings
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.residual_from = residual_from
        self.layer_norm = layer_norm
        self.bridge_kind = bridge
        self.initializer = initializer
        self.cell_options = dict(cell_options or {})
        self.scheduled_sampling = scheduled_sampling
        self.source_front_end = source_front_end
        self.pad_id = pad_id

        initializers = seeded_copies(initializer)
        self._make_embeddings(initializers)
        self._make_stacks(initializers)
        self.attention = self.output_dense = self.sampling = None
        if attention is not None:
            self.attention = ATTENTIONS[attention](units, name="attention", dtype=self.dtype_policy)
        if attention is not None or units != self.embedding_dim:
            self.output_dense = Dense(self.embedding_dim, activation="tanh", name="output", dtype=self.dtype_policy)
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        if scheduled_sampling != 0:
            self.sampling = ScheduledSampling(
                scheduled_sampling, pad_id, name="scheduled_sampling", dtype=self.dtype_policy
            )
            self.sampling.build()
        self.build()

    def _make_embeddings(self, initializers):
        """Makes the embedding of the target, and that of the source, which may be the same or none."""
        sizes = {"pad_id": self.pad_id, "dtype": self.dtype_policy}
        self.target_embedding = TokenEmbedding(
            self.target_vocabulary_size or self.source_vocabulary_size,
            self.embedding_dim,
            tie_weights=self.tie_embeddings,
            embeddings_initializer=next(initializers),
            name="target_embedding",
            **sizes,
        )
        self.source_embedding = self.target_embedding
        if self.source_front_end is not None:
            self.source_embedding = None
        elif self.target_vocabulary_size is not None:
            self.source_embedding = TokenEmbedding(
                self.source_vocabulary_size,
                self.embedding_dim,
                embeddings_initializer=next(initializers),
                name="source_embedding",
                **sizes,
            )

    def _make_stacks(self, initializers):
        """Makes the encoder, the bridge, and the decoder's layers below and above the attention."""

        def stack(name, num_layers, **options):
            return RecurrentStack(
                self.cell,
                self.units,
                num_layers=num_layers,
                dropout=self.dropout,
                recurrent_dropout=self.recurrent_dropout,
                layer_norm=self.layer_norm,
                cell_options=self.cell_options,
                initializer=next(initializers),
                name=name,
                dtype=self.dtype_policy,
                **options,
            )

        above = self.residual_from
        self.encoder = stack("encoder", self.num_layers, bidirectional=self.bidirectional, residual_from=above)
        self.bridge = Bridge(self.bridge_kind, name="bridge", dtype=self.dtype_policy)
        self.decoder_bottom, self.decoder_top = stack("decoder_bottom", 1), None
        if self.num_layers > 1:
            if above is not None:
                above = max(above - 1, 0 if self.attention_name is None else 1)
            self.decoder_top = stack("decoder_top", self.num_layers - 1, residual_from=above)

    @property
    def shares_memory(self):
        """Whether `decode` takes several adjacent rows of tokens for each row of the memory."""
        return self.attention is None or not self.attention.uses_past

    def build(self, input_shape=None):
        if not self.built:
            self.output_spec = build_by_call(
                self, {"source": source_spec(self), "target": keras.KerasTensor((None, None), "int32")}
            )
            self.built = True

    def call(self, inputs, training=False):
        state, target = self.encode(inputs["source"], training=training), inputs["target"]
        if training and self.sampling is not None:
            target = self.sampling(target, self.decode(target, state)[0], training=True)
        with self._for_the_loss():
            logits, _ = self.decode(target, state, training=training)
        return logits

    @property
    def has_attention(self):
        """Whether `encode` supports `attention_weights`."""
        return self.attention is not None

    def encode(
        self, source, max_length=None, attention_weights=False, hidden_states=False, training=False
    ) -> dict[str, Any]:
        """Encodes the source.

        Args:
            source: int `(B, S)`, or the input of the `source_front_end`.
            max_length: ignored here, but required by the cache of a Transformer.
            attention_weights: whether `decode` stores the weights of its steps in `state["attention"]`, `(B, T, S)`.
            hidden_states: whether `decode` stores the vectors from which the scores are computed in `state["hidden"]`,
                `(B, T, D)`.
        Returns:
            the decoder's first state: a dict, whose "memory" does not change while decoding.
        """
        x, mask = source_vectors(self, source, training)
        x = self.dropout_layer(reverse_tokens(x, mask) if self.reverse_source else x, training=training)
        x, states = self.encoder(x, mask=mask, training=training)
        state = {"memory": {}, "layers": self.bridge(states)}
        if hidden_states:
            state["hidden"] = ops.zeros((ops.shape(mask)[0], 1, self.embedding_dim), self.compute_dtype)
        if self.attention is not None:
            value = reverse_tokens(x, mask) if self.reverse_source else x
            state["memory"] = self.attention.project_memory(value, mask)
            B, S = ops.shape(mask)
            if self.attention.uses_past:
                state["past"] = ops.zeros((B, S), at_least_float32(self.compute_dtype))
            if attention_weights:
                state["attention"] = ops.zeros((B, 1, S), self.compute_dtype)
        elif attention_weights:
            raise ValueError("`attention_weights=True` needs a model with attention. Received: attention=None")
        return state

    def decode(self, tokens, state, training=False) -> tuple[Any, dict[str, Any]]:
        """Continues from `state` with the given target tokens, one or many.

        Args:
            tokens: int `(B, T)`. Padding after them does not change their logits. The state is that after the padding.
        Returns:
            `(logits, state)`: float `(B, T, V)`, and the state after the last token.
        """
        x = self.target_embedding(tokens)
        mask = carried_mask(x)
        # The loops run without the mask, a tenth faster: the state after a whole sentence, or of a row that a search
        # has finished, is never used. And a sentence may start with the padding id.
        x = self.dropout_layer(with_mask(x, None), training=training)
        below, above = state["layers"][:1], state["layers"][1:]
        x, below = self.decoder_bottom(x, initial_state=below, training=training)
        state = dict(state)
        context = []
        if self.attention is not None:
            answer, weights = self.attention(x, state["memory"], state.get("past"))
            context = [answer]
            if "past" in state:
                state["past"] = state["past"] + ops.sum(ops.cast(weights, state["past"].dtype), axis=1)
            if "attention" in state:
                state["attention"] = weights
        if self.decoder_top is not None:
            x = self.dropout_layer(ops.concatenate([x, *context], axis=-1), training=training)
            x, above = self.decoder_top(x, initial_state=above, training=training)
        state["layers"] = below + above
        if self.output_dense is not None:
            x = self.output_dense(ops.concatenate([x, *context], axis=-1))
        x = self.dropout_layer(x, training=training)
        if "hidden" in state:
            state["hidden"] = x
        return self._logits(with_mask(x, mask), self.target_embedding), state

    def get_config(self):
        return {
            **super().get_config(),
            "source_vocabulary_size": self.source_vocabulary_size,
            "target_vocabulary_size": self.target_vocabulary_size,
            "units": self.units,
            "cell": self.cell,
            "num_layers": self.num_layers,
            "attention": self.attention_name,
            "bidirectional": self.bidirectional,
            "reverse_source": self.reverse_source,
            "embedding_dim": self.embedding_dim,
            "tie_embeddings": self.tie_embeddings,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "residual_from": self.residual_from,
            "layer_norm": self.layer_norm,
            "bridge": self.bridge_kind,
            "initializer": keras.initializers.serialize(keras.initializers.get(self.initializer)),
            "cell_options": self.cell_options,
            "scheduled_sampling": keras.saving.serialize_keras_object(self.scheduled_sampling),
            "source_front_end": serialized_front_end(self.source_front_end),
            "pad_id": self.pad_id,
        }

    @classmethod
    def from_config(cls, config):
        rate = keras.saving.deserialize_keras_object(config.get("scheduled_sampling", 0.0))
        return cls(**{**with_front_end(config), "scheduled_sampling": rate})
