"""The language model, which predicts the next token."""

import functools
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_seq.layers import TokenEmbedding, padding_mask
from keras_seq.layers.masks import with_mask
from keras_seq.models.numbers import check_counts, check_rates
from keras_seq.models.source_front_end import build_by_call
from keras_seq.models.token_model import TokenModel


@keras.saving.register_keras_serializable("keras_seq")
class LanguageModel(TokenModel):
    """Scores every token given the tokens before it.

    Args:
        vocabulary_size: number of ids, V.
        backbone: the layer between embedding and scores, of width D: `layers.RecurrentStack`,
            `layers.TransformerStack`, or any layer with `units`, `get_initial_state(batch_size, max_length)` and
            `call(x, initial_state, mask) -> (x, state)`.
        dropout: rate of dropout on the embeddings and on the backbone's output.
        tie_embeddings: whether the scores are computed with the embedding matrix.
        pad_id: id of padding.
        streams: number of streams, B, whose states the model carries from one batch of `data.streams` to the next.
            Needs a backbone with a state of fixed size. None: no states are carried.
    Call arguments:
        tokens: int `(B, T)`, padding on the right, starting with the start token if the data has one. Or a batch of
            `data.streams`, `{"tokens": int (B, T), "starts": bool (B,)}`: each row continues from the last state of the
            same row in the batch before, or from zeros if it starts. These states are non-trainable weights, which
            checkpoints include. Gradients stop at them (truncated backpropagation through time).
    Returns:
        logits, float `(B, T, V)`, of the token after each.
    Raises:
        ValueError: if a backbone is bidirectional, and so depends on the tokens to predict, or has
            `return_state=False`, if `streams` is set with a backbone whose state grows, or if the number of streams in
            a batch differs from `streams`.
    Example:
        >>> model = models.LanguageModel(100, layers.RecurrentStack("gru", 8))
        >>> tuple(model(np.array([[2, 5, 6]])).shape)
        (1, 3, 100)
    Source: Press and Wolf 2017, arXiv:1608.05859, for the tied matrix. Mikolov et al. 2010 for the carried state.
    """

    def __init__(
        self,
        vocabulary_size: int,
        backbone: keras.layers.Layer,
        dropout: float = 0.0,
        tie_embeddings: bool = True,
        pad_id: int = 0,
        streams: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_counts(vocabulary_size=vocabulary_size, streams=streams)
        check_rates(dropout=dropout)
        if getattr(backbone, "bidirectional", False):
            raise ValueError("`backbone` must not depend on later tokens. Received: a layer with bidirectional=True")
        if not getattr(backbone, "return_state", True):
            raise ValueError(
                "`backbone` must return its state, to continue from it. Received: a layer with return_state=False"
            )
        self.vocabulary_size = vocabulary_size
        self.backbone = backbone
        self.dropout = dropout
        self.tie_embeddings = tie_embeddings
        self.pad_id = pad_id
        self.streams = streams
        self.embedding = TokenEmbedding(
            vocabulary_size,
            backbone.units,
            pad_id=pad_id,
            scale=True,
            tie_weights=tie_embeddings,
            name="embedding",
            dtype=self.dtype_policy,
        )
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.build()

    def build(self, input_shape=None):
        if not self.built:
            self.output_spec = build_by_call(self, keras.KerasTensor((None, None), "int32"))
            self.carried = [] if self.streams is None else self._carried_states()
            self.built = True

    def _carried_states(self):
        try:
            zeros = keras.tree.flatten(self.backbone.get_initial_state(self.streams, None))
        except ValueError as error:
            raise ValueError(
                f"`streams` needs a backbone with a state of fixed size, such as a `RecurrentStack`. Received: "
                f"{self.streams}, with {type(self.backbone).__name__}, which raised: {error}"
            ) from error
        add = functools.partial(self.add_weight, initializer="zeros", trainable=False)
        return [add(shape=zero.shape, name=f"carried_{number}") for number, zero in enumerate(zeros)]

    def call(self, tokens, training=False):
        if not isinstance(tokens, Mapping):
            with self._for_the_loss():
                return self.decode(tokens, None, training=training)[0]
        tokens, starts = tokens["tokens"], tokens["starts"]
        if not self.carried or starts.shape[0] not in (None, self.streams):
            raise ValueError(
                "A batch of streams needs a model with the same number of streams: "
                f"`LanguageModel(..., streams={starts.shape[0]})`. Received: streams={self.streams}"
            )
        zero = self.backbone.get_initial_state(self.streams, None)
        before = [ops.where(starts[:, None], ops.zeros_like(state), state) for state in self.carried]
        before = keras.tree.map_structure(
            lambda zero, state: ops.cast(state, zero.dtype), zero, keras.tree.pack_sequence_as(zero, before)
        )
        with self._for_the_loss():
            logits, after = self.decode(tokens, {"backbone": before}, training=training)
        for state, new in zip(self.carried, keras.tree.flatten(after["backbone"]), strict=True):
            state.assign(ops.stop_gradient(new))
        return logits

    def initial_state(self, batch_size, max_length=None, hidden_states=False) -> dict[str, Any]:
        """The state before the first token, a nested dict of tensors whose first axis is B.

        Args:
            max_length: largest number of tokens. Not needed by a recurrent backbone.
            hidden_states: whether `decode` stores the hidden states of its steps in `state["hidden"]`, `(B, T, D)`.
        """
        state = {"backbone": self.backbone.get_initial_state(batch_size, max_length)}
        if hidden_states:
            state["hidden"] = ops.zeros((batch_size, 1, self.backbone.units), self.compute_dtype)
        return state

    def decode(self, tokens, state, training=False) -> tuple[Any, dict[str, Any]]:
        """Continues from `state` with the given tokens, one or many.

        Args:
            tokens: int `(B, T)`.
            state: a state from `initial_state`, or as returned. None: the tokens are the whole sequence.
        Returns:
            `(logits, state)`: float `(B, T, V)`, and the state after the last token.
        """
        x = self.dropout_layer(self.embedding(tokens), training=training)
        mask = None if state is None else padding_mask(tokens, self.pad_id)
        if state is not None and tokens.shape[1] == 1:
            # A search passes a single step of padding to each finished row, whose state is never used.
            x, mask = with_mask(x, None), None
        before = None if state is None else state["backbone"]
        x, after = self.backbone(x, initial_state=before, mask=mask, training=training)
        x = self.dropout_layer(x, training=training)
        hidden = {"hidden": x} if state is not None and "hidden" in state else {}
        return self._logits(x, self.embedding), {"backbone": after, **hidden}

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        backbone.pop("build_config", None)  # the model builds it
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "backbone": backbone,
            "dropout": self.dropout,
            "tie_embeddings": self.tie_embeddings,
            "pad_id": self.pad_id,
            "streams": self.streams,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "backbone": keras.saving.deserialize_keras_object(config["backbone"])})
